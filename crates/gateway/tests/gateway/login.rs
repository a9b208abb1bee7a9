//! Live session tokens: how consumers get them, however they lay out their requests, and how long they last.

use std::time::Duration;

use ibkr_oauth_gateway::GatewayError;

use crate::client::{Call, FIRST_PARTY, ORIGIN, USER, World, encode, json, said};

#[test]
fn a_login_opens_the_api_for_24_hours() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    assert_eq!(live.expires.duration_since(world.now).unwrap(), Duration::from_secs(24 * 60 * 60));
    let accounts = world.api("GET", "/portfolio/accounts", &live);
    assert_eq!(json(&accounts)[0]["accountId"], "DU1234567", "{}", said(&accounts));

    world.now = live.expires - Duration::from_secs(1);
    assert_eq!(world.api("GET", "/portfolio/accounts", &live).status(), 200);
    world.now = live.expires;
    assert_eq!(world.api("GET", "/portfolio/accounts", &live).status(), 401);
    let live = world.live(&login);
    assert_eq!(world.api("GET", "/portfolio/accounts", &live).status(), 200);
}

/// Half of all shared secrets begin with a set bit, and some with a zero byte.
#[test]
fn every_login_agrees_on_the_token() {
    let (mut world, login) = World::first_party();
    for _ in 0..40 {
        world.live(&login);
    }
}

#[test]
fn testcons_logs_in_under_its_own_realm() {
    let mut world = World::new();
    let login = world.enroll_first_party("TESTCONS");
    assert_eq!(login.realm, "test_realm");
    world.live(&login);
}

#[test]
fn every_header_layout_in_use_is_understood() {
    fn realm_last(call: &Call) -> String {
        format!("OAuth {}, realm=\"{}\"", call.pairs().join(", "), call.realm)
    }
    fn realm_bare(call: &Call) -> String {
        format!("OAuth realm={}, {}", call.realm, call.pairs().join(", "))
    }
    fn realm_bare_last(call: &Call) -> String {
        format!("OAuth {}, realm={}", call.pairs().join(", "), call.realm)
    }
    fn no_spaces(call: &Call) -> String {
        format!("OAuth {},realm=\"{}\"", call.pairs().join(","), call.realm)
    }
    fn backwards(call: &Call) -> String {
        let pairs: Vec<_> = call.pairs().into_iter().rev().collect();
        format!("OAuth {},realm=\"{}\"", pairs.join(","), call.realm)
    }
    fn lower_case_digits(call: &Call) -> String {
        let pairs = call.pairs().join(", ").replace("%2B", "%2b").replace("%2F", "%2f").replace("%3D", "%3d");
        format!("OAuth realm=\"{}\", {pairs}", call.realm)
    }
    let (mut world, login) = World::first_party();
    for layout in [realm_last, realm_bare, realm_bare_last, no_spaces, backwards, lower_case_digits] {
        let call = world.live_session_call(&login).0.signed_by(&login);
        let call = Call { layout, ..call };
        let response = world.send(&call);
        assert_eq!(response.status(), 200, "{}: {}", layout(&call), said(&response));
    }
}

/// IBKR's own samples send `{}` as the body, and `oauth_callback` where it has no meaning.
#[test]
fn the_habits_of_ibkrs_own_samples_do_no_harm() {
    let (mut world, login) = World::first_party();
    let call = world.live_session_call(&login).0;
    let call = call.with_body("application/json; charset=utf-8", "{}").with("oauth_callback", "oob").signed_by(&login);
    let response = world.send(&call);
    assert_eq!(response.status(), 200, "{}", said(&response));

    let call = world.live_session_call(&login).0.signed_by(&login).with("oauth_callback", "oob");
    assert_eq!(world.send(&call).status(), 401, "a parameter that is not signed spoils the signature");
}

#[test]
fn a_form_body_is_part_of_the_signature() {
    let (mut world, login) = World::first_party();
    let mut call = world.live_session_call(&login).0;
    call = call.with_body("application/x-www-form-urlencoded", "device_id=CC%7C48+DF");
    let unsigned = world.send(&call.clone().signed_by(&login));
    assert_eq!(unsigned.status(), 401);
    call.folded.push(("device_id", "CC|48 DF"));
    let signed = world.send(&call.signed_by(&login));
    assert_eq!(signed.status(), 200, "{}", said(&signed));
}

#[test]
fn the_portal_voids_a_secret_by_issuing_another() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    let renewed = world.enroll_first_party(&login.consumer_key);
    assert_eq!(renewed.token, login.token, "a user and consumer keep their token");
    assert_ne!(renewed.secret, login.secret);
    assert_eq!(world.api("GET", "/portfolio/accounts", &live).status(), 401);
    assert!(world.try_live(&login).is_err(), "the old secret is of no use");
    world.live(&renewed);
}

#[test]
fn an_access_token_outlives_the_gateway_that_issued_it() {
    let (mut earlier, login) = World::first_party();
    let live = earlier.live(&login);
    let secret = login.secret.clone().try_into().unwrap();

    let mut later = World::new();
    let unknown = later.gateway.restore_access_token(FIRST_PARTY, USER, &login.token, secret);
    assert_eq!(unknown, Err(GatewayError::UnknownConsumer));
    later.enroll_first_party(FIRST_PARTY);
    let other = later.enroll_first_party(FIRST_PARTY);
    let unknown = later.gateway.restore_access_token(FIRST_PARTY, "nobody", &login.token, secret);
    assert_eq!(unknown, Err(GatewayError::UnknownUser));
    later.gateway.restore_access_token(FIRST_PARTY, USER, &login.token, secret).unwrap();
    assert_eq!(later.api("GET", "/portfolio/accounts", &live).status(), 401, "live sessions end with the gateway");
    later.live(&login);
    assert!(later.try_live(&other).is_err(), "a user and consumer have one token");
}

/// All three treatments of the query run in production, and two spellings of a space.
#[test]
fn every_way_to_sign_a_query_is_accepted() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    let query = "/portfolio/accounts?b=x%20y&a=1%2C2";
    let mut base_strings = Vec::new();
    for space in ["%20", "+"] {
        let mut call = world.api_call("GET", query, &live).with("oauth_signature_method", "HMAC-SHA256");
        call.folded = vec![("b", "x y"), ("a", "1,2")];
        base_strings.push((call.clone(), call.base_string().replace("%20", space)));
    }
    for (url, space) in [("", "%20"), ("?b=x%20y&a=1%2C2", "%20"), ("?b=x y&a=1,2", "%20"), ("?b=x y&a=1,2", "+")] {
        let call = world.api_call("GET", query, &live).with("oauth_signature_method", "HMAC-SHA256");
        let url = encode(&format!("{ORIGIN}/v1/api/portfolio/accounts{url}")).replace("%20", space);
        base_strings.push((call.clone(), format!("GET&{url}&{}", encode(&call.parameters()))));
    }
    for (call, base_string) in base_strings {
        let response = world.send(&call.signed_as(&live.token, &base_string));
        assert_eq!(response.status(), 200, "{base_string}: {}", said(&response));
    }
    let mut call = world.api_call("GET", query, &live);
    call.folded = vec![("a", "1,2")];
    let half = world.send(&call.signed_with(&live.token));
    assert_eq!(half.status(), 401, "half a query is none of them");
}
