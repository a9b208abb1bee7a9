//! The types of the `http` crate: nothing is lost on the way into an HTTP client and out of it.
#![cfg(feature = "http")]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use ibkr_oauth::{ApiRequest, Request, Response};
use support::{NOW, WorkedLogin, rng};
use ureq::http;

fn signed(call: &ApiRequest<'_>) -> Request {
    signed_for("https://api.ibkr.com/v1/api", call)
}

fn signed_for(base_url: &str, call: &ApiRequest<'_>) -> Request {
    let session = WorkedLogin::at(base_url).live_session(NOW);
    session.live(NOW).unwrap().sign(call, &mut rng(1), NOW).unwrap()
}

/// One request of every kind, with characters that URLs and headers are tempted to change.
fn requests(base_url: &str) -> [Request; 6] {
    let pairs = [("a", "x y+z/%\u{e4}~'()*!"), ("A", ""), ("a", "[]{}|^`")];
    [
        ApiRequest::get("/portfolio/accounts"),
        ApiRequest::get("/a//b/../%2F%41;c=d,e@f:[]$").query(&pairs),
        ApiRequest::post("/tickle"),
        ApiRequest::post("/a").form(&pairs),
        ApiRequest::put("/a").json(b"{\"a\":\"\xc3\xa4\"}"),
        ApiRequest::delete("/iserver/account/DU1/order/1"),
    ]
    .map(|call| signed_for(base_url, &call))
}

#[test]
fn a_request_becomes_its_equal() {
    for request in requests("https://api.ibkr.com/v1/api") {
        let converted = http::Request::try_from(request.clone()).unwrap();
        assert_eq!(converted.method().as_str(), request.method().as_str());
        assert_eq!(converted.uri().to_string(), request.url());
        assert_eq!(converted.body(), request.body());
        let mut headers = converted.headers().clone();
        for (name, value) in request.headers() {
            assert_eq!(headers.remove(name).unwrap().as_bytes(), value.as_bytes());
        }
        assert!(headers.is_empty(), "{headers:?} came from nowhere");
    }
}

#[test]
fn a_client_that_logs_headers_does_not_log_the_authorization() {
    let converted = http::Request::try_from(signed(&ApiRequest::get("/a"))).unwrap();
    assert!(converted.headers()["authorization"].is_sensitive());
    assert!(!format!("{converted:?}").contains("oauth_signature"));
}

#[test]
fn only_a_url_that_is_far_too_long_has_no_equal() {
    let value = "x".repeat(70_000);
    let fields = [("q", &*value)];
    assert!(http::Request::try_from(signed(&ApiRequest::get("/a").query(&fields))).is_err());
    let fields = [("q", &value[..60_000])];
    assert!(http::Request::try_from(signed(&ApiRequest::get("/a").query(&fields))).is_ok());
}

#[test]
fn a_response_becomes_its_equal_whatever_its_body_is_made_of() {
    let builder = || http::Response::builder().status(503).header("X", b"\xff".as_slice()).header("retry-after", "7");
    let (vector, slice) = (builder().body(b"{}".to_vec()).unwrap(), builder().body("{}").unwrap());
    for response in [Response::from(&vector), Response::from(&slice), Response::from(slice.clone())] {
        assert_eq!((response.status(), response.body()), (503, &b"{}"[..]));
        assert_eq!(response.retry_after(), Some(Duration::from_secs(7)));
    }
}

/// Answers everything with 200, and returns what was sent.
fn record(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let (mut received, mut buffer) = (String::new(), [0; 4096]);
    while !received.contains("\r\n\r\n") {
        let count = stream.read(&mut buffer).unwrap();
        received += str::from_utf8(&buffer[..count]).unwrap();
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    received
}

#[test]
fn ureq_puts_on_the_wire_what_was_signed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    for request in requests(&base_url) {
        let sent = thread::scope(|scope| {
            let recorder = scope.spawn(|| record(&listener));
            ureq::Agent::new_with_defaults().run(http::Request::try_from(request.clone()).unwrap()).unwrap();
            recorder.join().unwrap()
        });
        let request_line = format!("{} {} HTTP/1.1\r\n", request.method(), request.path());
        assert!(sent.starts_with(&request_line), "{sent}");
        for (name, value) in request.headers() {
            let header = format!("\r\n{}: {value}\r\n", name.to_lowercase());
            assert_eq!(sent.matches(&header).count(), 1, "{sent}");
        }
        // To a GET, `ureq` adds that it has no body.
        let added = ["host", "content-length"];
        let names = sent.lines().skip(1).filter_map(|line| line.split_once(": ")).map(|(name, _)| name);
        let is_ours = |sent: &str| request.headers().any(|(name, _)| name.eq_ignore_ascii_case(sent));
        assert!(names.into_iter().all(|name| is_ours(name) || added.contains(&name)), "{sent}");
    }
}
