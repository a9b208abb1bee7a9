//! The status of a client: login, brokerage session, WebSockets, and the pause after a 429.

use ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth::{Phase, UnixTime};
use thiserror::Error;

/// The status of a client at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// What the client is doing.
    pub activity: Activity,
    /// How far the login has come.
    pub login: Phase,
    /// Where the brokerage session stands; `LoggedOut` where none is wanted.
    pub brokerage: BrokeragePhase,
    /// Until when the live session token signs. It is replaced before.
    pub expires_at: Option<UnixTime>,
    /// By how many seconds the server's clock is ahead, as far as known. Timestamps are corrected by it.
    pub clock_skew: i32,
    /// When the pause after a 429 ends, if there is one.
    pub penalty_ends_at: Option<UnixTime>,
    /// When a tickle last succeeded.
    pub tickled_at: Option<UnixTime>,
    /// The client's WebSockets.
    pub web_sockets: WebSockets,
}

/// The WebSockets of a client, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WebSockets {
    /// How many are open.
    pub open: usize,
    /// How many are not open, whether for the first time or again: they wait for the session, or for the next attempt.
    pub opening: usize,
    /// How often an open one was closed, by the server, by the network or for a new session; not by being dropped.
    pub lost: u64,
    /// How often a lost one was opened again.
    pub renewed: u64,
    /// How many subscriptions are in force.
    pub subscriptions: usize,
}

impl Status {
    /// Returns whether there is a live session: `/portfolio` works.
    pub fn is_logged_in(&self) -> bool {
        self.login == Phase::LiveSession
    }

    /// Returns whether there is a brokerage session: `/iserver` works, orders and market data with it.
    pub fn is_ready(&self) -> bool {
        self.is_logged_in() && self.brokerage == BrokeragePhase::Ready
    }
}

/// What a client is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activity {
    /// It logs in and stays logged in.
    Running,
    /// No login is possible before something is changed on this machine, and [`WebApi::open`](crate::WebApi::open) is
    /// called: [`ibkr_oauth::Event::Stopped`] has the reason.
    Stopped,
    /// It has sent, or is about to send, `/logout`.
    LoggingOut,
    /// Nothing is sent before [`WebApi::open`](crate::WebApi::open).
    LoggedOut,
    /// It has ended, for good.
    ShutDown,
}

/// The client was shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the client was shut down")]
#[allow(clippy::exhaustive_structs, reason = "there is no more to say")]
pub struct Ended;
