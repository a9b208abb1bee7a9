//! One finding: what, where, and how it shows.

use alloc::string::String;
use core::fmt;

use super::FindingKind;
use super::severity::Severity;

/// One of the credentials, or the clock: where a finding belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Credential {
    /// The consumer key.
    ConsumerKey,
    /// The realm.
    Realm,
    /// The access token.
    AccessToken,
    /// The access token secret.
    AccessTokenSecret,
    /// The private signature key.
    #[cfg_attr(feature = "serde", serde(rename = "private_signature_pem"))]
    SignatureKey,
    /// The private encryption key.
    #[cfg_attr(feature = "serde", serde(rename = "private_encryption_pem"))]
    EncryptionKey,
    /// The Diffie-Hellman parameters.
    #[cfg_attr(feature = "serde", serde(rename = "dhparam_pem"))]
    DhParams,
    /// The base URL.
    BaseUrl,
    /// The clock.
    Clock,
}

impl Credential {
    /// Every credential.
    pub const ALL: &'static [Self] = &[
        Self::ConsumerKey,
        Self::Realm,
        Self::AccessToken,
        Self::AccessTokenSecret,
        Self::SignatureKey,
        Self::EncryptionKey,
        Self::DhParams,
        Self::BaseUrl,
        Self::Clock,
    ];

    /// Returns the name that it has in a file of credentials: `consumer_key`, `private_signature_pem` and so on.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConsumerKey => "consumer_key",
            Self::Realm => "realm",
            Self::AccessToken => "access_token",
            Self::AccessTokenSecret => "access_token_secret",
            Self::SignatureKey => "private_signature_pem",
            Self::EncryptionKey => "private_encryption_pem",
            Self::DhParams => "dhparam_pem",
            Self::BaseUrl => "base_url",
            Self::Clock => "clock",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::ConsumerKey => "the consumer key",
            Self::Realm => "the realm",
            Self::AccessToken => "the access token",
            Self::AccessTokenSecret => "the access token secret",
            Self::SignatureKey => "the private signature key",
            Self::EncryptionKey => "the private encryption key",
            Self::DhParams => "the Diffie-Hellman parameter file",
            Self::BaseUrl => "the base URL",
            Self::Clock => "the clock",
        }
    }

    /// As IBKR's instructions name the files ([protocol section 9](crate::protocol#section-9)).
    fn file(self) -> &'static str {
        match self {
            Self::SignatureKey => "private_signature.pem",
            Self::EncryptionKey => "private_encryption.pem",
            Self::DhParams => "dhparam.pem",
            _ => "the file",
        }
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One finding: what, where, and the evidence. It never holds a secret: counts, labels and names only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Finding {
    /// What was found.
    pub kind: FindingKind,
    /// Where.
    pub credential: Credential,
    /// How it shows.
    pub evidence: String,
}

impl Finding {
    pub(super) fn new(kind: FindingKind, credential: Credential, evidence: impl Into<String>) -> Self {
        Self { kind, credential, evidence: evidence.into() }
    }

    /// Returns how bad it is.
    pub fn severity(&self) -> Severity {
        self.kind.severity()
    }

    /// Returns what is wrong, in a sentence without a full stop.
    pub fn cause(&self) -> String {
        self.fill(self.kind.cause())
    }

    /// Returns what to do about it, in a sentence without a full stop.
    pub fn remedy(&self) -> String {
        self.fill(self.kind.remedy())
    }

    fn fill(&self, template: &str) -> String {
        template.replace("{credential}", self.credential.words()).replace("{file}", self.credential.file())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}: {}", self.severity().name(), self.kind.name(), self.cause())?;
        writeln!(f, "  seen: {}", self.evidence)?;
        write!(f, "  do:   {}", self.remedy())
    }
}
