//! The refresh, at a server that honours only the newest token: nothing in flight is lost that can be saved.

use std::time::Duration;

use ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth::{Client, Event, Outcome, Response, UnixTime};
use ibkr_oauth_gateway::Incident;

use crate::support::pair::{Pair, response};
use crate::support::world::{Sound, World};
use crate::{ACCOUNTS, DAY, HOUR, LOGIN, MINUTE, ORDER, SNAPSHOT, answering, phase, to};

/// Half a minute away from any tickle.
const MARGIN: u64 = 10 * MINUTE - 30;

/// Ten seconds before the refresh margin begins.
fn before_refresh() -> World {
    let mut pair = Pair::new();
    let session = pair.first_party(pair.builder().refresh_margin(Duration::from_secs(MARGIN)));
    let mut world = World::of(pair, Client::new(session));
    world.sleep_through(&mut Sound, DAY - MARGIN - 10);
    assert_eq!((phase(&world), world.count(LOGIN)), (BrokeragePhase::Ready, 1));
    world
}

fn sent_at(world: &World, line: &str) -> Vec<UnixTime> {
    world.sent.iter().filter(|(_, sent)| sent.contains(line)).map(|(at, _)| *at).collect()
}

#[test]
fn a_refresh_waits_for_a_request_under_way_but_30_seconds_at_most() {
    for takes in [15, 20, 39, 50] {
        let mut world = before_refresh();
        let ticket = world.request(&ACCOUNTS);
        let (request, exchange) = world.next_send().unwrap();
        let answer = response(&world.pair.send(&request));
        world.run(&mut Sound, takes);
        world.client.handle_response(exchange, &answer, world.pair.now).unwrap();
        world.run(&mut Sound, MINUTE);
        assert!(matches!(world.outcome(ticket), Some(Outcome::Responded(_))));
        let margin_began = sent_at(&world, LOGIN)[0].saturating_add(Duration::from_secs(DAY - MARGIN));
        let waited = sent_at(&world, LOGIN)[1].saturating_since(margin_began).as_secs();
        assert_eq!(waited, (takes - 10).min(30));
    }
}

#[test]
fn an_order_waits_while_a_refresh_does_and_goes_out_with_the_new_token() {
    let mut world = before_refresh();
    world.request(&ACCOUNTS);
    let (request, exchange) = world.next_send().unwrap();
    let answer = response(&world.pair.send(&request));
    world.run(&mut Sound, 15);
    let order = world.request(&ORDER);
    let snapshot = world.request(&SNAPSHOT);
    world.run(&mut Sound, 10);
    assert_eq!(world.count("/orders"), 0, "an order is held back");
    assert!(matches!(world.outcome(snapshot), Some(Outcome::Responded(_))), "a GET is not");
    world.client.handle_response(exchange, &answer, world.pair.now).unwrap();
    world.run(&mut Sound, 2);
    assert_eq!((world.count(LOGIN), world.count("/orders")), (2, 1));
    let at_refresh = sent_at(&world, LOGIN)[1];
    assert!(sent_at(&world, "/orders")[0] >= at_refresh);
    assert!(world.outcome(order).is_some());
}

/// The old token signs for ten minutes more: no order waits for all of them.
#[test]
fn an_order_waits_31_seconds_at_most_for_a_refresh_that_fails() {
    for (status, body) in [(0, ""), (503, "<html>")] {
        for handed_over in [10, 20, 60, 120, 300, 500] {
            let mut world = before_refresh();
            let mut network = answering(to(LOGIN), status, body);
            world.run(&mut network, handed_over);
            let began = world.pair.now;
            world.request(&ORDER);
            world.run(&mut network, 59);
            let waited = sent_at(&world, "/orders").first().map(|at| at.saturating_since(began).as_secs());
            assert!(waited.is_some_and(|waited| waited <= 31), "{status} {handed_over}: {waited:?}");
        }
    }
}

