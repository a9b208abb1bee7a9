//! What must not get through, and who must not get in the way.

use std::time::Duration;

use ibkr_oauth_proxy::{BearerToken, Limits, Listen, Options, Tls};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::time::sleep;

use super::forwarding::{ORDER, ORDERS};
use crate::support::{World, plain, request, until};

/// What an attacker would like to do.
const LOGOUT: &str = "/v1/api/logout";

#[tokio::test]
async fn web_pages_from_elsewhere_are_refused() {
    let world = World::start().await;
    for header in [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://localhost:3000"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Host", "evil.example"),
        ("Host", "evil.example:5000"),
        ("Host", "localhost.evil.example"),
    ] {
        for (method, path, body) in
            [("GET", LOGOUT, ""), ("POST", ORDERS, ORDER), ("OPTIONS", ORDERS, ""), ("GET", "/metrics", "")]
        {
            let reply = world.ask(method, path, &[header], body).await;
            assert_eq!((reply.status, reply.mark()), (403, Some("refused")), "{header:?} {path}");
            assert_eq!(reply.header("access-control-allow-origin"), None);
        }
    }
    assert_eq!(world.relay.count("/logout") + world.relay.count(ORDERS), 0);
    assert_eq!(world.ask("OPTIONS", ORDERS, &[], "").await.status, 405);
    let own = [("Host", "localhost:5000"), ("Origin", "https://localhost:5000"), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(world.ask("GET", "/v1/api/iserver/accounts", &own, "").await.status, 200);
}

#[tokio::test]
async fn nothing_but_the_api_is_reached_and_logins_are_not() {
    let world = World::start().await;
    let logins = world.relay.count("/oauth/");
    for (path, status) in [
        ("/", 404),
        ("/sso/Login", 404),
        ("/v1/api", 404),
        ("/oauth/live_session_token", 404),
        ("/v1/api/oauth/live_session_token", 403),
        ("/v1/portal/oauth/live_session_token", 403),
        ("/v1/api/OAUTH/live_session_token", 403),
        ("/v1/api/x/../oauth/live_session_token", 400),
        ("/v1/api/%6fauth/live_session_token", 400),
        ("/v1/api//oauth/live_session_token", 400),
        ("/v1/api/..%2f..%2fadmin", 400),
        ("http://localhost:5000/v1/api/oauth/x", 403),
        ("http://evil.example/v1/api/tickle", 400),
    ] {
        let reply = world.ask("POST", path, &[], "").await;
        assert_eq!((reply.status, reply.mark()), (status, Some("refused")), "{path}");
    }
    assert_eq!(world.relay.count("/oauth/"), logins);
    let signed = world.get("/v1/api/portfolio/accounts?oauth_token=x").await;
    assert_eq!((signed.status, signed.mark()), (400, Some("refused")), "{signed:?}");
}

#[tokio::test]
async fn nothing_is_smuggled_behind_a_body_of_unclear_length() {
    let world = World::start().await;
    let smuggled = "POST /v1/api/logout HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let say = async |lengths: &str| {
        let words = format!("POST {ORDERS} HTTP/1.1\r\nHost: localhost\r\n{lengths}\r\n\r\n0\r\n\r\n{smuggled}");
        let reply = world.say(&words).await;
        assert!(matches!(reply.status, 0 | 400), "{lengths}: {reply:?}");
        assert!(!reply.body.contains("HTTP/1.1"), "one answer, and the connection ends: {reply:?}");
    };
    for lengths in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\x0bchunked",
        "X: y\nTransfer-Encoding: chunked\r\n Content-Length: 5",
    ] {
        say(lengths).await;
    }
    assert_eq!(world.relay.count(ORDERS), 0);
    // Chunks go first; and then the connection ends (RFC 9112 section 6.1).
    say("Content-Length: 5\r\nTransfer-Encoding: chunked").await;
    say("Transfer-Encoding: chunked\r\nContent-Length: 5").await;
    assert_eq!(world.relay.count("/logout") + world.relay.count("chunked"), 0);
}

