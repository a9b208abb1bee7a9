//! Percent-encoding with the RFC 3986 unreserved set, upper-case hex and `%20` for the space.
//!
//! [Protocol section 3.2](crate::protocol#section-3-2): "URI escaped according to Rfc3986"; every published vector has
//! upper-case hex.

use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::slice;

use crate::signing::percent_tables::{BASE64, Code, EQUALS, FIRST_UNRESERVED, LONGEST_CODE, ONCE, RANKS, Table};

/// Bytes of a block.
pub(crate) const BLOCK: usize = 64;
pub(crate) type Block = [u8; BLOCK];
/// Bytes of text that are encoded without a look at the room that is left in the buffer.
const CHUNK: usize = 32;
/// Room for the encoding of a chunk. The last code is written whole, with its surplus.
const ROOM: usize = CHUNK * LONGEST_CODE + size_of::<Code>();
/// Bytes of an encoder's buffer: the base string of a usual request fits.
const BUFFER: usize = 1024 + ROOM;

/// What an [`Encoder`] writes to. It is given ASCII text in blocks, which is what SHA-256 works on, and at the
/// end the rest, which is shorter than a block.
pub(crate) trait Sink {
    /// Whether it takes the first blocks while the next ones are encoded. Otherwise it takes as many as possible at once.
    const IS_EAGER: bool = false;
    /// Takes the next blocks.
    fn blocks(&mut self, blocks: &[Block]);
    /// Takes the rest.
    fn end(&mut self, rest: &[u8]);
}

impl Sink for Vec<u8> {
    fn blocks(&mut self, blocks: &[Block]) {
        self.extend_from_slice(blocks.as_flattened());
    }

    fn end(&mut self, rest: &[u8]) {
        self.extend_from_slice(rest);
    }
}

impl Sink for String {
    fn blocks(&mut self, blocks: &[Block]) {
        self.end(blocks.as_flattened());
    }

    fn end(&mut self, rest: &[u8]) {
        self.push_str(str::from_utf8(rest).unwrap_or_default());
    }
}

/// Writes text from left to right into a buffer, and hands the buffer to `sink` when it is full.
pub(crate) struct Encoder<'a, S> {
    sink: &'a mut S,
    buffer: [u8; BUFFER],
    /// Bytes of the buffer that the sink has already: whole blocks.
    start: usize,
    /// Bytes of the buffer that are written.
    end: usize,
}

