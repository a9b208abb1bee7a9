//! Percent-encoding with the RFC 3986 unreserved set, upper-case hex and `%20` for the space.
//!
//! Protocol section 3.2: "URI escaped according to Rfc3986"; every published vector has upper-case hex.

use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// RFC 3986 section 2.3: `A-Z a-z 0-9 - . _ ~`.
const fn is_unreserved(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~')
}

/// Appends `text`, percent-encoded.
pub(crate) fn encode_into(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if is_unreserved(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(hex_digit(byte >> 4));
            out.push(hex_digit(byte & 0xf));
        }
    }
}

/// `text`, percent-encoded.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode_into(&mut out, text);
    out
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).map_or('0', |digit| digit.to_ascii_uppercase())
}

/// Orders two texts as their encodings order, without encoding them.
///
/// RFC 5849 section 3.4.1.3.2 sorts encoded names. In an encoding, `%` comes before every unreserved character, and
/// upper-case hex digits order as the bytes they stand for: so the first differing byte decides, reserved ones first.
pub(crate) fn compare_encoded(left: &str, right: &str) -> Ordering {
    let rank = |byte: u8| (is_unreserved(byte), byte);
    left.bytes().map(rank).cmp(right.bytes().map(rank))
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
