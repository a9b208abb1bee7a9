//! The penalty box: the pause after HTTP 429, too many requests.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use crate::time::UnixTime;

/// Ten minutes, the shorter of the two figures that IBKR's pages give
/// ([protocol section 14.3](crate::protocol#section-14-3)).
const SHORTEST: Duration = Duration::from_secs(10 * 60);
/// No response may stop a client for good.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The pause after a 429. Clones share it: one 429 pauses all of them.
///
/// IBKR punishes the IP address, not the username ([protocol section 14.3](crate::protocol#section-14-3)), so give one
/// `Penalty` to the [`Pacing`](crate::Pacing) of every user whose requests leave from the same address.
///
/// ```
/// use ibkr_oauth::{ApiRequest, Pacing, Penalty, UnixTime};
/// let penalty = Penalty::default();
/// let mut alice = Pacing::default().with_penalty(penalty.clone());
/// let mut bob = Pacing::default().with_penalty(penalty);
/// let now = UnixTime::from_secs(1_714_650_000);
/// alice.handle_too_many_requests(now, None);
/// let in_ten_minutes = UnixTime::from_secs(1_714_650_600);
/// assert_eq!(bob.free_at(&ApiRequest::get("/iserver/accounts"), now), Some(in_ten_minutes));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Penalty(Arc<Pause>);

#[derive(Debug, Default)]
struct Pause {
    /// The second at which it ends.
    until: AtomicU32,
    /// Its seconds in all: if the clock goes back, what is left is not more than that.
    length: AtomicU32,
}

impl Penalty {
    /// Notes a 429 that arrived at `now`: nothing may be sent for as long as its `Retry-After` says, but for
    /// ten minutes at least and a day at most. A pause that ends later stays.
    pub fn handle_too_many_requests(&self, now: UnixTime, retry_after: Option<Duration>) {
        let pause = retry_after.map_or(SHORTEST, |pause| pause.clamp(SHORTEST, LONGEST));
        let end = now.saturating_add(pause);
        let seconds = second(end).saturating_sub(second(now));
        // Of two that arrive at the same instant, the shorter may win: ten minutes are kept in any case.
        let length = match self.ends_at(now) {
            Some(_) => seconds.max(self.0.length.load(Ordering::Relaxed)),
            None => seconds,
        };
        self.0.length.store(length, Ordering::Relaxed);
        // Whoever sees the end sees the length.
        self.0.until.fetch_max(second(end), Ordering::Release);
    }

    /// Returns when the pause ends; `None` if there is none at `now`.
    pub fn ends_at(&self, now: UnixTime) -> Option<UnixTime> {
        let until = self.0.until.load(Ordering::Acquire);
        if UnixTime::from_secs(until.into()) <= now {
            return None;
        }
        let latest = second(now).saturating_add(self.0.length.load(Ordering::Relaxed));
        let until = self.0.until.fetch_min(latest, Ordering::Relaxed).min(latest);
        Some(UnixTime::from_secs(until.into()))
    }
}

/// The second that has begun last or begins next, so that no pause is cut short; the year 2106 at most.
fn second(time: UnixTime) -> u32 {
    u32::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}
