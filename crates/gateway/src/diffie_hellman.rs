//! IBKR's side of the Diffie-Hellman exchange (protocol section 5).

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use der::asn1::UintRef;
use der::{Decode, Document, Reader, SliceReader};
use num_bigint::BigUint;
use rand_core::CryptoRng;
use sha1::Sha1;

use super::encoding::hex;
use super::hmac::hmac;

/// Lengths of a prime this side will compute with, in bits.
const PRIME_BITS: core::ops::RangeInclusive<u64> = 512..=8192;

/// "IB always uses generator = 2", whatever the file says.
const GENERATOR: u32 = 2;

/// A consumer's own group: the prime in its `dhparam.pem`.
pub(super) struct Group {
    prime: BigUint,
}

/// What comes of an exchange.
pub(super) struct Agreement {
    /// `diffie_hellman_response`, in lower-case hexadecimal.
    pub(super) response: String,
    /// The shared secret, spelled as the HMAC key that makes the live session token.
    pub(super) key: Vec<u8>,
}

impl Group {
    /// Reads what `openssl dhparam` writes; `None` if it is anything else, or a modulus that cannot be a prime.
    pub(super) fn from_pem(pem: &str) -> Option<Self> {
        let (_, document) = Document::from_pem(pem.trim()).ok()?;
        let prime = prime_from_der(document.as_bytes())?;
        (PRIME_BITS.contains(&prime.bits()) && prime.bit(0)).then_some(Self { prime })
    }

    /// Answers a challenge with a fresh 256-bit exponent; `None` if the challenge is no number from 2 to p-2.
    pub(super) fn agree(&self, challenge: &str, rng: &mut dyn CryptoRng) -> Option<Agreement> {
        let challenge = self.challenge(challenge)?;
        let mut exponent = [0; 32];
        rng.fill_bytes(&mut exponent);
        Some(self.answer(&challenge, &BigUint::from_bytes_be(&exponent)))
    }

    fn answer(&self, challenge: &BigUint, exponent: &BigUint) -> Agreement {
        let response = BigUint::from(GENERATOR).modpow(exponent, &self.prime);
        let secret = challenge.modpow(exponent, &self.prime);
        Agreement { response: response.to_str_radix(16), key: java_bytes(&secret) }
    }

    fn challenge(&self, text: &str) -> Option<BigUint> {
        let plausible = u64::try_from(text.len()).is_ok_and(|digits| digits <= PRIME_BITS.end().div_ceil(4));
        if !plausible || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let challenge = BigUint::parse_bytes(text.as_bytes(), 16)?;
        // The prime is odd, so without its lowest bit it is p-1.
        let mut limit = self.prime.clone();
        limit.set_bit(0, false);
        (challenge > BigUint::from(1_u32) && challenge < limit).then_some(challenge)
    }
}

/// The live session token, 20 bytes, as both sides compute it.
pub(super) fn live_session_token(key: &[u8], secret: &[u8]) -> [u8; 20] {
    hmac::<Sha1>(key, secret).into()
}

/// `live_session_token_signature`: proof to the client that both sides hold the same token.
pub(super) fn live_session_token_signature(token: &[u8; 20], consumer_key: &str) -> String {
    hex(&hmac::<Sha1>(token, consumer_key.as_bytes()))
}

/// Java's `BigInteger.toByteArray`: one more zero byte where the highest bit is set, for its sign (protocol section 5).
fn java_bytes(number: &BigUint) -> Vec<u8> {
    let mut bytes = if number.bits().is_multiple_of(8) { vec![0] } else { Vec::new() };
    bytes.extend(number.to_bytes_be());
    bytes
}

/// PKCS#3 `SEQUENCE { prime, generator, length OPTIONAL }`.
fn prime_from_der(der: &[u8]) -> Option<BigUint> {
    let mut reader = SliceReader::new(der).ok()?;
    let prime = reader.sequence(|fields| {
        let prime = UintRef::decode(fields)?;
        UintRef::decode(fields)?;
        Option::<UintRef<'_>>::decode(fields)?;
        Ok::<_, der::Error>(BigUint::from_bytes_be(prime.as_bytes()))
    });
    prime.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::vectors;
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use serde_json::Value;

    fn number(value: &Value) -> BigUint {
        BigUint::parse_bytes(value.as_str().unwrap().as_bytes(), 16).unwrap()
    }

    /// The published exchanges give the client's exponent: let this side play the client, with the response for challenge.
    #[test]
    fn reaches_the_published_secrets_whatever_their_length() {
        for bits in ["2047", "2041", "2040", "2039"] {
            let vector = vectors::ibkr(&std::format!("synthetic-k-{bits}-bits"));
            let (inputs, outputs) = (&vector["inputs"], &vector["outputs"]);
            let group = Group { prime: number(&inputs["primeHex"]) };
            let agreement = group.answer(&number(&inputs["serverResponseHex"]), &number(&inputs["clientPrivateHex"]));
            assert_eq!(agreement.response, outputs["clientChallengeHex"].as_str().unwrap());
            assert_eq!(
                agreement.key.len(),
                usize::try_from(outputs["sharedSecretBytesLen"].as_u64().unwrap()).unwrap()
            );

            let secret = base16ct::lower::decode_vec(inputs["prependHex"].as_str().unwrap()).unwrap();
            let token = live_session_token(&agreement.key, &secret);
            assert_eq!(BASE64_STANDARD.encode(token), outputs["liveSessionToken"].as_str().unwrap());
            let signature = live_session_token_signature(&token, inputs["consumerKey"].as_str().unwrap());
            assert_eq!(signature, outputs["liveSessionTokenSignature"].as_str().unwrap());
        }
    }

    #[test]
    fn signs_the_published_token() {
        let vector = vectors::ibkr("pdf-7.4.4-lst-validation");
        let token = BASE64_STANDARD.decode(vector["inputs"]["live_session_token"].as_str().unwrap()).unwrap();
        let signature = live_session_token_signature(&token.try_into().unwrap(), "TESTCONS");
        assert_eq!(signature, vector["outputs"]["live_session_token_signature"].as_str().unwrap());
    }

    #[test]
    fn writes_numbers_as_java_does() {
        for (number, bytes) in
            [(0xff_u32, &[0, 0xff][..]), (0x7f, &[0x7f]), (0x100, &[1, 0]), (0x80, &[0, 0x80]), (0xff00, &[0, 0xff, 0])]
        {
            assert_eq!(java_bytes(&BigUint::from(number)), bytes);
        }
    }

    #[test]
    fn finds_the_prime_before_an_optional_length() {
        let vector = vectors::ibkr("dhparam-der-trailing-field");
        let der = base16ct::lower::decode_vec(vector["inputs"]["der_hex"].as_str().unwrap()).unwrap();
        assert_eq!(prime_from_der(&der), Some(BigUint::from(0xdead_beef_u32)));
        assert_eq!(prime_from_der(&der[..6]), None);
    }

    #[test]
    fn a_challenge_that_betrays_the_secret_is_refused() {
        let prime = number(&vectors::ibkr("synthetic-k-2047-bits")["inputs"]["primeHex"]);
        let group = Group { prime: prime.clone() };
        let hex = |number: BigUint| number.to_str_radix(16);
        for weak in
            ["", "0", "1", "-2", "0x2", "xyz", &hex(prime.clone()), &hex(prime.clone() - 1_u32), &"f".repeat(5000)]
        {
            assert!(group.challenge(weak).is_none(), "{weak}");
        }
        for sound in ["2", "02", &hex(prime - 2_u32), "ABCDEF"] {
            assert!(group.challenge(sound).is_some(), "{sound}");
        }
    }
}
