//! Waiting between attempts: a plain value, no timer.

use core::time::Duration;
use rand_core::CryptoRng;

use crate::UnixTime;
use crate::diagnosis::Retry;

/// The longest pause before the first retry.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause before any.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// Pauses between attempts, doubling from one second to five minutes, each shortened at random by up to a half, so that
/// many clients do not come back at the same moment.
///
/// ```
/// use ibkr_oauth::{Backoff, Retry, UnixTime};
/// # use rand::SeedableRng;
/// # let mut rng = rand::rngs::StdRng::seed_from_u64(1);
/// let now = UnixTime::from_secs(1_714_650_000);
/// let mut backoff = Backoff::default();
/// let first = backoff.next_attempt(Retry::Again, &mut rng, now).unwrap();
/// let second = backoff.next_attempt(Retry::Again, &mut rng, now).unwrap();
/// assert!(now < first && first < second);
/// assert_eq!(backoff.next_attempt(Retry::Never, &mut rng, now), None);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// When to make the next attempt after a failure at `now`, for which `retry` was the advice. `None` if waiting
    /// does not help.
    pub fn next_attempt(&mut self, retry: Retry, rng: &mut dyn CryptoRng, now: UnixTime) -> Option<UnixTime> {
        let earliest = match retry {
            Retry::Again => now,
            Retry::Later(at) => at,
            Retry::Reauthorize | Retry::Never => return None,
        };
        let pause = FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        Some(earliest.max(now.saturating_add(shortened(pause, rng))))
    }

    /// To be called after a success: the next failure starts from the shortest pause again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

fn shortened(pause: Duration, rng: &mut dyn CryptoRng) -> Duration {
    let half = pause.div_f64(2.0);
    let share = f64::from(rng.next_u32()) / f64::from(u32::MAX);
    half.saturating_add(half.mul_f64(share))
}
