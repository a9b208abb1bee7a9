//! IBKR's half of the protocol, for tests.
//!
//! A [`Gateway`] is to a client what `api.ibkr.com` is: it verifies every signature, answers the Diffie-Hellman
//! exchange, and serves a slice of the Web API behind it. Like the client half it does no I/O: a request goes in as
//! it came off the wire, a response comes out. It shares no signing code and no arithmetic with the client half, so
//! that the two can prove one another.
//!
//! ```
//! use ibkr_oauth::{UnixTime, gateway::{Gateway, RawRequest}};
//!
//! let mut gateway = Gateway::new("http://127.0.0.1:4000/v1/api")?;
//! let request = RawRequest {
//!     method: "GET",
//!     target: "/v1/api/portfolio/accounts",
//!     headers: &[("User-Agent", b"example")],
//!     body: b"",
//! };
//! # let mut rng = rand::rngs::StdRng::from_seed([0; 32]);
//! # use rand::SeedableRng;
//! let response = gateway.handle(&request, &mut rng, UnixTime::from_secs(1_714_669_716));
//! assert_eq!(response.status, 401);
//! # Ok::<_, ibkr_oauth::gateway::GatewayError>(())
//! ```
//!
//! IBKR does not say what was wrong with a request. The gateway does: every refusal carries a `Gateway-Reason` header.
//! Where IBKR's behaviour is not known, the gateway is strict.

mod address;
mod api;
mod authorization;
mod base_string;
mod brokerage;
mod date;
mod dh;
mod encoding;
mod hmac;
mod in_process;
mod incident;
mod login;
mod refusal;
mod registry;
mod replay;
mod rsa_key;
mod signed_request;
#[cfg(test)]
mod vectors;
mod verification;
mod web_socket;
mod wire;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use rand_core::CryptoRng;
use serde_json::Value;

use address::BaseUrl;
use brokerage::BrokerageSessions;
pub use incident::Incident;
use incident::Schedule;
use refusal::Refusal;
use registry::{Consumer, Registry};
use replay::ReplayGuard;
use signed_request::SignedRequest;
pub use web_socket::WebSocket;
pub use wire::{RawRequest, RawResponse};

use crate::UnixTime;

/// How far a timestamp may be from now, unless set otherwise; IBKR's own tolerance is not documented.
const TIMESTAMP_WINDOW: Duration = Duration::from_secs(5 * 60);

/// Longest request body, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// IBKR, as seen through its Web API: consumers and users on file, tokens issued, requests answered.
///
/// Its memory is bounded, whatever it is sent, and it never panics.
pub struct Gateway {
    base_url: BaseUrl,
    registry: Registry,
    replay: ReplayGuard,
    brokerage: BrokerageSessions,
    schedule: Schedule,
    /// The `id` in error messages: counts responses.
    trace: u32,
}

/// What a consumer hands over to be registered (protocol section 9).
#[derive(Clone, Debug)]
pub struct RegisteredConsumer {
    /// Upper-case letters and digits: nine of them, or `TESTCONS`. Other lengths are accepted.
    pub consumer_key: String,
    /// The public half of the signature key, as `openssl rsa -pubout` writes it (SPKI, PEM).
    pub signature_public_key_pem: String,
    /// The public half of the encryption key, in the same form.
    pub encryption_public_key_pem: String,
    /// The consumer's own Diffie-Hellman prime, as `openssl dhparam` writes it (PKCS#3, PEM).
    pub dhparam_pem: String,
    /// Where users are sent after they consented; none for a first party.
    pub callback_url: Option<String>,
}

impl RegisteredConsumer {
    /// The realm to send: `test_realm` for `TESTCONS`, else `limited_poa` (protocol section 9).
    pub fn realm(&self) -> &'static str {
        if self.consumer_key == "TESTCONS" { "test_realm" } else { "limited_poa" }
    }
}

/// An IBKR username and what it gives access to.
#[derive(Clone, Debug)]
pub struct User {
    /// The username.
    pub name: String,
    /// Account numbers, such as `DU1234567`.
    pub accounts: Vec<String>,
    /// Does the user trade on paper?
    pub is_paper: bool,
}

/// What the self-service portal shows after "Generate token".
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// The access token: 20 hexadecimal digits.
    pub token: String,
    /// The access token secret: 32 bytes, encrypted to the consumer's encryption key, in base64.
    pub secret_base64: String,
}

/// A user's decision about a third party's request for access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consent {
    /// The user lets the third party in.
    Grant,
    /// The user does not.
    Deny,
}

