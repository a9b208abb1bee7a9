//! Whether the server still accepts the live session token, as its responses show.

use core::time::Duration;

use crate::advice::backoff::doubled;
use crate::time::UnixTime;
use crate::wire::response::Response;

/// A token for which nothing has succeeded for so long, although the server responds, is replaced.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// Each replacement that did not help doubles the patience with the next, up to this.
const LONGEST_PATIENCE: Duration = Duration::from_secs(60 * 60);

/// What a response says of the token that signed the request.
///
/// Some servers respond to a dead token with a redirect or an HTML page instead of a 401. A business error of the API is given
/// after the token was accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenEvidence {
    Accepted,
    /// The server responds, and does not do what was asked.
    NotServed,
    /// An outage, for instance.
    Inconclusive,
}

impl TokenEvidence {
    pub(super) fn of(response: &Response<'_>) -> Self {
        let status = response.status();
        if matches!(status, 408 | 429 | 500..) {
            return Self::Inconclusive;
        }
        if response.is_html() {
            return Self::NotServed;
        }
        match status {
            200..300 => Self::Accepted,
            401 | 403 | 410 => Self::NotServed,
            400.. if response.is_json() => Self::Accepted,
            _ => Self::NotServed,
        }
    }
}

/// When something last succeeded with the token, and whether the server has responded since.
#[derive(Default)]
pub(super) struct TokenHealth {
    succeeded: UnixTime,
    was_not_served: bool,
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
        self.was_not_served = false;
    }

    pub(super) fn note(&mut self, evidence: TokenEvidence, now: UnixTime) {
        match evidence {
            TokenEvidence::Accepted => *self = Self { succeeded: now, ..Self::default() },
            TokenEvidence::NotServed => self.was_not_served = true,
            TokenEvidence::Inconclusive => {}
        }
    }

    /// When the token is to be replaced, if nothing succeeds before.
    pub(super) fn replace_at(&self) -> Option<UnixTime> {
        let patience = doubled(PATIENCE, self.replacements, LONGEST_PATIENCE);
        self.was_not_served.then(|| self.succeeded.saturating_add(patience))
    }

    pub(super) fn note_replaced(&mut self) {
        self.was_not_served = false;
        self.replacements = self.replacements.saturating_add(1);
    }

    pub(super) fn set_back(&mut self, by: Duration) {
        self.succeeded = self.succeeded.saturating_sub(by);
    }
}
