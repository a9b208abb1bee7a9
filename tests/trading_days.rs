//! A login and its brokerage session against the gateway, on a virtual clock, through days of what goes wrong: planned, and
//! in any order.
#![cfg(feature = "std")]

mod support;

use std::time::Duration;

use ibkr_oauth::brokerage::{
    BrokerageEvent, BrokerageExchange, BrokerageOutbound, BrokeragePhase, BrokerageSession, CompetePolicy,
};
use ibkr_oauth::{AccessToken, Consumer, Error, Misuse, OAuthSession, Response, UnixTime};
use ibkr_oauth_gateway::Incident;
use proptest::prelude::*;
use support::pair::{BASE_URL, Pair, register, response, system_time};
use support::{NOW, WorkedLogin, dh, keys, rng};

/// How long a response is awaited.
const PATIENCE: Duration = Duration::from_secs(15);

/// Both machines in one loop against the gateway, until `until`; the events in words.
fn live_through(
    pair: &mut Pair,
    oauth: &mut OAuthSession,
    brokerage: &mut BrokerageSession,
    until: UnixTime,
) -> Vec<String> {
    let mut events = Vec::new();
    while pair.now < until {
        let mut failed_login = None;
        if let Err(error) = pair.drive(oauth) {
            failed_login = Some(pair.now.saturating_add(Duration::from_secs(30)));
            events.push(format!("login: {}", rejected(&error)));
        }
        let live = oauth.live(pair.now).cloned();
        if let Some(live) = &live {
            while let Some(outbound) = brokerage.poll_request(live, &mut pair.rng, pair.now).unwrap() {
                let answer = pair.send(&outbound.request);
                let event = brokerage.handle_response(outbound.exchange, response(&answer), pair.now).unwrap();
                match &event {
                    BrokerageEvent::Alive => {}
                    BrokerageEvent::Failed { error, .. } => events.push(format!("failed: {}", rejected(error))),
                    other => events.push(format!("{other:?}")),
                }
                if event == BrokerageEvent::LiveSessionRefused {
                    oauth.invalidate(live);
                    break;
                }
            }
        }
        let login = failed_login.or(oauth.poll_timeout());
        let next = [login, brokerage.poll_timeout().filter(|_| live.is_some())];
        let next = next.into_iter().flatten().min().unwrap_or(until);
        pair.now = next.max(pair.now.saturating_add(Duration::from_millis(1))).min(until);
    }
    events
}

fn rejected(error: &Error) -> u16 {
    match error {
        Error::Rejected(rejected) => rejected.status,
        other => panic!("{other}"),
    }
}

#[test]
fn three_days_with_everything_that_goes_wrong_are_lived_through() {
    let mut pair = Pair::new();
    let mut oauth = pair.live(pair.builder());
    let mut brokerage = BrokerageSession::new(CompetePolicy::TakeOver);
    let after = |hours: u64| NOW.saturating_add(Duration::from_secs(hours * 3600));
    let half_an_hour = Duration::from_secs(1800);
    pair.gateway.schedule(system_time(after(5)), Incident::NightlyReset);
    pair.gateway.schedule(system_time(after(8)), Incident::CompetingLogin { user: "alice".to_string() });
    pair.gateway.schedule(system_time(after(12)), Incident::Outage { lasts: half_an_hour });
    pair.gateway.schedule(system_time(after(20)), Incident::Gone);
    pair.gateway.schedule(system_time(after(30)), Incident::LiveSessionsEnd);
    pair.gateway.schedule(system_time(after(40)), Incident::NoBrokerageSessions { lasts: half_an_hour });
    pair.gateway.schedule(system_time(after(40)), Incident::NightlyReset);
    pair.gateway.schedule(system_time(after(60)), Incident::ClockSkew { seconds: 7200 });

    let mut day = |hours| live_through(&mut pair, &mut oauth, &mut brokerage, after(hours));
    assert_eq!(day(4), ["Opening", "Ready"]);
    assert_eq!(day(6), ["Lost", "Opening", "Ready"]);
    assert_eq!(day(10), ["Competing", "Opening", "Ready"]);
    let outage = day(14);
    let (refusals, recovery) = outage.split_at(outage.len() - 3);
    assert!(refusals.iter().all(|event| event == "failed: 503"), "{outage:?}");
    assert!((30..=60).contains(&refusals.len()), "in a minute a tickle and a question at most: {}", refusals.len());
    assert_eq!(recovery, ["Lost", "Opening", "Ready"], "half an hour without a tickle is too long");
    assert_eq!(day(22), ["LiveSessionRefused"]);
    assert_eq!(day(32), ["LiveSessionRefused"]);
    let unavailable = day(42);
    assert_eq!(unavailable.first().map(String::as_str), Some("Lost"));
    assert_eq!(unavailable.last().map(String::as_str), Some("Ready"));
    assert!(unavailable[1..unavailable.len() - 2].iter().all(|event| event == "failed: 500"), "{unavailable:?}");
    let skewed = day(72);
    assert!(skewed.len() <= 3, "{skewed:?}");
    assert_eq!(oauth.clock_skew(), 7200);
    assert_eq!(brokerage.phase(pair.now), BrokeragePhase::Ready);
}

