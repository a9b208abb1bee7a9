//! What clients of the Client Portal Gateway do to the session.

use std::time::{Duration, SystemTime};

use ibkr_oauth_gateway::Incident;
use ibkr_oauth_proxy::Options;
use ibkr_oauth_proxy::ibkr_oauth_tokio::ibkr_oauth::brokerage::{BrokeragePhase, CompetePolicy};
use tokio::task::JoinSet;

use crate::support::enrolled::USER;
use crate::support::{World, converse, plain, request, soon};

const INIT: &str = "/v1/api/iserver/auth/ssodh/init";
const COMPETE: &str = r#"{"publish":true,"compete":true}"#;

#[tokio::test]
async fn tickles_of_many_clients_are_one() {
    let world = World::start().await;
    let before = world.relay.count("/tickle");
    let mut tickles = JoinSet::new();
    for _ in 0..20 {
        tickles.spawn(converse(world.connect().await, &*Box::leak(request("POST", "/v1/api/tickle", &[], "").into())));
    }
    for reply in soon(tickles.join_all()).await {
        assert_eq!((reply.status, reply.mark()), (200, None), "{reply:?}");
        assert!(reply.body.contains("\"authenticated\":true"), "{reply:?}");
    }
    assert!(world.relay.count("/tickle") <= before + 2, "one of the clients, and perhaps the proxy's own");
}

