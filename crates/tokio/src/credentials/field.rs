//! What credentials consist of, and under which names.

use std::fmt;
use std::path::PathBuf;

const PREFIX: &str = "IBKR_OAUTH_";
const IBIND_PREFIX: &str = "IBIND_OAUTH1A_";

/// A part of the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    ConsumerKey,
    Realm,
    AccessToken,
    AccessTokenSecret,
    SignatureKey,
    EncryptionKey,
    DhParams,
    DhGenerator,
    BaseUrl,
}

/// A variable's name.
pub(super) struct VariableName {
    pub(super) text: String,
    /// Whether its value names a file.
    pub(super) is_of_file: bool,
}

impl Field {
    pub(super) const ALL: [Self; 9] = [
        Self::ConsumerKey,
        Self::Realm,
        Self::AccessToken,
        Self::AccessTokenSecret,
        Self::SignatureKey,
        Self::EncryptionKey,
        Self::DhParams,
        Self::DhGenerator,
        Self::BaseUrl,
    ];

    /// In a file of credentials.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::ConsumerKey => "consumer_key",
            Self::Realm => "realm",
            Self::AccessToken => "access_token",
            Self::AccessTokenSecret => "access_token_secret",
            Self::SignatureKey => "private_signature_pem",
            Self::EncryptionKey => "private_encryption_pem",
            Self::DhParams => "dhparam_pem",
            Self::DhGenerator => "dh_generator",
            Self::BaseUrl => "base_url",
        }
    }

    /// In a file of credentials, for the name of a file with the value.
    pub(super) fn file_key(self) -> String {
        format!("{}_file", self.key())
    }

    /// In the environment, the first that counts first.
    pub(super) fn variables(self) -> impl Iterator<Item = VariableName> {
        let own = format!("{PREFIX}{}", self.key().to_ascii_uppercase());
        let own_file = format!("{own}_FILE");
        let ibind = format!("{IBIND_PREFIX}{}", self.ibind_name());
        // Only keys have a file there.
        let ibind_file = matches!(self, Self::SignatureKey | Self::EncryptionKey).then(|| format!("{ibind}_FP"));
        let names = [(Some(own), false), (Some(own_file), true), (Some(ibind), false), (ibind_file, true)];
        names.into_iter().filter_map(|(text, is_of_file)| Some(VariableName { text: text?, is_of_file }))
    }

    fn ibind_name(self) -> &'static str {
        match self {
            Self::ConsumerKey => "CONSUMER_KEY",
            Self::Realm => "REALM",
            Self::AccessToken => "ACCESS_TOKEN",
            Self::AccessTokenSecret => "ACCESS_TOKEN_SECRET",
            Self::SignatureKey => "SIGNATURE_KEY",
            Self::EncryptionKey => "ENCRYPTION_KEY",
            Self::DhParams => "DH_PRIME",
            Self::DhGenerator => "DH_GENERATOR",
            Self::BaseUrl => "REST_URL",
        }
    }
}

/// Where a value was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Variable(String),
    /// A file with this value alone, named by a variable or a field.
    File {
        path: PathBuf,
        named_by: String,
    },
    /// A field in a file of credentials.
    Entry {
        path: PathBuf,
        key: &'static str,
    },
    Caller,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::File { path, named_by } => write!(f, "the file {}, which {named_by} names,", path.display()),
            Self::Entry { path, key } => write!(f, "{key} in {}", path.display()),
            Self::Caller => f.write_str("the program"),
        }
    }
}
