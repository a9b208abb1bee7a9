//! A client's WebSocket, with one of its own to IBKR.

use std::io;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use ibkr_oauth_tokio::{WebApi, WebSocket, WebSocketEvent};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::answer::{Answer, refused};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::read_only;

/// Between two pings.
const PING: Duration = Duration::from_secs(30);
/// A client that answers no ping for so long is gone.
const SILENCE: Duration = Duration::from_secs(100);

type Local = WebSocketStream<TokioIo<Upgraded>>;

/// A WebSocket that a client has asked for.
pub(crate) struct Opening(OnUpgrade);

impl Opening {
    /// Returns the answer that opens it, or the refusal.
    #[expect(clippy::result_large_err, reason = "a refusal is an answer, and moved once")]
    pub(crate) fn new<B>(request: &mut Request<B>) -> Result<(Answer, Self), Answer> {
        let answer = create_response_with_body(request, Full::default)
            .map_err(|error| refused(StatusCode::BAD_REQUEST, &error.to_string()))?;
        Ok((answer, Self(hyper::upgrade::on(request))))
    }

    /// Passes messages on, in both directions, until the client leaves or misbehaves, or the proxy stops. What happens to the
    /// connection to IBKR, the client sees in IBKR's own messages only.
    pub(crate) async fn converse(
        self,
        api: &WebApi,
        options: &Options,
        metrics: &Metrics,
        stop: &mut watch::Receiver<()>,
    ) -> io::Result<()> {
        let _open = metrics.web_socket();
        let upgraded = TokioIo::new(self.0.await.map_err(io::Error::other)?);
        let size = Some(options.limits.message);
        let config = WebSocketConfig::default().max_message_size(size).max_frame_size(size);
        let mut local = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
        let mut upstream = api.web_socket();
        let mut ping = interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard_at = Instant::now();
        loop {
            let to_send = tokio::select! {
                _ = stop.changed() => return close(local, "the proxy stops").await,
                event = upstream.next() => match event {
                    Some(WebSocketEvent::Text(text)) => Message::text(text),
                    Some(WebSocketEvent::Binary(bytes)) => Message::Binary(bytes),
                    Some(_) => continue,
                    None => return close(local, "the client to IBKR has ended").await,
                },
                received = local.next() => {
                    heard_at = Instant::now();
                    let Some(received) = received else { return Ok(()) };
                    pass_on(&received.map_err(io::Error::other)?, &upstream, options).await?;
                    continue;
                }
                _ = ping.tick() => {
                    if heard_at.elapsed() > SILENCE {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    Message::Ping(bytes::Bytes::new())
                }
            };
            timeout(options.limits.write_time, local.send(to_send)).await?.map_err(io::Error::other)?;
        }
    }
}

/// Sends a client's message to IBKR, if it is one that may go there.
async fn pass_on(message: &Message, upstream: &WebSocket, options: &Options) -> io::Result<()> {
    match understood(message).filter(|message| is_passed_on(message, options)) {
        // The other end may wait for the client to read.
        Some(message) => timeout(options.limits.write_time, upstream.send(message)).await?.map_err(io::Error::other),
        None => Ok(()),
    }
}

fn understood(message: &Message) -> Option<&str> {
    match message {
        Message::Text(text) => Some(text.as_str()),
        Message::Binary(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// A client's session id is not passed on: it may be an old one, and the connection to IBKR has its own.
fn is_passed_on(message: &str, options: &Options) -> bool {
    !message.trim_start().starts_with('{') && (!options.read_only || read_only::allows_message(message))
}

async fn close(mut local: Local, reason: &'static str) -> io::Result<()> {
    let frame = CloseFrame { code: CloseCode::Away, reason: Utf8Bytes::from_static(reason) };
    timeout(Duration::from_secs(1), local.close(Some(frame))).await?.map_err(io::Error::other)
}
