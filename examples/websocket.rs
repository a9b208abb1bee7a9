//! The WebSocket: listen to a contract's prices, with login and brokerage session kept alive on the same thread.
//!
//! ```text
//! cargo run --example websocket [-- --credentials FILE [--base-url URL]]
//! ```
//!
//! Without credentials it ends after a few messages of a gateway of our own. With them (the file is that of `login`; the
//! environment variable `IBKR_CREDENTIALS` names it too) it goes on until interrupted, and leaves a brokerage session
//! that competes alone.

mod support;

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Parser;
use ibkr_oauth::brokerage::WebSocketRequest;
use ibkr_oauth::{Client, Event, OAuthSession, Output, UnixTime};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use tungstenite::client::{ClientRequestBuilder, IntoClientRequest};
use tungstenite::{Message, WebSocket};
use ureq::Agent;

use support::{Account, agent, now, rng, send};

/// Last price, bid and ask of a share of Apple.
const SUBSCRIPTION: &str = r#"smd+265598+{"fields":["31","84","86"]}"#;
/// How many messages are enough from a gateway of our own.
const ENOUGH: usize = 4;

/// How long the server may take to open a WebSocket.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to listen before looking whether the client wants anything.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two attempts at what failed.
const RETRY_PAUSE: Duration = Duration::from_secs(10);
/// Between two signs of life on the WebSocket.
const HEARTBEAT: Duration = Duration::from_secs(60);

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    account: Account,
}

fn main() -> ExitCode {
    support::exit_code(run(&Arguments::parse().account))
}

fn run(account: &Account) -> Result<(), Box<dyn Error>> {
    let (credentials, own_gateway) = account.open(&["SOCKETCOM"])?;
    let enough = if own_gateway.is_some() { ENOUGH } else { usize::MAX };
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    let tls = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    listen(credentials[0].session()?, &tls, enough)
}

/// The whole loop: what the client has to do, then what the WebSocket has to say.
fn listen(session: OAuthSession, tls: &Arc<ClientConfig>, enough: usize) -> Result<(), Box<dyn Error>> {
    let (agent, mut client) = (agent(), Client::new(session));
    let (mut feed, mut reopen_at, mut heard) = (None, now(), 0);
    while heard < enough {
        while let Some(event) = next_event(&mut client, &agent, now()) {
            if let Event::Stopped { error } = event {
                return Err(error.into());
            }
            println!("{event:?}");
        }
        // With the session id or the login, the WebSocket changes: it leads nowhere any more, or soon.
        let wanted = client.web_socket();
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
        match feed.as_mut().map(|feed| feed.hear(now())) {
            None => thread::sleep(PAUSE),
            Some(Ok(None)) => {}
            Some(Ok(Some(message))) => {
                heard += 1;
                client.handle_web_socket_message(&message);
                println!("IBKR: {}", in_plain_words(&message));
            }
            Some(Err(error)) => {
                println!("The WebSocket is closed: {error}.");
                feed = None;
            }
        }
    }
    Ok(())
}

/// Does what `client` has to do, until something happens; `None` if nothing has by `until`.
pub fn next_event(client: &mut Client, agent: &Agent, until: UnixTime) -> Option<Event> {
    loop {
        match client.poll(&mut rng(), now()) {
            Output::Event(event) => return Some(event),
            Output::Send { request, exchange } => match send(agent, request) {
                Ok(response) => _ = client.handle_response(exchange, &response, now()), // too late: no harm
                Err(error) => println!("No response: {error}."),                        // and the exchange is dropped
            },
            Output::Wait(_) if now() >= until => return None,
            Output::Wait(at) => thread::sleep(at.min(until).saturating_since(now())),
        }
    }
}

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
