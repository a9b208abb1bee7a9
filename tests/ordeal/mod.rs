//! What the tests of sequences share with the fuzz targets: scripts of operations, keys that cost nothing, a server that can
//! prove a live session token, and what holds for every request and every text. `client` has what holds for a client,
//! `sessions` what holds for two sessions.
#![allow(dead_code, reason = "each test file and each fuzz target uses its own part")]

pub mod client;
pub mod server;
pub mod sessions;

use std::collections::BTreeSet;
use std::error::Error;
use std::str::FromStr;
use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ibkr_oauth::rand_core::CryptoRng;
use ibkr_oauth::{AccessToken, Consumer, ConsumerKeys, DhParams, KeyError, Request, Secret, UnixTime, http1};
use num_bigint::BigUint;
use sha1::Sha1;
use sha2::Sha256;

/// The operations of a script: each line is a word, and what it is about. Scripts rather than derived structures, so that
/// seeds can be written, and crashes read.
pub fn operations(script: &str) -> impl Iterator<Item = (&str, &str)> {
    script.split('\n').map(|line| line.split_once(' ').unwrap_or((line, "")))
}

/// The number at the beginning, zero if there is none, and what follows it.
pub fn number<N: FromStr + Default>(text: &str) -> (N, &str) {
    let (number, rest) = text.split_once(' ').unwrap_or((text, ""));
    (number.parse().unwrap_or_default(), rest)
}

/// A prime of 512 bits, which only a build for fuzzing accepts: two exchanges in a hundred microseconds.
pub const SMALL_PRIME: &str = "f10d73d985ec48a46bb46cbcb241244671358cbcfa75c972ea3a6b6b6e5603724bf3a05cf2baeb91c0491819d47a5c85b969221605a125103595225c70742457";

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

/// The small group in a build for fuzzing, else that of the tests.
struct Group {
    dh: DhParams,
    prime: BigUint,
}

impl Group {
    /// Made once: that the prime is a prime takes longer to find out than most inputs run.
    fn get() -> &'static Self {
        static GROUP: OnceLock<Group> = OnceLock::new();
        GROUP.get_or_init(|| match DhParams::from_hex(SMALL_PRIME, 2) {
            Ok(dh) => Self { dh, prime: BigUint::parse_bytes(SMALL_PRIME.as_bytes(), 16).unwrap() },
            Err(_) => Self::large(),
        })
    }

    fn large() -> Self {
        let pem = include_str!("../keys/dhparam.pem");
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = BASE64_STANDARD.decode(base64).unwrap();
        // A sequence of the prime, 2048 bits behind a zero, and the generator.
        let prime = BigUint::from_bytes_be(&der[8..265]);
        Self { dh: DhParams::from_pem(pem).unwrap(), prime }
    }
}

pub fn dh() -> DhParams {
    Group::get().dh.clone()
}

pub fn consumer() -> Consumer {
    Consumer::builder(CONSUMER_KEY, FakeKeys, dh()).build().unwrap()
}

pub fn access_token() -> AccessToken {
    AccessToken::new("PLANTED-a1b2c3d4e5f6", "UExBTlRFRA==").unwrap()
}

pub fn hmac_sha1(key: &[u8], message: &[u8]) -> Vec<u8> {
    Hmac::<Sha1>::new_from_slice(key).unwrap().chain_update(message).finalize().into_bytes().to_vec()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(message).finalize().into_bytes().to_vec()
}

/// What an honest server makes of a live session token request.
pub struct Agreement {
    pub token: Vec<u8>,
    /// Its half of the Diffie-Hellman agreement, in hex.
    pub response: String,
}

impl Agreement {
    pub fn new(request: &Request) -> Self {
        let (prime, exponent) = (&Group::get().prime, BigUint::from(0xdead_beef_u32));
        let challenge = parameter(request, "diffie_hellman_challenge").unwrap();
        let challenge = BigUint::parse_bytes(challenge.as_bytes(), 16).unwrap();
        let mut secret = challenge.modpow(&exponent, prime).to_bytes_be();
        if secret[0] >= 0x80 {
            secret.insert(0, 0);
        }
        let response = BigUint::from(2_u32).modpow(&exponent, prime);
        Self { token: hmac_sha1(&secret, PREPEND), response: format!("{response:x}") }
    }

    /// The answer, which says that the token expires at this millisecond.
    pub fn body(&self, expiration: Option<u64>) -> String {
        serde_json::json!({
            "diffie_hellman_response": self.response,
            "live_session_token_signature": hex(&hmac_sha1(&self.token, CONSUMER_KEY.as_bytes())),
            "live_session_token_expiration": expiration,
        })
        .to_string()
    }
}

/// The honest answer to a live session token request.
pub fn prove(request: &Request) -> String {
    Agreement::new(request).body(None)
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
    pub fn rejected(&mut self, status: u16) {
        if status == 401 {
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

/// The request can be sent: whatever it was made of, one head with one line for each header, then the body.
pub fn assert_one_message(request: &Request) {
    assert!(request.url().bytes().all(|byte| byte.is_ascii_graphic()) && request.path().starts_with('/'));
    let message = http1::encode(request);
    let end = message.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let (head, body) = message.split_at(end);
    assert_eq!(body, request.body());
    // The request line, two headers of the connection, and the end.
    let lines = request.headers().count() + 4;
    assert_eq!(head.iter().filter(|byte| byte.is_ascii_control()).count(), 2 * lines, "{}", request.url());
    assert!(head.is_ascii());
}

/// No planted secret in an error, nor in those behind it.
pub fn assert_silent_error(error: &dyn Error) {
    assert_silent(&format!("{error} {error:?}"));
    error.source().into_iter().for_each(assert_silent_error);
}

/// No planted secret in what is shown.
pub fn assert_silent(shown: &str) {
    assert!(!holds_a_secret(shown), "a secret is shown: {shown}");
}

/// In any of the forms that it takes. An input that holds one may see it again: libFuzzer copies what is compared.
pub fn holds_a_secret(text: &str) -> bool {
    static FORMS: OnceLock<[String; 6]> = OnceLock::new();
    let forms = FORMS.get_or_init(|| {
        [
            "PLANTED".to_string(),
            "UExBTlRFRA".to_string(),
            hex(PREPEND),
            BASE64_STANDARD.encode(PREPEND),
            BASE64_STANDARD.encode(hex(PREPEND)),
            format!("{PREPEND:?}"),
        ]
    });
    forms.iter().any(|form| text.contains(form))
}
