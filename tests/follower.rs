//! Followers sign with a session that somebody else owns: without keys, without a login, and without harm to the owner.
#![cfg(all(feature = "serde", feature = "std"))]

mod support;

use std::time::Duration;

use ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth::{
    ApiRequest, Diagnosis, Error, Followed, Follower, FollowerOutput, Question, Response, Retry, SharedSession,
    SnapshotError, UnixTime,
};
use ibkr_oauth_gateway::Incident;
use serde_json::{Value, json};
use support::pair::{BASE_URL, CONSUMER, Pair, response};
use support::world::{Sound, World};
use support::{NOW, WorkedLogin, rng};

const LOGIN: &str = "/oauth/live_session_token";
const ACCOUNTS: ApiRequest<'_> = ApiRequest::get("/portfolio/accounts");
const ORDERS: ApiRequest<'_> = ApiRequest::get("/iserver/account/orders");
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// An owner that has logged in.
fn owner() -> World {
    let mut world = World::new();
    world.run(&mut Sound, 70);
    world
}

fn follower() -> Follower {
    Follower::builder(CONSUMER).base_url(BASE_URL).build().unwrap()
}

/// What the owner shares, by way of a file.
fn shared(world: &World) -> Option<SharedSession> {
    let shared = world.client.shared(world.pair.now)?;
    Some(serde_json::from_str(&serde_json::to_string(shared.expose()).unwrap()).unwrap())
}

/// A follower on a machine whose clock is ahead by so many seconds, or behind.
struct Machine {
    follower: Follower,
    ahead: i32,
}

impl Machine {
    fn new(ahead: i32) -> Self {
        Self { follower: follower(), ahead }
    }

    fn now(&self, pair: &Pair) -> UnixTime {
        UnixTime::from_millis(pair.now.as_millis().checked_add_signed(i64::from(self.ahead) * 1000).unwrap())
    }

    /// Does what the follower wants until it waits, and returns how long it does.
    fn settle(&mut self, world: &mut World) -> Duration {
        for _ in 0..10 {
            let now = self.now(&world.pair);
            match self.follower.poll(now) {
                FollowerOutput::Wait(until) => {
                    assert!(until > now && until <= now.saturating_add(Duration::from_secs(60)));
                    return until.saturating_since(now);
                }
                FollowerOutput::Ask(question) => {
                    world.client.handle_question(&by_way_of_a_socket(question));
                    match shared(world) {
                        Some(shared) => drop(self.follower.follow(&shared, now)),
                        None => self.follower.handle_no_session(),
                    }
                }
            }
        }
        panic!("a flood of questions");
    }

    fn call(&self, pair: &mut Pair, request: &ApiRequest<'_>) -> Result<(), Error> {
        let (signer, now) = (self.follower.signer(), self.now(pair));
        let request = signer.sign(request, &mut pair.rng, now)?;
        let answer = response(&pair.send(&request));
        signer.handle_response(request.receipt(), &answer, now)
    }
}

fn by_way_of_a_socket(question: Question) -> Question {
    serde_json::from_str(&serde_json::to_string(&question).unwrap()).unwrap()
}

/// Lets so much time pass for both.
fn run(world: &mut World, machine: &mut Machine, seconds: u64) {
    let until = world.pair.now.saturating_add(Duration::from_secs(seconds));
    while world.pair.now < until {
        let wait = machine.settle(world).as_millis().div_ceil(1000);
        let left = until.saturating_since(world.pair.now).as_millis().div_ceil(1000);
        world.run(&mut Sound, u64::try_from(wait.min(left)).unwrap());
    }
}

