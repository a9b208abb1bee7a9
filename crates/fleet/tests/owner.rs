//! Owners of one login that follow each other, and followers beside them, against IBKR's half: who takes over logs in to nothing
//! that is stored already.
#![cfg(feature = "seal")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use ibkr_oauth::{ApiRequest, ClientExchange, Followed, Follower, FollowerOutput, Request, Response, UnixTime};
use ibkr_oauth_fleet::{Answer, Entry, Operation, Owner, OwnerEvent, OwnerOutput, Seal, Secrecy, ibkr_oauth};
use ibkr_oauth_gateway::Incident;
use rand::SeedableRng;
use rand::rngs::StdRng;
use support::{BASE_URL, CONSUMER, Ibkr};

const KEY: &str = "login/alice";
const ACCOUNTS: ApiRequest<'_> = ApiRequest::get("/portfolio/accounts");

/// IBKR, a store, and time.
struct World {
    ibkr: Ibkr,
    store: BTreeMap<String, Entry>,
    is_down: bool,
    rng: StdRng,
    /// IBKR's clock.
    now: UnixTime,
    /// By how many seconds the clock of the owner's machine is ahead of that.
    ahead: i64,
    secrecy: Secrecy,
}

impl World {
    fn new(secrecy: Secrecy) -> Self {
        let (store, now) = (BTreeMap::new(), UnixTime::from_secs(1_714_650_000));
        Self { ibkr: Ibkr::new(), store, is_down: false, rng: StdRng::seed_from_u64(2), now, ahead: 0, secrecy }
    }

    fn owner(&self, fence: u64) -> Owner {
        Owner::new(self.ibkr.client(), KEY, fence, self.secrecy.clone())
    }

    fn send(&mut self, request: &Request) -> Response<'static> {
        self.ibkr.answer(request, self.now)
    }

    fn perform(&mut self, operation: Operation) -> Answer {
        let version = |key: &String| self.store.get(key).map(|entry| entry.version);
        match operation {
            _ if self.is_down => Answer::Unknown,
            Operation::Read(keys) => Answer::Entries(keys.iter().map(|key| self.store.get(key).cloned()).collect()),
            Operation::Write { key, expected, value } if version(&key) == expected => {
                let version = expected.unwrap_or_default() + 1;
                self.store.insert(key, Entry { version, value });
                Answer::Written(version)
            }
            Operation::Write { .. } | Operation::Delete { .. } => Answer::Conflict,
        }
    }

    fn owners_clock(&self) -> UnixTime {
        UnixTime::from_millis(self.now.as_millis().checked_add_signed(self.ahead * 1000).unwrap())
    }

    fn elapsed(&self) -> Duration {
        self.now.saturating_since(UnixTime::from_secs(1_714_000_000))
    }

    /// Lets so much time pass for this owner, and returns what it told.
    fn run(&mut self, owner: &mut Owner, seconds: u64) -> Vec<OwnerEvent> {
        let until = self.now.saturating_add(Duration::from_secs(seconds));
        let (mut events, mut at_once) = (Vec::new(), 0);
        while self.now < until {
            at_once += 1;
            assert!(at_once < 1000, "a flood");
            let (elapsed, clock) = (self.elapsed(), self.owners_clock());
            match owner.poll(&mut self.rng, clock, elapsed) {
                OwnerOutput::Send { request, exchange } => {
                    let response = self.send(&request);
                    owner.handle_response(exchange, &response, clock).unwrap();
                }
                OwnerOutput::Store { operation, exchange } => {
                    let answer = self.perform(operation);
                    owner.handle_answer(exchange, answer, elapsed);
                }
                OwnerOutput::Event(event) => events.push(event),
                OwnerOutput::Wait(pause) => {
                    assert!(!pause.is_zero() && pause <= Duration::from_secs(60));
                    self.now = self.now.saturating_add(pause).min(until);
                    at_once = 0;
                }
            }
        }
        events
    }

    /// Lets this owner do everything until it asks for a token.
    fn login_request(&mut self, owner: &mut Owner) -> (Request, ClientExchange) {
        let patience = self.now.saturating_add(Duration::from_secs(DAY));
        loop {
            let elapsed = self.elapsed();
            match owner.poll(&mut self.rng, self.now, elapsed) {
                OwnerOutput::Send { request, exchange } if request.path().ends_with("/live_session_token") => {
                    return (request, exchange);
                }
                OwnerOutput::Send { request, exchange } => {
                    let response = self.send(&request);
                    owner.handle_response(exchange, &response, self.now).unwrap();
                }
                OwnerOutput::Store { operation, exchange } => {
                    let answer = self.perform(operation);
                    owner.handle_answer(exchange, answer, elapsed);
                }
                OwnerOutput::Event(_) => {}
                OwnerOutput::Wait(pause) => {
                    self.now = self.now.saturating_add(pause);
                    assert!(self.now < patience, "no login");
                }
            }
        }
    }

    fn call(&mut self, owner: &mut Owner) -> bool {
        let signer = owner.client().signer();
        let clock = self.owners_clock();
        let Ok(request) = signer.sign(&ACCOUNTS, &mut self.rng, clock) else { return false };
        let response = self.send(&request);
        signer.handle_response(request.receipt(), &response, clock).is_ok()
    }

    fn stored(&self) -> &Entry {
        &self.store[KEY]
    }
}

