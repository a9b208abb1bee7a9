//! The task behind a WebSocket.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use ibkr_oauth::brokerage::WebSocketRequest;
use serde_json::Value;
use tokio::sync::mpsc::{self, Permit};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::client::{ClientRequestBuilder, IntoClientRequest};
use tokio_tungstenite::tungstenite::error::Error as SocketError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::WebSocketEvent;
use super::counted::Counted;
use super::subscriptions::Subscriptions;
use crate::shared::Shared;
use crate::status::{Activity, Ended};
use crate::transport::{Stream, Transport, in_full};

/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// A server that does not respond to signs of life for so long is gone.
const SILENCE: Duration = Duration::from_secs(3 * 60);
/// How long a message may take to be sent.
const SEND_TIME: Duration = Duration::from_secs(30);
/// A server that has not said whether there is a brokerage session is asked for data all the same.
const GRACE: Duration = Duration::from_secs(10);
/// Between two attempts to open it, at first and at last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

type Socket = WebSocketStream<TokioIo<Stream>>;

pub(super) struct Upstream {
    shared: Arc<Shared>,
    transport: Transport,
    messages: mpsc::Receiver<String>,
    events: mpsc::Sender<WebSocketEvent>,
    subscriptions: Subscriptions,
    counted: Counted,
    /// Before the next attempt.
    pause: Duration,
}

impl Upstream {
    pub(super) fn new(
        shared: Arc<Shared>,
        transport: Transport,
        messages: mpsc::Receiver<String>,
        events: mpsc::Sender<WebSocketEvent>,
    ) -> Self {
        let subscriptions = Subscriptions::default();
        let counted = Counted::new(Arc::clone(&shared));
        Self { shared, transport, messages, events, subscriptions, counted, pause: Duration::ZERO }
    }

    /// Returns when the client is shut down, or nobody is there any more.
    pub(super) async fn run(mut self) {
        while let Ok(reason) = self.open_once().await {
            tracing::debug!(%reason, "the WebSocket is closed");
            self.subscriptions.suspend();
            self.counted.closed();
            if self.events.send(WebSocketEvent::Closed { reason }).await.is_err() {
                return;
            }
        }
    }

