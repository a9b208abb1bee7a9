//! The consumer's two private keys, and the trait through which hardware can hold them.

use alloc::vec::Vec;
use core::fmt;
use rand_core::CryptoRng;
use rsa::PrivateKey;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use sha2::Sha256;

use crate::credentials::error::KeyError;
use crate::credentials::pem;
use crate::secret::Secret;

/// Bits of the smallest RSA modulus accepted: what the self-service portal asks for
/// ([protocol section 9](crate::protocol#section-9)).
pub(crate) const MIN_BITS: u32 = 2048;
/// Bits of the largest: beyond it a login takes seconds.
pub(crate) const MAX_BITS: u32 = 8192;

/// What a consumer's private keys do. Implement it to keep them in hardware, or to have a faster library compute a login;
/// [`RsaKeys`] keeps them in memory.
///
/// Object-safe. `rng` blinds the private-key operation; implementations that need none ignore it.
///
/// ```
/// # struct Hsm;
/// # impl Hsm {
/// #     fn sign(&self, _: &str, _: &[u8]) -> Result<Vec<u8>, ()> { Err(()) }
/// #     fn decrypt(&self, _: &str, _: &[u8]) -> Result<Vec<u8>, ()> { Err(()) }
/// # }
/// use ibkr_oauth::rand_core::CryptoRng;
/// use ibkr_oauth::{ConsumerKeys, KeyError, Secret};
///
/// /// Both keys in a hardware security module, each under its label.
/// struct KeysInHsm(Hsm);
///
/// impl ConsumerKeys for KeysInHsm {
///     // PKCS#11: CKM_SHA256_RSA_PKCS.
///     fn sign_rsa_sha256(&self, message: &[u8], _: &mut dyn CryptoRng) -> Result<Vec<u8>, KeyError> {
///         self.0.sign("ibkr-signature", message).map_err(|_| KeyError::Sign)
///     }
///
///     // PKCS#11: CKM_RSA_PKCS.
///     fn decrypt_pkcs1v15(&self, ciphertext: &[u8], _: &mut dyn CryptoRng) -> Result<Secret<Vec<u8>>, KeyError> {
///         self.0.decrypt("ibkr-encryption", ciphertext).map(Secret::new).map_err(|_| KeyError::Decrypt)
///     }
/// }
/// ```
pub trait ConsumerKeys: Send + Sync {
    /// Signs `message` with the private *signature* key: RSASSA-PKCS1-v1_5 with SHA-256.
    ///
    /// # Errors
    /// [`KeyError::Sign`], or another that says what happened.
    fn sign_rsa_sha256(&self, message: &[u8], rng: &mut dyn CryptoRng) -> Result<Vec<u8>, KeyError>;

    /// Decrypts `ciphertext` with the private *encryption* key: RSAES-PKCS1-v1_5.
    ///
    /// Bad padding may give unpredictable bytes instead of an error (implicit rejection): a wrong key is then found by
    /// the server, or by the check of the live session token.
    ///
    /// # Errors
    /// [`KeyError::SecretLength`], [`KeyError::Decrypt`], or another that says what happened.
    fn decrypt_pkcs1v15(&self, ciphertext: &[u8], rng: &mut dyn CryptoRng) -> Result<Secret<Vec<u8>>, KeyError>;

    /// Returns `base^exponent mod prime`, the power of a Diffie-Hellman agreement, or `None`, the default: then this crate
    /// computes it. Two are needed for a login.
    ///
    /// The numbers are big-endian, with zeros in front or without. `exponent` is secret: compute in a time that does not
    /// depend on it, and wipe what is left of it. `base` is in 2..=p-2; a power that is not is an error
    /// ([`KeyError::Power`]). Whether a power is right is not checked here: if it is not, the server's proof fails.
    fn diffie_hellman_power(
        &self,
        _base: &[u8],
        _exponent: &Secret<Vec<u8>>,
        _prime: &[u8],
    ) -> Option<Secret<Vec<u8>>> {
        None
    }
}

/// One RSA private key of 2048 to 8192 bits. Wiped on drop.
#[derive(Clone)]
pub struct RsaPrivateKey(pub(crate) PrivateKey);

