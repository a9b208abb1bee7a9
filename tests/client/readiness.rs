//! `Ready` is said only while somebody has just said so, and the way to it costs few requests.

use std::time::Duration;

use ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth::{Client, Event, Outcome, Response};
use ibkr_oauth_gateway::Incident;

use crate::support::pair::{Pair, response};
use crate::support::world::{Sound, World};
use crate::{ACCOUNTS, DAY, HOUR, LOGIN, MINUTE, SNAPSHOT, answering, phase, ready, recovery, to};

fn became(world: &World, phase: BrokeragePhase) -> bool {
    world.has(&Event::Brokerage(phase))
}

fn lasts(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn ready_comes_3_seconds_after_the_login_and_asks_the_accounts_first() {
    let mut world = World::new();
    let seconds = recovery(&mut world);
    assert!(seconds <= 3, "{seconds} s");
    let order: Vec<_> = world.sent.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(
        order,
        ["POST /oauth/live_session_token", "POST /iserver/auth/ssodh/init", "POST /tickle", "GET /iserver/accounts"]
    );
}

#[test]
fn accounts_empty_for_a_while_delay_ready_three_times_as_long_at_most() {
    for delay in [5, 20, 40, 120, 600] {
        let mut world = World::new();
        world.pair.gateway.set_accounts_delay(lasts(delay));
        let seconds = recovery(&mut world);
        assert!(seconds >= delay && seconds <= delay * 3 + 5, "{delay}: {seconds} s");
    }
}

#[test]
fn accounts_empty_for_a_day_are_never_ready_and_cost_6_requests_a_minute() {
    let mut world = World::new();
    world.happen(Incident::EmptyAccounts { lasts: lasts(DAY) });
    let ticket = world.request(&SNAPSHOT);
    world.run(&mut Sound, DAY - MINUTE);
    assert!(!became(&world, BrokeragePhase::Ready));
    assert!(world.outcome(ticket).is_some_and(|outcome| matches!(outcome, Outcome::NotSent(_))));
    assert!(world.sent.len() < 6 * 1440, "{}", world.sent.len());
    let seconds = recovery(&mut world);
    assert!(seconds <= 8 * MINUTE, "{seconds} s");
}

#[test]
fn a_session_that_never_gets_ready_costs_6_requests_a_minute() {
    let not_ready = r#"{"authenticated":false,"established":false,"competing":false,"connected":true}"#;
    let mut world = World::new();
    let mut network = answering(|request| request.path().contains("/iserver/auth/"), 200, not_ready);
    world.run(&mut network, DAY);
    assert!(!became(&world, BrokeragePhase::Ready));
    assert!(world.sent.len() < 6 * 1440, "{}", world.sent.len());
}

#[test]
fn twelve_hours_without_a_witness_are_not_called_ready() {
    for (status, body) in [(503, ""), (302, ""), (200, "<html>"), (401, "<html>"), (200, "{}"), (0, "")] {
        let mut world = ready();
        let mut outage = answering(|_| true, status, body);
        world.run(&mut outage, 5 * MINUTE);
        assert_ne!(phase(&world), BrokeragePhase::Ready, "{status}");
        assert!(became(&world, BrokeragePhase::Unconfirmed) || became(&world, BrokeragePhase::Missing));
        world.sent.clear();
        world.run(&mut outage, 12 * HOUR);
        assert_ne!(phase(&world), BrokeragePhase::Ready, "{status}");
        assert!(world.sent.len() < 3000, "{status}: {} requests", world.sent.len());
        assert!(world.most_in(HOUR, LOGIN) <= 12, "{status}: {}", world.most_in(HOUR, LOGIN));
        let seconds = recovery(&mut world);
        assert!(seconds <= 16 * MINUTE, "{status}: {seconds} s");
    }
}

/// Status is asked instead, every two minutes or so.
#[test]
fn tickles_that_say_nothing_are_no_witness_and_status_is_asked_instead() {
    let mut world = World::new();
    world.happen(Incident::TicklesWithoutStatus { lasts: lasts(DAY) });
    world.run(&mut Sound, HOUR);
    assert_eq!(phase(&world), BrokeragePhase::Ready);
    assert!(!became(&world, BrokeragePhase::Unconfirmed));
    assert!((12..=31).contains(&world.count("/status")), "{}", world.count("/status"));
    world.happen(Incident::NightlyReset);
    let mut lost_at = None;
    let begin = world.pair.now;
    while lost_at.is_none() {
        world.run(&mut Sound, 1);
        lost_at = (phase(&world) != BrokeragePhase::Ready).then(|| world.pair.now.saturating_since(begin).as_secs());
    }
    assert!(lost_at <= Some(3 * MINUTE), "{lost_at:?}");
}

#[test]
fn silent_tickles_and_a_status_that_fails_are_unconfirmed_in_5_minutes() {
    let mut world = ready();
    world.happen(Incident::TicklesWithoutStatus { lasts: lasts(DAY) });
    world.run(&mut answering(to("/iserver/auth/status"), 503, ""), 5 * MINUTE);
    assert_eq!(phase(&world), BrokeragePhase::Unconfirmed);
    world.run(&mut Sound, 5 * MINUTE);
    assert_eq!(phase(&world), BrokeragePhase::Ready);
}

#[test]
fn a_doubt_finds_a_lost_session_within_10_seconds_instead_of_60() {
    let lost = |world: &mut World| {
        world.run(&mut Sound, 2);
        world.happen(Incident::NightlyReset);
    };
    let by_hand = |world: &mut World| world.client.doubt();
    let by_web_socket = |world: &mut World| {
        world.client.handle_web_socket_message(r#"{"topic":"sts","args":{"authenticated":false}}"#);
    };
    let by_request = |world: &mut World| {
        world.request(&SNAPSHOT);
    };
    let by_signer = |world: &mut World| {
        let signer = world.client.signer();
        let request = signer.sign(&SNAPSHOT, &mut world.pair.rng, world.pair.now).unwrap();
        let rejection = response(&world.pair.send(&request));
        assert!(signer.handle_response(request.receipt(), &rejection, world.pair.now).is_err());
    };
    let doubts: [fn(&mut World); 4] = [by_hand, by_web_socket, by_request, by_signer];
    for (number, doubt) in doubts.into_iter().enumerate() {
        let mut world = ready();
        lost(&mut world);
        doubt(&mut world);
        world.events.clear();
        while !became(&world, BrokeragePhase::Ready) {
            world.run(&mut Sound, 1);
        }
        let seconds = world.pair.now.saturating_since(ready().pair.now).as_secs() - 2;
        assert!(seconds <= 10, "{number}: {seconds} s without /iserver");
    }
    let mut world = ready();
    world.client.handle_web_socket_message(r#"{"topic":"sts","args":{"authenticated":true}}"#);
    world.client.handle_web_socket_message("{");
    assert!(world.next_send().is_none());
}

#[test]
fn a_thousand_doubts_in_a_minute_cause_12_requests_so_do_1000_openings() {
    let doubt: fn(&mut Client) = |client| client.doubt();
    let open: fn(&mut Client) = Client::open;
    for (what, (status, body)) in [doubt, open].into_iter().zip([(0, ""), (503, "")]) {
        for (status, body) in [(status, body), (200, ""), (400, r#"{"error":"no bridge"}"#), (500, "{}")] {
            let mut world = ready();
            let asks = |request: &ibkr_oauth::Request| request.path().contains("/iserver/auth/");
            let mut network = |pair: &mut Pair, request: &ibkr_oauth::Request| match asks(request) {
                true if status != 200 => (status > 0).then(|| Response::new(status, body.as_bytes())),
                _ => Some(response(&pair.send(request))),
            };
            world.sent.clear();
            for _ in 0..1000 {
                what(&mut world.client);
                world.settle(&mut network);
                world.pair.now = world.pair.now.saturating_add(Duration::from_millis(60));
            }
            assert!(world.count("/iserver/auth/") <= 13, "{status}: {}", world.count("/iserver/auth/"));
            assert!(world.most_in(5, "/iserver/auth/") <= 2, "{status}: {}", world.most_in(5, "/iserver/auth/"));
        }
    }
}

#[test]
fn authenticated_wins_over_competing() {
    let mut world = World::new();
    world.happen(Incident::AuthenticatedAndCompeting { lasts: lasts(DAY) });
    world.run(&mut Sound, HOUR);
    assert_eq!(phase(&world), BrokeragePhase::Ready);
    assert!(!became(&world, BrokeragePhase::Competing));
}

#[test]
fn a_denial_ends_what_was_confirmed_before_it() {
    let mut world = ready();
    // The session is gone and the next one says nothing definite: only the accounts are there.
    let mut vague = |pair: &mut Pair, request: &ibkr_oauth::Request| match to("/iserver/accounts")(request) {
        false => Some(Response::new(200, br#"{"authenticated":false,"session":"b908"}"#)),
        true => Some(response(&pair.send(request))),
    };
    world.client.doubt();
    world.events.clear();
    world.run(&mut vague, 4 * MINUTE);
    assert!(!became(&world, BrokeragePhase::Ready), "{:?}", world.events);
}

#[test]
fn a_night_of_resets_and_an_outage_costs_one_token_and_minutes() {
    let mut world = ready();
    world.happen(Incident::NightlyReset);
    world.happen(Incident::Outage { lasts: lasts(HOUR) });
    world.run(&mut Sound, HOUR);
    let seconds = recovery(&mut world);
    assert!(seconds <= MINUTE + 15, "{seconds} s after the outage");
    assert_eq!(world.count(LOGIN), 1);
}

#[test]
fn a_competitor_is_left_alone_until_open_and_then_taken_over_once() {
    let mut world = ready();
    let alice = || "alice".to_string();
    world.happen(Incident::CompetingLogin { user: alice() });
    world.run(&mut Sound, HOUR);
    assert_eq!(phase(&world), BrokeragePhase::Competing);
    assert_eq!(world.count("/ssodh/init"), 1, "left alone");
    world.client.open();
    let seconds = recovery(&mut world);
    assert!(seconds <= 10, "{seconds} s");
    world.happen(Incident::CompetingLogin { user: alice() });
    world.run(&mut Sound, HOUR);
    assert_eq!((phase(&world), world.count("/ssodh/init")), (BrokeragePhase::Competing, 2), "this once");
    world.happen(Incident::CompetitorLeaves { user: alice() });
    world.run(&mut Sound, 2 * MINUTE);
    assert_eq!(phase(&world), BrokeragePhase::Ready);
}

#[test]
fn without_a_brokerage_session_nothing_is_opened_or_tickled_in_a_day() {
    let mut world = World::new();
    world.client = Client::new(world.pair.first_party(world.pair.builder())).without_brokerage_session();
    world.run(&mut Sound, DAY / 2);
    let ticket = world.request(&ACCOUNTS);
    world.run(&mut Sound, DAY / 2 - 11 * MINUTE);
    assert!(matches!(world.outcome(ticket), Some(Outcome::Responded(_))));
    assert_eq!(world.sent.len(), 2, "{:?}", world.sent);
    let phases = |event: &Event| matches!(event, Event::Brokerage(_));
    assert_eq!(world.count_events(phases), 0);
    // A dead token is still found out and replaced.
    world.happen(Incident::LiveSessionsEnd);
    let ticket = world.request(&ACCOUNTS);
    world.run(&mut Sound, 20);
    assert!(matches!(world.outcome(ticket), Some(Outcome::Responded(_))));
    world.client.log_out(world.pair.now);
    world.settle(&mut Sound);
    assert!(world.has(&Event::LoggedOut));
    world.sent.clear();
    world.client.open();
    world.run(&mut Sound, HOUR);
    assert_eq!(world.sent.len(), 1, "{:?}", world.sent);
}
