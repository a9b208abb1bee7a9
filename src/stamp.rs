//! Nonce and timestamp: what makes each signed request different from every other.

use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use rand_core::CryptoRng;

use crate::error::Misuse;
use crate::{Response, UnixTime};

/// The first second with ten digits, 2001-09-09: "exactly 10 digits" (protocol section 7).
const FIRST_SECOND: u32 = 1_000_000_000;

/// Nonce and timestamp of one attempt at one request.
pub(crate) struct Stamp {
    /// 128 random bits as 32 hex digits, a length that is seen in practice (protocol section 7).
    pub(crate) nonce: Digits<32>,
    /// Seconds since 1970.
    pub(crate) timestamp: Digits<10>,
    second: u32,
}

/// Digits, hex or decimal.
pub(crate) struct Digits<const COUNT: usize>([u8; COUNT]);

impl<const COUNT: usize> Digits<COUNT> {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The furthest that a server's `Date` may be from the caller's clock and still be believed. More is no clock that is
/// off but a date that is wrong, and TLS would not have worked with it.
const BELIEVABLE: u64 = 24 * 60 * 60;
/// Differences up to this many seconds are the answer's way back and the `Date` header's whole seconds.
const NOISE: u64 = 2;

/// Makes stamps in the server's time whose timestamps do not decrease: each is "greater than or equal to any timestamp
/// used in previous requests" (protocol section 7). Two things end a series: the server refuses a signature and its clock
/// shows that ours was fast, or the latest second turns out to be more than a day ahead. Shared by a session and all its
/// live sessions.
#[derive(Default)]
pub(crate) struct Stamper {
    latest: AtomicU32,
    /// Seconds by which the server's clock is ahead of the caller's.
    skew: AtomicI32,
}

impl Stamper {
    /// Goes on with a series, and a knowledge of the server's clock, that were stored.
    #[cfg(feature = "serde")]
    pub(crate) fn resumed(latest: u32, skew: i32) -> Self {
        let skew = if u64::from(skew.unsigned_abs()) <= BELIEVABLE { skew } else { 0 };
        Self { latest: AtomicU32::new(latest), skew: AtomicI32::new(skew) }
    }

    /// A stamp for `now`, or for the latest second used if the clock went back. Nothing is noted until
    /// [`Stamper::note`].
    #[inline]
    pub(crate) fn stamp(&self, rng: &mut dyn CryptoRng, now: UnixTime) -> Result<Stamp, Misuse> {
        let second = self.server_second(now)?;
        let second = if is_plausible(self.latest(), second) { second.max(self.latest()) } else { second };
        Ok(Stamp { nonce: nonce(rng)?, timestamp: ten_digits(second), second })
    }

    /// Notes that `stamp` is going out.
    pub(crate) fn note(&self, stamp: &Stamp) {
        let latest = self.latest();
        if !is_plausible(latest, stamp.second) {
            // A new series begins, unless another thread was faster.
            let _ = self.latest.compare_exchange(latest, stamp.second, Ordering::Relaxed, Ordering::Relaxed);
        }
        // Within one second there is nothing new to note, and a load is far cheaper.
        if self.latest() < stamp.second {
            self.latest.fetch_max(stamp.second, Ordering::Relaxed);
        }
    }

    /// Takes the server's clock from an answer, whatever else it says: a refusal may be due to the very clock that its
    /// `Date` sets right. Absurd dates change nothing.
    pub(crate) fn learn(&self, response: &Response<'_>, now: UnixTime) {
        let Some(skew) = response.date().and_then(|date| skew(date, now)) else {
            return;
        };
        self.skew.store(skew, Ordering::Relaxed);
        if response.refuses_signature() {
            self.forgive(now);
        }
    }

    /// A refused stamp counts as never used: if it was ahead of the server's clock, the series starts again from there.
    /// Else a clock that was once fast would lock its owner out until time catches up.
    fn forgive(&self, now: UnixTime) {
        if let Ok(second) = self.server_second(now) {
            self.latest.fetch_min(second, Ordering::Relaxed);
        }
    }

    /// Seconds by which the server's clock is ahead of the caller's.
    pub(crate) fn skew(&self) -> i32 {
        self.skew.load(Ordering::Relaxed)
    }

    /// The latest second used.
    pub(crate) fn latest(&self) -> u32 {
        self.latest.load(Ordering::Relaxed)
    }

    fn server_second(&self, now: UnixTime) -> Result<u32, Misuse> {
        let local = u32::try_from(now.as_secs()).map_err(|_| Misuse::ClockOutOfRange)?;
        let second = local.checked_add_signed(self.skew()).filter(|second| *second >= FIRST_SECOND);
        second.ok_or(Misuse::ClockOutOfRange)
    }
}

/// Whether the latest second used may stand: further ahead than any clock is believed to be off, it comes from a clock
/// that was wrong or a store that is damaged, and must not lock its owner out.
fn is_plausible(latest: u32, second: u32) -> bool {
    u64::from(latest) <= u64::from(second).saturating_add(BELIEVABLE)
}

/// Seconds by which a server whose clock showed `date` is ahead of `now`, if that can be.
fn skew(date: UnixTime, now: UnixTime) -> Option<i32> {
    let (date, now) = (date.as_secs(), now.as_secs());
    let difference = match date.abs_diff(now) {
        0..=NOISE => 0,
        difference @ ..=BELIEVABLE => i32::try_from(difference).ok()?,
        _ => return None,
    };
    Some(if date < now { difference.saturating_neg() } else { difference })
}

fn nonce(rng: &mut dyn CryptoRng) -> Result<Digits<32>, Misuse> {
    let mut bytes = [0_u8; 16];
    rng.fill_bytes(&mut bytes);
    let mut digits = [0_u8; 32];
    let encoded = base16ct::lower::encode(&bytes, &mut digits);
    // The second cause cannot happen: 16 bytes have 32 digits.
    if bytes == [0; 16] || encoded.is_err() {
        return Err(Misuse::BrokenRandomSource);
    }
    Ok(Digits(digits))
}

fn ten_digits(mut second: u32) -> Digits<10> {
    let mut digits = [b'0'; 10];
    for digit in digits.iter_mut().rev() {
        *digit = b'0'.saturating_add(u8::try_from(second % 10).unwrap_or_default());
        second /= 10;
    }
    Digits(digits)
}
