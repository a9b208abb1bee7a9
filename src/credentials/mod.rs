//! Credentials: the consumer key and its settings, private keys, access token, base URL.

pub(crate) mod base_url;
pub(crate) mod consumer;
pub(crate) mod error;
pub(crate) mod identity;
pub(crate) mod keys;
pub(crate) mod pem;
pub(crate) mod token;
