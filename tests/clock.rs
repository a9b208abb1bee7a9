//! What a client learns of the server's clock, and what it does not believe: each row of the table, and hours of requests by
//! five clients of one consumer among damaged `Date`s.
#![cfg(feature = "std")]

mod support;

use std::ops::RangeInclusive;
use std::time::Duration;

use ibkr_oauth::{
    AccessToken, ApiRequest, Diagnosis, Error, LiveSession, OAuthSession, Outbound, Receipt, Rejected, Response, Retry,
    UnixTime,
};
use ibkr_oauth_gateway::{AccountKind, User};
use rand::RngExt;
use rand::rngs::StdRng;
use support::pair::{CONSUMER, Pair, response};
use support::{NOW, WorkedLogin, parameter, poll, rng};

const ACCOUNTS: ApiRequest<'_> = ApiRequest::get("/portfolio/accounts");
const NO_BRIDGE: &str = r#"{"error":"Bad Request: no bridge","statusCode":400}"#;

fn after(seconds: i64) -> UnixTime {
    UnixTime::from_millis(NOW.as_millis().checked_add_signed(1000 * seconds).unwrap())
}

/// A live session and what its server says, in seconds from `NOW`.
struct Talk {
    session: OAuthSession,
    live: LiveSession,
}

impl Talk {
    /// Nothing was said of the time so far.
    fn begin() -> Self {
        let session = WorkedLogin::any().live_session(NOW);
        let live = session.live(NOW).unwrap().clone();
        Self { session, live }
    }

    fn sign(&self, at: i64) -> (Receipt, i64) {
        let request = self.live.sign(&ACCOUNTS, &mut rng(1), after(at)).unwrap();
        let stamp: i64 = parameter(&request, "oauth_timestamp").unwrap().parse().unwrap();
        (request.receipt(), stamp - i64::try_from(NOW.as_secs()).unwrap())
    }

    fn answer(&self, receipt: Receipt, response: Response<'_>, date: i64, read: i64) -> Result<(), Error> {
        self.live.handle_response(receipt, &response.with_server_time(after(date)), after(read))
    }

    /// A request that is asked, stamped, judged and answered all at once.
    fn exchange(&self, status: u16, at: i64, date: i64) -> Result<(), Error> {
        self.answer(self.sign(at).0, Response::new(status, b"{}"), date, at)
    }

    fn skew(&self) -> i32 {
        self.session.clock_skew()
    }
}

