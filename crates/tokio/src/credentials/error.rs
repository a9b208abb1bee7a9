//! What can be wrong with credentials.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use ibkr_oauth::doctor::Report;
use thiserror::Error;

use super::field::Field;

/// Why there are no usable credentials. No message holds a secret.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("cannot read {}{}: {cause}", path.display(), named(named_by))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The variable or field that names it.
        named_by: Option<String>,
        /// Why.
        cause: String,
    },
    /// A file of credentials cannot be changed, or the change may not outlast a power failure. The file is whole.
    #[error("cannot change {}: {cause}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// A file of credentials is neither JSON nor TOML.
    #[error("{} is not {format}: see line {line}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it was taken for.
        format: &'static str,
        /// The line that is wrong.
        line: usize,
    },
    /// A variable or a field is no text.
    #[error("{name} is not text")]
    NotText {
        /// The variable, or the field and its file.
        name: String,
    },
    /// No variable is set.
    #[error(
        "there are no credentials: set IBKR_CREDENTIALS to a file's name, or IBKR_OAUTH_CONSUMER_KEY and the others, or \
         the variables of ibind"
    )]
    NoneFound,
    /// A part is missing.
    #[error("{key} is missing: put it into the file of credentials, or set {variable} or {variable}_FILE")]
    Missing {
        /// The field of the file.
        key: &'static str,
        /// The variable.
        variable: String,
    },
    /// A part is there and cannot be used.
    #[error("{source_name} cannot be used: {cause}\n{report}")]
    Unusable {
        /// The variable, or the file, and the field in it.
        source_name: String,
        /// What is wrong.
        cause: String,
        /// What the doctor says of all parts.
        report: Box<Report>,
    },
}

impl CredentialsError {
    pub(super) fn missing(field: Field) -> Self {
        let variable = field.variables().next().map(|name| name.text).unwrap_or_default();
        Self::Missing { key: field.key(), variable }
    }

    pub(super) fn unreadable(path: PathBuf, named_by: Option<String>, cause: &dyn Display) -> Self {
        Self::Unreadable { path, named_by, cause: cause.to_string() }
    }

    pub(super) fn unwritable(path: &Path, cause: &dyn Display) -> Self {
        Self::Unwritable { path: path.to_owned(), cause: cause.to_string() }
    }
}

fn named(by: &Option<String>) -> String {
    by.as_ref().map_or_else(String::new, |by| format!(", which {by} names"))
}
