//! Text with gaps: what the requests of a live session have in common is written and encoded once.

use alloc::string::String;
use alloc::vec::Vec;
use zeroize::{Zeroize, Zeroizing};

use crate::signing::percent_encoding::{Encoder, append_to};

/// A parameter whose value each request has anew (`None`), or all requests share.
pub(crate) type Slot<'a> = (&'a str, Option<&'a str>);

/// What comes into a gap.
pub(crate) enum Filling<'a> {
    /// Of characters that percent-encoding leaves as they are.
    Unreserved(&'a [u8]),
    /// To be written in base64, percent-encoded.
    Base64(&'a [u8]),
}

/// Bytes of the longest usual text between two gaps. It is reserved at once: growing would leave copies behind.
const TEXT: usize = 256;

/// Texts, and gaps between them. Wiped on drop: tokens are among the texts.
pub(crate) struct Template {
    before_gaps: Vec<Zeroizing<String>>,
    last: Zeroizing<String>,
}

impl Template {
    pub(crate) fn new() -> Self {
        Self { before_gaps: Vec::new(), last: Zeroizing::new(String::with_capacity(TEXT)) }
    }

    /// Goes on with text.
    pub(crate) fn text(&mut self, write: impl FnOnce(&mut Encoder<'_>)) {
        append_to(&mut self.last, write);
    }

    /// Goes on with a gap.
    pub(crate) fn gap(&mut self) {
        self.before_gaps.push(Zeroizing::new(String::from(self.last.as_str())));
        self.last.zeroize();
    }

    /// Writes the texts, and `fillings` in the gaps.
    pub(crate) fn fill(&self, out: &mut Encoder<'_>, fillings: &[Filling<'_>]) {
        for (text, filling) in self.before_gaps.iter().zip(fillings) {
            out.plain(text.as_str());
            match filling {
                Filling::Unreserved(text) => out.plain(text),
                Filling::Base64(bytes) => out.base64(bytes),
            }
        }
        out.plain(self.last.as_str());
    }
}
