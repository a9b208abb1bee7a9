//! Whether the live session token is of any use.

use core::time::Duration;

use crate::time::UnixTime;

/// A token for which nothing has succeeded for so long, although the server answers, is replaced.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// Each replacement that did not help doubles the patience with the next, up to this.
const LONGEST_PATIENCE: Duration = Duration::from_secs(60 * 60);

/// When something last succeeded with the token, and whether the server has answered since.
///
/// Some servers answer a dead token with a redirect or an HTML page instead of a 401. An outage (5xx, 429) says nothing
/// about the token.
#[derive(Default)]
pub(super) struct TokenHealth {
    succeeded: UnixTime,
    is_fruitless: bool,
    /// Replacements in a row that did not help.
    replacements: u32,
}

impl TokenHealth {
    /// Patience begins with the first poll.
    pub(super) fn begin(&mut self, now: UnixTime) {
        if self.succeeded == UnixTime::default() {
            self.succeeded = now;
        }
    }

    /// A new token came at `now`.
    pub(super) fn note_born(&mut self, now: UnixTime) {
        self.succeeded = now;
        self.is_fruitless = false;
    }

    pub(super) fn note_success(&mut self, now: UnixTime) {
        *self = Self { succeeded: now, ..Self::default() };
    }

    /// The server answered with something that is neither a success nor an outage.
    pub(super) fn note_fruitless(&mut self) {
        self.is_fruitless = true;
    }

    /// When the token is to be replaced, if nothing succeeds before.
    pub(super) fn replace_at(&self) -> Option<UnixTime> {
        let patience = PATIENCE.saturating_mul(2_u32.saturating_pow(self.replacements)).min(LONGEST_PATIENCE);
        self.is_fruitless.then(|| self.succeeded.saturating_add(patience))
    }

    pub(super) fn note_replaced(&mut self) {
        self.is_fruitless = false;
        self.replacements = self.replacements.saturating_add(1);
    }

    pub(super) fn set_back(&mut self, by: Duration) {
        self.succeeded = self.succeeded.saturating_sub(by);
    }
}
