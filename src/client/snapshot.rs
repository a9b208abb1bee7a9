//! Clients that outlive their process (feature `serde`).

use super::Client;
use super::login_limit::LoginLimit;
use crate::credentials::consumer::Consumer;
use crate::secret::Secret;
use crate::session::OAuthSession;
use crate::snapshot::{Snapshot, SnapshotError};
use crate::time::UnixTime;

impl Client {
    /// Returns all that is worth keeping: what [`OAuthSession::snapshot`] keeps, and when live session tokens were asked
    /// for, so that the limit of twelve in an hour outlives the process. Own requests are not kept.
    pub fn snapshot(&self) -> Secret<Snapshot> {
        self.oauth.snapshot_with(self.logins.asked().map(UnixTime::as_millis).collect())
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
}
