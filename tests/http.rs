//! The types of the `http` crate: nothing is lost on the way into an HTTP client and out of it.
#![cfg(feature = "http")]

mod support;

use std::time::Duration;

use ibkr_oauth::{ApiRequest, Request, Response};
use support::{NOW, WorkedLogin, rng};
use ureq::http;

fn signed(call: &ApiRequest<'_>) -> Request {
    let session = WorkedLogin::any().live_session(NOW);
    session.live(NOW).unwrap().sign(call, &mut rng(1), NOW).unwrap()
}

/// One request of every kind, with characters that URLs and headers are tempted to change.
fn requests() -> [Request; 6] {
    let pairs = [("a", "x y+z/%\u{e4}~'()*!"), ("A", ""), ("a", "[]{}|^`")];
    [
        ApiRequest::get("/portfolio/accounts"),
        ApiRequest::get("/a//b/.../%2F%41;c=d,e@f:[]$").query(&pairs),
        ApiRequest::post("/tickle"),
        ApiRequest::post("/a").form(&pairs),
        ApiRequest::put("/a").json(b"{\"a\":\"\xc3\xa4\"}"),
        ApiRequest::delete("/iserver/account/DU1/order/1"),
    ]
    .map(|call| signed(&call))
}

#[test]
fn a_request_becomes_its_equal() {
    // The same inputs give the same bytes: one to convert, one to compare with.
    for (converted, request) in requests().into_iter().zip(requests()) {
        let converted = http::Request::try_from(converted).unwrap();
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
