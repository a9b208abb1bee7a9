//! What may come back: every known form of a good response, and any bytes at all.

mod support;

use std::time::Duration;

use ibkr_oauth::{
    AccountKind, Diagnosis, Error, Malformed, Mismatch, OAuthSession, Phase, Rejected, Response, TokenError,
};
use proptest::prelude::*;
use support::{NOW, WorkedLogin, access_token, answer, poll};

fn request_token(response: Response<'_>) -> Result<Phase, Error> {
    let mut session = OAuthSession::new(WorkedLogin::any().consumer);
    let exchange = poll(&mut session).exchange;
    session.handle_response(exchange, &response, NOW)
}

fn access_token_from(body: &str) -> Result<OAuthSession, Error> {
    let mut session = OAuthSession::new(WorkedLogin::any().consumer);
    let exchange = poll(&mut session).exchange;
    answer(&mut session, exchange, r#"{"oauth_token":"b9082d68cfef06b030de"}"#)?;
    session.handle_verifier("0ffb93ab9aa0d2177cc2")?;
    let exchange = poll(&mut session).exchange;
    answer(&mut session, exchange, body).map(|_| session)
}

fn live_session_token(body: &str) -> Result<Phase, Error> {
    let login = WorkedLogin::any();
    let mut session = login.session();
    let exchange = login.poll(&mut session, NOW).unwrap().exchange;
    answer(&mut session, exchange, body)
}

#[test]
fn every_form_in_which_clients_have_met_an_access_token_is_understood() {
    for (extra, kind) in [
        (r#""is_paper":true,"#, Some(AccountKind::Paper)),
        (r#""is_paper":false,"#, Some(AccountKind::Live)),
        (r#""is_true":true,"#, Some(AccountKind::Paper)),
        (r#""is_paper":"true","#, Some(AccountKind::Paper)),
        (r#""is_paper":null,"future":{"a":[1]},"#, None),
        ("", None),
    ] {
        let body = format!(r#"{{{extra}"oauth_token":"a1b2c3d4e5f6a7b8c9d0","oauth_token_secret":"c2VjcmV0"}}"#);
        let session = access_token_from(&body).unwrap();
        assert_eq!(session.access_token().unwrap().account_kind(), kind, "{extra}");
    }
}

#[test]
fn every_form_of_live_session_token_that_clients_have_met_is_understood() {
    let login = WorkedLogin::any();
    let (response, proof) = (&login.response, &login.proof);
    let upper = response.to_uppercase();
    let expiration = NOW.as_millis() + 86_400_000;
    for body in [
        format!(
            r#"{{"diffie_hellman_response":"{response}","live_session_token_signature":"{proof}","live_session_token_expiration":{expiration}}}"#
        ),
        format!(
            r#"{{"diffie_hellman_response":"{response}","live_session_token_signature":"{proof}","live_session_token_expiration":"{expiration}"}}"#
        ),
        format!(
            r#"{{"diffie_hellman_response":"{response}","live_session_token_signature":"{proof}","live_session_token_expiration":-3}}"#
        ),
        format!(r#"{{"diffie_hellman_response":"{response}","live_session_token_signature":"{proof}"}}"#),
        format!(r#"{{"diffie_hellman_challenge":"{response}","live_session_token_signature":"{proof}"}}"#),
        format!(r#"{{"diffie_hellman_response":"0{response}","live_session_token_signature":"{proof}"}}"#),
        format!(r#"{{"diffie_hellman_response":"0000{response}","live_session_token_signature":"{proof}"}}"#),
        format!(r#"{{"diffie_hellman_response":"{upper}","live_session_token_signature":"{}"}}"#, proof.to_uppercase()),
    ] {
        assert_eq!(live_session_token(&body), Ok(Phase::LiveSession), "{body}");
    }
}

/// Nothing is computed in the future: what is more than an hour ahead of the server's clock is an expiry.
#[test]
fn the_servers_word_on_the_expiry_is_taken_as_number_and_as_text() {
    let login = WorkedLogin::any();
    let hour = 3_600_000;
    for (reported, hours) in [(20, 20), (24, 24), (30, 24), (0, 24), (1, 24), (2, 2), (12, 12), (13, 13)] {
        let moment = NOW.as_millis() + reported * hour;
        for reported in [moment.to_string(), format!("\"{moment}\"")] {
            let body = login.body(None).replace("null", &reported);
            let mut session = login.session();
            let exchange = login.poll(&mut session, NOW).unwrap().exchange;
            answer(&mut session, exchange, &body).unwrap();
            let expires_at = session.live(NOW).unwrap().expires_at();
            assert_eq!(expires_at.as_millis() - NOW.as_millis(), hours * hour, "{reported}");
        }
    }
}

#[test]
fn a_server_that_cannot_prove_the_token_is_not_trusted() {
    let login = WorkedLogin::any();
    let (response, proof) = (&login.response, &login.proof);
    let swapped = response.replacen(&response[..2], "42", 1);
    for (response, proof) in [
        (&**response, "2bd8d17d2e5e2002ad4fa14b85eb637d26c9e8d8"),
        (&*swapped, &**proof),
        (&**response, &proof[..38]),
        (&**response, "00"),
    ] {
        let body = format!(r#"{{"diffie_hellman_response":"{response}","live_session_token_signature":"{proof}"}}"#);
        assert_eq!(live_session_token(&body), Err(Error::LiveSessionMismatch(Mismatch::Unexplained)), "{proof}");
    }
}

#[test]
fn a_server_value_that_would_give_the_secret_away_is_rejected() {
    let prime = support::vectors::vectors(support::vectors::IBKR)
        .iter()
        .find_map(|vector| vector["inputs"]["primeHex"].as_str().map(str::to_string))
        .unwrap();
    let minus = |small: u32| format!("{}{:x}", &prime[..prime.len() - 2], 0xff - small);
    let too_long = format!("1{prime}");
    for (value, allowed) in [
        ("0".to_string(), false),
        ("1".to_string(), false),
        ("2".to_string(), true),
        (minus(2), true),
        (minus(1), false),
        (prime.clone(), false),
        (too_long, false),
    ] {
        let body = format!(r#"{{"diffie_hellman_response":"{value}","live_session_token_signature":"00"}}"#);
        let out_of_range = Err(Error::Malformed(Malformed::DiffieHellmanOutOfRange));
        let expected = if allowed { Err(Error::LiveSessionMismatch(Mismatch::Unexplained)) } else { out_of_range };
        assert_eq!(live_session_token(&body), expected, "{}", &value[value.len().saturating_sub(8)..]);
    }
}

#[test]
fn a_response_without_what_is_needed_is_named() {
    let missing = |field| Error::Malformed(Malformed::Missing { field });
    let wrong = |field| Error::Malformed(Malformed::WrongType { field });
    let not_hex = |field| Error::Malformed(Malformed::NotHex { field });
    let token = |field, problem| Error::Malformed(Malformed::Token { field, problem });

    for (body, error) in [
        ("{}", missing("oauth_token")),
        (r#"{"oauth_token":""}"#, missing("oauth_token")),
        (r#"{"oauth_token":null}"#, missing("oauth_token")),
        (r#"{"oauth_token":17}"#, wrong("oauth_token")),
        (r#"{"oauth_token":"a\r\nX-Evil: 1"}"#, token("oauth_token", TokenError::Character)),
        (r#"{"oauth_token":"a\", realm=\"b"}"#, token("oauth_token", TokenError::Character)),
        (r#"{"oauth_token":"\u00e9"}"#, token("oauth_token", TokenError::Character)),
    ] {
        assert_eq!(request_token(Response::new(200, body.as_bytes())).unwrap_err(), error, "{body}");
    }
    let long = format!(r#"{{"oauth_token":"{}"}}"#, "a".repeat(257));
    let error = request_token(Response::new(200, long.as_bytes())).unwrap_err();
    assert_eq!(error, token("oauth_token", TokenError::TooLong));

    for (body, error) in [
        (r#"{"oauth_token":"a1"}"#, missing("oauth_token_secret")),
        (
            r#"{"oauth_token":"a1","oauth_token_secret":"c2VjcmV"}"#.replace("c2VjcmV", "c2VjcmV0x").as_str(),
            token("oauth_token_secret", TokenError::NotBase64 { characters: 9 }),
        ),
        (
            r#"{"oauth_token":"a1","oauth_token_secret":"%2B"}"#,
            token("oauth_token_secret", TokenError::NotBase64 { characters: 3 }),
        ),
    ] {
        assert_eq!(access_token_from(body).unwrap_err(), error, "{body}");
    }

    for (body, error) in [
        ("{}", missing("diffie_hellman_response")),
        (r#"{"diffie_hellman_response":""}"#, missing("diffie_hellman_response")),
        (r#"{"diffie_hellman_response":"0x12"}"#, not_hex("diffie_hellman_response")),
        (r#"{"diffie_hellman_response":"12"}"#, missing("live_session_token_signature")),
        (
            r#"{"diffie_hellman_response":"12","live_session_token_signature":"zz"}"#,
            not_hex("live_session_token_signature"),
        ),
    ] {
        assert_eq!(live_session_token(body).unwrap_err(), error, "{body}");
    }
}

#[test]
fn bodies_that_are_no_json_object_are_told_apart() {
    let ten_megabytes = vec![b'['; 10 << 20];
    let too_large = Malformed::TooLarge { length: 10 << 20, limit: 65_536 };
    let nested = vec![b'['; 65_536];
    for (body, problem) in [
        (&ten_megabytes[..], too_large),
        (&nested, Malformed::NotAnObject),
        (b"", Malformed::NotAnObject),
        (b"null", Malformed::NotAnObject),
        (b"[]", Malformed::NotAnObject),
        (b"\xff\xfe", Malformed::NotAnObject),
        (br#"{"oauth_token":"a1"} x"#, Malformed::NotAnObject),
        (b" \n<!DOCTYPE html><html></html>", Malformed::Html),
        (b"\xef\xbb\xbf<html></html>", Malformed::Html),
        (b"{\"oauth_token\":\"a1\"}\0x", Malformed::NotAnObject),
        (b"\0{\"oauth_token\":\"a1\"}", Malformed::NotAnObject),
    ] {
        assert_eq!(request_token(Response::new(200, body)), Err(Error::Malformed(problem)));
    }
}

fn rejected(status: u16, body: &[u8]) -> Rejected {
    match request_token(Response::new(status, body).with_header("retry-AFTER", b" 30 ")) {
        Err(Error::Rejected(rejected)) => rejected,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rejection_says_what_the_server_said_and_nothing_like_a_secret() {
    for (body, reason) in [
        (
            r#"{"error":"id: 118871, error: LST failed, error: No access secret key found for ***","statusCode":401}"#,
            "id: 118871, error: LST failed, error: No access secret key found for ***",
        ),
        (r#"{"message":"no"}"#, "no"),
        (r#"{"statusCode":401}"#, "a JSON response without a reason"),
        ("Invalid signature", "Invalid signature"),
        ("  \n", "no reason given"),
        ("\u{feff}\0\0", "no reason given"),
        ("\u{feff}<html></html>", "an HTML page instead of a response of the API"),
        (r#"{"error":null,"message":"no"}"#, "no"),
        (r#"{"error":{"code":1,"message":"no bridge"}}"#, r#"{"code":1,"message":"no bridge"}"#),
        (r#"{"error":{"token":"a1b2c3d4e5f6a7b8c9d0"}}"#, "[redacted]"),
        (r#"{"error":"no \ud800","x":1e999}"#, r#""no \ud800""#),
        ("<html><body>Access Denied</body></html>", "an HTML page instead of a response of the API"),
        ("one\r\n\ttwo\u{1b}[31m\u{0}", "one two [31m"),
        (
            "token a1b2c3d4e5f6a7b8c9d0 and oauth_signature=\"AbC%2Bd1234567890\" refused",
            "token [redacted] and [redacted] refused",
        ),
    ] {
        assert_eq!(rejected(401, body.as_bytes()).reason, reason);
    }
    assert_eq!(rejected(500, &vec![b'x'; 5000]).reason.chars().count(), 200);
    assert_eq!(rejected(500, "\u{1f4b8}".repeat(300).as_bytes()).reason.chars().count(), 200);
    assert_eq!(rejected(500, &vec![b' '; 70_000]).reason, "a response of 70000 bytes, not read");
    assert_eq!(rejected(429, b"").retry_after, Some(Duration::from_secs(30)));
}

#[test]
fn an_error_in_a_body_of_status_200_is_a_rejection() {
    for (body, reason, diagnosis) in [
        (r#"{"error":"failed to process request"}"#, "failed to process request", Diagnosis::TickleFailed),
        (r#"{"error":{"code":1}}"#, r#"{"code":1}"#, Diagnosis::Unknown),
        (r#"{"error":"","oauth_token":"a1b2"}"#, "", Diagnosis::Unknown),
        (r#"{"error":"Bad Request: no bridge","statusCode":400}"#, "Bad Request: no bridge", Diagnosis::NoBridge),
        (
            r#"{"error":"id: 1, error: invalid consumer","statusCode":"401"}"#,
            "id: 1, error: invalid consumer",
            Diagnosis::InvalidConsumer,
        ),
        (r#"{"statusCode":503,"oauth_token":"a1b2"}"#, "a JSON response without a reason", Diagnosis::Unavailable),
        (r#"{"error":"x","statusCode":200}"#, "x", Diagnosis::Unknown),
    ] {
        let rejection = rejected(200, body.as_bytes());
        assert_eq!((rejection.status, &*rejection.reason, rejection.diagnosis), (200, reason, diagnosis), "{body}");
    }
}

#[test]
fn a_body_does_not_talk_a_status_of_rejection_away() {
    let rejection = rejected(400, br#"{"error":"Bad Request: no bridge","statusCode":503}"#);
    assert_eq!(rejection.diagnosis, Diagnosis::NoBridge);
    for status in [399, 1 << 20] {
        let body = format!(r#"{{"statusCode":{status},"oauth_token":"a1b2"}}"#);
        assert_eq!(request_token(Response::new(200, body.as_bytes())), Ok(Phase::RequestToken), "{body}");
    }
}

#[test]
fn of_two_headers_with_one_name_the_one_that_can_be_read_counts() {
    let pause = |values: [&str; 2]| {
        let response = Response::new(429, b"");
        values
            .iter()
            .fold(response, |response, value| response.with_header("Retry-After", value.as_bytes()))
            .retry_after()
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(pause(["120", "soon"]), seconds(120));
    assert_eq!(pause(["soon", "120"]), seconds(120));
    assert_eq!(pause(["30", "120"]), seconds(120));
    assert_eq!(pause(["soon", ""]), None);
}

/// The server's clock as the session learns it from these dates, in seconds ahead of ours.
#[cfg(feature = "std")]
#[test]
fn of_two_dates_the_one_that_can_be_read_counts() {
    let right = "Thu, 02 May 2024 11:41:40 GMT";
    for dates in [[right, "yesterday"], ["yesterday", right], [right, ""], ["Thu, 02 May 2024 11:40:00 GMT", right]] {
        let mut session = OAuthSession::new(WorkedLogin::any().consumer);
        let exchange = poll(&mut session).exchange;
        let rejection = Response::new(503, b"");
        let rejection = dates.iter().fold(rejection, |response, date| response.with_header("Date", date.as_bytes()));
        session.handle_response(exchange, &rejection, NOW).unwrap_err();
        assert_eq!(session.clock_skew(), 100, "{dates:?}");
    }
}

/// On the server's clock, not on ours.
#[cfg(feature = "std")]
#[test]
fn a_date_to_come_back_at_is_compared_with_the_responses_own() {
    let pause = |headers: &[(&str, &str)]| {
        let response = Response::new(503, b"");
        headers
            .iter()
            .fold(response, |response, (name, value)| response.with_header(name, value.as_bytes()))
            .retry_after()
    };
    let noon = ("Date", "Sun, 06 Nov 1994 12:00:00 GMT");
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(pause(&[noon, ("Retry-After", "Sun, 06 Nov 1994 12:02:00 GMT")]), seconds(120));
    assert_eq!(pause(&[("Retry-After", "Sunday, 06-Nov-94 12:02:00 GMT"), noon]), seconds(120));
    assert_eq!(pause(&[noon, ("Retry-After", "Sun, 06 Nov 1994 11:00:00 GMT")]), seconds(0));
    assert_eq!(pause(&[noon, ("Retry-After", "Sat, 06 Nov 2094 12:00:00 GMT")]), seconds(86_400), "a day at most");
    assert_eq!(pause(&[("Retry-After", "Sun, 06 Nov 1994 12:02:00 GMT")]), None);
}

#[test]
fn redirects_and_informational_statuses_are_rejections() {
    for status in [0, 100, 199, 300, 302, 999] {
        assert_eq!(rejected(status, br#"{"oauth_token":"a1b2"}"#).status, status);
    }
}

proptest! {
    /// Whatever comes back: an event or a typed error, and a session that can go on.
    #[test]
    fn any_bytes_leave_a_session_that_can_go_on(status in prop_oneof![Just(200_u16), any::<u16>()], body in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        "\\{\"(oauth_token|diffie_hellman_response|error)\":(\"[ -~]{0,40}\"|[0-9]{1,30}|null|\\[\\]|\\{\\})\\}".prop_map(String::into_bytes),
    ]) {
        let login = WorkedLogin::any();
        for mut session in [OAuthSession::new(login.consumer.clone()), OAuthSession::with_access_token(login.consumer.clone(), access_token())] {
            let exchange = poll(&mut session).exchange;
            let before = session.phase(NOW);
            let result = session.handle_response(exchange, &Response::new(status, &body), NOW);
            prop_assert_eq!(session.phase(NOW), result.unwrap_or(before));
            prop_assert!(session.live(NOW).is_none(), "no proof, no live session");
        }
    }
}

/// With a part of the proof enough, a forger would need as many guesses as that part has values.
#[test]
fn a_part_of_a_proof_is_no_proof() {
    let login = WorkedLogin::any();
    let (proof, longer) = (&login.proof, format!("{}00", login.proof));
    let parts = (1..20).flat_map(|bytes| [&proof[..2 * bytes], &proof[40 - 2 * bytes..]]);
    let shortened = parts.chain([&*longer]).map(str::to_string);
    let changed = (0..proof.len()).map(|at| {
        let digit = if &proof[at..=at] == "0" { "1" } else { "0" };
        [&proof[..at], digit, &proof[at + 1..]].concat()
    });
    for forged in shortened.chain(changed) {
        let mut session = login.session();
        let exchange = login.poll(&mut session, NOW).unwrap().exchange;
        let outcome = answer(&mut session, exchange, &login.body(None).replace(proof, &forged));
        assert_eq!(outcome, Err(Error::LiveSessionMismatch(Mismatch::Unexplained)), "{forged}");
        assert_eq!(session.phase(NOW), Phase::AccessToken);
    }
}

/// HTTP/2 and most clients write all names in lower case; other names only look alike.
#[test]
fn headers_are_known_by_their_whole_names_in_any_letter_case() {
    let named = |name: &str, value: &str| Response::new(503, b"").with_header(name, value.as_bytes()).retry_after();
    for name in ["retry-after", "Retry-After", "RETRY-AFTER"] {
        assert_eq!(named(name, "120"), Some(Duration::from_secs(120)), "{name}");
    }
    for name in ["Retry-After-Ms", "X-Retry-After", "Retry"] {
        assert_eq!(named(name, "120"), None, "{name}");
    }
    #[cfg(feature = "std")]
    for (name, skew) in [("date", 600), ("DATE", 600), ("X-Date", 0), ("Date-Of", 0), ("Dat", 0)] {
        let mut session = WorkedLogin::any().session();
        let exchange = poll(&mut session).exchange;
        let rejection = Response::new(503, b"").with_header(name, b"Thu, 02 May 2024 11:50:00 GMT");
        assert!(session.handle_response(exchange, &rejection, NOW).is_err());
        assert_eq!(session.clock_skew(), skew, "{name}");
    }
}

#[test]
fn an_error_field_that_says_nothing_is_no_rejection() {
    for nothing in ["null", "false", "0", "[]"] {
        let body = format!(r#"{{"error":{nothing},"oauth_token":"b9082d68cfef06b030de"}}"#);
        assert_eq!(request_token(Response::new(200, body.as_bytes())), Ok(Phase::RequestToken), "{body}");
    }
}

#[test]
fn an_access_token_that_cannot_be_one_is_named_and_not_its_secret() {
    for token in [r#"a\"b"#, " a1b2c3d4e5f6a7b8c9d0", "a,b"] {
        let body = format!(r#"{{"oauth_token":"{token}","oauth_token_secret":"c2VjcmV0"}}"#);
        let problem = Malformed::Token { field: "oauth_token", problem: TokenError::Character };
        assert_eq!(access_token_from(&body).unwrap_err(), Error::Malformed(problem), "{token}");
    }
}
