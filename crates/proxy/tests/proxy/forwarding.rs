//! Requests go through as they are, and answers come back as they are.

use std::time::{Duration, SystemTime};

use ibkr_oauth_gateway::Incident;
use ibkr_oauth_proxy::ibkr_oauth_tokio::Event;
use ibkr_oauth_proxy::ibkr_oauth_tokio::ibkr_oauth::{self, Pacing};
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

use crate::support::enrolled::ACCOUNT;
use crate::support::{PATIENCE, Reply, World, converse, plain, request, soon, until};

pub const ORDERS: &str = "/v1/api/iserver/account/DU1234567/orders";
const LOGIN: &str = "POST /v1/api/oauth/live_session_token ";
pub const ORDER: &str = r#"{"orders":[{"conid":265598,"orderType":"MKT","side":"BUY","tif":"DAY","quantity":1}]}"#;

#[tokio::test]
async fn answers_of_ibkr_come_back_as_they_are() {
    let world = World::start().await;
    for path in ["/v1/api/iserver/accounts", "/v1/portal/iserver/accounts", "/v1/api/portfolio/accounts"] {
        let reply = world.get(path).await;
        assert_eq!((reply.status, reply.mark()), (200, None), "{reply:?}");
        assert!(reply.body.contains(ACCOUNT), "{reply:?}");
        assert!(reply.header("content-type").unwrap().starts_with("application/json"));
    }
    let unknown = world.get("/v1/api/no/such/thing").await;
    assert_eq!((unknown.status, unknown.mark()), (404, None), "{unknown:?}");
    assert_eq!(world.relay.count("GET /v1/api/iserver/accounts HTTP/1.1"), 3, "portal is api, and login asks once");
}

#[tokio::test]
async fn query_and_body_go_out_byte_for_byte() {
    let world = World::start().await;
    let query = "fields=31,84&conids=265598%2c8314&&x=a+b%20%7E|{'y'}&flag";
    let reply = world.get(&format!("/v1/api/iserver/marketdata/snapshot?{query}")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.body.contains("265598") && reply.body.contains("8314"), "{reply:?}");
    assert_eq!(world.relay.count(&format!("GET /v1/api/iserver/marketdata/snapshot?{query} HTTP/1.1\r\n")), 1);

    let body = "{ \"odd\" :\t[1,\n2] }";
    world.ask("POST", "/v1/api/pa/performance", &[("Content-Type", "text/x-odd; q=1")], body).await;
    let seen = world.relay.seen().to_ascii_lowercase();
    assert!(seen.contains("content-type: text/x-odd; q=1\r\n") && seen.contains(body), "{seen}");

    let form = [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")];
    let placed = world.ask("POST", "/v1/api/iserver/auth/status", &form, "").await;
    assert_eq!(placed.status, 200, "{placed:?}");
}

#[tokio::test]
async fn orders_are_placed_listed_and_cancelled() {
    let world = World::start().await;
    let placed = world.post(ORDERS, ORDER).await;
    assert_eq!((placed.status, placed.mark()), (200, None), "{placed:?}");
    assert!(placed.body.contains("Filled"), "{placed:?}");
    let far_off = ORDER.replace("MKT\"", "LMT\",\"price\":1");
    let question = world.post(ORDERS, &far_off).await;
    let id = question.body.split('"').nth(3).unwrap().to_owned();
    let working = world.post(&format!("/v1/api/iserver/reply/{id}"), r#"{"confirmed":true}"#).await;
    assert!(working.body.contains("Submitted"), "{question:?} {working:?}");
    let id = working.body.split("order_id\":\"").nth(1).unwrap().split('"').next().unwrap();
    let path = format!("/v1/api/iserver/account/{ACCOUNT}/order/{id}");
    assert_eq!(world.ask("DELETE", &path, &[], "").await.status, 200);
}

#[tokio::test]
async fn nothing_of_the_clients_headers_goes_out() {
    let world = World::start().await;
    let headers = [
        ("Authorization", "Bearer canary"),
        ("Cookie", "api=canary"),
        ("X-Forwarded-For", "canary"),
        ("Forwarded", "for=canary"),
        ("Via", "canary"),
        ("User-Agent", "canary"),
        ("Proxy-Authorization", "canary"),
        ("X-HTTP-Method-Override", "canary"),
        ("TE", "canary"),
        ("X-Hop", "canary"),
        ("Referer", "https://canary"),
    ];
    let reply = world.ask("GET", "/v1/api/portfolio/accounts", &headers, "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(world.relay.count("canary"), 0, "{}", world.relay.seen());
    assert_eq!(reply.header("set-cookie"), None);
}

#[tokio::test]
async fn a_refusal_of_ibkr_is_passed_on_and_counted() {
    let world = World::start().await;
    let reply = world.post(ORDERS, "{}").await;
    assert_eq!((reply.status, reply.mark()), (400, None), "{reply:?}");
    let metrics = world.get("/metrics").await;
    assert!(
        metrics.body.contains("ibkr_oauth_proxy_rejections_total{diagnosis=\"MalformedRequest\"} 1\n"),
        "{metrics:?}"
    );
    assert!(metrics.body.contains("ibkr_oauth_proxy_answers_total{status=\"400\"} 1\n"), "{metrics:?}");
    assert!(metrics.body.contains("ibkr_oauth_proxy_ready 1\n"), "{metrics:?}");
    assert_eq!(metrics.mark(), Some("answered"));
}

#[tokio::test]
async fn after_too_many_requests_clients_are_told_how_long_to_wait() {
    let world = World::start().await;
    world.server.gateway().schedule(SystemTime::now(), Incident::TooManyRequests { lasts: Duration::MAX });
    let first = world.post(ORDERS, ORDER).await;
    assert_eq!((first.status, first.mark()), (429, None), "{first:?}");
    let asked = world.relay.count(ORDERS);
    let second = world.post(ORDERS, ORDER).await;
    assert_eq!((second.status, second.mark()), (429, Some("not-sent")), "{second:?}");
    let wait: u64 = second.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=901).contains(&wait), "{wait}");
    assert_eq!(world.relay.count(ORDERS), asked, "nothing went out");
    assert_eq!(world.get("/healthz").await.status, 200);
}

/// Asks until the answer says that it is in vain for so many seconds.
async fn told_in_vain(world: &World, path: &str, seconds: u64) -> Reply {
    soon(async {
        loop {
            let reply = world.get(path).await;
            assert_eq!(reply.mark(), Some("not-sent"), "{reply:?}");
            let retry_after: u64 = reply.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=901).contains(&retry_after), "{reply:?}");
            if retry_after > seconds {
                return reply;
            }
        }
    })
    .await
}

