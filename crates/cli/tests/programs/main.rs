//! The program as its users run it, against IBKR's half of the protocol on loopback.

mod session;
mod support;
