//! The three OAuth endpoints, and the two steps that a person performs: portal and consent page.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rand_core::CryptoRng;
use serde_json::{Value, json};

use crate::diffie_hellman::SignByte;
use crate::percent_encoding::hex;
use crate::registry::{LiveSession, random_hex};
use crate::rejection::Rejection;
use crate::schedule::Trouble;
use crate::signed_request::SignedRequest;
use crate::time::{UnixTime, millis};
use crate::verification::known_consumer;
use crate::{Consent, ExpirationField, Gateway, GatewayError, IssuedToken, User};

/// How long a live session token lasts (protocol section 7).
const LIVE_SESSION_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

impl Gateway {
    /// Issues an access token as the self-service portal does (protocol section 9).
    ///
    /// A user and consumer keep their token, but each call gives it a new secret, which voids the old one and the live
    /// session tokens made with it (protocol section 7).
    ///
    /// # Errors
    /// [`GatewayError::UnknownConsumer`] or [`GatewayError::UnknownUser`]: register them first.
    pub fn issue_access_token(
        &mut self,
        consumer_key: &str,
        user: &str,
        rng: &mut dyn CryptoRng,
    ) -> Result<IssuedToken, GatewayError> {
        let consumer = self.registry.consumer(consumer_key).ok_or(GatewayError::UnknownConsumer)?;
        self.registry.user(user).ok_or(GatewayError::UnknownUser)?;
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        let ciphertext = consumer.encryption_key.encrypt(&secret, rng).ok_or(GatewayError::EncryptionKey)?;
        self.note_change();
        let token = self.registry.renew_access_token(consumer_key, user, secret, rng);
        Ok(IssuedToken { token, secret_base64: BASE64_STANDARD.encode(ciphertext) })
    }

    /// Takes back an access token that an earlier gateway issued, with its secret *decrypted*: clients that have both
    /// go on with them, and log in anew.
    ///
    /// It takes the place of the one that the user and consumer have. If they have this one, with this secret, it keeps its
    /// live sessions.
    ///
    /// # Errors
    /// [`GatewayError::UnknownConsumer`] or [`GatewayError::UnknownUser`]: register them first.
    pub fn restore_access_token(
        &mut self,
        consumer_key: &str,
        user: &str,
        token: &str,
        secret: [u8; 32],
    ) -> Result<(), GatewayError> {
        self.registry.consumer(consumer_key).ok_or(GatewayError::UnknownConsumer)?;
        self.registry.user(user).ok_or(GatewayError::UnknownUser)?;
        self.note_change();
        self.registry.restore_access_token(consumer_key, user, token, secret);
        Ok(())
    }

    /// Returns the consumer key that asks for consent under this request token, for a consent page to show (protocol
    /// section 1); `None` if the flow is unknown, or decided.
    pub fn awaiting_consent(&self, request_token: &str) -> Option<&str> {
        self.registry.awaiting_consent(request_token).map(|consumer| consumer.key.as_str())
    }

    /// Takes the user's decision on the consent page (protocol section 1), and returns the URL that the browser is sent on
    /// to: the consumer's registered callback, with `oauth_token` and, if granted, `oauth_verifier`.
    ///
    /// Where IBKR sends a user who said no is not documented; here the verifier is missing.
    ///
    /// # Errors
    /// [`GatewayError::UnknownUser`], and [`GatewayError::UnknownRequestToken`] if it was never issued, is already
    /// decided, or has given way to newer ones.
    pub fn consent(
        &mut self,
        request_token: &str,
        user: &str,
        decision: Consent,
        rng: &mut dyn CryptoRng,
    ) -> Result<String, GatewayError> {
        self.registry.user(user).ok_or(GatewayError::UnknownUser)?;
        let consumer = self.registry.awaiting_consent(request_token).ok_or(GatewayError::UnknownRequestToken)?;
        let callback = consumer.callback_url.clone().unwrap_or_default();
        let separator = if callback.contains('?') { '&' } else { '?' };
        let denied = format!("{callback}{separator}oauth_token={request_token}");
        self.note_change();
        match decision {
            Consent::Deny => {
                self.registry.abandon(request_token);
                Ok(denied)
            }
            Consent::Grant => {
                let verifier = self.registry.grant(request_token, user, rng);
                let verifier = verifier.ok_or(GatewayError::UnknownRequestToken)?;
                Ok(format!("{denied}&oauth_verifier={verifier}"))
            }
        }
    }

