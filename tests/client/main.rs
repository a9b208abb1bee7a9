//! One client, its gateway, a virtual clock: everything that a program needs to stay logged in.
#![cfg(feature = "std")]

mod support;

use ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth::{ApiRequest, Client, Diagnosis, Error, Event, Outcome, QueryPolicy, Request, Response};
use ibkr_oauth_gateway::Incident;
use support::pair::{Pair, response};
use support::world::{Sound, World};

const HOUR: u64 = 3600;
const SNAPSHOT: ApiRequest<'_> =
    ApiRequest::get("/iserver/marketdata/snapshot").query(&[("conids", "8314"), ("fields", "31")]);

fn diagnosis(outcome: Option<&Outcome>) -> Diagnosis {
    match outcome {
        Some(Outcome::Rejected { error: Error::Rejected(rejected), .. }) => rejected.diagnosis,
        other => panic!("{other:?}"),
    }
}

/// A network in which requests to some paths get an answer of their own.
fn answering(
    fits: impl Fn(&Request) -> bool + 'static,
    status: u16,
    body: &'static str,
) -> impl FnMut(&mut Pair, &Request) -> Option<Response<'static>> {
    move |pair, request| match fits(request) {
        true => Some(Response::new(status, body.as_bytes())),
        false => Some(response(&pair.send(request))),
    }
}

fn ready() -> World {
    let mut world = World::new();
    world.run(&mut Sound, 60);
    assert_eq!(world.client.brokerage_phase(world.pair.now), BrokeragePhase::Ready);
    world
}

#[test]
fn three_days_take_four_tokens_and_a_tickle_a_minute() {
    let mut world = World::new();
    let ticket = world.request(&SNAPSHOT);
    world.run(&mut Sound, 72 * HOUR);
    assert_eq!(world.client.brokerage_phase(world.pair.now), BrokeragePhase::Ready);
    assert!(matches!(world.outcome(ticket), Some(Outcome::Answered(_))));
    assert_eq!(world.count("/oauth/live_session_token"), 4);
    assert!((4315..=4321).contains(&world.count("/tickle")), "{}", world.count("/tickle"));
    let phases: Vec<_> = world.events.iter().filter(|event| matches!(event, Event::Brokerage(_))).collect();
    assert_eq!(phases, [&Event::Brokerage(BrokeragePhase::Opening), &Event::Brokerage(BrokeragePhase::Ready)]);
}

/// Today's uncertainty about the query: the server refuses every request that has one.
#[test]
fn six_hundred_refused_requests_cost_no_token_if_others_pass() {
    let pair_builder = |pair: &Pair| pair.builder().query_policy(QueryPolicy::Exclude);
    let mut pair = Pair::new();
    let session = pair.first_party(pair_builder(&pair));
    let mut world = World::of(pair, Client::new(session));
    world.run(&mut Sound, 60);
    let mut refuses_queries = answering(|request| request.path().contains('?'), 401, "Invalid signature");
    let mut tickets = Vec::new();
    for _ in 0..600 {
        tickets.push(world.request(&SNAPSHOT));
        world.run(&mut refuses_queries, 1);
    }
    world.run(&mut refuses_queries, 60);
    assert_eq!(world.count("/oauth/live_session_token"), 1, "no new token");
    assert!(world.count("/tickle") < 90, "{}", world.count("/tickle"));
    for ticket in tickets {
        assert_eq!(diagnosis(world.outcome(ticket)), Diagnosis::RequestRefused);
    }
}

#[test]
fn the_query_policy_that_works_is_found_and_kept() {
    let mut world = ready();
    let mut wants_it_signed = |pair: &mut Pair, request: &Request| {
        let is_signed = request.base_string().to_string().contains("conids");
        match request.path().contains('?') && !is_signed {
            true => Some(Response::new(401, b"Invalid signature")),
            false => Some(response(&pair.send(request))),
        }
    };
    let signer = world.client.signer();
    let first = world.request(&SNAPSHOT);
    world.run(&mut wants_it_signed, 30);
    assert!(matches!(world.outcome(first), Some(Outcome::Answered(_))), "{:?}", world.events);
    assert!(world.has(&Event::QueryPolicyChanged(QueryPolicy::Fold)));
    let sent = world.count("/iserver/marketdata/snapshot");
    let second = world.request(&SNAPSHOT);
    world.run(&mut wants_it_signed, 5);
    assert!(matches!(world.outcome(second), Some(Outcome::Answered(_))));
    assert_eq!(world.count("/iserver/marketdata/snapshot"), sent + 1, "the second needs no second attempt");
    let signed = signer.sign(&SNAPSHOT, &mut world.pair.rng, world.pair.now).unwrap();
    assert!(signed.base_string().to_string().contains("conids"), "signers follow");
    assert_eq!(world.count("/oauth/live_session_token"), 1);
}

