//! What is known of the server's clock, and the series of `oauth_timestamp`s: one of each for a consumer.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use core::time::Duration;

use crate::advice::diagnosis::Diagnosis;
use crate::error::{Error, Misuse, Rejected};
use crate::time::UnixTime;
use crate::wire::receipt::Receipt;
use crate::wire::response::Response;

/// The first second with ten digits, 2001-09-09: "exactly 10 digits" ([protocol section 7](crate::protocol#section-7)).
const FIRST_SECOND: u32 = 1_000_000_000;
/// The furthest, in seconds, that a server's `Date` may be from the caller's clock and still be believed. A larger
/// difference means that the `Date` header is wrong: with such a clock TLS certificates would not have validated.
const BELIEVABLE: u64 = 24 * 60 * 60;
/// Differences up to this many seconds are explained by latency and by `Date` having whole seconds.
const NOISE: i64 = 2;
/// Between asking and reading, more than any response takes: meanwhile the clock was set, or the machine slept.
const SLOWEST: Duration = Duration::from_secs(60);
/// No difference is being considered.
const NONE: i32 = i32::MIN;

/// The server's clock as seen from the caller's, and the latest timestamp sent.
///
/// `oauth_timestamp` must not decrease between the requests of a consumer: each is "greater than or equal to any
/// timestamp used in previous requests" ([protocol section 7](crate::protocol#section-7)). All sessions of a
/// [`Consumer`](crate::Consumer) value therefore share one of these.
///
/// One wrong `Date` must not lock a consumer out, so not every `Date` is believed:
///
/// | response | its `Date` |
/// |---|---|
/// | any whose `Date` agrees with what is known, within 2 s | changes nothing |
/// | rejects the signature (401, not HTML) | is believed at once |
/// | any but 2xx, before the server has accepted a timestamp | is believed at once |
/// | any other | is believed when a second response agrees within 2 s: the accepted timestamp proved that the known difference is good enough |
pub(crate) struct ServerClock {
    latest: AtomicU32,
    /// Seconds by which the server's clock is ahead of the caller's.
    skew: AtomicI32,
    /// A difference that one response showed, or [`NONE`].
    candidate: AtomicI32,
    /// Whether the server has ever accepted a timestamp.
    accepted: AtomicBool,
    /// Whether a rejection was blamed on the clock, and nothing was accepted since.
    excused: AtomicBool,
}

impl Default for ServerClock {
    fn default() -> Self {
        Self {
            latest: AtomicU32::new(0),
            skew: AtomicI32::new(0),
            candidate: AtomicI32::new(NONE),
            accepted: AtomicBool::new(false),
            excused: AtomicBool::new(false),
        }
    }
}

/// Whether a wrong timestamp explains a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockVerdict {
    /// It does not, or nothing was rejected.
    Innocent,
    /// The timestamp of the rejected request was off by more than latency explains.
    ExplainsRejection,
}

impl ClockVerdict {
    /// Blames the clock for a rejection that it explains.
    pub(crate) fn explain(self, error: Error) -> Error {
        match error {
            Error::Rejected(rejected) if self == Self::ExplainsRejection => {
                Error::Rejected(Rejected { diagnosis: Diagnosis::ClockOff, ..rejected })
            }
            other => other,
        }
    }
}

impl ServerClock {
    /// The second to send at `now`: the server's, or the latest one sent if that is later.
    pub(crate) fn next_second(&self, now: UnixTime) -> Result<u32, Misuse> {
        let second = self.server_second(now)?;
        let latest = self.latest.load(Ordering::Relaxed);
        Ok(if is_plausible(latest, second) { second.max(latest) } else { second })
    }

    /// Notes that `second` is going out.
    pub(crate) fn note(&self, second: u32) {
        let latest = self.latest.load(Ordering::Relaxed);
        if !is_plausible(latest, second) {
            // A new series begins, unless another thread was faster.
            let _ = self.latest.compare_exchange(latest, second, Ordering::Relaxed, Ordering::Relaxed);
        }
        // Within one second there is nothing new to note, and a load is far cheaper.
        if self.latest.load(Ordering::Relaxed) < second {
            self.latest.fetch_max(second, Ordering::Relaxed);
        }
    }

    /// Learns from the response to the request of `receipt`, read at `now`, and says whether the clock explains its
    /// rejection.
    pub(crate) fn learn(&self, receipt: &Receipt, response: &Response<'_>, now: UnixTime) -> ClockVerdict {
        if response.is_success() {
            // Its timestamp was good enough, whatever its own `Date` says.
            self.accepted.store(true, Ordering::Relaxed);
            self.excused.store(false, Ordering::Relaxed);
        }
        let Some(date) = response.date() else { return ClockVerdict::Innocent };
        let (known, shown) = (self.skew(), Difference::between(date, receipt.asked_at(), now));
        let is_rejection = response.may_reject_signature();
        self.compare(&shown, is_rejection);
        let is_off = seconds(date).abs_diff(receipt.second().into()) > NOISE.unsigned_abs();
        // A `Date` that cannot be believed says nothing about the timestamp either.
        if !is_rejection || !is_off || !shown.agrees_with(self.skew()) {
            return ClockVerdict::Innocent;
        }
        self.take_back(receipt.second(), now);
        self.judge(receipt, known, now)
    }

