#![doc = include_str!("../README.md")]
//! # Where to find what
//! - [`WebApi`]: the whole, behind a handle that can be cloned; [`Builder`] starts it, [`Event`] and [`Status`] tell of it.
//! - [`RequestError`]: how a request of yours can fail, and whether the server may have acted on it.
//! - [`Signer`]: `Authorization` values for an HTTP client of your own.
//! - [`WebSocket`]: prices and order updates, with subscriptions that survive a lost connection.
//! - [`Credentials`]: from a file or the environment.
//! - [`Store`]: one session for all processes of a user.
#![forbid(unsafe_code)]
#![deny(clippy::exhaustive_enums, clippy::exhaustive_structs)]
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

mod builder;
mod credentials;
mod driver;
mod event;
mod files;
mod limits;
mod request;
mod shared;
mod signer;
mod status;
mod store;
mod surroundings;
mod transport;
mod web_api;
mod web_socket;

pub use builder::Builder;
pub use bytes::Bytes;
pub use credentials::Credentials;
pub use credentials::error::CredentialsError;
pub use event::{Event, Events};
pub use http;
pub use ibkr_oauth;
pub use limits::Limits;
pub use request::{NotSent, Rejection, RequestError};
pub use rustls;
pub use signer::{SignError, Signature, Signer};
pub use status::{Activity, Ended, Status, WebSockets};
pub use store::{Store, StoreError};
pub use transport::TransportError;
pub use web_api::WebApi;
pub use web_socket::{WebSocket, WebSocketEvent, WebSocketSender};
