//! What rejections mean and when to come back: every row of the table of known rejections.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use ibkr_oauth::{
    ApiRequest, Backoff, CallbackError, Diagnosis, Error, KeyError, Mismatch, Misuse, Rejected, Response, Retry,
};
use support::{NOW, WorkedLogin, poll, rng};

fn rejected(status: u16, body: &str, retry_after: Option<&str>) -> Error {
    let mut session = WorkedLogin::any().session();
    let exchange = poll(&mut session).exchange;
    let mut response = Response::new(status, body.as_bytes());
    if let Some(pause) = retry_after {
        response = response.with_header("Retry-After", pause.as_bytes());
    }
    session.handle_response(exchange, &response, NOW).unwrap_err()
}

fn later(seconds: u64) -> Retry {
    Retry::Later(NOW.saturating_add(Duration::from_secs(seconds)))
}

const HTML: &str = "<HTML><HEAD><TITLE>Access Denied</TITLE></HEAD></HTML>";

#[test]
fn every_known_rejection_has_its_name_and_its_advice() {
    for (status, body, diagnosis, retry) in [
        (
            401,
            r#"{"error":"id: 3931, error: invalid consumer","statusCode":401}"#,
            Diagnosis::InvalidConsumer,
            later(900),
        ),
        (
            401,
            r#"{"error":"id: 39687, error: invalid consumer","statusCode":401}"#,
            Diagnosis::InvalidConsumer,
            later(900),
        ),
        (
            401,
            r#"{"error":"id: 118871, error: LST failed, error: No access secret key found for ***","statusCode":401}"#,
            Diagnosis::UnknownAccessToken,
            Retry::Reauthorize,
        ),
        (
            401,
            r#"{"error":"id: 515400, error: LST failed, error: ","statusCode":401}"#,
            Diagnosis::LiveSessionTokenFailed,
            later(60),
        ),
        (401, "Invalid Consumer", Diagnosis::InvalidConsumer, later(900)),
        (401, "Invalid signature", Diagnosis::InvalidSignature, Retry::LogIn),
        (401, "Access Denied", Diagnosis::InvalidToken, Retry::Reauthorize),
        (401, "Unauthorized", Diagnosis::InvalidToken, Retry::Reauthorize),
        (
            400,
            r#"{"error":"Bad Request: no bridge","statusCode":400}"#,
            Diagnosis::NoBridge,
            Retry::OpenBrokerageSession,
        ),
        (400, "Bad Request", Diagnosis::MalformedRequest, later(60)),
        (403, HTML, Diagnosis::RejectedAtTheEdge, later(600)),
        (403, "Forbidden", Diagnosis::Unknown, later(60)),
        (410, "gone", Diagnosis::Gone, Retry::LogIn),
        (411, "", Diagnosis::LengthRequired, later(60)),
        (429, "", Diagnosis::TooManyRequests, later(600)),
        (500, r#"{"error":"failed to generate sso dh token"}"#, Diagnosis::BrokerageSessionUnavailable, later(10)),
        (200, r#"{"error":"failed to process request"}"#, Diagnosis::TickleFailed, later(10)),
        (500, r#"{"error":"failed to process request"}"#, Diagnosis::TickleFailed, later(10)),
        (503, HTML, Diagnosis::Unavailable, later(60)),
        (503, "", Diagnosis::Unavailable, later(60)),
        (600, "", Diagnosis::Unavailable, later(60)),
        (302, "", Diagnosis::Redirected, later(60)),
        (404, "", Diagnosis::Unknown, later(60)),
        (405, "", Diagnosis::Unknown, later(60)),
        (407, "", Diagnosis::Unknown, later(60)),
        (408, "", Diagnosis::Unavailable, later(60)),
        (409, "", Diagnosis::Unknown, later(60)),
        (421, "", Diagnosis::Unknown, later(60)),
        (425, "", Diagnosis::Unknown, later(60)),
        (451, "", Diagnosis::Unknown, later(60)),
        (200, r#"{"error":"x"}"#, Diagnosis::Unknown, later(60)),
    ] {
        let error = rejected(status, body, None);
        assert_eq!(error.retry(NOW), retry, "{status} {body}");
        let Error::Rejected(Rejected { diagnosis: found, .. }) = error else { panic!("{error}") };
        assert_eq!(found, diagnosis, "{status} {body}");
    }
}

#[test]
fn one_flipped_bit_in_the_status_of_a_success_makes_nobody_give_up() {
    let flips = (0..3).flat_map(|digit| (0..8).map(move |bit| (digit, bit)));
    let flipped = flips.filter_map(|(digit, bit)| {
        let mut status = *b"200";
        status[digit] ^= 1 << bit;
        str::from_utf8(&status).ok()?.parse().ok().filter(|status| *status >= 100)
    });
    let statuses: Vec<u16> = flipped.collect();
    assert!(statuses.contains(&300) && statuses.contains(&600));
    for status in statuses {
        let retry = rejected(status, "{}", None).retry(NOW);
        assert!(matches!(retry, Retry::Later(_)), "{status}: {retry:?}");
    }
}

/// The same words to an API request are about the live session token.
#[test]
fn an_api_request_that_is_rejected_explains_itself_too() {
    let session = WorkedLogin::any().live_session(NOW);
    let live = session.live(NOW).unwrap();
    let receipt = live.sign(&ApiRequest::get("/portfolio/accounts"), &mut rng(1), NOW).unwrap().receipt();
    assert_eq!(live.handle_response(receipt, &Response::new(200, b"[]"), NOW), Ok(()));
    for (status, body, diagnosis, retry) in [
        (401, "Unauthorized", Diagnosis::Unauthorized, Retry::LogIn),
        (401, "Access Denied", Diagnosis::Unauthorized, Retry::LogIn),
        (
            400,
            r#"{"error":"Bad Request: no bridge","statusCode":400}"#,
            Diagnosis::NoBridge,
            Retry::OpenBrokerageSession,
        ),
    ] {
        let error = live.handle_response(receipt, &Response::new(status, body.as_bytes()), NOW).unwrap_err();
        assert_eq!(error.retry(NOW), retry);
        let Error::Rejected(rejected) = error else { panic!("{error}") };
        assert_eq!(rejected.diagnosis, diagnosis);
    }
}

/// Else one look at a wrong clock costs a good token, and a quarter of an hour.
#[test]
fn a_rejection_that_the_clock_explains_says_so_and_costs_nothing() {
    let session = WorkedLogin::any().live_session(NOW);
    let live = session.live(NOW).unwrap();
    let receipt = live.sign(&ApiRequest::get("/portfolio/accounts"), &mut rng(1), NOW).unwrap().receipt();
    let an_hour_ahead = NOW.saturating_add(Duration::from_secs(3600));
    let rejection = Response::new(401, b"Unauthorized").with_server_time(an_hour_ahead);
    let error = live.handle_response(receipt, &rejection, NOW).unwrap_err();
    assert_eq!(error.retry(NOW), Retry::Again);
    let Error::Rejected(Rejected { diagnosis, .. }) = error else { panic!("{error}") };
    assert_eq!((diagnosis, diagnosis.rejects_live_session()), (Diagnosis::ClockOff, false));
    assert_eq!(session.clock_skew(), 3600);
}

#[test]
fn a_callback_that_is_not_ours_is_no_reason_to_ask_the_user_again() {
    let other = Error::Callback(CallbackError::OtherRequestToken);
    assert_eq!(other.retry(NOW), Retry::Never);
    let rejected = Error::Callback(CallbackError::Missing { name: "oauth_verifier" });
    assert_eq!(rejected.retry(NOW), Retry::Reauthorize);
}

#[test]
fn a_message_says_everything_once() {
    use std::error::Error as _;
    assert!(rejected(401, "Invalid Consumer", None).source().is_none());
    assert!(Error::Keys(KeyError::Decrypt).source().is_none());
}

#[test]
fn the_servers_wish_goes_before_ours_unless_waiting_does_not_help() {
    assert_eq!(rejected(503, "", Some("120")).retry(NOW), later(120));
    assert_eq!(rejected(410, "", Some("30")).retry(NOW), Retry::LogIn);
    assert_eq!(rejected(411, "", Some("30")).retry(NOW), later(30));
    assert_eq!(rejected(503, "", Some("soon")).retry(NOW), later(60));
    assert_eq!(
        rejected(503, "", Some("18446744073709551615")).retry(NOW),
        later(86_400),
        "no answer stops us for good"
    );
}

/// Ten minutes in the penalty box, a quarter of an hour for a key that is not active: whatever the server says.
#[test]
fn a_retry_after_of_zero_shortens_no_penalty_and_starts_no_loop() {
    const INVALID_CONSUMER: &str = r#"{"error":"id: 3931, error: invalid consumer","statusCode":401}"#;
    for (status, body, seconds) in [(429, "", 600), (403, HTML, 600), (401, INVALID_CONSUMER, 900)] {
        for wish in ["0", "5"] {
            assert_eq!(rejected(status, body, Some(wish)).retry(NOW), later(seconds), "{status} {wish}");
        }
        assert_eq!(rejected(status, body, Some("1200")).retry(NOW), later(1200), "a longer wish is heard");
    }
    assert_eq!(rejected(503, "", Some("0")).retry(NOW), later(1));
}

#[test]
fn other_errors_advise_by_whose_fault_they_are() {
    assert_eq!(Error::Misuse(Misuse::StaleExchange).retry(NOW), Retry::Never);
    assert_eq!(Error::Keys(KeyError::Decrypt).retry(NOW), Retry::Never);
    assert_eq!(
        Error::Misuse(Misuse::ClockOutOfRange).retry(NOW),
        later(60),
        "a machine may wait for the network's time"
    );
    assert_eq!(Error::Expired { at: NOW }.retry(NOW), Retry::LogIn);
    assert_eq!(Error::NoLiveSession.retry(NOW), Retry::LogIn);
    assert_eq!(Error::QueueFull { limit: 1 }.retry(NOW), later(1));
    assert_eq!(Error::LiveSessionMismatch(Mismatch::Unexplained).retry(NOW), later(60));
    assert_eq!(
        rejected(200, r#"{"diffie_hellman_response":""}"#, None).retry(NOW),
        later(1),
        "empty for ever, perhaps"
    );
    assert_eq!(rejected(200, "?", None).retry(NOW), later(60));
}

/// The message alone must be enough: people wait two weeks on a 401 that nobody explains.
#[test]
fn a_rejection_explains_itself() {
    let message = rejected(401, r#"{"error":"id: 3931, error: invalid consumer","statusCode":401}"#, None).to_string();
    for part in
        ["HTTP 401", "invalid consumer", "not active yet", "lower case", "realm", "do not make new keys", "two weeks"]
    {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[test]
fn pauses_grow_to_five_minutes_and_are_spread() {
    let mut rng = rng(1);
    let mut backoff = Backoff::default();
    let mut pauses = (0..40).map(|_| {
        let at = backoff.next_attempt(Retry::Again, &mut rng, NOW).unwrap();
        at.saturating_since(NOW).as_millis()
    });
    for whole in [1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000, 300_000] {
        let pause = pauses.next().unwrap();
        assert!((whole..=whole * 3 / 2).contains(&pause), "{pause} of {whole}");
    }
    let pauses: BTreeSet<_> = pauses.collect();
    assert!(pauses.iter().all(|pause| (300_000..=450_000).contains(pause)));
    assert!(pauses.len() > 20 && pauses.last() > pauses.first().map(|first| first + 75_000).as_ref(), "{pauses:?}");
    backoff.reset();
    assert_eq!(backoff, Backoff::default());
    assert_eq!(backoff.next_attempt(later(3600), &mut rng, NOW), Some(NOW.saturating_add(Duration::from_secs(3600))));
    assert_eq!(backoff.next_attempt(Retry::Reauthorize, &mut rng, NOW), None);
    assert_eq!(backoff.next_attempt(Retry::Never, &mut rng, NOW), None);
    for at_once in [Retry::Again, Retry::LogIn, Retry::OpenBrokerageSession] {
        assert!(backoff.next_attempt(at_once, &mut rng, NOW) > Some(NOW), "{at_once:?}: nothing loops without a pause");
    }
}

/// The advice can be followed blindly: an answer that stays empty, or a page that stays, is not asked for in a loop.
#[test]
fn who_follows_the_advice_asks_no_more_than_thirty_times_an_hour() {
    let invalid_consumer: (u16, &str) = (401, r#"{"error":"id: 3931, error: invalid consumer","statusCode":401}"#);
    for (status, body) in
        [(200, r#"{"diffie_hellman_response":""}"#), (200, HTML), (404, ""), (503, ""), invalid_consumer]
    {
        let login = WorkedLogin::any();
        let (mut session, mut backoff, mut rng) = (login.session(), Backoff::default(), rng(1));
        let (mut now, mut requests) = (NOW, 0);
        while now < NOW.saturating_add(Duration::from_secs(3600)) {
            let exchange = session.poll_request(&mut rng, now).unwrap().expect("a login").exchange;
            requests += 1;
            let response = Response::new(status, body.as_bytes()).with_header("Retry-After", b"0");
            let error = session.handle_response(exchange, &response, now).unwrap_err();
            now = backoff.next_attempt(error.retry(now), &mut rng, now).unwrap();
        }
        assert!((2..=30).contains(&requests), "{status} {body}: {requests} requests in an hour");
    }
}

#[test]
fn the_first_and_the_longest_pause_are_the_callers_choice() {
    let mut backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(40));
    for whole in [10_000, 20_000, 40_000, 40_000] {
        let at = backoff.next_attempt(Retry::Again, &mut rng(whole), NOW).unwrap();
        let pause = at.saturating_since(NOW).as_millis();
        assert!((u128::from(whole)..=u128::from(whole) * 3 / 2).contains(&pause), "{pause} of {whole}");
    }
}
