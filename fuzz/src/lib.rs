//! What the fuzz targets share: a bound on memory, scripts of operations, cheap keys, a small group, and a server that can
//! prove a live session token.

use std::alloc::System;
use std::collections::BTreeSet;
use std::error::Error;
use std::panic;
use std::str::FromStr;
use std::sync::{Once, OnceLock};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cap::Cap;
use hmac::{Hmac, KeyInit, Mac};
use ibkr_oauth::rand_core::CryptoRng;
use ibkr_oauth::{Consumer, ConsumerKeys, DhParams, KeyError, Request, Secret, UnixTime, http1};
use num_bigint::BigUint;
use sha1::Sha1;

/// libFuzzer's own limit on what is allocated works only under a sanitizer.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// While it lives, no more than so many bytes can be allocated beside those that were before: the process ends otherwise.
pub struct MemoryBound;

impl MemoryBound {
    pub fn bytes(bytes: usize) -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(unbound_panics);
        ALLOCATOR.set_limit(ALLOCATOR.allocated().saturating_add(bytes)).unwrap();
        Self
    }
}

/// A backtrace takes megabytes.
fn unbound_panics() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        ALLOCATOR.set_limit(usize::MAX).unwrap();
        hook(info);
    }));
}

impl Drop for MemoryBound {
    fn drop(&mut self) {
        ALLOCATOR.set_limit(usize::MAX).unwrap();
    }
}

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

/// The same, as `openssl dhparam` would write it.
pub fn dh_pem() -> String {
    let digits = format!("3046024100{PRIME}020102");
    let base64 = BASE64_STANDARD.encode(BigUint::parse_bytes(digits.as_bytes(), 16).unwrap().to_bytes_be());
    let (first, second) = base64.split_at(64);
    format!("-----BEGIN DH PARAMETERS-----\n{first}\n{second}\n-----END DH PARAMETERS-----\n")
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
