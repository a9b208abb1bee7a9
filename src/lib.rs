#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used,
    )
)]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod api_request;
mod authorization;
mod backoff;
mod base_string;
pub mod brokerage;
mod callback;
mod client;
mod consumer;
mod diagnosis;
mod diffie_hellman;
#[cfg(feature = "doctor")]
pub mod doctor;
mod error;
mod exchange;
mod forensics;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http1")]
pub mod http1;
mod keys;
mod live_session;
mod live_session_token;
mod lock;
mod pem;
mod percent_encoding;
mod request;
mod response;
mod secret;
mod server_clock;
mod session;
#[cfg(feature = "serde")]
mod snapshot;
mod stamp;
mod tables;
mod template;
mod ticket;
mod time;
mod token;
mod url;

pub use api_request::ApiRequest;
pub use backoff::Backoff;
pub use base_string::{BaseString, ParameterEncoding};
pub use callback::{Callback, CallbackError};
pub use client::{Client, ClientExchange, ConsentUrl, Event, NotSent, Outcome, Output, RequestTicket, Signer};
pub use consumer::{Consumer, ConsumerBuilder, QueryPolicy};
pub use diagnosis::{Diagnosis, Retry};
pub use diffie_hellman::DhParams;
pub use error::{ConfigError, Error, Malformed, Misuse, Rejected, UrlError};
pub use exchange::{Exchange, Outbound};
pub use forensics::Mismatch;
pub use keys::{ConsumerKeys, KeyError, RsaKeys, RsaPrivateKey};
pub use live_session::LiveSession;
pub use rand_core;
pub use request::{Method, Receipt, Request};
pub use response::Response;
pub use secret::Secret;
pub use session::{OAuthSession, Phase};
#[cfg(feature = "serde")]
pub use snapshot::{Snapshot, SnapshotError};
pub use time::UnixTime;
pub use token::{AccessToken, TokenError};
