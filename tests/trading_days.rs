//! A client against the gateway, on a virtual clock, through days of what goes wrong: planned, and in any order.
#![cfg(feature = "std")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use ibkr_oauth::brokerage::{BrokeragePhase, CompetePolicy};
use ibkr_oauth::{
    ApiRequest, Client, ClientExchange, Error, Event, Misuse, NotSent, Outcome, Output, Request, RequestTicket,
    Response, UnixTime,
};
use ibkr_oauth_gateway::Incident;
use proptest::prelude::*;
use support::NOW;
use support::pair::{Pair, response, system_time};
use support::world::{Sound, World};

const HOUR: u64 = 3600;

fn world(policy: CompetePolicy) -> World {
    let mut pair = Pair::new();
    let session = pair.first_party(pair.builder());
    World::of(pair, Client::new(session).with_compete_policy(policy))
}

/// Lets time pass until so many hours after the beginning. Returns what happened, repetitions left out, and the longest
/// time that the client was not ready, in seconds.
fn live_until(world: &mut World, hours: u64) -> (Vec<String>, u64) {
    const STEP: u64 = 10;
    let until = NOW.saturating_add(Duration::from_secs(hours * HOUR));
    let (mut unready, mut longest) = (0, 0);
    while world.pair.now < until {
        world.run(&mut Sound, STEP);
        let is_ready = world.client.brokerage_phase(world.pair.now) == BrokeragePhase::Ready;
        unready = if is_ready { 0 } else { unready + STEP };
        longest = longest.max(unready);
    }
    let mut words: Vec<_> = world.events.drain(..).map(|event| in_words(&event)).collect();
    words.dedup();
    (words, longest)
}

fn in_words(event: &Event) -> String {
    match event {
        Event::Brokerage(phase) => format!("{phase:?}"),
        Event::LoggedIn { .. } => "LoggedIn".to_string(),
        Event::BrokerageFailed { error: Error::Rejected(rejected), .. } => format!("failed: {}", rejected.status),
        other => format!("{other:?}"),
    }
}

#[test]
fn three_days_with_everything_that_goes_wrong_are_lived_through() {
    let mut world = world(CompetePolicy::TakeOver);
    let half_an_hour = Duration::from_secs(HOUR / 2);
    for (hours, incident) in [
        (5, Incident::NightlyReset),
        (8, Incident::CompetingLogin { user: "alice".to_string() }),
        (12, Incident::Outage { lasts: half_an_hour }),
        (20, Incident::Gone),
        (30, Incident::LiveSessionsEnd),
        (40, Incident::NoBrokerageSessions { lasts: half_an_hour }),
        (40, Incident::NightlyReset),
        (60, Incident::ClockSkew { seconds: 7200 }),
    ] {
        world.pair.gateway.schedule(system_time(NOW.saturating_add(Duration::from_secs(hours * HOUR))), incident);
    }
    for (hours, expected, longest_unready) in [
        (4, &["LoggedIn", "Opening", "Ready"][..], 10),
        (6, &["Missing", "Opening", "Ready"], 10),
        (10, &["Competing", "Opening", "Ready"], 20),
        // A witness is believed for five minutes; then half an hour without a tickle was too long.
        (14, &["failed: 503", "Unconfirmed", "failed: 503", "Missing", "Opening", "Ready"], 1600),
        (22, &["LoggedIn"], 0),
        (32, &["LoggedIn"], 0),
        (42, &["Missing", "failed: 500", "Opening", "Ready"], 1860),
        (72, &["LoggedIn", "failed: 401", "ClockOff { seconds: 7200 }"], 0),
    ] {
        let (happened, unready) = live_until(&mut world, hours);
        assert_eq!(happened, expected, "until hour {hours}");
        assert!(unready <= longest_unready, "until hour {hours}: {unready} s without a brokerage session");
    }
    assert_eq!(world.count("/oauth/live_session_token"), 4, "one a day, and one for each that was lost");
    assert!(world.sent.len() < 4500, "{} requests in three days", world.sent.len());
}

#[test]
fn a_login_without_a_response_is_repeated_in_a_minute_by_a_clock_set_back() {
    let mut world = world(CompetePolicy::Yield);
    std::mem::forget(world.next_send().unwrap());
    world.pair.now = world.pair.now.saturating_sub(Duration::from_secs(4 * HOUR));
    world.pair.server_ahead += 4 * 3600;
    world.run(&mut Sound, 60);
    assert!(world.client.live(world.pair.now).is_some(), "{:?}", world.sent);
}

/// What may happen between a client and its server.
#[derive(Debug, Clone)]
enum Operation {
    Poll,
    /// What the gateway says to what is in flight.
    Answer,
    /// What somebody else says.
    AnswerWith {
        status: u16,
        body: String,
    },
    AnswerForeign,
    DropExchange,
    /// The response never comes, and nobody says so.
    Lose,
    Wait {
        seconds: u64,
    },
    /// Our clock goes back.
    GoBack {
        seconds: u32,
    },
    Get,
    Order,
    Doubt,
    Open,
    LogOut,
    Incident(Incident),
}

