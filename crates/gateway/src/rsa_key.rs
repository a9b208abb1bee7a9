//! A consumer's RSA public key: checks its signatures, encrypts its secrets.

use der::{Decode, Document};
use num_bigint::BigUint;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use spki::SubjectPublicKeyInfoRef;

/// Lengths of a modulus this side will compute with, in bits: below is no security, above is a way to keep it busy.
const MODULUS_BITS: std::ops::RangeInclusive<u64> = 1024..=8192;

/// What stands before a SHA-256 digest in a signature: its DigestInfo (RFC 8017, section 9.2, note 1).
const SHA256_DIGEST_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

/// Modulus and exponent of a public key, as registered with IBKR.
pub(crate) struct RsaKey {
    modulus: BigUint,
    exponent: BigUint,
    /// Length of the modulus, and so of every signature and ciphertext, in bytes.
    length: usize,
}

impl RsaKey {
    /// Reads what `openssl rsa -pubout` writes; `None` if it is anything else.
    pub(crate) fn from_pem(pem: &str) -> Option<Self> {
        let (_, document) = Document::from_pem(pem.trim()).ok()?;
        let info = SubjectPublicKeyInfoRef::from_der(document.as_bytes()).ok()?;
        info.algorithm.assert_algorithm_oid(pkcs1::ALGORITHM_OID).ok()?;
        let key = pkcs1::RsaPublicKeyRef::from_der(info.subject_public_key.as_bytes()?).ok()?;
        let modulus = BigUint::from_bytes_be(key.modulus.as_bytes());
        let exponent = BigUint::from_bytes_be(key.public_exponent.as_bytes());
        let sound = MODULUS_BITS.contains(&modulus.bits()) && modulus.bit(0) && (2..=64).contains(&exponent.bits());
        let length = usize::try_from(modulus.bits().div_ceil(8)).ok()?;
        sound.then_some(Self { modulus, exponent, length })
    }

    /// Is `signature` the holder's RSASSA-PKCS1-v1_5 signature, with SHA-256, of `message`?
    ///
    /// The whole encoding is compared, so that nothing can hide in its padding.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature_value = BigUint::from_bytes_be(signature);
        let Some(expected) = self.signature_encoding(message) else {
            return false;
        };
        signature.len() == self.length
            && signature_value < self.modulus
            && self.raise(&signature_value) == BigUint::from_bytes_be(&expected)
    }

    /// RSAES-PKCS1-v1_5, as access token secrets are handed out (protocol section 4).
    ///
    /// `None` if `message` is too long for the key.
    pub(crate) fn encrypt(&self, message: &[u8], rng: &mut dyn CryptoRng) -> Option<Vec<u8>> {
        let padding = self.length.checked_sub(message.len())?.checked_sub(3).filter(|&padding| padding >= 8)?;
        let mut block = vec![0x00, 0x02];
        block.extend(std::iter::repeat_with(|| nonzero_byte(rng)).take(padding));
        block.push(0x00);
        block.extend_from_slice(message);
        let ciphertext = self.raise(&BigUint::from_bytes_be(&block)).to_bytes_be();
        let mut padded = vec![0; self.length.checked_sub(ciphertext.len())?];
        padded.extend_from_slice(&ciphertext);
        Some(padded)
    }

    fn raise(&self, base: &BigUint) -> BigUint {
        base.modpow(&self.exponent, &self.modulus)
    }

    /// `00 01 FF..FF 00 DigestInfo digest`, as long as the modulus.
    fn signature_encoding(&self, message: &[u8]) -> Option<Vec<u8>> {
        let tail = [&SHA256_DIGEST_INFO[..], &Sha256::digest(message)].concat();
        let padding = self.length.checked_sub(tail.len())?.checked_sub(3)?;
        Some([&[0x00, 0x01][..], &vec![0xff; padding], &[0x00], &tail].concat())
    }
}

