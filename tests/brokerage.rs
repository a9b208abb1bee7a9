//! The brokerage session: opened, kept, lost and found again, against scripted answers and against the gateway.

mod support;

use std::time::Duration;

use ibkr_oauth::brokerage::{
    ActivationStage, Bridge, BrokerageEvent, BrokerageExchange, BrokerageOutbound, BrokerageSession, CompetePolicy,
    Maintenance, Pacing, RetryAt, WaitForActivation,
};
use ibkr_oauth::gateway::Incident;
use ibkr_oauth::{Diagnosis, Error, LiveSession, Mismatch, Misuse, OAuthSession, Request, Response, UnixTime};
use proptest::prelude::*;
use support::pair::{Pair, response};
use support::{NOW, WorkedLogin, header, rng};

const READY: &str = r#"{"authenticated":true,"established":true,"competing":false,"connected":true}"#;
const NOT_READY: &str = r#"{"authenticated":true,"established":false,"competing":false,"connected":true}"#;
const ABSENT: &str = r#"{"authenticated":false,"competing":false,"connected":false}"#;
const COMPETING: &str = r#"{"authenticated":false,"competing":true,"connected":true}"#;
const NO_BRIDGE: &str = r#"{"error":"Bad Request: no bridge","statusCode":400}"#;

/// A brokerage session, its clock, and a server that says what it is told to.
struct Scripted {
    session: BrokerageSession,
    live: LiveSession,
    now: UnixTime,
}

impl Scripted {
    fn new(policy: CompetePolicy) -> Self {
        let oauth = WorkedLogin::any().live_session(NOW);
        Self { session: BrokerageSession::new(policy), live: oauth.live(NOW).unwrap().clone(), now: NOW }
    }

