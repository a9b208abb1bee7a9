//! Where a brokerage session stands, what happens to it, and what to do about others.

use core::fmt;

use crate::advice::maintenance::Maintenance;
use crate::error::Error;
use crate::time::UnixTime;

/// What to do about another session of the same user (TWS, the mobile app, another program): IBKR allows one brokerage
/// session for each username.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CompetePolicy {
    /// Leave it alone, report it, and wait until [`BrokerageSession::open`](super::BrokerageSession::open) is called.
    #[default]
    Yield,
    /// Log it out. Whoever used it loses what they were doing.
    TakeOver,
}

/// Where the brokerage session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum BrokeragePhase {
    /// There is none: the next poll asks for one.
    Missing,
    /// Asked for, and not ready yet.
    Opening,
    /// `/iserver` works: init or status said so, `/iserver/accounts` was not empty
    /// ([protocol section 14.4](crate::protocol#section-14-4)), and the latest response that said "authenticated and
    /// established" was asked for less than five minutes ago.
    Ready,
    /// It was ready, and no response has said so for five minutes. IBKR ends a session after some six minutes without a
    /// tickle ([protocol section 7](crate::protocol#section-7)).
    Unconfirmed,
    /// Another session of the same user has it.
    Competing,
    /// To be closed by the next poll.
    LoggingOut,
    /// Closed on request. [`BrokerageSession::open`](super::BrokerageSession::open) opens it again.
    LoggedOut,
}

impl fmt::Display for BrokeragePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Opening => "opening",
            Self::Ready => "ready",
            Self::Unconfirmed => "unconfirmed",
            Self::Competing => "competing",
            Self::LoggingOut => "logging out",
            Self::LoggedOut => "logged out",
        })
    }
}

/// What a response meant for the brokerage session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BrokerageEvent {
    /// Nothing has changed.
    Alive,
    /// Asked for; the next polls ask whether it is ready, and whether `/iserver/accounts` has accounts.
    Opening,
    /// Ready now: `/iserver` works.
    Ready,
    /// It was ready, and is gone: the next poll asks for a new one.
    Lost,
    /// Another session of the same user has taken it over for the third time, or more often: two programs fight for one
    /// session. The pauses before it is taken over again grow to a quarter of an hour.
    Contested,
    /// Another session of the same user has it. By the policy, the next poll takes over, or nothing happens until
    /// [`BrokerageSession::open`](super::BrokerageSession::open).
    Competing,
    /// The session that competed is gone: the next poll asks for one.
    CompetitorGone,
    /// The live session token is not accepted any more: hand the live session to
    /// [`OAuthSession::invalidate`](crate::OAuthSession::invalidate), poll that session, and go on here with the new one.
    LiveSessionRejected,
    /// A request failed. Tickles go on as before, unless there were too many requests.
    Failed {
        /// Why.
        error: Error,
        /// When the next request is offered, a tickle perhaps.
        next_attempt: UnixTime,
        /// What may be behind it.
        maintenance: Option<Maintenance>,
    },
    /// Closed on request.
    LoggedOut,
}
