//! Hexadecimal and base64, written as the protocol has them and read more leniently.

use alloc::string::String;
use alloc::vec::Vec;

use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// Base64 as the protocol writes it, and more leniently as it reads it: padding may be missing.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes of a hexadecimal number of any length, odd ones and upper case included. The doctor tries it on secrets, so
/// the copy is wiped.
pub(crate) fn decode_hex(digits: &str) -> Option<Vec<u8>> {
    if digits.is_empty() {
        return None;
    }
    let mut even = Zeroizing::new(String::with_capacity(digits.len().saturating_add(1)));
    if digits.len() % 2 == 1 {
        even.push('0');
    }
    even.push_str(digits);
    base16ct::mixed::decode_vec(even.as_bytes()).ok()
}

/// Without leading zero bytes.
pub(crate) fn trimmed(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [0, shorter @ ..] = rest {
        rest = shorter;
    }
    rest
}

/// Bits of a number without leading zero bytes; `u32::MAX` for absurd lengths.
pub(crate) fn bits(bytes: &[u8]) -> u32 {
    let all = u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_mul(8);
    all.saturating_sub(bytes.first().map_or(0, |byte| byte.leading_zeros()))
}
