//! Requests: answered, refused, given up, and never sent twice.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use ibkr_oauth_gateway::Incident;
use ibkr_oauth_tokio::ibkr_oauth::{ApiRequest, Pacing};
use ibkr_oauth_tokio::{Limits, NotSent, RequestError, Status, TransportError, WebApi};
use tokio::task::JoinSet;

use crate::support::server::{Manners, Server};
use crate::support::{ACCOUNT, soon, start};

const ACCOUNTS: ApiRequest<'_> = ApiRequest::get("/portfolio/accounts");
const ORDERS: &str = "/iserver/account/DU1234567/orders";
const ORDER: ApiRequest<'_> = ApiRequest::post(ORDERS)
    .json(br#"{"orders":[{"conid":265598,"orderType":"MKT","side":"BUY","tif":"DAY","quantity":1}]}"#);

/// A client that has a brokerage session.
async fn ready(server: &Server, limits: Limits) -> WebApi {
    let api = start(WebApi::builder(server.enrolled.client()).limits(limits));
    soon(api.wait_until(Status::is_ready)).await.unwrap();
    api
}

#[tokio::test]
async fn a_request_is_answered_in_clear_and_over_tls() {
    let clear = Server::start().await;
    let (encrypted, trust) = Server::start_tls().await;
    let in_clear = start(WebApi::builder(clear.enrolled.client()));
    let over_tls = start(WebApi::builder(encrypted.enrolled.client()).tls_config(trust));
    for api in [in_clear, over_tls] {
        let answer = soon(api.request(&ACCOUNTS)).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.headers().contains_key("date"), "all headers are there");
        assert!(std::str::from_utf8(answer.body()).unwrap().contains(ACCOUNT));
    }
}

#[tokio::test]
async fn whom_nobody_vouches_for_is_sent_nothing() {
    let (server, _) = Server::start_tls().await;
    let (_api, mut events) = WebApi::builder(server.enrolled.client()).start().unwrap();
    let event = soon(events.next()).await;
    assert!(format!("{event:?}").contains("certificate"), "{event:?}");
    assert_eq!(server.seen(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_at_once_are_all_answered() {
    let server = Server::start().await;
    let api = ready(&server, Limits::default()).await;
    let mut requests = JoinSet::new();
    for _ in 0..100 {
        requests.spawn(api.request(&ApiRequest::get("/iserver/accounts")));
    }
    let answers = soon(requests.join_all()).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.status() == 200)));
    assert!(server.connections() < 100, "connections are used again: {}", server.connections());
}

#[tokio::test]
async fn a_refusal_has_a_cause_and_the_servers_own_words() {
    let server = Server::start().await;
    let api = ready(&server, Limits::default()).await;
    let refused = soon(api.request(&ApiRequest::get("/nowhere"))).await.unwrap_err();
    assert!(refused.had_no_effect());
    let RequestError::Rejected(rejection) = refused else { panic!("{refused:?}") };
    assert_eq!(rejection.response.status(), 404);
    assert!(rejection.response.headers().contains_key("gateway-reason"));
    assert!(rejection.error.to_string().contains("404"), "{}", rejection.error);
}

#[tokio::test]
async fn what_cannot_be_signed_is_refused_at_once() {
    let server = Server::start().await;
    let api = start(WebApi::builder(server.enrolled.client()));
    let error = soon(api.request(&ApiRequest::get("no slash"))).await.unwrap_err();
    assert!(matches!(error, RequestError::NotSent(NotSent::Refused(_))), "{error:?}");
    assert!(error.had_no_effect());
}

#[tokio::test]
async fn a_request_that_is_dropped_before_it_goes_out_never_does() {
    let server = Server::start().await;
    // No login gets through: everything waits.
    server.spoil("/oauth/live_session_token", Manners::Silent);
    let api = start(WebApi::builder(server.enrolled.client()));
    drop(api.request(&ACCOUNTS));
    let polled = tokio::time::timeout(Duration::from_millis(50), api.request(&ACCOUNTS)).await;
    assert!(polled.is_err());
    let kept = api.request(&ApiRequest::get("/iserver/accounts"));
    server.behave();
    drop(api);
    drop(kept);

    let api = start(WebApi::builder(server.enrolled.client()));
    drop(api.request(&ACCOUNTS));
    soon(api.wait_until(Status::is_ready)).await.unwrap();
    assert_eq!(server.count("GET /portfolio/accounts"), 0);
}

