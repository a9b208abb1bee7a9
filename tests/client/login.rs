//! Logins: as few as it takes, never too many, and none given up.

use ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth::rand_core::CryptoRng;
use ibkr_oauth::{Client, Consumer, ConsumerKeys, Event, KeyError, OAuthSession, Request, Response, Secret};
use ibkr_oauth_gateway::Incident;

use crate::support::dh;
use crate::support::pair::{CONSUMER, Pair, response};
use crate::support::world::{Network, Sound, World};
use crate::{DAY, HOUR, LOGIN, MINUTE, answering, phase, ready, recovery, to};

#[test]
fn three_days_take_four_tokens_and_a_tickle_a_minute() {
    let mut world = World::new();
    world.run(&mut Sound, 3 * DAY);
    assert_eq!(phase(&world), BrokeragePhase::Ready);
    assert_eq!(world.count(LOGIN), 4);
    assert!((4315..=4321).contains(&world.count("/tickle")), "{}", world.count("/tickle"));
    let phases: Vec<_> = world.events.iter().filter(|event| matches!(event, Event::Brokerage(_))).collect();
    assert_eq!(phases, [&Event::Brokerage(BrokeragePhase::Opening), &Event::Brokerage(BrokeragePhase::Ready)]);
}

/// Status and body of responses that are no token.
const REFUSALS: [(u16, &str); 24] = [
    (0, ""),
    (200, r#"{"diffie_hellman_response":"","live_session_token_signature":"00"}"#),
    (200, r#"{"diffie_hellman_response":"12345","live_session_token_signature":"0011"}"#),
    (200, r#"{"error":"try again"}"#),
    (200, r#"{"error":{"code":7}}"#),
    (200, r#"{"statusCode":401}"#),
    (200, "<html>"),
    (302, ""),
    (400, "<html>"),
    (401, r#"{"error":"id: 1, error: invalid consumer","statusCode":401}"#),
    (401, r#"{"error":"id: 1, error: LST failed, error: ","statusCode":401}"#),
    (401, r#"{"error":"id: 1, error: LST failed, error: No access secret key found for x","statusCode":401}"#),
    (401, ""),
    (403, "Forbidden"),
    (404, ""),
    (405, ""),
    (407, ""),
    (409, ""),
    (410, "gone"),
    (421, ""),
    (425, ""),
    (451, ""),
    (500, "{}"),
    (503, "<html>"),
];

#[test]
fn no_rejection_costs_more_than_12_tokens_an_hour_nor_the_way_back() {
    for (status, body) in REFUSALS {
        let mut world = World::new();
        world.run(&mut answering(to(LOGIN), status, body), 3 * HOUR);
        let (asked, busiest) = (world.count(LOGIN), world.most_in(HOUR, LOGIN));
        assert!((12..=36).contains(&asked) && busiest <= 12, "{status} {body}: {asked} in three hours");
        assert_eq!(world.count_events(|event| matches!(event, Event::Stopped { .. })), 0, "{status} {body}");
        let seconds = recovery(&mut world);
        assert!(seconds <= 16 * MINUTE, "{status} {body}: {seconds} s");
    }
}

/// What a refresh meets on the way changes nothing for as long as the old token signs.
#[test]
fn no_rejection_at_a_refresh_ends_the_old_token_before_its_24_hours() {
    for (status, body) in REFUSALS {
        let mut world = ready();
        world.sleep_through(&mut Sound, DAY - HOUR);
        world.run(&mut answering(to(LOGIN), status, body), 57 * MINUTE);
        assert_eq!(phase(&world), BrokeragePhase::Ready, "{status} {body}");
        assert!((2..=8).contains(&world.count(LOGIN)), "{status} {body}: {}", world.count(LOGIN));
        let seconds = recovery(&mut world);
        assert_eq!(seconds, 0, "{status} {body}");
    }
}

/// Whatever this network does to the login, each hour has twelve tokens at most; also for clients that are stored and
/// resumed each minute, or whose owner is nervous.
#[test]
fn no_adversary_gets_more_than_12_tokens_in_any_hour() {
    for (name, mut adversary) in adversaries() {
        for owner in [Owner::Calm, Owner::Doubts, Owner::Opens, Owner::LogsOut, Owner::Resumes] {
            let mut world = World::new();
            for _ in 0..90 {
                world.run(&mut *adversary, MINUTE);
                owner.acts(&mut world);
            }
            let busiest = world.most_in(HOUR, LOGIN);
            assert!(busiest <= 12, "{name}, {owner:?}: {busiest}");
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Owner {
    Calm,
    Doubts,
    Opens,
    LogsOut,
    Resumes,
}

impl Owner {
    fn acts(self, world: &mut World) {
        match self {
            Self::Calm => {}
            Self::Doubts => world.client.doubt(),
            Self::Opens => world.client.open(),
            Self::LogsOut => {
                world.client.log_out(world.pair.now);
                world.run(&mut Sound, 1);
                world.client.open();
            }
            Self::Resumes => {
                let consumer = world.client.consumer().clone();
                let snapshot = world.client.snapshot();
                world.client = Client::resume(consumer, snapshot.expose(), world.pair.now).unwrap();
            }
        }
    }
}

fn adversaries() -> Vec<(&'static str, Box<dyn Network>)> {
    let mut turn = 0;
    let mut alternate = move |pair: &mut Pair, request: &Request| {
        turn += 1;
        if to(LOGIN)(request) || turn % 3 > 0 {
            Some(response(&pair.send(request)))
        } else {
            Some(Response::new(401, b""))
        }
    };
    let short_lived = |pair: &mut Pair, request: &Request| {
        let answer = pair.send(request);
        if !to(LOGIN)(request) || answer.status() != 200 {
            return Some(response(&answer));
        }
        let mut body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        // An hour and a second after the server's own time: an expiry.
        body["live_session_token_expiration"] = (pair.now.as_millis() + 3_601_000).into();
        Some(Response::new(200, body.to_string().into_bytes()).with_server_time(pair.now))
    };
    let mut wrong_dates = 0;
    let dates = move |pair: &mut Pair, _: &Request| {
        wrong_dates += 100;
        let date = pair.now.saturating_add(std::time::Duration::from_secs(wrong_dates % 80_000));
        Some(Response::new(401, b"").with_server_time(date))
    };
    vec![
        ("all tokens are dead at once", Box::new(answering(|request| !to(LOGIN)(request), 401, "Invalid signature"))),
        ("all tokens are gone at once", Box::new(answering(|request| !to(LOGIN)(request), 410, "gone"))),
        ("only tickles are refused", Box::new(answering(to("/tickle"), 401, "Unauthorized"))),
        ("only the brokerage session is refused", Box::new(answering(to("/ssodh/init"), 401, "Unauthorized"))),
        ("all is redirected but the login", Box::new(answering(|request| !to(LOGIN)(request), 302, ""))),
        (
            "every third request is refused",
            Box::new(move |pair: &mut Pair, request: &Request| alternate(pair, request)),
        ),
        ("tokens live for an hour", Box::new(short_lived)),
        ("each refusal shows another time", Box::new(dates)),
        ("nothing arrives", Box::new(answering(|_| true, 0, ""))),
    ]
}

#[test]
fn a_doubt_each_second_of_an_outage_does_not_lock_out_for_an_hour() {
    for minutes in [1, 5, 20, 60] {
        let mut world = World::new();
        let mut outage = answering(|_| true, 503, "<html>");
        for _ in 0..minutes * MINUTE {
            world.client.doubt();
            world.run(&mut outage, 1);
        }
        assert!(world.most_in(5, "") <= 1, "one request in five seconds at most");
        let seconds = recovery(&mut world);
        assert!(seconds <= 16 * MINUTE, "{seconds} s after {minutes} minutes");
    }
}

#[test]
fn one_doubt_when_the_network_is_back_brings_the_login_in_40_seconds() {
    for minutes in [2, 10, 30, 90] {
        let mut world = World::new();
        world.run(&mut answering(|_| true, 0, ""), minutes * MINUTE);
        world.client.doubt();
        let seconds = recovery(&mut world);
        // A request that nobody answers is given up after 30 seconds.
        assert!(seconds <= 40, "{seconds} s after {minutes} minutes");
    }
}

#[test]
fn a_first_login_by_a_clock_an_hour_off_takes_one_more_request_no_pause() {
    for ahead in [-3600, -90, 90, 3600] {
        let mut world = World::new();
        world.pair.gateway.set_timestamp_window(std::time::Duration::from_secs(60));
        world.pair.server_ahead = ahead;
        world.settle(&mut Sound);
        assert_eq!(world.count(LOGIN), 2);
        assert!(world.client.live(world.pair.now).is_some());
        assert!(world.has(&Event::ClockOff { seconds: i32::try_from(ahead).unwrap() }));
    }
}

#[test]
fn a_restart_each_minute_costs_no_token() {
    let mut world = ready();
    for _ in 0..20 {
        let (consumer, snapshot) = (world.client.consumer().clone(), world.client.snapshot());
        world.client = Client::resume(consumer, snapshot.expose(), world.pair.now).unwrap();
        world.run(&mut Sound, MINUTE);
    }
    assert_eq!(world.count(LOGIN), 1);
}

/// A security module that has lost its keys.
struct LostKeys;

impl ConsumerKeys for LostKeys {
    fn sign_rsa_sha256(&self, _: &[u8], _: &mut dyn CryptoRng) -> Result<Vec<u8>, KeyError> {
        Err(KeyError::Sign)
    }

    fn decrypt_pkcs1v15(&self, _: &[u8], _: &mut dyn CryptoRng) -> Result<Secret<Vec<u8>>, KeyError> {
        Err(KeyError::Sign)
    }
}

#[test]
fn a_key_that_fails_stops_the_client_until_it_is_opened_again() {
    let mut world = World::new();
    let consumer = Consumer::builder(CONSUMER, LostKeys, dh()).build().unwrap();
    let access_token = world.client.access_token().unwrap().clone();
    world.client = Client::new(OAuthSession::with_access_token(consumer, access_token));
    let stops = |world: &World| world.count_events(|event| matches!(event, Event::Stopped { .. }));
    world.run(&mut Sound, DAY);
    assert_eq!(stops(&world), 1);
    world.client.open();
    world.run(&mut Sound, DAY);
    assert_eq!((stops(&world), world.sent.len()), (2, 0));
}

#[test]
fn empty_diffie_hellman_values_are_asked_for_again_in_seconds() {
    let mut world = World::new();
    world.happen(Incident::EmptyDiffieHellmanResponses { lasts: std::time::Duration::from_secs(10) });
    world.run(&mut Sound, 30);
    assert!((2..=4).contains(&world.count(LOGIN)), "{}", world.count(LOGIN));
    assert_eq!(phase(&world), BrokeragePhase::Ready);
}
