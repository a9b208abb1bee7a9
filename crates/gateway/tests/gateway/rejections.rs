//! Whoever makes a mistake hears what IBKR would say; and nobody gets in by one.

use std::time::Duration;

use ibkr_oauth_gateway::http::{Request, Response};
use proptest::prelude::*;

use crate::client::{Call, Login, World, at, header, json, keys, said, seconds, text};

fn live_session_call(world: &mut World, login: &Login) -> Call {
    world.live_session_call(login).0
}

/// `id: N` in IBKR's messages is different each time.
fn without_id(response: &Response<Vec<u8>>) -> String {
    let body = text(response);
    let digits = |text: &str| text.trim_start_matches(|character: char| character.is_ascii_digit()).to_owned();
    match body.split_once("id: ") {
        Some((before, after)) => format!("{before}id: N{}", digits(after)),
        None => body.to_owned(),
    }
}

/// Makes a request that should be rejected.
type Spoil = fn(Call, &Login) -> Call;

const INVALID_CONSUMER: &str = r#"{"error":"id: N, error: invalid consumer","statusCode":401}"#;

#[track_caller]
fn assert_rejected(response: &Response<Vec<u8>>, status: u16, body: &str, reason: &str) {
    assert_eq!((response.status().as_u16(), without_id(response).as_str()), (status, body), "{}", said(response));
    let told = header(response, "Gateway-Reason").unwrap();
    assert!(told.contains(reason), "{told}");
}

#[test]
fn whatever_is_wrong_with_a_signature_ibkr_says_invalid_consumer() {
    let (mut world, login) = World::first_party();
    world.enroll_first_party("TESTCONS");
    let cases: [(&str, Spoil); 8] = [
        ("the consumer key is unknown", |call, login| call.with("oauth_consumer_key", "firstprty").signed_by(login)),
        ("realm", |call, login| Call { realm: "test_realm".into(), ..call.signed_by(login) }),
        ("not RSA-SHA256", |call, login| call.signed_by(login).with("oauth_signature_method", "RSA-SHA1")),
        ("signature", |call, login| {
            let prepend = base16ct::lower::encode_string(&login.secret);
            call.signed_rsa(&keys().encryption, &prepend)
        }),
        ("signature", |call, _| call.signed_rsa(&keys().signature, "")),
        ("signature", |call, login| call.signed_by(login).with("oauth_signature", "bm8gc2lnbmF0dXJl")),
        ("signature", |call, login| call.signed_by(login).with("oauth_signature", "not base64")),
        ("signature", |call, login| call.signed_by(login).with("diffie_hellman_challenge", "3")),
    ];
    for (reason, spoil) in cases {
        let call = live_session_call(&mut world, &login);
        assert_rejected(&world.send(&spoil(call, &login)), 401, INVALID_CONSUMER, reason);
    }
}

