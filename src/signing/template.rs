//! Text with gaps: what the requests of a live session have in common is written and encoded once.

use alloc::string::String;
use alloc::vec::Vec;
use core::mem;
use zeroize::Zeroizing;

use crate::signing::percent_encoding::{Encoder, append_to, write_to};

/// A parameter whose value each request has anew (`None`), or all requests share.
pub(crate) type Slot<'a> = (&'a str, Option<&'a str>);

/// What comes into a gap.
pub(crate) enum Filling<'a> {
    /// Of characters that percent-encoding leaves as they are.
    Unreserved(&'a [u8]),
    /// To be written in base64, percent-encoded.
    Base64(&'a [u8]),
}

/// Texts, and gaps between them. Wiped on drop: tokens are among the texts.
#[derive(Default)]
pub(crate) struct Template {
    before_gaps: Vec<Zeroizing<String>>,
    last: Zeroizing<String>,
}

impl Template {
    /// Goes on with text, in a block that is large enough from the start: one that grows leaves copies behind.
    pub(crate) fn text(&mut self, write: impl Fn(&mut Encoder<'_>)) {
        let mut length = self.last.len();
        write_to(&mut |part| length = length.saturating_add(part.len()), &write);
        let mut longer = Zeroizing::new(String::with_capacity(length));
        longer.push_str(&self.last);
        append_to(&mut longer, write);
        self.last = longer;
    }

    /// Goes on with a gap.
    pub(crate) fn gap(&mut self) {
        self.before_gaps.push(mem::take(&mut self.last));
    }

    /// Gives back the room that nothing was written to: this template is kept for as long as a live session.
    pub(crate) fn trimmed(mut self) -> Self {
        self.before_gaps.shrink_to_fit();
        self.last = Zeroizing::new(String::from(self.last.as_str()));
        self
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
