#![doc = include_str!("../README.md")]
//! # Where to find what
//! - [`Client`]: the whole; [`Event`] and [`Outcome`] say what happened, [`Signer`] signs beside it.
//! - [`PreparedRequest`]: a request that is signed every second.
//! - [`OAuthSession`], [`LiveSession`] and [`brokerage`]: its parts, for those who want them apart.
//! - [`Consumer`], [`RsaKeys`], [`ConsumerKeys`] (keys in hardware), [`DhParams`], [`AccessToken`]: credentials.
//! - [`ApiRequest`], [`Request`], [`Response`], [`UnixTime`]: what goes in and out.
//! - [`Error`], [`Diagnosis`], [`Retry`]: what went wrong, and what to do.
//! - [`protocol`]: every fact of the wire; [`cookbook`]: from symptom to cause to cure.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]
// What can grow without breaking anybody is chosen type by type: docs/api-guidelines.md.
#![deny(clippy::exhaustive_enums, clippy::exhaustive_structs)]
#![deny(missing_debug_implementations)]
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

/// A published value, from a file of `tests/vectors`.
#[cfg(test)]
macro_rules! published {
    ($($part:literal),+) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/", $($part),+)).trim_end()
    };
}

mod advice;
mod agreement;
pub mod brokerage;
mod client;
#[cfg(doc)]
#[doc = include_str!("../docs/cookbook.md")]
pub mod cookbook {}
mod credentials;
#[cfg(feature = "doctor")]
pub mod doctor;
mod encoding;
mod error;
mod exchange;
#[cfg(feature = "serde")]
mod follower;
#[cfg(feature = "http1")]
pub mod http1;
mod live_session;
mod lock;
#[cfg(doc)]
#[doc = include_str!("../docs/protocol.md")]
pub mod protocol {}
mod secret;
mod session;
mod signing;
#[cfg(feature = "serde")]
mod snapshot;
mod ticket;
mod time;
mod wire;

pub use advice::activation::{Activation, ActivationStage, ActivationWait};
pub use advice::backoff::Backoff;
pub use advice::diagnosis::{Diagnosis, Retry};
pub use advice::maintenance::Maintenance;
pub use advice::mismatch::Mismatch;
pub use advice::pacing::{Pacing, PacingError};
pub use advice::penalty::Penalty;
pub use agreement::diffie_hellman::DhParams;
pub use client::{Client, ClientExchange, ConsentUrl, Event, NotSent, Outcome, Output, RequestTicket, Signer};
pub use credentials::consumer::{Consumer, ConsumerBuilder};
pub use credentials::error::{ConfigError, KeyError, TokenError, UrlError};
pub use credentials::keys::{ConsumerKeys, RsaKeys, RsaPrivateKey};
pub use credentials::token::{AccessToken, AccountKind};
pub use error::{Error, Malformed, Misuse, Rejected};
pub use exchange::{Exchange, Outbound};
#[cfg(feature = "serde")]
pub use follower::question::Question;
#[cfg(feature = "serde")]
pub use follower::shared_session::SharedSession;
#[cfg(feature = "serde")]
pub use follower::{Followed, Follower, FollowerBuilder, FollowerOutput};
pub use live_session::{LiveSession, PreparedRequest};
pub use rand_core;
pub use secret::Secret;
pub use session::{OAuthSession, Phase};
pub use signing::base_string::BaseString;
pub use signing::policy::{ParameterEncoding, QueryPolicy};
#[cfg(feature = "serde")]
pub use snapshot::{Snapshot, SnapshotError};
pub use time::UnixTime;
pub use wire::api_request::ApiRequest;
pub use wire::callback::{Callback, CallbackError};
pub use wire::method::{Method, UnknownMethod};
pub use wire::receipt::Receipt;
pub use wire::request::Request;
pub use wire::response::Response;