fn worlds() -> [World; 2] {
    let sealed = Secrecy::sealed(Seal::new(&[1; 32]), Seal::new(&[2; 32]));
    [World::new(Secrecy::plain()), World::new(sealed)]
}

const DAY: u64 = 24 * 3600;

#[test]
fn one_owner_after_the_other_goes_on_with_one_login() {
    for mut world in worlds() {
        for fence in 1..20 {
            let mut owner = world.owner(fence);
            world.run(&mut owner, 600);
            assert!(world.call(&mut owner), "owner {fence}");
        }
        assert_eq!(world.ibkr.logins, 1);
        let mut last = world.owner(20);
        world.run(&mut last, 3 * DAY);
        assert_eq!(world.ibkr.logins, 4);
        assert!(world.call(&mut last));
    }
}

#[test]
fn owners_on_machines_whose_clocks_differ_by_minutes_go_on_with_one_login() {
    let [mut world, _] = worlds();
    for (fence, ahead) in (1..).zip([0, -10, 300, -300, 500, -500]) {
        world.ahead = ahead;
        let mut owner = world.owner(fence);
        world.run(&mut owner, 600);
        assert_eq!((world.call(&mut owner), world.ibkr.logins), (true, 1), "a clock that is ahead by {ahead} seconds");
    }
    // With a difference below the refresh margin, not even the end of a token is missed.
    for (fence, ahead) in (10..).zip([290, -290]) {
        world.ahead = ahead;
        let mut owner = world.owner(fence);
        for _ in 0..DAY / 600 {
            world.run(&mut owner, 600);
            assert!(world.call(&mut owner), "a clock that is ahead by {ahead} seconds");
        }
    }
    assert_eq!(world.ibkr.logins, 3);
}

#[test]
fn an_owner_that_wakes_up_late_costs_one_login_and_is_told() {
    for mut world in worlds() {
        let mut first = world.owner(1);
        world.run(&mut first, 600);
        let mut second = world.owner(2);
        world.run(&mut second, 600);
        // The first, which was stopped, asks for a token that it was allowed to ask for before.
        let mut late = world.owner(1);
        world.ibkr.gateway.schedule(SystemTime::UNIX_EPOCH, Incident::LiveSessionsEnd);
        let (request, exchange) = world.login_request(&mut late);
        let response = world.send(&request);
        world.run(&mut second, 120);
        assert_eq!(world.ibkr.logins, 3, "one for the late request, one to mend it");
        late.handle_response(exchange, &response, world.now).unwrap();
        let events = world.run(&mut late, 10);
        assert!(events.contains(&OwnerEvent::Superseded), "{events:?}");
        let sent = world.ibkr.sent;
        assert_eq!((world.run(&mut late, 3600), world.ibkr.sent), (vec![], sent), "it does nothing any more");
        world.run(&mut second, DAY / 2);
        assert_eq!((world.ibkr.logins, world.call(&mut second)), (3, true));
    }
}

