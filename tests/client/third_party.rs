//! A third party: from nothing, through the user's consent, to requests; refused, repeated, taken back.

use ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth::{Client, Error, Event, OAuthSession, Outcome, Phase, Retry};
use ibkr_oauth_gateway::{Consent, Incident};

use crate::support::pair::{Pair, response};
use crate::support::world::{Sound, World};
use crate::{ACCOUNTS, DAY, HOUR, LOGIN, MINUTE, answering, phase, ready, recovery, to};

fn world() -> World {
    let pair = Pair::new();
    let consumer = pair.builder().build().unwrap();
    World::of(pair, Client::new(OAuthSession::new(consumer)))
}

/// What the user decides on the page, and where the browser goes then.
fn decide(world: &mut World, consent: Consent) -> String {
    let url = world.client.consent_url().unwrap();
    let request_token = world.client.request_token().unwrap().to_string();
    assert!(url.ends_with(&request_token));
    world.pair.gateway.consent(&request_token, "alice", consent, &mut world.pair.rng).unwrap()
}

fn consents_needed(world: &World) -> usize {
    world.count_events(|event| matches!(event, Event::ConsentNeeded { .. }))
}

#[test]
fn from_nothing_to_ready_with_one_request_for_each_token() {
    let mut world = world();
    world.run(&mut Sound, DAY);
    assert_eq!((world.sent.len(), consents_needed(&world)), (1, 1), "it waits for the user");
    assert_eq!(world.client.phase(world.pair.now), Phase::RequestToken);
    let Some(Event::ConsentNeeded { url }) = world.events.first() else { panic!("{:?}", world.events) };
    assert_eq!(Some(url.as_str().to_string()), world.client.consent_url());
    let callback = decide(&mut world, Consent::Grant);
    world.client.handle_callback(&callback).unwrap();
    // The access token is told before the next request goes out.
    let (request, exchange) = world.next_send().unwrap();
    assert!(to("/oauth/access_token")(&request));
    let answer = response(&world.pair.send(&request));
    world.client.handle_response(exchange, &answer, world.pair.now).unwrap();
    let before = world.sent.len();
    let (request, _) = world.next_send().unwrap();
    assert!(to("/oauth/live_session_token")(&request) && world.sent.len() == before + 1);
    assert!(world.has(&Event::AccessTokenGranted) && world.client.access_token().is_some());
    world.run(&mut Sound, 2 * MINUTE);
    assert_eq!(phase(&world), BrokeragePhase::Ready);
    let counts = ["request_token", "access_token", "live_session_token"].map(|token| world.count(token));
    assert_eq!(counts, [1, 1, 2], "one live session token was lost");
}

#[test]
fn a_user_who_rejects_is_asked_again_after_reauthorize_only() {
    let mut world = world();
    world.settle(&mut Sound);
    let callback = decide(&mut world, Consent::Deny);
    let denied = world.client.handle_callback(&callback).unwrap_err();
    assert!(matches!(denied, Error::Callback(_)));
    assert_eq!(denied.retry(world.pair.now), Retry::Reauthorize);
    world.run(&mut Sound, DAY);
    assert_eq!((world.sent.len(), consents_needed(&world)), (1, 1));
    world.client.reauthorize();
    world.settle(&mut Sound);
    assert_eq!(consents_needed(&world), 2);
    let callback = decide(&mut world, Consent::Grant);
    world.client.handle_callback(&callback).unwrap();
    assert!(recovery(&mut world) <= 3);
}

#[test]
fn a_verifier_that_is_rejected_is_tried_12_times_an_hour_at_most_and_said() {
    let mut world = world();
    world.settle(&mut Sound);
    world.client.handle_verifier("00000000000000000000").unwrap();
    world.run(&mut Sound, 3 * HOUR + 100);
    assert!(world.most_in(HOUR, "access_token") <= 12, "{}", world.most_in(HOUR, "access_token"));
    let says_so = |event: &Event| matches!(event, Event::LoginFailed { error: Error::Rejected(_), .. });
    assert!(world.count_events(says_so) > 3);
    // The next consent does not wait for the pause after all these failures.
    world.client.reauthorize();
    world.run(&mut Sound, 10);
    assert_eq!(world.count("request_token"), 2);
}

