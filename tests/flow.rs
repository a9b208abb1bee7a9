//! Whole logins against the gateway, which shares no signing and no arithmetic with the client: no socket, a virtual
//! clock.

mod support;

use std::time::Duration;

use ibkr_oauth::{
    AccessToken, AccountKind, ApiRequest, Consumer, DhParams, Error, OAuthSession, Outbound, ParameterEncoding, Phase,
    QueryPolicy, RsaKeys, RsaPrivateKey,
};
use ibkr_oauth_gateway::{Consent, RegisteredConsumer};
use support::pair::{BASE_URL, CONSUMER, Pair, response};
use support::{DHPARAM_PEM, ENCRYPTION_PEM, SIGNATURE_PEM};

const ACCOUNTS: ApiRequest<'_> = ApiRequest::get("/portfolio/accounts");

#[test]
fn a_third_party_logs_in_with_its_users_consent() {
    let mut pair = Pair::new();
    let mut session = OAuthSession::new(pair.builder().build().unwrap());
    assert_eq!(pair.drive(&mut session), Ok(Phase::RequestToken));
    let url = session.consent_url().unwrap();
    let request_token = url.split_once("?oauth_token=").unwrap().1;
    let callback = pair.gateway.consent(request_token, "alice", Consent::Grant, &mut pair.rng).unwrap();
    assert!(callback.starts_with("https://trader.example/back?user=7&"), "{callback}");
    session.handle_callback(&callback).unwrap();
    assert_eq!(pair.drive(&mut session), Ok(Phase::LiveSession));
    assert_eq!(session.access_token().unwrap().account_kind(), Some(AccountKind::Paper));
    assert_eq!(pair.call(&session, &ACCOUNTS).status(), 200);
}

#[test]
fn a_first_party_logs_in_and_every_login_has_a_fresh_secret() {
    let mut pair = Pair::new();
    // Half of the secrets need the 0x00 sign byte: twelve logins that all succeed leave no luck in it.
    for _ in 0..12 {
        let session = pair.live(pair.builder());
        assert_eq!(pair.call(&session, &ACCOUNTS).status(), 200);
    }
}

/// An access token of a first party that is registered with the tests' keys and these Diffie-Hellman parameters.
fn enroll(pair: &mut Pair, consumer_key: &str, dhparam_pem: &str) -> AccessToken {
    let consumer = RegisteredConsumer {
        consumer_key: consumer_key.to_string(),
        signature_public_key_pem: include_str!("keys/public_signature.pem").to_string(),
        encryption_public_key_pem: include_str!("keys/public_encryption.pem").to_string(),
        dhparam_pem: dhparam_pem.to_string(),
        callback_url: None,
    };
    pair.gateway.register_consumer(&consumer).unwrap();
    let issued = pair.gateway.issue_access_token(consumer_key, "alice", &mut pair.rng).unwrap();
    AccessToken::new(&issued.token, &issued.secret_base64).unwrap()
}

#[test]
fn the_test_consumers_realm_is_accepted() {
    let mut pair = Pair::new();
    let access_token = enroll(&mut pair, "TESTCONS", DHPARAM_PEM);
    let consumer = support::builder().base_url(BASE_URL).build().unwrap();
    let mut session = OAuthSession::with_access_token(consumer, access_token);
    assert_eq!(pair.drive(&mut session), Ok(Phase::LiveSession));
}

/// Users make such parameters with `openssl dhparam -5`. IBKR computes with 2 whatever they say, and so must the client.
#[test]
fn parameters_with_another_generator_log_in() {
    let pem = include_str!("keys/dhparam_generator_5.pem");
    let mut pair = Pair::new();
    let access_token = enroll(&mut pair, "GENERATOR", pem);
    let consumer = Consumer::builder("GENERATOR", support::keys(), DhParams::from_pem(pem).unwrap());
    let consumer = consumer.base_url(BASE_URL).build().unwrap();
    for _ in 0..4 {
        let mut session = OAuthSession::with_access_token(consumer.clone(), access_token.clone());
        assert_eq!(pair.drive(&mut session), Ok(Phase::LiveSession));
        assert_eq!(pair.call(&session, &ACCOUNTS).status(), 200);
    }
}

