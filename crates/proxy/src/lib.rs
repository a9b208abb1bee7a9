#![doc = include_str!("../README.md")]
//! # Where to find what
//! - [`Options`]: where to listen, whom to admit, what to allow.
//! - [`Proxy`]: bound first, then served; [`serve`] does both.
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

mod admission;
mod answer;
mod body;
mod certificate;
mod connections;
mod forward;
mod listener;
mod metrics;
mod options;
mod proxy;
mod read_only;
mod service;
mod session;
mod target;
mod web_socket;

pub use answer::MARK;
pub use ibkr_oauth_tokio;
pub use ipnet;
pub use options::{BearerToken, Limits, Listen, Options, Tls, WeakToken};
pub use proxy::{Proxy, StartError, serve};
