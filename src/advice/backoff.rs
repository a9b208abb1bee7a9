//! Growing pauses between attempts (exponential backoff with jitter): a plain value, no timer.

use core::time::Duration;
use rand_core::CryptoRng;

use crate::advice::diagnosis::Retry;
use crate::time::UnixTime;

/// Pauses between attempts that fail: each twice as long as the one before, up to a longest, and each lengthened at random
/// by up to a half, so that many clients do not come back at the same moment.
///
/// ```
/// use ibkr_oauth::{Backoff, Retry, UnixTime};
/// # use rand::SeedableRng;
/// # let mut rng = rand::rngs::StdRng::seed_from_u64(1);
/// let now = UnixTime::from_secs(1_714_650_000);
/// let mut backoff = Backoff::default(); // one second to five minutes
/// let first = backoff.next_attempt(Retry::Again, &mut rng, now).unwrap();
/// let second = backoff.next_attempt(Retry::Again, &mut rng, now).unwrap();
/// assert!(now < first && first < second);
/// assert_eq!(backoff.next_attempt(Retry::Never, &mut rng, now), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

/// From one second to five minutes.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(5 * 60))
    }
}

impl Backoff {
    /// Returns pauses that begin with `first` and grow to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Returns when to make the next attempt after a failure at `now`, for which `retry` was the advice. `None` if waiting
    /// does not help.
    pub fn next_attempt(&mut self, retry: Retry, rng: &mut dyn CryptoRng, now: UnixTime) -> Option<UnixTime> {
        let earliest = match retry {
            Retry::Again | Retry::LogIn | Retry::OpenBrokerageSession => now,
            Retry::Later(at) => at,
            Retry::Reauthorize | Retry::Never => return None,
        };
        Some(earliest.max(now.saturating_add(self.next_pause(Jitter::draw(rng)))))
    }

    /// Returns the pause after one more failure.
    pub(crate) fn next_pause(&mut self, jitter: Jitter) -> Duration {
        let pause = doubled(self.first, self.failures, self.longest);
        self.failures = self.failures.saturating_add(1);
        jitter.lengthen(pause)
    }

    /// Counts the latest failure as none: the response came after all, and no pause was needed.
    pub(crate) fn take_back(&mut self) {
        self.failures = self.failures.saturating_sub(1);
    }

    /// Starts from the shortest pause again: call this after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The pause that is `first`, doubled so many `times`, and no longer than `longest`.
pub(crate) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(longest)
}

/// By how much a pause is lengthened. It is drawn when a request goes out, where there is a random source, for the pause
/// after its failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Jitter(u32);

impl Jitter {
    pub(crate) fn draw(rng: &mut dyn CryptoRng) -> Self {
        Self(rng.next_u32())
    }

    /// By up to a half.
    fn lengthen(self, pause: Duration) -> Duration {
        let share = f64::from(self.0) / f64::from(u32::MAX);
        pause.saturating_add(pause.mul_f64(share / 2.0))
    }
}

#[cfg(test)]
impl From<u32> for Jitter {
    fn from(share: u32) -> Self {
        Self(share)
    }
}
