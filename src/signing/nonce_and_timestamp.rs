//! Nonce and timestamp: what makes each signed request different from every other.

use rand_core::CryptoRng;

use crate::error::Misuse;
use crate::signing::server_clock::ServerClock;
use crate::time::UnixTime;

/// Digits of a nonce.
pub(crate) const NONCE: usize = 32;
/// Digits of a timestamp.
pub(crate) const TIMESTAMP: usize = 10;

/// Nonce and timestamp of one attempt at one request.
#[derive(Clone, Copy)]
pub(crate) struct Stamp {
    nonce: [u8; 16],
    /// The timestamp: seconds since 1970.
    pub(crate) second: u32,
}

/// Digits, hex or decimal.
pub(crate) struct Digits<const COUNT: usize>([u8; COUNT]);

impl<const COUNT: usize> Digits<COUNT> {
    pub(crate) fn as_str(&self) -> &str {
        // ASCII is UTF-8, and `Stamp` fills in nothing else.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Stamp {
    /// Makes a stamp for `now`. The clock notes nothing until [`ServerClock::note`].
    pub(crate) fn new(clock: &ServerClock, rng: &mut dyn CryptoRng, now: UnixTime) -> Result<Self, Misuse> {
        let second = clock.next_second(now)?;
        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        if nonce == [0; 16] { Err(Misuse::BrokenRandomSource) } else { Ok(Self { nonce, second }) }
    }

    /// 128 random bits as 32 hex digits, a length that is seen in practice
    /// ([protocol section 7](crate::protocol#section-7)).
    pub(crate) fn nonce(&self) -> Digits<NONCE> {
        let mut digits = [0; NONCE];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.nonce) {
            pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 0xf)]);
        }
        Digits(digits)
    }

    /// Ten digits.
    pub(crate) fn timestamp(&self) -> Digits<TIMESTAMP> {
        let mut digits = [b'0'; TIMESTAMP];
        let mut rest = self.second;
        for digit in digits.iter_mut().rev() {
            let [lowest, ..] = (rest % 10).to_le_bytes();
            *digit = b'0'.saturating_add(lowest);
            rest /= 10;
        }
        Digits(digits)
    }
}

fn hex_digit(value: u8) -> u8 {
    value.saturating_add(if value < 10 { b'0' } else { b'a' - 10 })
}
