//! The events of a client, as a stream.

use futures_util::stream::{self, Stream};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::store::StoreError;
use crate::transport::TransportError;

/// How many events are kept for who reads slowly.
pub(crate) const KEPT: usize = 256;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// What the client says of login and brokerage session. [`Finished`](ibkr_oauth::Event::Finished) is not among it: its
    /// place is the result of the request.
    Client(ibkr_oauth::Event),
    /// A request of the client's own, to log in or to keep the session alive, got no response. It is asked again.
    NoResponse(TransportError),
    /// The session could not be stored, or the store not be locked. The client goes on; a login that others may be making at
    /// this moment is put off.
    NotStored(StoreError),
    /// So many events were not read in time and are lost. [`WebApi::status`](crate::WebApi::status) says how things stand.
    Missed(u64),
}

/// All events from the moment this was asked for. Each of several readers gets all of them.
#[derive(Debug)]
pub struct Events(pub(crate) Receiver<Event>);

impl Events {
    /// Returns the next event; `None` once the client is shut down. A future that is dropped loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(count)) => Some(Event::Missed(count)),
            Err(RecvError::Closed) => None,
        }
    }

    /// Returns the events as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Event> + Send {
        stream::unfold(self, |mut events| async move { events.next().await.map(|event| (event, events)) })
    }
}