#[test]
fn a_tickle_on_a_dead_connection_is_repeated_after_its_deadline() {
    let mut world = ready();
    let mut lost = 0;
    let mut half_open = |pair: &mut Pair, request: &Request| {
        lost += 1;
        (lost > 1).then(|| response(&pair.send(request)))
    };
    world.run(&mut half_open, 10 * HOUR);
    assert!(world.count("/tickle") > 590, "{}", world.count("/tickle"));
    assert_eq!(world.client.brokerage_phase(world.pair.now), BrokeragePhase::Ready);
}

#[test]
fn twelve_hours_without_a_witness_are_not_called_ready() {
    for (status, body) in [(503, ""), (302, ""), (200, "<html>"), (401, "<html>"), (0, "")] {
        let mut world = ready();
        let mut outage = move |_: &mut Pair, _: &Request| (status > 0).then(|| Response::new(status, body.as_bytes()));
        world.run(&mut outage, 300);
        assert_eq!(world.client.brokerage_phase(world.pair.now), BrokeragePhase::Unconfirmed, "{status}");
        assert!(world.has(&Event::Brokerage(BrokeragePhase::Unconfirmed)));
        world.sent.clear();
        world.run(&mut outage, 12 * HOUR);
        assert_ne!(world.client.brokerage_phase(world.pair.now), BrokeragePhase::Ready, "{status}");
        assert!(world.sent.len() < 3000, "{status}: {} requests", world.sent.len());
        assert!(world.count("live_session_token") <= 12 * 12, "{status}: {}", world.count("live_session_token"));
        world.run(&mut Sound, 900);
        assert_eq!(world.client.brokerage_phase(world.pair.now), BrokeragePhase::Ready, "{status}: the way back");
    }
}

#[test]
fn a_dead_token_that_is_answered_with_redirects_is_replaced() {
    let mut world = ready();
    let dead = world.client.live(world.pair.now).unwrap().clone();
    let mut redirects = |pair: &mut Pair, request: &Request| {
        let is_old = world_token(&dead, request);
        if is_old { Some(Response::new(302, b"")) } else { Some(response(&pair.send(request))) }
    };
    world.run(&mut redirects, 600);
    assert_eq!(world.count("/oauth/live_session_token"), 2);
    assert_eq!(world.client.brokerage_phase(world.pair.now), BrokeragePhase::Ready);
}

/// Whether `live` signed this request.
fn world_token(live: &ibkr_oauth::LiveSession, request: &Request) -> bool {
    live.signed(&request.receipt())
}

#[test]
fn an_order_is_never_sent_twice() {
    const ORDER: ApiRequest<'_> = ApiRequest::post("/iserver/account/DU1/orders").json(b"{}");
    for (status, body) in [
        (401, "Unauthorized"),
        (401, "Invalid signature"),
        (400, r#"{"error":"Bad Request: no bridge"}"#),
        (410, "gone"),
        (429, ""),
        (500, ""),
        (503, "<html>"),
        (302, ""),
        (0, ""),
    ] {
        let mut world = ready();
        let mut network = move |pair: &mut Pair, request: &Request| match request.path().ends_with("/orders") {
            true if status == 0 => None,
            true => Some(Response::new(status, body.as_bytes())),
            false => Some(response(&pair.send(request))),
        };
        let ticket = world.request(&ORDER);
        world.run(&mut network, 2 * HOUR);
        assert_eq!(world.count("/orders"), 1, "{status} {body}");
        match world.outcome(ticket) {
            Some(Outcome::Unanswered) if status == 0 => {}
            Some(Outcome::Rejected { response, .. }) => assert_eq!(response.status(), status),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_get_that_met_a_dead_token_is_repeated_once_with_the_next() {
    let mut world = ready();
    world.run(&mut Sound, 10);
    world.happen(Incident::LiveSessionsEnd);
    let ticket = world.request(&ApiRequest::get("/portfolio/accounts"));
    world.run(&mut Sound, 30);
    assert!(matches!(world.outcome(ticket), Some(Outcome::Answered(_))), "{:?}", world.events);
    assert_eq!(world.count("/portfolio/accounts"), 2);
    assert_eq!(world.count("/oauth/live_session_token"), 2);
}