impl<S: Sink> Encoder<'_, S> {
    /// Writes `text`, which is ASCII, as it is.
    #[inline]
    pub(crate) fn plain(&mut self, text: &str) {
        for chunk in text.as_bytes().chunks(ROOM) {
            self.make_room();
            if let Some(room) = self.buffer.get_mut(self.end..).and_then(|room| room.get_mut(..chunk.len())) {
                room.copy_from_slice(chunk);
            }
            self.end = self.end.wrapping_add(chunk.len());
        }
    }

    /// Writes `text` as `table` encodes it. Of four bytes, mostly none needs an escape.
    #[inline(always)]
    pub(crate) fn encode(&mut self, text: &str, table: &Table<Code>) {
        for chunk in text.as_bytes().chunks(CHUNK) {
            self.make_room();
            let mut end = self.end;
            let (fours, rest) = chunk.as_chunks::<4>();
            for four in fours {
                if four.iter().all(|byte| is_unreserved(*byte)) {
                    end = self.put(end, *four, 4);
                } else {
                    end = self.codes(end, four, table);
                }
            }
            self.end = self.codes(end, rest, table);
        }
    }

    /// Writes the encoding of one byte.
    #[inline]
    pub(crate) fn code(&mut self, code: Code) {
        self.make_room();
        self.end = self.put_code(self.end, code);
    }

    #[inline]
    fn codes(&mut self, end: usize, text: &[u8], table: &Table<Code>) -> usize {
        text.iter().fold(end, |end, byte| self.put_code(end, table.of(*byte)))
    }

    #[inline]
    fn put_code(&mut self, end: usize, code: Code) -> usize {
        let code = code.to_le_bytes();
        let [.., length] = code;
        self.put(end, code, usize::from(length))
    }

    /// Writes all of `text` to `end`, and returns where its first `length` bytes end: the next write goes over the surplus. No
    /// branch depends on the length of the text, which the processor would mispredict too often.
    #[inline]
    fn put<const SIZE: usize>(&mut self, end: usize, text: [u8; SIZE], length: usize) -> usize {
        if let Some(room) = self.buffer.get_mut(end..).and_then(<[u8]>::first_chunk_mut) {
            *room = text;
        }
        end.wrapping_add(length)
    }

    /// Hands over what an eager sink has to take. The processor goes on encoding while it hashes, but stalls when it hashes what it
    /// has only just written: so another block stays behind.
    #[inline]
    pub(crate) fn hand_over(&mut self) {
        while S::IS_EAGER && self.end.wrapping_sub(self.start) >= 2 * BLOCK {
            let Some(block) = self.buffer.get(self.start..).and_then(<[u8]>::first_chunk) else { return };
            self.sink.blocks(slice::from_ref(block));
            self.start = self.start.wrapping_add(BLOCK);
        }
    }

    /// Makes [`ROOM`] in the buffer, if there is less.
    #[inline]
    fn make_room(&mut self) {
        if self.end > BUFFER - ROOM {
            self.flush();
        }
    }

    /// Hands the whole blocks to the sink, and moves the rest to the front of the buffer.
    #[cold]
    fn flush(&mut self) {
        let (blocks, rest) = self.buffer.get(self.start..self.end).unwrap_or_default().as_chunks();
        self.sink.blocks(blocks);
        let length = rest.len();
        self.buffer.copy_within(self.end.saturating_sub(length)..self.end, 0);
        (self.start, self.end) = (0, length);
    }
}

