//! The WebSocket: opened, kept alive, and opened again with all its subscriptions.

mod counted;
mod subscriptions;
mod upstream;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::shared::Shared;
use crate::status::Ended;
use crate::transport::Transport;
use upstream::Upstream;

/// Messages that wait to be read, or to be sent. Who does not read lets the server wait.
const WAITING: usize = 256;

/// A WebSocket that is opened again whenever it is lost, and whenever the session behind it is a new one.
///
/// Subscriptions (`smd`, `sor`, `spl`, `sbd`, `ssd`, `sld`, `str`) are in force until the same topic with `u` ends them: after a
/// loss they are sent again, ten a second, and those of market data every ten minutes, because their prices stop otherwise.
/// Signs of life (`tic`) are sent every minute.
///
/// It opens when the brokerage session has been tickled for the first time, within seconds of the login. Dropping it closes
/// it; it also ends with the last [`WebApi`](crate::WebApi).
///
/// ```
/// # async fn run(api: ibkr_oauth_tokio::WebApi) -> Result<(), ibkr_oauth_tokio::Ended> {
/// let mut prices = api.web_socket();
/// prices.send(r#"smd+265598+{"fields":["31","84","86"]}"#).await?;
/// while let Some(event) = prices.next().await {
///     println!("{}", event.text().unwrap_or_default());
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct WebSocket {
    sender: WebSocketSender,
    events: mpsc::Receiver<WebSocketEvent>,
    task: AbortHandle,
}

/// What happens on a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WebSocketEvent {
    /// It is open, for the first time or again.
    Opened,
    /// A message of text.
    Text(String),
    /// A message of bytes: JSON like the others. Which of them come so is the server's choice.
    Binary(Bytes),
    /// It is closed, or did not open. It is opened again.
    Closed {
        /// Why.
        reason: String,
    },
}

impl WebSocketEvent {
    /// Returns the server's message, whichever form it has; `None` if this is none, or no text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(bytes) => std::str::from_utf8(bytes).ok(),
            Self::Opened | Self::Closed { .. } => None,
        }
    }
}

/// Sends to a [`WebSocket`] from anywhere.
#[derive(Debug, Clone)]
pub struct WebSocketSender(mpsc::Sender<String>);

impl WebSocketSender {
    /// Sends a message as [`WebSocket::send`] does.
    ///
    /// # Errors
    /// [`Ended`] once the WebSocket or the client is gone.
    pub async fn send(&self, message: impl Into<String>) -> Result<(), Ended> {
        self.0.send(message.into()).await.map_err(|_| Ended)
    }
}

impl WebSocket {
    pub(crate) fn open(shared: Arc<Shared>, transport: Transport) -> Self {
        let (sender, messages) = mpsc::channel(WAITING);
        let (reader, events) = mpsc::channel(WAITING);
        let upstream = Upstream::new(shared, transport, messages, reader);
        Self { sender: WebSocketSender(sender), events, task: tokio::spawn(upstream.run()).abort_handle() }
    }

    /// Returns what happens next; `None` once the client is shut down. A future that is dropped loses nothing.
    pub async fn next(&mut self) -> Option<WebSocketEvent> {
        self.events.recv().await
    }

    /// Sends a message. A subscription is remembered, and goes out as soon as the server takes it; whatever else is sent while
    /// the WebSocket is not open is lost.
    ///
    /// # Errors
    /// [`Ended`] once the client is shut down.
    pub async fn send(&self, message: impl Into<String>) -> Result<(), Ended> {
        self.sender.send(message).await
    }

    /// Returns what sends to this WebSocket while another task reads from it.
    pub fn sender(&self) -> WebSocketSender {
        self.sender.clone()
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        self.task.abort();
    }
}
