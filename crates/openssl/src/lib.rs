#![doc = include_str!("../README.md")]
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]
#![deny(clippy::exhaustive_enums, clippy::exhaustive_structs)]

use ibkr_oauth::rand_core::CryptoRng;
use ibkr_oauth::{ConsumerKeys, KeyError, Secret};
use openssl::bn::{BigNum, BigNumContext};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::Signer;

/// Bits of the smallest RSA modulus accepted, as for [`RsaKeys`](ibkr_oauth::RsaKeys).
const MIN_BITS: u32 = 2048;
/// Bits of the largest.
const MAX_BITS: u32 = 8192;

/// Both private keys, in OpenSSL's memory.
pub struct OpenSslKeys {
    signature: PKey<Private>,
    encryption: Rsa<Private>,
}

impl OpenSslKeys {
    /// Reads both keys: PEM, PKCS#8 or PKCS#1, 2048 to 8192 bits, without a passphrase.
    ///
    /// # Errors
    /// [`KeyError::Der`] for what is no such key, [`KeyError::RsaSize`] for one that is too short or too long.
    pub fn from_pem(signature: &str, encryption: &str) -> Result<Self, KeyError> {
        let signature = PKey::from_rsa(read(signature)?).map_err(|_| KeyError::Der)?;
        Ok(Self { signature, encryption: read(encryption)? })
    }
}

fn read(pem: &str) -> Result<Rsa<Private>, KeyError> {
    // A callback, because OpenSSL asks at the terminal otherwise.
    let key = Rsa::private_key_from_pem_callback(pem.as_bytes(), |_| Ok(0)).map_err(|_| KeyError::Der)?;
    match key.n().num_bits().unsigned_abs() {
        MIN_BITS..=MAX_BITS => Ok(key),
        bits => Err(KeyError::RsaSize { bits }),
    }
}

impl ConsumerKeys for OpenSslKeys {
    fn sign_rsa_sha256(&self, message: &[u8], _: &mut dyn CryptoRng) -> Result<Vec<u8>, KeyError> {
        let sign = || Signer::new(MessageDigest::sha256(), &self.signature)?.sign_oneshot_to_vec(message);
        sign().map_err(|_: ErrorStack| KeyError::Sign)
    }

    fn decrypt_pkcs1v15(&self, ciphertext: &[u8], _: &mut dyn CryptoRng) -> Result<Secret<Vec<u8>>, KeyError> {
        let expected = self.encryption.size() as usize;
        if ciphertext.len() != expected {
            return Err(KeyError::SecretLength { expected, found: ciphertext.len() });
        }
        let mut block = vec![0; expected];
        let length = self.encryption.private_decrypt(ciphertext, &mut block, Padding::PKCS1);
        block.truncate(length.map_err(|_| KeyError::Decrypt)?);
        Ok(Secret::new(block))
    }

    fn diffie_hellman_power(&self, base: &[u8], exponent: &Secret<Vec<u8>>, prime: &[u8]) -> Option<Secret<Vec<u8>>> {
        power(base, exponent.expose(), prime).ok().map(Secret::new)
    }
}

fn power(base: &[u8], exponent: &[u8], prime: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let (base, prime) = (BigNum::from_slice(base)?, BigNum::from_slice(prime)?);
    let mut exponent = BigNum::from_slice(exponent)?;
    // As for a Diffie-Hellman key: without it, the time taken would depend on the exponent.
    exponent.set_const_time();
    let mut power = BigNum::new()?;
    let computed = power.mod_exp(&base, &exponent, &prime, &mut *BigNumContext::new()?);
    let bytes = power.to_vec();
    exponent.clear();
    power.clear();
    computed.map(|()| bytes)
}
