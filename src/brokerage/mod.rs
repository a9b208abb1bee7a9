//! The layer above a live session: the brokerage session, its keep-alive, its WebSocket, and the rules of the house.
//!
//! Three states are kept apart, because each can be lost without the others: the live session token
//! ([`OAuthSession`](crate::OAuthSession)), the brokerage session behind it ([`BrokerageSession::bridge`]), and the
//! WebSocket ([`BrokerageSession::web_socket`]). "Token fine, bridge missing" has its own name here.
//!
//! [`BrokerageSession`] keeps the contract of the first layer: `poll_request` gives work out, `handle_response` takes
//! answers in, `poll_timeout` says when to come back; no clock, no timer, no IO.

mod activation;
mod answer;
mod maintenance;
mod pacing;
mod session;
mod web_socket;

pub use activation::{Activation, ActivationStage, WaitForActivation};
pub use maintenance::Maintenance;
pub use pacing::{Pacing, RetryAt};
pub use session::{Bridge, BrokerageEvent, BrokerageExchange, BrokerageOutbound, BrokerageSession, CompetePolicy};
pub use web_socket::WebSocketRequest;
