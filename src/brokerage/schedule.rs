//! When the next requests of a brokerage session are due.

use core::time::Duration;

use crate::time::UnixTime;

/// Between two requests that a doubt, or [`BrokerageSession::open`](super::BrokerageSession::open), can cause.
const DOUBT_PAUSE: Duration = Duration::from_secs(5);

/// What is planned and what has been: all of it moves along with a clock that went back.
#[derive(Default)]
pub(super) struct Schedule {
    /// The latest `now`.
    pub(super) seen: UnixTime,
    /// When the next step towards the wanted state is due.
    pub(super) step: UnixTime,
    /// When the latest request went out, step or tickle.
    pub(super) sent: Option<UnixTime>,
    /// When the latest step went out.
    pub(super) asked: Option<UnixTime>,
    /// No step before this moment, whatever anybody doubts: the server's wish, or the penalty box.
    pub(super) not_before: UnixTime,
    /// When the next tickle is due; none before the first response to an init.
    pub(super) tickle: Option<UnixTime>,
    /// When the latest response that said "authenticated and established" was asked for.
    pub(super) confirmed: Option<UnixTime>,
}

impl Schedule {
    /// Returns by how much the clock went back since the latest `now`.
    pub(super) fn follow_clock(&mut self, now: UnixTime) -> Duration {
        let back = self.seen.follow(now);
        if back.is_zero() {
            return back;
        }
        for at in [&mut self.step, &mut self.not_before] {
            *at = at.saturating_sub(back);
        }
        for at in [&mut self.asked, &mut self.tickle].into_iter().flatten() {
            *at = at.saturating_sub(back);
        }
        // What would be before 1970 must not become younger than it is.
        let moved = |at: UnixTime| (at >= UnixTime::default().saturating_add(back)).then(|| at.saturating_sub(back));
        self.sent = self.sent.and_then(moved);
        self.confirmed = self.confirmed.and_then(moved);
        back
    }

    /// The earliest moment for a step that a doubt causes.
    pub(super) fn after_doubt(&self) -> UnixTime {
        let pause_over = self.asked.map_or(UnixTime::default(), |asked| asked.saturating_add(DOUBT_PAUSE));
        pause_over.max(self.not_before)
    }
}
