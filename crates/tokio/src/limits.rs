//! Time limits for each part of an exchange, and the size limit of a response.

use std::time::Duration;

/// How long each part of an exchange with the server may take, and how large a response may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "written as a literal with `..Limits::default()`, which a new limit leaves valid"
)]
pub struct Limits {
    /// For the connection: name, TCP and TLS. Default: 10 seconds.
    pub connect: Duration,
    /// From the moment a request is handed over, the connection included, until the head of the response is there. Default: 30
    /// seconds.
    pub head: Duration,
    /// From there until the last byte of the body. Default: 30 seconds.
    pub body: Duration,
    /// Bytes of the largest body that is read. Default: 16 MiB.
    pub body_size: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            head: Duration::from_secs(30),
            body: Duration::from_secs(30),
            body_size: 16 << 20,
        }
    }
}
