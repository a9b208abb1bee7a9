//! Tickets of the caller's own requests.

/// The identity of one of the caller's own requests: [`Client::request`](super::Client::request) gives one out, and
/// [`Event::Finished`](super::Event::Finished) brings it back with the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestTicket(pub(super) u64);
