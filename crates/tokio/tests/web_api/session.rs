//! A session's course: events, status, log-out, end.

use std::sync::{Arc, Mutex};

use ibkr_oauth_gateway::Consent;
use ibkr_oauth_tokio::ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth_tokio::ibkr_oauth::{self, ApiRequest, Client, OAuthSession, Phase, Snapshot};
use ibkr_oauth_tokio::{Activity, Ended, Event, NotSent, RequestError, Status, TransportError, WebApi};

use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

use crate::support::server::{Manners, Server};
use crate::support::{CONSUMER_KEY, USER, keys, soon, start};

const LOGIN: &str = "POST /oauth/live_session_token";
const ACCOUNTS: ApiRequest<'_> = ApiRequest::get("/portfolio/accounts");

#[tokio::test]
async fn events_and_status_tell_the_way_to_a_brokerage_session() {
    let server = Server::start().await;
    let (api, mut events) = WebApi::builder(server.enrolled.client()).start().unwrap();
    let mut told = Vec::new();
    loop {
        let Event::Client(event) = soon(events.next()).await.unwrap() else { panic!("all goes well here") };
        let is_ready = event == ibkr_oauth::Event::Brokerage(BrokeragePhase::Ready);
        told.push(event);
        if is_ready {
            break;
        }
    }
    let opening = ibkr_oauth::Event::Brokerage(BrokeragePhase::Opening);
    assert!(matches!(told[0], ibkr_oauth::Event::LoggedIn { .. }), "{told:?}");
    assert_eq!(told[1], opening);
    let status = api.status();
    assert_eq!(
        (status.activity, status.login, status.brokerage),
        (Activity::Running, Phase::LiveSession, BrokeragePhase::Ready)
    );
    assert!(status.expires_at.is_some());
    assert!(soon(api.wait_until(|status| status.tickled_at.is_some())).await.is_ok());
}

#[tokio::test]
async fn a_log_out_tells_the_server_and_open_logs_in_again() {
    let server = Server::start().await;
    let api = start(WebApi::builder(server.enrolled.client()));
    soon(api.wait_until(Status::is_ready)).await.unwrap();
    soon(api.log_out()).await;
    assert_eq!(server.count("POST /logout"), 1);
    let status = api.status();
    assert_eq!((status.activity, status.login), (Activity::LoggedOut, Phase::AccessToken));
    let refused = soon(api.request(&ACCOUNTS)).await.unwrap_err();
    assert!(matches!(refused, RequestError::NotSent(NotSent::LoggedOut)), "{refused:?}");
    soon(api.log_out()).await; // There is nothing left to do.

    api.open();
    soon(api.request(&ACCOUNTS)).await.unwrap();
    assert_eq!((server.count(LOGIN), server.count("POST /logout")), (2, 1));
}

#[tokio::test]
async fn two_log_outs_at_once_are_one_and_a_login_meanwhile_is_let_in() {
    let server = Server::start().await;
    let api = start(WebApi::builder(server.enrolled.client()));
    soon(api.wait_until(Status::is_ready)).await.unwrap();
    server.spoil("/logout", Manners::Late);
    let log_out = || {
        let api = api.clone();
        tokio::spawn(async move { api.log_out().await })
    };
    let first = log_out();
    soon(server.has_seen("POST /logout", 1)).await;
    let log_outs = [first, log_out()];
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(api.status().activity, Activity::LoggingOut);
    api.open();
    server.behave();
    for log_out in log_outs {
        soon(log_out).await.unwrap();
    }
    soon(api.request(&ACCOUNTS)).await.unwrap();
    assert_eq!(api.status().activity, Activity::Running);
    assert_eq!(server.count("POST /logout"), 1);
}

#[tokio::test]
async fn a_log_out_ends_what_waits_and_lets_end_what_is_under_way() {
    let server = Server::start().await;
    let api = start(WebApi::builder(server.enrolled.client().without_brokerage_session()));
    soon(api.wait_until(Status::is_logged_in)).await.unwrap();
    let answered = api.request(&ACCOUNTS);
    // Once in five seconds.
    let waiting = api.request(&ACCOUNTS);
    let answered = soon(answered).await;
    soon(api.log_out()).await;
    assert!(answered.is_ok());
    let ended = soon(waiting).await.unwrap_err();
    assert!(matches!(ended, RequestError::NotSent(NotSent::LoggedOut)), "{ended:?}");
}

