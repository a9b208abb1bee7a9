//! What the owner of a session shares with those who only sign.

use alloc::string::{String, ToString};
use core::fmt;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::credentials::identity::Identity;
use crate::credentials::token::Token;
use crate::live_session::LiveSession;
use crate::secret::Secret;
use crate::session::OAuthSession;
use crate::signing::policy::{ParameterEncoding, QueryPolicy};
use crate::snapshot::{SnapshotError, StoredLiveSession};
use crate::time::UnixTime;

/// The form that is written and read.
const VERSION: u32 = 1;

/// A live session for a [`Follower`](crate::Follower): token and proof, its life, consumer key, realm, base URL, access token,
/// policies, and a generation number. Neither a private key nor the access token secret is in it: nobody can log in with it;
/// whoever reads it can trade until the token expires.
///
/// [`Client::shared`](crate::Client::shared) and [`OAuthSession::shared`] hand it out in a [`Secret`]; what
/// [`Secret::expose`] gives is written and read with any `serde` format. It is wiped on drop.
///
/// Its times are on the server's clock, so that no clock of a machine is in it.
#[derive(Clone, Serialize, Deserialize)]
pub struct SharedSession {
    version: u32,
    // Everything else may be missing, so that a later version is rejected for its version.
    #[serde(default)]
    generation: u64,
    #[serde(default)]
    consumer_key: String,
    #[serde(default)]
    realm: String,
    #[serde(default)]
    base_url: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    signs_query: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    encodes_twice: bool,
    /// When the owner begins to ask for the next token.
    #[serde(default)]
    refresh_at: u64,
    #[serde(default)]
    live_session: Option<StoredLiveSession>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl OAuthSession {
    /// Returns what a [`Follower`](crate::Follower) needs of the live session, while there is one at `now`.
    pub fn shared(&self, now: UnixTime) -> Option<Secret<SharedSession>> {
        let live = self.live(now)?;
        let (identity, skew) = (live.identity(), self.clock_skew());
        Some(Secret::new(SharedSession {
            version: VERSION,
            generation: self.generation(),
            consumer_key: identity.consumer_key().to_string(),
            realm: identity.realm().to_string(),
            base_url: identity.base_url().to_string(),
            access_token: live.access_token().as_str().to_string(),
            signs_query: live.query_policy() == QueryPolicy::Fold,
            encodes_twice: identity.parameter_encoding() == ParameterEncoding::Rfc5849,
            refresh_at: live.refresh_at().shifted(skew).as_millis(),
            live_session: Some(StoredLiveSession::with_life(live, live.life().shifted(skew))),
        }))
    }
}

impl SharedSession {
    /// Returns which of the owner's live session tokens this is, counted from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn refresh_at(&self) -> UnixTime {
        UnixTime::from_millis(self.refresh_at)
    }

    /// The live session if it is one of `identity`. Its life is still on the server's clock.
    pub(super) fn proved(&self, identity: &Identity) -> Result<LiveSession, SnapshotError> {
        if self.version != VERSION {
            return Err(SnapshotError::Version { found: self.version });
        }
        if !self.is_of(identity) {
            return Err(SnapshotError::Foreign);
        }
        let damaged = |field| SnapshotError::Damaged { field };
        let stored = self.live_session.as_ref().ok_or(damaged("live_session"))?;
        let token = stored.token(identity.consumer_key())?;
        let access_token = Token::new(&self.access_token).map_err(|_| damaged("access_token"))?;
        Ok(LiveSession::new(identity.clone(), access_token, token, self.query_policy(), stored.life()))
    }

    /// The encoding counts as part of the address: both sides must speak to the same kind of server.
    fn is_of(&self, identity: &Identity) -> bool {
        self.consumer_key == identity.consumer_key()
            && self.realm == identity.realm()
            && self.base_url == identity.base_url()
            && self.encodes_twice == (identity.parameter_encoding() == ParameterEncoding::Rfc5849)
    }

    fn query_policy(&self) -> QueryPolicy {
        if self.signs_query { QueryPolicy::Fold } else { QueryPolicy::Exclude }
    }
}

impl Zeroize for SharedSession {
    fn zeroize(&mut self) {
        self.consumer_key.zeroize();
        self.realm.zeroize();
        self.access_token.zeroize();
        self.live_session.zeroize();
    }
}

impl Drop for SharedSession {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl fmt::Debug for SharedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSession")
            .field("version", &self.version)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