fn operation() -> impl Strategy<Value = Operation> {
    let standing = |authenticated: bool, competing: bool| {
        format!(r#"{{"authenticated":{authenticated},"established":{authenticated},"competing":{competing}}}"#)
    };
    let bodies = [standing(true, false), standing(false, false), standing(false, true)];
    let tickles = bodies.each_ref().map(|body| format!(r#"{{"session":"cafe01","iserver":{{"authStatus":{body}}}}}"#));
    let others =
        [r#"{"error":"Bad Request: no bridge"}"#, "", "<html>", r#"{"error":"failed to generate sso dh token"}"#]
            .map(str::to_string);
    let body = prop::sample::select([&bodies[..], &tickles, &others].concat());
    let status = prop::sample::select(vec![200, 200, 200, 302, 400, 401, 410, 429, 500, 503]);
    let (user, lasts) = ("alice".to_string(), Duration::from_secs(900));
    let incident = prop::sample::select(vec![
        Incident::NightlyReset,
        Incident::CompetingLogin { user },
        Incident::Outage { lasts },
        Incident::TooManyRequests { lasts },
        Incident::NoBrokerageSessions { lasts },
        Incident::LiveSessionsEnd,
        Incident::Gone,
    ]);
    prop_oneof![
        16 => Just(Operation::Poll),
        10 => Just(Operation::Answer),
        6 => (status, body).prop_map(|(status, body)| Operation::AnswerWith { status, body }),
        1 => Just(Operation::AnswerForeign),
        2 => Just(Operation::DropExchange),
        2 => Just(Operation::Lose),
        8 => prop_oneof![0..90_u64, 0..90_000_u64].prop_map(|seconds| Operation::Wait { seconds }),
        1 => (0..7200_u32).prop_map(|seconds| Operation::GoBack { seconds }),
        2 => Just(Operation::Get),
        2 => Just(Operation::Order),
        2 => Just(Operation::Doubt),
        1 => Just(Operation::Open),
        1 => Just(Operation::LogOut),
        2 => incident.prop_map(Operation::Incident),
    ]
}

const GET: ApiRequest<'_> = ApiRequest::get("/iserver/marketdata/snapshot").query(&[("conids", "8314")]);
const ORDER: ApiRequest<'_> = ApiRequest::post("/iserver/account/DU1/orders").json(b"{}");

/// A client, its server, and what is in flight between them.
struct Ordeal {
    world: World,
    in_flight: Vec<(Request, ClientExchange)>,
    /// How often each of the caller's own requests went out, and how often it may.
    sent: BTreeMap<RequestTicket, (usize, usize)>,
    /// When live session tokens were asked for, by a clock that nobody sets.
    logins: Vec<i64>,
    /// Requests of the client's own since time passed, a response came or the user wished for something.
    at_once: usize,
}

impl Ordeal {
    fn begin(policy: CompetePolicy) -> Self {
        Self { world: world(policy), in_flight: vec![], sent: BTreeMap::new(), logins: vec![], at_once: 0 }
    }

    fn perform(&mut self, operation: &Operation) {
        let now = self.world.pair.now;
        match operation {
            Operation::Poll => {
                self.poll();
                return;
            }
            Operation::Answer if self.in_flight.is_empty() => return,
            Operation::Answer => {
                let (request, exchange) = self.in_flight.remove(0);
                let answer = self.world.pair.send(&request);
                self.hand_in(exchange, response(&answer));
            }
            Operation::AnswerWith { status, body } => {
                let Some((_, exchange)) = self.in_flight.pop() else { return };
                self.hand_in(exchange, Response::new(*status, body.as_bytes()));
            }
            Operation::AnswerForeign => return self.answer_foreign(),
            Operation::DropExchange => return drop(self.in_flight.pop()),
            Operation::Lose => return std::mem::forget(self.in_flight.pop()),
            Operation::Wait { seconds } => self.world.pair.wait(*seconds),
            Operation::GoBack { seconds } => {
                self.world.pair.now = now.saturating_sub(Duration::from_secs((*seconds).into()));
                self.world.pair.server_ahead += i64::from(*seconds);
            }
            Operation::Get => drop(self.sent.insert(self.world.request(&GET), (0, 2))),
            Operation::Order => drop(self.sent.insert(self.world.request(&ORDER), (0, 1))),
            Operation::Doubt => return self.world.client.doubt(),
            Operation::Open => self.world.client.open(),
            Operation::LogOut => self.world.client.log_out(now),
            Operation::Incident(incident) => self.happen(incident.clone()),
        }
        self.at_once = 0;
    }

    /// Milliseconds since 1970, by the server's clock.
    fn server_now(&self) -> u64 {
        self.world.pair.now.as_millis().checked_add_signed(1000 * self.world.pair.server_ahead).unwrap()
    }

    fn happen(&mut self, incident: Incident) {
        self.world.pair.gateway.schedule(system_time(UnixTime::from_millis(self.server_now())), incident);
    }

    /// Sends what is to be sent, or returns until when the client waits.
    fn poll(&mut self) -> Option<UnixTime> {
        if let Some((request, exchange)) = self.world.next_send() {
            self.is_silent(&format!("{request:?} {exchange:?}"));
            self.note_sent(&request, &exchange);
            self.in_flight.push((request, exchange));
            return None;
        }
        let now = self.world.pair.now;
        let Output::Wait(until) = self.world.client.poll(&mut self.world.pair.rng, now) else { panic!("it waited") };
        assert!(now < until && until <= now.saturating_add(Duration::from_secs(60)), "{until:?} at {now:?}");
        Some(until)
    }

    fn note_sent(&mut self, request: &Request, exchange: &ClientExchange) {
        let Some(ticket) = exchange.request() else {
            self.at_once += 1;
            assert!(self.at_once <= 3, "a login, a step and a tickle are enough");
            if request.path().ends_with("/live_session_token") {
                self.note_login();
            }
            return;
        };
        let (count, most) = self.sent.get_mut(&ticket).unwrap();
        *count += 1;
        assert!(*count <= *most, "{} went out {count} times", request.path());
    }

    fn note_login(&mut self) {
        let now = i64::try_from(self.server_now()).unwrap();
        let in_the_last_hour = self.logins.iter().filter(|at| now - **at < 3_600_000).count();
        assert!(in_the_last_hour < 12, "twelve tokens in an hour, and one more");
        self.logins.push(now);
    }

    fn hand_in(&mut self, exchange: ClientExchange, response: Response<'_>) {
        // What came too late changes nothing; no other error is possible.
        let late = self.world.client.handle_response(exchange, &response, self.world.pair.now);
        assert!(matches!(late, Ok(()) | Err(Misuse::StaleExchange)));
        self.is_silent(&format!("{:?} {:?}", self.world.client, self.world.client.web_socket()));
    }

    fn answer_foreign(&mut self) {
        let Some((_, foreign)) = world(CompetePolicy::Yield).next_send() else { panic!("it logs in") };
        let now = self.world.pair.now;
        let seen = |client: &Client| (client.phase(now), client.brokerage_phase(now), client.web_socket());
        let before = seen(&self.world.client);
        let rejected = self.world.client.handle_response(foreign, &Response::new(200, b"{}"), now);
        assert_eq!(rejected, Err(Misuse::StaleExchange));
        assert_eq!(seen(&self.world.client), before);
    }

    fn is_silent(&self, shown: &str) {
        let token = self.world.client.access_token().unwrap().token();
        let web_socket = self.world.client.web_socket();
        let cookie = web_socket.iter().flat_map(|request| request.headers()).next();
        let session_id = cookie.and_then(|(_, cookie)| cookie.strip_prefix("api="));
        for secret in [token].into_iter().chain(session_id) {
            assert!(!shown.contains(secret), "{secret} is shown in: {shown}");
        }
    }

    /// Lets everything come to rest, with nothing going wrong any more.
    fn recover(&mut self) {
        self.happen(Incident::CompetitorLeaves { user: "alice".to_string() });
        self.in_flight.clear();
        self.world.client.open();
        let end = self.world.pair.now.saturating_add(Duration::from_secs(2 * HOUR));
        while self.world.pair.now < end {
            match self.poll() {
                None => self.perform(&Operation::Answer),
                Some(until) => {
                    self.world.pair.now = until;
                    self.at_once = 0;
                }
            }
        }
    }

    /// Each own request has one outcome, which tells what happened to it.
    fn all_are_told(&self) {
        for (ticket, (count, _)) in &self.sent {
            let outcomes = self.world.events.iter().filter_map(|event| match event {
                Event::Finished { ticket: of, outcome } if of == ticket => Some(outcome),
                _ => None,
            });
            match outcomes.collect::<Vec<_>>()[..] {
                [Outcome::NotSent(NotSent::Deadline { .. } | NotSent::LoggedOut)] => assert_eq!(*count, 0),
                [Outcome::Responded(_) | Outcome::Rejected { .. } | Outcome::NoResponse] => assert_ne!(*count, 0),
                ref others => panic!("{ticket:?}: {others:?}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, max_shrink_iters: 40, ..ProptestConfig::default() })]

    /// Nobody is flooded; no hour sees more than twelve tokens; an order goes out once and a GET twice at most, and each
    /// is told of once; nothing that a server says is an error, and an exchange that is not awaited changes nothing; no
    /// secret is shown. And when all of it is over, the user gets a brokerage session.
    #[test]
    fn whatever_happens_nobody_is_flooded_and_the_way_back_is_open(
        policy in prop_oneof![Just(CompetePolicy::Yield), Just(CompetePolicy::TakeOver)],
        operations in prop::collection::vec(operation(), 1..64),
    ) {
        let mut ordeal = Ordeal::begin(policy);
        operations.iter().for_each(|operation| ordeal.perform(operation));
        ordeal.recover();
        ordeal.all_are_told();
        let phase = ordeal.world.client.brokerage_phase(ordeal.world.pair.now);
        prop_assert_eq!(phase, BrokeragePhase::Ready, "{:?}", ordeal.world.events);
    }
}
