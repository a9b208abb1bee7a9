//! The way to a live session: every row of the transition table, every misuse, and the proof that errors move nothing.

mod support;

use ibkr_oauth::{
    AccessToken, AccountKind, Callback, CallbackError, Error, Misuse, OAuthSession, Outbound, Phase, Request, Response,
    TokenError, UnixTime,
};
use std::time::Duration;
use support::{NOW, WorkedLogin, access_token, answer, builder, header, parameter, poll, rng};

const REQUEST_TOKEN: &str = "b9082d68cfef06b030de";
const VERIFIER: &str = "0ffb93ab9aa0d2177cc2";
const CALLBACK: &str = "https://localhost:20000/?oauth_token=b9082d68cfef06b030de&oauth_verifier=0ffb93ab9aa0d2177cc2";
const ACCESS_TOKEN: &str = r#"{"is_paper":true,"oauth_token":"a1b2c3d4e5f6a7b8c9d0","oauth_token_secret":"c2VjcmV0"}"#;

fn unauthorized() -> OAuthSession {
    OAuthSession::new(WorkedLogin::any().consumer)
}

fn with_request_token() -> OAuthSession {
    let mut session = unauthorized();
    let exchange = poll(&mut session).exchange;
    let body = format!(r#"{{"oauth_token":"{REQUEST_TOKEN}"}}"#);
    assert_eq!(answer(&mut session, exchange, &body), Ok(Phase::RequestToken));
    session
}

fn with_verifier() -> OAuthSession {
    let mut session = with_request_token();
    session.handle_callback(CALLBACK).unwrap();
    session
}

fn with_access_token() -> OAuthSession {
    OAuthSession::with_access_token(WorkedLogin::any().consumer, access_token())
}

fn live() -> OAuthSession {
    WorkedLogin::any().live_session(NOW)
}

/// Everything that can be seen of a session, the bytes of its next request included.
fn fingerprint(
    session: &mut OAuthSession,
) -> (Phase, Option<String>, Option<AccessToken>, Option<UnixTime>, Option<Request>) {
    let next = session.poll_request(&mut rng(99), NOW).unwrap().map(|outbound| outbound.request);
    (session.phase(NOW), session.consent_url(), session.access_token().cloned(), session.poll_timeout(), next)
}

/// `trouble` fails, and afterwards the session cannot be told from one that never saw it.
fn changes_nothing(make: fn() -> OAuthSession, trouble: impl FnOnce(&mut OAuthSession) -> Error) -> Error {
    let mut touched = make();
    let error = trouble(&mut touched);
    assert_eq!(fingerprint(&mut touched), fingerprint(&mut make()), "{error} moved the session");
    error
}

#[test]
fn a_third_party_walks_all_four_phases() {
    let mut session = unauthorized();
    assert_eq!(session.phase(NOW), Phase::Unauthorized);

    let Outbound { request, exchange } = poll(&mut session);
    assert_eq!(exchange.endpoint(), "/oauth/request_token");
    assert_eq!(request.url(), "https://api.ibkr.com/v1/api/oauth/request_token");
    assert_eq!((request.authority(), request.path()), ("api.ibkr.com", "/v1/api/oauth/request_token"));
    assert_eq!(parameter(&request, "oauth_callback"), Some("oob"));
    assert_eq!(parameter(&request, "oauth_token"), None);
    let phase = answer(&mut session, exchange, r#"{"oauth_token":"b9082d68cfef06b030de"}"#);
    assert_eq!(phase, Ok(Phase::RequestToken));

    assert!(session.poll_request(&mut rng(2), NOW).unwrap().is_none(), "the user has not decided yet");
    assert_eq!(session.poll_timeout(), None, "and no time says when that will be");
    let consent = "https://interactivebrokers.com/authorize?oauth_token=b9082d68cfef06b030de";
    assert_eq!(session.consent_url().as_deref(), Some(consent));
    session.handle_callback(CALLBACK).unwrap();

    let Outbound { request, exchange } = poll(&mut session);
    assert_eq!(request.url(), "https://api.ibkr.com/v1/api/oauth/access_token");
    assert_eq!(parameter(&request, "oauth_token"), Some(REQUEST_TOKEN));
    assert_eq!(parameter(&request, "oauth_verifier"), Some(VERIFIER));
    assert_eq!(parameter(&request, "oauth_callback"), None);
    assert_eq!(answer(&mut session, exchange, ACCESS_TOKEN), Ok(Phase::AccessToken));
    let stored = session.access_token().unwrap();
    assert_eq!((stored.token(), stored.account_kind()), ("a1b2c3d4e5f6a7b8c9d0", Some(AccountKind::Paper)));
    assert_eq!(stored.secret().expose(), "c2VjcmV0");

    let login = WorkedLogin::any();
    let Outbound { request, exchange } = login.poll(&mut session, NOW).unwrap();
    assert_eq!(request.url(), "https://api.ibkr.com/v1/api/oauth/live_session_token");
    assert_eq!(parameter(&request, "oauth_token"), Some("a1b2c3d4e5f6a7b8c9d0"));
    assert_eq!(answer(&mut session, exchange, &login.body(None)), Ok(Phase::LiveSession));
    assert_eq!(session.live(NOW).unwrap().expires_at(), NOW.saturating_add(Duration::from_secs(86_400)));
}

#[test]
fn every_request_carries_the_headers_without_which_the_edge_rejects_it() {
    for make in [unauthorized, with_verifier, with_access_token] {
        let request = poll(&mut make()).request;
        assert_eq!(request.method().as_str(), "POST");
        assert_eq!(header(&request, "Content-Length"), Some("0"));
        assert_eq!(header(&request, "Accept"), Some("*/*"));
        assert!(header(&request, "User-Agent").unwrap().starts_with("ibkr-oauth/"));
        assert!(header(&request, "Authorization").unwrap().starts_with("OAuth realm=\"test_realm\", "));
        assert_eq!(request.body(), b"");
        assert_eq!(parameter(&request, "oauth_version"), None);
        assert_eq!(parameter(&request, "oauth_timestamp"), Some("1714650000"));
        assert_eq!(parameter(&request, "oauth_signature_method"), Some("RSA-SHA256"));
    }
}

#[test]
fn a_registered_callback_is_sent_and_signed_instead_of_oob() {
    let consumer = builder().callback_url("https://trader.example/ibkr?user=7").build().unwrap();
    let request = poll(&mut OAuthSession::new(consumer)).request;
    let sent = "https%3A%2F%2Ftrader.example%2Fibkr%3Fuser%3D7";
    assert_eq!(parameter(&request, "oauth_callback"), Some(sent));
}

#[test]
fn the_callback_is_taken_in_every_form_a_user_may_have_it() {
    for callback in [
        CALLBACK,
        "/?oauth_token=b9082d68cfef06b030de&oauth_verifier=0ffb93ab9aa0d2177cc2",
        "oauth_verifier=0ffb93ab9aa0d2177cc2&oauth_token=b9082d68cfef06b030de",
        " https://trader.example/back?user=7&oauth_token=b9082d68cfef06b030de&oauth_verifier=0ffb93ab9aa0d2177cc2#x \n",
        "http://h/?oauth%5Ftoken=%62%39082d68cfef06b030de&&oauth_verifier=0ffb93ab9aa0d2177cc2",
    ] {
        let mut session = with_request_token();
        assert_eq!(session.handle_callback(callback), Ok(()), "{callback}");
        assert_eq!(parameter(&poll(&mut session).request, "oauth_verifier"), Some(VERIFIER));
    }
    let mut session = with_request_token();
    session.handle_verifier(" 0ffb93ab9aa0d2177cc2\n").unwrap();
    assert_eq!(parameter(&poll(&mut session).request, "oauth_verifier"), Some(VERIFIER));
}

/// The callback with a parameter of somebody else's that makes it so long, in bytes.
fn as_long_as(length: usize) -> String {
    format!("{CALLBACK}&x={}", "a".repeat(length - CALLBACK.len() - 3))
}

#[test]
fn a_callback_may_be_long() {
    with_request_token().handle_callback(&as_long_as(8192)).unwrap();
}

#[test]
fn a_callback_that_is_not_ours_is_rejected_by_name_and_the_wait_goes_on() {
    let long = as_long_as(8193);
    for (callback, problem) in [
        ("", CallbackError::Missing { name: "oauth_token" }),
        ("https://localhost:20000/", CallbackError::Missing { name: "oauth_token" }),
        ("?oauth_token=b9082d68cfef06b030de", CallbackError::Missing { name: "oauth_verifier" }),
        (
            "?oauth_token=b9082d68cfef06b030de&oauth_verifier=1&oauth_verifier=2",
            CallbackError::Duplicate { name: "oauth_verifier" },
        ),
        (
            "?oauth_token=b9082d68cfef06b030de&oauth_token=b9082d68cfef06b030de&oauth_verifier=1",
            CallbackError::Duplicate { name: "oauth_token" },
        ),
        ("?oauth_token=98cb431e61ae03817f6a&oauth_verifier=1", CallbackError::OtherRequestToken),
        ("?oauth_token=98cb431e61ae03817f6a", CallbackError::OtherRequestToken),
        ("?oauth_token=&oauth_verifier=1", CallbackError::RequestToken(TokenError::Empty)),
        ("?oauth_token=a%22b&oauth_verifier=1", CallbackError::RequestToken(TokenError::Character)),
        ("?oauth_token=b9082d68cfef06b030de&oauth_verifier=1&oauth_problem=no", CallbackError::Foreign),
        ("?oauth_token=b9082d68cfef06b030de&oauth_verifier=%4", CallbackError::Encoding),
        ("?oauth_token=b9082d68cfef06b030de&oauth_verifier=%ff", CallbackError::Encoding),
        ("?oauth_token=b9082d68cfef06b030de&oauth_verifier=", CallbackError::Verifier(TokenError::Empty)),
        (
            "?oauth_token=b9082d68cfef06b030de&oauth_verifier=a%0d%0aX:%20y",
            CallbackError::Verifier(TokenError::Character),
        ),
        (&long, CallbackError::TooLong),
    ] {
        let error = changes_nothing(with_request_token, |session| session.handle_callback(callback).unwrap_err());
        assert_eq!(error, Error::Callback(problem), "{callback}");
    }
}

#[test]
fn a_web_application_finds_the_login_that_a_callback_belongs_to() {
    let mut begun = [unauthorized(), with_access_token(), live(), with_request_token()];
    let callback = Callback::parse(CALLBACK).unwrap();
    assert_eq!((callback.request_token(), callback.has_verifier()), (REQUEST_TOKEN, true));
    let is_meant = |session: &OAuthSession| session.request_token() == Some(callback.request_token());
    assert_eq!(begun.each_ref().map(is_meant), [false, false, false, true]);
    begun[3].handle_callback(CALLBACK).unwrap();
    assert_eq!(begun[3].request_token(), Some(REQUEST_TOKEN), "still, while the verifier is redeemed");
    assert_eq!(parameter(&poll(&mut begun[3]).request, "oauth_verifier"), Some(VERIFIER));
}

#[test]
fn a_refused_consent_is_told_apart_from_somebody_elses_callback() {
    let rejected = "https://localhost:20000/?oauth_token=b9082d68cfef06b030de";
    let callback = Callback::parse(rejected).unwrap();
    assert_eq!((callback.request_token(), callback.has_verifier()), (REQUEST_TOKEN, false));
    let missing = Error::Callback(CallbackError::Missing { name: "oauth_verifier" });
    assert_eq!(with_request_token().handle_callback(rejected), Err(missing));

    let somebody_elses = "https://localhost:20000/?oauth_token=98cb431e61ae03817f6a";
    assert_ne!(Callback::parse(somebody_elses), Ok(callback));
    let other = Error::Callback(CallbackError::OtherRequestToken);
    assert_eq!(with_request_token().handle_callback(somebody_elses), Err(other));
}

#[test]
fn a_verifier_without_a_request_token_is_a_misuse() {
    for make in [unauthorized, with_access_token, live] {
        let error = changes_nothing(make, |session| session.handle_callback(CALLBACK).unwrap_err());
        assert_eq!(error, Error::Misuse(Misuse::NoRequestToken));
        let error = changes_nothing(make, |session| session.handle_verifier(VERIFIER).unwrap_err());
        assert_eq!(error, Error::Misuse(Misuse::NoRequestToken));
    }
}

#[test]
fn one_exchange_is_in_flight_at_a_time_and_a_dropped_one_is_offered_anew() {
    for make in [unauthorized, with_verifier, with_access_token] {
        let mut session = make();
        let first = session.poll_request(&mut rng(1), NOW).unwrap().unwrap();
        assert!(session.poll_request(&mut rng(2), NOW).unwrap().is_none(), "an answer is awaited");
        let nonce = parameter(&first.request, "oauth_nonce").unwrap().to_string();
        drop(first);
        let second = session.poll_request(&mut rng(3), NOW).unwrap().expect("the dropped exchange is offered anew");
        assert_ne!(parameter(&second.request, "oauth_nonce"), Some(&*nonce), "a retry has its own nonce");
    }
}

#[test]
fn an_exchange_of_another_session_is_rejected() {
    for make in [unauthorized, with_verifier, with_access_token, live] {
        let foreign = poll(&mut with_access_token()).exchange;
        let login = WorkedLogin::any();
        let error = changes_nothing(make, |session| answer(session, foreign, &login.body(None)).unwrap_err());
        assert_eq!(error, Error::Misuse(Misuse::StaleExchange));
    }
}

#[test]
fn an_exchange_from_before_a_change_of_mind_is_rejected() {
    let mut session = with_verifier();
    let stale = poll(&mut session).exchange;
    session.handle_verifier("4e253ee389df74010b6b").unwrap();
    assert_eq!(answer(&mut session, stale, ACCESS_TOKEN), Err(Error::Misuse(Misuse::StaleExchange)));
    assert_eq!(parameter(&poll(&mut session).request, "oauth_verifier"), Some("4e253ee389df74010b6b"));

    let mut session = with_access_token();
    let stale = poll(&mut session).exchange;
    session.reauthorize();
    assert_eq!(answer(&mut session, stale, ACCESS_TOKEN), Err(Error::Misuse(Misuse::StaleExchange)));
    assert_eq!(session.phase(NOW), Phase::Unauthorized);
}

#[test]
fn reauthorizing_forgets_every_token() {
    for make in [unauthorized, with_request_token, with_verifier, with_access_token, live] {
        let mut session = make();
        session.reauthorize();
        assert_eq!(fingerprint(&mut session), fingerprint(&mut unauthorized()));
    }
}

#[test]
fn rejections_in_every_phase_are_reported_and_can_be_retried() {
    let invalid_consumer = br#"{"error":"id: 3931, error: invalid consumer","statusCode":401}"#;
    for make in [unauthorized, with_verifier, with_access_token] {
        let error = changes_nothing(make, |session| {
            let exchange = poll(session).exchange;
            session.handle_response(exchange, &Response::new(401, invalid_consumer), NOW).unwrap_err()
        });
        let Error::Rejected(rejected) = error else { panic!("{error}") };
        assert_eq!((rejected.status, &*rejected.reason), (401, "id: 3931, error: invalid consumer"));
    }
}

#[test]
fn an_impossible_clock_is_a_misuse() {
    for make in [unauthorized, with_verifier, with_access_token] {
        for now in
            [UnixTime::from_secs(999_999_999), UnixTime::from_secs(4_294_967_296), UnixTime::from_millis(u64::MAX)]
        {
            let error = changes_nothing(make, |session| session.poll_request(&mut rng(1), now).unwrap_err());
            assert_eq!(error, Error::Misuse(Misuse::ClockOutOfRange));
        }
    }
}

#[test]
fn a_random_source_of_zeros_is_a_misuse() {
    for make in [unauthorized, with_verifier, with_access_token] {
        let zeros = |session: &mut OAuthSession| session.poll_request(&mut support::Script(vec![]), NOW).unwrap_err();
        assert_eq!(changes_nothing(make, zeros), Error::Misuse(Misuse::BrokenRandomSource));
    }
    let only_a_nonce =
        |session: &mut OAuthSession| session.poll_request(&mut support::Script(vec![7; 16]), NOW).unwrap_err();
    assert_eq!(changes_nothing(with_access_token, only_a_nonce), Error::Misuse(Misuse::BrokenRandomSource));
}

#[test]
fn the_same_calls_give_the_same_bytes() {
    for make in [unauthorized, with_request_token, with_verifier, with_access_token, live] {
        assert_eq!(fingerprint(&mut make()), fingerprint(&mut make()));
    }
}

#[test]
fn a_callback_is_for_this_request_token_to_the_letter() {
    let longer = ["0", "b9082d68cfef06b030de", "+", "%20", "%00"].map(|rest| format!("{REQUEST_TOKEN}{rest}"));
    let parts = (0..REQUEST_TOKEN.len()).flat_map(|at| [&REQUEST_TOKEN[..at], &REQUEST_TOKEN[at + 1..]]);
    let others = [REQUEST_TOKEN.to_uppercase(), format!("0{REQUEST_TOKEN}"), REQUEST_TOKEN.replace('d', "D")];
    for token in parts.map(str::to_string).chain(longer).chain(others) {
        let callback = format!("https://localhost:20000/?oauth_token={token}&oauth_verifier={VERIFIER}");
        let error = changes_nothing(with_request_token, |session| session.handle_callback(&callback).unwrap_err());
        let no_token = matches!(error, Error::Callback(CallbackError::RequestToken(_)));
        assert!(no_token || error == Error::Callback(CallbackError::OtherRequestToken), "{token}: {error}");
    }
}

/// The user has come back twice: what the first verifier leads to is not what was agreed on last.
#[test]
fn a_newer_verifier_ends_the_wait_for_what_an_older_one_brings() {
    const NEWER: &str = "4e253ee389df74010b6b";
    let callback = CALLBACK.replace(VERIFIER, NEWER);
    let newer: [&dyn Fn(&mut OAuthSession); 2] =
        [&|session| session.handle_callback(&callback).unwrap(), &|session| session.handle_verifier(NEWER).unwrap()];
    for arrive in newer {
        let mut session = with_verifier();
        let older = poll(&mut session).exchange;
        arrive(&mut session);
        let Outbound { request, exchange } = poll(&mut session);
        assert_eq!(parameter(&request, "oauth_verifier"), Some(NEWER), "it is redeemed at once");
        assert_eq!(answer(&mut session, older, ACCESS_TOKEN), Err(Error::Misuse(Misuse::StaleExchange)));
        assert_eq!(session.phase(NOW), Phase::RequestToken);
        assert_eq!(answer(&mut session, exchange, ACCESS_TOKEN), Ok(Phase::AccessToken));
    }
}

#[test]
fn a_callback_that_is_rejected_leaves_the_verifier_that_was_there() {
    let error = changes_nothing(with_verifier, |session| session.handle_callback("?oauth_token=a").unwrap_err());
    assert_eq!(error, Error::Callback(CallbackError::OtherRequestToken));
    let error = changes_nothing(with_verifier, |session| session.handle_verifier("").unwrap_err());
    assert_eq!(error, Error::Callback(CallbackError::Verifier(TokenError::Empty)));
    let mut session = with_verifier();
    let exchange = poll(&mut session).exchange;
    assert!(session.handle_callback("?oauth_token=a").is_err() && session.handle_verifier("").is_err());
    assert_eq!(answer(&mut session, exchange, ACCESS_TOKEN), Ok(Phase::AccessToken), "nor does it end the wait");
}

/// A verifier is used as it came: what browsers make of a space in it is no verifier.
#[test]
fn a_verifier_with_space_in_a_callback_is_rejected() {
    for verifier in ["0ffb93ab+9aa0d2177cc2", "+0ffb93ab9aa0d2177cc2", "0ffb93ab9aa0d2177cc2%20"] {
        let callback = format!("?oauth_token={REQUEST_TOKEN}&oauth_verifier={verifier}");
        let error = changes_nothing(with_request_token, |session| session.handle_callback(&callback).unwrap_err());
        assert_eq!(error, Error::Callback(CallbackError::Verifier(TokenError::Character)), "{verifier}");
    }
    let mut session = with_request_token();
    session.handle_callback(&format!(" oauth_token={REQUEST_TOKEN}&oauth_verifier={VERIFIER}\r\n")).unwrap();
    assert_eq!(parameter(&poll(&mut session).request, "oauth_verifier"), Some(VERIFIER), "around it all is no harm");
}

#[test]
fn whatever_was_in_flight_when_a_user_starts_over_is_rejected() {
    for make in [unauthorized, with_verifier, with_access_token] {
        let mut session = make();
        let stale = poll(&mut session).exchange;
        session.reauthorize();
        let in_flight = poll(&mut session);
        assert_eq!(answer(&mut session, stale, ACCESS_TOKEN), Err(Error::Misuse(Misuse::StaleExchange)));
        assert_eq!(answer(&mut session, in_flight.exchange, r#"{"oauth_token":"a1"}"#), Ok(Phase::RequestToken));
    }
}

#[test]
fn a_request_that_could_not_be_made_uses_no_timestamp() {
    let mut session = with_access_token();
    let in_an_hour = NOW.saturating_add(Duration::from_secs(3600));
    let only_a_nonce = &mut support::Script(vec![7; 16]);
    assert!(session.poll_request(only_a_nonce, in_an_hour).is_err());
    assert_eq!(parameter(&poll(&mut session).request, "oauth_timestamp"), Some("1714650000"));
}

/// RFC 5849 asks it of the base string only; IBKR's examples have it so in the header.
#[test]
fn the_parameters_of_a_header_are_in_alphabetical_order() {
    for make in [unauthorized, with_verifier, with_access_token] {
        let request = poll(&mut make()).request;
        let parameters = header(&request, "Authorization").unwrap().split(", ").skip(1);
        let names: Vec<_> = parameters.map(|parameter| parameter.split_once('=').unwrap().0).collect();
        assert!(names.is_sorted() && names.contains(&"oauth_signature"), "{names:?}");
    }
}