impl RsaPrivateKey {
    /// Reads a key from PEM: PKCS#8 (`PRIVATE KEY`, OpenSSL 3) or PKCS#1 (`RSA PRIVATE KEY`, OpenSSL 1). Line endings
    /// do not matter, nor does text before and after the block.
    ///
    /// # Errors
    /// [`KeyError`] says what was found instead.
    ///
    /// ```
    /// use ibkr_oauth::{KeyError, RsaPrivateKey};
    /// let public = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    /// assert_eq!(RsaPrivateKey::from_pem(public).unwrap_err(), KeyError::WrongPem { found: "PUBLIC KEY" });
    /// ```
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let block = pem::find(text, &["PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"])?;
        match block.label {
            "ENCRYPTED PRIVATE KEY" => Err(KeyError::Encrypted),
            _ => Self::from_der(block.der.expose()),
        }
    }

    /// Reads a key from DER, PKCS#8 or PKCS#1.
    ///
    /// # Errors
    /// [`KeyError::Der`] or [`KeyError::RsaSize`].
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        if der.len() > MAX_DER {
            return Err(KeyError::TooLong);
        }
        let key = PrivateKey::from_pkcs8_der(der).or_else(|_| PrivateKey::from_pkcs1_der(der));
        Self::checked(key.map_err(|_| KeyError::Der)?)
    }

    /// Reads a key from PKCS#8 PEM protected by a passphrase (`ENCRYPTED PRIVATE KEY`).
    ///
    /// # Errors
    /// As [`Self::from_pem`], and [`KeyError::WrongPassphrase`].
    #[cfg(feature = "encrypted-keys")]
    pub fn from_encrypted_pem(text: &str, passphrase: &[u8]) -> Result<Self, KeyError> {
        Self::from_encrypted_der(pem::find(text, &["ENCRYPTED PRIVATE KEY"])?.der.expose(), passphrase)
    }

    #[cfg(feature = "encrypted-keys")]
    pub(crate) fn from_encrypted_der(der: &[u8], passphrase: &[u8]) -> Result<Self, KeyError> {
        let key = PrivateKey::from_pkcs8_encrypted_der(der, passphrase);
        Self::checked(key.map_err(|_| KeyError::WrongPassphrase)?)
    }

    fn checked(key: PrivateKey) -> Result<Self, KeyError> {
        match key.n().bit_width_vartime() {
            MIN_BITS..=MAX_BITS => Ok(Self(key)),
            bits => Err(KeyError::RsaSize { bits }),
        }
    }
}

impl fmt::Debug for RsaPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaPrivateKey({} bits, [redacted])", self.0.n().bit_width_vartime())
    }
}

/// Bytes of the longest DER read: a PKCS#8 key of [`MAX_BITS`] has 4,700.
const MAX_DER: usize = 8 * 1024;

/// Both private keys in memory.
#[derive(Clone, Debug)]
pub struct RsaKeys {
    signature: RsaPrivateKey,
    encryption: RsaPrivateKey,
}

impl RsaKeys {
    /// Joins the two keys: `signature` signs the three OAuth requests, `encryption` decrypts the access token secret.
    /// IBKR names the files `private_signature.pem` and `private_encryption.pem`.
    pub fn new(signature: RsaPrivateKey, encryption: RsaPrivateKey) -> Self {
        Self { signature, encryption }
    }
}

impl ConsumerKeys for RsaKeys {
    fn sign_rsa_sha256(&self, message: &[u8], rng: &mut dyn CryptoRng) -> Result<Vec<u8>, KeyError> {
        sign(&self.signature.0, message, rng)
    }

    fn decrypt_pkcs1v15(&self, ciphertext: &[u8], rng: &mut dyn CryptoRng) -> Result<Secret<Vec<u8>>, KeyError> {
        let expected = self.encryption.0.size();
        if ciphertext.len() != expected {
            return Err(KeyError::SecretLength { expected, found: ciphertext.len() });
        }
        let plaintext = self.encryption.0.pkcs1v15_decrypt_with_rng(rng, ciphertext);
        plaintext.map(Secret::new).map_err(|_| KeyError::Decrypt)
    }
}

fn sign(key: &PrivateKey, message: &[u8], rng: &mut dyn CryptoRng) -> Result<Vec<u8>, KeyError> {
    key.pkcs1v15_sign_with_rng::<Sha256, _>(rng, message).map_err(|_| KeyError::Sign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::BASE64;
    use base64::Engine;
    use rand::SeedableRng;

    /// The only published signature whose private key is published too; the key is too short for a login.
    #[test]
    fn oauthlibs_rsa_sha256_signature_is_reproduced() {
        let pem = published!("rfc5849/oauthlib-rsa-sha256/inputs/private_key_pem.txt");
        let block = pem::find(pem, &["RSA PRIVATE KEY"]).unwrap();
        let key = PrivateKey::from_pkcs1_der(block.der.expose()).unwrap();
        let base_string = published!("rfc5849/oauthlib-rsa-sha256/inputs/base_string.txt");
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let signature = sign(&key, base_string.as_bytes(), &mut rng).unwrap();
        assert_eq!(BASE64.encode(signature), published!("rfc5849/oauthlib-rsa-sha256/outputs/oauth_signature.txt"));
        assert_eq!(RsaPrivateKey::from_pem(pem).unwrap_err(), KeyError::RsaSize { bits: 1024 });
    }
}
