//! What examples and tests share: IBKR on a socket, and credentials to log in with.

// Each example uses a part.
#![allow(dead_code)]

pub mod accounts;
pub mod arguments;
pub mod consent_page;
pub mod credentials;
pub mod driver;
pub mod http;
pub mod server;
pub mod tls;
pub mod web_socket;
