//! What IBKR has on file: consumers, users, and the tokens between them.

use std::collections::{BTreeMap, VecDeque};

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::diffie_hellman::Group;
use crate::percent_encoding::hex;
use crate::rsa_key::RsaKey;
use crate::state::hexadecimal;
use crate::time::UnixTime;
use crate::{GatewayError, LiveSessionTokens, RegisteredConsumer, User};

/// Most request tokens that wait for their user at once; the oldest gives way.
const MAX_REQUEST_TOKENS: usize = 1024;

/// Most live session tokens of one access token that are remembered, dead ones too; the oldest gives way.
const MAX_LIVE_SESSIONS: usize = 16;

#[derive(Default)]
pub(crate) struct Registry {
    consumers: BTreeMap<String, Consumer>,
    users: BTreeMap<String, User>,
    pub(crate) tokens: Tokens,
}

/// What was issued.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Tokens {
    /// In the order of their issue.
    request_tokens: VecDeque<RequestToken>,
    access_tokens: BTreeMap<String, AccessToken>,
}

pub(crate) struct Consumer {
    pub(crate) key: String,
    pub(crate) realm: &'static str,
    pub(crate) signature_key: RsaKey,
    pub(crate) encryption_key: RsaKey,
    pub(crate) group: Group,
    /// Where consent leads; a first party has none, and no use for request tokens.
    pub(crate) callback_url: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
struct RequestToken {
    token: String,
    consumer_key: String,
    /// Set once the user has said yes.
    grant: Option<Grant>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Grant {
    user: String,
    verifier: String,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AccessToken {
    pub(crate) consumer_key: String,
    pub(crate) user: String,
    #[serde(with = "hexadecimal")]
    pub(crate) secret: [u8; 32],
    /// In the order of their issue, dead ones too.
    live_sessions: Vec<LiveSession>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct LiveSession {
    #[serde(with = "hexadecimal")]
    pub(crate) token: [u8; 20],
    pub(crate) expires: UnixTime,
    /// What `/tickle` calls `session`: the cookie of a WebSocket.
    pub(crate) cookie: String,
}

impl Consumer {
    pub(crate) fn parse(registered: &RegisteredConsumer) -> Result<Self, GatewayError> {
        let key = &registered.consumer_key;
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) {
            return Err(GatewayError::ConsumerKey);
        }
        let callback_url = registered.callback_url.clone();
        if callback_url.as_deref().is_some_and(|url| !is_absolute_url(url)) {
            return Err(GatewayError::CallbackUrl);
        }
        let key_from = |pem, error| RsaKey::from_pem(pem).ok_or(error);
        Ok(Self {
            key: key.clone(),
            realm: registered.realm(),
            signature_key: key_from(&registered.signature_public_key_pem, GatewayError::SignatureKey)?,
            encryption_key: key_from(&registered.encryption_public_key_pem, GatewayError::EncryptionKey)?,
            group: Group::from_pem(&registered.dhparam_pem).ok_or(GatewayError::DhParams)?,
            callback_url,
        })
    }
}

impl Registry {
    pub(crate) fn add_consumer(&mut self, consumer: Consumer) {
        self.consumers.insert(consumer.key.clone(), consumer);
    }

    pub(crate) fn add_user(&mut self, user: User) {
        self.users.insert(user.name.clone(), user);
    }

    pub(crate) fn consumer(&self, key: &str) -> Option<&Consumer> {
        self.consumers.get(key)
    }

    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    pub(crate) fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// Starts a flow: a new request token.
    pub(crate) fn open_flow(&mut self, consumer_key: &str, rng: &mut dyn CryptoRng) -> String {
        if self.tokens.request_tokens.len() >= MAX_REQUEST_TOKENS {
            self.tokens.request_tokens.pop_front();
        }
        let token = random_hex::<10>(rng);
        let consumer_key = consumer_key.into();
        self.tokens.request_tokens.push_back(RequestToken { token: token.clone(), consumer_key, grant: None });
        token
    }

    /// The consumer that waits for consent under this request token.
    pub(crate) fn awaiting_consent(&self, request_token: &str) -> Option<&Consumer> {
        let mut waiting = self.tokens.request_tokens.iter().filter(|flow| flow.grant.is_none());
        let flow = waiting.find(|flow| flow.token == request_token)?;
        self.consumer(&flow.consumer_key)
    }

    /// Notes the user's yes, once: the verifier, or `None` if no flow waits under this request token.
    pub(crate) fn grant(&mut self, request_token: &str, user: &str, rng: &mut dyn CryptoRng) -> Option<String> {
        let mut waiting = self.tokens.request_tokens.iter_mut().filter(|flow| flow.grant.is_none());
        let flow = waiting.find(|flow| flow.token == request_token)?;
        let verifier = random_hex::<10>(rng);
        flow.grant = Some(Grant { user: user.into(), verifier: verifier.clone() });
        Some(verifier)
    }

    /// Ends a flow without a token.
    pub(crate) fn abandon(&mut self, request_token: &str) {
        self.tokens.request_tokens.retain(|flow| flow.token != request_token);
    }

    /// Ends a flow with the user who granted it; `None`, and no change, if anything about it is wrong.
    pub(crate) fn redeem(&mut self, consumer_key: &str, request_token: &str, verifier: &str) -> Option<String> {
        let redeemable = |flow: &RequestToken| {
            let verified = flow.grant.as_ref().is_some_and(|grant| grant.verifier == verifier);
            verified && flow.token == request_token && flow.consumer_key == consumer_key
        };
        let position = self.tokens.request_tokens.iter().position(redeemable)?;
        self.tokens.request_tokens.remove(position)?.grant.map(|grant| grant.user)
    }

    pub(crate) fn access_token(&self, token: &str) -> Option<&AccessToken> {
        self.tokens.access_tokens.get(token)
    }

    /// Gives user and consumer a new secret, and with it a fresh start: what the old one made is void.
    ///
    /// The token stays the same, for ever (protocol section 7).
    pub(crate) fn renew_access_token(
        &mut self,
        consumer_key: &str,
        user: &str,
        secret: [u8; 32],
        rng: &mut dyn CryptoRng,
    ) -> String {
        let mut known = self.tokens.access_tokens.iter();
        let known = known.find(|(_, access)| access.consumer_key == consumer_key && access.user == user);
        let token = known.map_or_else(|| random_hex::<10>(rng), |(token, _)| token.clone());
        self.restore_access_token(consumer_key, user, &token, secret);
        token
    }

    /// Makes `token` the only one of user and consumer. It keeps its live sessions if it is known, with this secret.
    pub(crate) fn restore_access_token(&mut self, consumer_key: &str, user: &str, token: &str, secret: [u8; 32]) {
        let known = self.tokens.access_tokens.remove(token);
        let same = known
            .filter(|access| access.consumer_key == consumer_key && access.user == user && access.secret == secret);
        let live_sessions = same.map(|access| access.live_sessions).unwrap_or_default();
        self.tokens.access_tokens.retain(|_, access| access.consumer_key != consumer_key || access.user != user);
        let (consumer_key, user) = (consumer_key.into(), user.into());
        self.tokens.access_tokens.insert(token.into(), AccessToken { consumer_key, user, secret, live_sessions });
    }

    pub(crate) fn open_live_session(&mut self, access_token: &str, session: LiveSession, valid: LiveSessionTokens) {
        if let Some(access) = self.tokens.access_tokens.get_mut(access_token) {
            if valid == LiveSessionTokens::NewestOnly {
                access.live_sessions.iter_mut().for_each(LiveSession::end);
            }
            if access.live_sessions.len() >= MAX_LIVE_SESSIONS {
                access.live_sessions.remove(0);
            }
            access.live_sessions.push(session);
        }
    }

    pub(crate) fn close_all_live_sessions(&mut self) {
        let accesses = self.tokens.access_tokens.values_mut();
        accesses.flat_map(|access| &mut access.live_sessions).for_each(LiveSession::end);
    }

    pub(crate) fn close_live_session(&mut self, access_token: &str, live_session_token: &[u8; 20]) {
        if let Some(access) = self.tokens.access_tokens.get_mut(access_token) {
            let mut sessions = access.live_sessions.iter_mut();
            sessions.find(|session| session.token == *live_session_token).map(LiveSession::end);
        }
    }
}

impl LiveSession {
    pub(crate) fn is_live(&self, now: UnixTime) -> bool {
        now < self.expires
    }

    fn end(&mut self) {
        self.expires = UnixTime::ZERO;
    }
}

impl AccessToken {
    /// The sessions that still stand.
    pub(crate) fn live_sessions(&self, now: UnixTime) -> impl Iterator<Item = &LiveSession> {
        self.sessions().filter(move |session| session.is_live(now))
    }

    /// All that are remembered, the newest first.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &LiveSession> {
        self.live_sessions.iter().rev()
    }
}

/// No more than keeps a redirection in one piece: what the URL leads to is the consumer's affair.
fn is_absolute_url(url: &str) -> bool {
    url.contains("://") && url.bytes().all(|byte| byte.is_ascii_graphic())
}

/// As many random bytes, in hexadecimal: tokens and verifiers have 20 digits (protocol section 6.1).
pub(crate) fn random_hex<const BYTES: usize>(rng: &mut dyn CryptoRng) -> String {
    let mut bytes = [0; BYTES];
    rng.fill_bytes(&mut bytes);
    hex(&bytes)
}