#[tokio::test]
async fn who_would_wait_in_vain_for_a_login_is_told_at_once() {
    let world = World::with(plain(), |client| client.with_request_deadline(Duration::from_secs(5))).await;
    world.post("/v1/api/logout", "").await;
    world.server.gateway().schedule(SystemTime::now(), Incident::Outage { lasts: Duration::MAX });
    let logins = world.relay.count(LOGIN);
    let reply = told_in_vain(&world, "/v1/api/portfolio/accounts", 5).await;
    assert!(reply.status == 503 && reply.body.contains("not logged in"), "{reply:?}");
    assert_eq!((world.relay.count(LOGIN), world.relay.count("GET /v1/api/portfolio/accounts")), (logins + 1, 0));
}

#[tokio::test]
async fn who_would_wait_in_vain_for_a_brokerage_session_is_told_at_once() {
    let world = World::with(plain(), |client| client.with_request_deadline(Duration::from_secs(4))).await;
    world.server.gateway().schedule(SystemTime::now(), Incident::NoBrokerageSessions { lasts: Duration::MAX });
    world.server.gateway().schedule(SystemTime::now(), Incident::NightlyReset);
    world.api.doubt();
    soon(world.api.wait_until(|status| !status.is_ready())).await.unwrap();
    let reply = told_in_vain(&world, "/v1/api/iserver/account/orders", 4).await;
    assert!(reply.status == 503 && reply.body.contains("no brokerage session"), "{reply:?}");
    assert_eq!(world.relay.count("GET /v1/api/iserver/account/orders"), 0);
    assert_eq!(world.get("/v1/api/portfolio/accounts").await.status, 200, "which needs none");
}

