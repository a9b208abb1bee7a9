//! The severity of a finding.

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[allow(clippy::exhaustive_enums, reason = "callers map all three, to exit codes for instance")]
pub enum Severity {
    /// Good to know; nothing has to be done.
    Note,
    /// A login may fail, or works and should not be done like this.
    Warning,
    /// A login cannot work with this.
    Error,
}

impl Severity {
    /// Returns the name in lower case: `note`, `warning`, `error`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl core::fmt::Display for Severity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
