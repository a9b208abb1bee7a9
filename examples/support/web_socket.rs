//! The WebSocket's end at IBKR: from the upgrade to the close, a thread's work.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use tungstenite::handshake::server::{Response, create_response_with_body, write_response};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::http::Connection;

/// Longest message of a client, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;
/// A client that says nothing for so long is gone; a polite one sends `tic` every minute.
const SILENCE: Duration = Duration::from_secs(5 * 60);

/// The answer that opens the WebSocket, if `request` is a handshake.
#[expect(clippy::result_large_err, reason = "a refusal is a response, and moved once")]
pub fn handshake(request: &Request<Vec<u8>>) -> Result<Response, http::Response<Vec<u8>>> {
    create_response_with_body(request, || ()).map_err(|error| {
        let mut refusal = http::Response::new(error.to_string().into_bytes());
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        refusal
    })
}

/// Says `greeting`, then what `answer` has for each message, until the client leaves or misbehaves, or the server stops.
///
/// Like all of a connection's reads, those of the stream time out after a moment.
pub fn converse<S: Read + Write>(
    connection: Connection<'_, S>,
    opening: &Response,
    greeting: Vec<String>,
    stopping: &dyn Fn() -> bool,
    mut answer: impl FnMut(&str) -> Vec<String>,
) -> Result<(), Error> {
    let (mut stream, read_ahead) = connection.into_parts();
    write_response(&mut stream, opening)?;
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let mut socket = WebSocket::from_partially_read(stream, read_ahead, Role::Server, Some(config));
    let mut heard_at = Instant::now();
    send(&mut socket, greeting)?;
    while !stopping() && heard_at.elapsed() < SILENCE {
        match socket.read() {
            Ok(Message::Text(message)) => send(&mut socket, answer(&message))?,
            // Answering a ping or a close is the library's.
            Ok(_) => {}
            Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) => return Err(error),
        }
        heard_at = Instant::now();
    }
    socket.close(None)?;
    socket.flush()
}

fn send<S: Read + Write>(socket: &mut WebSocket<S>, messages: Vec<String>) -> Result<(), Error> {
    messages.into_iter().try_for_each(|message| socket.send(message.into()))
}
