//! Signing for an HTTP client of one's own.

use std::time::{Duration, SystemTime};

use ibkr_oauth_gateway::{Incident, QueryPolicy};
use ibkr_oauth_tokio::http::{self, Method};
use ibkr_oauth_tokio::ibkr_oauth::{ApiRequest, Error, Response};
use ibkr_oauth_tokio::{SignError, Signature, Status, WebApi};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

use crate::support::server::Server;
use crate::support::{soon, start};

/// Somebody else's HTTP client.
fn send(
    server: &Server,
    method: Method,
    url: &str,
    body: &'static str,
    signature: &Signature,
) -> http::Response<Vec<u8>> {
    let request = http::Request::builder().method(method).uri(url).header("User-Agent", "somebody else's");
    let request = request.header("Authorization", &signature.value).header("Content-Length", body.len());
    let request = match body.starts_with('{') {
        true => request.header("Content-Type", "application/json"),
        false => request.header("Content-Type", "application/x-www-form-urlencoded"),
    };
    server.gateway().handle(&request.body(body).unwrap(), &mut UnwrapErr(SysRng), SystemTime::now())
}

#[tokio::test]
async fn an_authorization_is_good_for_query_form_and_json_and_for_each_token() {
    let server = Server::start().await;
    let base_url = server.enrolled.base_url.clone();
    let api = start(WebApi::builder(server.enrolled.client()));
    let signer = api.signer();
    assert_eq!(
        signer.authorization(&Method::GET, &format!("{base_url}/tickle"), &[]).unwrap_err(),
        SignError::Client(Error::NoLiveSession)
    );
    soon(api.wait_until(Status::is_ready)).await.unwrap();
    server.gateway().set_query_policy(QueryPolicy::Exclude);
    for _ in 0..2 {
        let snapshot = format!("{base_url}/iserver/marketdata/snapshot?conids=265598%2C8314&fields=31");
        let init = format!("{base_url}/iserver/auth/ssodh/init");
        let form = [("publish", "true"), ("compete", "false")];
        for (method, url, body, form) in [
            (Method::GET, &snapshot, "", &[][..]),
            (Method::POST, &init, "publish=true&compete=false", &form[..]),
            (Method::POST, &init, r#"{"publish":true,"compete":false}"#, &[]),
        ] {
            let signature = signer.authorization(&method, url, form).unwrap();
            assert!(!format!("{signature:?}").contains("oauth_signature"), "{signature:?}");
            let answer = send(&server, method, url, body, &signature);
            assert_eq!(answer.status(), 200, "{url} {body} {:?}", answer.headers());
            signer.handle_response(signature.receipt, &Response::from(&answer)).unwrap();
        }
        server.gateway().schedule(SystemTime::now(), Incident::LiveSessionsEnd);
        soon(api.request(&ApiRequest::get("/iserver/accounts"))).await.unwrap();
    }
}

#[tokio::test]
async fn a_refusal_that_is_handed_back_makes_the_client_look_and_log_in() {
    let server = Server::start().await;
    let api = start(WebApi::builder(server.enrolled.client()));
    soon(api.wait_until(Status::is_ready)).await.unwrap();
    let before = api.status().expires_at;
    server.gateway().schedule(SystemTime::now(), Incident::LiveSessionsEnd);
    let signer = api.signer();
    let url = format!("{}/portfolio/accounts", server.enrolled.base_url);
    let signature = signer.authorization(&Method::GET, &url, &[]).unwrap();
    let answer = send(&server, Method::GET, &url, "", &signature);
    let refusal = signer.handle_response(signature.receipt, &Response::from(&answer)).unwrap_err();
    assert!(matches!(refusal, Error::Rejected(_)), "{refusal:?}");
    // Long before the next tickle would find out.
    let renewed = api.wait_until(|status| status.is_ready() && status.expires_at > before);
    tokio::time::timeout(Duration::from_secs(30), renewed).await.expect("it looks at once").unwrap();
}

#[tokio::test]
async fn no_other_server_and_no_other_method_is_signed_for() {
    let server = Server::start().await;
    let api = start(WebApi::builder(server.enrolled.client().without_brokerage_session()));
    soon(api.wait_until(Status::is_logged_in)).await.unwrap();
    let base_url = server.enrolled.base_url.clone();
    let foreign = SignError::ForeignUrl { base_url: base_url.clone() };
    for url in ["https://example.com/v1/api/tickle", "/tickle", &format!("{base_url}x/tickle"), &base_url] {
        assert_eq!(api.signer().authorization(&Method::GET, url, &[]).unwrap_err(), foreign, "{url}");
    }
    let url = format!("{base_url}/tickle");
    assert_eq!(api.signer().authorization(&Method::PATCH, &url, &[]).unwrap_err(), SignError::Method(Method::PATCH));
}