    /// Opens the WebSocket when it can be, and keeps it for as long as that goes. Returns why it is closed.
    async fn open_once(&mut self) -> Result<String, Ended> {
        self.taking_messages(sleep(self.pause)).await?;
        self.pause = self.pause.saturating_mul(2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        let shared = Arc::clone(&self.shared);
        let request = self.taking_messages(shared.find(|state| state.client.web_socket())).await??;
        let transport = self.transport.clone();
        match self.taking_messages(connect(&transport, &request)).await? {
            Ok(socket) => {
                self.counted.opened();
                self.events.send(WebSocketEvent::Opened).await.map_err(|_| Ended)?;
                self.converse(socket, &request).await
            }
            Err(reason) => {
                // Perhaps the session is gone: the client will find out.
                self.shared.change(|state| state.client.doubt());
                Ok(reason)
            }
        }
    }

    /// Waits for `future`, and takes note of messages meanwhile.
    async fn taking_messages<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Ended> {
        tokio::pin!(future);
        loop {
            tokio::select! {
                result = &mut future => return Ok(result),
                message = self.messages.recv() => {
                    // Only subscriptions can wait.
                    self.take(message.ok_or(Ended)?);
                }
            }
        }
    }

    /// Takes note of a client's message, and returns it if it is to be sent now.
    fn take(&mut self, message: String) -> Option<String> {
        let to_send = self.subscriptions.take(message, Instant::now());
        self.counted.has_subscriptions(self.subscriptions.count());
        to_send
    }

    /// Returns why it is over.
    async fn converse(&mut self, mut socket: Socket, request: &WebSocketRequest) -> Result<String, Ended> {
        let shared = Arc::clone(&self.shared);
        let renewal = shared.find(|state| {
            let leads_elsewhere = state.client.web_socket().is_some_and(|wanted| wanted != *request);
            (leads_elsewhere || state.activity == Activity::LoggedOut).then_some(())
        });
        tokio::pin!(renewal);
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let grace = sleep(GRACE);
        tokio::pin!(grace);
        let mut is_grace_over = false;
        let mut heard_at = Instant::now();
        loop {
            if self.events.capacity() == 0 {
                // It is our side that does not read.
                heard_at = Instant::now();
            }
            let events = self.events.clone();
            let to_send = tokio::select! {
                received = receive(&events, &mut socket) => {
                    let (permit, received) = received?;
                    match received {
                        Ok(message) => self.heard(message, permit),
                        Err(reason) => return Ok(reason),
                    }
                    heard_at = Instant::now();
                    None
                }
                message = self.messages.recv() => self.take(message.ok_or(Ended)?),
                () = due(self.subscriptions.next_at()) => self.subscriptions.next(Instant::now()),
                _ = heartbeat.tick() => Some("tic".to_owned()),
                () = &mut grace, if !is_grace_over => {
                    is_grace_over = true;
                    self.subscriptions.begin(Instant::now());
                    None
                }
                () = sleep(SILENCE.saturating_sub(heard_at.elapsed())) => return Ok("the server is silent".to_owned()),
                renewed = &mut renewal => {
                    renewed?;
                    close(&mut socket).await;
                    self.pause = Duration::ZERO;
                    return Ok("the session behind it is another one".to_owned());
                }
            };
            if let Some(message) = to_send
                && let Err(reason) = send(&mut socket, message.into()).await
            {
                return Ok(reason);
            }
        }
    }

    /// Passes a message on; what the server says of the session, the client hears too.
    fn heard(&mut self, message: Message, permit: Permit<'_, WebSocketEvent>) {
        let event = match message {
            Message::Text(text) => WebSocketEvent::Text(text.as_str().to_owned()),
            Message::Binary(bytes) => WebSocketEvent::Binary(bytes),
            _ => return,
        };
        self.pause = FIRST_PAUSE;
        if let Some(text) = event.text() {
            self.learn(text);
        }
        permit.send(event);
    }

    fn learn(&mut self, text: &str) {
        // Most messages are prices: they are not read here.
        if !text.contains("\"sts\"") && !text.contains("\"waiting for session\"") {
            return;
        }
        let content: Value = serde_json::from_str(text).unwrap_or_default();
        let authenticated = content.pointer("/args/authenticated").and_then(Value::as_bool);
        let is_status = content.get("topic").and_then(Value::as_str) == Some("sts");
        match authenticated.filter(|_| is_status) {
            Some(true) => self.subscriptions.begin(Instant::now()),
            Some(false) => {
                self.subscriptions.suspend();
                self.shared.change(|state| state.client.handle_web_socket_message(text));
            }
            // The login that opened it is over, or other words were meant.
            None if content.get("message").is_some() => self.shared.change(|state| state.client.doubt()),
            None => {}
        }
    }
}

/// The next message, once there is room for it, or why there is none. A future that is dropped loses nothing.
async fn receive<'a>(
    events: &'a mpsc::Sender<WebSocketEvent>,
    socket: &mut Socket,
) -> Result<(Permit<'a, WebSocketEvent>, Result<Message, String>), Ended> {
    let permit = events.reserve().await.map_err(|_| Ended)?;
    let received = match socket.next().await {
        Some(Ok(Message::Close(_))) | None => Err("the server has closed it".to_owned()),
        Some(Ok(message)) => Ok(message),
        Some(Err(error)) => Err(reason(&error)),
    };
    Ok((permit, received))
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn send(socket: &mut Socket, message: Utf8Bytes) -> Result<(), String> {
    let sent = timeout(SEND_TIME, socket.send(Message::Text(message))).await;
    sent.map_err(|_| "the server takes no more messages".to_owned())?.map_err(|error| reason(&error))
}

async fn close(socket: &mut Socket) {
    // Politeness only.
    let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
}

/// Connects, and has the connection upgraded.
async fn connect(transport: &Transport, request: &WebSocketRequest) -> Result<Socket, String> {
    let limits = transport.limits();
    let url = request.url();
    // The same in the words of HTTP: `ws` is `http`, `wss` is `https`.
    let origin = format!("http{}", url.strip_prefix("ws").unwrap_or(url));
    let origin = origin.parse().map_err(|_| "the base URL leads to no WebSocket".to_owned())?;
    let upgrade = ClientRequestBuilder::new(url.parse().map_err(|_| "the base URL leads to no WebSocket".to_owned())?);
    let upgrade = request.headers().fold(upgrade, |upgrade, (name, value)| upgrade.with_header(name, value));
    let upgrade = upgrade.into_client_request().map_err(|error| reason(&error))?;
    let stream = transport.connect(origin).await.map_err(|error| error.to_string())?;
    let config =
        WebSocketConfig::default().max_message_size(Some(limits.body_size)).max_frame_size(Some(limits.body_size));
    let opening = client_async_with_config(upgrade, TokioIo::new(stream), Some(config));
    match timeout(limits.head, opening).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(reason(&error)),
        Err(_) => Err(format!("no response within {:?}", limits.head)),
    }
}

fn reason(error: &SocketError) -> String {
    match error {
        SocketError::Http(response) => format!("the server responded with HTTP {}", response.status().as_u16()),
        other => in_full(other),
    }
}
