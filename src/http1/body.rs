//! The body of an HTTP/1.1 response: by length, in chunks, or until the connection is closed.

use alloc::vec::Vec;

use super::Http1Error;
use super::head::{Framing, MAX_HEADERS_LENGTH};
use super::lines::Lines;
use super::lines::number;

/// Bytes of the longest line with the size of a chunk, extensions included.
const MAX_CHUNK_LINE: usize = 256;

/// Collects a body of at most `limit` bytes.
pub(super) struct Body {
    content: Vec<u8>,
    limit: usize,
    next: Part,
}

/// What comes next.
enum Part {
    /// As many bytes, and then nothing.
    Rest(usize),
    UntilClose,
    ChunkSize(Lines),
    Chunk(usize),
    ChunkEnd(Lines),
    Trailer(Lines),
}

impl Part {
    /// Each chunk but the last has content, so the limit of the body bounds their number too.
    fn chunk_size() -> Self {
        Self::ChunkSize(Lines::new(MAX_CHUNK_LINE, Http1Error::ChunkSize))
    }

    fn chunk_end() -> Self {
        Self::ChunkEnd(Lines::new(2, Http1Error::ChunkEnd))
    }

    /// What is in it is not used, only bounded
    /// ([RFC 9112 section 7.1.2](https://www.rfc-editor.org/rfc/rfc9112#section-7.1.2)).
    fn trailer() -> Self {
        let limit = MAX_HEADERS_LENGTH;
        Self::Trailer(Lines::new(limit, Http1Error::HeadersTooLong { limit }))
    }
}

impl Body {
    pub(super) fn new(framing: Framing, limit: usize) -> Result<Self, Http1Error> {
        let mut body = Self { content: Vec::new(), limit, next: Part::UntilClose };
        body.next = match framing {
            Framing::Length(length) => Part::Rest(body.admit(length)?),
            Framing::Chunked => Part::chunk_size(),
            Framing::UntilClose => Part::UntilClose,
        };
        Ok(body)
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(self.next, Part::Rest(0))
    }

    /// Is the end of the connection the end of this body?
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self.next, Part::UntilClose)
    }

    pub(super) fn into_content(self) -> Vec<u8> {
        self.content
    }

    /// Takes the body out of `unread`, as far as it is there.
    pub(super) fn read(&mut self, unread: &mut &[u8]) -> Result<(), Http1Error> {
        while !unread.is_empty() && !self.is_complete() {
            self.read_part(unread)?;
        }
        Ok(())
    }

    fn read_part(&mut self, unread: &mut &[u8]) -> Result<(), Http1Error> {
        let next = match &mut self.next {
            Part::Rest(left) => Part::Rest(take(&mut self.content, unread, *left)),
            Part::UntilClose => {
                let count = unread.len();
                self.admit(count)?;
                take(&mut self.content, unread, count);
                Part::UntilClose
            }
            Part::ChunkSize(lines) => match lines.read(unread)?.map(chunk_size).transpose()? {
                None => return Ok(()),
                Some(0) => Part::trailer(),
                Some(size) => Part::Chunk(self.admit(size)?),
            },
            Part::Chunk(left) => match take(&mut self.content, unread, *left) {
                0 => Part::chunk_end(),
                left => Part::Chunk(left),
            },
            Part::ChunkEnd(lines) => match lines.read(unread)? {
                None => return Ok(()),
                // Two bytes at most: the line is empty.
                Some(_) => Part::chunk_size(),
            },
            Part::Trailer(lines) => match lines.read(unread)? {
                Some([]) => Part::Rest(0),
                _ => return Ok(()),
            },
        };
        self.next = next;
        Ok(())
    }

    /// `length` more bytes, if they fit.
    fn admit(&self, length: usize) -> Result<usize, Http1Error> {
        let room = self.limit.saturating_sub(self.content.len());
        if length <= room { Ok(length) } else { Err(Http1Error::BodyTooLarge { limit: self.limit }) }
    }
}

/// Moves `count` bytes from `unread` to `content`, as far as they are there, and returns how many are still to come.
fn take(content: &mut Vec<u8>, unread: &mut &[u8], count: usize) -> usize {
    let (taken, rest) = unread.split_at(count.min(unread.len()));
    content.extend_from_slice(taken);
    *unread = rest;
    count.saturating_sub(taken.len())
}

/// The hexadecimal number at the start of `line`; behind it white space and extensions, which mean nothing here
/// ([RFC 9112 section 7.1.1](https://www.rfc-editor.org/rfc/rfc9112#section-7.1.1)). Not with `httparse`: to that, a
/// line without a number is the last chunk.
fn chunk_size(line: &[u8]) -> Result<usize, Http1Error> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, behind) = line.split_at(end);
    match behind.trim_ascii_start().first() {
        None | Some(b';') => number(digits, 16).ok_or(Http1Error::ChunkSize),
        Some(_) => Err(Http1Error::ChunkSize),
    }
}
