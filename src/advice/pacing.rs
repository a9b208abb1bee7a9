//! Rate limiting: IBKR's documented request limits (protocol sections [8](crate::protocol#section-8) and
//! [14.3](crate::protocol#section-14-3)), as something to ask before sending.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::ptr;
use core::time::Duration;
use thiserror::Error;

use super::penalty::Penalty;
use crate::signing::percent_encoding::decode;
use crate::time::UnixTime;
use crate::wire::api_request::ApiRequest;
use crate::wire::method::Method;

/// The error of a request that must wait: too many of its kind have been sent, or a 429 came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[error("too many requests: IBKR's limits allow this one at {retry_at}")]
#[non_exhaustive]
pub struct PacingError {
    /// When the limits allow the request, if nothing else is sent before.
    pub retry_at: UnixTime,
}

/// A count of requests against IBKR's limits, which says when the next may be sent. Nothing asks it by itself: a request
/// that is sent without asking is not counted here, but on the server's side.
///
/// [`Pacing::default`] allows ten requests in a second, and what is documented for each endpoint. Limits hold per
/// username: share one `Pacing` among all sessions of a user, and ask it before the sessions' own requests too. A 429
/// is a matter of the IP address: see [`Penalty`]. A clone counts for itself from then on, and shares the penalty.
///
/// That only five history requests may be open at once is not modelled: it needs to know when responses come.
///
/// ```
/// use ibkr_oauth::{ApiRequest, Pacing, UnixTime};
/// let now = UnixTime::from_secs(1_714_650_000);
/// let in_five_seconds = UnixTime::from_secs(1_714_650_005);
/// let accounts = ApiRequest::get("/portfolio/accounts");
/// let mut pacing = Pacing::default();
/// assert_eq!(pacing.free_at(&accounts, now), None);
/// assert!(pacing.try_send(&accounts, now).is_ok());
/// assert_eq!(pacing.try_send(&accounts, now).unwrap_err().retry_at, in_five_seconds);
/// ```
#[derive(Debug, Clone)]
pub struct Pacing {
    /// What holds for all requests together.
    global: &'static Rule,
    /// How many processes divide the limits among them.
    sharers: NonZeroU32,
    /// What counts against a limit at the latest request, oldest first.
    sent: Vec<Sent>,
    penalty: Penalty,
}

/// A request that was sent, under one of the rules that hold for it.
#[derive(Debug, Clone)]
struct Sent {
    rule: &'static Rule,
    at: UnixTime,
}

/// What is documented for some endpoints, which count together.
#[derive(Debug)]
struct Rule {
    /// Paths behind the base URL; `*` is any one segment. A method stands before a path whose other methods are free.
    endpoints: &'static [&'static str],
    limits: &'static [Limit],
}

/// At most `count` requests in any period of so many seconds.
#[derive(Debug)]
struct Limit {
    count: usize,
    seconds: u64,
}

const fn rule(endpoints: &'static [&'static str], limits: &'static [Limit]) -> Rule {
    Rule { endpoints, limits }
}

const fn limit(count: usize, seconds: u64) -> Limit {
    Limit { count, seconds }
}

const SECOND: u64 = 1;
const MINUTE: u64 = 60;

static TEN_A_SECOND: Rule = rule(&[], &[limit(10, SECOND)]);
static FIFTY_A_SECOND: Rule = rule(&[], &[limit(50, SECOND)]);

