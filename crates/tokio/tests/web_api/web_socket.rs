//! The WebSocket: prices go on whatever happens.

use std::time::{Duration, SystemTime};

use ibkr_oauth_gateway::Incident;
use ibkr_oauth_tokio::ibkr_oauth::ApiRequest;
use ibkr_oauth_tokio::{Ended, Status, WebApi, WebSocket, WebSocketEvent};
use serde_json::Value;

use crate::support::server::Server;
use crate::support::{soon, start};

const PRICES: &str = r#"smd+265598+{"fields":["31"]}"#;
const OTHER_PRICES: &str = r#"smd+8314+{"fields":["31"]}"#;

/// Waits for what fits, and returns it.
async fn until(socket: &mut WebSocket, fits: impl Fn(&WebSocketEvent) -> bool) -> WebSocketEvent {
    loop {
        let event = soon(socket.next()).await.expect("it goes on");
        if fits(&event) {
            return event;
        }
    }
}

async fn price_of(socket: &mut WebSocket, contract: &str) {
    let topic = format!("smd+{contract}");
    let is_price = |event: &WebSocketEvent| {
        let message: Value = event.text().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        message["topic"] == topic
    };
    until(socket, is_price).await;
}

fn is_closed(event: &WebSocketEvent) -> bool {
    matches!(event, WebSocketEvent::Closed { .. })
}

#[tokio::test]
async fn prices_come_also_if_they_were_asked_for_before_the_login() {
    let server = Server::start().await;
    let api = start(WebApi::builder(server.enrolled.client()));
    let mut socket = api.web_socket();
    soon(socket.send(PRICES)).await.unwrap();
    assert_eq!(soon(socket.next()).await, Some(WebSocketEvent::Opened));
    price_of(&mut socket, "265598").await;
    soon(server.has_seen("tic", 1)).await;
}

#[tokio::test]
async fn prices_come_over_tls() {
    let (server, trust) = Server::start_tls().await;
    let api = start(WebApi::builder(server.enrolled.client()).tls_config(trust));
    let mut socket = api.web_socket();
    soon(socket.send(PRICES)).await.unwrap();
    price_of(&mut socket, "265598").await;
}

#[tokio::test]
async fn after_a_loss_all_subscriptions_in_force_are_repeated_and_no_other() {
    let server = Server::start().await;
    let api = start(WebApi::builder(server.enrolled.client()));
    let mut socket = api.web_socket();
    for message in [PRICES, OTHER_PRICES, "sor+{}"] {
        soon(socket.send(message)).await.unwrap();
    }
    soon(server.has_seen("sor+{}", 1)).await;
    soon(socket.send("umd+8314+{}")).await.unwrap();
    soon(server.has_seen("umd+8314+{}", 1)).await;

    server.kick_web_sockets();
    until(&mut socket, is_closed).await;
    until(&mut socket, |event| *event == WebSocketEvent::Opened).await;
    price_of(&mut socket, "265598").await;
    soon(server.has_seen("sor+{}", 2)).await;
    assert_eq!((server.count(PRICES), server.count(OTHER_PRICES), server.count("umd+8314+{}")), (2, 1, 1));
    assert_eq!(server.count("GET /ws"), 2);
}

#[tokio::test]
async fn the_status_tells_what_becomes_of_web_sockets() {
    let mut server = Server::start().await;
    let api = start(WebApi::builder(server.enrolled.client()));
    let counts = |status: &Status| {
        let all = status.web_sockets;
        (all.open, all.opening, all.lost, all.renewed, all.subscriptions)
    };
    let come_to = |expected| api.wait_until(move |status| counts(status) == expected);
    let (mut socket, _other) = (api.web_socket(), api.web_socket());
    assert_eq!(counts(&api.status()), (0, 2, 0, 0, 0), "nobody is logged in yet");
    for message in [PRICES, OTHER_PRICES, PRICES, "tic", "umd+8314+{}"] {
        soon(socket.send(message)).await.unwrap();
    }
    soon(come_to((2, 0, 0, 0, 1))).await.unwrap();
    server.stop().await;
    server.kick_web_sockets();
    soon(come_to((0, 2, 2, 0, 1))).await.unwrap();
    for _ in 0..2 {
        until(&mut socket, is_closed).await;
    }
    assert_eq!(counts(&api.status()), (0, 2, 2, 0, 1), "what does not open is not lost again");
    server.restart().await;
    soon(come_to((2, 0, 2, 2, 1))).await.unwrap();
    drop(socket);
    soon(come_to((1, 0, 2, 2, 0))).await.unwrap();
    soon(api.shut_down()).await;
}

