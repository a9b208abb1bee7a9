//! Text with gaps. What all requests of a live session have in common is encoded once; each request fills in the rest.

use alloc::string::String;
use alloc::vec::Vec;
use core::mem;
use zeroize::Zeroizing;

use crate::signing::percent_encoding::{Encoder, write_to};
use crate::signing::percent_tables::{Code, LONGEST_CODE, Table};

/// A parameter: its name, and the value that all requests share, or `None` if each request has a value of its own.
pub(crate) type Slot<'a> = (&'a str, Option<&'a str>);

/// Texts, and gaps between them. Wiped on drop: tokens are among the texts.
#[derive(Default, Clone)]
pub(crate) struct Template {
    before_gaps: Vec<Zeroizing<String>>,
    last: Zeroizing<String>,
}

impl Template {
    /// Appends `text`, which is ASCII, as it is.
    pub(crate) fn plain(&mut self, text: &str) {
        self.text(text.len(), |out| out.plain(text));
    }

    /// Appends `text` as `table` encodes it.
    pub(crate) fn encode(&mut self, text: &str, table: &Table<Code>) {
        self.text(text.len().saturating_mul(LONGEST_CODE), |out| out.encode(text, table));
    }

    /// Appends what `write` writes, which is up to `length` bytes. Memory for all of it is taken first: a `String` that grows
    /// leaves copies behind that are not wiped.
    fn text(&mut self, length: usize, write: impl FnOnce(&mut Encoder<'_, String>)) {
        let mut longer = Zeroizing::new(String::with_capacity(self.last.len().saturating_add(length)));
        longer.push_str(&self.last);
        write_to(&mut *longer, write);
        self.last = longer;
    }

    /// Appends a gap.
    pub(crate) fn gap(&mut self) {
        self.before_gaps.push(mem::take(&mut self.last));
    }

    /// Returns a copy in no more memory than it needs: templates are kept for as long as a live session.
    pub(crate) fn trimmed(&self) -> Self {
        self.clone()
    }

    /// Returns where each gap begins in the text that [`fill`](Self::fill) writes, in bytes.
    pub(crate) fn gaps<const COUNT: usize>(&self, fillings: [&str; COUNT]) -> [usize; COUNT] {
        let mut length: usize = 0;
        let mut texts = self.before_gaps.iter();
        fillings.map(|filling| {
            let start = length.saturating_add(texts.next().map_or(0, |text| text.len()));
            length = start.saturating_add(filling.len());
            start
        })
    }

    /// Hands the text to `write`, piece by piece, with one of `fillings` in each gap. All of it is ASCII.
    #[inline]
    pub(crate) fn fill(&self, fillings: &[&str], mut write: impl FnMut(&str)) {
        for (text, filling) in self.before_gaps.iter().zip(fillings) {
            write(text);
            write(filling);
        }
        write(&self.last);
    }

    /// Bytes of the text, without what comes into the gaps.
    pub(crate) fn length(&self) -> usize {
        self.before_gaps.iter().map(|text| text.len()).fold(self.last.len(), usize::saturating_add)
    }
}
