//! The gateway stands in for IBKR: it lets in whom IBKR lets in, and refuses in IBKR's words.
#![cfg(all(feature = "gateway", feature = "http"))]

#[path = "../../examples/support/mod.rs"]
mod support;

mod api;
mod client;
#[cfg(feature = "http1")]
mod http1;
mod incidents;
mod login;
mod refusals;
mod registration;
mod rude_clients;
mod three_legs;
