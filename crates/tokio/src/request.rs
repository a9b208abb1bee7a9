//! The errors of a request.

use bytes::Bytes;
use ibkr_oauth::UnixTime;
use ibkr_oauth::brokerage::BrokeragePhase;
use thiserror::Error;

use crate::status::Status;
use crate::transport::TransportError;

/// Why a request has no successful response, and what is known of its effect.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The server responded, with a status other than 2xx.
    #[error("{}", .0.error)]
    Rejected(Box<Rejection>),
    /// The request never went out: nothing was done.
    #[error("the request was not sent: {0}")]
    NotSent(NotSent),
    /// The request went out, or may have, and no whole response came. Whether the server did what it asked for is not known;
    /// it is not sent again.
    #[error("the request was sent, and whether it took effect is not known: {0}")]
    NoResponse(TransportError),
}

impl RequestError {
    /// Returns whether it is certain that the server has not done what was asked: then the request may be repeated.
    pub fn had_no_effect(&self) -> bool {
        match self {
            Self::Rejected(rejection) => rejection.response.status().as_u16() < 500,
            Self::NotSent(_) => true,
            Self::NoResponse(_) => false,
        }
    }

    /// Returns the server's response, if there is one.
    pub fn into_response(self) -> Option<http::Response<Bytes>> {
        match self {
            Self::Rejected(rejection) => Some(rejection.response),
            Self::NotSent(_) | Self::NoResponse(_) => None,
        }
    }
}

/// A response other than success.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Rejection {
    /// What it means, and what to do.
    pub error: ibkr_oauth::Error,
    /// The response itself.
    pub response: http::Response<Bytes>,
}

/// Why a request never went out.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum NotSent {
    /// It could not go out before its deadline. A request for which that is known beforehand ends at once.
    #[error("it could not go out in time: {}{}", what_was_missing(.status), when_to_repeat(*.retry_at))]
    Deadline {
        /// How things stood.
        status: Status,
        /// When it could go out at the earliest, if it were handed over again; `None` if that is not known.
        retry_at: Option<UnixTime>,
    },
    /// The client was logged out, or starts over.
    #[error("the client is logged out")]
    LoggedOut,
    /// The client was shut down.
    #[error("the client is shut down")]
    ShutDown,
    /// The client does not take it: too many are waiting, or it cannot be signed.
    #[error(transparent)]
    Refused(ibkr_oauth::Error),
    /// There was no connection to send it on.
    #[error(transparent)]
    NotConnected(TransportError),
}

fn what_was_missing(status: &Status) -> &'static str {
    if status.penalty_ends_at.is_some() {
        return "nothing is sent during the pause after a 429";
    }
    if !status.is_logged_in() {
        return "there was no live session yet";
    }
    match status.brokerage {
        BrokeragePhase::Competing => "the user's brokerage session was in use elsewhere",
        BrokeragePhase::Ready | BrokeragePhase::LoggedOut => "the request limits had no room for it",
        _ => "there was no brokerage session, or no room in the request limits",
    }
}

fn when_to_repeat(at: Option<UnixTime>) -> String {
    at.map_or_else(String::new, |at| format!("; the next chance is at {at}"))
}
