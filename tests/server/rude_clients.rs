//! The server in `examples/support` goes on serving, whoever else is connected.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ibkr_oauth_gateway::Gateway;

use crate::support::credentials::{Credentials, Keys, Party};
use crate::support::driver::{now, rng};
use crate::support::in_process;
use crate::support::server::Server;
use ibkr_oauth::OAuthSession;

const CALLBACK: &str = "https://localhost:20000/";

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys::generate(&mut |_| ()).unwrap())
}

/// Lets a third party ask for a request token.
fn request_token(gateway: &mut Gateway, credentials: &Credentials) -> String {
    let mut session = OAuthSession::new(credentials.consumer().unwrap().build().unwrap());
    let outbound = session.poll_request(&mut rng(), now()).unwrap().unwrap();
    let answer = in_process::send(gateway, outbound.request, &mut rng(), now()).unwrap();
    session.handle_response(outbound.exchange, answer, now()).unwrap();
    session.consent_url().unwrap().split_once("oauth_token=").unwrap().1.to_owned()
}

struct Service {
    server: Server,
    address: String,
}

impl Service {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}/v1/api", listener.local_addr().unwrap());
        Self::start_with(Gateway::new(&base_url).unwrap(), listener)
    }

    fn start_with(gateway: Gateway, listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap().to_string();
        Self { server: Server::start(gateway, listener).unwrap(), address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// All that comes back until the server hangs up.
    fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        read_all(&mut stream)
    }
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // The server may hang up on what it has not read.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

const POLITE: &[u8] = b"GET /v1/api/tickle HTTP/1.1\r\nHost: x\r\nUser-Agent: t\r\nConnection: close\r\n\r\n";

#[test]
fn politeness_is_answered() {
    let service = Service::start();
    assert!(service.server.base_url().ends_with("/v1/api"));
    let answer = service.exchange(POLITE);
    assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
    assert!(answer.contains("\r\ndate: ") && answer.ends_with("\r\n\r\nUnauthorized"), "{answer}");
}

#[test]
fn rudeness_is_survived() {
    let service = Service::start();
    let long_header = [b"GET / HTTP/1.1\r\nX: ", "x".repeat(100_000).as_bytes()].concat();
    for (rude, status) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], "400"),
        (b"GET\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n", "400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "413"),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", "413"),
        (&long_header, "431"),
    ] {
        let answer = service.exchange(rude);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{:?}: {answer}", String::from_utf8_lossy(rude));
    }
    let mut half_said = service.connect();
    half_said.write_all(b"POST /v1/api/tickle HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
    half_said.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut half_said), "");
    let _silent = service.connect();
    drop(service.connect());
    assert!(service.exchange(POLITE).starts_with("HTTP/1.1 401 "), "and others are still served");
}

#[test]
fn a_connection_serves_many_requests_however_they_arrive() {
    let service = Service::start();
    let mut stream = service.connect();
    let keep = b"POST /v1/api/tickle HTTP/1.1\r\nUser-Agent: t\r\nContent-Length: 2\r\n\r\n{}";
    let chunked = b"POST /v1/api/tickle HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    for piece in [&keep[..], chunked, keep].concat().chunks(7) {
        stream.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    stream.write_all(POLITE).unwrap();
    let answers = read_all(&mut stream);
    let statuses: Vec<_> = answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["401", "403", "401", "401"], "{answers}");
}

#[test]
fn a_client_that_waits_for_100_is_told_to_go_on() {
    let service = Service::start();
    let mut stream = service.connect();
    let head = b"POST /v1/api/tickle HTTP/1.1\r\nUser-Agent: t\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\
        Connection: close\r\n\r\n";
    stream.write_all(head).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{}").unwrap();
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 401 "));
}

#[test]
fn a_stopped_server_is_gone_at_once_with_all_its_connections() {
    let service = Service::start();
    let mut idle = service.connect();
    let mut busy = service.connect();
    busy.write_all(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
    let begin = Instant::now();
    let address = service.address.clone();
    drop(service);
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_eq!(read_all(&mut idle) + &read_all(&mut busy), "");
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_user_consents_in_a_browser() {
    let mut gateway = Gateway::new("http://127.0.0.1:4000/v1/api").unwrap();
    let party = Party::Third { callback_url: CALLBACK };
    let credentials = Credentials::enroll(&mut gateway, keys(), "TESTCONS", &party).unwrap();
    let [token, denied] = [(); 2].map(|()| request_token(&mut gateway, &credentials));
    let service = Service::start_with(gateway, TcpListener::bind("127.0.0.1:0").unwrap());
    let ask = |target: &str| service.exchange(format!("GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes());

    let page = ask(&format!("/authorize?oauth_token={token}"));
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("<b>TESTCONS</b>"), "{page}");
    assert!(page.contains("name=\"approve\" value=\"demo\"") && page.contains(&token), "{page}");
    let approved = ask(&format!("/authorize?oauth_token={token}&approve=demo"));
    assert!(approved.contains(&format!("\r\nlocation: {CALLBACK}?oauth_token={token}&oauth_verifier=")), "{approved}");
    assert!(ask(&format!("/authorize?oauth_token={token}&approve=demo")).starts_with("HTTP/1.1 404 "));
    let denied = ask(&format!("/authorize?oauth_token={denied}&deny="));
    assert!(denied.starts_with("HTTP/1.1 303 ") && !denied.contains("oauth_verifier"), "{denied}");

    assert!(ask("/authorize?oauth_token=%3Cscript%3E").starts_with("HTTP/1.1 404 "));
    assert!(ask("/authorized").starts_with("HTTP/1.1 403 "), "that one is the gateway's");
}

#[test]
fn credentials_survive_being_written_down() {
    let mut gateway = Gateway::new("http://h/v1/api").unwrap();
    for party in [Party::First, Party::Third { callback_url: CALLBACK }] {
        let written = Credentials::enroll(&mut gateway, keys(), "SOMEPARTY", &party).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials.json");
        written.write_new(&path).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(Credentials::read(&path).unwrap() == written);
        assert!(written.write_new(&path).is_err(), "nothing is overwritten");
    }
    let error = |json: &str| Credentials::from_json(json).err().unwrap();
    assert_eq!(error(r#"{"access_token":"t"}"#), "access_token_secret is missing");
    assert_eq!(error(r#"{"realm":"r"}"#), "consumer_key is missing");
    assert_eq!(error(r#"{"consumer_key":1}"#), "consumer_key is not a string");
    assert_eq!(error(r#""a1b2c3d4e5f6a7b8c9d0""#), "it is not a JSON object");
}
