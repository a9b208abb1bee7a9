#![cfg_attr(feature = "server", doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "server"), doc = "Interactive Brokers' half of the OAuth 1.0a login to its Web API.")]
//!
//! "Protocol section N" in these pages is a section of `docs/protocol.md` of `ibkr-oauth`, published as
//! `ibkr_oauth::protocol`.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]
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

mod api;
mod authorization;
mod base_string;
mod base_url;
mod brokerage;
mod delivery;
mod diffie_hellman;
mod error;
mod gateway;
mod incident;
mod login;
mod mac;
mod orders;
mod percent_encoding;
mod registration;
mod registry;
mod rejection;
mod replay;
mod response;
mod rsa_key;
mod schedule;
#[cfg(feature = "server")]
mod server;
mod settings;
mod signed_request;
mod state;
mod time;
#[cfg(test)]
mod vectors;
mod verification;
mod web_socket;

pub use delivery::Delivery;
pub use error::GatewayError;
pub use gateway::Gateway;
pub use http;
pub use incident::Incident;
pub use rand_core;
pub use registration::{AccountKind, Consent, IssuedToken, RegisteredConsumer, User};
#[cfg(feature = "server")]
pub use server::{Certificate, Server, TestKeys};
pub use settings::{DeadTokenResponse, ExpirationField, LiveSessionTokens, PlusInQuery, QueryPolicy};
pub use state::State;
pub use web_socket::WebSocket;
