//! IBKR's documented request limits (protocol section 8), as something to ask before sending.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;
use thiserror::Error;

use crate::UnixTime;

/// Not now: too many requests of this kind have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the documented limit allows this request at {} ms since 1970", .0.as_millis())]
pub struct RetryAt(
    /// When the limit allows the request.
    pub UnixTime,
);

/// Paths that begin with `path` (everything, for an empty one) may be sent `count` times in any `period`.
#[derive(Debug)]
struct Limit {
    path: &'static str,
    count: usize,
    period: Duration,
    /// When the latest `count` requests were sent, oldest first.
    sent: VecDeque<UnixTime>,
}

/// Whether a request may be sent now. Asking costs nothing and nothing asks by itself: sending without asking is the
/// caller's right.
///
/// A limit for a family of endpoints (`/pa/`, `/fyi/`) is one limit for all of them together, the cautious reading.
///
/// Limits hold per username: share one `Pacing` among all sessions of a user. That only five history requests may be
/// open at once is not modelled: it needs to know when answers come.
///
/// ```
/// use ibkr_oauth::UnixTime;
/// use ibkr_oauth::brokerage::{Pacing, RetryAt};
/// let now = UnixTime::from_secs(1_714_650_000);
/// let mut pacing = Pacing::direct();
/// assert!(pacing.may_send("/portfolio/accounts", now).is_ok());
/// let in_five_seconds = UnixTime::from_secs(1_714_650_005);
/// assert_eq!(pacing.may_send("/portfolio/accounts", now), Err(RetryAt(in_five_seconds)));
/// ```
#[derive(Debug)]
pub struct Pacing {
    limits: Vec<Limit>,
    /// When a 429 came, which forbids everything for a while.
    penalized_at: Option<UnixTime>,
}

/// Ten minutes, by the newer documentation; older pages say fifteen.
const PENALTY: Duration = Duration::from_secs(10 * 60);

const SECOND: u64 = 1;
const MINUTE: u64 = 60;

/// Path, count, seconds.
const PER_ENDPOINT: [(&str, usize, u64); 12] = [
    ("/fyi/", 1, SECOND),
    ("/iserver/account/orders", 1, 5),
    ("/iserver/account/trades", 1, 5),
    ("/iserver/marketdata/snapshot", 10, SECOND),
    ("/iserver/scanner/params", 1, 15 * MINUTE),
    ("/iserver/scanner/run", 1, SECOND),
    ("/pa/", 1, 15 * MINUTE),
    ("/portfolio/accounts", 1, 5),
    ("/portfolio/subaccounts", 1, 5),
    ("/sso/validate", 1, MINUTE),
    ("/tickle", 1, SECOND),
    ("/iserver/account/pnl", 1, 5),
];

impl Pacing {
    /// For requests straight to IBKR's servers: 50 in a second for each username, and the limits of each endpoint.
    pub fn direct() -> Self {
        Self::with_global_limit(50)
    }

    /// The older, stricter figure of 10 in a second, which also holds behind IBKR's gateway program.
    pub fn cautious() -> Self {
        Self::with_global_limit(10)
    }

    fn with_global_limit(count: usize) -> Self {
        let limit = |(path, count, seconds): (&'static str, usize, u64)| Limit {
            path,
            count,
            period: Duration::from_secs(seconds),
            sent: VecDeque::new(),
        };
        let limits = PER_ENDPOINT.into_iter().chain([("", count, SECOND)]).map(limit).collect();
        Self { limits, penalized_at: None }
    }

    /// Whether a request to `path` (behind the base URL) may be sent at `now`; if so, it counts as sent.
    ///
    /// # Errors
    /// [`RetryAt`], and nothing is counted.
    pub fn may_send(&mut self, path: &str, now: UnixTime) -> Result<(), RetryAt> {
        self.follow_clock(now);
        let concerned = |limit: &&mut Limit| path.starts_with(limit.path);
        let free_at = self.limits.iter_mut().filter(concerned).filter_map(|limit| limit.free_at());
        let penalty = self.penalized_at.map(|at| at.saturating_add(PENALTY));
        if let Some(at) = free_at.chain(penalty).filter(|at| *at > now).max() {
            return Err(RetryAt(at));
        }
        self.limits.iter_mut().filter(concerned).for_each(|limit| limit.count_one(now));
        Ok(())
    }

    /// Takes the news of a 429 that arrived at `now`: nothing may be sent for ten minutes.
    pub fn handle_too_many_requests(&mut self, now: UnixTime) {
        self.penalized_at = Some(now);
    }

    /// If the clock went back, what was sent after `now` was sent now: nobody waits for longer than a period.
    fn follow_clock(&mut self, now: UnixTime) {
        let sent = self.limits.iter_mut().flat_map(|limit| &mut limit.sent).chain(&mut self.penalized_at);
        sent.for_each(|at| *at = now.min(*at));
    }
}

impl Limit {
    /// When the oldest of the latest `count` requests leaves the period.
    fn free_at(&self) -> Option<UnixTime> {
        let oldest = self.sent.front().filter(|_| self.sent.len() >= self.count)?;
        Some(oldest.saturating_add(self.period))
    }

    fn count_one(&mut self, now: UnixTime) {
        if self.sent.len() >= self.count {
            self.sent.pop_front();
        }
        self.sent.push_back(now);
    }
}