    /// `POST /oauth/request_token`: third parties only; a first party "will receive an error" (protocol section 4).
    pub(crate) fn request_token(
        &mut self,
        request: &SignedRequest<'_>,
        rng: &mut dyn CryptoRng,
        now: UnixTime,
    ) -> Result<Value, Rejection> {
        request.oauth("oauth_callback")?;
        self.verify_rsa(request, "", now)?;
        let consumer_key = request.oauth("oauth_consumer_key")?;
        let callback = self.registry.consumer(consumer_key).and_then(|consumer| consumer.callback_url.as_ref());
        callback.ok_or(Rejection::InvalidConsumer("the consumer is a first party: it has no callback URL"))?;
        self.note_change();
        Ok(json!({ "oauth_token": self.registry.open_flow(consumer_key, rng) }))
    }

    /// `POST /oauth/access_token`: what the user granted, once per verifier.
    pub(crate) fn access_token(
        &mut self,
        request: &SignedRequest<'_>,
        rng: &mut dyn CryptoRng,
        now: UnixTime,
    ) -> Result<Value, Rejection> {
        let (token, verifier) = (request.oauth("oauth_token")?, request.oauth("oauth_verifier")?);
        self.verify_rsa(request, "", now)?;
        let consumer_key = request.oauth("oauth_consumer_key")?;
        self.note_change();
        let user = self.registry.redeem(consumer_key, token, verifier);
        let user = user.ok_or(Rejection::InvalidConsumer("no user granted this request token with this verifier"))?;
        let issued = self.issue_access_token(consumer_key, &user, rng);
        let issued = issued.map_err(|_| Rejection::InvalidConsumer("no access token can be issued for this user"))?;
        let is_paper = self.registry.user(&user).is_some_and(User::is_paper);
        let (token, secret) = (issued.token, issued.secret_base64);
        Ok(json!({ "is_paper": is_paper, "oauth_token": token, "oauth_token_secret": secret }))
    }

    /// `POST /oauth/live_session_token`: the Diffie-Hellman exchange (protocol section 5).
    pub(crate) fn live_session_token(
        &mut self,
        request: &SignedRequest<'_>,
        rng: &mut dyn CryptoRng,
        now: UnixTime,
    ) -> Result<Value, Rejection> {
        let (token, challenge) = (request.oauth("oauth_token")?, request.oauth("diffie_hellman_challenge")?);
        let consumer = known_consumer(&self.registry, request)?.map_err(Rejection::InvalidConsumer)?;
        let access = self.registry.access_token(token);
        let access = access.filter(|access| access.consumer_key == consumer.key);
        let secret = access.ok_or(Rejection::NoAccessSecret)?.secret;
        self.verify_rsa(request, &hex(&secret), now)?;

        let consumer_key = request.oauth("oauth_consumer_key")?;
        let consumer = self.registry.consumer(consumer_key);
        let sign_byte = self.sign_byte();
        let agreement =
            consumer.and_then(|consumer| consumer.group.agree(challenge, &secret, consumer_key, sign_byte, rng));
        let agreement =
            agreement.ok_or(Rejection::LoginFailed("diffie_hellman_challenge is no number from 2 to p-2"))?;
        let session = LiveSession {
            token: agreement.token,
            expires: now.saturating_add(LIVE_SESSION_LIFETIME),
            cookie: random_hex::<16>(rng),
        };
        let expiration = match self.settings.expiration_field {
            ExpirationField::Expiry => session.expires,
            ExpirationField::TimeOfComputation => now,
        };
        let is_empty = self.schedule.suffers(Trouble::EmptyDiffieHellmanResponses);
        let answer = json!({
            "diffie_hellman_response": if is_empty { "" } else { &agreement.response },
            "live_session_token_signature": agreement.proof,
            "live_session_token_expiration": millis(expiration),
        });
        if !is_empty {
            self.note_change();
            self.registry.open_live_session(token, session, self.settings.live_session_tokens);
            self.schedule.live_session_made();
        }
        Ok(answer)
    }

    fn sign_byte(&self) -> SignByte {
        if self.schedule.suffers(Trouble::NoSignBytes) {
            SignByte::Forgotten
        } else if self.schedule.suffers(Trouble::SignBytes) {
            SignByte::Needed
        } else {
            SignByte::ByChance
        }
    }
}
