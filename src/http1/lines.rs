//! Lines that end in CRLF: of a head, of chunk sizes, of a trailer.

use alloc::vec::Vec;

use super::Http1Error;

/// Collects lines that end in CRLF, a byte at a time, up to a limit for all of them together.
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where the line begins that is being read.
    start: usize,
    limit: usize,
    /// What it means to go beyond the limit.
    beyond: Http1Error,
}

impl Lines {
    pub(super) fn new(limit: usize, beyond: Http1Error) -> Self {
        Self { bytes: Vec::new(), start: 0, limit, beyond }
    }

    /// All that was read, line ends included.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets all lines, but not that they count towards the limit.
    pub(super) fn clear(&mut self) {
        self.limit = self.limit.saturating_sub(self.bytes.len());
        self.bytes.clear();
        self.start = 0;
    }

    /// The next line in `unread`, without its end, and how much of `unread` it took; `None` once all of that is read.
    pub(super) fn read(&mut self, unread: &mut &[u8]) -> Result<Option<&[u8]>, Http1Error> {
        while let Some((&byte, rest)) = unread.split_first() {
            *unread = rest;
            if self.push(byte)? {
                let end = self.bytes.len().saturating_sub(2);
                let start = core::mem::replace(&mut self.start, self.bytes.len());
                return Ok(self.bytes.get(start..end));
            }
        }
        Ok(None)
    }

    /// Whether `byte` ends a line. CR and LF go together: a recipient that lets one of them do makes room for messages
    /// that are split differently elsewhere
    /// ([RFC 9112 section 2.2](https://www.rfc-editor.org/rfc/rfc9112#section-2.2)).
    fn push(&mut self, byte: u8) -> Result<bool, Http1Error> {
        if self.bytes.len() >= self.limit {
            return Err(self.beyond);
        }
        let after_cr = self.bytes.last() == Some(&b'\r');
        self.bytes.push(byte);
        match (after_cr, byte) {
            (true, b'\n') => Ok(true),
            (true, _) | (false, b'\n') => Err(Http1Error::LineEnding),
            (false, _) => Ok(false),
        }
    }
}

/// The value of `digits`: one at least, and no sign. A number that nothing can hold is the largest there is.
pub(super) fn number(digits: &[u8], radix: u32) -> Option<usize> {
    let is_number = !digits.is_empty() && digits.iter().all(|byte| char::from(*byte).is_digit(radix));
    let digits = str::from_utf8(digits).ok().filter(|_| is_number)?;
    Some(usize::from_str_radix(digits, radix).unwrap_or(usize::MAX))
}