fn nonzero_byte(rng: &mut dyn CryptoRng) -> u8 {
    loop {
        let mut byte = [0];
        rng.fill_bytes(&mut byte);
        if byte != [0] {
            return u8::from_be_bytes(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use der::Encode;
    use der::asn1::{BitStringRef, UintRef};
    use der::pem::{LineEnding, encode_string};

    const PUBLISHED: [&str; 4] =
        ["pdf-request-token", "guide2020-request-token", "guide2020-access-token", "guide2020-live-session-token"];

    fn published(id: &str) -> (RsaKey, String, Vec<u8>) {
        let vector = vectors::ibkr(id);
        let key = RsaKey::from_pem(vector["inputs"]["signing_public_key_pem"].as_str().unwrap()).unwrap();
        let base_string = vector["outputs"]["base_string"].as_str().unwrap().into();
        let signature = BASE64_STANDARD.decode(vector["outputs"]["oauth_signature"].as_str().unwrap()).unwrap();
        (key, base_string, signature)
    }

    #[test]
    fn verifies_every_signature_that_ibkr_published() {
        for id in PUBLISHED {
            let (key, base_string, signature) = published(id);
            assert!(key.verifies(base_string.as_bytes(), &signature), "{id}");
        }
    }

    #[test]
    fn rejects_a_signature_of_anything_else() {
        let (key, base_string, signature) = published(PUBLISHED[0]);
        assert!(!key.verifies(base_string.to_lowercase().as_bytes(), &signature));
        assert!(!key.verifies(base_string.as_bytes(), &[&[0], &signature[..]].concat()));
        assert!(!key.verifies(base_string.as_bytes(), &signature[1..]));
        assert!(!key.verifies(base_string.as_bytes(), &[0xff; 256]));
        assert!(!key.verifies(base_string.as_bytes(), &[]));
        let (stranger, ..) = published(PUBLISHED[1]);
        assert!(!stranger.verifies(base_string.as_bytes(), &signature));
    }

    #[test]
    fn rejects_what_is_not_a_public_rsa_key() {
        let pem = vectors::ibkr(PUBLISHED[0])["inputs"]["signing_public_key_pem"].as_str().unwrap().to_owned();
        assert!(RsaKey::from_pem(&pem.replace('\n', "\r\n")).is_some(), "line ends do not matter");
        for bad in ["", "not a key", &pem.replace("MIIB", "MIIC"), &pem[..200]] {
            assert!(RsaKey::from_pem(bad).is_none());
        }
    }

    /// `modulus` is 2^(bits - 1) + low.
    fn reads(bits: usize, low: u8, exponent: u8) -> bool {
        let mut modulus = vec![0; bits.div_ceil(8)];
        modulus[0] = 0x80;
        *modulus.last_mut().unwrap() |= low;
        let exponent = [exponent];
        let key = pkcs1::RsaPublicKeyRef {
            modulus: UintRef::new(&modulus).unwrap(),
            public_exponent: UintRef::new(&exponent).unwrap(),
        };
        let key = key.to_der().unwrap();
        let info = SubjectPublicKeyInfoRef {
            algorithm: pkcs1::ALGORITHM_ID,
            subject_public_key: BitStringRef::from_bytes(&key).unwrap(),
        };
        let pem = encode_string("PUBLIC KEY", LineEnding::LF, &info.to_der().unwrap()).unwrap();
        RsaKey::from_pem(&pem).is_some()
    }

    #[test]
    fn rejects_numbers_that_make_no_key() {
        assert!(reads(1024, 1, 3) && reads(8192, 1, 3));
        assert!(!reads(1016, 1, 3) && !reads(8200, 1, 3), "too short, too long");
        assert!(!reads(1024, 0, 3), "even");
        assert!(!reads(1024, 1, 1), "raising to it changes nothing");
    }

    #[test]
    fn no_two_secrets_are_encrypted_alike() {
        let (key, ..) = published(PUBLISHED[0]);
        let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
        let mut encrypt = || key.encrypt(b"secret", &mut rng).unwrap();
        assert_ne!(encrypt(), encrypt());
    }
}
