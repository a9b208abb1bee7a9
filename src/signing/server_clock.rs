//! What is known of the server's clock, and the series of `oauth_timestamp`s: one of each for a consumer.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use crate::advice::diagnosis::Diagnosis;
use crate::error::{Error, Misuse, Rejected};
use crate::time::UnixTime;
use crate::wire::receipt::Receipt;
use crate::wire::response::Response;

/// The first second with ten digits, 2001-09-09: "exactly 10 digits" (protocol section 7).
const FIRST_SECOND: u32 = 1_000_000_000;
/// The furthest, in seconds, that a server's `Date` may be from the caller's clock and still be believed. A larger
/// difference means that the `Date` header is wrong: with such a clock TLS certificates would not have validated.
const BELIEVABLE: u64 = 24 * 60 * 60;
/// Differences up to this many seconds are explained by latency and by `Date` having whole seconds.
const NOISE: i64 = 2;
/// No difference is being considered.
const NONE: i32 = i32::MIN;

/// The server's clock as seen from the caller's, and the latest timestamp sent.
///
/// `oauth_timestamp` must not decrease between the requests of a consumer: each is "greater than or equal to any
/// timestamp used in previous requests" (protocol section 7). All sessions of a [`Consumer`](crate::Consumer) value
/// therefore share one of these.
///
/// One wrong `Date` must not lock a consumer out, so not every `Date` is believed:
///
/// | response | its `Date` |
/// |---|---|
/// | agrees with what is known, within 2 s | changes nothing |
/// | refuses the signature (401, not HTML) | is believed at once |
/// | any, before the server has accepted a timestamp | is believed at once |
/// | any other | is believed when a second response agrees within 2 s: the accepted timestamp proved that the known difference is good enough |
pub(crate) struct ServerClock {
    latest: AtomicU32,
    /// Seconds by which the server's clock is ahead of the caller's.
    skew: AtomicI32,
    /// A difference that one response showed, or [`NONE`].
    candidate: AtomicI32,
    /// Whether the server has accepted a timestamp under the present skew.
    accepted: AtomicBool,
}

impl Default for ServerClock {
    fn default() -> Self {
        Self {
            latest: AtomicU32::new(0),
            skew: AtomicI32::new(0),
            candidate: AtomicI32::new(NONE),
            accepted: AtomicBool::new(false),
        }
    }
}

/// Whether a wrong timestamp explains a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockVerdict {
    /// It does not, or nothing was refused.
    Innocent,
    /// The timestamp of the refused request was off by more than latency explains.
    ExplainsRefusal,
}

impl ClockVerdict {
    /// Blames the clock for a refusal that it explains.
    pub(crate) fn explain(self, error: Error) -> Error {
        match error {
            Error::Rejected(rejected) if self == Self::ExplainsRefusal => {
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
    /// refusal.
    pub(crate) fn learn(&self, receipt: &Receipt, response: &Response<'_>, now: UnixTime) -> ClockVerdict {
        let verdict = response.date().map_or(ClockVerdict::Innocent, |date| self.compare(receipt, response, date, now));
        if response.is_success() {
            self.accepted.store(true, Ordering::Relaxed);
        }
        verdict
    }

    fn compare(&self, receipt: &Receipt, response: &Response<'_>, date: UnixTime, now: UnixTime) -> ClockVerdict {
        let is_refusal = response.may_refuse_signature();
        let shown = Difference::between(date, receipt.asked_at(), now);
        if shown.agrees_with(self.skew()) {
            self.candidate.store(NONE, Ordering::Relaxed);
        } else if let Some(skew) = shown.believable() {
            let candidate = self.candidate.load(Ordering::Relaxed);
            let is_confirmed = candidate != NONE && shown.agrees_with(candidate);
            if is_refusal || is_confirmed || !self.accepted.load(Ordering::Relaxed) {
                self.believe(skew);
            } else {
                self.candidate.store(skew, Ordering::Relaxed);
            }
        }
        if is_refusal { self.judge(receipt, date, now) } else { ClockVerdict::Innocent }
    }

    fn believe(&self, skew: i32) {
        self.skew.store(skew, Ordering::Relaxed);
        self.candidate.store(NONE, Ordering::Relaxed);
        self.accepted.store(false, Ordering::Relaxed);
    }

    /// A refused timestamp that was off counts as never sent. Else a clock that was once fast would lock its owner out
    /// until time catches up.
    fn judge(&self, receipt: &Receipt, date: UnixTime, now: UnixTime) -> ClockVerdict {
        let (date, stamped) = (seconds(date), i64::from(receipt.second()));
        if date.saturating_sub(stamped).unsigned_abs() <= NOISE.unsigned_abs() {
            return ClockVerdict::Innocent;
        }
        if let Ok(second) = self.server_second(now)
            && second < receipt.second()
        {
            // Later timestamps may have been accepted: only the refused one is taken back.
            let _ = self.latest.compare_exchange(receipt.second(), second, Ordering::Relaxed, Ordering::Relaxed);
        }
        ClockVerdict::ExplainsRefusal
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

    /// The middle, unless no clock is that far off.
    fn believable(&self) -> Option<i32> {
        let middle = self.least.saturating_add(self.most) / 2;
        let skew = if middle.abs() <= NOISE { 0 } else { middle };
        i32::try_from(skew).ok().filter(|_| skew.unsigned_abs() <= BELIEVABLE)
    }
}

fn seconds(moment: UnixTime) -> i64 {
    i64::try_from(moment.as_secs()).unwrap_or(i64::MAX)
}
