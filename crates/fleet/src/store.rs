//! What a store can do: read, and write or delete on a condition.

use std::fmt;

/// What is stored under a key.
#[derive(Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "written as a literal by each store")]
pub struct Entry {
    /// How often the entry was written, counted by the store: each write adds one. It is what fences off a writer who has not
    /// seen the last write.
    pub version: u64,
    /// The bytes.
    pub value: Vec<u8>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("version", &self.version).finish_non_exhaustive()
    }
}

/// An operation of a store. Each is one step that nobody else's comes between, and a read sees every write that was answered
/// before it was sent: no replica that lags behind.
///
/// Keys are at most 200 bytes of ASCII.
#[derive(Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a store must perform all of them")]
pub enum Operation {
    /// Read these keys. Answered with [`Answer::Entries`]. The keys of one read need not be read in one step.
    Read(Vec<String>),
    /// Write `value`, if the entry has this version now; with `None`, if there is no such entry. Answered with
    /// [`Answer::Written`] or [`Answer::Conflict`].
    Write {
        /// The key.
        key: String,
        /// The version that must be there.
        expected: Option<u64>,
        /// The bytes.
        value: Vec<u8>,
    },
    /// Delete the entry, if it has this version now. Answered with [`Answer::Deleted`] or [`Answer::Conflict`].
    Delete {
        /// The key.
        key: String,
        /// The version that must be there.
        expected: u64,
    },
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(keys) => f.debug_tuple("Read").field(keys).finish(),
            Self::Write { key, expected, .. } => write!(f, "Write({key:?} over {expected:?})"),
            Self::Delete { key, expected } => write!(f, "Delete({key:?} {expected})"),
        }
    }
}

/// What a store says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a machine must understand all of them")]
pub enum Answer {
    /// One for each key asked for, in that order.
    Entries(Vec<Option<Entry>>),
    /// Done; the entry has this version now: one more than before, and 1 if it is new.
    Written(u64),
    /// Done.
    Deleted,
    /// Not done: the entry has another version.
    Conflict,
    /// Whether it was done is not known: no connection, no answer in time, or an error of the store.
    Unknown,
}
