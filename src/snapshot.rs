//! Sessions that outlive their process (feature `serde`).

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use base64::Engine;
use core::fmt;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroize;

use crate::agreement::live_session_token::LiveSessionToken;
use crate::credentials::consumer::Consumer;
use crate::credentials::token::{AccessToken, AccountKind, Token};
use crate::encoding::BASE64;
use crate::live_session::{Life, LiveSession};
use crate::secret::Secret;
use crate::session::{OAuthSession, State};
use crate::signing::policy::QueryPolicy;
use crate::time::UnixTime;

/// The form that is written and read.
const VERSION: u32 = 2;

/// All of a session that is worth keeping, the secrets included: whoever reads it can trade until the live session
/// token expires. An exchange in flight is not in it.
///
/// [`OAuthSession::snapshot`] hands it out in a [`Secret`]; what [`Secret::expose`] gives is written and read with any
/// `serde` format. It is wiped on drop.
///
/// ```
/// # use ibkr_oauth::{Consumer, OAuthSession, Snapshot, UnixTime};
/// # fn keep(session: &OAuthSession, consumer: Consumer, now: UnixTime) -> Result<(), Box<dyn std::error::Error>> {
/// let json = serde_json::to_string(session.snapshot().expose())?; // for a file that only its owner can read
/// let snapshot: Snapshot = serde_json::from_str(&json)?;
/// let session = OAuthSession::resume(consumer, &snapshot, now)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    // Everything else may be missing, so that a snapshot of a later version is rejected for its version.
    #[serde(default)]
    consumer_key: String,
    #[serde(default)]
    realm: String,
    /// Where the session's requests go: its access token is sent nowhere else.
    #[serde(default)]
    base_url: String,
    /// Whether the server was found to want the query signed. It is not used where the caller fixed the policy.
    #[serde(default)]
    signs_query: bool,
    /// How many live session tokens there were.
    #[serde(default)]
    generation: u64,
    /// When live session tokens were asked for in the last hour, so that the limit on new tokens outlives a process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    asked_for_tokens_at: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_token: Option<StoredRequestToken>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    access_token: Option<StoredAccessToken>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    live_session: Option<StoredLiveSession>,
}

#[derive(Clone, Serialize, Deserialize)]
struct StoredRequestToken {
    token: String,
    verifier: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
struct StoredAccessToken {
    token: String,
    secret: String,
    is_paper: Option<bool>,
}

/// A live session token with its proof and its life.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct StoredLiveSession {
    /// Base64 of the 20 bytes.
    token: String,
    /// The server's proof of it, in hex: checked again on reading.
    proof: String,
    obtained_at: u64,
    expires_at: u64,
}

/// Why a [`Snapshot`] or a [`SharedSession`](crate::SharedSession) is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Written by a version of this crate that writes another form.
    #[error("what was stored has form {found}, which this version of the crate does not read")]
    Version {
        /// The form found.
        found: u32,
    },
    /// Of another consumer key, realm or base URL.
    #[error("what was stored belongs to another consumer key, realm or base URL")]
    Foreign,
    /// Changed or cut off since it was written.
    #[error("what was stored is damaged: `{field}` is not valid")]
    Damaged {
        /// The first field that is not valid.
        field: &'static str,
    },
}

impl OAuthSession {
    /// Returns all that is worth keeping. An exchange in flight is left out: after a resume it is offered anew.
    pub fn snapshot(&self) -> Secret<Snapshot> {
        self.snapshot_with(Vec::new())
    }

    pub(crate) fn snapshot_with(&self, asked_for_tokens_at: Vec<u64>) -> Secret<Snapshot> {
        let mut snapshot = Snapshot {
            version: VERSION,
            consumer_key: self.consumer().consumer_key().to_string(),
            realm: self.consumer().realm().to_string(),
            base_url: self.consumer().base_url().to_string(),
            signs_query: self.query_policy() == QueryPolicy::Fold,
            generation: self.generation(),
            asked_for_tokens_at,
            request_token: None,
            access_token: None,
            live_session: None,
        };
        match self.state() {
            State::Unauthorized => {}
            State::RequestToken { token, verifier } => {
                let verifier = verifier.as_ref().map(|verifier| verifier.as_str().to_string());
                snapshot.request_token = Some(StoredRequestToken { token: token.as_str().to_string(), verifier });
            }
            State::AccessToken(access_token) => snapshot.access_token = Some(StoredAccessToken::from(access_token)),
            State::LiveSession { access_token, live } => {
                snapshot.access_token = Some(StoredAccessToken::from(access_token));
                snapshot.live_session = Some(StoredLiveSession::from(live));
            }
        }
        Secret::new(snapshot)
    }

    /// Returns a session that goes on where `snapshot` was taken. It signs at once if its live session token has not
    /// expired, and refreshes it on time.
    ///
    /// The server's proof of the token is checked again, and no token is trusted for longer than 24 hours from `now`.
    ///
    /// # Errors
    /// [`SnapshotError`] says what is wrong; nothing of the snapshot is used then.
    pub fn resume(consumer: Consumer, snapshot: &Snapshot, now: UnixTime) -> Result<Self, SnapshotError> {
        if snapshot.version != VERSION {
            return Err(SnapshotError::Version { found: snapshot.version });
        }
        if !snapshot.is_of(&consumer) {
            return Err(SnapshotError::Foreign);
        }
        let query_policy = consumer.identity().fixed_query_policy().unwrap_or(snapshot.query_policy());
        let state = snapshot.state(&consumer, query_policy, now)?;
        Ok(Self::from_parts(consumer, state, query_policy).with_generation(snapshot.generation))
    }
}

