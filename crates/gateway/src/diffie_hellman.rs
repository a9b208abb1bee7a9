//! IBKR's side of the Diffie-Hellman exchange (protocol section 5).

use der::asn1::UintRef;
use der::{Decode, Document, Reader, SliceReader};
use hmac::{Hmac, Mac};
use num_bigint::BigUint;
use rand_core::CryptoRng;
use sha1::Sha1;

use crate::mac::keyed;
use crate::percent_encoding::hex;

/// Lengths of a prime this side will compute with, in bits.
const PRIME_BITS: std::ops::RangeInclusive<u64> = 512..=8192;

/// "IB always uses generator = 2", whatever the file says.
const GENERATOR: u32 = 2;

/// Most exponents that are tried for a shared secret that needs a sign byte: with the least favourable prime, one in 256
/// does.
const MAX_ATTEMPTS: usize = 2048;

/// A consumer's own group: the prime in its `dhparam.pem`.
pub(crate) struct Group {
    prime: BigUint,
}

/// Does a shared secret need a byte for its sign (protocol section 5), and does it get it?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SignByte {
    /// As it comes: for most primes, about half of all secrets need one, and get it.
    ByChance,
    /// It needs one, and gets it.
    Needed,
    /// It needs one, and does not get it.
    Forgotten,
}

/// What comes of an exchange.
pub(crate) struct Agreement {
    /// `diffie_hellman_response`, in lower-case hexadecimal.
    pub(crate) response: String,
    /// The live session token, as both sides compute it.
    pub(crate) token: [u8; 20],
    /// `live_session_token_signature`: proof to the client that both sides hold the same token.
    pub(crate) proof: String,
}

impl Group {
    /// Reads what `openssl dhparam` writes; `None` if it is anything else, or a modulus that cannot be a prime.
    pub(crate) fn from_pem(pem: &str) -> Option<Self> {
        let (_, document) = Document::from_pem(pem.trim()).ok()?;
        let prime = prime_from_der(document.as_bytes())?;
        (PRIME_BITS.contains(&prime.bits()) && prime.bit(0)).then_some(Self { prime })
    }

    /// Answers a challenge with a fresh 256-bit exponent, for a consumer that holds this access token secret; `None` if
    /// the challenge is no number from 2 to p-2.
    pub(crate) fn agree(
        &self,
        challenge: &str,
        secret: &[u8],
        consumer_key: &str,
        sign_byte: SignByte,
        rng: &mut dyn CryptoRng,
    ) -> Option<Agreement> {
        let challenge = self.challenge(challenge)?;
        let attempts = if sign_byte == SignByte::ByChance { 1 } else { MAX_ATTEMPTS };
        let mut exchanges = std::iter::repeat_with(|| self.exchange(&challenge, rng)).take(attempts);
        let (response, shared) = exchanges.find(|(_, shared)| attempts == 1 || needs_sign_byte(shared))?;
        let key = if sign_byte == SignByte::Forgotten { shared.to_bytes_be() } else { java_bytes(&shared) };
        let token = live_session_token(&key, secret)?;
        Some(Agreement { response, token, proof: live_session_token_signature(&token, consumer_key)? })
    }

    /// Response and shared secret by a fresh exponent.
    fn exchange(&self, challenge: &BigUint, rng: &mut dyn CryptoRng) -> (String, BigUint) {
        let mut exponent = [0; 32];
        rng.fill_bytes(&mut exponent);
        self.answer(challenge, &BigUint::from_bytes_be(&exponent))
    }

    /// The response, in hexadecimal, and the shared secret.
    fn answer(&self, challenge: &BigUint, exponent: &BigUint) -> (String, BigUint) {
        let response = BigUint::from(GENERATOR).modpow(exponent, &self.prime);
        (response.to_str_radix(16), challenge.modpow(exponent, &self.prime))
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

fn live_session_token(key: &[u8], secret: &[u8]) -> Option<[u8; 20]> {
    Some(keyed::<Hmac<Sha1>>(key)?.chain_update(secret).finalize().into_bytes().into())
}

fn live_session_token_signature(token: &[u8; 20], consumer_key: &str) -> Option<String> {
    Some(hex(&keyed::<Hmac<Sha1>>(token)?.chain_update(consumer_key).finalize().into_bytes()))
}

/// Java's `BigInteger.toByteArray`: one more zero byte where the highest bit is set, for its sign (protocol section 5).
fn java_bytes(number: &BigUint) -> Vec<u8> {
    let mut bytes = if needs_sign_byte(number) { vec![0] } else { Vec::new() };
    bytes.extend(number.to_bytes_be());
    bytes
}

fn needs_sign_byte(number: &BigUint) -> bool {
    number.bits().is_multiple_of(8)
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
    use crate::vectors;
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
            let vector = vectors::ibkr(&format!("synthetic-k-{bits}-bits"));
            let (inputs, outputs) = (&vector["inputs"], &vector["outputs"]);
            let group = Group { prime: number(&inputs["primeHex"]) };
            let (response, shared) =
                group.answer(&number(&inputs["serverResponseHex"]), &number(&inputs["clientPrivateHex"]));
            let key = java_bytes(&shared);
            assert_eq!(response, outputs["clientChallengeHex"].as_str().unwrap());
            assert_eq!(key.len(), usize::try_from(outputs["sharedSecretBytesLen"].as_u64().unwrap()).unwrap());

            let secret = base16ct::lower::decode_vec(inputs["prependHex"].as_str().unwrap()).unwrap();
            let token = live_session_token(&key, &secret).unwrap();
            assert_eq!(BASE64_STANDARD.encode(token), outputs["liveSessionToken"].as_str().unwrap());
            let signature = live_session_token_signature(&token, inputs["consumerKey"].as_str().unwrap()).unwrap();
            assert_eq!(signature, outputs["liveSessionTokenSignature"].as_str().unwrap());
        }
    }

    #[test]
    fn signs_the_published_token() {
        let vector = vectors::ibkr("pdf-7.4.4-lst-validation");
        let token = BASE64_STANDARD.decode(vector["inputs"]["live_session_token"].as_str().unwrap()).unwrap();
        let signature = live_session_token_signature(&token.try_into().unwrap(), "TESTCONS").unwrap();
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
    fn a_challenge_that_betrays_the_secret_is_rejected() {
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
