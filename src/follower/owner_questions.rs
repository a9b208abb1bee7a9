//! The questions of a follower to the owner: when, and about which generation of the live session token.

use core::time::Duration;

use super::question::Question;
use crate::time::UnixTime;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Questions that repeat with growing pauses, until what the owner shares ends them.
pub(super) struct OwnerQuestions {
    is_rejected: bool,
    has_no_bridge: bool,
    asked_at: Option<UnixTime>,
    /// Between the latest question and the next.
    pause: Duration,
}

impl Default for OwnerQuestions {
    fn default() -> Self {
        Self { is_rejected: false, has_no_bridge: false, asked_at: None, pause: FIRST_PAUSE }
    }
}

impl OwnerQuestions {
    /// The token was rejected.
    pub(super) fn doubt(&mut self, now: UnixTime) {
        if !self.is_rejected {
            self.hasten(now);
        }
        self.is_rejected = true;
    }

    /// The token was accepted.
    pub(super) fn trust(&mut self) {
        self.is_rejected = false;
    }

    /// There is no brokerage session.
    pub(super) fn note_no_bridge(&mut self, now: UnixTime) {
        if !self.has_no_bridge {
            self.hasten(now);
        }
        self.has_no_bridge = true;
    }

    /// Something is wrong that was not wrong before.
    fn hasten(&mut self, now: UnixTime) {
        self.pause = FIRST_PAUSE;
        self.asked_at = self.asked_at.map(|at| at.min(now));
    }

    /// Whether the token was rejected, and neither accepted since nor asked about for a minute.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.is_rejected
    }

    /// Whether there is something to ask about that has no set time.
    pub(super) fn is_open(&self) -> bool {
        self.is_rejected || self.has_no_bridge
    }

    /// Until when to wait if there is something to ask from `due` on: later than `now`, by a minute at most. `None` means that
    /// it is time to ask.
    pub(super) fn next(&self, due: UnixTime, now: UnixTime) -> Option<UnixTime> {
        // A clock that was set back must not make anybody wait for longer than a pause.
        let after_pause = self.asked_at.map(|at| at.min(now).saturating_add(self.pause));
        let at = after_pause.map_or(due, |after| due.max(after));
        (at > now).then(|| at.min(now.saturating_add(LONGEST_PAUSE)))
    }

    /// The question to ask at `now`.
    pub(super) fn ask(&mut self, generation: u64, now: UnixTime) -> Question {
        let question =
            Question::about(generation).with_rejection(self.is_rejected).with_missing_bridge(self.has_no_bridge);
        if self.asked_at.is_some() {
            self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        self.asked_at = Some(now);
        // The owner has looked by now, and says that the token is the one.
        self.is_rejected &= self.pause < LONGEST_PAUSE;
        self.has_no_bridge = false;
        question
    }
}
