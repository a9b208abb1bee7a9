//! Percent-encoding with the RFC 3986 unreserved set, upper-case hex and `%20` for the space.
//!
//! Protocol section 3.2: "URI escaped according to Rfc3986"; every published vector has upper-case hex.

use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// Which bytes stand for themselves: `A-Z a-z 0-9 - . _ ~` (RFC 3986 section 2.3).
static UNRESERVED: [bool; 256] = TABLES.0;

/// `%00%01...%FF`, to take slices of.
static ESCAPES: &str = match str::from_utf8(&TABLES.1) {
    Ok(escapes) => escapes,
    Err(_) => "",
};

const TABLES: ([bool; 256], [u8; 768]) = tables();

#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "runs in the compiler, which catches a slip"
)]
const fn tables() -> ([bool; 256], [u8; 768]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut unreserved = [false; 256];
    let mut escapes = [b'%'; 768];
    let (mut byte, mut index) = (0_u8, 0_usize);
    while index < 256 {
        unreserved[index] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        escapes[index * 3 + 1] = HEX[index / 16];
        escapes[index * 3 + 2] = HEX[index % 16];
        byte = byte.wrapping_add(1);
        index += 1;
    }
    (unreserved, escapes)
}

fn is_unreserved(byte: u8) -> bool {
    UNRESERVED.get(usize::from(byte)).copied().unwrap_or_default()
}

fn escape(byte: u8) -> &'static str {
    let start = usize::from(byte).saturating_mul(3);
    ESCAPES.get(start..start.saturating_add(3)).unwrap_or_default()
}

/// Appends `text`, percent-encoded.
pub(crate) fn encode_into(out: &mut String, text: &str) {
    let mut run_start = 0;
    for (index, byte) in text.bytes().enumerate() {
        if !is_unreserved(byte) {
            // A run that is not empty is of ASCII characters, so it begins and ends at character boundaries.
            out.push_str(text.get(run_start..index).unwrap_or_default());
            out.push_str(escape(byte));
            run_start = index.saturating_add(1);
        }
    }
    out.push_str(text.get(run_start..).unwrap_or_default());
}

/// `text`, percent-encoded.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode_into(&mut out, text);
    out
}

/// Orders two texts as their encodings order, without encoding them.
///
/// RFC 5849 section 3.4.1.3.2 sorts encoded names. In an encoding, `%` comes before every unreserved character, and
/// upper-case hex digits order as the bytes they stand for: so the first differing byte decides, reserved ones first.
pub(crate) fn compare_encoded(left: &str, right: &str) -> Ordering {
    let rank = |byte: u8| (is_unreserved(byte), byte);
    let differing = left.bytes().zip(right.bytes()).find(|(left, right)| left != right);
    match differing {
        Some((left, right)) => rank(left).cmp(&rank(right)),
        None => left.len().cmp(&right.len()),
    }
}

/// Why a percent-encoded text could not be decoded: a `%` without two hex digits, or bytes that are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadEncoding;

/// The text that `encoded` stands for. A `+` stays a `+`.
pub(crate) fn decode(encoded: &str) -> Result<String, BadEncoding> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        let decoded = match byte {
            b'%' => hex_value(rest.next())? << 4 | hex_value(rest.next())?,
            plain => plain,
        };
        bytes.push(decoded);
    }
    String::from_utf8(bytes).map_err(|_| BadEncoding)
}

/// Whether every `%` is followed by two hex digits.
pub(crate) fn escapes_are_complete(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2)
}

fn hex_value(digit: Option<u8>) -> Result<u8, BadEncoding> {
    let digit = char::from(digit.ok_or(BadEncoding)?);
    digit.to_digit(16).and_then(|value| u8::try_from(value).ok()).ok_or(BadEncoding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn order_of_encodings_is_found_without_encoding() {
        let texts = ["", "a", "a b", "a+b", "a~", "a%", "a\u{3001}", "ab", "A", "a{", "a|", "~", "!", "\n"];
        for left in texts {
            for right in texts {
                assert_eq!(compare_encoded(left, right), encode(left).cmp(&encode(right)), "{left:?} {right:?}");
            }
        }
    }

    #[test]
    fn what_was_encoded_can_be_decoded() {
        for text in ["", "a b+c%d/e", "\u{3001}|,:&=", "%25"] {
            assert_eq!(decode(&encode(text)), Ok(text.to_string()));
        }
    }

    #[test]
    fn half_an_escape_and_half_a_character_are_refused() {
        for bad in ["%", "%4", "%4g", "%+1", "%ff"] {
            assert_eq!(decode(bad), Err(BadEncoding), "{bad}");
        }
    }
}
