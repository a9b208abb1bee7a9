//! Competing sessions: two programs that take one brokerage session from each other.

use core::time::Duration;

use crate::advice::backoff::doubled;
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
    /// Since when it is ours, if it is.
    ours_since: Option<UnixTime>,
    lost_at: Option<UnixTime>,
}

impl Contest {
    pub(super) fn note_ours(&mut self, now: UnixTime) {
        self.ours_since.get_or_insert(now);
    }

    /// It ended, and nobody took it.
    pub(super) fn note_gone(&mut self) {
        self.ours_since = None;
    }

    /// Notes that another program took the session; once there is a contest, returns the pause before it may be taken back.
    pub(super) fn note_taken(&mut self, now: UnixTime) -> Option<Duration> {
        let ours_since = self.ours_since.take()?;
        let was_short = now.saturating_since(ours_since) < LONG_HELD;
        let is_next = self.lost_at.replace(now).is_some_and(|at| ours_since.saturating_since(at) < LONG_HELD);
        self.rounds = if was_short && is_next { self.rounds.saturating_add(1) } else { 1 };
        let doublings = self.rounds.checked_sub(ROUNDS)?;
        Some(doubled(FIRST_PAUSE, doublings, LONGEST_PAUSE))
    }

    /// Moves what was along with a clock that went back.
    pub(super) fn set_back(&mut self, by: Duration) {
        let times = self.ours_since.iter_mut().chain(&mut self.lost_at);
        times.for_each(|at| *at = at.saturating_sub(by));
    }
}