#[tokio::test]
async fn an_order_whose_future_is_dropped_in_mid_flight_is_sent_once() {
    let server = Server::start().await;
    let api = ready(&server, Limits::default()).await;
    server.spoil(ORDERS, Manners::Forgetful);
    let order = tokio::spawn(api.request(&ORDER));
    soon(server.has_seen(&format!("POST {ORDERS}"), 1)).await;
    order.abort();
    assert!(order.await.unwrap_err().is_cancelled());
    server.behave();

    // All that comes after works, and the order is not among it.
    soon(api.request(&ApiRequest::get("/iserver/accounts"))).await.unwrap();
    let listed = soon(api.request(&ApiRequest::get("/iserver/account/orders"))).await.unwrap();
    let listed: serde_json::Value = serde_json::from_slice(listed.body()).unwrap();
    assert_eq!(listed["orders"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(server.count(&format!("POST {ORDERS}")), 1);
}

#[tokio::test]
async fn a_rejected_get_that_nobody_awaits_any_more_is_not_repeated() {
    let server = Server::start().await;
    let limits = Limits { head: Duration::from_millis(500), ..Limits::default() };
    let api = ready(&server, limits).await;
    let path = "/iserver/marketdata/snapshot";
    let snapshot = ApiRequest::get(path).query(&[("conids", "265598")]);
    let line = format!("GET {path}");

    // Given up in mid-flight, then rejected.
    server.spoil(path, Manners::Late);
    let refused = tokio::spawn(api.request(&snapshot));
    soon(server.has_seen(&line, 1)).await;
    refused.abort();
    let _ = refused.await;
    server.gateway().schedule(SystemTime::now(), Incident::LiveSessionsEnd);
    server.behave();
    // By then the token is replaced, and what waited for that has gone out.
    soon(api.request(&ApiRequest::get("/iserver/accounts"))).await.unwrap();
    assert_eq!(server.count(&line), 1);

    // Rejected, then given up while the login is under way.
    server.spoil("/oauth/live_session_token", Manners::Silent);
    server.gateway().schedule(SystemTime::now(), Incident::LiveSessionsEnd);
    let refused = tokio::spawn(api.request(&snapshot));
    soon(server.has_seen("POST /oauth/live_session_token", 3)).await;
    assert_eq!(server.count(&line), 2);
    refused.abort();
    let _ = refused.await;
    server.behave();
    soon(api.request(&ApiRequest::get("/iserver/accounts"))).await.unwrap();
    assert_eq!(server.count(&line), 2);
}

#[tokio::test]
async fn an_answer_that_never_comes_or_never_ends_is_given_up() {
    let server = Server::start().await;
    let limits = Limits { head: Duration::from_millis(1500), body: Duration::from_millis(300), ..Limits::default() };
    let api = ready(&server, limits).await;
    for (manners, expected) in [
        (Manners::Silent, TransportError::HeadTimeout(limits.head)),
        (Manners::Stalling, TransportError::BodyTimeout(limits.body)),
    ] {
        server.spoil(ORDERS, manners);
        let error = soon(api.request(&ORDER)).await.unwrap_err();
        assert!(!error.had_no_effect());
        let RequestError::NoResponse(cause) = error else { panic!("{error:?}") };
        assert_eq!(cause, expected);
    }
    assert_eq!(server.count(&format!("POST {ORDERS}")), 2, "each once");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read() {
    let server = Server::start().await;
    let api = ready(&server, Limits { body_size: 1 << 20, ..Limits::default() }).await;
    server.spoil("/iserver/accounts", Manners::Verbose);
    let error = soon(api.request(&ApiRequest::get("/iserver/accounts"))).await.unwrap_err();
    assert!(matches!(error, RequestError::NoResponse(TransportError::BodyTooLarge(_))), "{error:?}");
}

#[tokio::test]
async fn without_a_connection_an_order_is_known_not_to_be_placed() {
    let mut server = Server::start().await;
    let api = ready(&server, Limits::default()).await;
    server.stop().await;
    let error = soon(api.request(&ORDER)).await.unwrap_err();
    // The connection that was open may break only with the request on it: then nobody knows.
    assert!(
        matches!(
            error,
            RequestError::NotSent(NotSent::NotConnected(_)) | RequestError::NoResponse(TransportError::Broken(_))
        ),
        "{error:?}"
    );
    let error = soon(api.request(&ORDER)).await.unwrap_err();
    assert!(matches!(error, RequestError::NotSent(NotSent::NotConnected(_))), "{error:?}");
    assert!(error.had_no_effect() && error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_at_the_handshake_is_given_up() {
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (server, _) = Server::start_tls().await;
    let mut enrolled = server.enrolled.clone();
    enrolled.base_url = format!("https://{}/v1/api", deaf.local_addr().unwrap());
    let limits = Limits { connect: Duration::from_millis(200), ..Limits::default() };
    let (_api, mut events) = WebApi::builder(enrolled.client()).limits(limits).start().unwrap();
    let event = soon(events.next()).await;
    assert!(format!("{event:?}").contains("none within 200ms"), "{event:?}");
}

#[tokio::test]
async fn a_request_that_would_be_too_late_ends_at_once_and_says_when_to_ask() {
    let server = Server::start().await;
    let api = ready(&server, Limits::default()).await;
    // Once in a quarter of an hour.
    let parameters = ApiRequest::get("/iserver/scanner/params");
    let first = SystemTime::now();
    let _ = soon(api.request(&parameters)).await;
    let Poll::Ready(Err(error)) = pin!(api.request(&parameters)).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it waits")
    };
    assert!(error.to_string().contains("the request limits had no room for it; the next chance is at 20"), "{error}");
    let RequestError::NotSent(NotSent::Deadline { retry_at: Some(at), .. }) = error else { panic!("{error:?}") };
    let pause = at.saturating_since(first.into()).as_secs();
    assert!((899..=960).contains(&pause), "{pause} s");
    // What can never go out has no next chance.
    let unsignable = ApiRequest::get("/iserver/scanner/params").query(&[("oauth_nonce", "1")]);
    let error = soon(api.request(&unsignable)).await.unwrap_err();
    assert!(matches!(error, RequestError::NotSent(NotSent::Refused(_))), "{error:?}");
    assert_eq!(server.count("GET /iserver/scanner/params"), 1);
}

#[tokio::test]
async fn what_waits_too_long_says_what_it_waited_for() {
    let server = Server::start().await;
    server.spoil("/oauth/live_session_token", Manners::Silent);
    let client = server.enrolled.client().with_request_deadline(Duration::from_millis(200));
    let api = start(WebApi::builder(client.with_pacing(Pacing::default())));
    let error = soon(api.request(&ACCOUNTS)).await.unwrap_err();
    assert!(error.to_string().contains("no live session"), "{error}");
}