#[tokio::test]
async fn everything_has_a_largest_size() {
    let limits =
        Limits { body: 1000, headers: 20, head: 8 << 10, body_time: Duration::from_millis(500), ..Limits::default() };
    let world = World::with(Options { limits, ..plain() }, |client| client).await;
    let long = "x".repeat(20_000);
    assert_eq!(world.post(ORDERS, &long).await.status, 413);
    let chunked =
        format!("POST {ORDERS} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunks = format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    assert_eq!(world.say(&(chunked.clone() + &chunks)).await.status, 413);
    assert_eq!(world.say(&(chunked + "5\r\nab")).await.status, 408, "a body that does not go on");
    assert!(matches!(world.ask("GET", "/v1/api/x", &[("X", &long)], "").await.status, 0 | 431));
    assert!(matches!(world.get(&format!("/v1/api/{long}")).await.status, 0 | 414 | 431));
    let many = [("A", "b"); 30];
    assert!(matches!(world.ask("GET", "/v1/api/x", &many, "").await.status, 0 | 431));
    assert_eq!(world.relay.count(ORDERS) + world.relay.count("xxxx"), 0);
    assert_eq!(world.get("/v1/api/iserver/accounts").await.status, 200);
}

#[tokio::test]
async fn a_token_is_asked_for_everywhere() {
    let token = BearerToken::new("a-very-secret-token").unwrap();
    let world = World::with(Options { bearer_token: Some(token), ..plain() }, |client| client).await;
    for path in ["/v1/api/iserver/accounts", "/metrics", "/healthz", "/v1/api/ws", "/"] {
        assert_eq!(world.get(path).await.status, 401, "{path}");
        let wrong = [("Authorization", "Bearer a-very-secret-tokeX")];
        assert_eq!(world.ask("GET", path, &wrong, "").await.status, 401, "{path}");
    }
    let right = [("Authorization", "Bearer a-very-secret-token")];
    assert_eq!(world.ask("GET", "/v1/api/iserver/accounts", &right, "").await.status, 200);
    assert_eq!(world.relay.count("a-very-secret"), 0);
}

#[tokio::test]
async fn who_only_reads_cannot_trade_by_any_spelling() {
    let world = World::with(Options { read_only: true, ..plain() }, |client| client).await;
    for (method, path) in [
        ("POST", ORDERS),
        ("POST", "/v1/portal/iserver/account/DU1234567/orders"),
        ("POST", "/v1/api/iserver/account/DU1234567/orders/"),
        ("DELETE", "/v1/api/iserver/account/DU1234567/order/1"),
        ("PUT", "/v1/api/fyi/deliveryoptions/email"),
        ("POST", "/v1/api/iserver/reply/1"),
        ("GET", LOGOUT),
        ("POST", LOGOUT),
        ("GET", "/v1/api/something/new"),
    ] {
        let reply = world.ask(method, path, &[], ORDER).await;
        assert_eq!((reply.status, reply.mark()), (403, Some("refused")), "{method} {path}");
    }
    let encoded = world.post("/v1/api/iserver/account/DU1234567/%6frders", ORDER).await;
    assert_eq!(encoded.status, 400, "{encoded:?}");
    let orders = world.get("/v1/api/iserver/account/orders").await;
    assert_eq!((orders.status, orders.body.matches("orderId").count()), (200, 0), "{orders:?}");
    assert_eq!(world.relay.count("POST /v1/api/iserver/account") + world.relay.count("/logout"), 0);
}

#[tokio::test]
async fn slow_clients_keep_nobody_out() {
    let limits = Limits { connections: 50, ..Limits::default() };
    let world = World::with(Options { limits, ..plain() }, |client| client).await;
    let mut slow = Vec::new();
    let beginnings = [
        "",
        "GET /v1/api/x HTTP/1.1\r\nHost: loc",
        "POST /v1/api/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx",
    ];
    for turn in 0..300 {
        let mut stream = world.connect().await;
        let _ = stream.write_all(beginnings[turn % 3].as_bytes()).await;
        slow.push(stream);
        if turn % 100 == 99 {
            assert_eq!(world.get("/v1/api/iserver/accounts").await.status, 200, "after {turn} slow clients");
        }
    }
    let metrics = world.get("/metrics").await;
    let connections = metrics.body.lines().find_map(|line| line.strip_prefix("ibkr_oauth_proxy_connections "));
    assert!(connections.unwrap().parse::<u32>().unwrap() <= 50, "{metrics:?}");
}

#[tokio::test]
async fn a_flood_of_connections_does_not_disturb_an_order_under_way() {
    let limits = Limits { connections: 5, ..Limits::default() };
    let world = World::with(Options { limits, ..plain() }, |client| client).await;
    world.relay.hold(true);
    let mut stream = world.connect().await;
    stream.write_all(request("POST", ORDERS, &[], ORDER).as_bytes()).await.unwrap();
    until(|| world.relay.count(ORDERS) == 1).await;
    let mut flood = Vec::new();
    for _ in 0..50 {
        flood.push(world.connect().await);
    }
    sleep(Duration::from_millis(200)).await;
    world.relay.hold(false);
    let reply = crate::support::converse(stream, "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn who_sends_no_request_is_disconnected() {
    let limits = Limits { head_time: Duration::from_millis(300), ..Limits::default() };
    let world = World::with(Options { limits, ..plain() }, |client| client).await;
    for beginning in ["", "GET /v1/api/x HTTP/1.1\r\nHost: loc"] {
        let reply = world.say(beginning).await;
        assert!(matches!(reply.status, 0 | 408), "{reply:?}");
    }
}

#[tokio::test]
async fn who_begins_no_handshake_is_disconnected() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { handshake_time: Duration::from_millis(300), ..Limits::default() };
    let listen = Listen::Tcp { address: ([127, 0, 0, 1], 0).into(), tls: Tls::SelfSigned(folder.path().into()) };
    let world = World::with(Options { limits, ..Options::new(listen) }, |client| client).await;
    for beginning in ["", "\x16\x03\x01"] {
        assert_eq!(world.say(beginning).await.status, 0);
    }
}

#[tokio::test]
async fn who_does_not_read_is_disconnected() {
    let limits = Limits { write_time: Duration::from_millis(300), ..Limits::default() };
    let world = World::with(Options { limits, ..plain() }, |client| client).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = socket.connect(world.address).await.unwrap();
    // More than fits between the two.
    let questions = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(4000);
    let _ = deaf.write_all(questions.as_bytes()).await;
    world.told(["connections 1"]).await;
}
