//! The WebSocket on the gateway's port: opened by token and session id, asked for without, closed with the server.
#![cfg(feature = "http")]

#[path = "support/credentials.rs"]
mod credentials;
#[path = "support/driver.rs"]
mod driver;
#[path = "support/feed.rs"]
mod feed;
mod support;

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use credentials::Credentials;
use driver::{agent, drive, now, rng, send};
use feed::{Feed, in_plain_words};
use ibkr_oauth::brokerage::{BrokerageOutbound, BrokerageSession, CompetePolicy, WebSocketRequest};
use ibkr_oauth::{ApiRequest, LiveSession, UnixTime};
use ibkr_oauth_gateway::{Certificate, Incident, Server};
use rustls::{ClientConfig, RootCertStore};
use tungstenite::client::{ClientRequestBuilder, IntoClientRequest};
use tungstenite::handshake::HandshakeError;
use tungstenite::http::Request;
use tungstenite::{Error, Message, WebSocket};
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

const USER_AGENT: (&str, &str) = ("User-Agent", "test");
const WAITING: &str = r#"{"message":"waiting for session"}"#;
const SYSTEM: &str = r#"{"success":"demo","topic":"system"}"#;
const NOT_READY: &str = r#"{"args":{"authenticated":false},"topic":"sts"}"#;
const READY: &str = r#"{"args":{"authenticated":true},"topic":"sts"}"#;

/// A gateway, and two consumers that it knows, of the same user.
struct Service {
    server: Server,
    credentials: [Credentials; 2],
    agent: Agent,
    tls: Arc<ClientConfig>,
}

impl Service {
    fn start() -> Self {
        let tls = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        Self::with(Server::bind("127.0.0.1:0").unwrap(), agent(), tls)
    }