/// A mistake in setting a gateway up, or in acting as its user.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The base URL is not `http` or `https`, a host, and at most a path.
    #[error("the base URL is not http(s)://host[:port][/path]")]
    BaseUrl,
    /// The consumer key is empty, or not of upper-case letters and digits.
    #[error("the consumer key is not of upper-case letters and digits")]
    ConsumerKey,
    /// The signature key is not a public RSA key of 1024 to 8192 bits in SPKI PEM.
    #[error("the signature key is not a public RSA key as `openssl rsa -pubout` writes it")]
    SignatureKey,
    /// The encryption key is not a public RSA key of 1024 to 8192 bits in SPKI PEM.
    #[error("the encryption key is not a public RSA key as `openssl rsa -pubout` writes it")]
    EncryptionKey,
    /// The Diffie-Hellman parameters are not an odd prime of 512 to 8192 bits in PKCS#3 PEM.
    #[error("the Diffie-Hellman parameters are not as `openssl dhparam` writes them")]
    DhParameters,
    /// The callback URL is not absolute, or has characters that no URL has.
    #[error("the callback URL is not an absolute URL")]
    CallbackUrl,
    /// No consumer is registered under this key.
    #[error("no such consumer is registered")]
    UnknownConsumer,
    /// No user of this name was added.
    #[error("no such user was added")]
    UnknownUser,
    /// No flow waits for consent under this request token.
    #[error("no flow waits for consent under this request token")]
    UnknownRequestToken,
}

impl Gateway {
    /// A gateway that is reached under this base URL, such as `http://127.0.0.1:4000/v1/api`, and knows nobody yet.
    ///
    /// Signatures must cover this URL, whatever the `Host` header says.
    ///
    /// # Errors
    /// [`GatewayError::BaseUrl`]
    pub fn new(base_url: &str) -> Result<Self, GatewayError> {
        Ok(Self {
            base_url: BaseUrl::parse(base_url).ok_or(GatewayError::BaseUrl)?,
            registry: Registry::default(),
            replay: ReplayGuard::new(TIMESTAMP_WINDOW),
            brokerage: BrokerageSessions::default(),
            schedule: Schedule::default(),
            trace: 0,
        })
    }

    /// The base URL, in the form that signatures must cover.
    pub fn base_url(&self) -> String {
        self.base_url.to_string()
    }

    /// Sets how far a timestamp may be from now, either way: five minutes at first.
    pub fn set_timestamp_window(&mut self, window: Duration) {
        self.replay.set_window(window);
    }

    /// Puts a consumer on file, or replaces the one of that key.
    ///
    /// # Errors
    /// [`GatewayError::ConsumerKey`], [`GatewayError::SignatureKey`], [`GatewayError::EncryptionKey`],
    /// [`GatewayError::DhParameters`], [`GatewayError::CallbackUrl`]: that one is unusable; nothing changes.
    pub fn register_consumer(&mut self, consumer: &RegisteredConsumer) -> Result<(), GatewayError> {
        self.registry.add_consumer(Consumer::parse(consumer)?);
        Ok(())
    }

    /// Adds a user, or replaces the one of that name.
    pub fn add_user(&mut self, user: User) {
        self.registry.add_user(user);
    }

    /// The users, by name.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.registry.users()
    }

    /// Answers a request.
    ///
    /// Statuses and bodies are those of protocol section 6. A refusal says why in its `Gateway-Reason` header. Only a
    /// request whose signature is verified changes anything.
    pub fn handle(&mut self, request: &RawRequest<'_>, rng: &mut dyn CryptoRng, now: UnixTime) -> RawResponse {
        self.trace = self.trace.wrapping_add(1);
        let now = self.catch_up(now);
        let response = match self.answer(request, rng, now) {
            Ok(answer) => RawResponse::new(200, "application/json; charset=utf-8", answer.to_string()),
            Err(refusal) => refusal.into_response(self.trace),
        };
        response.with_header("Date", date::imf_fixdate(now))
    }

    fn answer(&mut self, request: &RawRequest<'_>, rng: &mut dyn CryptoRng, now: UnixTime) -> Result<Value, Refusal> {
        admit(request)?;
        self.schedule.admit()?;
        let target = self.base_url.resolve(request.target).ok_or(Refusal::NotFound)?;
        let signed = SignedRequest::read(request, &self.base_url, target)?;
        match (request.method, target.endpoint) {
            ("POST", "/oauth/request_token") => self.request_token(&signed, rng, now),
            ("POST", "/oauth/access_token") => self.access_token(&signed, rng, now),
            ("POST", "/oauth/live_session_token") => self.live_session_token(&signed, rng, now),
            _ => {
                let caller = self.verify_hmac(&signed, now)?;
                self.schedule.admit_to_api()?;
                self.api(&caller, target.endpoint, &signed, self.schedule.now())
            }
        }
    }
}

/// What the edge in front of IBKR asks of any request (protocol sections 2.3 and 2.4).
fn admit(request: &RawRequest<'_>) -> Result<(), Refusal> {
    if request.header("user-agent").is_none_or(<[u8]>::is_empty) {
        return Err(Refusal::NoUserAgent);
    }
    if request.method == "POST" && request.header("content-length").is_none() {
        return Err(Refusal::NoContentLength);
    }
    if request.body.len() > MAX_BODY {
        return Err(Refusal::BodyTooLarge);
    }
    Ok(())
}

/// Says where it is, and nothing that anyone must not know.
impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("base_url", &self.base_url()).finish_non_exhaustive()
    }
}
