//! The tables of transitions in the documentation, walked row by row: each phase that a row names, each way to make happen
//! what it says, the phase and the event that follow, and what is asked next, after how many seconds.

mod support;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use ibkr_oauth::brokerage::{BrokerageEvent, BrokeragePhase, BrokerageSession, CompetePolicy};
use ibkr_oauth::{ApiRequest, Error, LiveSession, OAuthSession, Outbound, Phase, Response, UnixTime};
use support::scripted::{ABSENT, ACCOUNTS, COMPETING, NO_BRIDGE, NOT_READY, READY, Scripted, tickle};
use support::{NOW, WorkedLogin, poll, rng};

/// The rows of the table in `source`, as columns.
fn rows(source: &'static str) -> Vec<Vec<&'static str>> {
    let table = source.split_once("/// # Transitions\n").unwrap().1;
    let lines = table.lines().map_while(|line| line.strip_prefix("/// |"));
    // Behind the names of the columns, and the line below them.
    lines.skip(2).map(|line| line.trim_end_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// The words in backticks.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

// ---- The brokerage session ----

const INIT: &str = "/iserver/auth/ssodh/init";
const STATUS: &str = "/iserver/auth/status";
const LIST: &str = "/iserver/accounts";
const TICKLE: &str = "/tickle";
const NO_ACCOUNTS: &str = r#"{"accounts":[]}"#;
const EVERY: [BrokeragePhase; 7] = [
    BrokeragePhase::Missing,
    BrokeragePhase::Opening,
    BrokeragePhase::Ready,
    BrokeragePhase::Unconfirmed,
    BrokeragePhase::Competing,
    BrokeragePhase::LoggingOut,
    BrokeragePhase::LoggedOut,
];

/// Something that happens to a brokerage session.
#[derive(Clone)]
enum Stimulus {
    /// The next request to this path is answered; what is asked before it is lost.
    Answer(&'static str, u16, String),
    /// Nothing is heard of the next request to this path.
    Lose(&'static str),
    Wait(u64),
    Call(fn(&mut BrokerageSession)),
}

use Stimulus::{Answer, Call, Lose, Wait};

fn says(path: &'static str, body: &str) -> Stimulus {
    Answer(path, 200, if path == TICKLE { tickle(body) } else { body.to_string() })
}

/// Each way to make happen what the table says, in this phase: steps, of which the last is meant.
fn ways(what: &str, phase: BrokeragePhase) -> Vec<Vec<Stimulus>> {
    let each = |ways: Vec<Stimulus>| ways.into_iter().map(|way| vec![way]).collect();
    let status_or_tickle = |bodies: &[&str]| {
        let ways = bodies.iter().flat_map(|body| [says(STATUS, body), says(TICKLE, body)]);
        ways.collect::<Vec<_>>()
    };
    let rejections = |status, body: &str| -> Vec<Stimulus> {
        asked_in(phase).iter().map(|path| Answer(path, status, body.into())).collect()
    };
    let no = [vec![says(STATUS, NOT_READY)], vec![says(STATUS, READY), says(LIST, NO_ACCOUNTS)]];
    match what {
        r#"init says "authenticated and established""# => each(vec![says(INIT, READY)]),
        r#"init says neither that nor "competing""# => each(vec![says(INIT, NOT_READY), says(INIT, ABSENT)]),
        r#"init or status says "competing""# => each(vec![says(asked_in(phase)[0], COMPETING)]),
        r#"status says "authenticated and established""# => each(vec![says(STATUS, READY)]),
        r#"a tickle says "authenticated and established""# => each(vec![says(TICKLE, READY)]),
        r#"status or a tickle says "authenticated and established""# => each(status_or_tickle(&[READY])),
        r#"status or a tickle says neither that nor "competing", or `no bridge`"# => {
            let no_bridge = [STATUS, TICKLE].map(|path| Answer(path, 400, NO_BRIDGE.into()));
            each([status_or_tickle(&[NOT_READY, ABSENT]), no_bridge.into()].concat())
        }
        r#"status or a tickle says "competing""# => each(status_or_tickle(&[COMPETING])),
        "status or `/iserver/accounts` says no" => no.into(),
        "status or `/iserver/accounts` says no for the 15th time" => {
            let last = no.clone().map(|way| way.last().unwrap().clone());
            let first = [vec![], vec![says(STATUS, READY)]];
            let both = first.into_iter().zip(last);
            both.map(|(first, last)| [first, vec![last; 15]].concat()).collect()
        }
        "`/iserver/accounts` lists an account" => vec![vec![says(STATUS, READY), says(LIST, ACCOUNTS)]],
        "`no bridge`" => vec![
            vec![Answer(STATUS, 400, NO_BRIDGE.into())],
            vec![says(STATUS, READY), Answer(LIST, 400, NO_BRIDGE.into())],
        ],
        "no response has said so for 5 minutes" => each(vec![Wait(300)]),
        "the same for the 3rd time in a row, each within 30 minutes, under [`CompetePolicy::TakeOver`]" => {
            let lost = [says(TICKLE, COMPETING), says(INIT, READY), says(LIST, ACCOUNTS)];
            vec![[&lost[..], &lost, &lost[..1]].concat()]
        }
        r#"a tickle says anything but "competing""# => each(vec![says(TICKLE, READY), says(TICKLE, ABSENT)]),
        "under [`CompetePolicy::TakeOver`], a pause ends" => each(vec![Wait(15)]),
        "the live session token is rejected" => each(
            [rejections(401, "Unauthorized"), rejections(401, "Invalid signature"), rejections(410, "gone")].concat(),
        ),
        "any other rejection" => {
            each([rejections(503, ""), rejections(302, ""), rejections(200, "<html>"), rejections(404, "")].concat())
        }
        "no response" => each(asked_in(phase).iter().map(|path| Lose(path)).collect()),
        "the response to `/logout`, `no bridge`, or the live session token is rejected" => each(vec![
            Answer("/logout", 200, "{}".into()),
            Answer("/logout", 400, NO_BRIDGE.into()),
            Answer("/logout", 401, "Unauthorized".into()),
            Answer("/logout", 410, "gone".into()),
        ]),
        "[`doubt`](Self::doubt)" => each(vec![Call(BrokerageSession::doubt)]),
        "[`open`](Self::open)" => each(vec![Call(BrokerageSession::open)]),
        "[`log_out`](Self::log_out)" => each(vec![Call(BrokerageSession::log_out)]),
        other => panic!("the table has a new row: {other}"),
    }
}

/// What is asked in this phase.
fn asked_in(phase: BrokeragePhase) -> &'static [&'static str] {
    match phase {
        BrokeragePhase::Missing => &[INIT],
        BrokeragePhase::Opening => &[STATUS, TICKLE],
        BrokeragePhase::Ready | BrokeragePhase::Unconfirmed => &[STATUS, TICKLE],
        BrokeragePhase::Competing => &[INIT, TICKLE],
        _ => &["/logout"],
    }
}

/// What comes next by the words behind the semicolon: the path, whether it competes, and after how many seconds.
fn follow_up(words: &str, asked: &Stimulus) -> Option<(&'static str, RangeInclusive<u64>)> {
    let growing = 10..=15;
    let step = match asked {
        Answer(path, ..) | Lose(path) if *path != TICKLE => Some(*path),
        _ => None,
    };
    Some(match words {
        "" => return None,
        "`/iserver/accounts` is asked after 2 s" => (LIST, 2..=2),
        "status is asked after 2 s" => (STATUS, 2..=2),
        "`/iserver/accounts` is asked at once" => (LIST, 0..=0),
        "`/iserver/accounts` is asked, not status" => (LIST, 0..=2),
        "asked again after 2 s" => (step?, 2..=2),
        "status is asked" => (STATUS, 0..=0),
        "status is asked, 5 s after the last question at the earliest" => (STATUS, 0..=5),
        "asked for at once" => (INIT, 0..=0),
        // A question before it that nobody answered may have lengthened it.
        "asked for after a growing pause" => (INIT, 10..=30),
        // A doubt asks earlier than the last tickle's answer would.
        "asked for with `compete`" => (INIT, 0..=5),
        "asked again after a growing pause" => (step?, growing.start().to_owned()..=60),
        other => panic!("the table says something new: {other}"),
    })
}

fn in_phase(phase: BrokeragePhase, policy: CompetePolicy) -> Scripted {
    let is_past_ready = matches!(phase, BrokeragePhase::Ready | BrokeragePhase::Unconfirmed);
    let mut scripted = if is_past_ready { Scripted::ready_under(policy) } else { Scripted::new(policy) };
    match phase {
        BrokeragePhase::Opening => drop(scripted.answer(INIT, 200, NOT_READY)),
        BrokeragePhase::Competing => drop(scripted.answer(INIT, 200, COMPETING)),
        BrokeragePhase::Unconfirmed => scripted.wait(300),
        BrokeragePhase::LoggingOut => scripted.session.log_out(),
        BrokeragePhase::LoggedOut => {
            scripted.session.log_out();
            scripted.answer("/logout", 200, "{}");
        }
        _ => {}
    }
    assert_eq!(scripted.session.phase(scripted.now), phase);
    scripted
}

/// Makes it happen; the event, if there is one.
fn happens(scripted: &mut Scripted, stimulus: &Stimulus) -> Option<BrokerageEvent> {
    match stimulus {
        Call(call) => call(&mut scripted.session),
        Wait(seconds) => scripted.wait(*seconds),
        Lose(path) => drop(next_to(scripted, path)),
        Answer(path, status, body) => {
            let exchange = next_to(scripted, path);
            let response = Response::new(*status, body.as_bytes());
            return Some(scripted.session.handle_response(exchange, &response, scripted.now).unwrap());
        }
    }
    None
}

/// The next request to `path`; in a session that is ready, status is asked because somebody doubts.
fn next_to(scripted: &mut Scripted, path: &str) -> ibkr_oauth::brokerage::BrokerageExchange {
    if path == STATUS && scripted.session.phase(scripted.now) == BrokeragePhase::Ready {
        scripted.session.doubt();
    }
    for _ in 0..100 {
        if let Some((request, exchange)) = scripted.poll()
            && request.path().ends_with(path)
        {
            return exchange;
        }
        scripted.wait_until_due();
    }
    panic!("nothing asks for {path}");
}

/// The next request that is no tickle, and after how many seconds it comes.
fn next_step(scripted: &mut Scripted) -> (String, String, u64) {
    let since = scripted.now;
    for _ in 0..100 {
        if let Some((request, _)) = scripted.poll()
            && !request.path().ends_with(TICKLE)
        {
            let path = request.path().strip_prefix("/v1/api").unwrap().to_string();
            let body = String::from_utf8(request.body().to_vec()).unwrap();
            return (path, body, scripted.now.saturating_since(since).as_secs());
        }
        scripted.wait_until_due();
    }
    panic!("nothing but tickles");
}

fn kind(event: &BrokerageEvent) -> String {
    let shown = format!("{event:?}");
    shown.split(' ').next().unwrap().to_string()
}

#[test]
fn a_brokerage_session_goes_where_its_table_says() {
    let table = rows(include_str!("../src/brokerage/session.rs"));
    let mut walked = BTreeSet::new();
    for row in &table {
        let [phases, what, next, event] = row[..] else { panic!("{row:?}") };
        let (next, then) = next.split_once("; ").unwrap_or((next, ""));
        let is_any = phases == "any";
        let leaves = |phase: &BrokeragePhase| matches!(phase, BrokeragePhase::LoggingOut | BrokeragePhase::LoggedOut);
        let listed = |phase: &BrokeragePhase| named(phases).any(|name| name == format!("{phase:?}"));
        let all = EVERY
            .iter()
            .filter(|phase| if is_any { what.contains("log_out") || !leaves(phase) } else { listed(phase) });
        for &phase in all {
            for way in ways(what, phase) {
                let takes_over =
                    what.contains("TakeOver") || way.iter().any(|step| matches!(step, Answer(INIT, ..) | Lose(INIT)));
                let policy = if takes_over { CompetePolicy::TakeOver } else { CompetePolicy::Yield };
                let mut scripted = in_phase(phase, policy);
                let events = way.iter().map(|stimulus| happens(&mut scripted, stimulus));
                let last = events.last().unwrap().map_or("-".to_string(), |event| format!("`{}`", kind(&event)));
                let expected = if next == "the same" {
                    phase
                } else {
                    *EVERY.iter().find(|phase| next == format!("`{phase:?}`")).unwrap()
                };
                assert_eq!(
                    (last.as_str(), scripted.session.phase(scripted.now)),
                    (event, expected),
                    "{phase:?}: {what}"
                );
                if let Some((path, seconds)) = follow_up(then, way.last().unwrap()) {
                    let (asked, body, after) = next_step(&mut scripted);
                    assert_eq!(asked, path, "{phase:?}: {what}");
                    assert!(seconds.contains(&after), "{phase:?}: {what}: after {after} s, not {seconds:?}");
                    let competes = !then.contains("compete") || body.contains(r#""compete":true"#);
                    assert!(competes, "{phase:?}: {what}: {body}");
                }
                walked.insert((phases, what));
            }
        }
    }
    assert_eq!(walked.len(), table.len());
}

// ---- The login ----

const PHASES: [Phase; 4] = [Phase::Unauthorized, Phase::RequestToken, Phase::AccessToken, Phase::LiveSession];
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const REQUEST_TOKEN: &str = r#"{"oauth_token":"b9082d68cfef06b030de"}"#;
const ACCESS_TOKEN: &str = r#"{"oauth_token":"a1b2c3d4e5f6a7b8c9d0","oauth_token_secret":"c2VjcmV0"}"#;
const CALLBACK: &str = "https://h/back?oauth_token=b9082d68cfef06b030de&oauth_verifier=0ffb93ab9aa0d2177cc2";
const MARGIN: Duration = Duration::from_secs(10 * 60);

/// A login and its clock.
struct Login {
    worked: WorkedLogin,
    session: OAuthSession,
    now: UnixTime,
}

impl Login {
    fn in_phase(phase: Phase) -> Self {
        let worked = WorkedLogin::any();
        let session = match phase {
            Phase::Unauthorized | Phase::RequestToken => OAuthSession::new(worked.consumer.clone()),
            Phase::AccessToken => worked.session(),
            Phase::LiveSession => worked.live_session(NOW),
        };
        let mut login = Self { worked, session, now: NOW };
        if phase == Phase::RequestToken {
            login.answer("/oauth/request_token", 200, REQUEST_TOKEN).unwrap();
        }
        assert_eq!(login.session.phase(NOW), phase);
        login
    }

    /// The endpoint of the next request.
    fn next(&mut self) -> Option<&'static str> {
        self.worked.poll(&mut self.session, self.now).map(|outbound| outbound.exchange.endpoint())
    }

    fn answer(&mut self, endpoint: &str, status: u16, body: &str) -> Result<Phase, Error> {
        let Outbound { exchange, .. } = self.worked.poll(&mut self.session, self.now).unwrap();
        assert_eq!(exchange.endpoint(), endpoint);
        self.session.handle_response(exchange, &Response::new(status, body.as_bytes()), self.now)
    }

    fn live(&self) -> LiveSession {
        self.session.live(self.now).unwrap().clone()
    }
}

type Act = fn(&mut Login);

/// Each way to make happen what the table says.
fn login_ways(what: &str) -> Vec<Act> {
    fn answered(login: &mut Login) {
        let body = login.worked.body(None);
        let before = login.session.live(login.now).map(LiveSession::expires_at);
        // Where there is a token already, the next one is due later.
        login.now = before.map_or(login.now, |expiry| expiry.saturating_sub(MARGIN));
        login.answer("/oauth/live_session_token", 200, &body).unwrap();
        assert_eq!(login.live().expires_at(), login.now.saturating_add(DAY), "the new token");
    }
    match what {
        "response to `/oauth/request_token`" => {
            vec![|login| {
                login.answer("/oauth/request_token", 200, REQUEST_TOKEN).unwrap();
            }]
        }
        "[`handle_callback`](Self::handle_callback), [`handle_verifier`](Self::handle_verifier)" => {
            vec![|login| login.session.handle_callback(CALLBACK).unwrap(), |login| {
                login.session.handle_verifier("0ffb93ab9aa0d2177cc2").unwrap()
            }]
        }
        "response to `/oauth/access_token`" => vec![|login| {
            login.session.handle_callback(CALLBACK).unwrap();
            login.answer("/oauth/access_token", 200, ACCESS_TOKEN).unwrap();
        }],
        "response to `/oauth/live_session_token`" => vec![answered],
        "the refresh margin begins" => vec![|login| login.now = login.live().expires_at().saturating_sub(MARGIN)],
        "the token expires, or [`invalidate`](Self::invalidate)" => {
            vec![|login| login.now = login.live().expires_at(), |login| {
                let live = login.live();
                login.session.invalidate(&live);
            }]
        }
        "[`reauthorize`](Self::reauthorize)" => vec![|login| login.session.reauthorize()],
        "any error" => {
            let rejected: Act = |login| {
                if let Some(Outbound { exchange, .. }) = login.worked.poll(&mut login.session, login.now) {
                    let rejection = Response::new(401, b"Unauthorized");
                    login.session.handle_response(exchange, &rejection, login.now).unwrap_err();
                }
            };
            let callback: Act =
                |login| drop(login.session.handle_callback("?oauth_token=other&oauth_verifier=a").unwrap_err());
            let broken: Act = |login| {
                let before_the_millennium = UnixTime::from_secs(900_000_000);
                let _ = login.session.poll_request(&mut rng(1), before_the_millennium);
            };
            let stale: Act = |login| {
                let foreign = poll(&mut WorkedLogin::any().session()).exchange;
                login.session.handle_response(foreign, &Response::new(200, b"{}"), login.now).unwrap_err();
            };
            vec![rejected, callback, broken, stale]
        }
        other => panic!("the table has a new row: {other}"),
    }
}

/// What the words behind the next phase promise.
fn keeps_promise(words: &str, login: &mut Login) {
    match words {
        "" | "with the new token" => {}
        "and the next poll redeems the verifier" => assert_eq!(login.next(), Some("/oauth/access_token")),
        "and the next poll asks for a new token while the old one signs" => {
            assert_eq!(login.next(), Some("/oauth/live_session_token"));
            let call = ApiRequest::get("/portfolio/accounts");
            assert!(login.live().sign(&call, &mut rng(1), login.now).is_ok());
        }
        other => panic!("the table says something new: {other}"),
    }
}

#[test]
fn a_login_goes_where_its_table_says() {
    let table = rows(include_str!("../src/session/mod.rs"));
    let mut walked = BTreeSet::new();
    for row in &table {
        let [phases, what, next] = row[..] else { panic!("{row:?}") };
        let (next, promise) = next.split_once(", ").unwrap_or((next, ""));
        let shown = |phase: Phase| format!("`{phase:?}`");
        for phase in PHASES.into_iter().filter(|phase| phases == "any" || phases == shown(*phase)) {
            for way in login_ways(what) {
                let mut login = Login::in_phase(phase);
                way(&mut login);
                let expected = if next == "the same" { shown(phase) } else { next.to_string() };
                assert_eq!(shown(login.session.phase(login.now)), expected, "{phase:?}: {what}");
                keeps_promise(promise, &mut login);
                walked.insert((phases, what));
            }
        }
    }
    assert_eq!(walked.len(), table.len());
}
