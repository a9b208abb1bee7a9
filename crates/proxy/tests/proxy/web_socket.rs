//! WebSockets of clients.

use futures_util::{SinkExt, StreamExt};
use ibkr_oauth_proxy::Options;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::{World, plain, soon, until};

const PRICES: &str = r#"smd+265598+{"fields":["31","84"]}"#;

type Socket = WebSocketStream<TcpStream>;

async fn open(world: &World, headers: &[(&'static str, &str)]) -> Result<Socket, String> {
    let mut request = "ws://localhost:5000/v1/api/ws".into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let opened = client_async(request, world.connect().await).await;
    opened.map(|(socket, _)| socket).map_err(|error| error.to_string())
}

/// The next message with these words in it.
async fn hear(socket: &mut Socket, words: &str) -> String {
    soon(async {
        loop {
            let message = socket.next().await.expect("the WebSocket is closed").unwrap();
            if let Ok(text) = message.to_text()
                && text.contains(words)
            {
                return text.to_owned();
            }
        }
    })
    .await
}

#[tokio::test]
async fn prices_come_and_come_again_after_a_loss() {
    let world = World::start().await;
    let mut socket = open(&world, &[("Cookie", "api=old")]).await.unwrap();
    hear(&mut socket, "sts").await;
    socket.send(Message::text(r#"{"session":"old"}"#)).await.unwrap();
    socket.send(Message::text(PRICES)).await.unwrap();
    socket.send(Message::text("sor+{}")).await.unwrap();
    hear(&mut socket, "smd+265598").await;
    until(|| world.relay.count("<sor+{}>") == 1).await;

    world.relay.cut();
    hear(&mut socket, "smd+265598").await;
    until(|| world.relay.count("<sor+{}>") == 2).await;
    socket.send(Message::text("umd+265598+{}")).await.unwrap();
    until(|| world.relay.count("<umd+265598+{}>") == 1).await;
    let seen = world.relay.seen();
    assert_eq!(seen.matches(&format!("<{PRICES}>")).count(), 2);
    assert!(!seen.contains("api=old") && !seen.contains("\"old\""), "a client's session id stays here");
}

#[tokio::test]
async fn metrics_tell_what_becomes_of_the_web_sockets_to_ibkr() {
    let world = World::start().await;
    let (mut socket, mut idle) = (open(&world, &[]).await.unwrap(), open(&world, &[]).await.unwrap());
    for message in [PRICES, "sor+{}"] {
        socket.send(Message::text(message)).await.unwrap();
    }
    hear(&mut socket, "smd+265598").await;
    hear(&mut idle, "sts").await;
    until(|| world.relay.count("<sor+{}>") == 1).await;
    const OPEN: [&str; 4] = [
        "upstream_web_sockets{state=\"open\"} 2",
        "upstream_web_sockets{state=\"opening\"} 0",
        "subscriptions 2",
        "brokerage_session{phase=\"ready\"} 1",
    ];
    world
        .told([&OPEN[..], &["upstream_web_sockets_lost_total 0", "brokerage_session{phase=\"missing\"} 0"]].concat())
        .await;

    world.relay.hold(true);
    world.relay.cut();
    world.told(["upstream_web_sockets{state=\"open\"} 0", "upstream_web_sockets{state=\"opening\"} 2"]).await;
    world.told(["upstream_web_sockets_lost_total 2", "upstream_web_sockets_renewed_total 0", "subscriptions 2"]).await;
    world.relay.hold(false);
    world
        .told([&OPEN[..], &["upstream_web_sockets_lost_total 2", "upstream_web_sockets_renewed_total 2"]].concat())
        .await;
    drop(socket);
    world.told(["upstream_web_sockets{state=\"open\"} 1", "subscriptions 0", "web_sockets 1"]).await;
}

#[tokio::test]
async fn each_client_has_a_connection_of_its_own() {
    let mut world = World::start().await;
    let (mut one, mut other) = (open(&world, &[]).await.unwrap(), open(&world, &[]).await.unwrap());
    one.send(Message::text(PRICES)).await.unwrap();
    hear(&mut one, "smd+265598").await;
    other.send(Message::text(PRICES.replace("265598", "8314"))).await.unwrap();
    let first = hear(&mut other, "smd+").await;
    assert!(first.contains("smd+8314"), "{first}");
    assert_eq!(world.relay.count("GET /v1/api/ws?oauth_token="), 2);
    world.told(["web_sockets 2"]).await;
    drop(other);
    world.told(["web_sockets 1"]).await;

    world.stop().await;
    let last = soon(async {
        while let Some(Ok(message)) = one.next().await {
            if let Message::Close(frame) = message {
                return frame.map(|frame| frame.reason.to_string());
            }
        }
        None
    })
    .await;
    assert_eq!(last.as_deref(), Some("the proxy stops"));
}

#[tokio::test]
async fn who_may_not_ask_may_not_listen() {
    let world = World::start().await;
    for header in [("Origin", "https://evil.example"), ("Host", "evil.example"), ("Sec-Fetch-Site", "cross-site")] {
        let refused = open(&world, &[header]).await.unwrap_err();
        assert!(refused.contains("403"), "{refused}");
    }
    assert!(open(&world, &[("Origin", "https://localhost:5000")]).await.is_ok());
}

#[tokio::test]
async fn who_only_reads_says_nothing_else() {
    let world = World::with(Options { read_only: true, ..plain() }, |client| client).await;
    let mut socket = open(&world, &[]).await.unwrap();
    hear(&mut socket, "sts").await;
    for message in ["oplaceorder+{}", PRICES] {
        socket.send(Message::text(message)).await.unwrap();
    }
    hear(&mut socket, "smd+265598").await;
    assert_eq!(world.relay.count("oplaceorder"), 0);
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_connection() {
    let world = World::start().await;
    let mut socket = open(&world, &[]).await.unwrap();
    let _ = socket.send(Message::text("x".repeat(100_000))).await;
    soon(async { while let Some(Ok(_)) = socket.next().await {} }).await;
    assert_eq!(world.relay.count("xxxx"), 0);
}