#[test]
fn an_owner_that_logs_in_after_its_successor_is_silent_from_then_on() {
    for mut world in worlds() {
        let (mut late, mut second) = (world.owner(1), world.owner(2));
        world.run(&mut late, 600);
        world.run(&mut second, 600);
        world.ibkr.gateway.schedule(SystemTime::UNIX_EPOCH, Incident::LiveSessionsEnd);
        // Both are allowed to, one just before its lease ended.
        let logins = [&mut second, &mut late].map(|owner| (world.login_request(owner), owner));
        for ((request, exchange), owner) in logins {
            let response = world.send(&request);
            owner.handle_response(exchange, &response, world.now).unwrap();
            world.run(owner, 1);
        }
        let sent = world.ibkr.sent;
        assert!(world.call(&mut late), "its token is good");
        world.run(&mut late, 3600);
        assert_eq!(world.ibkr.sent, sent + 1, "and it does nothing with it");
        world.run(&mut second, 120);
        assert!(world.call(&mut second));
    }
}

#[test]
fn a_login_that_an_earlier_owner_stored_late_is_resumed() {
    for mut world in worlds() {
        let (mut first, mut second) = (world.owner(1), world.owner(2));
        world.run(&mut first, 600);
        world.run(&mut second, 120);
        // The token dies; the first owner, not knowing that it is none any more, replaces and stores it.
        world.ibkr.gateway.schedule(SystemTime::UNIX_EPOCH, Incident::LiveSessionsEnd);
        world.run(&mut first, 120);
        assert_eq!(world.ibkr.logins, 2);
        world.run(&mut second, 120);
        assert_eq!((world.ibkr.logins, world.call(&mut second)), (2, true));
    }
}

#[test]
fn a_store_that_is_down_stops_logins_and_nothing_else() {
    for mut world in worlds() {
        let mut owner = world.owner(1);
        world.run(&mut owner, 600);
        world.is_down = true;
        world.run(&mut owner, DAY - 900);
        assert!(world.call(&mut owner), "in the margin before the end");
        assert_eq!(world.ibkr.logins, 1);
        world.run(&mut owner, 3600);
        assert_eq!((world.ibkr.logins, world.call(&mut owner)), (1, false));
        world.is_down = false;
        world.run(&mut owner, 60);
        assert_eq!((world.ibkr.logins, world.call(&mut owner)), (2, true));
    }
}

#[test]
fn followers_follow_what_an_owner_stores() {
    for mut world in worlds() {
        let mut owner = world.owner(1);
        world.run(&mut owner, 600);
        let mut follower = Follower::builder(CONSUMER).base_url(BASE_URL).build().unwrap();
        for generation in 1..4 {
            while let FollowerOutput::Ask(question) = follower.poll(world.now) {
                owner.handle_question(&question);
                let shared = world.secrecy.shared(KEY, world.stored()).unwrap();
                assert_eq!(follower.follow(&shared, world.now), Ok(Followed::New));
            }
            let signer = follower.signer();
            let request = signer.sign(&ACCOUNTS, &mut world.rng, world.now).unwrap();
            assert_eq!(world.send(&request).status(), 200);
            assert_eq!(follower.generation(), Some(generation));
            world.run(&mut owner, DAY);
        }
    }
}

/// Whoever can read the store, or write to it.
#[test]
fn nothing_is_believed_because_the_store_says_so() {
    let [mut plain, mut sealed] = worlds();
    for world in [&mut plain, &mut sealed] {
        let mut owner = world.owner(1);
        world.run(&mut owner, 600);
    }
    let secret = plain.ibkr.access_token.secret().expose().clone();
    let contains = |world: &World, text: &str| world.stored().value.windows(text.len()).any(|at| at == text.as_bytes());
    assert!(contains(&plain, &secret) && contains(&plain, "live_session"));
    assert!(!contains(&sealed, &secret) && !contains(&sealed, "live_session") && !contains(&sealed, CONSUMER));
    let for_followers = Secrecy::sealed_for_followers(Seal::new(&[2; 32]));
    assert!(for_followers.shared(KEY, sealed.stored()).is_some());
    for world in [&mut plain, &mut sealed] {
        assert!(world.secrecy.shared("login/bob", world.stored()).is_none(), "under another user's key");
        let entry = world.stored().clone();
        for place in (0..entry.value.len()).step_by(61) {
            let mut damaged = entry.clone();
            damaged.value[place] ^= 1;
            world.store.insert(KEY.to_string(), damaged);
            let mut owner = world.owner(u64::MAX);
            world.run(&mut owner, 1);
        }
        world.store.insert(KEY.to_string(), Entry { version: 9, value: b"nonsense".to_vec() });
        let mut owner = world.owner(2);
        world.run(&mut owner, 600);
        assert!(world.call(&mut owner));
    }
}