#[tokio::test]
async fn a_new_login_opens_it_anew_with_the_new_session() {
    let server = Server::start().await;
    let api = start(WebApi::builder(server.enrolled.client()));
    let mut socket = api.web_socket();
    soon(socket.send(PRICES)).await.unwrap();
    price_of(&mut socket, "265598").await;
    server.gateway().schedule(SystemTime::now(), Incident::LiveSessionsEnd);
    soon(api.request(&ApiRequest::get("/iserver/accounts"))).await.unwrap();
    let closed = until(&mut socket, is_closed).await;
    assert_eq!(closed, WebSocketEvent::Closed { reason: "the session behind it is another one".into() });
    price_of(&mut socket, "265598").await;
}

#[tokio::test]
async fn a_lost_brokerage_session_is_heard_of_and_prices_come_back() {
    let server = Server::start().await;
    let api = start(WebApi::builder(server.enrolled.client()));
    let mut socket = api.web_socket();
    soon(socket.send(PRICES)).await.unwrap();
    price_of(&mut socket, "265598").await;
    soon(api.wait_until(Status::is_ready)).await.unwrap();
    server.gateway().schedule(SystemTime::now(), Incident::NightlyReset);
    // The server answers that there is no brokerage session.
    let tickles = server.count("POST /tickle");
    soon(socket.send(OTHER_PRICES)).await.unwrap();
    soon(server.has_seen("POST /iserver/auth/ssodh/init", 2)).await;
    assert_eq!(server.count("POST /tickle"), tickles, "no tickle had to find out");
    soon(api.wait_until(Status::is_ready)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_was_away_is_found_again() {
    let mut server = Server::start().await;
    let api = start(WebApi::builder(server.enrolled.client()));
    let mut socket = api.web_socket();
    soon(socket.send(PRICES)).await.unwrap();
    price_of(&mut socket, "265598").await;
    server.stop().await;
    server.kick_web_sockets();
    until(&mut socket, is_closed).await;
    let refused = until(&mut socket, is_closed).await;
    assert!(format!("{refused:?}").contains("no connection"), "{refused:?}");
    server.restart().await;
    price_of(&mut socket, "265598").await;
}

#[tokio::test]
async fn there_may_be_several_and_each_has_its_own_subscriptions() {
    let server = Server::start().await;
    let api = start(WebApi::builder(server.enrolled.client()));
    let (mut one, mut other) = (api.web_socket(), api.web_socket());
    soon(one.send(PRICES)).await.unwrap();
    soon(other.sender().send(OTHER_PRICES)).await.unwrap();
    price_of(&mut one, "265598").await;
    price_of(&mut other, "8314").await;
    assert_eq!(server.count("GET /ws"), 2);
}

#[tokio::test]
async fn a_reader_that_sleeps_holds_nobody_up_and_misses_nothing() {
    let server = Server::start().await;
    let api = start(WebApi::builder(server.enrolled.client()));
    let mut socket = api.web_socket();
    soon(socket.send(PRICES)).await.unwrap();
    price_of(&mut socket, "265598").await;
    for number in 0..2000 {
        soon(socket.send(format!(r#"smd+{number}+{{"fields":["31"]}}"#))).await.unwrap();
        soon(socket.send(format!("umd+{number}+{{}}"))).await.unwrap();
        soon(socket.send("tic")).await.unwrap();
    }
    let mut tics = 0;
    while tics < 2000 {
        until(&mut socket, |event| event.text() == Some("tic")).await;
        tics += 1;
    }
    soon(api.request(&ApiRequest::get("/iserver/accounts"))).await.unwrap();
}

#[tokio::test]
async fn it_ends_with_the_client_and_a_log_out_closes_it() {
    let server = Server::start().await;
    let api = start(WebApi::builder(server.enrolled.client()));
    let mut socket = api.web_socket();
    until(&mut socket, |event| *event == WebSocketEvent::Opened).await;
    soon(api.log_out()).await;
    until(&mut socket, is_closed).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    soon(api.shut_down()).await;
    while soon(socket.next()).await.is_some() {}
    assert_eq!(soon(socket.send(PRICES)).await, Err(Ended));
}
