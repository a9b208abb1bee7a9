//! The layer above a live session: the brokerage session, its keep-alive, and its WebSocket.
//!
//! Three states are kept apart, because each can be lost without the others: the live session token
//! ([`OAuthSession`](crate::OAuthSession)), the brokerage session behind it ([`BrokerageSession::phase`]), and the
//! WebSocket ([`BrokerageSession::web_socket`]). A valid token without a brokerage session is
//! [`BrokeragePhase::Missing`].
//!
//! [`BrokerageSession`] keeps the contract of the first layer: `poll_request` returns the next request to send,
//! `handle_response` takes the response, `poll_timeout` says when to come back; no clock, no timer, no IO.

pub(crate) mod auth_status;
mod contest;
pub(crate) mod event;
pub(crate) mod exchange;
mod responses;
mod schedule;
pub(crate) mod session;
pub(crate) mod web_socket;

pub use event::{BrokerageEvent, BrokeragePhase, CompetePolicy};
pub use exchange::{BrokerageExchange, BrokerageOutbound};
pub use session::BrokerageSession;
pub use web_socket::WebSocketRequest;
