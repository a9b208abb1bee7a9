//! The keys of a consumer for the time of a test.

use std::fmt;
use std::io;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use rsa::PrivateKey;
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};

use crate::RegisteredConsumer;

/// What the self-service portal asks for.
const BITS: usize = 2048;

/// A consumer's keys in PEM: two RSA keys, and Diffie-Hellman parameters.
///
/// `Debug` shows nothing of them.
#[derive(Clone)]
#[non_exhaustive]
pub struct TestKeys {
    /// The private half of the signature key (PKCS#8).
    pub private_signature_pem: String,
    /// The private half of the encryption key (PKCS#8).
    pub private_encryption_pem: String,
    /// The public half of the signature key (SPKI).
    pub public_signature_pem: String,
    /// The public half of the encryption key (SPKI).
    pub public_encryption_pem: String,
    /// The 2048-bit group of RFC 3526, section 3 (PKCS#3): a prime that need not be searched for.
    pub dhparam_pem: String,
}

impl TestKeys {
    /// Generates two RSA keys of 2048 bits. That takes a tenth of a second, or a second in a build without optimisation.
    ///
    /// # Errors
    /// Those of the libraries that do it; none is expected.
    pub fn generate() -> io::Result<Self> {
        let generate = || PrivateKey::new(&mut UnwrapErr(SysRng), BITS).map_err(io::Error::other);
        let [signature, encryption] = [generate()?, generate()?];
        Ok(Self {
            private_signature_pem: private_pem(&signature)?,
            private_encryption_pem: private_pem(&encryption)?,
            public_signature_pem: public_pem(&signature)?,
            public_encryption_pem: public_pem(&encryption)?,
            dhparam_pem: include_str!("group_14.pem").to_owned(),
        })
    }

    /// Returns what a consumer with these keys hands over to be registered; a third party has a callback URL.
    pub fn registration(&self, consumer_key: &str, callback_url: Option<&str>) -> RegisteredConsumer {
        RegisteredConsumer {
            consumer_key: consumer_key.to_owned(),
            signature_public_key_pem: self.public_signature_pem.clone(),
            encryption_public_key_pem: self.public_encryption_pem.clone(),
            dhparam_pem: self.dhparam_pem.clone(),
            callback_url: callback_url.map(str::to_owned),
        }
    }
}

fn private_pem(key: &PrivateKey) -> io::Result<String> {
    key.to_pkcs8_pem(LineEnding::LF).map(|pem| pem.to_string()).map_err(io::Error::other)
}

fn public_pem(key: &PrivateKey) -> io::Result<String> {
    key.to_public_key().to_public_key_pem(LineEnding::LF).map_err(io::Error::other)
}

impl fmt::Debug for TestKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestKeys").finish_non_exhaustive()
    }
}
