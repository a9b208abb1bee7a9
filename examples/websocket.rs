//! The WebSocket: log in, open the brokerage session, and listen to a contract's prices, with the tickle kept going on the
//! same thread.
//!
//! ```text
//! cargo run --example websocket [-- --credentials FILE [--base-url URL]]
//! ```
//!
//! Without credentials it ends after a few messages of a gateway of our own. With them it goes on until interrupted, and
//! leaves a brokerage session that competes alone. When a login is refused it ends: `keep_alive` has more patience.

pub(crate) mod support;

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ibkr_oauth::brokerage::{BrokerageEvent, BrokerageOutbound, BrokerageSession, CompetePolicy, WebSocketRequest};
use ibkr_oauth::{LiveSession, OAuthSession, UnixTime};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use tungstenite::client::{ClientRequestBuilder, IntoClientRequest};
use tungstenite::{Message, WebSocket};
use ureq::Agent;

use support::accounts::Accounts;
use support::driver::{agent, drive, now, rng, send};

/// Last price, bid and ask of a share of Apple.
const SUBSCRIPTION: &str = r#"smd+265598+{"fields":["31","84","86"]}"#;
/// How many messages are enough from a gateway of our own.
const ENOUGH: usize = 4;

/// How long the server may take to open a WebSocket.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to listen before looking whether the brokerage session wants anything.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two attempts at what failed.
const RETRY_PAUSE: Duration = Duration::from_secs(10);
/// Between two signs of life on the WebSocket.
const HEARTBEAT: Duration = Duration::from_secs(60);

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn main() -> ExitCode {
    support::exit_code(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let accounts = Accounts::from_arguments(&["SOCKETCOM"])?;
    let session = accounts.sessions()?.swap_remove(0);
    let enough = if accounts.are_on_own_gateway() { ENOUGH } else { usize::MAX };
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    let tls = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    listen(session, &tls, enough)
}

/// The whole loop: what the login wants, what the brokerage session wants, then what the WebSocket has to say.
pub fn listen(mut session: OAuthSession, tls: &Arc<ClientConfig>, enough: usize) -> Result<(), Box<dyn Error>> {
    let (agent, mut brokerage) = (agent(), BrokerageSession::new(CompetePolicy::Yield));
    let (mut feed, mut reopen_at, mut heard) = (None, now(), 0);
    while heard < enough {
        drive(&mut session, &agent)?;
        let live = session.live(now()).ok_or("the session is not live")?.clone();
        if !keep_brokerage_session(&mut brokerage, &live, &agent)? {
            session.invalidate(&live);
            thread::sleep(RETRY_PAUSE);
            continue;
        }
        // With the session id or the login, the WebSocket changes: it leads nowhere any more, or soon.
        let wanted = brokerage.web_socket();
        feed = feed.filter(|feed: &Feed| Some(&feed.request) == wanted.as_ref());
        if let (None, Some(request)) = (&feed, wanted)
            && now() >= reopen_at
        {
            reopen_at = now().saturating_add(RETRY_PAUSE);
            match Feed::open(request, tls) {
                Ok(open) => feed = Some(open),
                Err(error) => println!("The WebSocket does not open: {error}."),
            }
        }
        match feed.as_mut().map(Feed::hear) {
            None => thread::sleep(PAUSE),
            Some(Ok(None)) => {}
            Some(Ok(Some(message))) => {
                heard += 1;
                println!("IBKR: {message}");
            }
            Some(Err(error)) => {
                println!("The WebSocket is closed: {error}.");
                feed = None;
            }
        }
    }
    Ok(())
}

/// Sends what is due; `false` if the live session token is not accepted any more.
fn keep_brokerage_session(
    brokerage: &mut BrokerageSession,
    live: &LiveSession,
    agent: &Agent,
) -> Result<bool, Box<dyn Error>> {
    while let Some(BrokerageOutbound { request, exchange }) = brokerage.poll_request(live, &mut rng(), now())? {
        let Ok(answer) = send(agent, request) else { break };
        match brokerage.handle_response(exchange, answer, now())? {
            BrokerageEvent::LiveSessionRefused => return Ok(false),
            BrokerageEvent::Ready => println!("The brokerage session is ready."),
            BrokerageEvent::Lost => println!("The brokerage session is gone: opening a new one."),
            BrokerageEvent::Competing => println!("Another login of the user has the brokerage session."),
            BrokerageEvent::Failed { error, .. } => println!("A request failed: {error}"),
            _ => {}
        }
    }
    Ok(true)
}

/// An open WebSocket, and what it was opened with.
pub struct Feed {
    request: WebSocketRequest,
    socket: WebSocket<Box<dyn Stream>>,
    heartbeat_at: UnixTime,
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
        Ok(Self { request, socket, heartbeat_at: now() })
    }

    /// What arrives within a moment, in plain words, if anything does. Subscribes once that is possible, and gives signs
    /// of life.
    pub fn hear(&mut self) -> Result<Option<String>, tungstenite::Error> {
        if now() >= self.heartbeat_at {
            self.heartbeat_at = now().saturating_add(HEARTBEAT);
            self.socket.send("tic".into())?;
        }
        let message = match self.socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => message.into_data(),
            Ok(_) => return Ok(None),
            Err(tungstenite::Error::Io(error)) if is_pause(error.kind()) => return Ok(None),
            Err(error) => return Err(error),
        };
        let content: Value = serde_json::from_slice(&message).unwrap_or_default();
        if content["topic"] == "sts" && content["args"]["authenticated"] == true {
            self.socket.send(SUBSCRIPTION.into())?;
        }
        Ok(Some(in_plain_words(&message, &content)))
    }
}

fn is_pause(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Of what is not known here only the topic, because there may be a session id in it.
fn in_plain_words(message: &[u8], content: &Value) -> String {
    let field = |name: &str| content[name].as_str().unwrap_or("unknown");
    match field("topic") {
        "system" if content["success"].is_string() => format!("you are {}", field("success")),
        "sts" if content["args"]["authenticated"] == true => "the brokerage session is ready".into(),
        "sts" => "there is no brokerage session".into(),
        topic if topic.starts_with("smd+") => {
            let contract = topic.trim_start_matches("smd+");
            format!("contract {contract}: last {}, bid {}, ask {}", field("31"), field("84"), field("86"))
        }
        "unknown" if message == b"tic" => "still here".into(),
        "unknown" if content["message"] == "waiting for session" => "which session is this?".into(),
        topic => format!("something about {topic}"),
    }
}
