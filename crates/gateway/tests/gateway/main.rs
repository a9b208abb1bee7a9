//! The gateway stands in for IBKR: it lets in whom IBKR lets in, and refuses in IBKR's words.

mod api;
mod client;
mod incidents;
mod login;
mod orders;
mod refusals;
mod registration;
mod settings;
mod state;
mod three_legs;