/// One program and its brokerage session: how often it got it, and what it was told.
struct Rival {
    oauth: OAuthSession,
    brokerage: BrokerageSession,
    takeovers: u32,
    contested: u32,
}

impl Rival {
    /// Of the same user as every other.
    fn new(pair: &mut Pair, consumer_key: &str) -> Self {
        register(&mut pair.gateway, consumer_key);
        let issued = pair.gateway.issue_access_token(consumer_key, "alice", &mut pair.rng).unwrap();
        let access_token = AccessToken::new(&issued.token, &issued.secret_base64).unwrap();
        let consumer = Consumer::builder(consumer_key, keys(), dh()).base_url(BASE_URL).build().unwrap();
        let mut oauth = OAuthSession::with_access_token(consumer, access_token);
        pair.drive(&mut oauth).unwrap();
        Self { oauth, brokerage: BrokerageSession::new(CompetePolicy::TakeOver), takeovers: 0, contested: 0 }
    }

    fn do_what_is_due(&mut self, pair: &mut Pair) {
        let Some(live) = self.oauth.live(pair.now).cloned() else { return };
        while let Some(outbound) = self.brokerage.poll_request(&live, &mut pair.rng, pair.now).unwrap() {
            let answer = pair.send(&outbound.request);
            match self.brokerage.handle_response(outbound.exchange, response(&answer), pair.now).unwrap() {
                BrokerageEvent::Ready => self.takeovers += 1,
                BrokerageEvent::Contested => self.contested += 1,
                _ => {}
            }
        }
    }
}

#[test]
fn two_who_take_over_from_each_other_do_so_100_times_a_day_not_1441() {
    let mut pair = Pair::new();
    let mut rivals = ["TRADERONE", "TRADERTWO"].map(|consumer_key| Rival::new(&mut pair, consumer_key));
    let end = NOW.saturating_add(Duration::from_secs(24 * 3600));
    let mut first_contested = None;
    while pair.now < end {
        for rival in &mut rivals {
            rival.do_what_is_due(&mut pair);
            if rival.contested > 0 {
                first_contested.get_or_insert(rival.takeovers);
            }
        }
        pair.wait(1);
    }
    let takeovers: u32 = rivals.iter().map(|rival| rival.takeovers).sum();
    println!("{takeovers} hand-overs, contested after {first_contested:?}");
    assert!((48..=110).contains(&takeovers), "{takeovers} hand-overs a day");
    assert_eq!(first_contested, Some(3), "three rounds say what it is");
}

/// What may happen between a brokerage session and its server.
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
    Wait {
        seconds: u64,
    },
    /// Our clock goes back.
    GoBack {
        seconds: u32,
    },
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
    let status = prop::sample::select(vec![200, 200, 200, 400, 401, 410, 429, 500, 503]);
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
        12 => Just(Operation::Poll),
        6 => Just(Operation::Answer),
        6 => (status, body).prop_map(|(status, body)| Operation::AnswerWith { status, body }),
        1 => Just(Operation::AnswerForeign),
        4 => Just(Operation::DropExchange),
        8 => prop_oneof![0..90_u64, 0..90_000_u64].prop_map(|seconds| Operation::Wait { seconds }),
        1 => (0..7200_u32).prop_map(|seconds| Operation::GoBack { seconds }),
        1 => Just(Operation::Open),
        1 => Just(Operation::LogOut),
        1 => incident.prop_map(Operation::Incident),
    ]
}

/// A brokerage session, its login and its server.
struct Ordeal {
    pair: Pair,
    oauth: OAuthSession,
    session: BrokerageSession,
    in_flight: Option<BrokerageOutbound>,
    /// From here on what is in flight may be overtaken.
    deadline: UnixTime,
    /// Requests at one moment, without an answer or a wish of the user in between.
    unanswered: u32,
}

impl Ordeal {
    fn begin(policy: CompetePolicy) -> Self {
        let mut pair = Pair::new();
        let oauth = pair.live(pair.builder());
        Self { pair, oauth, session: BrokerageSession::new(policy), in_flight: None, deadline: NOW, unanswered: 0 }
    }