#[tokio::test]
async fn an_end_tells_everybody_who_waits_whether_the_request_went_out() {
    let server = Server::start().await;
    let (api, mut events) = WebApi::builder(server.enrolled.client().without_brokerage_session()).start().unwrap();
    soon(api.wait_until(Status::is_logged_in)).await.unwrap();
    server.spoil("/portfolio/accounts", Manners::Silent);
    let under_way = api.request(&ACCOUNTS);
    let waiting = api.request(&ACCOUNTS);
    soon(server.has_seen("GET /portfolio/accounts", 1)).await;
    soon(api.shut_down()).await;
    let [under_way, waiting] = [soon(under_way).await, soon(waiting).await].map(Result::unwrap_err);
    assert!(matches!(under_way, RequestError::NoResponse(TransportError::ShutDown)), "{under_way:?}");
    assert!(matches!(waiting, RequestError::NotSent(NotSent::ShutDown)), "{waiting:?}");
    let late = soon(api.request(&ACCOUNTS)).await.unwrap_err();
    assert!(matches!(late, RequestError::NotSent(NotSent::ShutDown)), "{late:?}");
    assert_eq!(soon(api.wait_until(Status::is_ready)).await, Err(Ended));
    assert_eq!(server.count("POST /logout"), 0, "whoever has the snapshot goes on");
    drop(api);
    while soon(events.next()).await.is_some() {}
}

#[tokio::test]
async fn the_last_handle_takes_the_task_along() {
    let server = Server::start().await;
    let (api, mut events) = WebApi::builder(server.enrolled.client()).start().unwrap();
    let clone = api.clone();
    drop(api);
    soon(clone.wait_until(Status::is_ready)).await.unwrap();
    drop(clone);
    while soon(events.next()).await.is_some() {}
}

#[tokio::test]
async fn each_new_token_is_handed_out_to_be_kept_and_serves_the_next_process() {
    let server = Server::start().await;
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = |snapshot: &Snapshot| serde_json::to_vec(snapshot).unwrap();
    let keeping = Arc::clone(&kept);
    let api = WebApi::builder(server.enrolled.client());
    let api = start(api.keep_with(move |snapshot| keeping.lock().unwrap().push(keep(snapshot))));
    soon(api.request(&ACCOUNTS)).await.unwrap();
    soon(api.shut_down()).await;
    let kept = kept.lock().unwrap().clone();
    assert_eq!(kept.len(), 1);

    let snapshot: Snapshot = serde_json::from_slice(&kept[0]).unwrap();
    let consumer = server.enrolled.session().consumer().clone();
    let client = Client::resume(consumer, &snapshot, std::time::SystemTime::now().into()).unwrap();
    let api = start(WebApi::builder(client));
    soon(api.request(&ACCOUNTS)).await.unwrap();
    assert_eq!(server.count(LOGIN), 1);
}

#[tokio::test]
async fn events_come_as_a_stream_too_and_tell_how_many_were_missed() {
    use futures_util::StreamExt;
    let server = Server::start().await;
    let (api, events) = WebApi::builder(server.enrolled.client()).start().unwrap();
    soon(api.wait_until(Status::is_logged_in)).await.unwrap();
    drop(api);
    let all: Vec<_> = soon(events.into_stream().collect()).await;
    assert!(matches!(all[0], Event::Client(ibkr_oauth::Event::LoggedIn { .. })), "{all:?}");
}

#[tokio::test]
async fn a_third_party_stores_the_access_token_of_a_consent_before_it_goes_on() {
    let server = Server::start().await;
    server.gateway().register_consumer(&keys().registration(CONSUMER_KEY, Some("http://localhost:20000/"))).unwrap();
    let session = OAuthSession::new(server.enrolled.session().consumer().clone());
    let (kept, seen) = (Arc::new(Mutex::new(Vec::new())), server.record());
    let keeping = Arc::clone(&kept);
    let keep = move |snapshot: &Snapshot| {
        let logins = seen.lock().unwrap().iter().filter(|line| *line == LOGIN).count();
        keeping.lock().unwrap().push((serde_json::to_string(snapshot).unwrap(), logins));
    };
    let client = Client::new(session).without_brokerage_session();
    let (api, mut events) = WebApi::builder(client).keep_with(keep).start().unwrap();
    let url = match soon(events.next()).await {
        Some(Event::Client(ibkr_oauth::Event::ConsentNeeded { url })) => url,
        other => panic!("{other:?}"),
    };
    let (_, request_token) = url.as_str().split_once("oauth_token=").unwrap();
    let consent = server.gateway().consent(request_token, USER, Consent::Grant, &mut UnwrapErr(SysRng));
    assert!(api.handle_callback("http://localhost:20000/?nothing").is_err());
    api.handle_callback(&consent.unwrap()).unwrap();
    soon(api.request(&ACCOUNTS)).await.unwrap();

    let token = api.access_token().unwrap();
    let kept = kept.lock().unwrap();
    let logins: Vec<_> = kept.iter().map(|(_, logins)| *logins).collect();
    assert_eq!(logins, [0, 1], "the access token was kept before it was used");
    assert!(kept[0].0.contains(token.token()));
}