    fn start_tls() -> Self {
        let certificate = Certificate::generate().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().to_vec().into()).unwrap();
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let trusted = RootCerts::new_with_certs(&[ureq::tls::Certificate::from_der(certificate.der()).to_owned()]);
        let agent = Agent::config_builder().tls_config(TlsConfig::builder().root_certs(trusted).build()).build();
        Self::with(Server::bind_tls("127.0.0.1:0", &certificate).unwrap(), agent.into(), tls)
    }

    fn with(server: Server, agent: Agent, tls: ClientConfig) -> Self {
        let credentials = ["FIRSTUSER", "OTHERUSER"].map(|name| Credentials::first_party(&mut server.gateway(), name));
        Self { server, credentials, agent, tls: Arc::new(tls) }
    }

    fn log_in(&self, index: usize) -> LiveSession {
        let mut session = self.credentials[index].session();
        drive(&mut session, &self.agent).unwrap();
        session.live(now()).unwrap().clone()
    }

    fn token(&self, index: usize) -> &str {
        &self.credentials[index].access_token
    }

    /// What a tickle calls the session.
    fn session_id(&self, live: &LiveSession) -> String {
        let request = live.sign(&ApiRequest::post("/tickle"), &mut rng(), now()).unwrap();
        let answer: serde_json::Value = serde_json::from_slice(send(&self.agent, request).unwrap().body()).unwrap();
        answer["session"].as_str().unwrap().to_owned()
    }

    /// What a client of the crate opens a WebSocket with, once its brokerage session is ready.
    fn web_socket(&self, live: &LiveSession) -> WebSocketRequest {
        let mut brokerage = BrokerageSession::new(CompetePolicy::Yield);
        while let Some(BrokerageOutbound { request, exchange }) =
            brokerage.poll_request(live, &mut rng(), now()).unwrap()
        {
            brokerage.handle_response(exchange, &send(&self.agent, request).unwrap(), now()).unwrap();
        }
        brokerage.web_socket().unwrap()
    }

    fn upgrade(&self, query: &str, headers: &[(&str, &str)]) -> Request<()> {
        let url = format!("{}/ws{query}", self.server.base_url().replace("http", "ws"));
        let request = ClientRequestBuilder::new(url.parse().unwrap());
        let request = headers.iter().fold(request, |request, (name, value)| request.with_header(*name, *value));
        request.into_client_request().unwrap()
    }

    /// The WebSocket, or the status of the refusal.
    fn open(&self, query: &str, headers: &[(&str, &str)]) -> Result<WebSocket<TcpStream>, u16> {
        let request = self.upgrade(query, headers);
        let stream = TcpStream::connect(request.uri().authority().unwrap().as_str()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(socket),
            Err(HandshakeError::Failure(Error::Http(rejection))) => Err(rejection.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// With everything that a WebSocket needs: greeted.
    fn open_well(&self, live: &LiveSession) -> WebSocket<TcpStream> {
        let (query, cookie) = (format!("?oauth_token={}", self.token(0)), format!("api={}", self.session_id(live)));
        let mut socket = self.open(&query, &[USER_AGENT, ("Cookie", &cookie)]).unwrap();
        assert_eq!(read(&mut socket), SYSTEM);
        read(&mut socket);
        socket
    }
}

fn read(socket: &mut WebSocket<TcpStream>) -> String {
    socket.read().unwrap().into_text().unwrap().to_string()
}

fn ask(socket: &mut WebSocket<TcpStream>, message: &str) -> String {
    socket.send(message.into()).unwrap();
    read(socket)
}

#[test]
fn what_the_brokerage_session_describes_opens_a_web_socket() {
    for service in [Service::start(), Service::start_tls()] {
        let request = service.web_socket(&service.log_in(0));
        let mut feed = Feed::open(request, &service.tls).unwrap();
        // Nothing may arrive for a while.
        let mut hear = |now: UnixTime| in_plain_words(&(0..40).find_map(|_| feed.hear(now).unwrap()).unwrap());
        let opened = now();
        let words: [_; 4] = std::array::from_fn(|_| hear(opened));
        let price = "contract 265598: last 165.98, bid 165.97, ask 165.99";
        assert_eq!(words, ["you are demo", "the brokerage session is ready", "still here", price]);
        let later = opened.saturating_add(WebSocketRequest::MARKET_DATA_RENEWAL);
        assert_eq!([hear(later), hear(later)], ["still here", price], "prices are asked for again");
    }
}

#[test]
fn the_wrong_token_or_cookie_opens_nothing() {
    let service = Service::start();
    let session_id = service.session_id(&service.log_in(0));
    let good_query = format!("?oauth_token={}", service.token(0));
    let others_query = format!("?oauth_token={}", service.token(1));
    let good_cookie = format!("theme=dark; api={session_id}");
    // One of IBKR's samples does that (protocol section 8).
    let json_cookie = format!(r#"api={{"session":"{session_id}"}}"#);

    let status = |query: &str, cookie: &str| service.open(query, &[USER_AGENT, ("Cookie", cookie)]).err();
    assert_eq!(status(&good_query, &good_cookie), None);
    for cookie in ["api=", "api=0123456789abcdef0123456789abcdef", &json_cookie] {
        assert_eq!(status(&good_query, cookie), Some(401), "{cookie}");
    }
    for query in ["", "?oauth_token=", "?oauth_token=01234567890123456789", "?oauth_token=%zz", &others_query] {
        assert_eq!(status(query, &good_cookie), Some(401), "{query}");
    }
    service.log_in(1);
    assert_eq!(status(&others_query, &good_cookie), Some(401), "a session id is good for its own token only");
    assert_eq!(service.open(&good_query, &[("Cookie", &good_cookie)]).err(), Some(403), "without User-Agent");

    service.server.gateway().schedule(SystemTime::now(), Incident::LiveSessionsEnd);
    assert_eq!(status(&good_query, &good_cookie), Some(401), "the login is over");
}

#[test]
fn a_client_without_cookie_is_asked_for_its_session() {
    let service = Service::start();
    let query = format!("?oauth_token={}", service.token(0));
    assert_eq!(service.open(&query, &[USER_AGENT]).err(), Some(401), "nobody is logged in");
    let live = service.log_in(0);
    let mut socket = service.open(&query, &[USER_AGENT]).unwrap();
    assert_eq!(read(&mut socket), WAITING);
    for wrong in ["tic", r#"{"session":"wrong"}"#, r#"{"session":1}"#, "{", ""] {
        assert_eq!(ask(&mut socket, wrong), WAITING, "{wrong}");
    }
    let session = format!(r#"{{"session":"{}"}}"#, service.session_id(&live));
    assert_eq!(ask(&mut socket, &session), NOT_READY);
    assert_eq!(read(&mut socket), SYSTEM);
    assert_eq!(ask(&mut socket, "tic"), "tic");
}

#[test]
fn prices_need_a_brokerage_session_and_a_login() {
    let service = Service::start();
    let live = service.log_in(0);
    let mut socket = service.open_well(&live);
    let subscription = r#"smd+8314+{"fields":["31","55","nonsense"]}"#;
    assert_eq!(ask(&mut socket, subscription), NOT_READY);
    service.web_socket(&live);
    for ignored in ["smd+8314", "smd+x+{}", "smd+8314+{}", "smd+99999999999+{\"fields\":[]}", "umd+8314+{}"] {
        socket.send(ignored.into()).unwrap();
    }
    let tick: serde_json::Value = serde_json::from_str(&ask(&mut socket, subscription)).unwrap();
    assert_eq!((&tick["topic"], &tick["31"], &tick["55"]), (&"smd+8314".into(), &"93.14".into(), &"SYM8314".into()));
    let session = format!(r#"{{"session":"{}"}}"#, service.session_id(&live));
    assert_eq!(ask(&mut socket, &session), READY);
    assert_eq!(read(&mut socket), SYSTEM);

    service.server.gateway().schedule(SystemTime::now(), Incident::LiveSessionsEnd);
    assert_eq!(ask(&mut socket, "tic"), WAITING);
}

#[test]
fn a_stopped_server_closes_its_web_sockets_at_once() {
    let service = Service::start();
    let mut socket = service.open_well(&service.log_in(0));
    let begin = Instant::now();
    drop(service);
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_eq!(socket.read().unwrap(), Message::Close(None));
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
}

#[test]
fn rudeness_ends_one_web_socket_only() {
    let service = Service::start();
    let live = service.log_in(0);
    let (mut polite, mut long_winded) = (service.open_well(&live), service.open_well(&live));
    // The server may hang up before all is sent.
    let _ = long_winded.send("x".repeat(100_000).into());
    assert!(long_winded.read().is_err());

    let mut unmasked = service.open_well(&live);
    std::io::Write::write_all(unmasked.get_mut(), b"\x81\x03tic").unwrap();
    assert!(unmasked.read().is_err());

    drop(service.open_well(&live));
    assert_eq!(ask(&mut polite, "tic"), "tic");

    let query = format!("?oauth_token={}", service.token(0));
    let mut old = service.upgrade(&query, &[USER_AGENT]);
    old.headers_mut().insert("Sec-WebSocket-Version", "8".parse().unwrap());
    let stream = TcpStream::connect(old.uri().authority().unwrap().as_str()).unwrap();
    let rejection = tungstenite::client(old, stream).unwrap_err();
    assert!(rejection.to_string().contains("400"), "{rejection}");
}