    fn perform(&mut self, operation: &Operation) {
        match operation {
            Operation::Poll => return self.poll(),
            Operation::Answer => {
                let Some(BrokerageOutbound { request, exchange }) = self.in_flight.take() else { return };
                let answer = self.pair.send(&request);
                self.hand_in(exchange, response(&answer));
            }
            Operation::AnswerWith { status, body } => {
                let Some(BrokerageOutbound { exchange, .. }) = self.in_flight.take() else { return };
                self.hand_in(exchange, Response::new(*status, body.as_bytes()));
            }
            Operation::AnswerForeign => return self.answer_foreign(),
            Operation::DropExchange => return self.in_flight = None,
            Operation::Wait { seconds } => self.pair.wait(*seconds),
            Operation::GoBack { seconds } => {
                self.pair.now = self.pair.now.saturating_sub(Duration::from_secs((*seconds).into()));
                self.pair.server_ahead += i64::from(*seconds);
                self.deadline = self.deadline.min(self.pair.now.saturating_add(PATIENCE));
            }
            Operation::Open => {
                // Only what belongs to a logout is awaited no longer.
                let phase = self.session.phase(self.pair.now);
                let leaves = matches!(phase, BrokeragePhase::LoggingOut | BrokeragePhase::LoggedOut);
                self.in_flight = self.in_flight.take().filter(|_| !leaves);
                self.session.open();
            }
            Operation::LogOut => {
                self.in_flight = None;
                self.session.log_out();
            }
            Operation::Incident(incident) => self.happen(incident.clone()),
        }
        self.unanswered = 0;
    }

    /// Now, by the server's clock.
    fn happen(&mut self, incident: Incident) {
        let now = self.pair.now.as_millis().checked_add_signed(1000 * self.pair.server_ahead).unwrap();
        self.pair.gateway.schedule(system_time(UnixTime::from_millis(now)), incident);
    }

    fn poll(&mut self) {
        let now = self.pair.now;
        // A login that has expired, or that the server refused, is for the end.
        let Some(live) = self.oauth.live(now) else { return };
        let polled = self.session.poll_request(live, &mut self.pair.rng, now).unwrap();
        if let Some(outbound) = polled {
            self.unanswered += 1;
            assert!(self.unanswered <= 2, "one step and one tickle are enough");
            self.is_silent(&format!("{outbound:?}"));
            if let Some(overtaken) = self.in_flight.replace(outbound) {
                assert!(now >= self.deadline, "two requests in flight");
                self.refuses(overtaken.exchange);
            }
            self.deadline = now.saturating_add(PATIENCE);
        }
    }

    fn hand_in(&mut self, exchange: BrokerageExchange, response: Response<'_>) {
        let event = self.session.handle_response(exchange, response, self.pair.now).expect("it is awaited");
        self.is_silent(&format!("{event:?} {:?} {:?}", self.session, self.session.web_socket()));
    }

    fn answer_foreign(&mut self) {
        let live = WorkedLogin::any().live_session(NOW).live(NOW).unwrap().clone();
        let mut other = BrokerageSession::new(CompetePolicy::Yield);
        let BrokerageOutbound { exchange: foreign, .. } = other.poll_request(&live, &mut rng(1), NOW).unwrap().unwrap();
        self.refuses(foreign);
    }

    /// An exchange that is not awaited changes nothing.
    fn refuses(&mut self, stale: BrokerageExchange) {
        let now = self.pair.now;
        let seen = |session: &BrokerageSession| (session.phase(now), session.poll_timeout(), session.web_socket());
        let before = seen(&self.session);
        let refused = self.session.handle_response(stale, Response::new(200, b"{}"), self.pair.now);
        assert_eq!(refused, Err(Misuse::StaleExchange));
        assert_eq!(seen(&self.session), before);
    }

    fn is_silent(&self, shown: &str) {
        let token = self.oauth.access_token().unwrap().token();
        let web_socket = self.session.web_socket();
        let cookie = web_socket.iter().flat_map(|request| request.headers()).next();
        let session_id = cookie.and_then(|(_, cookie)| cookie.strip_prefix("api="));
        for secret in [token].into_iter().chain(session_id) {
            assert!(!shown.contains(secret), "{secret} is shown in: {shown}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, max_shrink_iters: 40, ..ProptestConfig::default() })]

    /// One request is in flight at a time, and none is offered twice at one moment; nothing that a server says is an
    /// error; an exchange that is not awaited changes nothing; no secret is shown. And when all of it is over, the user
    /// gets a brokerage session.
    #[test]
    fn whatever_happens_nobody_is_flooded_and_the_way_back_is_open(
        policy in prop_oneof![Just(CompetePolicy::Yield), Just(CompetePolicy::TakeOver)],
        operations in prop::collection::vec(operation(), 1..48),
    ) {
        let mut ordeal = Ordeal::begin(policy);
        operations.iter().for_each(|operation| ordeal.perform(operation));
        ordeal.happen(Incident::CompetitorLeaves { user: "alice".to_string() });
        ordeal.in_flight = None;
        let Ordeal { mut pair, mut oauth, mut session, .. } = ordeal;
        session.open();
        let in_an_hour = pair.now.saturating_add(Duration::from_secs(3600));
        let events = live_through(&mut pair, &mut oauth, &mut session, in_an_hour);
        prop_assert_eq!(session.phase(pair.now), BrokeragePhase::Ready, "{:?}", events);
    }
}