#[test]
fn api_requests_of_every_shape_are_verified() {
    let mut pair = Pair::new();
    for query_policy in [QueryPolicy::Fold, QueryPolicy::Exclude] {
        for encoding in [ParameterEncoding::Single, ParameterEncoding::Rfc5849] {
            let session = pair.live(pair.builder().query_policy(query_policy).parameter_encoding(encoding));
            let fields = [("conids", "265598"), ("fields", "31")];
            for request in [
                ApiRequest::post("/iserver/auth/ssodh/init").json(br#"{"publish":true,"compete":true}"#),
                ApiRequest::post("/tickle"),
                ApiRequest::get("/iserver/marketdata/snapshot").query(&fields),
                ApiRequest::get("/iserver/marketdata/snapshot").raw_query("fields=31&conids=265598"),
                ApiRequest::get("/iserver/accounts"),
                ApiRequest::post("/logout"),
            ] {
                let answer = pair.call(&session, &request);
                let body = String::from_utf8_lossy(answer.body());
                assert_eq!(answer.status(), 200, "{request:?} {query_policy:?} {encoding:?}: {body}");
            }
        }
    }
}

/// Parameters full of everything that could be encoded two ways.
#[test]
fn queries_and_forms_with_any_text_are_verified() {
    let mut pair = Pair::new();
    let session = pair.live(pair.builder());
    let awkward = [("a b", "c+d"), ("p|q,r:s", "50%/x"), ("dup", "2"), ("dup", "1"), ("\u{3001}", ""), ("e", "%2B")];
    for request in [
        ApiRequest::get("/portfolio/accounts").query(&awkward),
        ApiRequest::get("/portfolio/accounts").raw_query("a+b=c%2Bd&p%7Cq=%2F&x"),
        ApiRequest::post("/tickle").form(&awkward),
    ] {
        let answer = pair.call(&session, &request);
        assert_eq!(answer.status(), 200, "{request:?}: {}", String::from_utf8_lossy(answer.body()));
    }
}

#[test]
fn a_session_stays_live_for_days_by_refreshing() {
    let mut pair = Pair::new();
    let mut session = pair.live(pair.builder());
    for _ in 0..5 {
        pair.now = session.poll_timeout().unwrap();
        let before = session.live(pair.now).unwrap().expires_at();
        assert_eq!(pair.drive(&mut session), Ok(Phase::LiveSession));
        assert!(session.live(pair.now).unwrap().expires_at() > before);
        assert_eq!(pair.call(&session, &ACCOUNTS).status(), 200);
        pair.wait(3600);
    }
}

#[test]
fn the_wrong_keys_never_make_a_session_live() {
    let read = |pem| RsaPrivateKey::from_pem(pem).unwrap();
    let swapped = || RsaKeys::new(read(ENCRYPTION_PEM), read(SIGNATURE_PEM));
    let wrong_signature_key = || RsaKeys::new(read(ENCRYPTION_PEM), read(ENCRYPTION_PEM));
    let wrong_encryption_key = || RsaKeys::new(read(SIGNATURE_PEM), read(SIGNATURE_PEM));
    let mut pair = Pair::new();
    for keys in [swapped(), wrong_signature_key(), wrong_encryption_key()] {
        let builder = Consumer::builder(CONSUMER, keys, support::dh()).base_url(BASE_URL);
        let mut session = pair.first_party(builder);
        let Err(Error::Rejected(rejected)) = pair.drive(&mut session) else { panic!("logged in with the wrong keys") };
        assert_eq!(rejected.status, 401);
        assert!(rejected.reason.ends_with("error: invalid consumer"), "{}", rejected.reason);
        assert_eq!(session.phase(pair.now), Phase::AccessToken);
    }
}

#[test]
fn a_secret_from_before_the_newest_one_is_rejected() {
    let mut pair = Pair::new();
    let mut session = pair.first_party(pair.builder());
    pair.issue();
    assert!(matches!(pair.drive(&mut session), Err(Error::Rejected(_))));
}

#[test]
fn a_verifier_of_another_flow_is_rejected_and_the_right_one_still_works() {
    let mut pair = Pair::new();
    let consent = |pair: &mut Pair| {
        let mut session = OAuthSession::new(pair.builder().build().unwrap());
        pair.drive(&mut session).unwrap();
        let url = session.consent_url().unwrap();
        let request_token = url.split_once("?oauth_token=").unwrap().1;
        let callback = pair.gateway.consent(request_token, "alice", Consent::Grant, &mut pair.rng).unwrap();
        (session, callback)
    };
    let (mut ours, callback) = consent(&mut pair);
    let (_, another) = consent(&mut pair);
    assert!(ours.handle_callback(&another).is_err());
    ours.handle_verifier(another.split_once("oauth_verifier=").unwrap().1).unwrap();
    assert!(matches!(pair.drive(&mut ours), Err(Error::Rejected(_))));
    ours.handle_callback(&callback).unwrap();
    assert_eq!(pair.drive(&mut ours), Ok(Phase::LiveSession));
}

#[test]
fn a_user_who_refuses_can_be_asked_again() {
    let mut pair = Pair::new();
    let mut session = OAuthSession::new(pair.builder().build().unwrap());
    pair.drive(&mut session).unwrap();
    let url = session.consent_url().unwrap();
    let request_token = url.split_once("?oauth_token=").unwrap().1;
    let callback = pair.gateway.consent(request_token, "alice", Consent::Deny, &mut pair.rng).unwrap();
    assert!(matches!(session.handle_callback(&callback), Err(Error::Callback(_))));
    session.reauthorize();
    assert_eq!(pair.drive(&mut session), Ok(Phase::RequestToken));
    assert_ne!(session.consent_url().unwrap(), url);
}

#[test]
fn a_request_is_good_for_one_sending() {
    let mut pair = Pair::new();
    let session = pair.live(pair.builder());
    let signed = session.live(pair.now).unwrap().sign(&ACCOUNTS, &mut pair.rng, pair.now).unwrap();
    assert_eq!(pair.send(&signed).status(), 200);
    assert_eq!(pair.send(&signed).status(), 401, "a replayed nonce");
}

#[cfg(feature = "std")]
#[test]
fn a_clock_that_is_off_is_set_right_by_the_first_rejection() {
    for server_ahead in [-7200, -3600, 3600, 80_000] {
        let mut pair = Pair::new();
        pair.server_ahead = server_ahead;
        let mut session = pair.first_party(pair.builder());
        assert!(matches!(pair.drive(&mut session), Err(Error::Rejected(_))), "an hour off is rejected");
        assert_eq!(i64::from(session.clock_skew()), server_ahead);
        assert_eq!(pair.drive(&mut session), Ok(Phase::LiveSession), "{server_ahead}");
        assert_eq!(pair.call(&session, &ACCOUNTS).status(), 200);
    }
}

#[test]
fn a_clock_off_by_more_than_a_day_or_not_to_be_corrected_stays_wrong() {
    let mut pair = Pair::new();
    pair.server_ahead = 90_000;
    let mut session = pair.first_party(pair.builder());
    for _ in 0..2 {
        assert!(matches!(pair.drive(&mut session), Err(Error::Rejected(_))));
        assert_eq!(session.clock_skew(), 0);
    }
    pair.server_ahead = 3600;
    let mut session = pair.first_party(pair.builder().without_clock_correction());
    for _ in 0..2 {
        assert!(matches!(pair.drive(&mut session), Err(Error::Rejected(_))));
        assert_eq!(session.clock_skew(), 0);
    }
}

#[test]
fn a_clock_that_goes_back_does_not_stop_a_live_session() {
    let mut pair = Pair::new();
    let session = pair.live(pair.builder());
    let an_hour_late = pair.now.saturating_sub(Duration::from_secs(3600));
    let signed = session.live(an_hour_late).unwrap().sign(&ACCOUNTS, &mut pair.rng, an_hour_late).unwrap();
    assert_eq!(pair.send(&signed).status(), 200, "the timestamp stays where it was");
}

#[test]
fn ten_requests_rejected_together_lead_to_one_new_token() {
    let mut pair = Pair::new();
    let mut session = pair.live(pair.builder());
    let dead = session.live(pair.now).unwrap().clone();
    let mut exchanges = 0;
    for _ in 0..10 {
        session.invalidate(&dead);
        while let Some(Outbound { request, exchange }) = session.poll_request(&mut pair.rng, pair.now).unwrap() {
            exchanges += 1;
            let answer = pair.send(&request);
            session.handle_response(exchange, &response(&answer), pair.now).unwrap();
        }
        assert_eq!(pair.call(&session, &ACCOUNTS).status(), 200);
    }
    assert_eq!(exchanges, 1);
}
