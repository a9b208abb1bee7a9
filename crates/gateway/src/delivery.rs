//! How responses travel.

use std::time::Duration;

/// How a response travels to the client, other than well: [`Incident::BadDelivery`](crate::Incident::BadDelivery).
///
/// The request has had its effect. What becomes of the response is the carrier's to do, since a gateway has no connection:
/// it finds this among the response's [extensions](crate::http::Response::extensions). A `Server` obeys it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Delivery {
    /// It begins so much later.
    Late(Duration),
    /// Its head comes at once, and its body byte by byte, with so long a pause before each.
    Trickling(Duration),
    /// It never begins: the connection is closed.
    Lost,
    /// Half of its body comes, fewer bytes than its `Content-Length` says. Then the connection is closed.
    Cut,
    /// It never begins: the connection is reset.
    Reset,
}
