//! The table of transitions in the documentation of `Client`, walked row by row.

use std::collections::BTreeSet;

use ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth::rand_core::CryptoRng;
use ibkr_oauth::{AccessToken, Client, Consumer, ConsumerKeys, Event, KeyError, OAuthSession, Phase, Secret};
use ibkr_oauth_gateway::{Consent, Incident};

use crate::support::dh;
use crate::support::pair::{CONSUMER, Pair, response};
use crate::support::world::{Sound, World};
use crate::{DAY, LOGIN, MINUTE, answering, ready, to};

/// What can be seen of the states in the first and third column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    NoAccessToken,
    LoggingIn,
    LoggedIn,
    LoggedOut,
    Stopped,
}

use State::{LoggedIn, LoggedOut, LoggingIn, NoAccessToken, Stopped};

/// State and happening as the table has them; a world in that state, what happens, the next state, and the names of the
/// events that come.
struct Row {
    state: &'static str,
    happens: &'static str,
    begin: fn() -> World,
    happen: fn(&mut World),
    next: State,
    events: &'static [&'static str],
}

fn rows() -> Vec<Row> {
    let row = |state, happens, begin, happen, next, events| Row { state, happens, begin, happen, next, events };
    vec![
        row("no access token", "a request token arrives", third_party, answered, NoAccessToken, &["ConsentNeeded"]),
        row(
            "no access token",
            "the callback, then an access token arrive",
            consented,
            answered,
            LoggingIn,
            &["AccessTokenGranted"],
        ),
        row("logging in", "the live session token is proved", World::new, answered, LoggedIn, &["LoggedIn"]),
        row("logging in", "any failure", World::new, |world| fails(world, 503), LoggingIn, &["LoginFailed"]),
        row("logging in", "a private key fails", without_keys, settled, Stopped, &["Stopped"]),
        row("logged in", "the refresh margin begins", ready, refreshed, LoggedIn, &["LoggedIn"]),
        row("logged in", "a request of the client's is rejected (401, 410)", ready, dies, LoggingIn, &[]),
        row(
            "logged in",
            "a request of the client's is rejected (401, 410)",
            dead_twice,
            dies,
            LoggingIn,
            &["LoginContested"],
        ),
        row(
            "logged in",
            "nothing succeeds for five minutes",
            ready,
            redirected,
            LoggingIn,
            &["BrokerageFailed", "Brokerage"],
        ),
        row("logged in", "the brokerage session changes", ready, reset, LoggedIn, &["Brokerage"]),
        row(
            "any",
            "[`log_out`](Self::log_out)",
            ready,
            logged_out,
            LoggedOut,
            &["Brokerage", "LoggedOut", "Brokerage"],
        ),
        row("any", "[`log_out`](Self::log_out)", third_party, logged_out, LoggedOut, &["LoggedOut", "Brokerage"]),
        row("any", "[`log_out`](Self::log_out)", without_keys, logged_out, LoggedOut, &["LoggedOut", "Brokerage"]),
        row("logged out, stopped", "[`open`](Self::open)", was_logged_out, opened, LoggingIn, &["Brokerage"]),
        row("logged out, stopped", "[`open`](Self::open)", was_stopped, opened_later, Stopped, &["Stopped"]),
        row("any", "[`reauthorize`](Self::reauthorize)", ready, reauthorized, NoAccessToken, &["Brokerage"]),
        row("any", "[`reauthorize`](Self::reauthorize)", was_logged_out, reauthorized, NoAccessToken, &["Brokerage"]),
        row("any", "[`reauthorize`](Self::reauthorize)", was_stopped, reauthorized_later, NoAccessToken, &["Stopped"]),
    ]
}

#[test]
fn every_row_of_the_table_is_walked_and_holds() {
    let mut walked = BTreeSet::new();
    for row in rows() {
        let mut world = (row.begin)();
        world.events.clear();
        world.sent.clear();
        (row.happen)(&mut world);
        let what = format!("{} | {}", row.state, row.happens);
        assert_eq!(state(&world), row.next, "{what}: {:?}", world.events);
        let mut events: Vec<_> = world.events.iter().map(name).collect();
        events.dedup();
        assert_eq!(events, row.events, "{what}: {:?}", world.events);
        walked.insert((row.state.to_string(), row.happens.to_string()));
    }
    assert_eq!(walked, documented());
}

/// State and happening of each row in the documentation.
fn documented() -> BTreeSet<(String, String)> {
    let documentation = include_str!("../../src/client/mod.rs");
    let table = documentation.split_once("/// # Transitions").unwrap().1;
    let lines = table.lines().skip(3).map_while(|line| line.strip_prefix("/// | "));
    let cells = lines.map(|line| line.split(" | ").map(str::to_string).collect::<Vec<_>>());
    cells.map(|cells| (cells[0].clone(), cells[1].clone())).collect()
}

/// The table that is walked is the one that is there.
#[test]
fn the_table_has_12_rows() {
    assert_eq!(documented().len(), 12);
}

fn state(world: &World) -> State {
    let mut ends = world.events.iter().rev().filter(|event| matches!(event, Event::LoggedOut | Event::Stopped { .. }));
    match (ends.next(), world.client.phase(world.pair.now)) {
        (Some(Event::LoggedOut), _) => LoggedOut,
        (Some(_), Phase::AccessToken) => Stopped,
        (_, Phase::LiveSession) => LoggedIn,
        (_, Phase::AccessToken) => LoggingIn,
        (_, Phase::Unauthorized | Phase::RequestToken) => NoAccessToken,
    }
}

