//! Diffie-Hellman with the consumer's own prime ([protocol section 5](crate::protocol#section-5)), in constant time.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd, Resize};
use crypto_primes::{Flavor, is_prime};
use der::asn1::{AnyRef, UintRef};
use der::{Decode, Reader, SliceReader};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::credentials::error::KeyError;
use crate::credentials::keys::ConsumerKeys;
use crate::credentials::pem;
use crate::encoding::{bits, decode_hex, trimmed};
use crate::error::Misuse;
use crate::secret::Secret;

/// Bits of the smallest prime accepted: what the self-service portal asks for
/// ([protocol section 9](crate::protocol#section-9)). Only a build for fuzzing takes a small one, to get to the deep
/// states quickly.
pub(crate) const MIN_BITS: u32 = if cfg!(fuzzing) { 512 } else { 2048 };
/// Bits of the largest: beyond it a login takes seconds.
pub(crate) const MAX_BITS: u32 = 8192;
/// IBKR's generator ([protocol section 5](crate::protocol#section-5), step 2).
pub(crate) const GENERATOR: u8 = 2;
/// Bits of our exponent ([protocol section 5](crate::protocol#section-5), step 1).
const EXPONENT_BITS: u32 = 256;

/// The consumer's Diffie-Hellman parameters: the content of `dhparam.pem`, registered with the consumer key.
///
/// Only the prime counts. "IB always uses generator = 2" ([protocol section 5](crate::protocol#section-5), step 2), so
/// 2 is what is computed with, whatever the parameters name.
///
/// Cheap to clone.
///
/// ```no_run
/// use ibkr_oauth::DhParams;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Made by `openssl dhparam -out dhparam.pem 2048`, and uploaded to the portal.
/// let dh = DhParams::from_pem(&std::fs::read_to_string("dhparam.pem")?)?;
/// println!("{dh:?}"); // DhParams(2048 bits)
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct DhParams {
    prime: BoxedMontyParams,
    names_two: bool,
}

impl DhParams {
    /// Reads parameters from `dhparam.pem`, as `openssl dhparam 2048` writes it. The optional length that some versions
    /// append is ignored.
    ///
    /// # Errors
    /// [`KeyError`] says what was found instead; [`KeyError::NotPrime`] and [`KeyError::PrimeSize`] if the numbers
    /// would make a login unsafe.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        Self::from_der(pem::find(text, &["DH PARAMETERS"])?.der.expose())
    }

    /// Reads parameters from PKCS#3 DER:
    /// `SEQUENCE { prime INTEGER, base INTEGER, privateValueLength INTEGER OPTIONAL }`.
    ///
    /// # Errors
    /// As [`Self::from_pem`].
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let (prime, generator) = read_pkcs3(der)?;
        Self::new(prime, generator)
    }

    /// Makes parameters of a bare prime in hexadecimal, as some configuration files have it, and the generator that is
    /// named with it.
    ///
    /// # Errors
    /// As [`Self::from_pem`], and [`KeyError::NotHex`].
    pub fn from_hex(prime: &str, generator: u32) -> Result<Self, KeyError> {
        let bytes = decode_hex(prime.trim()).ok_or(KeyError::NotHex)?;
        Self::new(&bytes, &generator.to_be_bytes())
    }

    /// Reads parameters as [`from_pem`](Self::from_pem) does, in microseconds if their prime was checked before: its
    /// [`fingerprint`](Self::fingerprint) is `checked`. Any other prime is checked now.
    ///
    /// The test for a prime is most of what a start takes. Whoever can write `checked` can name a number that is no prime,
    /// so keep it as safe as the parameters.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem).
    pub fn from_pem_checked_before(text: &str, checked: &[u8; 32]) -> Result<Self, KeyError> {
        let block = pem::find(text, &["DH PARAMETERS"])?;
        let (prime, generator) = read_pkcs3(block.der.expose())?;
        Self::known(prime, generator, |prime| fingerprint(prime) == *checked || is_prime(Flavor::Any, &uint(prime)))
    }

    /// Returns SHA-256 of the prime, which was found to be one: for
    /// [`from_pem_checked_before`](Self::from_pem_checked_before).
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(trimmed(&self.prime.modulus().to_be_bytes()))
    }

    fn new(prime: &[u8], generator: &[u8]) -> Result<Self, KeyError> {
        Self::known(prime, generator, |prime| is_prime(Flavor::Any, &uint(prime)))
    }

    /// If the prime is large enough, not too large, and `is_prime`.
    fn known(prime: &[u8], generator: &[u8], is_prime: impl FnOnce(&[u8]) -> bool) -> Result<Self, KeyError> {
        let prime = trimmed(prime);
        let size = bits(prime);
        if !(MIN_BITS..=MAX_BITS).contains(&size) {
            return Err(KeyError::PrimeSize { bits: size });
        }
        if !is_prime(prime) {
            return Err(KeyError::NotPrime);
        }
        let odd = Odd::new(uint(prime)).into_option().ok_or(KeyError::NotPrime)?;
        let prime = BoxedMontyParams::new_vartime(odd);
        Ok(Self { prime, names_two: trimmed(generator) == [GENERATOR] })
    }

    /// Whether the generator that the parameters name is the one that is computed with.
    pub(crate) fn names_two(&self) -> bool {
        self.names_two
    }

    /// `A = 2^a mod p` in lower-case hex without leading zeros: `diffie_hellman_challenge`
    /// ([protocol section 5](crate::protocol#section-5), step 3).
    pub(crate) fn challenge(&self, exponent: &Exponent, keys: &dyn ConsumerKeys) -> Result<String, KeyError> {
        let power = self.power(&number(GENERATOR, &self.prime), exponent, keys)?;
        let hex = base16ct::lower::encode_string(&power.to_be_bytes());
        Ok(String::from(hex.trim_start_matches('0')))
    }

    /// `A`, as long as the prime.
    pub(crate) fn public_value(&self, exponent: &Exponent) -> Vec<u8> {
        self.own_power(&number(GENERATOR, &self.prime), exponent).to_be_bytes().into_vec()
    }

    /// Bytes of the prime.
    pub(crate) fn prime_length(&self) -> usize {
        self.prime.modulus().to_be_bytes().len()
    }

    /// `K = B^a mod p`, if `B` is in 2..=p-2: any other value would make `K` known to everybody.
    pub(crate) fn shared_secret(
        &self,
        exponent: &Exponent,
        peer: &[u8],
        keys: &dyn ConsumerKeys,
    ) -> Result<Option<SharedSecret>, KeyError> {
        let Some(peer) = element(trimmed(peer), &self.prime) else { return Ok(None) };
        Ok(Some(SharedSecret::from_uint(&*self.power(&peer, exponent, keys)?)))
    }

    fn power(
        &self,
        base: &BoxedUint,
        exponent: &Exponent,
        keys: &dyn ConsumerKeys,
    ) -> Result<Zeroizing<BoxedUint>, KeyError> {
        let secret = Secret::new(exponent.0.to_be_bytes().into_vec());
        let prime = self.prime.modulus().to_be_bytes();
        match keys.diffie_hellman_power(&base.to_be_bytes(), &secret, &prime) {
            Some(power) => element(trimmed(power.expose()), &self.prime).map(Zeroizing::new).ok_or(KeyError::Power),
            None => Ok(self.own_power(base, exponent)),
        }
    }

    fn own_power(&self, base: &BoxedUint, exponent: &Exponent) -> Zeroizing<BoxedUint> {
        let base = BoxedMontyForm::new(base.clone(), &self.prime);
        let power = Zeroizing::new(base.pow_bounded_exp(&exponent.0, EXPONENT_BITS));
        Zeroizing::new(power.retrieve())
    }
}