#[tokio::test]
async fn a_tickle_that_fails_fails_for_all_who_wait_for_it_and_not_for_long() {
    let world = World::start().await;
    let asked = world.relay.count("POST /v1/api/tickle");
    world.server.gateway().schedule(SystemTime::now(), Incident::Outage { lasts: Duration::MAX });
    let mut tickles = JoinSet::new();
    for _ in 0..20 {
        tickles.spawn(converse(world.connect().await, &*Box::leak(request("POST", "/v1/api/tickle", &[], "").into())));
    }
    let replies = soon(tickles.join_all()).await;
    assert!(replies.iter().all(|reply| (reply.status, reply.mark()) == (503, None)), "{replies:?}");
    assert!(world.relay.count("POST /v1/api/tickle") <= asked + 3, "{}", world.relay.seen());
    world.server.gateway().schedule(SystemTime::now(), Incident::Outage { lasts: Duration::ZERO });
    soon(async {
        while world.post("/v1/api/tickle", "").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_asks_for_a_session_finds_the_one_there_is() {
    let world = World::start().await;
    let asked = world.relay.count("/ssodh/init");
    for method in ["POST", "GET"] {
        let reply = world.ask(method, INIT, &[], COMPETE).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(
            reply.body.contains("\"authenticated\":true") && reply.body.contains("\"competing\":false"),
            "{reply:?}"
        );
    }
    assert_eq!(world.relay.count("/ssodh/init"), asked);
    let triggered = world.post("/v1/api/iserver/reauthenticate", "").await;
    assert_eq!((triggered.status, triggered.body.as_str()), (200, r#"{"message":"triggered"}"#));
    assert_eq!(triggered.mark(), Some("answered"));
    let valid = world.get("/v1/api/sso/validate").await;
    assert!(valid.body.contains("\"RESULT\":true"), "{valid:?}");
    assert_eq!(world.relay.count("/reauthenticate") + world.relay.count("/sso/validate"), 0);
}

/// Another program of the user's takes the brokerage session.
async fn lose_the_session(world: &World) {
    world.server.gateway().schedule(SystemTime::now(), Incident::CompetingLogin { user: USER.into() });
    world.api.doubt();
    soon(world.api.wait_until(|status| status.brokerage == BrokeragePhase::Competing)).await.unwrap();
}

#[tokio::test]
async fn no_client_takes_a_session_from_somebody_else_unless_the_proxy_may() {
    let world = World::start().await;
    lose_the_session(&world).await;
    for path in [INIT, "/v1/api/iserver/reauthenticate"] {
        let reply = world.post(path, COMPETE).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(path != INIT || reply.body.contains("\"competing\":true"), "{reply:?}");
    }
    let asked = world.relay.count("/ssodh/init");
    for spelling in ["/v1/api/iserver/auth/ssodh/init/", "/v1/portal/iserver/auth/ssodh/INIT"] {
        assert_eq!(world.post(spelling, COMPETE).await.status, 200);
    }
    assert_eq!(world.ask("PUT", INIT, &[], COMPETE).await.status, 405);
    assert_eq!(world.relay.count("/ssodh/init"), asked, "by no spelling, either");
    assert!(!world.api.status().is_ready());
    assert_eq!(world.get("/healthz").await.status, 503);

    let may = Options { compete: CompetePolicy::TakeOver, ..plain() };
    let world = World::with(may, |client| client).await;
    lose_the_session(&world).await;
    let reply = world.post(INIT, r#"{"publish":true}"#).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    soon(world.api.wait_until(|status| status.is_ready())).await.unwrap();
}

#[tokio::test]
async fn after_a_log_out_the_next_request_logs_in_again() {
    let world = World::start().await;
    let reply = world.post("/v1/api/logout", "").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"status":true}"#), "{reply:?}");
    assert_eq!(world.post("/v1/api/logout/", "").await.status, 200);
    assert_eq!(world.relay.count("POST /v1/api/logout"), 1);
    for path in ["/v1/api/tickle", "/v1/api/iserver/auth/status"] {
        let reply = world.post(path, "").await;
        assert_eq!((reply.status, reply.mark()), (401, Some("not-sent")), "who only asks opens nothing: {reply:?}");
    }
    assert!(world.get("/v1/api/sso/validate").await.body.contains("\"RESULT\":false"));
    assert_eq!(world.get("/healthz").await.status, 503);
    let reply = world.get("/v1/api/iserver/accounts").await;
    assert_eq!((reply.status, reply.mark()), (200, None), "{reply:?}");
    assert_eq!(world.get("/healthz").await.status, 200);
    world.post("/v1/api/logout", "").await;
    assert!(world.post(INIT, "").await.body.contains("\"authenticated\":true"), "who asks for a session gets one");
}

/// What the metrics say, without what stands before each name.
async fn metric(world: &World, name: &str) -> Option<i64> {
    let page = world.get("/metrics").await.body;
    let is_it = |line: &&str| line.strip_prefix("ibkr_oauth_proxy_").is_some_and(|line| line.starts_with(name));
    let (_, value) = page.lines().find(is_it)?.rsplit_once(' ')?;
    assert!(page.contains(&format!("# TYPE ibkr_oauth_proxy_{name} gauge\n")), "{page}");
    Some(value.parse().unwrap())
}

#[tokio::test]
async fn metrics_tell_how_the_session_stands() {
    let world = World::start().await;
    world.post("/v1/api/tickle", "").await;
    world.told(["logged_in 1", "ready 1", "penalty_seconds 0"]).await;
    let expires_in = metric(&world, "token_expires_in_seconds").await.unwrap();
    assert!((23 * 3600..=24 * 3600).contains(&expires_in), "{expires_in}");
    let age = metric(&world, "tickle_age_seconds").await.unwrap();
    assert!((0..=60).contains(&age), "{age}");

    world.server.gateway().schedule(SystemTime::now(), Incident::TooManyRequests { lasts: Duration::MAX });
    world.get("/v1/api/iserver/accounts").await;
    let penalty = metric(&world, "penalty_seconds").await.unwrap();
    assert!((500..=901).contains(&penalty), "{penalty}");

    let world = World::start().await;
    // A rejection shows how far the clocks are apart.
    for incident in [Incident::ClockSkew { seconds: 120 }, Incident::LiveSessionsEnd] {
        world.server.gateway().schedule(SystemTime::now(), incident);
    }
    world.get("/v1/api/iserver/accounts").await;
    let skew = metric(&world, "clock_skew_seconds").await.unwrap();
    assert!((115..=125).contains(&skew), "{skew}");
    world.post("/v1/api/logout", "").await;
    world.told(["logged_in 0", "ready 0", "brokerage_session{phase=\"logged out\"} 1"]).await;
    assert_eq!(metric(&world, "token_expires_in_seconds").await, None);
}

#[tokio::test]
async fn neither_a_nightly_reset_nor_a_dead_token_is_seen_by_clients() {
    let world = World::start().await;
    for incident in [Incident::NightlyReset, Incident::LiveSessionsEnd] {
        world.server.gateway().schedule(SystemTime::now(), incident);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let reply = world.get("/v1/api/iserver/accounts").await;
        assert_eq!((reply.status, reply.mark()), (200, None), "{reply:?}");
        soon(world.api.wait_until(|status| status.is_ready())).await.unwrap();
    }
}
