//! What goes wrong on the way mends itself.

use std::time::{Duration, SystemTime};

use ibkr_oauth_gateway::Incident;
use ibkr_oauth_tokio::ibkr_oauth::ApiRequest;
use ibkr_oauth_tokio::{Event, Limits, Status, TransportError, WebApi};

use crate::support::server::{Manners, Server};
use crate::support::{soon, start};

const LOGIN: &str = "POST /oauth/live_session_token";
const IN_BROKERAGE: ApiRequest<'_> = ApiRequest::get("/iserver/accounts");

#[tokio::test]
async fn a_server_that_was_away_is_found_again() {
    let mut server = Server::start().await;
    let (api, mut events) = WebApi::builder(server.enrolled.client()).start().unwrap();
    soon(api.wait_until(Status::is_ready)).await.unwrap();
    server.stop().await;
    api.doubt();
    loop {
        if let Event::NoResponse(TransportError::Connect(cause)) = soon(events.next()).await.unwrap() {
            assert!(cause.contains("refused"), "{cause}");
            break;
        }
        api.doubt();
    }
    server.restart().await;
    soon(api.request(&IN_BROKERAGE)).await.unwrap();
    assert_eq!(server.count(LOGIN), 1, "nothing was wrong with the token");
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let mut server = Server::start().await;
    server.stop().await;
    let (api, mut events) = WebApi::builder(server.enrolled.client()).start().unwrap();
    let request = api.request(&IN_BROKERAGE);
    assert!(matches!(soon(events.next()).await, Some(Event::NoResponse(TransportError::Connect(_)))));
    server.restart().await;
    soon(request).await.unwrap();
}

#[tokio::test]
async fn a_dead_token_is_replaced_and_the_request_that_found_out_is_answered() {
    let server = Server::start().await;
    let api = start(WebApi::builder(server.enrolled.client()));
    soon(api.wait_until(Status::is_ready)).await.unwrap();
    let before = api.status();
    server.gateway().schedule(SystemTime::now(), Incident::LiveSessionsEnd);
    soon(api.request(&IN_BROKERAGE)).await.unwrap();
    assert_eq!(server.count(LOGIN), 2);
    assert!(api.status().expires_at > before.expires_at);
}

#[tokio::test]
async fn a_login_that_is_not_answered_is_tried_again() {
    let server = Server::start().await;
    server.spoil("/oauth/live_session_token", Manners::Silent);
    let limits = Limits { head: Duration::from_millis(300), ..Limits::default() };
    let (api, mut events) = WebApi::builder(server.enrolled.client()).limits(limits).start().unwrap();
    assert_eq!(soon(events.next()).await, Some(Event::NoResponse(TransportError::HeadTimeout(limits.head))));
    server.behave();
    soon(api.wait_until(Status::is_logged_in)).await.unwrap();
    assert_eq!(server.count(LOGIN), 2);
}

#[tokio::test]
async fn a_429_stops_everything_and_the_status_says_until_when() {
    let server = Server::start().await;
    let api = start(WebApi::builder(server.enrolled.client()));
    soon(api.wait_until(Status::is_ready)).await.unwrap();
    assert_eq!(api.status().penalty_ends_at, None);
    let lasts = Duration::from_secs(60);
    server.gateway().schedule(SystemTime::now(), Incident::TooManyRequests { lasts });
    let error = soon(api.request(&IN_BROKERAGE)).await.unwrap_err();
    assert_eq!(error.into_response().unwrap().status(), 429);
    assert!(api.status().penalty_ends_at.is_some());
    let asked = server.seen().len();
    drop(api.request(&IN_BROKERAGE));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.seen().len(), asked);
}
