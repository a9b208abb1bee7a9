//! Text with gaps: what the requests of a live session have in common is written and encoded once.

use alloc::string::String;
use alloc::vec::Vec;
use core::mem;
use zeroize::Zeroizing;

use crate::signing::percent_encoding::{Encoder, write_to};
use crate::signing::percent_tables::{LONGEST_CODE, Table};

/// A parameter whose value each request has anew (`None`), or all requests share.
pub(crate) type Slot<'a> = (&'a str, Option<&'a str>);

/// Texts, and gaps between them. Wiped on drop: tokens are among the texts.
#[derive(Default, Clone)]
pub(crate) struct Template {
    before_gaps: Vec<Zeroizing<String>>,
    last: Zeroizing<String>,
}

impl Template {
    /// Goes on with text that is ASCII.
    pub(crate) fn plain(&mut self, text: &str) {
        self.text(text.len(), |out| out.plain(text));
    }

    /// Goes on with text, encoded.
    pub(crate) fn encode(&mut self, text: &str, table: &Table) {
        self.text(text.len().saturating_mul(LONGEST_CODE), |out| out.encode(text, table));
    }

    /// Goes on with a text of up to `length` bytes, in a block that is large enough from the start: one that grows leaves
    /// copies behind.
    fn text(&mut self, length: usize, write: impl FnOnce(&mut Encoder<'_, String>)) {
        let mut longer = Zeroizing::new(String::with_capacity(self.last.len().saturating_add(length)));
        longer.push_str(&self.last);
        write_to(&mut *longer, write);
        self.last = longer;
    }

    /// Goes on with a gap.
    pub(crate) fn gap(&mut self) {
        self.before_gaps.push(mem::take(&mut self.last));
    }

    /// Gives back the room that nothing was written to: templates are kept for as long as a live session.
    pub(crate) fn trimmed(&self) -> Self {
        self.clone()
    }

    /// Where the first gaps begin, once they are filled with `fillings`.
    pub(crate) fn gaps<const COUNT: usize>(&self, fillings: [&str; COUNT]) -> [usize; COUNT] {
        let mut length: usize = 0;
        let mut texts = self.before_gaps.iter();
        fillings.map(|filling| {
            let start = length.saturating_add(texts.next().map_or(0, |text| text.len()));
            length = start.saturating_add(filling.len());
            start
        })
    }

    /// Hands the texts to `write`, and `fillings` in the gaps. They are ASCII.
    #[inline]
    pub(crate) fn fill(&self, fillings: &[&str], mut write: impl FnMut(&str)) {
        for (text, filling) in self.before_gaps.iter().zip(fillings) {
            write(text);
            write(filling);
        }
        write(&self.last);
    }

    /// Bytes of the texts.
    pub(crate) fn length(&self) -> usize {
        self.before_gaps.iter().map(|text| text.len()).fold(self.last.len(), usize::saturating_add)
    }
}
