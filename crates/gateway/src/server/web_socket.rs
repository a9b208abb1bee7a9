//! The server's end of a WebSocket, from the upgrade to the close.

use std::io;
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Stop;
use super::host::Host;
use crate::response::{Response, TEXT, response};
use crate::{Gateway, WebSocket};

/// Longest message of a client, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;
/// A client that says nothing for so long is disconnected; a polite one sends `tic` every minute.
const SILENCE: Duration = Duration::from_secs(5 * 60);

/// A WebSocket that the gateway allows: the connection on which it will be, and the first messages.
pub(crate) struct Opening {
    upgrade: OnUpgrade,
    web_socket: WebSocket,
    greeting: Vec<String>,
}

impl Opening {
    /// Returns the response that opens a WebSocket, and the WebSocket; or the rejection.
    pub(crate) fn new(
        gateway: &mut Gateway,
        request: &Request<Vec<u8>>,
        upgrade: OnUpgrade,
        now: SystemTime,
    ) -> (Response, Option<Self>) {
        let (web_socket, greeting) = match gateway.open_web_socket(request, now) {
            Ok(allowed) => allowed,
            Err(rejection) => return (rejection, None),
        };
        match create_response_with_body(request, Vec::new) {
            Ok(opened) => (opened, Some(Self { upgrade, web_socket, greeting })),
            Err(error) => (response(StatusCode::BAD_REQUEST, TEXT, error.to_string()), None),
        }
    }

    /// Sends the greeting, then the gateway's answers to each message, until the client leaves or misbehaves, or the
    /// server stops.
    pub(crate) async fn converse(mut self, host: &Host, stop: &mut Stop) -> io::Result<()> {
        let upgraded = TokioIo::new(self.upgrade.await.map_err(io::Error::other)?);
        let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
        send(&mut socket, self.greeting).await.map_err(io::Error::other)?;
        loop {
            let message = tokio::select! {
                () = stop.requested() => break,
                message = timeout(SILENCE, socket.next()) => message,
            };
            match message {
                Ok(Some(Ok(Message::Text(message)))) => {
                    let web_socket = &mut self.web_socket;
                    let answers = host.serve(|gateway| gateway.handle_message(web_socket, &message, SystemTime::now()));
                    send(&mut socket, answers).await.map_err(io::Error::other)?;
                }
                // Answering a ping or a close is the library's.
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(io::Error::other(error)),
                Ok(None) => return Ok(()),
                Err(_) => break,
            }
        }
        socket.close(None).await.map_err(io::Error::other)
    }
}

async fn send(socket: &mut WebSocketStream<TokioIo<Upgraded>>, messages: Vec<String>) -> Result<(), Error> {
    for message in messages {
        socket.send(message.into()).await?;
    }
    Ok(())
}
