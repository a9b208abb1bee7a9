//! Nonce and timestamp: what makes each signed request different from every other.

use rand_core::CryptoRng;

use crate::error::Misuse;
use crate::signing::server_clock::ServerClock;
use crate::time::UnixTime;

/// Nonce and timestamp of one attempt at one request.
pub(crate) struct Stamp {
    /// 128 random bits as 32 hex digits, a length that is seen in practice
    /// ([protocol section 7](crate::protocol#section-7)).
    pub(crate) nonce: Digits<32>,
    /// Seconds since 1970.
    pub(crate) timestamp: Digits<10>,
    /// The timestamp as a number.
    pub(crate) second: u32,
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

impl Stamp {
    /// Makes a stamp for `now`. The clock notes nothing until [`ServerClock::note`].
    #[inline]
    pub(crate) fn new(clock: &ServerClock, rng: &mut dyn CryptoRng, now: UnixTime) -> Result<Self, Misuse> {
        let second = clock.next_second(now)?;
        Ok(Self { nonce: nonce(rng)?, timestamp: ten_digits(second), second })
    }
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
