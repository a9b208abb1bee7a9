//! Names of members.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A member of a fleet, for as long as its lease has not been lost: after that it comes back under another number, so that a
/// record of the old one can never be taken for the new one's. So it does if its record may or may not have been made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberId(String);

impl MemberId {
    /// `random` must be drawn anew for each process: two members of one id would think that they are one.
    pub(crate) fn new(random: u128) -> Self {
        Self(format!("{random:032x}-0"))
    }

    /// The name after a lost lease.
    pub(crate) fn reborn(&self) -> Self {
        let (base, life) = self.0.rsplit_once('-').unwrap_or((&self.0, "0"));
        let life = life.parse().unwrap_or(0_u64).saturating_add(1);
        Self(format!("{base}-{life}"))
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
