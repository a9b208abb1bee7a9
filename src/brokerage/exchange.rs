//! One brokerage request in flight.

use core::fmt;

use crate::Request;
use crate::request::Receipt;
use crate::ticket::Ticket;

/// A request to send, and the [`BrokerageExchange`] to hand back with the answer.
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct BrokerageOutbound {
    /// What to send.
    pub request: Request,
    /// Hand this back together with the response.
    pub exchange: BrokerageExchange,
}

/// A request in flight, as a value that the caller owns: hand it back, or drop it when no response will come. After its
/// deadline, 15 seconds ([`ConsumerBuilder::brokerage_deadline`](crate::ConsumerBuilder::brokerage_deadline)), the next poll
/// offers a fresh request, and this exchange is stale.
#[must_use = "hand it back to `BrokerageSession::handle_response` with the answer"]
pub struct BrokerageExchange {
    pub(super) ticket: Ticket,
    pub(crate) receipt: Receipt,
    pub(super) step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Init,
    Status,
    Accounts,
    Tickle,
    Logout,
}

impl fmt::Debug for BrokerageExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerageExchange({:?})", self.step)
    }
}
