//! Clients that outlive their process (feature `serde`).

use alloc::string::ToString;

use super::Client;
use super::login_limit::LoginLimit;
use crate::credentials::consumer::Consumer;
use crate::follower::question::Question;
use crate::follower::shared_session::SharedSession;
use crate::live_session::LiveSession;
use crate::secret::Secret;
use crate::session::{OAuthSession, Phase};
use crate::snapshot::{Snapshot, SnapshotError};
use crate::time::UnixTime;

impl Client {
    /// Returns all that is worth keeping: what [`OAuthSession::snapshot`] keeps, and when live session tokens were asked
    /// for, so that the limit of twelve in an hour outlives the process. Own requests are not kept.
    pub fn snapshot(&self) -> Secret<Snapshot> {
        self.oauth.snapshot_with(self.logins.asked().map(UnixTime::as_millis).collect())
    }

    /// Returns what [followers](crate::Follower) need of the live session, as [`OAuthSession::shared`] does. It changes with
    /// [`Event::LoggedIn`](crate::Event::LoggedIn) and
    /// [`Event::QueryPolicyChanged`](crate::Event::QueryPolicyChanged).
    pub fn shared(&self, now: UnixTime) -> Option<Secret<SharedSession>> {
        self.oauth.shared(now)
    }

    /// Takes a follower's question and returns whether its generation is still the current one. What it says of an older
    /// generation is stale and changes nothing; what it says of the current one is looked into, as if a [signer](Self::signer)
    /// had said it: by a tickle, so that one rejected request costs no token.
    pub fn handle_question(&mut self, question: &Question) -> bool {
        let is_current = self.oauth.stored_live().is_some() && question.generation() == self.oauth.generation();
        if is_current {
            self.probe.is_wanted |= question.is_rejected();
            if question.has_no_bridge() {
                self.brokerage.doubt();
            }
        }
        is_current
    }

    /// Returns a client that goes on where `snapshot` was taken, with the defaults of [`Client::new`]. It signs at once if its
    /// live session token has not expired.
    ///
    /// # Errors
    /// [`SnapshotError`] says what is wrong; nothing of the snapshot is used then.
    pub fn resume(consumer: Consumer, snapshot: &Snapshot, now: UnixTime) -> Result<Self, SnapshotError> {
        let session = OAuthSession::resume(consumer, snapshot, now)?;
        let mut client = Self::with_limit(session, LoginLimit::resumed(snapshot.asked_for_tokens_at(), now));
        // Else a clock that is set back before the first poll would leave the times of the snapshot in the future.
        client.follow_clock(now);
        Ok(client)
    }

    /// Goes on with the live session token of `snapshot`, which another process has asked for, instead of asking for one,
    /// and returns whether it does. It does not if the snapshot has no live session token, the current one, or one that is
    /// due to be replaced. A client that has no access token takes the snapshot's in any case. A login request in flight is
    /// no longer awaited; own requests stay as they are.
    ///
    /// What the snapshot says of earlier logins counts for the limit of twelve in an hour in any case.
    ///
    /// # Errors
    /// Those of [`resume`](Self::resume), and [`SnapshotError::Foreign`] for another access token; nothing has changed then.
    pub fn adopt(&mut self, snapshot: &Snapshot, now: UnixTime) -> Result<bool, SnapshotError> {
        let stored = OAuthSession::resume(self.consumer().clone(), snapshot, now)?;
        let access_token = |session: &OAuthSession| session.access_token().map(|access| access.token().to_string());
        let own = access_token(&self.oauth);
        if own.is_some() && own != access_token(&stored) {
            return Err(SnapshotError::Foreign);
        }
        self.follow_clock(now);
        self.logins.note_asked_elsewhere(snapshot.asked_for_tokens_at(), now);
        self.oauth.note_generation(stored.generation());
        let is_of_use = |live: &LiveSession| Some(live.id()) != self.token() && !live.is_due(now);
        if !stored.live(now).is_some_and(is_of_use) {
            if own.is_none() && stored.access_token().is_some() {
                self.oauth.replace_by(stored);
            }
            return Ok(false);
        }
        self.oauth.replace_by(stored);
        self.logins.note_succeeded(now);
        self.note_phase(Phase::LiveSession, now);
        Ok(true)
    }
}
