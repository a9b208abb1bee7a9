//! A proxy between its clients and IBKR, over real sockets on loopback.

#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod forwarding;
mod listening;
mod session;
mod web_socket;
