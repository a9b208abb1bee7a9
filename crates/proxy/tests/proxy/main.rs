//! A proxy between its clients and IBKR, over real sockets on loopback.
#![cfg(unix)]

#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod forwarding;
mod gateway_clients;
mod listening;
mod session;
mod web_socket;