fn diagnosis(rejected: Result<(), Error>) -> Diagnosis {
    match rejected {
        Err(Error::Rejected(rejected)) => rejected.diagnosis,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_process_without_keys_signs_what_the_server_accepts() {
    let (mut world, mut machine) = (owner(), Machine::new(0));
    assert_eq!(machine.call(&mut world.pair, &ACCOUNTS), Err(Error::NoLiveSession));
    machine.settle(&mut world);
    assert_eq!(machine.call(&mut world.pair, &ACCOUNTS), Ok(()));
    assert_eq!((machine.follower.generation(), world.count(LOGIN)), (Some(1), 1));
}

#[test]
fn neither_key_nor_secret_nor_clock_is_shared() {
    let mut world = World::new();
    world.happen(Incident::ClockSkew { seconds: 1234 });
    world.run(&mut Sound, 70);
    assert_eq!(world.client.clock_skew(), 1234);
    let text = serde_json::to_string(world.client.shared(world.pair.now).unwrap().expose()).unwrap();
    let secret = world.client.access_token().unwrap().secret().expose().clone();
    assert!(!text.contains(&secret) && !text.contains("secret") && !text.contains("skew"), "{text}");
    let fields: Value = serde_json::from_str(&text).unwrap();
    let expiry = UnixTime::from_millis(fields["live_session"]["expires_at"].as_u64().unwrap());
    let on_owners_clock = world.client.live(world.pair.now).unwrap().expires_at();
    assert_eq!(expiry, on_owners_clock.saturating_add(Duration::from_secs(1234)), "the server's time");
}

#[test]
fn followers_keep_signing_through_3_days_of_refreshes() {
    for ahead in [0, 700, -700] {
        let (mut world, mut machine) = (owner(), Machine::new(ahead));
        machine.settle(&mut world);
        let mut rejected = 0;
        for _ in 0..3 * 24 * 6 {
            run(&mut world, &mut machine, 10 * MINUTE);
            rejected += u32::from(machine.call(&mut world.pair, &ACCOUNTS).is_err());
        }
        assert_eq!((world.count(LOGIN), machine.follower.generation()), (4, Some(4)), "{ahead}");
        assert_eq!(rejected, u32::from(ahead != 0), "only until the clock is known");
    }
}

#[test]
fn a_machine_that_is_10_seconds_slow_costs_the_owner_no_token() {
    let (mut world, mut machine) = (owner(), Machine::new(-10));
    machine.settle(&mut world);
    // The owner's timestamps are ahead of the machine's.
    assert!(world.pair.call(&owner_session(&world), &ACCOUNTS).status().is_success());
    let rejected = machine.call(&mut world.pair, &ACCOUNTS);
    let advice = rejected.as_ref().unwrap_err().retry(NOW);
    assert_eq!((diagnosis(rejected), advice), (Diagnosis::ClockOff, Retry::Again));
    assert_eq!(machine.call(&mut world.pair, &ACCOUNTS), Ok(()));
    run(&mut world, &mut machine, HOUR);
    assert!(world.pair.call(&owner_session(&world), &ACCOUNTS).status().is_success());
    assert_eq!(world.count(LOGIN), 1);
}

/// The owner's session once more, to sign beside its client.
fn owner_session(world: &World) -> ibkr_oauth::OAuthSession {
    let consumer = world.client.consumer().clone();
    ibkr_oauth::OAuthSession::resume(consumer, world.client.snapshot().expose(), world.pair.now).unwrap()
}

#[test]
fn a_followers_end_and_its_next_question_are_the_owners_on_any_clock() {
    for (server_ahead, ahead) in [(0, 0), (1234, 0), (0, 700), (1234, -700)] {
        let (mut world, mut machine) = (World::new(), Machine::new(ahead));
        world.happen(Incident::ClockSkew { seconds: server_ahead });
        world.run(&mut Sound, 70);
        machine.settle(&mut world);
        let _ = machine.call(&mut world.pair, &ACCOUNTS);
        machine.settle(&mut world);
        let end = world.client.live(world.pair.now).unwrap().expires_at();
        let seconds = |at: UnixTime| i64::try_from(at.as_secs()).unwrap();
        let ends_at = machine.follower.ends_at().unwrap();
        assert!((seconds(ends_at) - i64::from(ahead)).abs_diff(seconds(end)) <= 2, "{server_ahead} {ahead}");
        world.pair.now = end.saturating_sub(Duration::from_secs(603));
        assert!(matches!(machine.follower.poll(machine.now(&world.pair)), FollowerOutput::Wait(_)));
        world.pair.now = end.saturating_sub(Duration::from_secs(597));
        assert!(matches!(machine.follower.poll(machine.now(&world.pair)), FollowerOutput::Ask(_)));
    }
}

#[test]
fn each_follower_has_its_own_clock_and_series_of_timestamps() {
    let mut world = owner();
    let mut machines = [Machine::new(-200), Machine::new(0), Machine::new(200)];
    for machine in &mut machines {
        machine.settle(&mut world);
        let _ = machine.call(&mut world.pair, &ACCOUNTS);
        assert_eq!(machine.call(&mut world.pair, &ACCOUNTS), Ok(()));
        assert_eq!(machine.follower.clock_skew(), -machine.ahead);
    }
    assert_eq!(world.client.clock_skew(), 0);
}

#[test]
fn a_dead_token_is_asked_about_and_its_successor_followed_in_15_seconds() {
    let (mut world, mut machine) = (owner(), Machine::new(0));
    machine.settle(&mut world);
    world.happen(Incident::LiveSessionsEnd);
    assert_eq!(diagnosis(machine.call(&mut world.pair, &ACCOUNTS)), Diagnosis::Unauthorized);
    run(&mut world, &mut machine, 15);
    assert_eq!(machine.call(&mut world.pair, &ACCOUNTS), Ok(()));
    assert_eq!((world.count(LOGIN), machine.follower.generation()), (2, Some(2)));
}

#[test]
fn ten_followers_that_meet_one_dead_token_cost_one_login() {
    let mut world = owner();
    let mut machines: Vec<Machine> = (0..10).map(|_| Machine::new(0)).collect();
    for machine in &mut machines {
        machine.settle(&mut world);
    }
    world.happen(Incident::LiveSessionsEnd);
    for machine in &machines {
        assert!(machine.call(&mut world.pair, &ACCOUNTS).is_err());
    }
    for machine in &mut machines {
        run(&mut world, machine, 20);
    }
    assert!(machines.iter().all(|machine| machine.call(&mut world.pair, &ACCOUNTS) == Ok(())));
    assert_eq!(world.count(LOGIN), 2);
}

#[test]
fn the_question_of_a_follower_without_a_token_is_about_generation_0() {
    let (world, mut follower) = (owner(), follower());
    let FollowerOutput::Ask(question) = follower.poll(world.pair.now) else { panic!("no question") };
    assert_eq!((question.generation(), question.is_rejected()), (0, false));
}

#[test]
fn a_report_about_an_older_generation_is_stale() {
    let (mut world, mut machine) = (owner(), Machine::new(0));
    machine.settle(&mut world);
    world.happen(Incident::LiveSessionsEnd);
    assert!(machine.call(&mut world.pair, &ACCOUNTS).is_err());
    let FollowerOutput::Ask(question) = machine.follower.poll(world.pair.now) else { panic!("no question") };
    assert!(question.is_rejected() && question.generation() == 1);
    world.run(&mut Sound, 2 * MINUTE);
    assert_eq!(world.count(LOGIN), 2, "the owner has found out by itself");
    world.sent.clear();
    for _ in 0..100 {
        assert!(!world.client.handle_question(&question));
        world.run(&mut Sound, 1);
    }
    assert!(world.count("/tickle") <= 3 && world.count(LOGIN) == 0, "{:?}", world.sent);
}

#[test]
fn rejections_of_one_request_cost_the_owner_tickles_and_no_token() {
    let (mut world, mut machine) = (owner(), Machine::new(0));
    machine.settle(&mut world);
    world.sent.clear();
    let mut asked = 0;
    for _ in 0..600 {
        let now = world.pair.now;
        let signer = machine.follower.signer();
        let request = signer.sign(&ACCOUNTS, &mut rng(now.as_millis()), now).unwrap();
        assert!(signer.handle_response(request.receipt(), &Response::new(401, b"Invalid signature"), now).is_err());
        if let FollowerOutput::Ask(question) = machine.follower.poll(now) {
            asked += 1;
            assert!(world.client.handle_question(&question), "the generation is still it");
            assert_eq!(machine.follower.follow(&shared(&world).unwrap(), now), Ok(Followed::Same));
        }
        world.run(&mut Sound, 1);
    }
    assert_eq!(world.count(LOGIN), 0);
    assert!((5..=70).contains(&asked) && world.count("/tickle") <= 71, "{asked} {}", world.count("/tickle"));
}

#[test]
fn a_missing_brokerage_session_is_reported_to_the_owner() {
    let (mut world, mut machine) = (owner(), Machine::new(0));
    machine.settle(&mut world);
    world.happen(Incident::NightlyReset);
    assert_eq!(diagnosis(machine.call(&mut world.pair, &ORDERS)), Diagnosis::NoBridge);
    run(&mut world, &mut machine, 5);
    assert_eq!(world.client.brokerage_phase(world.pair.now), BrokeragePhase::Ready);
    assert_eq!((machine.call(&mut world.pair, &ORDERS), world.count(LOGIN)), (Ok(()), 1));
}

#[test]
fn a_follower_of_a_silent_owner_signs_to_the_end_then_asks_without_flood() {
    let (mut world, mut machine) = (owner(), Machine::new(0));
    machine.settle(&mut world);
    let end = machine.follower.ends_at().unwrap();
    let (mut questions, mut signed) = (0, 0);
    while world.pair.now < end.saturating_add(Duration::from_secs(HOUR)) {
        match machine.follower.poll(world.pair.now) {
            FollowerOutput::Ask(_) => {
                questions += 1;
                assert!(questions < 1000, "a flood of questions");
            }
            FollowerOutput::Wait(until) => {
                assert!(until > world.pair.now);
                world.pair.now = until;
            }
        }
        match machine.follower.signer().sign(&ACCOUNTS, &mut rng(1), world.pair.now) {
            Ok(_) => signed = world.pair.now.as_millis(),
            Err(error) => assert_eq!(error, Error::Expired { at: end }),
        }
    }
    assert!(signed + 61_000 > end.as_millis(), "the margin of ten minutes is used");
    assert!((60..90).contains(&questions), "{questions} in 70 minutes");
}

#[test]
fn a_follower_signs_nothing_after_the_owner_logged_out() {
    let (mut world, mut machine) = (owner(), Machine::new(0));
    machine.settle(&mut world);
    world.client.log_out(world.pair.now);
    world.settle(&mut Sound);
    assert!(shared(&world).is_none());
    machine.follower.handle_no_session();
    assert_eq!(machine.call(&mut world.pair, &ACCOUNTS), Err(Error::NoLiveSession));
    world.client.open();
    run(&mut world, &mut machine, 2 * MINUTE);
    assert_eq!(machine.call(&mut world.pair, &ACCOUNTS), Ok(()));
}

/// What was shared before, by a way that is slow or by a replica that is behind.
#[test]
fn an_older_generation_replaces_a_newer_only_after_a_rejection() {
    let (mut world, mut machine) = (owner(), Machine::new(0));
    let first = shared(&world).unwrap();
    machine.settle(&mut world);
    world.happen(Incident::LiveSessionsEnd);
    world.run(&mut Sound, 2 * MINUTE);
    let second = shared(&world).unwrap();
    assert_eq!((first.generation(), second.generation()), (1, 2));
    let now = world.pair.now;
    assert_eq!(machine.follower.follow(&second, now), Ok(Followed::New));
    assert_eq!(machine.follower.follow(&second, now), Ok(Followed::Same));
    assert_eq!(machine.follower.follow(&first, now), Ok(Followed::Stale));
    assert_eq!(machine.follower.generation(), Some(2));
    // An owner that lost what it knew counts from 1 again.
    world.happen(Incident::LiveSessionsEnd);
    assert!(machine.call(&mut world.pair, &ACCOUNTS).is_err());
    assert_eq!(machine.follower.follow(&first, now), Ok(Followed::New));
}

#[test]
fn generations_are_counted_on_after_a_restart_of_the_owner() {
    let mut world = owner();
    world.run(&mut Sound, DAY);
    assert_eq!(shared(&world).unwrap().generation(), 2);
    let restarted = owner_session(&world);
    assert_eq!(restarted.shared(world.pair.now).unwrap().expose().generation(), 2);
}

fn worked() -> Value {
    serde_json::to_value(WorkedLogin::any().live_session(NOW).shared(NOW).unwrap().expose()).unwrap()
}

fn followed(shared: &Value, follower: &mut Follower) -> Result<Followed, SnapshotError> {
    follower.follow(&serde_json::from_value(shared.clone()).unwrap(), NOW)
}

fn worked_follower() -> Follower {
    Follower::builder("TESTCONS").build().unwrap()
}

#[test]
fn a_token_whose_proof_fails_is_rejected_by_field_and_changes_nothing() {
    let good = worked();
    for (pointer, value) in [
        ("/live_session/token", json!("YBWbLw+9RYP2nWrPQHxHZkBb1aM=")),
        ("/live_session/token", json!("?")),
        ("/live_session/proof", json!("543c55477d6cbb0e792d1e4f8111cec7305ba3f4")),
        ("/live_session/proof", json!("")),
        ("/live_session", Value::Null),
        ("/access_token", json!("a\"b")),
    ] {
        let mut damaged = good.clone();
        *damaged.pointer_mut(pointer).unwrap() = value;
        let mut follower = worked_follower();
        let rejected = followed(&damaged, &mut follower);
        let field = if pointer == "/access_token" { "access_token" } else { "live_session" };
        assert_eq!(rejected, Err(SnapshotError::Damaged { field }), "{pointer}");
        assert!(follower.generation().is_none() && follower.signer().live().is_none());
        assert_eq!(followed(&good, &mut follower), Ok(Followed::New));
        assert_eq!(followed(&damaged, &mut follower), rejected);
        assert_eq!(follower.generation(), Some(1));
    }
}

#[test]
fn a_session_of_another_consumer_realm_or_base_url_is_rejected() {
    let shared = worked();
    for mut foreign in [
        Follower::builder("OTHERCONS").build().unwrap(),
        Follower::builder("TESTCONS").realm("x").build().unwrap(),
        Follower::builder("TESTCONS").base_url("https://api.example/v1/api").build().unwrap(),
        Follower::builder("TESTCONS").base_url("http://api.ibkr.com/v1/api").build().unwrap(),
    ] {
        assert_eq!(followed(&shared, &mut foreign), Err(SnapshotError::Foreign));
    }
    let mut written_otherwise =
        Follower::builder("TESTCONS").base_url("HTTPS://API.IBKR.COM:443/v1/api/").build().unwrap();
    assert_eq!(followed(&shared, &mut written_otherwise), Ok(Followed::New));
}

#[test]
fn a_form_that_is_not_known_is_rejected_for_its_version() {
    for version in [0, 2] {
        let rejected = followed(&json!({"version": version, "all": "else"}), &mut worked_follower());
        assert_eq!(rejected, Err(SnapshotError::Version { found: version }));
    }
}

#[test]
fn no_token_is_trusted_for_longer_than_a_day_however_often_it_is_read() {
    let mut shared = worked();
    shared["live_session"]["expires_at"] = json!(u64::MAX);
    shared["refresh_at"] = json!(u64::MAX);
    let shared: SharedSession = serde_json::from_value(shared).unwrap();
    let mut follower = worked_follower();
    assert_eq!(follower.follow(&shared, NOW), Ok(Followed::New));
    let end = NOW.saturating_add(Duration::from_secs(DAY));
    assert_eq!(follower.ends_at(), Some(end));
    let later = NOW.saturating_add(Duration::from_secs(20 * HOUR));
    assert_eq!(follower.follow(&shared, later), Ok(Followed::Same));
    assert_eq!(follower.ends_at(), Some(end));
    assert!(matches!(follower.poll(end), FollowerOutput::Ask(_)));
}

#[test]
fn an_expired_token_is_not_followed() {
    let shared: SharedSession = serde_json::from_value(worked()).unwrap();
    let mut follower = worked_follower();
    assert_eq!(follower.follow(&shared, NOW.saturating_add(Duration::from_secs(DAY))), Ok(Followed::Stale));
    assert!(follower.signer().live().is_none());
}

#[test]
fn debug_shows_no_secret() {
    let mut follower = worked_follower();
    let shared = WorkedLogin::any().live_session(NOW).shared(NOW).unwrap();
    follower.follow(shared.expose(), NOW).unwrap();
    let shown = format!("{shared:?} {:?} {follower:?}", shared.expose());
    assert_eq!(
        shown,
        "[redacted] SharedSession { version: 1, generation: 1, .. } Follower { generation: Some(1), .. }"
    );
}
