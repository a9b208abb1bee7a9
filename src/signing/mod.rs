//! Signing: signature base string, `Authorization` header, percent-encoding, nonce and timestamp (protocol sections
//! [2](crate::protocol#section-2), [3](crate::protocol#section-3) and [7](crate::protocol#section-7)).

pub(crate) mod authorization;
pub(crate) mod base_string;
pub(crate) mod mac;
pub(crate) mod nonce_and_timestamp;
pub(crate) mod percent_encoding;
pub(crate) mod percent_tables;
pub(crate) mod policy;
pub(crate) mod server_clock;
pub(crate) mod template;
