//! The options of a proxy: addresses, access, TLS and limits.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ibkr_oauth_tokio::ibkr_oauth::brokerage::CompetePolicy;
use ipnet::IpNet;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

/// Where a proxy listens, whom it admits, and what it allows. [`Options::new`] admits all programs of this machine, without
/// a token, and allows everything.
#[derive(Debug, Clone)]
#[allow(
    clippy::exhaustive_structs,
    reason = "written as a literal with `..Options::new(..)`, which a new option leaves valid"
)]
pub struct Options {
    /// Where to listen.
    pub listen: Listen,
    /// What every request must bring as `Authorization: Bearer TOKEN`. Off loopback there must be one.
    pub bearer_token: Option<BearerToken>,
    /// Names in a `Host` header that are accepted besides those of loopback and the address that was connected to, without
    /// port.
    pub allowed_hosts: Vec<String>,
    /// Whose connections are accepted. Empty: everybody's.
    pub peers: Vec<IpNet>,
    /// Forwards nothing but what is known to change nothing.
    pub read_only: bool,
    /// Whether a client that asks for a brokerage session (`/iserver/auth/ssodh/init`) gets one that is in use elsewhere:
    /// the policy of the [`Client`](ibkr_oauth_tokio::ibkr_oauth::Client) behind the proxy. What the client's own `compete`
    /// says does not matter.
    pub compete: CompetePolicy,
    /// How much of everything is taken from clients.
    pub limits: Limits,
}

impl Options {
    /// Returns options for `listen`, all others at their defaults.
    pub fn new(listen: Listen) -> Self {
        Self {
            listen,
            bearer_token: None,
            allowed_hosts: Vec::new(),
            peers: Vec::new(),
            read_only: false,
            compete: CompetePolicy::Yield,
            limits: Limits::default(),
        }
    }
}

/// Where a proxy listens.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Listen {
    /// On an address. Port 0 stands for a free one.
    Tcp {
        /// The address. Clients of the Client Portal Gateway expect port 5000.
        address: SocketAddr,
        /// Whose certificate is shown.
        tls: Tls,
    },
    /// On a Unix socket that only its owner can use: plain HTTP. A socket that a proxy left behind is replaced.
    #[cfg(unix)]
    Unix(PathBuf),
}

/// With which certificate a proxy speaks TLS.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Tls {
    /// A self-signed one for the names of loopback, in the file `proxy.pem` of this folder: made at the first start, kept for
    /// the next, readable for its owner only.
    SelfSigned(PathBuf),
    /// One of your own, in PEM.
    Own {
        /// The certificate, with those that lead to a root.
        certificates: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// None: plain HTTP. On loopback only.
    Plain,
    /// None, because a server in front of the proxy speaks TLS with the clients.
    InFront,
}

/// How much of everything is taken from clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "written as a literal with `..Limits::default()`, which a new limit leaves valid"
)]
pub struct Limits {
    /// Connections at once. One more, and the connection that has been without a request for longest is closed. Default: 512.
    pub connections: usize,
    /// Bytes of the head of a request. Default: 64 KiB; 8 KiB at least.
    pub head: usize,
    /// Headers of a request. Default: 100.
    pub headers: usize,
    /// Bytes of the body of a request. Default: 1 MiB.
    pub body: usize,
    /// Bytes of a message that a client sends on a WebSocket. Default: 64 KiB.
    pub message: usize,
    /// For a TLS handshake. Default: 10 seconds.
    pub handshake_time: Duration,
    /// For the head of a request, from the connection or the answer before on. Default: 60 seconds.
    pub head_time: Duration,
    /// For the body of a request. Default: 10 seconds.
    pub body_time: Duration,
    /// For a client to take what it is sent. Default: 10 seconds.
    pub write_time: Duration,
    /// For requests under way when the proxy stops. Default: 10 seconds.
    pub closing_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            head: 64 << 10,
            headers: 100,
            body: 1 << 20,
            message: 64 << 10,
            handshake_time: Duration::from_secs(10),
            head_time: Duration::from_secs(60),
            body_time: Duration::from_secs(10),
            write_time: Duration::from_secs(10),
            closing_time: Duration::from_secs(10),
        }
    }
}

/// A password for the proxy. `Debug` does not show it; it is wiped on drop.
#[derive(Clone)]
pub struct BearerToken(Zeroizing<String>);

/// The token is too short, or cannot stand in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a bearer token has 16 characters at least, all of them visible ASCII")]
#[non_exhaustive]
pub struct WeakToken;

impl BearerToken {
    /// Takes a token of 16 characters at least, all of them visible ASCII.
    ///
    /// # Errors
    /// [`WeakToken`] for any other.
    pub fn new(token: &str) -> Result<Self, WeakToken> {
        let is_sound = token.len() >= 16 && token.bytes().all(|byte| byte.is_ascii_graphic());
        if is_sound { Ok(Self(Zeroizing::new(token.to_owned()))) } else { Err(WeakToken) }
    }

    /// Compares in a time that says nothing but the length.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken")
    }
}
