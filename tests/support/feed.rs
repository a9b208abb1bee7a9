//! The WebSocket example's feed of prices.
#![allow(dead_code, reason = "the example also reads what it was opened with")]

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use ibkr_oauth::UnixTime;
use ibkr_oauth::brokerage::WebSocketRequest;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;
use tungstenite::client::{ClientRequestBuilder, IntoClientRequest};
use tungstenite::{Message, WebSocket};

use crate::driver::now;

/// Last price, bid and ask of a share of Apple.
const SUBSCRIPTION: &str = r#"smd+265598+{"fields":["31","84","86"]}"#;
/// How long the server may take to open a WebSocket.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to listen before looking whether the client wants anything.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two signs of life on the WebSocket.
const HEARTBEAT: Duration = Duration::from_secs(60);

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// An open WebSocket, and what it was opened with.
pub struct Feed {
    request: WebSocketRequest,
    socket: WebSocket<Box<dyn Stream>>,
    heartbeat_at: UnixTime,
    /// When to ask for prices again; `None` before the first time.
    renew_at: Option<UnixTime>,
}

impl Feed {
    /// Plain TCP or TLS, as the URL wants it.
    pub fn open(request: WebSocketRequest, tls: &Arc<ClientConfig>) -> Result<Self, Box<dyn Error>> {
        let upgrade = ClientRequestBuilder::new(request.url().parse()?);
        let upgrade = request.headers().fold(upgrade, |upgrade, (name, value)| upgrade.with_header(name, value));
        let upgrade = upgrade.into_client_request()?;
        let host = upgrade.uri().host().ok_or("the URL has no host")?.trim_matches(['[', ']']);
        let is_tls = upgrade.uri().scheme_str() == Some("wss");
        let port = upgrade.uri().port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tcp = TcpStream::connect((host, port))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let timeouts = tcp.try_clone()?;
        let stream: Box<dyn Stream> = if is_tls {
            let session = ClientConnection::new(Arc::clone(tls), host.to_owned().try_into()?)?;
            Box::new(StreamOwned::new(session, tcp))
        } else {
            Box::new(tcp)
        };
        let (socket, _) = tungstenite::client(upgrade, stream).map_err(|error| error.to_string())?;
        timeouts.set_read_timeout(Some(PAUSE))?;
        Ok(Self { request, socket, heartbeat_at: now(), renew_at: None })
    }

    /// What arrives within a moment, if anything does. Subscribes once that is possible, again before the prices stop, and
    /// gives signs of life.
    pub fn hear(&mut self, now: UnixTime) -> Result<Option<String>, tungstenite::Error> {
        if now >= self.heartbeat_at {
            self.heartbeat_at = now.saturating_add(HEARTBEAT);
            self.socket.send("tic".into())?;
        }
        if self.renew_at.is_some_and(|at| now >= at) {
            self.subscribe(now)?;
        }
        let message = match self.socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => message.into_data(),
            Ok(_) => return Ok(None),
            Err(tungstenite::Error::Io(error)) if is_pause(error.kind()) => return Ok(None),
            Err(error) => return Err(error),
        };
        let content: Value = serde_json::from_slice(&message).unwrap_or_default();
        if content["topic"] == "sts" && content["args"]["authenticated"] == true {
            self.subscribe(now)?;
        }
        Ok(Some(String::from_utf8_lossy(&message).into_owned()))
    }

    fn subscribe(&mut self, now: UnixTime) -> Result<(), tungstenite::Error> {
        self.renew_at = Some(now.saturating_add(WebSocketRequest::MARKET_DATA_RENEWAL));
        self.socket.send(SUBSCRIPTION.into())
    }
}

fn is_pause(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Of what is not known here only the topic, because there may be a session id in it.
pub fn in_plain_words(message: &str) -> String {
    let content: Value = serde_json::from_str(message).unwrap_or_default();
    let field = |name: &str| content[name].as_str().unwrap_or("unknown");
    match field("topic") {
        "system" if content["success"].is_string() => format!("you are {}", field("success")),
        "sts" if content["args"]["authenticated"] == true => "the brokerage session is ready".into(),
        "sts" => "there is no brokerage session".into(),
        topic if topic.starts_with("smd+") => {
            let contract = topic.trim_start_matches("smd+");
            format!("contract {contract}: last {}, bid {}, ask {}", field("31"), field("84"), field("86"))
        }
        "unknown" if message == "tic" => "still here".into(),
        "unknown" if content["message"] == "waiting for session" => "which session is this?".into(),
        topic => format!("something about {topic}"),
    }
}