impl Snapshot {
    pub(crate) fn asked_for_tokens_at(&self) -> impl Iterator<Item = UnixTime> {
        self.asked_for_tokens_at.iter().copied().map(UnixTime::from_millis)
    }

    fn is_of(&self, consumer: &Consumer) -> bool {
        self.consumer_key == consumer.consumer_key()
            && self.realm == consumer.realm()
            && self.base_url == consumer.base_url()
    }

    fn query_policy(&self) -> QueryPolicy {
        if self.signs_query { QueryPolicy::Fold } else { QueryPolicy::Exclude }
    }

    fn state(&self, consumer: &Consumer, query_policy: QueryPolicy, now: UnixTime) -> Result<State, SnapshotError> {
        match (&self.request_token, &self.access_token, &self.live_session) {
            (None, None, None) => Ok(State::Unauthorized),
            (Some(request_token), None, None) => request_token.state(),
            (None, Some(access_token), None) => Ok(State::AccessToken(access_token.restored()?)),
            (None, Some(access_token), Some(live_session)) => {
                let access_token = access_token.restored()?;
                let token = live_session.token(consumer.consumer_key())?;
                let life = live_session.life().bounded(now);
                let oauth_token = access_token.oauth_token();
                let live = LiveSession::new(consumer.identity().clone(), oauth_token, token, query_policy, life);
                Ok(State::LiveSession { access_token, live })
            }
            (_, None, Some(_)) => Err(SnapshotError::Damaged { field: "live_session" }),
            (Some(_), Some(_), _) => Err(SnapshotError::Damaged { field: "request_token" }),
        }
    }
}

impl StoredRequestToken {
    fn state(&self) -> Result<State, SnapshotError> {
        let damaged = |_| SnapshotError::Damaged { field: "request_token" };
        let verifier = self.verifier.as_deref().map(Token::new).transpose().map_err(damaged)?;
        Ok(State::RequestToken { token: Token::new(&self.token).map_err(damaged)?, verifier })
    }
}

impl StoredAccessToken {
    fn from(access_token: &AccessToken) -> Self {
        Self {
            token: access_token.token().to_string(),
            secret: access_token.secret().expose().clone(),
            is_paper: access_token.account_kind().map(|kind| kind == AccountKind::Paper),
        }
    }

    fn restored(&self) -> Result<AccessToken, SnapshotError> {
        let access_token = AccessToken::new(&self.token, &self.secret);
        let access_token = access_token.map_err(|_| SnapshotError::Damaged { field: "access_token" })?;
        Ok(match self.is_paper {
            Some(is_paper) => access_token.with_account_kind(AccountKind::of(is_paper)),
            None => access_token,
        })
    }
}

impl StoredLiveSession {
    fn from(live: &LiveSession) -> Self {
        Self::with_life(live, live.life())
    }

    /// The token of `live` with its life on another clock.
    pub(crate) fn with_life(live: &LiveSession, life: Life) -> Self {
        let token = live.token();
        Self {
            token: BASE64.encode(token.expose()),
            proof: base16ct::lower::encode_string(token.proof()),
            obtained_at: life.obtained_at.as_millis(),
            expires_at: life.expires_at.as_millis(),
        }
    }

    /// The token, if its proof is one.
    pub(crate) fn token(&self, consumer_key: &str) -> Result<LiveSessionToken, SnapshotError> {
        let damaged = SnapshotError::Damaged { field: "live_session" };
        let bytes = Secret::new(BASE64.decode(&self.token).map_err(|_| damaged)?);
        let token = Secret::new(<[u8; 20]>::try_from(bytes.expose().as_slice()).map_err(|_| damaged)?);
        let proof: Vec<u8> = base16ct::lower::decode_vec(&self.proof).map_err(|_| damaged)?;
        LiveSessionToken::proved(token, consumer_key, &proof).ok_or(damaged)
    }

    /// When it came and when it ends, by what is stored.
    pub(crate) fn life(&self) -> Life {
        let (obtained_at, expires_at) = (self.obtained_at, self.expires_at);
        Life { obtained_at: UnixTime::from_millis(obtained_at), expires_at: UnixTime::from_millis(expires_at) }
    }
}

impl Zeroize for StoredLiveSession {
    fn zeroize(&mut self) {
        self.token.zeroize();
        self.proof.zeroize();
    }
}

impl Zeroize for Snapshot {
    fn zeroize(&mut self) {
        self.consumer_key.zeroize();
        self.realm.zeroize();
        if let Some(StoredRequestToken { token, verifier }) = &mut self.request_token {
            token.zeroize();
            verifier.zeroize();
        }
        if let Some(StoredAccessToken { token, secret, .. }) = &mut self.access_token {
            token.zeroize();
            secret.zeroize();
        }
        self.live_session.zeroize();
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("version", &self.version).finish_non_exhaustive()
    }
}
