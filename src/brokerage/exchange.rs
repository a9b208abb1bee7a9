//! One brokerage request in flight.

use core::fmt;

use crate::ticket::Ticket;
use crate::wire::api_request::ApiRequest;
use crate::wire::receipt::Receipt;
use crate::wire::request::Request;

/// A request to send, and the [`BrokerageExchange`] to hand back with the response.
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
#[allow(clippy::exhaustive_structs, reason = "taken apart by every driver")]
pub struct BrokerageOutbound {
    /// What to send.
    pub request: Request,
    /// Hand this back together with the response.
    pub exchange: BrokerageExchange,
}

/// A request in flight, as a value that the caller owns: hand it back, or drop it when no response will come. After its
/// deadline, 15 seconds ([`ConsumerBuilder::brokerage_deadline`](crate::ConsumerBuilder::brokerage_deadline)), the next
/// request that is due is offered, and this exchange is stale from then on.
#[must_use = "hand it back to `BrokerageSession::handle_response` with the response"]
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

impl Step {
    /// The request, without its body.
    pub(super) fn api_request(self) -> ApiRequest<'static> {
        match self {
            Self::Init => ApiRequest::post("/iserver/auth/ssodh/init"),
            Self::Status => ApiRequest::post("/iserver/auth/status"),
            Self::Accounts => ApiRequest::get("/iserver/accounts"),
            Self::Tickle => ApiRequest::post("/tickle"),
            Self::Logout => ApiRequest::post("/logout"),
        }
    }
}

impl BrokerageExchange {
    /// What is in flight, without its body: what the request limits count.
    pub(crate) fn api_request(&self) -> ApiRequest<'static> {
        self.step.api_request()
    }

    pub(crate) fn is_tickle(&self) -> bool {
        self.step == Step::Tickle
    }
}

impl fmt::Debug for BrokerageExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerageExchange({:?})", self.step)
    }
}
