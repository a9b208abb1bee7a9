//! What the fuzz targets share: cheap keys, a small group, and a server that can prove a live session token.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ibkr_oauth::rand_core::CryptoRng;
use ibkr_oauth::{Consumer, ConsumerKeys, DhParams, KeyError, Request, Secret, UnixTime};
use num_bigint::BigUint;
use sha1::Sha1;

/// A prime of 512 bits, which only a build for fuzzing accepts: two exchanges in a hundred microseconds.
pub const PRIME: &str = "f10d73d985ec48a46bb46cbcb241244671358cbcfa75c972ea3a6b6b6e5603724bf3a05cf2baeb91c0491819d47a5c85b969221605a125103595225c70742457";

/// What every access token secret decrypts to.
pub const PREPEND: &[u8] = b"PLANTED-PREPEND-SECRET-0123456789";
pub const CONSUMER_KEY: &str = "FUZZEDKEY";
pub const START: UnixTime = UnixTime::from_secs(1_714_650_000);

/// Keys that cost nothing.
pub struct FakeKeys;

impl ConsumerKeys for FakeKeys {
    fn sign_rsa_sha256(&self, message: &[u8], _: &mut dyn CryptoRng) -> Result<Vec<u8>, KeyError> {
        Ok(hmac_sha1(b"signature key", message))
    }

    fn decrypt_pkcs1v15(&self, _: &[u8], _: &mut dyn CryptoRng) -> Result<Secret<Vec<u8>>, KeyError> {
        Ok(Secret::new(PREPEND.to_vec()))
    }
}

/// Made once: that the prime is a prime takes longer to find out than most inputs run.
pub fn dh() -> DhParams {
    static DH: OnceLock<DhParams> = OnceLock::new();
    DH.get_or_init(|| DhParams::from_hex(PRIME, 2).unwrap()).clone()
}

pub fn consumer() -> Consumer {
    Consumer::builder(CONSUMER_KEY, FakeKeys, dh()).build().unwrap()
}

pub fn hmac_sha1(key: &[u8], message: &[u8]) -> Vec<u8> {
    Hmac::<Sha1>::new_from_slice(key).unwrap().chain_update(message).finalize().into_bytes().to_vec()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The honest answer to a live session token request.
pub fn prove(request: &Request) -> String {
    let number = |digits: &str| BigUint::parse_bytes(digits.as_bytes(), 16).unwrap();
    let (prime, exponent) = (number(PRIME), BigUint::from(0xdead_beef_u32));
    let challenge = number(&parameter(request, "diffie_hellman_challenge").unwrap());
    let mut secret = challenge.modpow(&exponent, &prime).to_bytes_be();
    if secret[0] >= 0x80 {
        secret.insert(0, 0);
    }
    let token = hmac_sha1(&secret, PREPEND);
    let response = BigUint::from(2_u32).modpow(&exponent, &prime);
    format!(
        r#"{{"diffie_hellman_response":"{response:x}","live_session_token_signature":"{}"}}"#,
        hex(&hmac_sha1(&token, CONSUMER_KEY.as_bytes()))
    )
}

pub fn authorization(request: &Request) -> &str {
    request.headers().find(|(name, _)| *name == "Authorization").unwrap().1
}

pub fn parameter(request: &Request, name: &str) -> Option<String> {
    let value = authorization(request).split_once(&format!(" {name}=\""))?.1;
    value.split_once('"').map(|(value, _)| value.to_string())
}

/// Nonces never repeat, timestamps never decrease.
#[derive(Default)]
pub struct Series {
    nonces: BTreeSet<String>,
    latest: u64,
}

impl Series {
    /// A timestamp that the server has refused counts as not used.
    pub fn refused(&mut self, status: u16) {
        if matches!(status, 400 | 401) {
            self.latest = 0;
        }
    }

    /// More than a day ahead of the clock, or of what is believed of the server's, is not gone on from.
    pub fn check(&mut self, request: &Request, now: UnixTime) {
        let nonce = parameter(request, "oauth_nonce").unwrap();
        assert!(self.nonces.insert(nonce), "a nonce came twice");
        let timestamp: u64 = parameter(request, "oauth_timestamp").unwrap().parse().unwrap();
        let is_plausible = self.latest < now.as_secs() + 80_000;
        assert!(timestamp >= self.latest || !is_plausible, "a timestamp went back");
        self.latest = timestamp;
    }
}

/// No planted secret in what is shown.
pub fn assert_silent(shown: &str) {
    let planted = [
        "PLANTED".to_string(),
        "UExBTlRFRA".to_string(),
        hex(PREPEND),
        BASE64_STANDARD.encode(PREPEND),
        BASE64_STANDARD.encode(hex(PREPEND)),
        format!("{PREPEND:?}"),
    ];
    for secret in planted {
        assert!(!shown.contains(&secret), "a secret is shown: {shown}");
    }
}
