//! HMAC-SHA256 of text in blocks ([RFC 2104](https://www.rfc-editor.org/rfc/rfc2104)), over the compression function of
//! `sha2`.
//!
//! The `hmac` crate collects blocks in a buffer of its own. An [`Encoder`](super::percent_encoding::Encoder) has them
//! already: that saves 35 of 555 ns for a signature of ten parameters, and costs the padding below.

use alloc::vec::Vec;
use sha2::block_api::compress256;
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::signing::percent_encoding::{BLOCK, Block, Sink};

const BLOCK_BYTES: u64 = 64;
/// Where the length stands in the last block. Before it come text and at least one byte of padding.
const LENGTH_START: usize = 56;
type State = Zeroizing<[u32; 8]>;

/// A key whose two padded blocks are hashed already: RFC 2104 calls the paddings ipad and opad. Wiped on drop.
#[derive(Clone)]
pub(crate) struct MacKey {
    inner: State,
    outer: State,
}

impl MacKey {
    /// Takes a key that is no longer than a block.
    pub(crate) fn new(key: &[u8; 20]) -> Self {
        let absorb = |pad: u8| {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(key).for_each(|(padded, byte)| *padded ^= byte);
            let mut state = initial_state();
            compress256(&mut state, &[block]);
            block.zeroize();
            state
        };
        Self { inner: absorb(0x36), outer: absorb(0x5c) }
    }

    /// Returns `text` in blocks, with the padding that comes behind it in a MAC.
    pub(crate) fn padded(text: &[u8]) -> Zeroizing<Vec<Block>> {
        let (blocks, rest) = text.as_chunks();
        let (before_last, last) = padded(rest, BLOCK_BYTES.wrapping_add(length(blocks.as_flattened())));
        Zeroizing::new(blocks.iter().copied().chain(before_last).chain([last]).collect())
    }

    /// Begins the MAC of a text.
    pub(crate) fn mac(&self) -> Mac {
        Mac { state: self.inner.clone(), bytes: BLOCK_BYTES }
    }

    /// Returns the MAC, once [`Sink::end`] has taken the end of the text.
    pub(crate) fn finish(&self, text: &Mac) -> [u8; 32] {
        let mut state = self.outer.clone();
        absorb_end(&mut state, &to_bytes(&text.state), BLOCK_BYTES);
        to_bytes(&state)
    }
}

/// The state of the inner hash while the text is handed in. Wiped on drop.
#[derive(Clone)]
pub(crate) struct Mac {
    state: State,
    /// Bytes so far, the key's block included.
    bytes: u64,
}

impl Sink for Mac {
    const IS_EAGER: bool = true;

    fn blocks(&mut self, blocks: &[Block]) {
        compress256(&mut self.state, blocks);
        self.bytes = self.bytes.wrapping_add(length(blocks.as_flattened()));
    }

    fn end(&mut self, rest: &[u8]) {
        absorb_end(&mut self.state, rest, self.bytes);
    }
}

/// Takes the MAC of a text and keeps the text.
pub(crate) struct Recorded {
    pub(crate) mac: Mac,
    pub(crate) text: Vec<u8>,
}

impl Sink for Recorded {
    fn blocks(&mut self, blocks: &[Block]) {
        // Room for what is left too: mostly these blocks are all.
        self.text.reserve(blocks.as_flattened().len().saturating_add(BLOCK));
        self.text.blocks(blocks);
        self.mac.blocks(blocks);
    }

    fn end(&mut self, rest: &[u8]) {
        self.text.end(rest);
        self.mac.end(rest);
    }
}

/// Hashes the `rest` of a message behind `bytes` others, and the padding.
#[inline]
fn absorb_end(state: &mut State, rest: &[u8], bytes: u64) {
    let (before_last, last) = padded(rest, bytes);
    if let Some(block) = before_last {
        compress256(state, &[block]);
    }
    compress256(state, &[last]);
}

/// Pads the `rest` of a message, which is shorter than a block, behind `bytes` others with a one bit, zeros, and the length
/// in bits ([FIPS 180-4 section 5.1.1](https://csrc.nist.gov/pubs/fips/180-4/upd1/final)). Returns the last block, and
/// the one before it if the length has no room in the same.
#[inline]
fn padded(rest: &[u8], bytes: u64) -> (Option<Block>, Block) {
    let mut block = [0; BLOCK];
    if let Some((text, padding)) = block.split_at_mut_checked(rest.len()) {
        text.copy_from_slice(rest);
        padding.iter_mut().take(1).for_each(|first| *first = 0x80);
    }
    let (before_last, mut last) = if rest.len() < LENGTH_START { (None, block) } else { (Some(block), [0; BLOCK]) };
    if let Some(bits) = last.last_chunk_mut() {
        *bits = bytes.wrapping_add(length(rest)).wrapping_mul(8).to_be_bytes();
    }
    (before_last, last)
}

/// The length in bytes. No slice is longer than its type can say.
fn length(text: &[u8]) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

fn initial_state() -> State {
    let serialized = Sha256::new().serialize();
    let mut state = State::default();
    for (word, bytes) in state.iter_mut().zip(serialized.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    state
}

fn to_bytes(state: &State) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (chunk, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(state.iter()) {
        *chunk = word.to_be_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::percent_encoding::write_to;
    use alloc::string::String;
    use hmac::{Hmac, KeyInit, Mac as _};

    #[test]
    fn it_is_hmac_sha256_of_texts_of_every_length() {
        let text: String = (0..3000_u32).filter_map(|i| char::from_digit(i * 7 % 36, 36)).collect();
        let key: [u8; 20] = core::array::from_fn(|i| u8::try_from(i).unwrap() ^ 0xa5);
        let (reference, own) = (Hmac::<Sha256>::new_from_slice(&key).unwrap(), MacKey::new(&key));
        for length in (0..300).chain([1016, 1017, 1023, 1024, 1025, 2047, 2048, 3000]) {
            let text = &text[..length];
            let expected: [u8; 32] = reference.clone().chain_update(text).finalize().into_bytes().into();
            for parts in [1, 7, 64, 3000] {
                let mut mac = own.mac();
                let parts: Vec<&str> =
                    text.as_bytes().chunks(parts).map(|part| str::from_utf8(part).unwrap()).collect();
                write_to(&mut mac, |out| parts.iter().for_each(|part| out.plain(part)));
                assert_eq!(own.finish(&mac), expected, "{length} bytes");
            }
        }
    }
}