    fn compare(&self, shown: &Difference, is_rejection: bool) {
        if shown.agrees_with(self.skew()) {
            self.candidate.store(NONE, Ordering::Relaxed);
            return;
        }
        let candidate = Some(self.candidate.load(Ordering::Relaxed)).filter(|candidate| *candidate != NONE);
        let confirmed = candidate.filter(|candidate| shown.agrees_with(*candidate));
        let learned = confirmed.map_or_else(|| shown.middle(), |candidate| shown.nearest_to(candidate));
        let Some(skew) = believable(learned) else { return };
        if is_rejection || confirmed.is_some() || !self.accepted.load(Ordering::Relaxed) {
            self.skew.store(skew, Ordering::Relaxed);
            self.candidate.store(NONE, Ordering::Relaxed);
        } else {
            self.candidate.store(skew, Ordering::Relaxed);
        }
    }

    /// A rejected timestamp that was off counts as never sent. Else a clock that was once fast would lock its owner out
    /// until time catches up. Later timestamps may have been accepted: only the rejected one is taken back.
    fn take_back(&self, rejected: u32, now: UnixTime) {
        if let Ok(second) = self.server_second(now)
            && second < rejected
        {
            let _ = self.latest.compare_exchange(rejected, second, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// A slow way to the server makes timestamps late too, and must not hide for ever that a token is dead. So a timestamp
    /// that was made from what was `known` before this rejection, by a clock that was not set since, is blamed only once
    /// until another is accepted.
    fn judge(&self, receipt: &Receipt, known: i32, now: UnixTime) -> ClockVerdict {
        let asked_at = receipt.asked_at();
        let is_from_known = seconds(asked_at.shifted(known)).abs_diff(receipt.second().into()) <= NOISE.unsigned_abs();
        let clock_ran_on = (asked_at..asked_at.saturating_add(SLOWEST)).contains(&now);
        let was_excused = self.excused.swap(true, Ordering::Relaxed);
        if is_from_known && clock_ran_on && was_excused {
            ClockVerdict::Innocent
        } else {
            ClockVerdict::ExplainsRejection
        }
    }

    /// Seconds by which the server's clock is ahead of the caller's.
    pub(crate) fn skew(&self) -> i32 {
        self.skew.load(Ordering::Relaxed)
    }

    fn server_second(&self, now: UnixTime) -> Result<u32, Misuse> {
        let local = u32::try_from(now.as_secs()).map_err(|_| Misuse::ClockOutOfRange)?;
        let second = local.checked_add_signed(self.skew()).filter(|second| *second >= FIRST_SECOND);
        second.ok_or(Misuse::ClockOutOfRange)
    }
}

/// Whether the latest second used may stand: further ahead than any clock is believed to be off, it comes from a clock
/// that was wrong, and must not lock its owner out.
fn is_plausible(latest: u32, second: u32) -> bool {
    u64::from(latest) <= u64::from(second).saturating_add(BELIEVABLE)
}

/// By how many seconds a server's clock can be ahead, by one `Date`: the server wrote it at some moment between asking
/// and reading, which can be far apart if a machine slept or a body was slow.
struct Difference {
    least: i64,
    most: i64,
}

impl Difference {
    /// A caller's clock that was set between asking and reading may make the later moment the smaller one.
    fn between(date: UnixTime, asked_at: UnixTime, read_at: UnixTime) -> Self {
        let (earlier, later) = (asked_at.min(read_at), asked_at.max(read_at));
        let date = seconds(date);
        Self { least: date.saturating_sub(seconds(later)), most: date.saturating_sub(seconds(earlier)) }
    }

    fn agrees_with(&self, skew: i32) -> bool {
        let skew = i64::from(skew);
        self.least.saturating_sub(NOISE) <= skew && skew <= self.most.saturating_add(NOISE)
    }

    fn middle(&self) -> i64 {
        self.least.saturating_add(self.most) / 2
    }

    fn nearest_to(&self, skew: i32) -> i64 {
        i64::from(skew).max(self.least).min(self.most)
    }
}

/// A difference that a clock can have.
fn believable(skew: i64) -> Option<i32> {
    let skew = if skew.abs() <= NOISE { 0 } else { skew };
    i32::try_from(skew).ok().filter(|_| skew.unsigned_abs() <= BELIEVABLE)
}

fn seconds(moment: UnixTime) -> i64 {
    i64::try_from(moment.as_secs()).unwrap_or(i64::MAX)
}
