//! Nonce and timestamp: what makes each signed request different from every other.

use core::sync::atomic::{AtomicU32, Ordering};
use rand_core::CryptoRng;

use crate::UnixTime;
use crate::error::Misuse;

/// The first second with ten digits, 2001-09-09: "exactly 10 digits" (protocol section 7).
const FIRST_SECOND: u32 = 1_000_000_000;

/// Nonce and timestamp of one attempt at one request.
pub(crate) struct Stamp {
    nonce: [u8; 32],
    timestamp: [u8; 10],
    second: u32,
}

impl Stamp {
    /// 128 random bits as 32 hex digits, a length that is seen in practice (protocol section 7).
    pub(crate) fn nonce(&self) -> &str {
        str::from_utf8(&self.nonce).unwrap_or_default()
    }

    /// Seconds since 1970, ten digits.
    pub(crate) fn timestamp(&self) -> &str {
        str::from_utf8(&self.timestamp).unwrap_or_default()
    }
}

/// Makes stamps whose timestamps never decrease: each is "greater than or equal to any timestamp used in previous
/// requests" (protocol section 7). Shared by a session and all its live sessions.
#[derive(Default)]
pub(crate) struct Stamper {
    latest: AtomicU32,
}

impl Stamper {
    /// A stamp for `now`, or for the latest second used if the clock went back. Nothing is noted until
    /// [`Stamper::note`].
    pub(crate) fn stamp(&self, rng: &mut dyn CryptoRng, now: UnixTime) -> Result<Stamp, Misuse> {
        let now = u32::try_from(now.as_secs()).ok().filter(|second| *second >= FIRST_SECOND);
        let second = now.ok_or(Misuse::ClockOutOfRange)?.max(self.latest.load(Ordering::Relaxed));
        Ok(Stamp { nonce: nonce(rng)?, timestamp: ten_digits(second), second })
    }

    /// Notes that `stamp` is going out.
    pub(crate) fn note(&self, stamp: &Stamp) {
        self.latest.fetch_max(stamp.second, Ordering::Relaxed);
    }
}

fn nonce(rng: &mut dyn CryptoRng) -> Result<[u8; 32], Misuse> {
    let mut bytes = [0_u8; 16];
    rng.fill_bytes(&mut bytes);
    let mut digits = [0_u8; 32];
    let encoded = base16ct::lower::encode(&bytes, &mut digits);
    // The second cause cannot happen: 16 bytes have 32 digits.
    if bytes == [0; 16] || encoded.is_err() {
        return Err(Misuse::BrokenRandomSource);
    }
    Ok(digits)
}

fn ten_digits(mut second: u32) -> [u8; 10] {
    let mut digits = [b'0'; 10];
    for digit in digits.iter_mut().rev() {
        *digit = b'0'.saturating_add(u8::try_from(second % 10).unwrap_or_default());
        second /= 10;
    }
    digits
}