/// The first that fits a request holds for it.
static PER_ENDPOINT: [Rule; 25] = [
    rule(&["/fyi/unreadnumber"], &[limit(1, SECOND)]),
    rule(&["/fyi/settings"], &[limit(1, SECOND)]),
    rule(&["/fyi/settings/*"], &[limit(1, SECOND)]),
    rule(&["/fyi/disclaimer/*"], &[limit(1, SECOND)]),
    rule(&["/fyi/deliveryoptions"], &[limit(1, SECOND)]),
    rule(&["/fyi/deliveryoptions/*"], &[limit(1, SECOND)]),
    rule(&["/fyi/notifications"], &[limit(1, SECOND)]),
    rule(&["/fyi/notifications/more"], &[limit(1, SECOND)]),
    rule(&["/fyi/notifications/*"], &[limit(1, SECOND)]),
    rule(&["/fyi/*", "/fyi/*/*"], &[limit(1, SECOND)]),
    // With another method, a path like these may be an order.
    rule(&["GET /iserver/orders", "GET /iserver/account/orders"], &[limit(1, 5)]),
    rule(&["GET /iserver/trades", "GET /iserver/account/trades"], &[limit(1, 5)]),
    rule(&["/iserver/account/pnl/partitioned"], &[limit(1, 5)]),
    rule(&["/iserver/marketdata/history"], &[limit(10, SECOND), limit(50, MINUTE)]),
    rule(&["/iserver/marketdata/snapshot"], &[limit(10, SECOND)]),
    rule(&["/iserver/scanner/params"], &[limit(1, 15 * MINUTE)]),
    rule(&["/iserver/scanner/run"], &[limit(1, SECOND)]),
    rule(&["/pa/performance"], &[limit(1, 15 * MINUTE)]),
    rule(&["/pa/summary"], &[limit(1, 15 * MINUTE)]),
    rule(&["/pa/transactions"], &[limit(1, 15 * MINUTE)]),
    rule(&["/pa/*"], &[limit(1, 15 * MINUTE)]),
    rule(&["/portfolio/accounts"], &[limit(1, 5)]),
    rule(&["/portfolio/subaccounts"], &[limit(1, 5)]),
    rule(&["/sso/validate"], &[limit(1, MINUTE)]),
    rule(&["/tickle"], &[limit(1, SECOND)]),
];

impl Default for Pacing {
    /// Allows ten requests in a second for each username, without an exception
    /// ([protocol section 14.3](crate::protocol#section-14-3)).
    fn default() -> Self {
        Self { global: &TEN_A_SECOND, sharers: NonZeroU32::MIN, sent: Vec::new(), penalty: Penalty::default() }
    }
}

impl Pacing {
    /// Allows fifty requests in a second, as an older page of IBKR's does for requests straight to its servers. The
    /// newest pages no longer do: whoever chooses this risks a 429.
    pub fn fifty_a_second() -> Self {
        Self { global: &FIFTY_A_SECOND, ..Self::default() }
    }

    /// Pauses whenever `penalty` does, which others share.
    #[must_use]
    pub fn with_penalty(self, penalty: Penalty) -> Self {
        Self { penalty, ..self }
    }

    /// Takes one of so many equal shares of each limit, for processes that send for one user and do not know of each other's
    /// requests. If a limit allows fewer requests than there are sharers, each waits proportionally longer: of one request
    /// in five seconds, each of three gets one in fifteen. Such a limit is then kept on average only, because several may
    /// send at the same moment.
    #[must_use]
    pub fn shared_by(self, sharers: NonZeroU32) -> Self {
        Self { sharers, ..self }
    }

    /// Returns when `request` may be sent, or `None` if it may be at `now`. Nothing is counted.
    ///
    /// If the clock goes back, what was sent after `now` counts as sent at `now`: nobody waits for longer than a
    /// period.
    pub fn free_at(&mut self, request: &ApiRequest<'_>, now: UnixTime) -> Option<UnixTime> {
        self.follow_clock(now);
        let free_at = self.rules(request).filter_map(|rule| rule.free_at(&self.sent, self.sharers)).max();
        free_at.max(self.penalty.ends_at(now)).filter(|at| *at > now)
    }

    /// Counts `request` as sent at `now`, if the limits allow it.
    ///
    /// # Errors
    /// [`PacingError`], and nothing is counted.
    pub fn try_send(&mut self, request: &ApiRequest<'_>, now: UnixTime) -> Result<(), PacingError> {
        if let Some(retry_at) = self.free_at(request, now) {
            return Err(PacingError { retry_at });
        }
        self.note_sent(request, now);
        Ok(())
    }

    /// Counts `request` as sent at `now`, whatever the limits say.
    pub(crate) fn note_sent(&mut self, request: &ApiRequest<'_>, now: UnixTime) {
        self.follow_clock(now);
        let sharers = self.sharers;
        self.sent.retain(|sent| sent.rule.counts(sent.at, sharers, now));
        self.sent.extend(self.rules(request).map(|rule| Sent { rule, at: now }));
    }

