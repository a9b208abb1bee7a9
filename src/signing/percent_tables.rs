//! Tables for percent-encoding, computed by the compiler: what each byte becomes, and in which order the results sort.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "no byte is beyond the 256 entries of a table; all else runs in the compiler, which catches a slip"
)]

/// The encoding of one byte, as eight bytes in little-endian order. The text comes first, up to [`LONGEST_CODE`] bytes; the
/// eighth byte is the length of the text.
pub(crate) type Code = u64;

/// Bytes of the longest encoding: `%25` and two hex digits.
pub(crate) const LONGEST_CODE: usize = 5;

/// An encoding of length zero.
pub(crate) const NOTHING: Code = 0;
/// `&`, percent-encoded.
pub(crate) const AMPERSAND: Code = code(b'&', b"%");
/// `=`, percent-encoded.
pub(crate) const EQUALS: Code = code(b'=', b"%");

/// Something for each byte.
pub(crate) struct Table<T>([T; 256]);

impl<T: Copy> Table<T> {
    /// Returns what is there for `byte`.
    #[inline]
    pub(crate) fn of(&self, byte: u8) -> T {
        self.0[usize::from(byte)]
    }
}

/// Percent-encoding: `,` becomes `%2C`.
pub(crate) static ONCE: Table<Code> = encodings(b"%");
/// Percent-encoding, and the result percent-encoded again: `,` becomes `%252C`.
pub(crate) static TWICE: Table<Code> = encodings(b"%25");

/// The digits of base64, percent-encoded, for their values: only the first 64 entries are in use.
pub(crate) static BASE64: Table<Code> = {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [NOTHING; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        table[value] = code(DIGITS[value], b"%");
        value += 1;
    }
    Table(table)
};

/// The rank of each byte: of two bytes, the one with the lower rank has the encoding that sorts first.
///
/// Reserved bytes have the lowest ranks, because their encodings begin with `%`, which sorts before every unreserved
/// character. Among themselves they keep their order, because upper-case hex digits sort as the numbers that they write.
pub(crate) static RANKS: Table<u8> = {
    let mut ranks = [0; 256];
    let (mut reserved, mut unreserved) = (0, FIRST_UNRESERVED);
    let mut byte = 0;
    while byte < 256 {
        let next = if is_unreserved(byte as u8) { &mut unreserved } else { &mut reserved };
        ranks[byte] = *next;
        *next = next.wrapping_add(1);
        byte += 1;
    }
    Table(ranks)
};

/// The lowest rank of an unreserved byte: 66 of the 256 bytes are unreserved.
pub(crate) const FIRST_UNRESERVED: u8 = 190;

const fn encodings(escape: &[u8]) -> Table<Code> {
    let mut table = [NOTHING; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = code(byte as u8, escape);
        byte += 1;
    }
    Table(table)
}

/// The encoding of `byte`. An escape begins with `escape`: `%`, or `%25` where the `%` is encoded too.
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

/// Whether `byte` stands for itself in an encoding: `A-Z a-z 0-9 - . _ ~`
/// ([RFC 3986 section 2.3](https://www.rfc-editor.org/rfc/rfc3986#section-2.3)).
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}