#[test]
fn a_missing_piece_is_named() {
    let (mut world, login) = World::first_party();
    for name in [
        "oauth_consumer_key",
        "oauth_nonce",
        "oauth_signature",
        "oauth_signature_method",
        "oauth_timestamp",
        "oauth_token",
        "diffie_hellman_challenge",
    ] {
        let call = live_session_call(&mut world, &login).signed_by(&login).without(name);
        let body = format!(r#"{{"error":"id: N, error: missing {name}","statusCode":400}}"#);
        assert_rejected(&world.send(&call), 400, &body, name);
    }
    let call = live_session_call(&mut world, &login).signed_by(&login);
    let call = Call { layout: |call| format!("OAuth {}", call.pairs().join(", ")), ..call };
    assert_rejected(&world.send(&call), 400, r#"{"error":"id: N, error: missing realm","statusCode":400}"#, "realm");
    for (endpoint, name) in [("/oauth/request_token", "oauth_callback"), ("/oauth/access_token", "oauth_verifier")] {
        let call = world.call("POST", endpoint, &login.consumer_key, &login.realm).with("oauth_token", "t");
        assert!(without_id(&world.send(&call.signed_rsa(&keys().signature, ""))).contains(name));
    }
}

#[test]
fn an_access_token_without_a_secret_is_named() {
    let (mut world, login) = World::first_party();
    let body = r#"{"error":"id: N, error: LST failed, error: No access secret key found for ***","statusCode":401}"#;
    let call = live_session_call(&mut world, &login).with("oauth_token", "a1b2c3d4e5f6a7b8c9d0").signed_by(&login);
    assert_rejected(&world.send(&call), 401, body, "unknown");
    let other = world.enroll_first_party("OTHERCONS");
    let call = live_session_call(&mut world, &login).with("oauth_token", &other.token).signed_by(&login);
    assert_rejected(&world.send(&call), 401, body, "another consumer's");
}

#[test]
fn a_challenge_that_gives_the_secret_away_is_rejected() {
    let (mut world, login) = World::first_party();
    let body = r#"{"error":"id: N, error: LST failed, error: ","statusCode":401}"#;
    for challenge in ["0", "1", "", "xyz", "+5", "5_5", &"f".repeat(512), &"f".repeat(10_000)] {
        let call = live_session_call(&mut world, &login).with("diffie_hellman_challenge", challenge);
        assert_rejected(&world.send(&call.signed_by(&login)), 401, body, "diffie_hellman_challenge");
    }
}

#[test]
fn an_api_request_without_a_good_signature_is_unauthorized() {
    let (mut world, login) = World::first_party();
    let early = world.call("GET", "/portfolio/accounts", &login.consumer_key, &login.realm);
    let early = early.with("oauth_token", &login.token).signed_with(b"nothing to sign with");
    assert_rejected(&world.send(&early), 401, "Unauthorized", "no live session token");

    let live = world.live(&login);
    let call = world.api_call("GET", "/portfolio/accounts", &live).signed_with(b"not the token");
    assert_rejected(&world.send(&call), 401, "Invalid signature", "signature");
    let call = world.api_call("GET", "/portfolio/accounts", &live).signed_by(&login);
    assert_rejected(&world.send(&call), 401, "Unauthorized", "not HMAC-SHA256");
    let call = world.api_call("GET", "/portfolio/accounts", &live).with("oauth_token", "0").signed_with(&live.token);
    assert_rejected(&world.send(&call), 401, "Unauthorized", "access token");
    let call = world.api_call("GET", "/portfolio/accounts", &live).signed_with(&live.token);
    let call = Call { realm: "test_realm".into(), ..call };
    assert_rejected(&world.send(&call), 401, "Unauthorized", "realm");
    let call = world.api_call("GET", "/portfolio/accounts", &live).signed_with(&live.token);
    let call = Call { method: "POST", endpoint: "/logout".into(), ..call };
    assert_rejected(&world.send(&call), 401, "Invalid signature", "signature");

    let other = world.enroll_first_party("OTHERCONS");
    let call = world.api_call("GET", "/portfolio/accounts", &live).with("oauth_consumer_key", &other.consumer_key);
    assert_rejected(&world.send(&call.signed_with(&live.token)), 401, "Unauthorized", "another consumer's");

    let bare = Request::get("/v1/api/portfolio/accounts").header("User-Agent", "test").body("").unwrap();
    assert_rejected(&world.send_raw(&bare), 401, "Unauthorized", "no Authorization");
}

#[test]
fn a_request_counts_once() {
    let (mut world, login) = World::first_party();
    let call = live_session_call(&mut world, &login).signed_by(&login);
    assert_eq!(world.send(&call).status(), 200);
    assert_rejected(&world.send(&call), 401, INVALID_CONSUMER, "nonce");
    let live = world.live(&login);
    let call = world.api_call("GET", "/portfolio/accounts", &live).signed_with(&live.token);
    assert_eq!(world.send(&call).status(), 200);
    assert_rejected(&world.send(&call), 401, "Unauthorized", "nonce");
}

/// A nonce is used up by its consumer only; someone who can't sign must not get in its way.
#[test]
fn a_request_that_is_not_verified_leaves_no_trace() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    let call = world.api_call("GET", "/portfolio/accounts", &live);
    let forged = call.clone().signed_with(b"not the token");
    let late = seconds(world.now + Duration::from_secs(200)).to_string();
    assert_eq!(world.send(&forged).status(), 401);
    assert_eq!(world.send(&forged.with("oauth_timestamp", &late)).status(), 401);
    assert_eq!(world.send(&call.signed_with(&live.token)).status(), 200);
}

#[test]
fn a_clock_may_be_minutes_off_but_not_run_backwards() {
    let (mut world, login) = World::first_party();
    let mut at = |offset: i64| {
        let seconds = seconds(world.now).checked_add_signed(offset).unwrap();
        let call = live_session_call(&mut world, &login).with("oauth_timestamp", &seconds.to_string());
        world.send(&call.signed_by(&login))
    };
    assert_rejected(&at(-301), 401, INVALID_CONSUMER, "too far");
    assert_eq!(at(-300).status(), 200);
    assert_eq!(at(0).status(), 200);
    assert_eq!(at(-5).status(), 200, "requests overtake one another");
    assert_rejected(&at(-6), 401, INVALID_CONSUMER, "older");
    assert_eq!(at(300).status(), 200);
    assert_rejected(&at(301), 401, INVALID_CONSUMER, "too far");
    assert_rejected(&at(0), 401, INVALID_CONSUMER, "older");

    let (mut world, login) = World::first_party();
    world.gateway.set_timestamp_window(Duration::from_secs(10));
    let seconds = (seconds(world.now) - 11).to_string();
    let call = live_session_call(&mut world, &login).with("oauth_timestamp", &seconds);
    assert_rejected(&world.send(&call.signed_by(&login)), 401, INVALID_CONSUMER, "too far");
}

#[test]
fn a_timestamp_has_ten_digits() {
    let (mut world, login) = World::first_party();
    for timestamp in ["1714669716258", "171466971", "+171466971", "now"] {
        let call = live_session_call(&mut world, &login).with("oauth_timestamp", timestamp).signed_by(&login);
        assert_rejected(&world.send(&call), 400, "Bad Request", "10 digits");
    }
}

#[test]
fn a_broken_header_is_a_bad_request() {
    let (mut world, login) = World::first_party();
    let call = live_session_call(&mut world, &login).signed_by(&login);
    let layouts: [fn(&Call) -> String; 4] = [
        |_| "Bearer abc".into(),
        |call| format!("OAuth {}", call.pairs().join(" ")),
        |call| format!("OAuth {}, oauth_nonce=\"2\"", call.pairs().join(", ")),
        |call| format!("OAuth {}, x=\"%zz\"", call.pairs().join(", ")),
    ];
    for layout in layouts {
        let response = world.send(&Call { layout, ..call.clone() });
        assert_rejected(&response, 400, "Bad Request", "");
    }
}

#[test]
fn a_header_of_sixteen_kilobytes_is_the_longest() {
    let (mut world, login) = World::first_party();
    let mut padded = |length: usize| {
        let call = live_session_call(&mut world, &login).with("x", "");
        let rest = (call.layout)(&call.clone().signed_by(&login)).len();
        let call = call.with("x", &"x".repeat(length - rest)).signed_by(&login);
        // The signature's own escapes are not always as many.
        let more = length.abs_diff((call.layout)(&call).len());
        (more, world.send(&call))
    };
    let mut whole = |length| (0..).map(|_| padded(length)).find(|(more, _)| *more == 0).unwrap().1;
    assert_eq!(whole(16 * 1024).status(), 200);
    assert_rejected(&whole(16 * 1024 + 1), 400, "Bad Request", "too long");
}

#[test]
fn the_edge_wants_to_know_who_asks_and_how_much() {
    let (mut world, login) = World::first_party();
    let call = live_session_call(&mut world, &login).signed_by(&login);
    let anonymous = world.send(&call.clone().without_header("User-Agent"));
    assert_eq!(anonymous.status(), 403);
    assert!(text(&anonymous).contains("Access Denied") && header(&anonymous, "content-type") == Some("text/html"));
    assert_eq!(world.send(&call.clone().without_header("Content-Length")).status(), 411);
    let long: &'static str = "x".repeat(64 * 1024 + 1).leak();
    assert_eq!(world.send(&Call { body: long, ..call.clone() }).status(), 413);
    assert_eq!(world.send(&Call { body: &long[1..], ..call.clone().without("oauth_nonce") }).status(), 400);
    let outside = Request::get("/v2/api/tickle").header("User-Agent", "test").body("").unwrap();
    assert_eq!(world.send_raw(&outside).status(), 404);
    assert_eq!(world.send(&call).status(), 200, "none of this used the request up");
}

#[test]
fn every_answer_is_dated_and_every_rejection_numbered() {
    let (mut world, login) = World::first_party();
    world.now = at(784_111_777_000);
    let call = live_session_call(&mut world, &login);
    let answers = [(); 2].map(|()| world.send(&call));
    assert_eq!(header(&answers[0], "Date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_ne!(json(&answers[0]), json(&answers[1]), "the id varies");
}

proptest! {
    #[test]
    fn no_request_can_upset_it(
        method in "GET|POST|[A-Z]{0,8}",
        target in "(/v1/api)?(/oauth/live_session_token|/tickle|/iserver/x)?(\\?)?\\PC{0,40}",
        authorization in "(OAuth )?(\\PC{0,10}|oauth_[a-z]{1,9}=\"[%a-f0-9]{0,9}\"|realm=x|,|\"|=| ){0,12}",
        content_type in "application/x-www-form-urlencoded|application/json|\\PC{0,20}",
        body in prop::collection::vec(any::<u8>(), 0..200),
        now in any::<u64>(),
    ) {
        let mut world = World::new();
        world.now = at(now);
        let request = Request::builder().method(method.as_str()).uri(target).header("User-Agent", "test");
        let request = request.header("Content-Length", "0").header("Authorization", authorization.as_bytes());
        let request = request.header("Content-Type", content_type.as_bytes()).body(body);
        prop_assume!(request.is_ok(), "that is not HTTP");
        let response = world.send_raw(&request.unwrap());
        prop_assert!((400..=413).contains(&response.status().as_u16()), "{}", said(&response));
    }
}