/// Lets `write` write to `sink` through an encoder.
pub(crate) fn write_to<S: Sink>(sink: &mut S, write: impl FnOnce(&mut Encoder<'_, S>)) {
    let mut encoder = Encoder { sink, buffer: [0; BUFFER], start: 0, end: 0 };
    write(&mut encoder);
    let (blocks, rest) = encoder.buffer.get(encoder.start..encoder.end).unwrap_or_default().as_chunks();
    encoder.sink.blocks(blocks);
    encoder.sink.end(rest);
}

/// An HMAC-SHA256 in base64, percent-encoded: the value of `oauth_signature`.
pub(crate) struct SignatureText {
    bytes: [u8; Self::LONGEST + size_of::<Code>()],
    end: usize,
}

impl SignatureText {
    /// Bytes of the longest: 43 digits and one `=`, three bytes each if all of them are escaped.
    pub(crate) const LONGEST: usize = 132;

    pub(crate) fn new(signature: &[u8; 32]) -> Self {
        let mut text = Self { bytes: [0; Self::LONGEST + size_of::<Code>()], end: 0 };
        let (groups, rest) = signature.as_chunks();
        for [first, second, third] in groups {
            let bits = u32::from(*first) << 16 | u32::from(*second) << 8 | u32::from(*third);
            text.put([digit(bits >> 18), digit(bits >> 12), digit(bits >> 6), digit(bits)]);
        }
        // 32 bytes are two more than a multiple of three.
        if let [first, second] = rest {
            let bits = u32::from(*first) << 10 | u32::from(*second) << 2;
            text.put([digit(bits >> 12), digit(bits >> 6), digit(bits), EQUALS]);
        }
        text
    }

    fn put(&mut self, codes: [Code; 4]) {
        for code in codes {
            let code = code.to_le_bytes();
            if let Some(room) = self.bytes.get_mut(self.end..).and_then(<[u8]>::first_chunk_mut) {
                *room = code;
            }
            let [.., length] = code;
            self.end = self.end.wrapping_add(usize::from(length));
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(self.bytes.get(..self.end).unwrap_or_default()).unwrap_or_default()
    }
}

/// The base64 digit, percent-encoded, for the lowest six of `bits`.
fn digit(bits: u32) -> Code {
    let [.., last] = bits.to_be_bytes();
    BASE64.of(last % 64)
}

/// Appends `text`, percent-encoded.
pub(crate) fn encode_into(out: &mut String, text: &str) {
    write_to(out, |encoder| encoder.encode(text, &ONCE));
}

/// Returns `text`, percent-encoded.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode_into(&mut out, text);
    out
}

/// Compares the encodings of two texts, without encoding them
/// ([RFC 5849 section 3.4.1.3.2](https://www.rfc-editor.org/rfc/rfc5849#section-3.4.1.3.2) sorts encoded names).
pub(crate) fn compare_encoded(left: &str, right: &str) -> Ordering {
    left.bytes().map(rank).cmp(right.bytes().map(rank))
}

/// The ranks of eight bytes of `text`, from `start` on, as one number with the first rank on top. The text with the smaller
/// number has the encoding that sorts first, if the bytes before `start` are the same. Equal numbers say nothing, because a
/// byte behind the end counts as zero.
#[inline]
pub(crate) fn eight_ranks(text: &str, start: usize) -> u64 {
    let places = [56, 48, 40, 32, 24, 16, 8, 0];
    text.bytes().skip(start).zip(places).fold(0, |ranks, (byte, place)| ranks | u64::from(rank(byte)) << place)
}

#[inline]
fn rank(byte: u8) -> u8 {
    RANKS.of(byte)
}

/// Whether percent-encoding leaves `byte` as it is.
#[inline]
pub(crate) fn is_unreserved(byte: u8) -> bool {
    rank(byte) >= FIRST_UNRESERVED
}

/// Why a percent-encoded text could not be decoded: a `%` without two hex digits, or bytes that are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadEncoding;

/// The text that `encoded` stands for. A `+` stays a `+`.
pub(crate) fn decode(encoded: &str) -> Result<String, BadEncoding> {
    decode_bytes(encoded.bytes())
}

/// The text that `encoded` stands for in a form, as browsers encode it: a `+` is a space.
pub(crate) fn decode_form(encoded: &str) -> Result<String, BadEncoding> {
    decode_bytes(encoded.bytes().map(|byte| if byte == b'+' { b' ' } else { byte }))
}

/// In one buffer, large enough from the start: one that grows leaves copies behind, and the text may be a secret.
fn decode_bytes(mut encoded: impl ExactSizeIterator<Item = u8>) -> Result<String, BadEncoding> {
    let mut bytes = Vec::with_capacity(encoded.len());
    while let Some(byte) = encoded.next() {
        let decoded = match byte {
            b'%' => hex_value(encoded.next())? << 4 | hex_value(encoded.next())?,
            plain => plain,
        };
        bytes.push(decoded);
    }
    String::from_utf8(bytes).map_err(|_| BadEncoding)
}

fn hex_value(digit: Option<u8>) -> Result<u8, BadEncoding> {
    let digit = char::from(digit.ok_or(BadEncoding)?);
    digit.to_digit(16).and_then(|value| u8::try_from(value).ok()).ok_or(BadEncoding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use base64::Engine;

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
    fn signatures_are_base64_percent_encoded() {
        let bytes: Vec<u8> = (0..=255).rev().collect();
        for signature in bytes.windows(32).chain([&[0xff; 32][..], &[0xfb; 32]]) {
            let text = SignatureText::new(signature.try_into().unwrap());
            assert_eq!(text.as_str(), encode(&crate::encoding::BASE64.encode(signature)));
        }
    }

    #[test]
    fn what_was_encoded_can_be_decoded() {
        for text in ["", "a b+c%d/e", "\u{3001}|,:&=", "%25"] {
            assert_eq!(decode(&encode(text)), Ok(text.to_string()));
        }
    }

    #[test]
    fn half_an_escape_and_half_a_character_are_rejected() {
        for bad in ["%", "%4", "%4g", "%+1", "%ff"] {
            assert_eq!(decode(bad), Err(BadEncoding), "{bad}");
        }
    }
}
