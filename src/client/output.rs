//! What `Client::poll` returns: requests to send, events and waits; and the outcomes of the caller's own requests.

use core::fmt;

use super::exchange::ClientExchange;
use super::request_ticket::RequestTicket;
use crate::brokerage::event::BrokeragePhase;
use crate::error::Error;
use crate::signing::policy::QueryPolicy;
use crate::time::UnixTime;
use crate::wire::request::Request;
use crate::wire::response::Response;

/// What [`Client::poll`](super::Client::poll) returns.
#[derive(Debug)]
#[must_use = "a client does nothing by itself"]
#[allow(clippy::exhaustive_enums, reason = "a driver that ignores one kind of output stands still")]
pub enum Output {
    /// Send this request, once, as it is, and hand its response in together with the exchange.
    Send {
        /// What to send.
        request: Request,
        /// Hand this back together with the response.
        exchange: ClientExchange,
    },
    /// Something happened. There may be more to do: poll again.
    Event(Event),
    /// There is nothing to do before this moment, unless a response or a call of yours comes first. It is later than `now`,
    /// by a minute at most, so that a machine that slept is noticed.
    Wait(UnixTime),
}

/// What happened to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The user must consent on this page. Bind the pending consent to the browser's own session, then hand the callback in
    /// with [`Client::handle_callback`](super::Client::handle_callback).
    ConsentNeeded {
        /// Where to send the user.
        url: ConsentUrl,
    },
    /// The user has consented, and there is an access token: store
    /// [`Client::access_token`](super::Client::access_token) now, before the next request goes out.
    AccessTokenGranted,
    /// There is a new live session token.
    LoggedIn {
        /// Until when it signs. It is replaced before.
        until: UnixTime,
    },
    /// An attempt to log in failed.
    LoginFailed {
        /// Why. [`Error::retry`] says [`Retry::Reauthorize`](crate::Retry::Reauthorize) where only a new access token
        /// helps; the client goes on trying all the same, with growing pauses.
        error: Error,
        /// When the next attempt is due.
        next_attempt: UnixTime,
    },
    /// No login is possible: something on this machine must be changed first (a private key that cannot sign). The client
    /// makes no further attempt before [`Client::open`](super::Client::open) or
    /// [`Client::reauthorize`](super::Client::reauthorize).
    Stopped {
        /// Why.
        error: Error,
    },
    /// The live session token was replaced or rejected soon after it was made, for the third time in a row or more: another
    /// process logs in with the same access token. New logins are held back, by growing pauses.
    LoginContested,
    /// The brokerage session entered another phase.
    Brokerage(BrokeragePhase),
    /// The brokerage session was taken over by another, for the third time in a row or more, while this client takes it
    /// back each time. The next attempts are held back, by growing pauses.
    BrokerageContested,
    /// A request of the brokerage session failed; the next attempt is planned.
    BrokerageFailed {
        /// Why.
        error: Error,
        /// When the next attempt is due.
        next_attempt: UnixTime,
    },
    /// The server's clock and the caller's differ by another amount than was known. Timestamps are corrected by it.
    ClockOff {
        /// By how many seconds the server's clock is ahead.
        seconds: i32,
    },
    /// The server accepted a request only with its query signed, or only without: all further requests follow.
    QueryPolicyChanged(QueryPolicy),
    /// One of the caller's own requests is finished.
    Finished {
        /// Which.
        ticket: RequestTicket,
        /// How it ended.
        outcome: Outcome,
    },
    /// Logged out on request. [`Client::open`](super::Client::open) logs in again.
    LoggedOut,
}

/// The address of the consent page. It holds the request token, which `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct ConsentUrl(pub(super) alloc::string::String);

impl ConsentUrl {
    /// Returns the address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConsentUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ConsentUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// How one of the caller's own requests ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The server responded with a 2xx status.
    Responded(Response<'static>),
    /// The server, or something on the way to it, rejected the request: nothing was done, unless the error says that the
    /// server failed in the middle of it (5xx).
    Rejected {
        /// Why.
        error: Error,
        /// The response.
        response: Response<'static>,
    },
    /// The request never went out.
    NotSent(NotSent),
    /// The request went out and no response came. Whether the server did what it asked for is not known: a client never
    /// repeats such a request.
    NoResponse,
}

/// Why a request never went out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotSent {
    /// Its deadline passed first: no live session, no brokerage session, or no room in the request limits.
    Deadline {
        /// When it could go out at the earliest, if it were handed over again; `None` if that is not known.
        retry_at: Option<UnixTime>,
    },
    /// The client was logged out, or starts over.
    LoggedOut,
    /// It cannot be signed.
    Unsignable(Error),
}
