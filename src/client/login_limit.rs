//! When the next login may be tried: growing pauses, a limit for each hour, and the recognition of a rival.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::advice::backoff::{Backoff, Jitter, doubled};
use crate::time::UnixTime;

/// At most so many live session tokens are asked for in any hour, whatever the server or another process does.
const PER_HOUR: usize = 12;
const HOUR: Duration = Duration::from_secs(60 * 60);
/// The pauses between failed attempts: few enough attempts an hour that the limit is not what holds a login back.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);
/// A doubt cuts a pause short that is longer than this, but only once in ten minutes: doubts without end must not use up
/// the tokens of an hour, or the client would be locked out for the rest of it.
const LONG_PAUSE: Duration = Duration::from_secs(60);
const DOUBT_PERIOD: Duration = Duration::from_secs(10 * 60);
/// Between an attempt and another that a doubt, or the user, causes.
const DOUBT_PAUSE: Duration = Duration::from_secs(5);
/// A token that dies younger than this did not die of the nightly reset.
const YOUNG: Duration = Duration::from_secs(30 * 60);
/// So many tokens that die young, one after the other, have a rival.
const ROUNDS: u32 = 3;
/// The pause before the next login, once there is a rival, and the longest.
const FIRST_RIVAL_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_RIVAL_PAUSE: Duration = Duration::from_secs(15 * 60);

/// What holds logins back.
pub(super) struct LoginLimit {
    /// When live session tokens were asked for, oldest first; no more than [`PER_HOUR`].
    asked: VecDeque<UnixTime>,
    attempted: Option<UnixTime>,
    /// The attempt after which a doubt last cut the pause short.
    hastened: Option<UnixTime>,
    not_before: UnixTime,
    /// The pause if the attempt in flight fails.
    pause: Duration,
    backoff: Backoff,
    /// Whether the latest attempt repeated one whose timestamp was rejected.
    is_repeat: bool,
    /// Tokens in a row that died young, and when the latest did.
    young_deaths: u32,
    died: Option<UnixTime>,
}

impl LoginLimit {
    pub(super) fn new(asked: VecDeque<UnixTime>) -> Self {
        Self {
            asked,
            attempted: None,
            hastened: None,
            not_before: UnixTime::default(),
            pause: FIRST_PAUSE,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            is_repeat: false,
            young_deaths: 0,
            died: None,
        }
    }

    /// Goes on after what was stored. Whatever the store says, nothing was asked for in the future.
    #[cfg(feature = "serde")]
    pub(super) fn resumed(asked: impl Iterator<Item = UnixTime>, now: UnixTime) -> Self {
        let mut asked: VecDeque<UnixTime> = asked.take(PER_HOUR).map(|at| at.min(now)).collect();
        asked.make_contiguous().sort_unstable();
        Self::new(asked)
    }

    /// Counts what another process has asked for, and once what both know of.
    #[cfg(feature = "serde")]
    pub(super) fn note_asked_elsewhere(&mut self, asked: impl Iterator<Item = UnixTime>, now: UnixTime) {
        let mut own = self.asked.clone();
        for at in asked.map(|at| at.min(now)) {
            match own.iter().position(|known| *known == at) {
                Some(position) => drop(own.remove(position)),
                None => self.asked.push_back(at),
            }
        }
        self.asked.make_contiguous().sort_unstable();
        let surplus = self.asked.len().saturating_sub(PER_HOUR);
        self.asked.drain(..surplus);
    }

    /// When live session tokens were asked for.
    #[cfg(feature = "serde")]
    pub(super) fn asked(&self) -> impl Iterator<Item = UnixTime> {
        self.asked.iter().copied()
    }

    /// The earliest moment for the next attempt; `asks_for_token` if it is one for a live session token.
    pub(super) fn free_at(&self, asks_for_token: bool) -> UnixTime {
        let oldest = self.asked.front().filter(|_| asks_for_token && self.asked.len() >= PER_HOUR);
        oldest.map_or(self.not_before, |oldest| oldest.saturating_add(HOUR).max(self.not_before))
    }

    /// Counts an attempt. It has failed until its response says otherwise.
    pub(super) fn note_sent(&mut self, asks_for_token: bool, jitter: Jitter, now: UnixTime) {
        if asks_for_token {
            if self.asked.len() >= PER_HOUR {
                self.asked.pop_front();
            }
            self.asked.push_back(now);
        }
        self.attempted = Some(now);
        self.pause = self.backoff.next_pause(jitter);
        self.not_before = now.saturating_add(self.pause);
    }

    /// The attempt failed, and there is no use in another before `advised`.
    pub(super) fn note_failed(&mut self, advised: UnixTime, now: UnixTime) {
        self.not_before = now.saturating_add(self.pause).max(advised);
    }

