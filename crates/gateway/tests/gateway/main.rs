//! The gateway stands in for IBKR: it lets in whom IBKR lets in, and rejects in IBKR's words.

mod api;
mod client;
mod incidents;
mod login;
mod orders;
mod registration;
mod rejections;
mod settings;
mod state;
mod three_legs;
