//! Two programs that take one brokerage session from each other.

use core::time::Duration;

use crate::time::UnixTime;

/// A session that was held for longer was not lost in a contest.
const LONG_HELD: Duration = Duration::from_secs(30 * 60);
/// So many losses in a row are a contest.
const ROUNDS: u32 = 3;
/// The pause before the session is taken over again, once there is a contest, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// How often in a row the session was lost to another soon after it was ours.
#[derive(Default)]
pub(super) struct Contest {
    rounds: u32,
    ready_at: UnixTime,
}

impl Contest {
    pub(super) fn note_ready(&mut self, now: UnixTime) {
        self.ready_at = now;
    }

    /// Counts a loss and returns the pause before the session may be taken back: `usual`, unless there is a contest.
    pub(super) fn note_lost(&mut self, usual: Duration, now: UnixTime) -> Duration {
        let was_short = now.saturating_since(self.ready_at) < LONG_HELD;
        self.rounds = if was_short { self.rounds.saturating_add(1) } else { 1 };
        if !self.is_on() {
            return usual;
        }
        let doublings = self.rounds.saturating_sub(ROUNDS);
        FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE)
    }

    pub(super) fn is_on(&self) -> bool {
        self.rounds >= ROUNDS
    }
}
