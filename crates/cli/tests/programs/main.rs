//! The program as its users run it, against IBKR's half of the protocol on loopback. Nothing that it says holds a secret:
//! each test ends with that.

mod consent;
mod doctor;
mod failures;
mod files;
mod gateway;
mod help;
mod probe;
mod proxy;
mod replicas;
mod request;
mod secrets;
mod session;
mod setup;
mod storing;
mod support;