#[test]
fn consent_that_is_withdrawn_is_reported_and_asked_for_anew() {
    let mut world = world();
    world.settle(&mut Sound);
    let callback = decide(&mut world, Consent::Grant);
    world.client.handle_callback(&callback).unwrap();
    world.run(&mut Sound, MINUTE);
    // A new secret voids what was made with the old one.
    world.pair.issue();
    world.happen(Incident::LiveSessionsEnd);
    world.run(&mut Sound, 6 * HOUR);
    let failed = |event: &Event| matches!(event, Event::LoginFailed { .. });
    assert!(world.count_events(failed) > 3 && world.most_in(HOUR, LOGIN) <= 12);
    let signer = world.client.signer();
    world.client.reauthorize();
    assert!(signer.live().is_none() && world.client.access_token().is_none());
    world.run(&mut Sound, 10);
    let callback = decide(&mut world, Consent::Grant);
    world.client.handle_callback(&callback).unwrap();
    let seconds = recovery(&mut world);
    assert!(seconds <= 5, "{seconds} s");
    let ticket = world.request(&ACCOUNTS);
    world.run(&mut Sound, 10);
    assert!(matches!(world.outcome(ticket), Some(Outcome::Responded(_))));
    assert!(signer.live().is_some(), "signers follow");
}

#[test]
fn reauthorize_in_the_middle_of_anything_starts_over() {
    for steps in 0..8 {
        let mut world = ready();
        world.happen(Incident::LiveSessionsEnd);
        let mut held = Vec::new();
        world.client.doubt();
        for _ in 0..steps {
            if let Some((request, exchange)) = world.next_send() {
                held.push((exchange, response(&world.pair.send(&request))));
            } else if let Some((exchange, answer)) = held.pop() {
                let _ = world.client.handle_response(exchange, &answer, world.pair.now);
            }
        }
        world.client.reauthorize();
        assert!(world.client.signer().live().is_none());
        world.settle(&mut Sound);
        for (exchange, answer) in held {
            let _ = world.client.handle_response(exchange, &answer, world.pair.now);
        }
        world.run(&mut Sound, 6);
        assert_eq!(world.client.phase(world.pair.now), Phase::RequestToken, "{steps}");
        assert_eq!(consents_needed(&world), 1);
    }
}

#[test]
fn a_pending_consent_outlives_the_process() {
    let mut world = world();
    world.settle(&mut Sound);
    let (consumer, snapshot) = (world.client.consumer().clone(), world.client.snapshot());
    world.client = Client::resume(consumer, snapshot.expose(), world.pair.now).unwrap();
    world.run(&mut Sound, HOUR);
    assert_eq!(world.sent.len(), 1, "the same request token");
    let callback = decide(&mut world, Consent::Grant);
    world.client.handle_callback(&callback).unwrap();
    assert!(recovery(&mut world) <= 3);
}

/// The verifier counts once: its response is not thrown away.
#[test]
fn a_log_out_while_the_access_token_is_on_its_way_does_not_lose_it() {
    let mut world = world();
    world.settle(&mut Sound);
    let callback = decide(&mut world, Consent::Grant);
    world.client.handle_callback(&callback).unwrap();
    let (request, exchange) = world.next_send().unwrap();
    let granted = response(&world.pair.send(&request));
    world.client.log_out(world.pair.now);
    world.settle(&mut Sound);
    world.client.handle_response(exchange, &granted, world.pair.now).unwrap();
    world.run(&mut Sound, HOUR);
    assert!(world.client.access_token().is_some());
    assert_eq!(world.count(LOGIN), 0, "logged out");
    world.client.open();
    assert!(recovery(&mut world) <= 3);
}

#[test]
fn request_tokens_that_are_rejected_are_asked_for_with_growing_pauses() {
    for (status, body) in [(401, r#"{"error":"id: 1, error: invalid consumer"}"#), (503, ""), (200, "{}"), (0, "")] {
        let mut world = world();
        world.run(&mut answering(to("/oauth/request_token"), status, body), 6 * HOUR);
        assert!(world.most_in(HOUR, "request_token") <= 12, "{status}");
        world.run(&mut Sound, 16 * MINUTE);
        assert_eq!(consents_needed(&world), 1, "{status}");
    }
}

/// Whoever starts over in a loop is held back as well.
#[test]
fn reauthorize_each_second_asks_for_12_request_tokens_a_minute() {
    let mut world = ready();
    world.sent.clear();
    for _ in 0..10 * MINUTE {
        world.client.reauthorize();
        world.run(&mut Sound, 1);
    }
    assert!(world.count("request_token") <= 120 && world.count(LOGIN) == 0);
}
