//! The report of an examination: findings, fingerprints, and repaired texts.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Credential, Finding, FindingKind, Severity};
use crate::advice::diagnosis::Diagnosis;
use crate::error::Error;
use crate::secret::Secret;

/// The report of an examination: findings, the worst first; fingerprints to compare with what is registered; and texts
/// that could be repaired.
///
/// `Display` and [`to_json`](Self::to_json) show the first two. Neither they nor `Debug` show a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    findings: Vec<Finding>,
    fingerprints: Vec<Fingerprint>,
    repaired: Vec<(Credential, Secret<String>)>,
}

/// SHA-256 of something public, to compare with what was uploaded to the portal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Fingerprint {
    /// The private key whose public half this is of, or the Diffie-Hellman parameters.
    pub credential: Credential,
    /// 64 lower-case hexadecimal digits, as `openssl dgst` prints them.
    pub sha256: String,
}

impl Report {
    /// Returns all findings, the worst first.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns whether `kind` was found anywhere.
    pub fn has(&self, kind: FindingKind) -> bool {
        self.findings.iter().any(|finding| finding.kind == kind)
    }

    /// Returns the severity of the worst finding; none if there is none.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(Finding::severity).max()
    }

    /// Returns the fingerprints of what could be read.
    pub fn fingerprints(&self) -> &[Fingerprint] {
        &self.fingerprints
    }

    /// Returns the text of `credential` as it should be, where it was damaged and the damage could be undone for certain.
    ///
    /// A secret: it may be a private key. Use it in place of the damaged text.
    pub fn repaired(&self, credential: Credential) -> Option<&Secret<String>> {
        self.repaired.iter().find(|(repaired, _)| *repaired == credential).map(|(_, text)| text)
    }

    /// Returns what the examination says about an error whose causes it can tell apart, and none for any other:
    /// `invalid consumer`, which stands for a key that is not active yet as well as for credentials that are wrong; a
    /// live session token that does not match; a private key that fails.
    pub fn opinion_on(&self, error: &Error) -> Option<&'static str> {
        let if_sound = match error {
            Error::Rejected(rejected) if rejected.diagnosis == Diagnosis::InvalidConsumer => {
                "the offline checks pass: wait for the activation, and do not make new keys, which would begin it anew"
            }
            Error::LiveSessionMismatch(_) => {
                "the offline checks pass: compare the fingerprint of the Diffie-Hellman parameters with the file that you uploaded, and \
                 use the newest access token secret"
            }
            Error::Keys(_) => {
                "the offline checks pass: the keys that were checked work, so look at those that were used"
            }
            _ => return None,
        };
        Some(match self.worst() {
            Some(Severity::Error) => "the offline checks find errors in the credentials: mend them first",
            Some(Severity::Warning) => {
                "the offline checks find nothing that is certainly wrong: see to the warnings, then wait and try again"
            }
            _ => if_sound,
        })
    }

    /// Returns the report for machines: an object with `worst` (a severity or null), `findings`, `fingerprints`, and
    /// the names of the credentials that were repaired, without their texts.
    pub fn to_json(&self) -> String {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "severity": finding.severity().name(),
                "kind": finding.kind.name(),
                "credential": finding.credential.name(),
                "cause": finding.cause(),
                "evidence": finding.evidence,
                "remedy": finding.remedy(),
            })
        });
        let fingerprints = self.fingerprints.iter().map(|fingerprint| {
            json!({
                "credential": fingerprint.credential.name(),
                "sha256": fingerprint.sha256,
                "command": fingerprint.command(),
            })
        });
        let report = json!({
            "worst": self.worst().map(Severity::name),
            "findings": findings.collect::<Value>(),
            "fingerprints": fingerprints.collect::<Value>(),
            "repaired": self.repaired.iter().map(|(credential, _)| credential.name()).collect::<Value>(),
        });
        report.to_string()
    }

    pub(super) fn add(&mut self, kind: FindingKind, credential: Credential, evidence: impl Into<String>) {
        self.push(Finding::new(kind, credential, evidence));
    }

    pub(super) fn push(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub(super) fn add_repaired(&mut self, credential: Credential, text: Secret<String>) {
        self.repaired.push((credential, text));
    }

    /// `public` is DER of something public.
    pub(super) fn add_fingerprint(&mut self, credential: Credential, public: &[u8]) {
        let sha256 = base16ct::lower::encode_string(&Sha256::digest(public));
        self.fingerprints.push(Fingerprint { credential, sha256 });
    }

    pub(super) fn fingerprint(&self, credential: Credential) -> Option<&str> {
        self.fingerprints.iter().find(|known| known.credential == credential).map(|known| known.sha256.as_str())
    }

    pub(super) fn worst_first(&mut self) {
        self.findings.sort_by_key(|finding| Reverse(finding.severity()));
    }
}

impl Fingerprint {
    /// Returns what it is of, in words.
    pub fn subject(&self) -> &'static str {
        match self.credential {
            Credential::SignatureKey => "the public signature key",
            Credential::EncryptionKey => "the public encryption key",
            _ => "the Diffie-Hellman parameters",
        }
    }

    /// Returns the command that computes the same with OpenSSL.
    pub fn command(&self) -> &'static str {
        match self.credential {
            Credential::SignatureKey => {
                "openssl pkey -in private_signature.pem -pubout -outform DER | openssl dgst -sha256"
            }
            Credential::EncryptionKey => {
                "openssl pkey -in private_encryption.pem -pubout -outform DER | openssl dgst -sha256"
            }
            _ => "openssl dhparam -in dhparam.pem -outform DER | openssl dgst -sha256",
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        for fingerprint in &self.fingerprints {
            writeln!(f, "SHA-256 of {}: {}", fingerprint.subject(), fingerprint.sha256)?;
        }
        Ok(())
    }
}
