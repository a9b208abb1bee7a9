//! One brokerage request in flight.

use alloc::sync::Arc;
use core::fmt;

use crate::Request;

/// A request to send, and the [`BrokerageExchange`] to hand back with the answer.
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct BrokerageOutbound {
    /// What to send.
    pub request: Request,
    /// What makes sense of the answer.
    pub exchange: BrokerageExchange,
}

/// A request in flight, as a value that the caller owns: hand it back, or drop it when no answer will come.
#[must_use = "hand it back to `BrokerageSession::handle_response` with the answer"]
pub struct BrokerageExchange {
    pub(super) ticket: Arc<()>,
    pub(super) step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Init,
    Status,
    Tickle,
    Logout,
}

impl fmt::Debug for BrokerageExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerageExchange({:?})", self.step)
    }
}