impl fmt::Debug for DhParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DhParams({} bits)", self.prime.modulus().bit_width_vartime())
    }
}

fn uint(bytes: &[u8]) -> BoxedUint {
    BoxedUint::from_be_slice_vartime(bytes)
}

fn fingerprint(prime: &[u8]) -> [u8; 32] {
    Sha256::digest(prime).into()
}

/// `bytes` as a number in 2..=p-2.
fn element(bytes: &[u8], prime: &BoxedMontyParams) -> Option<BoxedUint> {
    let value = BoxedUint::from_be_slice(bytes, prime.bits_precision()).ok()?;
    let two = number(2, prime);
    let largest = prime.modulus().as_ref().wrapping_sub(&two);
    (value >= two && value <= largest).then_some(value)
}

/// A small number, as long as the prime.
fn number(value: u8, prime: &BoxedMontyParams) -> BoxedUint {
    BoxedUint::from(value).resize(prime.bits_precision())
}

pub(crate) fn read_pkcs3(der: &[u8]) -> Result<(&[u8], &[u8]), KeyError> {
    let sequence = AnyRef::from_der(der).map_err(|_| KeyError::Der)?;
    let numbers = sequence.sequence(|reader: &mut SliceReader<'_>| {
        let prime: UintRef<'_> = reader.decode()?;
        let generator: UintRef<'_> = reader.decode()?;
        if !reader.is_finished() {
            // Protocol section 5, step 2: OpenSSL may append the length of the private value.
            let _length: UintRef<'_> = reader.decode()?;
        }
        Ok((prime.as_bytes(), generator.as_bytes()))
    });
    numbers.map_err(|_: der::Error| KeyError::Der)
}

/// Our secret exponent `a`: 256 random bits. Wiped on drop.
pub(crate) struct Exponent(Zeroizing<BoxedUint>);

impl Exponent {
    pub(crate) fn random(rng: &mut dyn CryptoRng) -> Result<Self, Misuse> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        rng.fill_bytes(bytes.as_mut());
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(Misuse::BrokenRandomSource);
        }
        Ok(Self(Zeroizing::new(BoxedUint::from_be_slice_truncated(bytes.as_ref(), EXPONENT_BITS))))
    }
}