    pub(crate) fn penalty(&self) -> &Penalty {
        &self.penalty
    }

    /// Notes a 429, as [`Penalty::handle_too_many_requests`] does: nothing may be sent for ten minutes, or
    /// for as long as its `Retry-After` says if that is longer.
    pub fn handle_too_many_requests(&self, now: UnixTime, retry_after: Option<Duration>) {
        self.penalty.handle_too_many_requests(now, retry_after);
    }

    fn rules(&self, request: &ApiRequest<'_>) -> impl Iterator<Item = &'static Rule> + use<> {
        let (method, path) = (request.method(), plain(request.path()));
        let of_its_endpoint = PER_ENDPOINT.iter().find(|rule| rule.fits(method, &path));
        [self.global].into_iter().chain(of_its_endpoint)
    }

    fn follow_clock(&mut self, now: UnixTime) {
        self.sent.iter_mut().for_each(|sent| sent.at = now.min(sent.at));
    }
}

impl Rule {
    fn fits(&self, method: Method, path: &str) -> bool {
        self.endpoints.iter().any(|endpoint| {
            let (wanted_method, wanted_path) = endpoint.split_once(' ').unwrap_or((method.as_str(), endpoint));
            wanted_method == method.as_str() && is_path_of(path, wanted_path)
        })
    }

    /// When the limits that `sent` has exhausted allow the next.
    fn free_at(&self, sent: &[Sent], sharers: NonZeroU32) -> Option<UnixTime> {
        let shares = self.limits.iter().map(|limit| limit.share(sharers));
        shares.filter_map(|limit| limit.free_at(self.latest(sent))).max()
    }

    /// When requests under this rule were sent, latest first.
    fn latest<'a>(&'a self, sent: &'a [Sent]) -> impl Iterator<Item = UnixTime> {
        sent.iter().rev().filter(|sent| ptr::eq(sent.rule, self)).map(|sent| sent.at)
    }

    /// Whether a request that was sent at `at` still counts at `now`.
    fn counts(&self, at: UnixTime, sharers: NonZeroU32, now: UnixTime) -> bool {
        self.limits.iter().any(|limit| limit.share(sharers).ends_at(at) > now)
    }
}

impl Limit {
    /// What each of so many may send, so that all together keep the limit.
    fn share(&self, sharers: NonZeroU32) -> Self {
        let sharers = usize::try_from(sharers.get()).unwrap_or(usize::MAX);
        let turns = sharers.div_ceil(self.count.max(1));
        let turns = u64::try_from(turns).unwrap_or(u64::MAX);
        match self.count.checked_div(sharers) {
            None | Some(0) => Self { count: 1, seconds: self.seconds.saturating_mul(turns) },
            Some(count) => Self { count, seconds: self.seconds },
        }
    }

    /// When the oldest of the latest `count` requests leaves the period.
    fn free_at(&self, mut latest: impl Iterator<Item = UnixTime>) -> Option<UnixTime> {
        latest.nth(self.count.checked_sub(1)?).map(|oldest| self.ends_at(oldest))
    }

    /// When a request that was sent at `at` leaves the period.
    fn ends_at(&self, at: UnixTime) -> UnixTime {
        at.saturating_add(Duration::from_secs(self.seconds))
    }
}

/// The path that a server sees in `path`, whatever is percent-encoded in it.
fn plain(path: &str) -> Cow<'_, str> {
    match path.contains('%').then(|| decode(path)) {
        Some(Ok(plain)) => Cow::Owned(plain),
        Some(Err(_)) | None => Cow::Borrowed(path),
    }
}

fn is_path_of(path: &str, endpoint: &str) -> bool {
    let mut given = segments(path);
    let mut fits = |wanted| given.next().is_some_and(|given| wanted == "*" || wanted == given);
    segments(endpoint).all(&mut fits) && given.next().is_none()
}

/// Without empty ones: a slash more or less is the same endpoint.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}
