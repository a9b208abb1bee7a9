//! A client on tokio and its gateway, over real sockets on loopback.

mod requests;
mod support;
