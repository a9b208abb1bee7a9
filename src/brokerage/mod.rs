//! The layer above a live session: the brokerage session, its keep-alive, its WebSocket, and the rules of the house.
//!
//! Three states are kept apart, because each can be lost without the others: the live session token
//! ([`OAuthSession`](crate::OAuthSession)), the brokerage session behind it ([`BrokerageSession::phase`]), and the
//! WebSocket ([`BrokerageSession::web_socket`]). "Token fine, bridge missing" has its own name here.
//!
//! [`BrokerageSession`] keeps the contract of the first layer: `poll_request` returns the next request to send,
//! `handle_response` takes the response, `poll_timeout` says when to come back; no clock, no timer, no IO.

mod activation;
mod answer;
mod contest;
mod event;
mod exchange;
mod maintenance;
mod pacing;
mod penalty;
mod responses;
mod session;
mod times;
mod web_socket;

pub use activation::{Activation, ActivationStage, WaitForActivation};
pub(crate) use answer::says_not_authenticated;
pub use event::{BrokerageEvent, BrokeragePhase, CompetePolicy};
pub use exchange::{BrokerageExchange, BrokerageOutbound};
pub use maintenance::Maintenance;
pub use pacing::{Pacing, PacingError};
pub use penalty::Penalty;
pub use session::BrokerageSession;
pub use web_socket::WebSocketRequest;