#[tokio::test]
async fn who_asks_too_often_for_what_is_rare_is_told_at_once() {
    // Whoever waits for its deadline fails the test.
    let world = World::with(plain(), |client| client.with_request_deadline(10 * PATIENCE)).await;
    let first = world.get("/v1/api/iserver/scanner/params").await;
    assert_eq!(first.mark(), None, "{first:?}");
    let second = world.get("/v1/api/iserver/scanner/params").await;
    assert_eq!((second.status, second.mark()), (429, Some("not-sent")), "{second:?}");
    let seconds: u64 = second.header("retry-after").unwrap().parse().unwrap();
    assert!((800..=901).contains(&seconds), "{second:?}");
    assert_eq!(world.relay.count("GET /v1/api/iserver/scanner/params"), 1);
}

#[tokio::test]
async fn who_has_waited_in_vain_is_told_how_long_to_wait() {
    let world = World::with(plain(), |client| client.with_request_deadline(Duration::from_secs(2))).await;
    // IBKR allows one in a second.
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let mut stream = world.connect().await;
        stream.write_all(request("GET", "/v1/api/fyi/unreadnumber", &[], "").as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    let mut refusals = 0;
    for stream in waiting {
        let reply = converse(stream, "").await;
        if reply.mark() == Some("not-sent") {
            refusals += 1;
            assert_eq!((reply.status, reply.header("retry-after")), (429, Some("1")), "{reply:?}");
        }
    }
    assert!(refusals > 0);
}

#[tokio::test]
async fn who_may_still_be_served_in_time_waits() {
    let world = World::start().await;
    world.post("/v1/api/logout", "").await;
    let logins = world.relay.count(LOGIN);
    let endpoint = "/oauth/live_session_token".to_owned();
    let odd = |lasts| Incident::OddResponse { endpoint: endpoint.clone(), status: 401, body: "".into(), lasts };
    world.server.gateway().schedule(SystemTime::now(), odd(Duration::MAX));
    let events = &mut world.api.events();
    let between_two_attempts = async {
        while !matches!(soon(events.next()).await, Some(Event::Client(ibkr_oauth::Event::LoginFailed { .. }))) {}
        world.server.gateway().schedule(SystemTime::now(), odd(Duration::ZERO));
        world.get("/v1/api/portfolio/accounts").await
    };
    let (first, second) = tokio::join!(world.get("/v1/api/iserver/accounts"), between_two_attempts);
    assert_eq!(world.relay.count(LOGIN), logins + 2);
    assert_eq!((first.status, first.mark()), (200, None), "{first:?}");
    assert_eq!((second.status, second.mark()), (200, None), "between two attempts: {second:?}");
}

#[tokio::test]
async fn a_full_queue_is_said_at_once() {
    let world = World::with(plain(), |client| client.with_pacing(Pacing::default()).with_request_limit(2)).await;
    world.relay.hold(true);
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut stream = world.connect().await;
        stream.write_all(request("GET", "/v1/api/portfolio/accounts", &[], "").as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    let refused = soon(async {
        loop {
            let reply = timeout(Duration::from_millis(300), world.get("/v1/api/portfolio2/x")).await;
            if let Ok(reply) = reply {
                return reply;
            }
        }
    });
    let refused = refused.await;
    assert_eq!((refused.status, refused.mark()), (429, Some("not-sent")), "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("1"));
    world.relay.hold(false);
}

#[tokio::test]
async fn an_order_whose_answer_is_lost_is_not_sent_again() {
    let world = World::start().await;
    world.relay.hold(true);
    let mut stream = world.connect().await;
    stream.write_all(request("POST", ORDERS, &[], ORDER).as_bytes()).await.unwrap();
    let line = format!("POST {ORDERS} HTTP/1.1");
    until(|| world.relay.count(&line) == 1).await;
    world.relay.cut();
    let reply = converse(stream, "").await;
    world.relay.hold(false);
    assert_eq!((reply.status, reply.mark()), (502, Some("unanswered")), "{reply:?}");
    sleep(Duration::from_millis(500)).await;
    assert_eq!(world.relay.count(&line), 1);
}

#[tokio::test]
async fn an_order_whose_client_leaves_is_sent_once_or_not_at_all() {
    let world = World::start().await;
    // On its way already: it stays one.
    world.relay.hold(true);
    let mut stream = world.connect().await;
    stream.write_all(request("POST", ORDERS, &[], ORDER).as_bytes()).await.unwrap();
    let line = format!("POST {ORDERS} HTTP/1.1");
    until(|| world.relay.count(&line) == 1).await;
    drop(stream);
    world.relay.hold(false);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(world.relay.count(&line), 1);

    // In the middle of its body: it never was one.
    let whole = request("POST", ORDERS, &[], ORDER);
    let mut stream = world.connect().await;
    stream.write_all(&whole.as_bytes()[..whole.len() - 1]).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    drop(stream);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(world.relay.count(&line), 1);
    let orders = world.get("/v1/api/iserver/account/orders").await;
    assert_eq!(orders.body.matches("orderId").count(), 1, "{orders:?}");
}

#[tokio::test]
async fn an_order_that_waits_is_withdrawn_when_its_client_leaves() {
    let world = World::start().await;
    world.server.gateway().schedule(SystemTime::now(), Incident::NoBrokerageSessions { lasts: Duration::MAX });
    world.server.gateway().schedule(SystemTime::now(), Incident::NightlyReset);
    world.api.doubt();
    soon(world.api.wait_until(|status| !status.is_ready())).await.unwrap();
    let mut stream = world.connect().await;
    stream.write_all(request("POST", ORDERS, &[], ORDER).as_bytes()).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    drop(stream);
    sleep(Duration::from_millis(200)).await;
    world.server.gateway().schedule(SystemTime::now(), Incident::NoBrokerageSessions { lasts: Duration::ZERO });
    world.api.open();
    soon(world.api.wait_until(|status| status.is_ready())).await.unwrap();
    let reply: Reply = world.get("/v1/api/iserver/account/orders").await;
    assert_eq!(reply.body.matches("orderId").count(), 0, "{reply:?}");
    assert_eq!(world.relay.count(ORDERS), 0);
}

#[tokio::test]
async fn what_is_under_way_when_the_proxy_stops_is_answered() {
    let mut world = World::start().await;
    world.relay.hold(true);
    let mut stream = world.connect().await;
    stream.write_all(request("POST", ORDERS, &[], ORDER).as_bytes()).await.unwrap();
    until(|| world.relay.count(ORDERS) == 1).await;
    let holds = world.relay.holds();
    let (reply, ()) = tokio::join!(converse(stream, ""), async {
        let release = async {
            sleep(Duration::from_millis(300)).await;
            holds.send_replace(false);
        };
        tokio::join!(world.stop(), release);
    });
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(tokio::net::TcpStream::connect(world.address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_an_answer_whatever_happens() {
    let world = World::start().await;
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let address = world.address;
            tokio::spawn(async move {
                let mut replies = Vec::new();
                for turn in 0..15 {
                    let path =
                        ["/v1/api/iserver/accounts", "/v1/api/portfolio2/x", "/v1/api/tickle"][(client + turn) % 3];
                    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
                    replies.push(converse(stream, &request("GET", path, &[], "")).await);
                    sleep(Duration::from_millis(100)).await;
                }
                replies
            })
        })
        .collect();
    let lasts = Duration::from_millis(300);
    for incident in [
        Incident::LiveSessionsEnd,
        Incident::Outage { lasts },
        Incident::NightlyReset,
        Incident::Gone,
        Incident::EmptyAccounts { lasts },
        Incident::ClockSkew { seconds: 100 },
    ] {
        world.server.gateway().schedule(SystemTime::now(), incident);
        sleep(Duration::from_millis(150)).await;
        world.relay.cut();
        sleep(Duration::from_millis(150)).await;
    }
    for client in clients {
        for reply in soon(client).await.unwrap() {
            let is_passed_on = reply.mark().is_none() && matches!(reply.status, 200 | 400 | 401 | 404 | 410 | 503);
            let is_own = matches!(reply.mark(), Some("not-sent" | "unanswered")) && matches!(reply.status, 502..=504);
            assert!(is_passed_on || is_own, "{reply:?}");
        }
    }
    let reply = world.get("/v1/api/iserver/accounts").await;
    assert_eq!(reply.status, 200, "all is well again: {reply:?}");
}