/// The server has made the new token already and refuses the old one, and the client does not know yet.
#[test]
fn a_get_rejected_amid_a_refresh_is_repeated_with_the_new_token() {
    let mut world = before_refresh();
    world.run(&mut Sound, 9);
    world.pair.wait(2);
    let (request, login) = world.next_send().unwrap();
    assert!(to(LOGIN)(&request));
    let token = response(&world.pair.send(&request));
    let ticket = world.request(&ACCOUNTS);
    let (request, exchange) = world.next_send().unwrap();
    let rejection = response(&world.pair.send(&request));
    assert_eq!(rejection.status(), 401);
    world.client.handle_response(exchange, &rejection, world.pair.now).unwrap();
    world.client.handle_response(login, &token, world.pair.now).unwrap();
    world.run(&mut Sound, 10);
    assert!(matches!(world.outcome(ticket), Some(Outcome::Responded(_))), "{:?}", world.outcome(ticket));
    assert_eq!((world.count("/portfolio/accounts"), world.count(LOGIN)), (2, 2));
}

/// Nothing has to be found out about the new token: the old one explains the rejection.
#[test]
fn a_get_rejected_with_the_replaced_token_is_repeated_at_once() {
    let mut world = before_refresh();
    world.run(&mut Sound, 9);
    world.pair.wait(2);
    let (request, login) = world.next_send().unwrap();
    let token = response(&world.pair.send(&request));
    let ticket = world.request(&ACCOUNTS);
    let (request, exchange) = world.next_send().unwrap();
    let rejection = response(&world.pair.send(&request));
    assert_eq!(rejection.status(), 401);
    world.client.handle_response(login, &token, world.pair.now).unwrap();
    world.client.handle_response(exchange, &rejection, world.pair.now).unwrap();
    // The limit for this endpoint is one request in five seconds.
    world.run(&mut Sound, 6);
    assert!(matches!(world.outcome(ticket), Some(Outcome::Responded(_))), "{:?}", world.outcome(ticket));
}

#[test]
fn a_rejection_of_the_replaced_token_after_the_refresh_kills_nothing() {
    let mut world = before_refresh();
    world.client.doubt();
    let (question, status) = world.next_send().unwrap();
    assert!(to("/iserver/auth/status")(&question));
    world.run(&mut Sound, 11);
    assert_eq!(world.count(LOGIN), 2);
    world.client.handle_response(status, &Response::new(401, b"Invalid signature"), world.pair.now).unwrap();
    world.run(&mut Sound, HOUR);
    assert_eq!((phase(&world), world.count(LOGIN)), (BrokeragePhase::Ready, 2));
}

/// Each second a GET, for the hour around the refresh.
#[test]
fn an_hour_of_requests_around_a_refresh_loses_none() {
    let mut world = before_refresh();
    let mut tickets = Vec::new();
    for _ in 0..HOUR {
        tickets.push(world.request(&SNAPSHOT));
        world.run(&mut Sound, 1);
    }
    world.settle(&mut Sound);
    let answered = |ticket: &&_| matches!(world.outcome(**ticket), Some(Outcome::Responded(_)));
    assert_eq!(tickets.iter().filter(answered).count(), 3600);
    assert_eq!(world.count(LOGIN), 2);
}

#[test]
fn a_refresh_is_no_contest_and_no_loss() {
    let mut world = before_refresh();
    world.events.clear();
    world.run(&mut Sound, HOUR);
    assert!(matches!(world.events[..], [Event::LoggedIn { .. }]), "{:?}", world.events);
}

#[test]
fn a_token_that_dies_at_the_refresh_is_replaced_by_that_refresh() {
    let mut world = before_refresh();
    world.happen(Incident::LiveSessionsEnd);
    world.run(&mut Sound, HOUR);
    assert_eq!((phase(&world), world.count(LOGIN)), (BrokeragePhase::Ready, 2));
}