/// `K` as Java's `BigInteger.toByteArray()` writes it. Wiped on drop.
pub(crate) struct SharedSecret(Secret<Vec<u8>>);

impl SharedSecret {
    /// [Protocol section 5](crate::protocol#section-5), step 6: minimal big-endian, and one 0x00 in front if the first
    /// bit is set, because Java's integers are signed. That makes `bits / 8 + 1` bytes. Neither padded to the prime's
    /// length nor stripped: about half of all logins fail without this byte.
    fn from_uint(value: &BoxedUint) -> Self {
        let bytes = Zeroizing::new(value.to_be_bytes());
        let significant = trimmed(&bytes);
        let mut java = Vec::with_capacity(significant.len().saturating_add(1));
        if significant.first().is_none_or(|first| *first >= 0x80) {
            java.push(0);
        }
        java.extend_from_slice(significant);
        Self(Secret::new(java))
    }

    pub(crate) fn to_java_bytes(&self) -> &[u8] {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computes no power.
    struct NoKeys;

    impl ConsumerKeys for NoKeys {
        fn sign_rsa_sha256(&self, _: &[u8], _: &mut dyn CryptoRng) -> Result<Vec<u8>, KeyError> {
            Err(KeyError::Sign)
        }

        fn decrypt_pkcs1v15(&self, _: &[u8], _: &mut dyn CryptoRng) -> Result<Secret<Vec<u8>>, KeyError> {
            Err(KeyError::Decrypt)
        }
    }

    /// What is published of some secrets: its digits, how long it is as Java writes it, and its first byte then.
    macro_rules! secrets {
        ($($case:literal),*) => {
            [$((
                published!($case, "/outputs/sharedSecretHex.txt"),
                published!($case, "/outputs/sharedSecretBytesLen.json"),
                published!($case, "/outputs/sharedSecretFirstByte.txt"),
            )),*]
        };
    }

    fn list(json: &str) -> Vec<String> {
        serde_json::from_str(json).unwrap()
    }

    fn java_bytes(hex: &str) -> Vec<u8> {
        let bytes = decode_hex(hex).unwrap();
        SharedSecret::from_uint(&BoxedUint::from_be_slice_vartime(&bytes)).to_java_bytes().to_vec()
    }

    #[test]
    fn a_secret_is_written_as_java_writes_integers() {
        let secrets = list(published!("ibkr/k-bytes/inputs/K_hex.json"));
        for (secret, bytes) in secrets.iter().zip(list(published!("ibkr/k-bytes/outputs/bytes_hex.json"))) {
            assert_eq!(java_bytes(secret), decode_hex(&bytes).unwrap());
        }
        for (secret, length, first_byte) in secrets!(
            "ibkr/synthetic-k-2047-bits",
            "ibkr/synthetic-k-2041-bits",
            "ibkr/synthetic-k-2040-bits",
            "ibkr/synthetic-k-2039-bits",
            "short-secrets/short-k-2033-bits",
            "short-secrets/short-k-2032-bits"
        ) {
            let bytes = java_bytes(secret);
            assert_eq!((bytes.len(), &bytes[..1]), (length.parse().unwrap(), &*decode_hex(first_byte).unwrap()));
        }
    }

    #[test]
    fn a_worked_agreement_has_its_challenge_and_its_secret() {
        macro_rules! of_the_agreement {
            ($file:literal) => {
                published!("ibkr/ibkrdotnet-dh-signBitPadded/", $file)
            };
        }
        let dh = DhParams::from_hex(of_the_agreement!("inputs/primeHex.txt"), 2).unwrap();
        let exponent = decode_hex(of_the_agreement!("inputs/clientPrivateHex.txt")).unwrap();
        let exponent = Exponent(Zeroizing::new(BoxedUint::from_be_slice(&exponent, EXPONENT_BITS).unwrap()));
        assert_eq!(dh.challenge(&exponent, &NoKeys).unwrap(), of_the_agreement!("outputs/clientChallengeHex.txt"));
        let response = decode_hex(of_the_agreement!("inputs/serverResponseHex.txt")).unwrap();
        let secret = dh.shared_secret(&exponent, &response, &NoKeys).unwrap().unwrap();
        assert_eq!(secret.to_java_bytes(), decode_hex(of_the_agreement!("outputs/sharedSecretBytesHex.txt")).unwrap());
    }

    #[test]
    fn the_length_that_openssl_may_append_is_ignored() {
        let der = decode_hex(published!("ibkr/dhparam-der-trailing-field/inputs/der_hex.txt")).unwrap();
        let (prime, generator) = read_pkcs3(&der).unwrap();
        let expected = published!("ibkr/dhparam-der-trailing-field/outputs/prime_hex.txt");
        assert_eq!(prime, decode_hex(expected).unwrap());
        assert_eq!(generator, [2]);
    }
}
