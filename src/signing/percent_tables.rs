//! What every byte becomes, worked out by the compiler.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "runs in the compiler, which catches a slip"
)]

/// The encoding of a byte, and in the last place its length: eight bytes, little-endian.
pub(crate) type Code = u64;

/// Bytes of the longest encoding.
pub(crate) const LONGEST_CODE: usize = 5;

/// The encoding of no byte.
pub(crate) const NOTHING: Code = 0;
/// `&`, percent-encoded.
pub(crate) const AMPERSAND: Code = code(b'&', b"%");
/// `=`, percent-encoded.
pub(crate) const EQUALS: Code = code(b'=', b"%");

/// The encodings of all bytes.
pub(crate) type Table = [Code; 256];

/// Percent-encoded.
pub(crate) static ONCE: Table = encodings(b"%");
/// Percent-encoded, and the result percent-encoded again.
pub(crate) static TWICE: Table = encodings(b"%25");

/// The digits of base64, percent-encoded.
pub(crate) static BASE64: [Code; 64] = {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [NOTHING; 64];
    let mut value = 0;
    while value < 64 {
        table[value] = code(DIGITS[value], b"%");
        value += 1;
    }
    table
};

/// The places of all bytes when their encodings are sorted. First come the reserved ones: in an encoding, `%` comes
/// before every unreserved character, and upper-case hex digits order as the bytes they stand for.
pub(crate) static RANKS: [u8; 256] = {
    let mut ranks = [0; 256];
    let (mut reserved, mut unreserved) = (0, FIRST_UNRESERVED);
    let mut byte = 0;
    while byte < 256 {
        let next = if is_unreserved(byte as u8) { &mut unreserved } else { &mut reserved };
        ranks[byte] = *next;
        *next = next.wrapping_add(1);
        byte += 1;
    }
    ranks
};

/// The rank of the first unreserved byte: there are 66 of them.
pub(crate) const FIRST_UNRESERVED: u8 = 190;

const fn encodings(escape: &[u8]) -> Table {
    let mut table = [NOTHING; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = code(byte as u8, escape);
        byte += 1;
    }
    table
}

/// `escape` stands for the `%`.
const fn code(byte: u8, escape: &[u8]) -> Code {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if is_unreserved(byte) {
        return u64::from_le_bytes([byte, 0, 0, 0, 0, 0, 0, 1]);
    }
    let mut code = [0; 8];
    let mut length = 0;
    while length < escape.len() {
        code[length] = escape[length];
        length += 1;
    }
    code[length] = HEX[byte as usize / 16];
    code[length + 1] = HEX[byte as usize % 16];
    code[7] = length as u8 + 2;
    u64::from_le_bytes(code)
}

/// Which bytes stand for themselves: `A-Z a-z 0-9 - . _ ~`
/// ([RFC 3986 section 2.3](https://www.rfc-editor.org/rfc/rfc3986#section-2.3)).
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}
