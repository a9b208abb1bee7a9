//! The brokerage session: opened, kept, lost and found again, against scripted answers.

mod support;

use std::time::{Duration, UNIX_EPOCH};

use ibkr_oauth::brokerage::{BrokerageEvent, BrokeragePhase, BrokerageSession, CompetePolicy};
use ibkr_oauth::{
    ActivationStage, ActivationWait, Consumer, Diagnosis, Error, Maintenance, Mismatch, Misuse, Request, Response,
    UnixTime,
};
use support::scripted::{ABSENT, ACCOUNTS, COMPETING, NO_BRIDGE, NOT_READY, READY, Scripted, tickle};
use support::{NOW, WorkedLogin, header};

#[test]
fn a_brokerage_session_is_opened_tickled_every_minute_and_closed() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    assert_eq!(scripted.session.phase(scripted.now), BrokeragePhase::Missing);
    let (request, exchange) = scripted.poll().unwrap();
    assert_eq!((request.method().as_str(), request.path()), ("POST", "/v1/api/iserver/auth/ssodh/init"));
    assert_eq!(request.body(), br#"{"publish":true,"compete":false}"#);
    assert_eq!(header(&request, "Content-Type"), Some("application/json"));
    assert_eq!(header(&request, "Content-Length"), Some("32"));
    assert!(scripted.poll().is_none(), "one request is in flight at a time");
    assert_eq!(scripted.seconds_to_go(), Some(15), "and nothing is due before its answer, or its deadline");
    let event = scripted.session.handle_response(exchange, &Response::new(200, NOT_READY.as_bytes()), scripted.now);
    assert_eq!(event, Ok(BrokerageEvent::Opening));
    assert_eq!(scripted.answer("/tickle", 200, r#"{"session":"cafe01"}"#), BrokerageEvent::Alive);
    assert_eq!(scripted.seconds_to_go(), Some(2));
    scripted.wait(2);
    assert_eq!(scripted.answer("/iserver/auth/status", 200, READY), BrokerageEvent::Opening);
    assert_eq!(scripted.session.phase(scripted.now), BrokeragePhase::Opening, "it is usable once it has accounts");
    assert_eq!(scripted.answer("/iserver/accounts", 200, r#"{"accounts":[]}"#), BrokerageEvent::Opening);
    scripted.wait(2);
    assert_eq!(scripted.answer("/iserver/accounts", 200, ACCOUNTS), BrokerageEvent::Ready);
    assert_eq!(scripted.session.phase(scripted.now), BrokeragePhase::Ready);
    scripted.session.open();
    assert!(scripted.poll().is_none(), "what is open need not be opened");

    for _ in 0..3 {
        assert!(scripted.poll().is_none());
        scripted.wait(scripted.seconds_to_go().unwrap());
        let (request, exchange) = scripted.poll().unwrap();
        assert_eq!(request.path(), "/v1/api/tickle");
        assert_eq!(header(&request, "Content-Length"), Some("0"));
        let body = tickle(READY);
        let event = scripted.session.handle_response(exchange, &Response::new(200, body.as_bytes()), scripted.now);
        assert_eq!(event, Ok(BrokerageEvent::Alive));
        assert_eq!(scripted.seconds_to_go(), Some(60));
    }

    scripted.session.log_out();
    assert_eq!(scripted.answer("/logout", 200, r#"{"status":true}"#), BrokerageEvent::LoggedOut);
    assert_eq!((scripted.poll().is_none(), scripted.session.poll_timeout()), (true, None));
    scripted.session.open();
    scripted.opens();
}

#[test]
fn a_session_that_is_gone_is_opened_again_however_that_is_said() {
    for (status, body) in [(200, tickle(ABSENT)), (400, NO_BRIDGE.to_string())] {
        let mut scripted = Scripted::ready();
        scripted.wait(60);
        assert_eq!(scripted.answer("/tickle", status, &body), BrokerageEvent::Lost);
        assert_eq!(scripted.session.phase(scripted.now), BrokeragePhase::Missing);
        scripted.opens();
    }
}

#[test]
fn a_session_that_did_not_outlive_its_token_is_opened_again() {
    let mut scripted = Scripted::ready();
    scripted.log_in_again();
    assert_eq!(scripted.answer("/iserver/auth/status", 200, NOT_READY), BrokerageEvent::Lost);
}

/// What a session said before it was lost does not speak for the next one.
#[test]
fn a_session_that_was_lost_a_moment_ago_is_not_taken_for_the_new_one() {
    let mut scripted = Scripted::ready();
    scripted.wait(60);
    assert_eq!(scripted.answer("/tickle", 200, &tickle(ABSENT)), BrokerageEvent::Lost);
    assert_eq!(scripted.answer("/iserver/auth/ssodh/init", 200, NOT_READY), BrokerageEvent::Opening);
    scripted.wait(2);
    assert_eq!(scripted.answer("/iserver/auth/status", 200, NOT_READY), BrokerageEvent::Opening, "not its accounts");
}

/// The longest time that a session is called ready without a witness, in five kinds of trouble for half a day.
#[test]
fn a_session_that_nobody_confirms_is_not_called_ready_after_5_min() {
    let troubles: [Option<(u16, &str)>; 5] =
        [None, Some((503, "")), Some((302, "")), Some((200, "<html>")), Some((401, "Unauthorized"))];
    for trouble in troubles {
        let mut scripted = Scripted::ready();
        let confirmed = scripted.now;
        let seconds = |scripted: &Scripted| scripted.now.saturating_since(confirmed).as_secs();
        let mut requests = 0;
        while seconds(&scripted) < 12 * 3600 {
            let phase = scripted.session.phase(scripted.now);
            let expected = if seconds(&scripted) < 300 { BrokeragePhase::Ready } else { BrokeragePhase::Unconfirmed };
            assert_eq!(phase, expected, "{trouble:?} after {} s", seconds(&scripted));
            if let Some((_, exchange)) = scripted.poll() {
                requests += 1;
                match trouble {
                    // Held, as by a client whose connection is half open.
                    None => std::mem::forget(exchange),
                    Some((status, body)) => {
                        let response = Response::new(status, body.as_bytes());
                        drop(scripted.session.handle_response(exchange, &response, scripted.now).unwrap());
                    }
                }
            }
            let next = scripted.now.saturating_add(Duration::from_secs(1));
            scripted.now = next.max(
                scripted.session.poll_timeout().unwrap().min(scripted.now.saturating_add(Duration::from_secs(60))),
            );
        }
        assert!((120..=2 * 720 + 10).contains(&requests), "{trouble:?}: {requests} requests in 12 h");
        scripted.wait(600);
        if trouble == Some((401, "Unauthorized")) {
            scripted.log_in_again();
        }
        let event = scripted.answer_whatever_is_due(READY);
        assert_eq!(event, BrokerageEvent::Ready, "{trouble:?}: back at once");
        assert_eq!(scripted.session.phase(scripted.now), BrokeragePhase::Ready);
    }
}

#[test]
fn a_witness_is_never_from_the_future() {
    let mut scripted = Scripted::ready();
    scripted.wait(60);
    let (_, exchange) = scripted.poll().unwrap();
    scripted.now = scripted.now.saturating_sub(Duration::from_secs(86_400));
    let body = tickle(READY);
    let event = scripted.session.handle_response(exchange, &Response::new(200, body.as_bytes()), scripted.now);
    assert_eq!(event, Ok(BrokerageEvent::Alive));
    scripted.wait(299);
    assert_eq!(scripted.session.phase(scripted.now), BrokeragePhase::Ready);
    scripted.wait(1);
    assert_eq!(scripted.session.phase(scripted.now), BrokeragePhase::Unconfirmed, "the clock was set back by a day");
}

/// Requests in ten minutes, in which `call` is called and the session polled a hundred times a second.
fn requests_in_ten_minutes(call: fn(&mut BrokerageSession), status: u16, body: &str) -> usize {
    let mut scripted = Scripted::ready();
    let mut requests = 0;
    for _ in 0..600 {
        for _ in 0..100 {
            call(&mut scripted.session);
            let Some((request, exchange)) = scripted.poll() else { continue };
            requests += 1;
            let body = if request.path().ends_with("/tickle") { "{}" } else { body };
            let response = Response::new(status, body.as_bytes());
            scripted.session.handle_response(exchange, &response, scripted.now).unwrap();
        }
        scripted.wait(1);
    }
    requests
}

#[test]
fn sixty_thousand_doubts_or_wishes_cause_one_request_in_5_s() {
    for (status, body) in [(503, ""), (429, ""), (200, READY), (200, NOT_READY), (200, COMPETING), (400, NO_BRIDGE)] {
        let undisturbed = requests_in_ten_minutes(|_| {}, status, body);
        for call in [BrokerageSession::open, BrokerageSession::doubt] {
            let requests = requests_in_ten_minutes(call, status, body);
            // Nobody's doubts end a penalty.
            let more = if status == 429 { 0 } else { 600 / 5 };
            assert!(requests <= undisturbed + more, "{status} {body}: {requests} requests, not {undisturbed}");
        }
    }
}

/// Two threads whose clocks differ by less than a second.
#[test]
fn a_clock_that_wobbles_hastens_no_tickle() {
    for millis in [0, 10, 100, 900] {
        let mut scripted = Scripted::ready();
        let start = scripted.now;
        let mut tickles = 0;
        for tenth in 0..36_000 {
            let wobble = if tenth % 2 == 0 { millis } else { 0 };
            scripted.now = start.saturating_add(Duration::from_millis(1000 + 100 * tenth - wobble));
            if let Some((request, exchange)) = scripted.poll() {
                tickles += u32::from(request.path().ends_with("/tickle"));
                let body = tickle(READY);
                let response = Response::new(200, body.as_bytes());
                assert_eq!(
                    scripted.session.handle_response(exchange, &response, scripted.now),
                    Ok(BrokerageEvent::Alive)
                );
            }
        }
        assert!((59..=60).contains(&tickles), "{millis} ms: {tickles} tickles in an hour");
    }
}

#[test]
fn a_tickle_may_be_the_first_to_say_that_a_session_is_there() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    assert_eq!(scripted.answer("/iserver/auth/ssodh/init", 200, NOT_READY), BrokerageEvent::Opening);
    assert_eq!(scripted.answer("/tickle", 200, &tickle(READY)), BrokerageEvent::Alive);
    scripted.wait(2);
    assert_eq!(scripted.answer("/iserver/accounts", 200, ACCOUNTS), BrokerageEvent::Ready, "status need not be asked");
}

#[test]
fn a_logout_where_there_is_nothing_left_is_a_logout() {
    for (status, body) in [(401, "Unauthorized"), (410, "gone"), (400, NO_BRIDGE)] {
        let mut scripted = Scripted::ready();
        scripted.session.log_out();
        assert_eq!(scripted.answer("/logout", status, body), BrokerageEvent::LoggedOut);
        assert_eq!((scripted.poll().is_none(), scripted.session.poll_timeout()), (true, None), "and nothing is opened");
    }
}

#[test]
fn one_failed_tickle_never_stops_the_next() {
    for (status, body) in [(500, r#"{"error":"failed to process request"}"#), (503, ""), (200, "<html>")] {
        let mut scripted = Scripted::ready();
        for _ in 0..4 {
            scripted.wait(60);
            let event = scripted.answer("/tickle", status, body);
            assert!(matches!(event, BrokerageEvent::Failed { .. }), "{event:?}");
            assert_eq!(
                (scripted.session.phase(scripted.now), scripted.seconds_to_go()),
                (BrokeragePhase::Ready, Some(60))
            );
        }
    }
    let mut scripted = Scripted::ready();
    for _ in 0..4 {
        scripted.wait(60);
        drop(scripted.poll().expect("a tickle whose answer never came is no reason to stop"));
        assert!(scripted.poll().is_none(), "nor to flood");
    }
}

/// A half-open connection must not stop everything, silently.
#[test]
fn a_response_that_never_comes_stops_nothing() {
    let mut scripted = Scripted::ready();
    scripted.wait(60);
    let (_, never_answered) = scripted.poll().unwrap();
    scripted.wait(15);
    assert!(scripted.poll().is_none(), "a tickle a minute is enough");
    assert_eq!(scripted.seconds_to_go(), Some(45), "and nothing asks to be called in the past");
    scripted.wait(45);
    let (request, exchange) = scripted.poll().expect("the deadline has passed");
    assert_eq!(request.path(), "/v1/api/tickle");
    let response = || Response::new(200, br#"{"session":"cafe02"}"#);
    let late = scripted.session.handle_response(never_answered, &response(), scripted.now);
    assert_eq!(late, Err(Misuse::StaleExchange));
    assert_eq!(scripted.session.handle_response(exchange, &response(), scripted.now), Ok(BrokerageEvent::Alive));
}

#[test]
fn how_long_a_response_is_awaited_is_the_users_choice() {
    let mut login = WorkedLogin::any();
    let builder = Consumer::builder("TESTCONS", login.keys.clone(), login.dh.clone());
    login.consumer = builder.brokerage_deadline(Duration::from_secs(40)).build().unwrap();
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    scripted.live = login.live_session(NOW).live(NOW).unwrap().clone();
    let _never_answered = scripted.poll().unwrap();
    assert_eq!(scripted.seconds_to_go(), Some(40));
    scripted.wait(39);
    assert!(scripted.poll().is_none());
    scripted.wait(1);
    assert!(scripted.poll().is_some());
}

/// Tickles of some servers carry no status: then status is asked, and the session stays what it is.
#[test]
fn tickles_that_say_nothing_are_backed_by_a_question_in_2_min() {
    let mut scripted = Scripted::ready();
    let (mut questions, end) = (0, scripted.now.saturating_add(Duration::from_secs(3600)));
    while scripted.now < end {
        scripted.wait_until_due();
        assert_eq!(scripted.session.phase(scripted.now), BrokeragePhase::Ready);
        let (request, exchange) = scripted.poll().unwrap();
        let is_question = request.path().ends_with("/iserver/auth/status");
        questions += u32::from(is_question);
        let body = if is_question { READY } else { "{}" };
        let event = scripted.session.handle_response(exchange, &Response::new(200, body.as_bytes()), scripted.now);
        assert_eq!(event, Ok(BrokerageEvent::Alive));
    }
    assert!((20..=30).contains(&questions), "{questions} questions in an hour");
}

/// What is authenticated and established works, whoever else competes.
#[test]
fn a_session_that_is_ours_is_ready_although_another_competes() {
    const BOTH: &str = r#"{"authenticated":true,"established":true,"competing":true,"connected":true}"#;
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    assert_eq!(scripted.answer("/iserver/auth/ssodh/init", 200, BOTH), BrokerageEvent::Opening);
    assert_eq!(scripted.answer("/tickle", 200, &tickle(BOTH)), BrokerageEvent::Alive);
    scripted.wait(2);
    assert_eq!(scripted.answer("/iserver/accounts", 200, ACCOUNTS), BrokerageEvent::Ready);
    scripted.wait(60);
    assert_eq!(scripted.answer("/tickle", 200, &tickle(BOTH)), BrokerageEvent::Alive);
    scripted.session.doubt();
    scripted.wait(5);
    assert_eq!(scripted.answer("/iserver/auth/status", 200, BOTH), BrokerageEvent::Alive);
}

#[test]
fn a_rejection_by_the_clock_is_repeated_once_and_costs_no_token() {
    let mut scripted = Scripted::ready();
    scripted.wait(60);
    let mut reject = |minutes_ahead: u64| {
        let (request, exchange) = scripted.poll().expect("asked again");
        assert_eq!(request.path(), "/v1/api/tickle");
        let date = scripted.now.saturating_add(Duration::from_secs(60 * minutes_ahead));
        let rejection = Response::new(401, b"Unauthorized").with_server_time(date);
        scripted.session.handle_response(exchange, &rejection, scripted.now).unwrap()
    };
    let event = reject(10);
    let BrokerageEvent::Failed { error: Error::Rejected(rejected), next_attempt, .. } = event else {
        panic!("{event:?}")
    };
    assert_eq!(rejected.diagnosis, Diagnosis::ClockOff);
    assert!(next_attempt <= NOW.saturating_add(Duration::from_secs(120)), "at once, with the right timestamp");
    assert_eq!(reject(0), BrokerageEvent::LiveSessionRejected, "a server that does not know the time is no excuse");
}

/// The penalty is for the address, not for the token.
#[test]
fn a_new_login_does_not_end_a_penalty() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    assert!(matches!(scripted.answer("/iserver/auth/ssodh/init", 429, ""), BrokerageEvent::Failed { .. }));
    scripted.log_in_again();
    assert!(scripted.poll().is_none());
    scripted.wait(599);
    assert!(scripted.poll().is_none());
    scripted.wait(1);
    scripted.opens();
}

#[test]
fn a_rejected_live_session_token_is_told_and_the_new_one_used_at_once() {
    for (status, body) in [(401, "Unauthorized"), (401, "Invalid signature"), (410, "gone")] {
        let mut scripted = Scripted::ready();
        scripted.wait(60);
        assert_eq!(scripted.answer("/tickle", status, body), BrokerageEvent::LiveSessionRejected);
        assert!(scripted.poll().is_none(), "the dead token is not tried again at once");
        assert_eq!(scripted.seconds_to_go(), Some(60), "the first refusal slows nothing down");
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
    let event = yields.session.handle_response(exchange, &Response::new(200, READY.as_bytes()), yields.now);
    assert_eq!(event, Ok(BrokerageEvent::Opening));
    yields.wait(2);
    assert_eq!(yields.answer("/tickle", 200, &tickle(READY)), BrokerageEvent::Alive);
    assert_eq!(yields.answer("/iserver/accounts", 200, ACCOUNTS), BrokerageEvent::Ready);
    yields.wait(60);
    assert_eq!(yields.answer("/tickle", 200, &tickle(COMPETING)), BrokerageEvent::Competing);
    yields.wait(59);
    assert!(yields.poll().is_none(), "taking over once is not taking over for good");
    yields.wait(1);
    assert_eq!(yields.answer("/tickle", 200, &tickle(ABSENT)), BrokerageEvent::CompetitorGone);
    yields.opens();

    let mut takes_over = Scripted::new(CompetePolicy::TakeOver);
    let (request, exchange) = takes_over.poll().unwrap();
    assert_eq!(request.body(), br#"{"publish":true,"compete":true}"#);
    let event = takes_over.session.handle_response(exchange, &Response::new(200, COMPETING.as_bytes()), NOW);
    assert_eq!(event, Ok(BrokerageEvent::Competing));
    assert_eq!(takes_over.answer("/tickle", 200, "{}"), BrokerageEvent::Alive);
    assert!((10..=15).contains(&takes_over.seconds_to_go().unwrap()));
    takes_over.wait(15);
    takes_over.opens();
}

#[test]
fn a_session_not_to_be_built_is_tickled_and_tried_with_growing_pauses() {
    let mut scripted = Scripted::new(CompetePolicy::TakeOver);
    let unavailable = Response::new(500, br#"{"error":"failed to generate sso dh token"}"#);
    let mut attempts = Vec::new();
    let mut tickled_since = true;
    while attempts.len() < 7 {
        scripted.wait_until_due();
        let (request, exchange) = scripted.poll().unwrap();
        if request.path() == "/v1/api/tickle" {
            tickled_since = true;
            scripted.session.handle_response(exchange, &Response::new(200, b"{}"), scripted.now).unwrap();
            continue;
        }
        assert!(tickled_since, "no attempt without a tickle before it");
        tickled_since = false;
        let competes = request.body() == br#"{"publish":true,"compete":true}"#;
        attempts.push((scripted.now.saturating_since(NOW).as_secs(), competes));
        let event = scripted.session.handle_response(exchange, &unavailable.clone(), scripted.now).unwrap();
        let BrokerageEvent::Failed { error: Error::Rejected(rejected), .. } = event else { panic!("{event:?}") };
        assert_eq!(rejected.diagnosis, Diagnosis::BrokerageSessionUnavailable);
    }
    assert!(attempts.iter().map(|(_, competes)| *competes).eq([true, false, true, false, true, false, true]));
    for (pair, whole) in attempts.windows(2).zip([10, 20, 40, 80, 160, 300]) {
        let pause = pair[1].0 - pair[0].0;
        assert!((whole..=whole * 3 / 2).contains(&pause), "{pause} of {whole}");
    }
}

#[test]
fn taking_over_works_after_a_failure_too() {
    let mut scripted = Scripted::new(CompetePolicy::TakeOver);
    assert!(matches!(scripted.answer("/iserver/auth/ssodh/init", 503, ""), BrokerageEvent::Failed { .. }));
    for _ in 0..3 {
        scripted.wait_until_due();
        let (request, exchange) = scripted.poll().unwrap();
        if request.path() == "/v1/api/iserver/auth/ssodh/init" {
            assert_eq!(request.body(), br#"{"publish":true,"compete":true}"#);
        }
        scripted.session.handle_response(exchange, &Response::new(200, COMPETING.as_bytes()), scripted.now).unwrap();
    }
}

#[test]
fn one_new_login_is_tried_at_once_and_the_next_is_not() {
    let mut scripted = Scripted::ready();
    scripted.wait(60);
    assert_eq!(scripted.answer("/tickle", 401, ""), BrokerageEvent::LiveSessionRejected);
    scripted.log_in_again();
    assert_eq!(scripted.answer("/iserver/auth/status", 401, ""), BrokerageEvent::LiveSessionRejected);
    scripted.log_in_again();
    assert!(scripted.poll().is_none());
}

/// IBKR also answers 410 where no new login helps (protocol section 6.2).
#[test]
fn logins_that_are_rejected_one_after_the_other_are_slowed_down() {
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
                let event = scripted.session.handle_response(exchange, &response, scripted.now).unwrap();
                if event == BrokerageEvent::LiveSessionRejected {
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
fn a_decision_of_the_user_outlives_a_response_that_was_under_way() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    let (_, exchange) = scripted.poll().unwrap();
    scripted.session.log_out();
    let late = scripted.session.handle_response(exchange, &Response::new(200, READY.as_bytes()), NOW);
    assert_eq!(late, Err(Misuse::StaleExchange));
    let (request, exchange) = scripted.poll().unwrap();
    assert_eq!(request.path(), "/v1/api/logout");
    scripted.session.open();
    assert!(scripted.session.handle_response(exchange, &Response::new(200, b"{}"), NOW).is_err());
    scripted.opens();
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
    let wish = Response::new(503, b"").with_header("Retry-After", b"120");
    scripted.session.handle_response(exchange, &wish, scripted.now).unwrap();
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
        let event = scripted.session.handle_response(exchange, &response, scripted.now).unwrap();
        assert_ne!(event, BrokerageEvent::Lost, "it was never ready");
    }
    assert!((2..=8).contains(&inits), "{inits} attempts in ten minutes");
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
    scripted.opens();
}

#[test]
fn an_exchange_of_another_session_is_rejected_and_changes_nothing() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    let (_, foreign) = Scripted::new(CompetePolicy::Yield).poll().unwrap();
    let rejected = scripted.session.handle_response(foreign, &Response::new(200, READY.as_bytes()), NOW);
    assert_eq!(rejected, Err(Misuse::StaleExchange));
    assert_eq!(scripted.session.phase(scripted.now), BrokeragePhase::Missing);
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
    let at = |text: &str| {
        let since_1970 = httpdate::parse_http_date(text).unwrap().duration_since(UNIX_EPOCH).unwrap();
        UnixTime::from_millis(0).saturating_add(since_1970)
    };
    for (moment, expected) in [
        ("Tue, 07 May 2024 03:44:00 GMT", None),
        ("Tue, 07 May 2024 03:45:00 GMT", Some(Maintenance::NightlyReset)),
        ("Tue, 07 May 2024 06:29:00 GMT", Some(Maintenance::NightlyReset)),
        ("Tue, 07 May 2024 06:30:00 GMT", None),
        ("Tue, 07 May 2024 15:44:00 GMT", None),
        ("Tue, 07 May 2024 15:45:00 GMT", Some(Maintenance::NightlyReset)),
        ("Tue, 07 May 2024 17:29:00 GMT", Some(Maintenance::NightlyReset)),
        ("Tue, 07 May 2024 17:30:00 GMT", None),
        ("Tue, 07 May 2024 21:44:00 GMT", None),
        ("Tue, 07 May 2024 21:45:00 GMT", Some(Maintenance::NightlyReset)),
        ("Tue, 07 May 2024 00:29:00 GMT", Some(Maintenance::NightlyReset)),
        ("Tue, 07 May 2024 00:30:00 GMT", None),
        ("Tue, 07 May 2024 12:00:00 GMT", None),
        ("Sat, 04 May 2024 21:59:59 GMT", Some(Maintenance::NightlyReset)),
        ("Sat, 04 May 2024 22:00:00 GMT", Some(Maintenance::Weekend)),
        ("Sun, 05 May 2024 07:59:59 GMT", Some(Maintenance::Weekend)),
        ("Sun, 05 May 2024 08:00:00 GMT", None),
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

/// What nobody reads is not decoded, and what is read may be a text.
#[test]
fn careless_responses_still_say_where_the_brokerage_session_stands() {
    for careless in [
        READY.replacen('{', r#"{"message":"\ud800","serverInfo":{"x":1e999},"#, 1),
        READY.replace("true", r#""true""#),
        format!("\u{feff}{READY}\0\0"),
    ] {
        let mut scripted = Scripted::new(CompetePolicy::Yield);
        assert_eq!(scripted.answer("/iserver/auth/ssodh/init", 200, &careless), BrokerageEvent::Opening, "{careless}");
        let tickle = format!(r#"{{"session":"cafe01","x":1e999,"iserver":{{"y":"\ud800","authStatus":{READY}}}}}"#);
        assert_eq!(scripted.answer("/tickle", 200, &tickle), BrokerageEvent::Alive);
        assert!(scripted.session.web_socket().is_some());
        scripted.wait(2);
        let accounts = r#"{"accounts":["DU1"],"aliases":{"x":"\ud800","y":1e999}}"#;
        assert_eq!(scripted.answer("/iserver/accounts", 200, accounts), BrokerageEvent::Ready, "{careless}");
    }
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    let event = scripted.answer("/iserver/auth/ssodh/init", 200, NO_BRIDGE);
    let BrokerageEvent::Failed { error: Error::Rejected(rejection), .. } = event else { panic!("{event:?}") };
    assert_eq!((rejection.status, rejection.diagnosis), (200, Diagnosis::NoBridge));
}

/// 2 May 2024, a Thursday, 11:40 UTC.
#[test]
fn waiting_for_activation_gives_an_honest_eta() {
    let mut session = WorkedLogin::any().session();
    let exchange = support::poll(&mut session).exchange;
    let rejection = br#"{"error":"id: 3931, error: invalid consumer","statusCode":401}"#;
    let error = session.handle_response(exchange, &Response::new(401, rejection), NOW).unwrap_err();
    let registered = NOW.saturating_sub(Duration::from_secs(3 * 86_400));
    let activation = ActivationWait::since(registered).explain(&error, NOW).unwrap();
    assert_eq!(activation.stage, ActivationStage::ConsumerKey);
    assert_eq!(activation.next_attempt, NOW.saturating_add(Duration::from_secs(900)));
    let said = |days: u64| {
        let registered = NOW.saturating_sub(Duration::from_secs(days * 86_400));
        let said = ActivationWait::since(registered).explain(&error, NOW).unwrap().to_string();
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
    let at_the_restart = UnixTime::from_secs(1_714_626_000); // 2 May 2024, 5:00 UTC
    let next = ActivationWait::since(at_the_restart).explain(&error, NOW).unwrap().first_restart;
    assert_eq!(next.saturating_since(at_the_restart), Duration::from_secs(86_400), "that one came too early");
    assert!(said(20).ends_with("at worst it should work by now: something else is wrong"), "{}", said(20));
    assert_eq!(
        ActivationWait::since(registered).explain(&Error::LiveSessionMismatch(Mismatch::Unexplained), NOW),
        None
    );
}

/// Asking to compete logs the user out elsewhere: whoever yields never asks, however often nothing comes of it.
#[test]
fn who_yields_does_not_compete_whatever_fails() {
    const UNAVAILABLE: &str = r#"{"error":"failed to generate sso dh token"}"#;
    for (status, body) in [(500, UNAVAILABLE), (503, ""), (400, NO_BRIDGE), (429, ""), (200, "<html>"), (200, ABSENT)] {
        let mut scripted = Scripted::new(CompetePolicy::Yield);
        let mut inits = 0;
        while inits < 6 {
            scripted.wait_until_due();
            let (request, exchange) = scripted.poll().unwrap();
            if request.path() == "/v1/api/iserver/auth/ssodh/init" {
                assert_eq!(request.body(), br#"{"publish":true,"compete":false}"#, "after {inits} of {status} {body}");
                inits += 1;
            }
            let response = Response::new(status, body.as_bytes());
            scripted.session.handle_response(exchange, &response, scripted.now).unwrap();
        }
    }
}

#[test]
fn a_take_over_stays_one_while_another_session_is_known_to_compete() {
    let mut scripted = Scripted::new(CompetePolicy::TakeOver);
    let unavailable = r#"{"error":"failed to generate sso dh token"}"#;
    scripted.answer("/iserver/auth/ssodh/init", 500, unavailable);
    scripted.answer("/tickle", 200, "{}");
    scripted.wait_until_due();
    assert_eq!(scripted.answer("/iserver/auth/ssodh/init", 200, COMPETING), BrokerageEvent::Competing);
    scripted.wait_until_due();
    let request = scripted.poll().unwrap().0;
    assert_eq!(request.body(), br#"{"publish":true,"compete":true}"#);
}

#[test]
fn a_session_that_is_opened_again_after_a_logout_takes_nothing_over() {
    let mut scripted = Scripted::ready();
    scripted.session.log_out();
    scripted.answer("/logout", 200, "{}");
    scripted.session.open();
    let request = scripted.poll().unwrap().0;
    assert_eq!(request.body(), br#"{"publish":true,"compete":false}"#);
}

/// Users press a button again if nothing seems to happen.
#[test]
fn who_asks_twice_to_take_over_takes_over_once() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    assert_eq!(scripted.answer("/iserver/auth/ssodh/init", 200, COMPETING), BrokerageEvent::Competing);
    assert_eq!(scripted.answer("/tickle", 200, "{}"), BrokerageEvent::Alive);
    scripted.session.open();
    scripted.session.open();
    scripted.wait(5);
    let (request, exchange) = scripted.poll().unwrap();
    assert_eq!(request.body(), br#"{"publish":true,"compete":true}"#);
    scripted.session.open();
    scripted.session.handle_response(exchange, &Response::new(200, READY.as_bytes()), scripted.now).unwrap();
    scripted.wait(2);
    assert_eq!(scripted.answer("/iserver/accounts", 200, ACCOUNTS), BrokerageEvent::Ready);
    scripted.wait(58);
    assert_eq!(scripted.answer("/tickle", 200, &tickle(COMPETING)), BrokerageEvent::Competing);
    scripted.wait(59);
    assert!(scripted.poll().is_none(), "and not when the session is lost to another later");
}

/// It took over once, as the user wanted, and was lost later.
#[test]
fn a_session_that_was_taken_over_once_and_lost_is_not_taken_over_again() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    assert_eq!(scripted.answer("/iserver/auth/ssodh/init", 200, COMPETING), BrokerageEvent::Competing);
    assert_eq!(scripted.answer("/tickle", 200, "{}"), BrokerageEvent::Alive);
    scripted.session.open();
    scripted.wait(5);
    scripted.opens();
    scripted.wait(53);
    assert_eq!(scripted.answer("/tickle", 400, NO_BRIDGE), BrokerageEvent::Lost);
    let request = scripted.poll().unwrap().0;
    assert_eq!(request.body(), br#"{"publish":true,"compete":false}"#);
}

#[test]
fn while_a_request_is_in_flight_nothing_else_is_sent_until_its_deadline() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    scripted.answer("/iserver/auth/ssodh/init", 200, READY);
    let (tickle, exchange) = scripted.poll().unwrap();
    assert_eq!(tickle.path(), "/v1/api/tickle");
    scripted.wait(14);
    assert!(scripted.poll().is_none(), "accounts would be due");
    assert_eq!(scripted.seconds_to_go(), Some(1));
    drop(exchange);
    assert_eq!(scripted.answer("/iserver/accounts", 200, ACCOUNTS), BrokerageEvent::Ready);
}

#[test]
fn a_request_whose_response_never_came_is_not_repeated_at_once() {
    let mut opening = Scripted::new(CompetePolicy::Yield);
    opening.answer("/iserver/auth/ssodh/init", 200, NOT_READY);
    opening.answer("/tickle", 200, "{}");
    opening.wait(2);
    let mut closing = Scripted::ready();
    closing.session.log_out();
    for (mut scripted, path) in [
        (Scripted::new(CompetePolicy::Yield), "/iserver/auth/ssodh/init"),
        (opening, "/iserver/auth/status"),
        (closing, "/logout"),
    ] {
        let (request, exchange) = scripted.poll().unwrap();
        assert!(request.path().ends_with(path), "{path}");
        drop(exchange);
        assert!(scripted.poll().is_none(), "{path}");
        assert!((10..=15).contains(&scripted.seconds_to_go().unwrap()), "{path}");
    }
}

#[test]
fn a_late_attempt_at_a_session_begins_with_a_tickle_too() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    scripted.answer("/iserver/auth/ssodh/init", 500, r#"{"error":"failed to generate sso dh token"}"#);
    scripted.wait(3600);
    scripted.answer("/tickle", 200, "{}");
    scripted.opens();
}

#[test]
fn a_new_login_opens_the_session_at_once_where_the_old_one_could_not() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    assert_eq!(scripted.answer("/iserver/auth/ssodh/init", 401, ""), BrokerageEvent::LiveSessionRejected);
    assert!(scripted.poll().is_none());
    scripted.log_in_again();
    scripted.opens();
}

/// Live session tokens end every day. That is no reason to be slow.
#[test]
fn a_rejection_is_forgotten_when_the_next_login_is_accepted() {
    let mut scripted = Scripted::ready();
    for _ in 0..3 {
        scripted.wait(60);
        assert_eq!(scripted.answer("/tickle", 401, ""), BrokerageEvent::LiveSessionRejected);
        scripted.log_in_again();
        assert_eq!(scripted.answer("/iserver/auth/status", 200, READY), BrokerageEvent::Alive);
        assert_eq!(scripted.answer("/tickle", 200, r#"{"session":"cafe02"}"#), BrokerageEvent::Alive);
    }
}

#[test]
fn an_exchange_of_another_session_is_rejected_while_an_own_one_is_awaited() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    let (_, foreign) = Scripted::new(CompetePolicy::Yield).poll().unwrap();
    let (_, own) = scripted.poll().unwrap();
    let rejected = scripted.session.handle_response(foreign, &Response::new(200, READY.as_bytes()), NOW);
    assert_eq!(rejected, Err(Misuse::StaleExchange));
    let event = scripted.session.handle_response(own, &Response::new(200, READY.as_bytes()), NOW);
    assert_eq!(event, Ok(BrokerageEvent::Opening));
}

#[test]
fn the_servers_clock_is_learned_from_the_brokerage_sessions_responses_too() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    let (_, exchange) = scripted.poll().unwrap();
    let response = Response::new(200, READY.as_bytes()).with_server_time(NOW.saturating_add(Duration::from_secs(600)));
    scripted.session.handle_response(exchange, &response.clone(), NOW).unwrap();
    let (request, exchange) = scripted.poll().unwrap();
    let timestamp = |request: &Request| support::parameter(request, "oauth_timestamp").unwrap().to_string();
    assert_eq!(timestamp(&request), "1714650000", "one may be wrong, after so many that were accepted");
    scripted.session.handle_response(exchange, &response, NOW).unwrap();
    scripted.wait(2);
    assert_eq!(timestamp(&scripted.poll().unwrap().0), "1714650602");
}

#[test]
fn a_clock_that_goes_back_delays_no_step_and_no_response_hides_it() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    assert!(matches!(scripted.answer("/iserver/auth/ssodh/init", 503, ""), BrokerageEvent::Failed { .. }));
    let pause = scripted.seconds_to_go();
    scripted.now = scripted.now.saturating_sub(Duration::from_secs(86_400));
    assert!(scripted.poll().is_none());
    assert_eq!(scripted.seconds_to_go(), pause);

    let mut scripted = Scripted::ready();
    scripted.wait(60);
    let (_, exchange) = scripted.poll().unwrap();
    scripted.now = scripted.now.saturating_sub(Duration::from_secs(3600));
    scripted.session.handle_response(exchange, &Response::new(200, b"{}"), scripted.now).unwrap();
    assert_eq!(scripted.seconds_to_go(), Some(60), "the clock went back while the answer was under way");
}

#[test]
fn a_tickle_does_not_hurry_a_session_that_is_being_opened() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    scripted.answer("/iserver/auth/ssodh/init", 200, NOT_READY);
    assert_eq!(scripted.answer("/tickle", 200, &tickle(ABSENT)), BrokerageEvent::Alive);
    assert_eq!(scripted.session.phase(scripted.now), BrokeragePhase::Opening);
    assert_eq!(scripted.seconds_to_go(), Some(2));
}

#[test]
fn a_competitor_that_leaves_makes_room_whatever_it_leaves_behind() {
    for left in [ABSENT, NOT_READY, READY] {
        let mut scripted = Scripted::new(CompetePolicy::Yield);
        assert_eq!(scripted.answer("/iserver/auth/ssodh/init", 200, COMPETING), BrokerageEvent::Competing);
        assert_eq!(scripted.answer("/tickle", 200, &tickle(left)), BrokerageEvent::CompetitorGone);
        scripted.opens();
    }
}

/// Two programs that take over from each other must not do so without a pause.
#[test]
fn a_session_that_was_taken_away_is_taken_back_after_a_pause() {
    let mut scripted = Scripted::new(CompetePolicy::TakeOver);
    scripted.opens();
    scripted.wait(58);
    assert_eq!(scripted.answer("/tickle", 200, &tickle(COMPETING)), BrokerageEvent::Competing);
    assert!(scripted.poll().is_none());
    assert!((10..=15).contains(&scripted.seconds_to_go().unwrap()));
}

#[test]
fn after_a_success_pauses_and_attempts_begin_anew() {
    let mut scripted = Scripted::new(CompetePolicy::TakeOver);
    let unavailable = Response::new(500, br#"{"error":"failed to generate sso dh token"}"#);
    for _ in 0..3 {
        let (request, exchange) = scripted.poll().unwrap();
        assert_eq!(request.body(), br#"{"publish":true,"compete":true}"#, "the first attempt");
        scripted.session.handle_response(exchange, &unavailable.clone(), scripted.now).unwrap();
        scripted.answer("/tickle", 200, "{}");
        assert!((10..=15).contains(&scripted.seconds_to_go().unwrap()), "the first pause");
        scripted.wait_until_due();
        scripted.opens();
        scripted.wait(60);
        assert_eq!(scripted.answer("/tickle", 400, NO_BRIDGE), BrokerageEvent::Lost);
    }
}

#[test]
fn after_a_logout_nothing_is_left_of_the_session() {
    let mut scripted = Scripted::ready();
    assert!(scripted.session.web_socket().is_some());
    scripted.session.log_out();
    scripted.answer("/logout", 200, "{}");
    assert_eq!(scripted.session.web_socket(), None);
    scripted.wait(3600);
    scripted.session.open();
    assert_eq!(
        scripted.answer("/iserver/auth/ssodh/init", 200, READY),
        BrokerageEvent::Opening,
        "no tickle comes first"
    );
}

#[test]
fn a_session_that_did_not_outlive_its_token_is_opened_without_a_pause() {
    let mut scripted = Scripted::ready();
    scripted.log_in_again();
    assert_eq!(scripted.answer("/iserver/auth/status", 200, NOT_READY), BrokerageEvent::Lost);
    assert_eq!(scripted.answer("/tickle", 200, r#"{"session":"cafe02"}"#), BrokerageEvent::Alive);
    scripted.opens();
}

/// Too many requests: not even one that was not planned before.
#[test]
fn the_end_of_a_penalty_brings_what_was_rejected_and_nothing_else() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    assert!(matches!(scripted.answer("/iserver/auth/ssodh/init", 429, ""), BrokerageEvent::Failed { .. }));
    scripted.wait(600);
    scripted.opens();
}

#[test]
fn a_servers_wish_lengthens_a_pause_and_never_shortens_it() {
    let mut scripted = Scripted::new(CompetePolicy::Yield);
    let (_, exchange) = scripted.poll().unwrap();
    let wish = Response::new(503, b"").with_header("Retry-After", b"1");
    scripted.session.handle_response(exchange, &wish, scripted.now).unwrap();
    assert!((10..=15).contains(&scripted.seconds_to_go().unwrap()));
}

/// "Authenticated and established" goes before all else, and older answers have no `established`.
#[test]
fn a_session_is_there_only_if_all_that_is_said_of_it_says_so() {
    let (accounts, status) = ("/v1/api/iserver/accounts", "/v1/api/iserver/auth/status");
    for (said, next) in [
        (r#"{"authenticated":true,"established":true,"competing":true}"#, accounts),
        (r#"{"authenticated":true,"connected":true,"competing":true}"#, accounts),
        (r#"{"authenticated":true,"established":true,"connected":false}"#, accounts),
        (r#"{"authenticated":true}"#, accounts),
        (r#"{"authenticated":true,"connected":false}"#, status),
        (r#"{"authenticated":true,"established":false,"connected":true}"#, status),
        (r#"{"established":true,"connected":true}"#, status),
    ] {
        let mut scripted = Scripted::new(CompetePolicy::Yield);
        assert_eq!(scripted.answer("/iserver/auth/ssodh/init", 200, said), BrokerageEvent::Opening, "{said}");
        scripted.answer("/tickle", 200, "{}");
        scripted.wait(2);
        assert_eq!(scripted.poll().unwrap().0.path(), next, "{said}");
    }
}