fn diagnosis(outcome: Result<(), Error>) -> Diagnosis {
    match outcome {
        Err(Error::Rejected(Rejected { diagnosis, .. })) => diagnosis,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_date_is_no_reason_to_doubt_a_timestamp_that_was_accepted() {
    let talk = Talk::begin();
    for (at, date) in [(0, 290), (10, 10), (20, -270), (30, 32), (40, 40 + 290), (50, 48)] {
        talk.exchange(200, at, date).unwrap();
        assert_eq!(talk.skew(), 0, "{date}");
    }
    // The same twice, but not running.
    talk.exchange(200, 60, 60 + 290).unwrap();
    assert_eq!(talk.skew(), 0);
    // Nor is an outage better informed, once a timestamp was accepted.
    talk.exchange(200, 70, 70).unwrap();
    talk.exchange(503, 80, 80 + 290).unwrap_err();
    assert_eq!(talk.skew(), 0);
}

#[test]
fn two_dates_that_agree_are_believed() {
    for (first, second, learned) in
        [(100, 100, 100), (100, 102, 102), (-290, -291, -291), (100, 103, 0), (100, -100, 0)]
    {
        let talk = Talk::begin();
        talk.exchange(200, 0, first).unwrap();
        talk.exchange(200, 10, 10 + second).unwrap();
        assert_eq!(talk.skew(), learned, "{first} and {second}");
    }
}

#[test]
fn the_first_word_of_a_server_is_believed_and_so_is_a_rejection() {
    let mut session = WorkedLogin::any().session();
    for (date, learned) in [(100, 100), (-3600, -3600), (1, 0)] {
        let exchange = poll(&mut session).exchange;
        let response = Response::new(503, b"").with_server_time(after(date));
        session.handle_response(exchange, &response, NOW).unwrap_err();
        assert_eq!(session.clock_skew(), learned);
    }
    let talk = Talk::begin();
    talk.exchange(200, 0, 0).unwrap();
    assert_eq!(diagnosis(talk.exchange(401, 10, 610)), Diagnosis::ClockOff);
    assert_eq!((talk.skew(), talk.sign(20).1), (600, 620));
}

/// A machine that slept with the answer in its socket, and a body that took minutes.
#[test]
fn a_response_that_is_read_late_teaches_nothing_wrong() {
    for read in [400, 8 * 3600] {
        for (status, body) in [(200, "{}"), (401, "Unauthorized"), (503, "")] {
            let talk = Talk::begin();
            let (receipt, _) = talk.sign(0);
            let outcome = talk.answer(receipt, Response::new(status, body.as_bytes()), 1, read);
            assert_eq!(talk.skew(), 0, "{status} after {read} s");
            assert!(status != 401 || diagnosis(outcome) == Diagnosis::Unauthorized, "the clock is not to blame");
            talk.exchange(200, read + 10, read + 10).unwrap();
            assert_eq!(talk.sign(read + 20).1, read + 20);
        }
    }
}

#[test]
fn a_response_that_is_read_late_does_not_confirm_a_damaged_date() {
    let talk = Talk::begin();
    talk.exchange(200, 0, 290).unwrap();
    let (receipt, _) = talk.sign(10);
    talk.answer(receipt, Response::new(200, b"{}"), 11, 10 + 8 * 3600).unwrap();
    assert_eq!(talk.skew(), 0);
    // Where it does agree, it is the narrower of the two that counts.
    let talk = Talk::begin();
    talk.exchange(200, 0, 290).unwrap();
    let (receipt, _) = talk.sign(10);
    talk.answer(receipt, Response::new(200, b"{}"), 300 + 20, 10 + 100).unwrap();
    assert_eq!(talk.skew(), 290);
}

/// The clock was set while a request was under way: the answer says nothing about the new time that the next one does not.
#[test]
fn a_clock_that_is_set_between_asking_and_reading_confuses_nobody() {
    for read in [-3600, 3600] {
        let talk = Talk::begin();
        let (receipt, _) = talk.sign(0);
        talk.answer(receipt, Response::new(200, b"{}"), 0, read).unwrap();
        assert_eq!(talk.skew(), 0, "{read}");
        // From here on the server is as far off as the clock was set.
        talk.exchange(200, read + 10, 10).unwrap();
        talk.exchange(200, read + 20, 20).unwrap();
        assert_eq!(i64::from(talk.skew()), -read);
    }
}

#[test]
fn a_token_lives_for_a_day_from_asking_however_late_the_answer_is_read() {
    let login = WorkedLogin::any();
    let server_ahead = 600;
    let millis = |seconds: i64| Some(after(seconds + server_ahead).as_millis());
    for (expiration, hours) in
        [(None, 24), (millis(24 * 3600), 24), (millis(20 * 3600), 20), (millis(0), 24), (millis(40 * 3600), 24)]
    {
        let mut session = login.session();
        let exchange = login.poll(&mut session, NOW).unwrap().exchange;
        let body = login.body(expiration);
        let read = after(13 * 3600);
        let response = Response::new(200, body.as_bytes()).with_server_time(after(server_ahead));
        session.handle_response(exchange, &response, read).unwrap();
        assert_eq!(session.live(read).unwrap().expires_at(), after(hours * 3600), "{expiration:?}");
    }
}

#[test]
fn only_the_timestamp_that_was_rejected_is_taken_back() {
    let talk = Talk::begin();
    // The clock was an hour fast for two requests.
    let (first, second) = (talk.sign(3600), talk.sign(3601));
    assert_eq!((first.1, second.1), (3600, 3601));
    let rejection = || Response::new(401, b"Unauthorized");
    assert_eq!(diagnosis(talk.answer(first.0, rejection(), 0, 0)), Diagnosis::ClockOff);
    assert_eq!(talk.sign(1).1, 3601, "the second may have been accepted");
    assert_eq!(diagnosis(talk.answer(second.0, rejection(), 2, 2)), Diagnosis::ClockOff);
    assert_eq!(talk.sign(3).1, 3);
}

/// Timestamps go back only when a server says that one was not used.
#[test]
fn business_errors_and_pages_do_not_turn_the_timestamps_back() {
    for (status, body, date, turns_back) in [
        (400, NO_BRIDGE, Some(0), false),
        (400, "Bad Request", Some(0), false),
        (401, "<html>", Some(0), false),
        (403, "Forbidden", Some(0), false),
        (503, "", Some(0), false),
        (401, "Unauthorized", None, false),
        (401, "", Some(3600), false),
        (401, "", Some(3598), false),
        (401, "", Some(3597), true),
        (401, "who are you?", Some(0), true),
        (401, r#"{"error":"id: 1, error: invalid consumer"}"#, Some(0), true),
    ] {
        let talk = Talk::begin();
        talk.exchange(200, 3599, 3599).unwrap();
        let (receipt, stamp) = talk.sign(3600);
        assert_eq!(stamp, 3600);
        let rejection = Response::new(status, body.as_bytes());
        let rejection = date.map_or(rejection.clone(), |date| rejection.with_server_time(after(date)));
        talk.live.handle_response(receipt, &rejection, after(3600)).unwrap_err();
        let next = talk.sign(3600).1;
        assert_eq!(next < 3600, turns_back, "{status} {body} {date:?}: {next}");
    }
}

/// Else a dead token is tried for ever over a slow line.
#[test]
fn a_slow_way_to_the_server_is_blamed_once() {
    let talk = Talk::begin();
    let rejected = |asked: i64| {
        let (receipt, _) = talk.sign(asked);
        diagnosis(talk.answer(receipt, Response::new(401, b"Unauthorized"), asked + 4, asked + 5))
    };
    assert_eq!(rejected(0), Diagnosis::ClockOff, "it may have come too late");
    assert_eq!(rejected(5), Diagnosis::Unauthorized);
    assert_eq!(rejected(10), Diagnosis::Unauthorized);
    talk.exchange(200, 20, 20).unwrap();
    assert_eq!(rejected(30), Diagnosis::ClockOff);
    assert_eq!(talk.skew(), 0);
}

/// Whose clocks differ: each answer teaches another time, and none may start a loop.
#[test]
fn two_servers_that_reject_by_turns_are_not_asked_at_once_for_ever() {
    let talk = Talk::begin();
    let outcomes = (0..10).map(|turn| talk.exchange(401, 0, if turn % 2 == 0 { 600 } else { -600 }));
    let at_once = outcomes.filter(|outcome| outcome.as_ref().unwrap_err().retry(NOW) == Retry::Again).count();
    assert!(at_once <= 2, "{at_once}");
}

#[test]
fn requests_that_were_under_way_when_the_clock_jumped_are_all_excused() {
    let talk = Talk::begin();
    let under_way: Vec<_> = (0..5).map(|_| talk.sign(0).0).collect();
    for receipt in under_way {
        let rejection = Response::new(401, b"Invalid signature");
        assert_eq!(diagnosis(talk.answer(receipt, rejection, 600, 1)), Diagnosis::ClockOff);
    }
    assert_eq!(talk.sign(2).1, 601);
}

#[test]
fn a_date_that_cannot_be_explains_no_rejection() {
    for date in [-100_000, 90_000, -1_700_000_000] {
        let talk = Talk::begin();
        assert_eq!(diagnosis(talk.exchange(401, 0, date)), Diagnosis::Unauthorized, "{date}");
        assert_eq!((talk.skew(), talk.sign(1).1), (0, 1));
    }
}

#[test]
fn one_rejection_sets_the_clock_for_all_sessions_of_a_consumer() {
    let mut pair = Pair::new();
    let consumer = pair.builder().build().unwrap();
    pair.server_ahead = 600;
    let mut rejected = 0;
    for _ in 0..8 {
        let issued = pair.issue();
        let access_token = AccessToken::new(&issued.token, &issued.secret_base64).unwrap();
        let mut session = OAuthSession::with_access_token(consumer.clone(), access_token);
        while let Err(error) = pair.drive(&mut session) {
            assert_eq!(error.retry(pair.now), Retry::Again);
            rejected += 1;
        }
    }
    assert_eq!(rejected, 1);
}

#[test]
fn who_wants_no_correction_gets_none_and_no_excuse() {
    let mut pair = Pair::new();
    pair.server_ahead = 600;
    let mut session = pair.first_party(pair.builder().without_clock_correction());
    let error = pair.drive(&mut session).unwrap_err();
    assert_eq!((session.clock_skew(), diagnosis(Err(error))), (0, Diagnosis::InvalidConsumer));
}

// ---- Hours of requests ----

/// Damage to one `Date` in a hundred.
#[derive(Clone, Copy, Debug)]
enum Damage {
    None,
    /// So many seconds either way.
    Either(i64),
    /// Up to so many seconds late.
    Late(i64),
}

impl Damage {
    fn shift(self, rng: &mut StdRng) -> i64 {
        let is_hit = rng.random_ratio(1, 100);
        match self {
            Self::Either(most) if is_hit => rng.random_range(-most..=most),
            Self::Late(most) if is_hit => -rng.random_range(0..=most),
            _ => 0,
        }
    }
}

/// A client that does as the crate advises: a process of its own.
struct Member {
    session: OAuthSession,
    report: Report,
    locked_out_since: Option<UnixTime>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Report {
    rejected: u32,
    needless_logins: u32,
    /// In seconds.
    longest_lock_out: u64,
    /// The furthest that a timestamp was from the server's time.
    worst: u64,
}

impl Report {
    fn and(self, other: Self) -> Self {
        Self {
            rejected: self.rejected + other.rejected,
            needless_logins: self.needless_logins + other.needless_logins,
            longest_lock_out: self.longest_lock_out.max(other.longest_lock_out),
            worst: self.worst.max(other.worst),
        }
    }
}

impl Member {
    fn new(session: OAuthSession) -> Self {
        Self { session, report: Report::default(), locked_out_since: None }
    }

    /// Logs in if need be, and makes one request.
    fn ask(&mut self, pair: &mut Pair, mut damaged: impl FnMut(UnixTime) -> UnixTime) {
        let now = pair.now;
        while let Some(Outbound { request, exchange }) = self.session.poll_request(&mut pair.rng, now).unwrap() {
            let response = self.send(pair, &request, &mut damaged);
            if self.session.handle_response(exchange, &response, now).is_err() {
                self.note(false, now);
                return;
            }
        }
        let live = self.session.live(now).unwrap().clone();
        let request = live.sign(&ACCOUNTS, &mut pair.rng, now).unwrap();
        let response = self.send(pair, &request, &mut damaged);
        let outcome = live.handle_response(request.receipt(), &response, now);
        self.note(outcome.is_ok(), now);
        if outcome.is_err_and(|error| error.retry(now) == Retry::LogIn) {
            self.report.needless_logins += 1;
            self.session.invalidate(&live);
        }
    }

    fn send(
        &mut self,
        pair: &mut Pair,
        request: &ibkr_oauth::Request,
        damaged: &mut impl FnMut(UnixTime) -> UnixTime,
    ) -> Response<'static> {
        let server_now =
            UnixTime::from_millis(pair.now.as_millis().checked_add_signed(1000 * pair.server_ahead).unwrap());
        let stamp: u64 = parameter(request, "oauth_timestamp").unwrap().parse().unwrap();
        self.report.worst = self.report.worst.max(stamp.abs_diff(server_now.as_secs()));
        response(&pair.send(request)).with_server_time(damaged(server_now))
    }

    fn note(&mut self, is_accepted: bool, now: UnixTime) {
        if is_accepted {
            let since = self.locked_out_since.take().unwrap_or(now);
            let seconds = now.saturating_since(since).as_secs();
            self.report.longest_lock_out = self.report.longest_lock_out.max(seconds);
        } else {
            self.report.rejected += 1;
            self.locked_out_since.get_or_insert(now);
        }
    }
}

/// Five clients of one consumer key, one request each four seconds, three hours.
fn three_hours(window: u64, damage: Damage, seed: u64) -> Report {
    const CLIENTS: usize = 5;
    let mut pair = Pair::new();
    pair.gateway.set_timestamp_window(Duration::from_secs(window));
    let mut members: Vec<_> = (0..CLIENTS).map(|number| Member::new(enroll(&mut pair, number))).collect();
    let mut chance = rng(seed);
    for _ in 0..3 * 3600 / 4 {
        for member in &mut members {
            member.ask(&mut pair, |date| shifted(date, damage.shift(&mut chance)));
        }
        pair.wait(4);
    }
    let reports = members.into_iter().map(|mut member| {
        // Whoever is still locked out has been so until now.
        member.note(true, pair.now);
        member.report
    });
    reports.fold(Report::default(), Report::and)
}

fn enroll(pair: &mut Pair, number: usize) -> OAuthSession {
    let name = format!("user{number}");
    pair.gateway.add_user(User { name: name.clone(), accounts: vec![format!("DU{number}")], kind: AccountKind::Paper });
    let issued = pair.gateway.issue_access_token(CONSUMER, &name, &mut pair.rng).unwrap();
    let access_token = AccessToken::new(&issued.token, &issued.secret_base64).unwrap();
    OAuthSession::with_access_token(pair.builder().build().unwrap(), access_token)
}

fn shifted(date: UnixTime, seconds: i64) -> UnixTime {
    UnixTime::from_millis(date.as_millis().checked_add_signed(1000 * seconds).unwrap())
}

const ROWS: [(u64, Damage); 5] = [
    (300, Damage::None),
    (300, Damage::Either(86_000)),
    (300, Damage::Either(290)),
    (300, Damage::Late(3600)),
    (200_000, Damage::Either(86_000)),
];

fn nobody_is_locked_out(seeds: RangeInclusive<u64>) {
    for (row, (window, damage)) in (0..).zip(ROWS) {
        for seed in seeds.clone().map(|seed| 5 * seed + row) {
            let report = three_hours(window, damage, seed);
            println!("window {window} s, {damage:?}: {report:?}");
            assert_eq!(report, Report::default(), "window {window} s, {damage:?}, seed {seed}");
        }
    }
}

#[test]
fn damaged_dates_lock_nobody_out_0_rejections_0_s_in_3_h() {
    nobody_is_locked_out(1..=1);
}

#[test]
#[ignore = "takes minutes"]
fn damaged_dates_lock_nobody_out_whatever_the_seed() {
    nobody_is_locked_out(2..=40);
}

/// How one client's timestamps follow, one request each ten seconds, every hundredth `Date` 250 s wrong: its clock is ahead
/// by so many seconds at each second of the server's.
fn follow(ahead: impl Fn(i64) -> i64) -> Vec<Report> {
    follow_among(250, ahead)
}

fn follow_among(damage: i64, ahead: impl Fn(i64) -> i64) -> Vec<Report> {
    let mut pair = Pair::new();
    let mut member = Member::new(pair.first_party(pair.builder()));
    let tick = |tick: i64| {
        let (server, ahead) = (tick * 10, ahead(tick * 10));
        (pair.now, pair.server_ahead) = (after(server + ahead), -ahead);
        member.report = Report::default();
        let wrong = if tick % 100 == 99 { damage } else { 0 };
        member.ask(&mut pair, |date| shifted(date, wrong));
        member.report
    };
    (0..1000).map(tick).collect()
}

/// The worst of some ticks, and the refusals in them.
fn in_all(reports: &[Report]) -> (u64, u32) {
    let all = reports.iter().fold(Report::default(), |all, report| all.and(*report));
    assert_eq!(all.needless_logins, 0);
    (all.worst, all.rejected)
}

#[test]
fn a_clock_that_is_right_or_off_from_the_start_is_known_at_once() {
    assert_eq!(in_all(&follow(|_| 0)), (0, 0));
    let slow = follow(|_| -100);
    assert_eq!((in_all(&slow[..2]), in_all(&slow[2..])), ((100, 0), (0, 0)));
    let very_slow = follow(|_| -3600);
    assert_eq!((in_all(&very_slow[..1]), in_all(&very_slow[1..])), ((3600, 1), (0, 0)));
    let fast = follow(|_| 100);
    // What has been sent is gone on from until time has caught up.
    assert_eq!((in_all(&fast[..12]), in_all(&fast[12..])), ((100, 0), (0, 0)));
    let very_fast = follow(|_| 3600);
    assert_eq!((in_all(&very_fast[..1]), in_all(&very_fast[1..])), ((3600, 1), (0, 0)));
}

#[test]
fn a_clock_that_is_set_is_followed() {
    const AT: usize = 500;
    let step = |seconds: i64| follow(move |server| if server >= 10 * i64::try_from(AT).unwrap() { seconds } else { 0 });
    for back in [-200, -3600] {
        let (worst, rejected) = in_all(&step(back));
        assert!(worst <= 20 && rejected == 0, "{back}: {worst} s, {rejected} refused");
    }
    let ahead = step(200);
    assert_eq!(in_all(&ahead[..AT]), (0, 0));
    assert_eq!(in_all(&ahead), (200, 0));
    assert_eq!(in_all(&ahead[AT + 22..]), (0, 0), "until time has caught up");
    let far_ahead = step(3600);
    assert_eq!(in_all(&far_ahead), (3600, 1));
    assert_eq!(in_all(&far_ahead[AT + 1..]), (0, 0), "one refusal, and no token lost");
}

#[test]
fn a_clock_that_drifts_is_followed() {
    // A damaged date puts off for two requests what is learned.
    for (seconds, damage, most) in [(60, 0, 3), (60, 250, 3), (10, 0, 4), (10, 250, 6)] {
        for direction in [-1, 1] {
            let (worst, rejected) = in_all(&follow_among(damage, |server| direction * server / seconds));
            println!("1 s in {seconds} s, {damage}: {worst} s off");
            assert!(worst <= most && rejected == 0, "1 s in {seconds} s: {worst} s off, {rejected} refused");
        }
    }
}