fn name(event: &Event) -> String {
    let text = format!("{event:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_string()
}

fn third_party() -> World {
    let pair = Pair::new();
    let consumer = pair.builder().build().unwrap();
    World::of(pair, Client::new(OAuthSession::new(consumer)))
}

fn consented() -> World {
    let mut world = third_party();
    world.settle(&mut Sound);
    let token = world.client.request_token().unwrap().to_string();
    let callback = world.pair.gateway.consent(&token, "alice", Consent::Grant, &mut world.pair.rng).unwrap();
    world.client.handle_callback(&callback).unwrap();
    world
}

struct LostKeys;

impl ConsumerKeys for LostKeys {
    fn sign_rsa_sha256(&self, _: &[u8], _: &mut dyn CryptoRng) -> Result<Vec<u8>, KeyError> {
        Err(KeyError::Sign)
    }

    fn decrypt_pkcs1v15(&self, _: &[u8], _: &mut dyn CryptoRng) -> Result<Secret<Vec<u8>>, KeyError> {
        Err(KeyError::Sign)
    }
}

fn without_keys() -> World {
    let consumer = Consumer::builder(CONSUMER, LostKeys, dh()).build().unwrap();
    let access_token = AccessToken::new("a1b2c3d4e5f6a7b8c9d0", "c2VjcmV0").unwrap();
    World::of(Pair::new(), Client::new(OAuthSession::with_access_token(consumer, access_token)))
}

fn was_stopped() -> World {
    let mut world = without_keys();
    settled(&mut world);
    world
}

fn was_logged_out() -> World {
    let mut world = ready();
    logged_out(&mut world);
    world
}

/// Its third token in a few minutes.
fn dead_twice() -> World {
    let mut world = ready();
    for _ in 0..2 {
        world.happen(Incident::LiveSessionsEnd);
        world.run(&mut Sound, 2 * MINUTE);
    }
    world
}

fn settled(world: &mut World) {
    assert!(world.next_send().is_none());
}

/// The next request gets its honest answer, and nothing else goes out.
fn answered(world: &mut World) {
    let (request, exchange) = world.next_send().unwrap();
    let answer = response(&world.pair.send(&request));
    world.client.handle_response(exchange, &answer, world.pair.now).unwrap();
    while let ibkr_oauth::Output::Event(event) = world.client.poll(&mut world.pair.rng, world.pair.now) {
        world.events.push(event);
    }
}

fn fails(world: &mut World, status: u16) {
    world.run(&mut answering(|_| true, status, ""), 1);
}

fn refreshed(world: &mut World) {
    world.run(&mut Sound, DAY);
    assert_eq!(world.count(LOGIN), 1);
}

/// The next tickle finds it out; the login after it fails.
fn dies(world: &mut World) {
    world.happen(Incident::LiveSessionsEnd);
    while world.client.phase(world.pair.now) == Phase::LiveSession {
        let (request, exchange) = loop {
            match world.next_send() {
                Some(sent) => break sent,
                None => world.pair.wait(1),
            }
        };
        let answer = response(&world.pair.send(&request));
        world.client.handle_response(exchange, &answer, world.pair.now).unwrap();
    }
    // Nobody has asked for the events yet.
    while let ibkr_oauth::Output::Event(event) = world.client.poll(&mut world.pair.rng, world.pair.now) {
        world.events.push(event);
    }
}

/// Everything is redirected, and nobody answers the login.
fn redirected(world: &mut World) {
    let begin = world.pair.now;
    loop {
        match world.next_send() {
            Some((request, _)) if to(LOGIN)(&request) => break,
            Some((_, exchange)) => {
                let redirect = ibkr_oauth::Response::new(302, b"");
                world.client.handle_response(exchange, &redirect, world.pair.now).unwrap();
            }
            None => world.pair.wait(1),
        }
        assert!(world.pair.now.saturating_since(begin).as_secs() < 10 * MINUTE);
    }
    assert!(world.pair.now.saturating_since(begin).as_secs() >= 4 * MINUTE);
}

fn reset(world: &mut World) {
    world.happen(Incident::NightlyReset);
    world.run(&mut Sound, 2 * MINUTE);
    assert_eq!(world.client.brokerage_phase(world.pair.now), BrokeragePhase::Ready);
}

fn logged_out(world: &mut World) {
    world.client.log_out(world.pair.now);
    world.settle(&mut Sound);
}

fn opened(world: &mut World) {
    world.client.open();
    while let ibkr_oauth::Output::Event(event) = world.client.poll(&mut world.pair.rng, world.pair.now) {
        world.events.push(event);
    }
}

/// Some seconds lie between two attempts, even if the user asks for the second.
fn opened_later(world: &mut World) {
    world.pair.wait(10);
    opened(world);
}

fn reauthorized(world: &mut World) {
    world.client.reauthorize();
    while let ibkr_oauth::Output::Event(event) = world.client.poll(&mut world.pair.rng, world.pair.now) {
        world.events.push(event);
    }
}

fn reauthorized_later(world: &mut World) {
    world.pair.wait(10);
    reauthorized(world);
}
