//! Sessions that outlive their process: nothing is lost, nothing foreign or damaged gets in.
#![cfg(feature = "serde")]

mod support;

use std::time::Duration;

use ibkr_oauth::{AccountKind, ApiRequest, Consumer, OAuthSession, Phase, Response, Snapshot, SnapshotError, UnixTime};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{NOW, WorkedLogin, access_token, answer, parameter, poll, rng};

fn with_request_token() -> OAuthSession {
    let mut session = OAuthSession::new(WorkedLogin::any().consumer);
    let exchange = poll(&mut session).exchange;
    answer(&mut session, exchange, r#"{"oauth_token":"b9082d68cfef06b030de"}"#).unwrap();
    session
}

fn with_verifier() -> OAuthSession {
    let mut session = with_request_token();
    session.handle_verifier("0ffb93ab9aa0d2177cc2").unwrap();
    session
}

fn sessions() -> [OAuthSession; 5] {
    let consumer = WorkedLogin::any().consumer;
    [
        OAuthSession::new(consumer.clone()),
        with_request_token(),
        with_verifier(),
        OAuthSession::with_access_token(consumer, access_token()),
        WorkedLogin::any().live_session(NOW),
    ]
}

fn written(session: &OAuthSession) -> Value {
    serde_json::to_value(session.snapshot().expose()).unwrap()
}

fn resumed(snapshot: &Value, now: UnixTime) -> Result<OAuthSession, SnapshotError> {
    let snapshot: Snapshot = serde_json::from_value(snapshot.clone()).unwrap();
    OAuthSession::resume(WorkedLogin::any().consumer, &snapshot, now)
}

fn rejection(snapshot: &Value) -> SnapshotError {
    resumed(snapshot, NOW).map(|_| ()).unwrap_err()
}

/// The bytes of the next request, or of a signed one.
fn next_bytes(session: &mut OAuthSession) -> String {
    match session.poll_request(&mut rng(3), NOW).unwrap() {
        Some(outbound) => format!("{:?}", outbound.request.headers().collect::<Vec<_>>()),
        None => session.live(NOW).map_or(String::new(), |live| {
            live.authorization(&ApiRequest::get("/portfolio/accounts"), &mut rng(3), NOW).unwrap().0
        }),
    }
}

#[test]
fn a_resumed_session_cannot_be_told_from_the_one_that_was_stored() {
    for mut session in sessions() {
        let snapshot = written(&session);
        let mut resumed = resumed(&snapshot, NOW).unwrap();
        assert_eq!(written(&resumed), snapshot);
        assert_eq!(resumed.phase(NOW), session.phase(NOW));
        assert_eq!(resumed.poll_timeout(), session.poll_timeout());
        assert_eq!(next_bytes(&mut resumed), next_bytes(&mut session));
    }
}

#[test]
fn a_resumed_session_signs_at_once_and_refreshes_on_time() {
    let snapshot = written(&WorkedLogin::any().live_session(NOW));
    let later = NOW.saturating_add(Duration::from_secs(3600));
    let mut session = resumed(&snapshot, later).unwrap();
    assert!(session.live(later).unwrap().sign(&ApiRequest::get("/x"), &mut rng(1), later).is_ok());
    assert!(session.poll_request(&mut rng(1), later).unwrap().is_none());
    let due = session.poll_timeout().unwrap();
    assert!(session.poll_request(&mut rng(1), due).unwrap().is_some());
}

/// Two parts of a program may resume the same snapshot: what one finds dead is dead for the other too.
#[test]
fn a_token_that_was_resumed_twice_is_recognised_when_it_is_dead() {
    let login = WorkedLogin::any();
    let snapshot = written(&login.live_session(NOW));
    let (first, mut second) = (resumed(&snapshot, NOW).unwrap(), resumed(&snapshot, NOW).unwrap());
    second.invalidate(WorkedLogin::all()[1].live_session(NOW).live(NOW).unwrap());
    assert_eq!(second.phase(NOW), Phase::LiveSession, "another token");
    second.invalidate(first.live(NOW).unwrap());
    assert_eq!(second.phase(NOW), Phase::AccessToken);
    let exchange = login.poll(&mut second, NOW).expect("a new login").exchange;
    let body = login.body(None);
    second.handle_response(exchange, &Response::new(200, body.as_bytes()), NOW).unwrap();
}

#[test]
fn an_exchange_in_flight_is_not_stored_but_offered_anew() {
    let login = WorkedLogin::any();
    let mut session = login.session();
    let in_flight = login.poll(&mut session, NOW).unwrap();
    let text = written(&session).to_string();
    let mut resumed = resumed(&written(&session), NOW).unwrap();
    let again = login.poll(&mut resumed, NOW).unwrap();
    assert!(!text.contains(parameter(&in_flight.request, "diffie_hellman_challenge").unwrap()));
    let body = login.body(None);
    let phase = resumed.handle_response(again.exchange, &Response::new(200, body.as_bytes()), NOW);
    assert_eq!(phase, Ok(Phase::LiveSession));
}

#[test]
fn an_expired_token_resumes_as_an_access_token() {
    let snapshot = written(&WorkedLogin::any().live_session(NOW));
    let next_week = NOW.saturating_add(Duration::from_secs(7 * 86_400));
    let mut session = resumed(&snapshot, next_week).unwrap();
    assert_eq!(session.phase(next_week), Phase::AccessToken);
    assert!(session.poll_request(&mut rng(1), next_week).unwrap().is_some());
}

/// Another machine has another clock: what is known of one is of no use to the other.
#[test]
fn a_snapshot_carries_no_clock_to_another_machine() {
    let login = WorkedLogin::any();
    let mut session = login.session();
    let exchange = poll(&mut session).exchange;
    let an_hour_ahead = NOW.saturating_add(Duration::from_secs(3600));
    session.handle_response(exchange, &Response::new(503, b"").with_server_time(an_hour_ahead), NOW).unwrap_err();
    assert_eq!(session.clock_skew(), 3600);
    let snapshot = written(&session);
    assert!(!snapshot.to_string().contains("3600") && !snapshot.to_string().contains("1714653600"), "{snapshot}");
    assert_eq!(resumed(&snapshot, NOW).unwrap().clock_skew(), 0);
}

#[test]
fn sessions_of_one_consumer_share_the_clock_and_the_timestamps() {
    let login = WorkedLogin::any();
    let mut first = login.session();
    let exchange = poll(&mut first).exchange;
    let an_hour_ahead = NOW.saturating_add(Duration::from_secs(3600));
    first.handle_response(exchange, &Response::new(503, b"").with_server_time(an_hour_ahead), NOW).unwrap_err();
    let mut second = OAuthSession::resume(login.consumer.clone(), first.snapshot().expose(), NOW).unwrap();
    assert_eq!(second.clock_skew(), 3600, "the second session need not learn it by a refusal of its own");
    let request = poll(&mut second).request;
    assert_eq!(parameter(&request, "oauth_timestamp"), Some("1714653600"));
}

#[test]
fn a_snapshot_of_another_consumer_is_rejected() {
    let login = WorkedLogin::any();
    let snapshot: Snapshot = serde_json::from_value(written(&login.live_session(NOW))).unwrap();
    let another = Consumer::builder("OTHERCONS", login.keys.clone(), login.dh.clone()).build().unwrap();
    let rejected = OAuthSession::resume(another, &snapshot, NOW).map(|_| ());
    assert_eq!(rejected, Err(SnapshotError::Foreign));
    let other_realm = Consumer::builder("TESTCONS", login.keys.clone(), login.dh).realm("x").build().unwrap();
    let rejected = OAuthSession::resume(other_realm, &snapshot, NOW).map(|_| ());
    assert_eq!(rejected, Err(SnapshotError::Foreign));
}

/// The access token is sent nowhere but where it was issued.
#[test]
fn a_snapshot_of_another_base_url_is_rejected() {
    for session in sessions() {
        let snapshot = session.snapshot();
        for elsewhere in ["https://api.example/v1/api", "http://api.ibkr.com/v1/api", "https://api.ibkr.com/v1/other"] {
            let resumed = OAuthSession::resume(WorkedLogin::at(elsewhere).consumer, snapshot.expose(), NOW).map(|_| ());
            assert_eq!(resumed, Err(SnapshotError::Foreign), "{elsewhere}");
        }
        let written_otherwise = WorkedLogin::at("HTTPS://API.IBKR.COM:443/v1/api/").consumer;
        assert!(OAuthSession::resume(written_otherwise, snapshot.expose(), NOW).is_ok());
    }
}

#[test]
fn a_snapshot_of_a_later_version_is_rejected_for_its_version() {
    assert_eq!(rejection(&json!({"version": 3, "everything": ["different"]})), SnapshotError::Version { found: 3 });
    assert_eq!(rejection(&json!({"version": 0})), SnapshotError::Version { found: 0 });
    assert_eq!(rejection(&json!({"version": 1, "clock_skew": 600})), SnapshotError::Version { found: 1 });
    assert!(serde_json::from_value::<Snapshot>(json!({})).is_err(), "no version at all");
}

/// Written by a version that did not count tokens.
#[test]
fn a_snapshot_without_a_generation_is_resumed() {
    for session in sessions() {
        let mut old = written(&session);
        assert!(old.as_object_mut().unwrap().remove("generation").is_some());
        let mut resumed = resumed(&old, NOW).unwrap();
        assert_eq!((resumed.phase(NOW), resumed.generation()), (session.phase(NOW), 0));
        assert_eq!(
            next_bytes(&mut resumed),
            next_bytes(
                &mut OAuthSession::resume(WorkedLogin::any().consumer, session.snapshot().expose(), NOW).unwrap()
            )
        );
    }
}

#[test]
fn a_damaged_snapshot_is_rejected_by_field() {
    let live = written(&WorkedLogin::any().live_session(NOW));
    let with = |pointer: &str, value: Value| {
        let mut damaged = live.clone();
        *damaged.pointer_mut(pointer).unwrap() = value;
        rejection(&damaged)
    };
    let damaged = |field| SnapshotError::Damaged { field };
    assert_eq!(with("/live_session/token", json!("YBWbLw+9RYP2nWrPQHxHZkBb1aM=")), damaged("live_session"));
    assert_eq!(with("/live_session/token", json!("")), damaged("live_session"));
    assert_eq!(with("/live_session/token", json!("?")), damaged("live_session"));
    assert_eq!(with("/live_session/proof", json!("543c55477d6cbb0e792d1e4f8111cec7305ba3f4")), damaged("live_session"));
    assert_eq!(with("/live_session/proof", json!("")), damaged("live_session"));
    assert_eq!(with("/access_token/token", json!("a\"b")), damaged("access_token"));
    assert_eq!(with("/access_token/secret", json!("*")), damaged("access_token"));
    let mut without_access_token = live.clone();
    without_access_token.as_object_mut().unwrap().remove("access_token");
    assert_eq!(rejection(&without_access_token), damaged("live_session"));
    let mut with_both = live.clone();
    with_both["request_token"] = json!({"token": "a", "verifier": null});
    assert_eq!(rejection(&with_both), damaged("request_token"));
}

#[test]
fn a_snapshot_that_is_cut_off_anywhere_is_none() {
    for session in sessions() {
        let text = written(&session).to_string();
        assert!(serde_json::from_str::<Snapshot>(&text).is_ok());
        for end in 0..text.len() {
            assert!(serde_json::from_str::<Snapshot>(&text[..end]).is_err(), "{}", &text[..end]);
        }
    }
}

#[test]
fn times_that_cannot_be_do_not_lock_anybody_out() {
    let mut snapshot = written(&WorkedLogin::any().live_session(NOW));
    snapshot["live_session"]["expires_at"] = json!(u64::MAX);
    let session = resumed(&snapshot, NOW).unwrap();
    let live = session.live(NOW).unwrap();
    assert_eq!(live.expires_at(), NOW.saturating_add(Duration::from_secs(86_400)));
    let request = live.sign(&ApiRequest::get("/x"), &mut rng(1), NOW).unwrap();
    assert_eq!(parameter(&request, "oauth_timestamp"), Some("1714650000"));
}

#[test]
fn a_snapshot_shows_nothing_unless_it_is_exposed() {
    let session = WorkedLogin::any().live_session(NOW);
    let shown = format!("{:?} {:?}", session.snapshot(), session.snapshot().expose());
    assert_eq!(shown, "[redacted] Snapshot { version: 2, .. }");
}

proptest! {
    /// Any byte changed in a stored session: a typed error or a session, never a panic; and no session is live with a token
    /// that the server has not proved.
    #[test]
    fn no_damage_gets_a_session_live_with_another_token(at in 0_usize..2000, byte in any::<u8>()) {
        let text = written(&WorkedLogin::any().live_session(NOW)).to_string();
        let at = at % text.len();
        let mut bytes = text.clone().into_bytes();
        bytes[at] = byte;
        let Ok(snapshot) = serde_json::from_slice::<Snapshot>(&bytes) else { return Ok(()) };
        let Ok(session) = OAuthSession::resume(WorkedLogin::any().consumer, &snapshot, NOW) else { return Ok(()) };
        if session.live(NOW).is_some() {
            let stored = |value: &Value| value["live_session"]["token"].clone();
            prop_assert_eq!(stored(&written(&session)), stored(&serde_json::from_str(&text).unwrap()));
        }
    }
}

/// A resumed session trades in the name of its consumer: key and realm count each by itself, and to the letter.
#[test]
fn a_snapshot_is_for_one_consumer_key_and_one_realm_to_the_letter() {
    let login = WorkedLogin::any();
    let consumer = |key: &str, realm: &str| {
        Consumer::builder(key, login.keys.clone(), login.dh.clone()).realm(realm).build().unwrap()
    };
    let own = WorkedLogin { consumer: consumer("TESTCONS", "some_realm"), ..login.clone() };
    for session in [OAuthSession::new(own.consumer.clone()), own.session(), own.live_session(NOW)] {
        let snapshot: Snapshot = serde_json::from_value(written(&session)).unwrap();
        let resume = |key, realm| OAuthSession::resume(consumer(key, realm), &snapshot, NOW).map(|_| ());
        for key in ["OTHERCONS", "testcons", "TESTCON", "TESTCONSX", "ESTCONS"] {
            assert_eq!(resume(key, "some_realm"), Err(SnapshotError::Foreign), "{key}");
        }
        for realm in ["other_realm", "SOME_REALM", "some_real", "some_realms", "ome_realm"] {
            assert_eq!(resume("TESTCONS", realm), Err(SnapshotError::Foreign), "{realm}");
        }
        assert_eq!(resume("TESTCONS", "some_realm"), Ok(()));
    }
}

#[test]
fn a_part_of_a_stored_proof_is_no_proof() {
    let live = written(&WorkedLogin::any().live_session(NOW));
    let proof = live["live_session"]["proof"].as_str().unwrap().to_string();
    let longer = format!("{proof}00");
    for part in (0..20).flat_map(|bytes| [&proof[..2 * bytes], &proof[40 - 2 * bytes..]]).chain([&*longer]) {
        let mut cut = live.clone();
        cut["live_session"]["proof"] = json!(part);
        assert_eq!(rejection(&cut), SnapshotError::Damaged { field: "live_session" }, "{part}");
    }
}

/// Whoever trades on paper must not find out later that it was not.
#[test]
fn a_resumed_session_knows_whether_it_trades_on_paper() {
    for kind in [None, Some(AccountKind::Paper), Some(AccountKind::Live)] {
        let access_token = match kind {
            Some(kind) => access_token().with_account_kind(kind),
            None => access_token(),
        };
        let session = OAuthSession::with_access_token(WorkedLogin::any().consumer, access_token);
        let resumed = resumed(&written(&session), NOW).unwrap();
        assert_eq!(resumed.access_token().unwrap().account_kind(), kind);
    }
}

#[test]
fn a_resumed_session_remembers_when_its_token_came() {
    let mut session = resumed(&written(&WorkedLogin::any().live_session(NOW)), NOW).unwrap();
    let back = |minutes: u64| NOW.saturating_sub(Duration::from_secs(minutes * 60));
    assert!(session.poll_request(&mut rng(1), back(60)).unwrap().is_none());
    let much_earlier = resumed(&written(&session), back(61)).unwrap().poll_request(&mut rng(1), back(61)).unwrap();
    assert!(much_earlier.is_some(), "a clock set back by so much tells nothing of the token's age");
}