    /// Ready, and just tickled.
    fn ready() -> Self {
        let mut scripted = Self::new(CompetePolicy::Yield);
        assert_eq!(scripted.answer("/iserver/auth/ssodh/init", 200, READY), BrokerageEvent::Ready);
        assert_eq!(scripted.answer("/tickle", 200, r#"{"session":"cafe01"}"#), BrokerageEvent::Alive);
        scripted
    }

    fn poll(&mut self) -> Option<(Request, BrokerageExchange)> {
        let outbound = self.session.poll_request(&self.live, &mut rng(1), self.now).unwrap();
        outbound.map(|BrokerageOutbound { request, exchange }| (request, exchange))
    }

    /// The next request must be to `path`; it is answered.
    fn answer(&mut self, path: &str, status: u16, body: &str) -> BrokerageEvent {
        let (request, exchange) = self.poll().unwrap_or_else(|| panic!("nothing to send, not {path}"));
        assert_eq!(request.path(), format!("/v1/api{path}"));
        self.session.handle_response(exchange, Response::new(status, body.as_bytes()), self.now).unwrap()
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now.saturating_add(Duration::from_secs(seconds));
    }

    fn log_in_again(&mut self) {
        self.live = WorkedLogin::any().live_session(NOW).live(NOW).unwrap().clone();
    }

    fn seconds_to_go(&self) -> Option<u64> {
        self.session.poll_timeout().map(|at| at.saturating_since(self.now).as_secs())
    }
}

#[test]
fn a_brokerage_session_is_opened_tickled_every_minute_and_closed() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    assert_eq!(scripted.session.bridge(), Bridge::Missing);
    let (request, exchange) = scripted.poll().unwrap();
    assert_eq!((request.method().as_str(), request.path()), ("POST", "/v1/api/iserver/auth/ssodh/init"));
    assert_eq!(request.body(), br#"{"publish":true,"compete":false}"#);
    assert_eq!(header(&request, "Content-Type"), Some("application/json"));
    assert_eq!(header(&request, "Content-Length"), Some("32"));
    assert!(scripted.poll().is_none(), "one request is in flight at a time");
    let event = scripted.session.handle_response(exchange, Response::new(200, NOT_READY.as_bytes()), scripted.now);
    assert_eq!(event, Ok(BrokerageEvent::Opening));
    assert_eq!(scripted.answer("/tickle", 200, r#"{"session":"cafe01"}"#), BrokerageEvent::Alive);
    assert_eq!(scripted.seconds_to_go(), Some(2));
    scripted.wait(2);
    assert_eq!(scripted.answer("/iserver/auth/status", 200, READY), BrokerageEvent::Ready);
    assert_eq!(scripted.session.bridge(), Bridge::Ready);

    for _ in 0..3 {
        assert!(scripted.poll().is_none());
        scripted.wait(scripted.seconds_to_go().unwrap());
        let (request, exchange) = scripted.poll().unwrap();
        assert_eq!(request.path(), "/v1/api/tickle");
        assert_eq!(header(&request, "Content-Length"), Some("0"));
        let body = format!(r#"{{"session":"cafe01","iserver":{{"authStatus":{READY}}}}}"#);
        let event = scripted.session.handle_response(exchange, Response::new(200, body.as_bytes()), scripted.now);
        assert_eq!(event, Ok(BrokerageEvent::Alive));
        assert_eq!(scripted.seconds_to_go(), Some(60));
    }

    scripted.session.log_out();
    assert_eq!(scripted.answer("/logout", 200, r#"{"status":true}"#), BrokerageEvent::LoggedOut);
    assert_eq!((scripted.poll().is_none(), scripted.session.poll_timeout()), (true, None));
    scripted.session.open();
    assert_eq!(scripted.answer("/iserver/auth/ssodh/init", 200, READY), BrokerageEvent::Ready);
}

#[test]
fn a_session_that_is_gone_is_opened_again_however_that_is_said() {
    for (status, body) in
        [(200, format!(r#"{{"session":"cafe01","iserver":{{"authStatus":{ABSENT}}}}}"#)), (400, NO_BRIDGE.to_string())]
    {
        let mut scripted = Scripted::ready();
        scripted.wait(60);
        assert_eq!(scripted.answer("/tickle", status, &body), BrokerageEvent::Lost);
        assert_eq!(scripted.session.bridge(), Bridge::Missing);
        assert_eq!(scripted.answer("/iserver/auth/ssodh/init", 200, READY), BrokerageEvent::Ready);
    }
}

#[test]
fn one_failed_tickle_never_stops_the_next() {
    for (status, body) in [(500, r#"{"error":"failed to process request"}"#), (503, ""), (200, "<html>")] {
        let mut scripted = Scripted::ready();
        for _ in 0..5 {
            scripted.wait(60);
            let event = scripted.answer("/tickle", status, body);
            assert!(matches!(event, BrokerageEvent::Failed { .. }), "{event:?}");
            assert_eq!((scripted.session.bridge(), scripted.seconds_to_go()), (Bridge::Ready, Some(60)));
        }
    }
    let mut scripted = Scripted::ready();
    for _ in 0..5 {
        scripted.wait(60);
        drop(scripted.poll().expect("a tickle whose answer never came is no reason to stop"));
        assert!(scripted.poll().is_none(), "nor to flood");
    }
}

#[test]
fn a_refused_live_session_token_is_reported_and_the_new_one_is_used_at_once() {
    for (status, body) in [(401, "Unauthorized"), (401, "Invalid signature"), (410, "gone")] {
        let mut scripted = Scripted::ready();
        scripted.wait(60);
        assert_eq!(scripted.answer("/tickle", status, body), BrokerageEvent::LiveSessionRefused);
        assert!(scripted.poll().is_none(), "the dead token is not tried again at once");
        scripted.log_in_again();
        assert_eq!(scripted.answer("/iserver/auth/status", 200, READY), BrokerageEvent::Alive);
        assert_eq!(scripted.session.web_socket(), None, "the session id belonged to the old login");
        assert_eq!(scripted.answer("/tickle", 200, r#"{"session":"cafe02"}"#), BrokerageEvent::Alive);
        assert!(scripted.poll().is_none() && scripted.session.web_socket().is_some());
    }
}

#[test]
fn another_session_is_left_alone_or_taken_over_as_the_user_wants() {
    let mut yields = Scripted::new(CompetePolicy::Yield);
    assert_eq!(yields.answer("/iserver/auth/ssodh/init", 200, COMPETING), BrokerageEvent::Competing);
    assert_eq!(yields.answer("/tickle", 200, r#"{"session":"cafe01"}"#), BrokerageEvent::Alive);
    yields.wait(59);
    assert!(yields.poll().is_none());
    yields.session.open();
    let (request, exchange) = yields.poll().unwrap();
    assert_eq!(request.body(), br#"{"publish":true,"compete":true}"#);
    let event = yields.session.handle_response(exchange, Response::new(200, READY.as_bytes()), yields.now);
    assert_eq!(event, Ok(BrokerageEvent::Ready));
    yields.wait(60);
    let competing = format!(r#"{{"iserver":{{"authStatus":{COMPETING}}}}}"#);
    assert_eq!(yields.answer("/tickle", 200, &competing), BrokerageEvent::Competing);
    yields.wait(59);
    assert!(yields.poll().is_none(), "taking over once is not taking over for good");
    yields.wait(1);
    let gone = format!(r#"{{"iserver":{{"authStatus":{ABSENT}}}}}"#);
    assert_eq!(yields.answer("/tickle", 200, &gone), BrokerageEvent::CompetitorGone);
    assert_eq!(yields.answer("/iserver/auth/ssodh/init", 200, READY), BrokerageEvent::Ready);

    let mut takes_over = Scripted::new(CompetePolicy::TakeOver);
    let (request, exchange) = takes_over.poll().unwrap();
    assert_eq!(request.body(), br#"{"publish":true,"compete":true}"#);
    let event = takes_over.session.handle_response(exchange, Response::new(200, COMPETING.as_bytes()), NOW);
    assert_eq!(event, Ok(BrokerageEvent::Competing));
    assert_eq!(takes_over.answer("/tickle", 200, "{}"), BrokerageEvent::Alive);
    takes_over.wait(10);
    assert_eq!(takes_over.answer("/iserver/auth/ssodh/init", 200, READY), BrokerageEvent::Ready);
}

#[test]
fn a_session_that_cannot_be_built_is_tickled_first_and_tried_with_growing_pauses() {
    let mut scripted = Scripted::new(CompetePolicy::TakeOver);
    let unavailable = Response::new(500, br#"{"error":"failed to generate sso dh token"}"#);
    let mut attempts = Vec::new();
    let mut tickled_since = true;
    while attempts.len() < 7 {
        scripted.wait(scripted.seconds_to_go().unwrap());
        let (request, exchange) = scripted.poll().unwrap();
        if request.path() == "/v1/api/tickle" {
            tickled_since = true;
            scripted.session.handle_response(exchange, Response::new(200, b"{}"), scripted.now).unwrap();
            continue;
        }
        assert!(tickled_since, "no attempt without a tickle before it");
        tickled_since = false;
        let competes = request.body() == br#"{"publish":true,"compete":true}"#;
        attempts.push((scripted.now.saturating_since(NOW).as_secs(), competes));
        let event = scripted.session.handle_response(exchange, unavailable.clone(), scripted.now).unwrap();
        let BrokerageEvent::Failed { error: Error::Rejected(rejected), .. } = event else { panic!("{event:?}") };
        assert_eq!(rejected.diagnosis, Diagnosis::BrokerageSessionUnavailable);
    }
    let pauses_double = [(0, true), (10, false), (30, true), (70, false), (150, true), (310, false), (610, true)];
    assert_eq!(attempts, pauses_double, "seconds, and whether it competes");
}

#[test]
fn taking_over_works_after_a_failure_too() {
    let mut scripted = Scripted::new(CompetePolicy::TakeOver);
    assert!(matches!(scripted.answer("/iserver/auth/ssodh/init", 503, ""), BrokerageEvent::Failed { .. }));
    for _ in 0..3 {
        scripted.wait(scripted.seconds_to_go().unwrap());
        let (request, exchange) = scripted.poll().unwrap();
        if request.path() == "/v1/api/iserver/auth/ssodh/init" {
            assert_eq!(request.body(), br#"{"publish":true,"compete":true}"#);
        }
        scripted.session.handle_response(exchange, Response::new(200, COMPETING.as_bytes()), scripted.now).unwrap();
    }
}

/// IBKR also answers 410 where no new login helps (protocol section 6.2).
#[test]
fn logins_that_are_refused_one_after_the_other_are_slowed_down() {
    for path_of_no_return in ["/iserver/auth/ssodh/init", "/tickle"] {
        let mut scripted = Scripted::ready();
        scripted.session = BrokerageSession::new(CompetePolicy::Yield);
        let (mut logins, mut requests) = (0, 0);
        let end = scripted.now.saturating_add(Duration::from_secs(3600));
        while scripted.now < end {
            while let Some((request, exchange)) = scripted.poll() {
                requests += 1;
                let dead = request.path().ends_with(path_of_no_return);
                let response = if dead { Response::new(410, b"gone") } else { Response::new(200, READY.as_bytes()) };
                let event = scripted.session.handle_response(exchange, response, scripted.now).unwrap();
                if event == BrokerageEvent::LiveSessionRefused {
                    logins += 1;
                    scripted.log_in_again();
                }
                assert!(requests < 500, "a flood");
            }
            scripted.wait(scripted.seconds_to_go().unwrap().max(1));
        }
        assert!(logins < 70, "{path_of_no_return}: {logins} logins in an hour");
    }
}

#[test]
fn a_decision_of_the_user_outlives_an_answer_that_was_under_way() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    let (_, exchange) = scripted.poll().unwrap();
    scripted.session.log_out();
    let late = scripted.session.handle_response(exchange, Response::new(200, READY.as_bytes()), NOW);
    assert_eq!(late, Err(Misuse::StaleExchange));
    let (request, exchange) = scripted.poll().unwrap();
    assert_eq!(request.path(), "/v1/api/logout");
    scripted.session.open();
    assert!(scripted.session.handle_response(exchange, Response::new(200, b"{}"), NOW).is_err());
    assert_eq!(scripted.answer("/iserver/auth/ssodh/init", 200, READY), BrokerageEvent::Ready);
}

#[test]
fn a_clock_that_goes_back_does_not_stop_the_tickles() {
    let mut scripted = Scripted::ready();
    for back in [1800, 86_400] {
        scripted.now = scripted.now.saturating_sub(Duration::from_secs(back));
        assert!(scripted.poll().is_none());
        assert_eq!(scripted.seconds_to_go(), Some(60), "what was planned moved along");
        scripted.wait(60);
        assert_eq!(scripted.answer("/tickle", 200, "{}"), BrokerageEvent::Alive);
    }
}

#[test]
fn too_many_requests_and_a_servers_wish_are_respected() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    assert!(matches!(scripted.answer("/iserver/auth/ssodh/init", 429, ""), BrokerageEvent::Failed { .. }));
    assert_eq!(scripted.seconds_to_go(), Some(600));
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    let (_, exchange) = scripted.poll().unwrap();
    let wish = Response::new(503, b"").header("Retry-After", b"120");
    scripted.session.handle_response(exchange, wish, scripted.now).unwrap();
    assert_eq!(scripted.seconds_to_go(), Some(120));
    let mut scripted = Scripted::ready();
    scripted.wait(60);
    assert!(matches!(scripted.answer("/tickle", 429, ""), BrokerageEvent::Failed { .. }));
    assert_eq!(scripted.seconds_to_go(), Some(600), "tickling on would prolong the penalty");
}

#[test]
fn a_bridge_that_is_missing_while_it_is_opened_is_no_reason_to_hurry() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    let mut inits = 0;
    let end = NOW.saturating_add(Duration::from_secs(600));
    while scripted.now < end {
        let Some((request, exchange)) = scripted.poll() else {
            scripted.wait(scripted.seconds_to_go().unwrap().max(1));
            continue;
        };
        let response = match request.path() {
            "/v1/api/iserver/auth/ssodh/init" => {
                inits += 1;
                Response::new(200, NOT_READY.as_bytes())
            }
            "/v1/api/iserver/auth/status" => Response::new(400, NO_BRIDGE.as_bytes()),
            _ => Response::new(200, b"{}"),
        };
        let event = scripted.session.handle_response(exchange, response, scripted.now).unwrap();
        assert_ne!(event, BrokerageEvent::Lost, "it was never ready");
    }
    assert!(inits <= 8, "{inits} attempts in ten minutes");
}

#[test]
fn a_session_that_never_gets_ready_is_asked_for_anew() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    assert_eq!(scripted.answer("/iserver/auth/ssodh/init", 200, ABSENT), BrokerageEvent::Opening);
    assert_eq!(scripted.answer("/tickle", 200, "{}"), BrokerageEvent::Alive);
    for _ in 0..15 {
        scripted.wait(2);
        assert_eq!(scripted.answer("/iserver/auth/status", 200, ABSENT), BrokerageEvent::Opening);
    }
    scripted.wait(2);
    assert_eq!(scripted.answer("/iserver/auth/ssodh/init", 200, READY), BrokerageEvent::Ready);
}

#[test]
fn an_exchange_of_another_session_is_refused_and_changes_nothing() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    let (_, foreign) = Scripted::new(CompetePolicy::Yield).poll().unwrap();
    let refused = scripted.session.handle_response(foreign, Response::new(200, READY.as_bytes()), NOW);
    assert_eq!(refused, Err(Misuse::StaleExchange));
    assert_eq!(scripted.session.bridge(), Bridge::Missing);
}

#[test]
fn the_web_socket_follows_the_session_id_and_shows_no_token() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    assert!(scripted.session.web_socket().is_none());
    scripted.answer("/iserver/auth/ssodh/init", 200, READY);
    assert!(scripted.session.web_socket().is_none(), "the session id comes with the first tickle");
    scripted.answer("/tickle", 200, r#"{"session":"cafe01"}"#);
    let first = scripted.session.web_socket().unwrap();
    assert_eq!(first.url(), "wss://api.ibkr.com/v1/api/ws?oauth_token=a1b2c3d4e5f6a7b8c9d0");
    let headers: Vec<_> = first.headers().collect();
    assert_eq!(headers[0], ("Cookie", "api=cafe01"));
    assert!(headers[1].0 == "User-Agent" && headers[1].1.starts_with("ibkr-oauth/"));
    let shown = format!("{first:?} {:?}", scripted.session);
    assert!(!shown.contains("a1b2c3") && !shown.contains("cafe01"), "{shown}");

    scripted.wait(60);
    scripted.answer("/tickle", 200, r#"{"session":"cafe01"}"#);
    assert_eq!(scripted.session.web_socket().as_ref(), Some(&first));
    scripted.wait(60);
    scripted.answer("/tickle", 200, r#"{"session":"cafe02"}"#);
    assert_ne!(scripted.session.web_socket(), Some(first));
    scripted.wait(60);
    scripted.answer("/tickle", 200, "{\"session\":\"a\\r\\nSet-Cookie: b\"}");
    let headers = scripted.session.web_socket().unwrap();
    assert_eq!(headers.headers().next(), Some(("Cookie", "api=cafe02")), "nonsense is not a session id");
    scripted.wait(60);
    scripted.answer("/tickle", 200, r#"{"session":"cafe03;x=y"}"#);
    let headers = scripted.session.web_socket().unwrap();
    assert_eq!(headers.headers().next(), Some(("Cookie", "api=cafe02")), "nor is a second cookie");
}

#[test]
fn maintenance_is_named_where_it_is_likely_and_shortens_the_pauses() {
    let at = |text: &str| UnixTime::from(httpdate::parse_http_date(text).unwrap());
    for (moment, expected) in [
        ("Tue, 07 May 2024 04:10:00 GMT", Some(Maintenance::NightlyReset)),
        ("Tue, 07 May 2024 23:59:00 GMT", Some(Maintenance::NightlyReset)),
        ("Tue, 07 May 2024 00:10:00 GMT", Some(Maintenance::NightlyReset)),
        ("Tue, 07 May 2024 16:10:00 GMT", Some(Maintenance::NightlyReset)),
        ("Sat, 04 May 2024 22:00:00 GMT", Some(Maintenance::Weekend)),
        ("Sun, 05 May 2024 07:59:00 GMT", Some(Maintenance::Weekend)),
        ("Sun, 05 May 2024 08:00:00 GMT", None),
        ("Tue, 07 May 2024 12:00:00 GMT", None),
        ("Tue, 07 May 2024 00:30:00 GMT", None),
        ("Tue, 07 May 2024 20:00:00 GMT", None),
    ] {
        assert_eq!(Maintenance::at(at(moment)), expected, "{moment}");
    }

    let mut scripted = Scripted::new(CompetePolicy::Yield);
    scripted.now = at("Fri, 03 May 2024 04:00:00 GMT");
    for _ in 0..8 {
        while scripted.session.poll_timeout().is_some_and(|at| at > scripted.now) {
            scripted.wait(1);
        }
        let event = scripted.answer("/iserver/auth/ssodh/init", 503, "");
        let BrokerageEvent::Failed { maintenance, .. } = event else { panic!("{event:?}") };
        assert_eq!(maintenance, Some(Maintenance::NightlyReset));
        assert!(scripted.seconds_to_go().unwrap() <= 60);
    }
}

/// 2 May 2024, a Thursday, 11:40 UTC.
#[test]
fn waiting_for_activation_gives_an_honest_eta() {
    let mut session = WorkedLogin::any().session();
    let exchange = support::poll(&mut session).exchange;
    let refusal = br#"{"error":"id: 3931, error: invalid consumer","statusCode":401}"#;
    let error = session.handle_response(exchange, Response::new(401, refusal), NOW).unwrap_err();
    let registered = NOW.saturating_sub(Duration::from_secs(3 * 86_400));
    let activation = WaitForActivation::since(registered).explain(&error, NOW).unwrap();
    assert_eq!(activation.stage, ActivationStage::ConsumerKey);
    assert_eq!(activation.next_attempt, NOW.saturating_add(Duration::from_secs(900)));
    let said = |days: u64| {
        let registered = NOW.saturating_sub(Duration::from_secs(days * 86_400));
        let said = WaitForActivation::since(registered).explain(&error, NOW).unwrap().to_string();
        said.strip_prefix("the consumer key is not active yet, or the credentials are wrong; ").unwrap().to_string()
    };
    assert_eq!(
        said(0),
        "waited 0 h; by IBKR's documentation it works in 17 h; by IBKR's e-mails it works in 65 h; at worst it works in \
         336 h"
    );
    assert_eq!(
        said(3),
        "waited 72 h; by IBKR's documentation it should work by now; by IBKR's e-mails it works in 65 h; at worst it \
         works in 264 h"
    );
    assert!(said(20).ends_with("at worst it should work by now: something else is wrong"), "{}", said(20));
    assert_eq!(
        WaitForActivation::since(registered).explain(&Error::LiveSessionMismatch(Mismatch::Unexplained), NOW),
        None
    );
}

#[test]
fn documented_limits_are_kept_and_a_429_closes_the_door() {
    let mut pacing = Pacing::direct();
    let later = |seconds: u64| NOW.saturating_add(Duration::from_secs(seconds));
    for _ in 0..10 {
        assert_eq!(pacing.may_send("/iserver/marketdata/snapshot", NOW), Ok(()));
    }
    assert_eq!(pacing.may_send("/iserver/marketdata/snapshot", NOW), Err(RetryAt(later(1))));
    assert_eq!(pacing.may_send("/iserver/marketdata/snapshot", later(1)), Ok(()));
    assert_eq!(pacing.may_send("/pa/performance", NOW), Ok(()));
    assert_eq!(pacing.may_send("/pa/performance", later(899)), Err(RetryAt(later(900))));
    assert_eq!(pacing.may_send("/portfolio/accounts", NOW), Ok(()));
    let clock_went_back = NOW.saturating_sub(Duration::from_secs(86_400));
    let five_seconds_later = clock_went_back.saturating_add(Duration::from_secs(5));
    assert_eq!(pacing.may_send("/portfolio/accounts", clock_went_back), Err(RetryAt(five_seconds_later)));
    assert_eq!(pacing.may_send("/portfolio/accounts", five_seconds_later), Ok(()), "who obeys is let through");

    let mut pacing = Pacing::cautious();
    for _ in 0..10 {
        assert_eq!(pacing.may_send("/iserver/account/U1/orders", NOW), Ok(()));
    }
    assert_eq!(pacing.may_send("/anything", NOW), Err(RetryAt(later(1))));
    pacing.handle_too_many_requests(NOW);
    assert_eq!(pacing.may_send("/anything", later(599)), Err(RetryAt(later(600))));
    assert_eq!(pacing.may_send("/anything", later(600)), Ok(()));
}

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
    pair.gateway.schedule(after(5), Incident::NightlyReset);
    pair.gateway.schedule(after(8), Incident::CompetingLogin { user: "alice".to_string() });
    pair.gateway.schedule(after(12), Incident::Outage { lasts: half_an_hour });
    pair.gateway.schedule(after(20), Incident::Gone);
    pair.gateway.schedule(after(30), Incident::LiveSessionsEnd);
    pair.gateway.schedule(after(40), Incident::NoBrokerageSessions { lasts: half_an_hour });
    pair.gateway.schedule(after(40), Incident::NightlyReset);
    pair.gateway.schedule(after(60), Incident::ClockSkew { seconds: 7200 });

    let mut day = |hours| live_through(&mut pair, &mut oauth, &mut brokerage, after(hours));
    assert_eq!(day(4), ["Ready"]);
    assert_eq!(day(6), ["Lost", "Ready"]);
    assert_eq!(day(10), ["Competing", "Ready"]);
    let outage = day(14);
    let (refusals, recovery) = outage.split_at(outage.len() - 2);
    assert!(refusals.iter().all(|event| event == "failed: 503") && refusals.len() == 30, "{outage:?}");
    assert_eq!(recovery, ["Lost", "Ready"], "half an hour without a tickle is too long");
    assert_eq!(day(22), ["LiveSessionRefused"]);
    assert_eq!(day(32), ["LiveSessionRefused"]);
    let unavailable = day(42);
    assert_eq!(unavailable.first().map(String::as_str), Some("Lost"));
    assert_eq!(unavailable.last().map(String::as_str), Some("Ready"));
    assert!(unavailable[1..unavailable.len() - 1].iter().all(|event| event == "failed: 500"), "{unavailable:?}");
    let skewed = day(72);
    assert!(skewed.len() <= 3, "{skewed:?}");
    assert_eq!(oauth.clock_skew(), 7200);
    assert_eq!(brokerage.bridge(), Bridge::Ready);
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
    let bodies = [READY, NOT_READY, ABSENT, COMPETING].map(str::to_string);
    let tickles = bodies.each_ref().map(|body| format!(r#"{{"session":"cafe01","iserver":{{"authStatus":{body}}}}}"#));
    let others = [NO_BRIDGE, "", "<html>", r#"{"error":"failed to generate sso dh token"}"#].map(str::to_string);
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
    /// Requests at one moment, without an answer or a wish of the user in between.
    unanswered: u32,
}

impl Ordeal {
    fn begin(policy: CompetePolicy) -> Self {
        let mut pair = Pair::new();
        let oauth = pair.live(pair.builder());
        Self { pair, oauth, session: BrokerageSession::new(policy), in_flight: None, unanswered: 0 }
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
            }
            Operation::Open => {
                // What is in flight is awaited no longer, unless there is nothing to open.
                self.in_flight = self.in_flight.take().filter(|_| self.session.bridge() == Bridge::Ready);
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
        self.pair.gateway.schedule(UnixTime::from_millis(now), incident);
    }

    fn poll(&mut self) {
        let now = self.pair.now;
        // A login that has expired, or that the server refused, is for the end.
        let Some(live) = self.oauth.live(now) else { return };
        let polled = self.session.poll_request(live, &mut self.pair.rng, now).unwrap();
        if let Some(outbound) = polled {
            assert!(self.in_flight.is_none(), "two requests in flight");
            self.unanswered += 1;
            assert!(self.unanswered <= 2, "one step and one tickle are enough");
            self.is_silent(&format!("{outbound:?}"));
            self.in_flight = Some(outbound);
        }
    }

    fn hand_in(&mut self, exchange: BrokerageExchange, response: Response<'_>) {
        let event = self.session.handle_response(exchange, response, self.pair.now).expect("it is awaited");
        self.is_silent(&format!("{event:?} {:?} {:?}", self.session, self.session.web_socket()));
    }

    fn answer_foreign(&mut self) {
        let (_, foreign) = Scripted::new(CompetePolicy::Yield).poll().unwrap();
        let seen = |session: &BrokerageSession| (session.bridge(), session.poll_timeout(), session.web_socket());
        let before = seen(&self.session);
        let refused = self.session.handle_response(foreign, Response::new(200, READY.as_bytes()), self.pair.now);
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
        prop_assert_eq!(session.bridge(), Bridge::Ready, "{:?}", events);
    }
}
