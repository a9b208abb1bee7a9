//! A client on tokio and its gateway, over real sockets on loopback.

mod credentials;
mod delivery;
mod recovery;
#[cfg(feature = "fleet")]
mod replicas;
mod requests;
mod session;
mod signer;
mod store;
mod support;
mod web_socket;
