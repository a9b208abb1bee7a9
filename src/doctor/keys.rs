//! Checks of the two private RSA keys.

use alloc::format;
use alloc::string::{String, ToString};
use der::Decode;
use rsa::pkcs1;
use rsa::pkcs8::{EncodePublicKey, PrivateKeyInfoRef};
use rsa::traits::PublicKeyParts;

use super::damaged_pem::{self, Block};
use super::{Credential, Credentials, FindingKind, Report};
use crate::credentials::error::KeyError;
use crate::credentials::keys::{MAX_BITS, MIN_BITS, RsaPrivateKey};

/// Bits that the portal's instructions ask for ([protocol section 9](crate::protocol#section-9)).
const USUAL_BITS: u32 = 2048;

/// The keys that could be read.
pub(super) struct Keys {
    pub(super) signature: Option<RsaPrivateKey>,
    pub(super) encryption: Option<RsaPrivateKey>,
}

pub(super) fn examine(credentials: &Credentials<'_>, report: &mut Report) -> Keys {
    let signature = KeyText {
        credential: Credential::SignatureKey,
        pem: credentials.signature_key,
        passphrase: credentials.signature_passphrase,
    };
    let encryption = KeyText {
        credential: Credential::EncryptionKey,
        pem: credentials.encryption_key,
        passphrase: credentials.encryption_passphrase,
    };
    let keys = Keys { signature: signature.examine(report), encryption: encryption.examine(report) };
    compare(report);
    keys
}

struct KeyText<'a> {
    credential: Credential,
    pem: Option<&'a str>,
    passphrase: Option<&'a str>,
}

impl KeyText<'_> {
    fn examine(&self, report: &mut Report) -> Option<RsaPrivateKey> {
        let Some(pem) = self.pem else {
            report.add(FindingKind::Missing, self.credential, "nothing was given");
            return None;
        };
        let wanted = ["PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"];
        let block = damaged_pem::read(pem, &wanted, self.credential, report)?;
        let key = self.parse(&block, report)?;
        if let Some(repaired) = block.repaired {
            report.add_repaired(self.credential, repaired);
        }
        self.measure(&key, report);
        Some(key)
    }

    fn parse(&self, block: &Block, report: &mut Report) -> Option<RsaPrivateKey> {
        if block.label == "ENCRYPTED PRIVATE KEY" {
            return self.decrypt(block, report);
        }
        if self.passphrase.is_some_and(|passphrase| !passphrase.is_empty()) {
            report.add(FindingKind::PassphraseUnneeded, self.credential, format!("the label {}", block.label));
        }
        let key = RsaPrivateKey::from_der(block.der.expose());
        key.map_err(|error| self.report_unusable(error, block.der.expose(), report)).ok()
    }

    fn decrypt(&self, block: &Block, report: &mut Report) -> Option<RsaPrivateKey> {
        match self.passphrase.filter(|passphrase| !passphrase.is_empty()) {
            Some(passphrase) => self.decrypt_with(passphrase, block, report),
            None => {
                report.add(FindingKind::Encrypted, self.credential, "no passphrase was given");
                None
            }
        }
    }

    #[cfg(feature = "encrypted-keys")]
    fn decrypt_with(&self, passphrase: &str, block: &Block, report: &mut Report) -> Option<RsaPrivateKey> {
        let key = RsaPrivateKey::from_encrypted_der(block.der.expose(), passphrase.as_bytes());
        key.map_err(|error| self.report_unusable(error, block.der.expose(), report)).ok()
    }

    #[cfg(not(feature = "encrypted-keys"))]
    fn decrypt_with(&self, _: &str, _: &Block, report: &mut Report) -> Option<RsaPrivateKey> {
        report.add(
            FindingKind::Encrypted,
            self.credential,
            "this program was built without the feature `encrypted-keys`",
        );
        None
    }

    fn report_unusable(&self, error: KeyError, der: &[u8], report: &mut Report) {
        let (kind, evidence) = match error {
            KeyError::RsaSize { bits } if bits < MIN_BITS => {
                (FindingKind::KeyTooSmall, format!("{bits} bits; the least is {MIN_BITS}"))
            }
            KeyError::RsaSize { bits } => (FindingKind::KeyTooLarge, format!("{bits} bits; the most is {MAX_BITS}")),
            KeyError::TooLong => (FindingKind::KeyTooLarge, error.to_string()),
            KeyError::WrongPassphrase => (FindingKind::WrongPassphrase, "a passphrase was given".into()),
            _ => unreadable(error, der),
        };
        report.add(kind, self.credential, evidence);
    }

    fn measure(&self, key: &RsaPrivateKey, report: &mut Report) {
        let bits = key.0.n().bit_width_vartime();
        if bits != USUAL_BITS {
            report.add(FindingKind::KeySize, self.credential, format!("{bits} bits"));
        }
        if let Ok(public) = key.0.to_public_key().to_public_key_der() {
            report.add_fingerprint(self.credential, public.as_bytes());
        }
    }
}

fn unreadable(error: KeyError, der: &[u8]) -> (FindingKind, String) {
    if is_of_another_algorithm(der) {
        return (FindingKind::NotRsa, "a private key of another algorithm".into());
    }
    (FindingKind::KeyDamaged, error.to_string())
}

fn is_of_another_algorithm(der: &[u8]) -> bool {
    PrivateKeyInfoRef::from_der(der).is_ok_and(|info| info.algorithm.oid != pkcs1::ALGORITHM_OID)
}

fn compare(report: &mut Report) {
    let signature = report.fingerprint(Credential::SignatureKey);
    if signature.is_some() && signature == report.fingerprint(Credential::EncryptionKey) {
        report.add(FindingKind::SameKey, Credential::EncryptionKey, "both have the same fingerprint");
    }
}
