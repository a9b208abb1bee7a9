//! What the documented drivers send, byte for byte: the descriptor, and the `Host` that HTTP/1.1 wants.
#![cfg(all(feature = "http", feature = "http1"))]

#[path = "support/driver.rs"]
mod driver;
mod support;
#[path = "support/tokio_driver.rs"]
mod tokio_driver;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use ibkr_oauth::{ApiRequest, OAuthSession, Request, http1};
use support::{NOW, WorkedLogin, rng};

/// A client that sends a request and waits for the answer.
type Send = fn(Request);

#[test]
fn a_blocking_client_sends_the_descriptor_and_nothing_else() {
    sends_the_descriptor(&[], |request| drop(driver::send(&driver::agent(), request).unwrap()));
}

#[test]
fn an_async_client_sends_the_descriptor_and_nothing_else() {
    sends_the_descriptor(&[], |request| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        drop(runtime.block_on(tokio_driver::send(tokio_driver::https(), request)).unwrap());
    });
}

/// It says that it takes no compressed answer.
#[test]
fn an_event_loop_sends_the_descriptor_and_one_more_header() {
    sends_the_descriptor(&[("accept-encoding", "identity")], |request| {
        let mut stream = TcpStream::connect(request.authority()).unwrap();
        stream.write_all(&http1::encode(&request)).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    });
}

fn sends_the_descriptor(added: &[(&str, &str)], send: Send) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let base_url = format!("http://{authority}/v1/api");
    // The same inputs give the same bytes: one to send, one to compare with.
    for (sent, request) in requests(&base_url).into_iter().zip(requests(&base_url)) {
        let message = thread::scope(|scope| {
            let recorder = scope.spawn(|| record(&listener));
            send(sent);
            recorder.join().unwrap()
        });
        let sent = Sent::read(&message);
        assert_eq!(sent.request_line, format!("{} {} HTTP/1.1", request.method(), request.path()));
        let added = added.iter().copied().chain([("host", &*authority)]);
        let headers = request.headers().chain(added).map(|(name, value)| (name.to_lowercase(), value.to_string()));
        assert_eq!(sent.headers, headers.collect(), "{message}");
        assert_eq!(sent.count, sent.headers.len(), "a header twice: {message}");
        assert_eq!(sent.body.as_bytes(), request.body());
    }
}

/// The login's request, and one API request of every kind.
fn requests(base_url: &str) -> Vec<Request> {
    let pairs = [("a", "x y+z/%\u{e4}~'()*!"), ("A", ""), ("a", "[]{}|^`")];
    let login = WorkedLogin::at(base_url);
    let session = login.live_session(NOW);
    let signed = [
        ApiRequest::get("/portfolio/accounts"),
        ApiRequest::get("/a//b/%2F%41;c=d,e@f:[]$").query(&pairs),
        ApiRequest::post("/tickle"),
        ApiRequest::post("/a").form(&pairs),
        ApiRequest::put("/a").json(b"{\"a\":\"\xc3\xa4\"}"),
        ApiRequest::delete("/iserver/account/DU1/order/1"),
    ]
    .map(|call| session.live(NOW).unwrap().sign(&call, &mut rng(1), NOW).unwrap());
    let [get, _, post, ..] = &signed;
    let length = |request: &Request| {
        request.headers().find(|(name, _)| *name == "Content-Length").map(|(_, value)| value.to_string())
    };
    assert_eq!((length(get), length(post).as_deref()), (None, Some("0")), "what IBKR expects");
    let mut login = OAuthSession::new(login.consumer);
    signed.into_iter().chain([support::poll(&mut login).request]).collect()
}

/// Answers with 200 and hangs up; returns what was sent.
fn record(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
    while !is_whole(&received) {
        let count = stream.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "cut off: {}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&buffer[..count]);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    String::from_utf8(received).unwrap()
}

fn is_whole(received: &[u8]) -> bool {
    let text = String::from_utf8_lossy(received);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

struct Sent<'a> {
    request_line: &'a str,
    /// Names in lower case, and values.
    headers: BTreeSet<(String, String)>,
    /// Of header lines.
    count: usize,
    body: &'a str,
}

impl<'a> Sent<'a> {
    fn read(message: &'a str) -> Self {
        let (head, body) = message.split_once("\r\n\r\n").unwrap();
        let (request_line, lines) = head.split_once("\r\n").unwrap();
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_string()));
        let headers: Vec<_> = lines.split("\r\n").map(|line| header(line).unwrap()).collect();
        Self { request_line, count: headers.len(), headers: headers.into_iter().collect(), body }
    }
}