    /// When the attempt in flight may be followed by another, if no response comes before its `deadline`: silence is a
    /// failure too.
    pub(super) fn after_silence(&self, deadline: UnixTime) -> UnixTime {
        deadline.saturating_add(self.pause)
    }

    /// The timestamp was wrong and is right now: once, the same is asked again at once.
    pub(super) fn note_clock_off(&mut self, now: UnixTime) {
        if !core::mem::replace(&mut self.is_repeat, true) {
            self.not_before = now;
        }
    }

    pub(super) fn note_succeeded(&mut self, now: UnixTime) {
        self.is_repeat = false;
        self.backoff.reset();
        self.not_before = now;
    }

    /// Counts the death of a token that was asked for at `born`, and returns whether a rival is at work. Then the next login
    /// waits.
    pub(super) fn note_death(&mut self, born: UnixTime, now: UnixTime) -> bool {
        let died_young = now.saturating_since(born) < YOUNG;
        // Else there were tokens in between that lived long and were replaced in time.
        let is_next = self.died.replace(now).is_some_and(|died| born.saturating_since(died) < HOUR);
        let in_a_row = if is_next { self.young_deaths.saturating_add(1) } else { 1 };
        self.young_deaths = if died_young { in_a_row } else { 0 };
        let has_rival = self.young_deaths >= ROUNDS;
        if has_rival {
            let doublings = self.young_deaths.saturating_sub(ROUNDS);
            let pause = doubled(FIRST_RIVAL_PAUSE, doublings, LONGEST_RIVAL_PAUSE);
            self.not_before = self.not_before.max(now.saturating_add(pause));
        }
        has_rival
    }

    /// Lets the next attempt come soon: the network is back, or the user asks for it. The limit for each hour stays.
    pub(super) fn hasten(&mut self) {
        let Some(attempted) = self.attempted.filter(|_| self.young_deaths < ROUNDS) else { return };
        let is_long = self.not_before > attempted.saturating_add(LONG_PAUSE);
        let may_hasten = |last: UnixTime| attempted >= last.saturating_add(DOUBT_PERIOD);
        if is_long && self.hastened.is_none_or(may_hasten) {
            self.hastened = Some(attempted);
            self.not_before = attempted.saturating_add(DOUBT_PAUSE);
            self.pause = DOUBT_PAUSE;
        }
    }

    /// Lets go of the pauses that another access token caused. The limit for each hour stays.
    pub(super) fn begin_anew(&mut self) {
        let not_before = self.attempted.map_or(UnixTime::default(), |at| at.saturating_add(DOUBT_PAUSE));
        *self = Self { attempted: self.attempted, not_before, ..Self::new(core::mem::take(&mut self.asked)) };
    }

    /// Moves what is planned along with a clock that went back.
    pub(super) fn set_back(&mut self, by: Duration) {
        let times = self.asked.iter_mut().chain([&mut self.not_before]);
        let times = times.chain(&mut self.attempted).chain(&mut self.hastened).chain(&mut self.died);
        times.for_each(|at| *at = at.saturating_sub(by));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_714_650_000);

    #[cfg(feature = "serde")]
    #[test]
    fn what_several_processes_asked_for_counts_each_and_once() {
        let times = |seconds: &[u64]| -> VecDeque<UnixTime> {
            seconds.iter().map(|at| NOW.saturating_sub(Duration::from_secs(*at))).collect()
        };
        let mut limit = LoginLimit::new(times(&[9, 5, 5, 5]));
        limit.note_asked_elsewhere(times(&[9, 7, 5]).into_iter(), NOW);
        assert_eq!(limit.asked, times(&[9, 7, 5, 5, 5]), "9 and one of 5 are known to both");
        limit.note_asked_elsewhere(times(&[1; 10]).into_iter(), NOW);
        assert_eq!(limit.asked, times(&[5, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]), "twelve, the latest");
    }

    #[test]
    fn attempts_that_fail_stay_below_the_hourly_limit_by_their_pauses() {
        for jitter in [0, u32::MAX] {
            let mut limit = LoginLimit::new(VecDeque::new());
            let (mut now, mut attempts) = (NOW, 0);
            while now < NOW.saturating_add(HOUR) {
                limit.note_sent(true, Jitter::from(jitter), now);
                limit.note_failed(now, now);
                attempts += 1;
                let pauses = limit.free_at(false);
                assert_eq!(limit.free_at(true), pauses, "the limit is not what holds attempt {attempts} back");
                now = pauses;
            }
            assert!(attempts <= PER_HOUR, "{attempts}");
        }
    }
}
