//! One request of a client in flight.

use core::fmt;

use super::request_ticket::RequestTicket;
use crate::brokerage::exchange::BrokerageExchange;
use crate::exchange::Exchange;
use crate::ticket::Ticket;
use crate::wire::receipt::Receipt;

/// A request in flight, as a value that the caller owns: hand it back with the response, or drop it when none will come.
#[must_use = "hand it back to `Client::handle_response` with the response"]
pub struct ClientExchange(pub(super) Inner);

pub(super) enum Inner {
    Login(Exchange),
    Brokerage(BrokerageExchange),
    Own(OwnExchange),
}

/// One of the caller's own requests in flight.
pub(super) struct OwnExchange {
    pub(super) request: RequestTicket,
    pub(super) ticket: Ticket,
    pub(super) receipt: Receipt,
}

impl ClientExchange {
    /// Returns the caller's own request that is in flight; `None` for a request of the client's.
    pub fn request(&self) -> Option<RequestTicket> {
        match &self.0 {
            Inner::Own(own) => Some(own.request),
            Inner::Login(_) | Inner::Brokerage(_) => None,
        }
    }
}

impl fmt::Debug for ClientExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Login(exchange) => exchange.fmt(f),
            Inner::Brokerage(exchange) => exchange.fmt(f),
            Inner::Own(own) => own.request.fmt(f),
        }
    }
}
