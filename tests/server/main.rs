//! The server in `examples/support`, and credentials to log in to it with.
#![cfg(feature = "http")]

#[path = "../../examples/support/mod.rs"]
mod support;

#[cfg(feature = "http1")]
mod http1;
mod rude_clients;
