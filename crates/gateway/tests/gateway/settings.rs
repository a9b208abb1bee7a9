//! What is not known about IBKR is set as a test needs it.

use std::time::Duration;

use ibkr_oauth_gateway::http::Response;
use ibkr_oauth_gateway::{DeadTokenResponse, Incident, LiveSessionTokens, PlusInQuery, QueryPolicy};

use crate::client::{Live, ORIGIN, World, encode, header, json, text};

const MINUTE: Duration = Duration::from_secs(60);

fn accounts(world: &mut World, live: &Live) -> Response<Vec<u8>> {
    world.api("GET", "/portfolio/accounts", live)
}

/// What opens a WebSocket.
fn session_id(world: &mut World, live: &Live) -> String {
    json(&world.api("POST", "/tickle", live))["session"].as_str().unwrap().to_owned()
}

#[test]
fn a_new_token_invalidates_the_one_before() {
    let (mut world, login) = World::first_party();
    let old = world.live(&login);
    let cookie = session_id(&mut world, &old);
    let new = world.live(&login);
    let rejection = accounts(&mut world, &old);
    assert_eq!((rejection.status().as_u16(), text(&rejection)), (401, "Invalid signature"));
    let reason = "the live session token that made this signature is dead: fetch a new one";
    assert_eq!(header(&rejection, "Gateway-Reason"), Some(reason));
    assert_eq!(accounts(&mut world, &new).status(), 200);
    assert_ne!(session_id(&mut world, &new), cookie);

    let other = world.enroll_first_party("OTHERCONS");
    world.live(&other);
    assert_eq!(accounts(&mut world, &new).status(), 200, "each access token has its own");
}

#[test]
fn several_tokens_may_be_valid_at_once_but_only_so_many() {
    let (mut world, login) = World::first_party();
    world.gateway.set_live_session_tokens(LiveSessionTokens::Several);
    let tokens: Vec<_> = (0..17).map(|_| world.live(&login)).collect();
    assert_eq!(accounts(&mut world, &tokens[0]).status(), 401);
    for valid in &tokens[1..] {
        assert_eq!(accounts(&mut world, valid).status(), 200);
    }
}

#[test]
fn a_dead_token_may_lead_to_a_login_page() {
    for (setting, status, location) in [
        (DeadTokenResponse::Unauthorized, 401, None),
        (DeadTokenResponse::RedirectToLogin, 302, Some("/sso/Login")),
        (DeadTokenResponse::LoginPage, 200, None),
    ] {
        let (mut world, login) = World::first_party();
        world.gateway.set_dead_token_response(setting);
        let replaced = world.live(&login);
        let live = world.live(&login);
        let check = |world: &mut World, dead: &Live| {
            let response = accounts(world, dead);
            assert_eq!(response.status(), status);
            assert_eq!(header(&response, "Location"), location);
            assert_eq!(text(&response).starts_with("<HTML>"), status != 401);
        };
        check(&mut world, &replaced);
        assert_eq!(accounts(&mut world, &live).status(), 200);
        let forged = world.api_call("GET", "/portfolio/accounts", &live).signed_with(b"another token");
        assert_eq!(world.send(&forged).status(), 401, "a token that never was cannot be dead");

        world.gateway.schedule(world.now, Incident::LiveSessionsEnd);
        check(&mut world, &live);
        let expiring = world.live(&login);
        world.now = expiring.expires;
        check(&mut world, &expiring);
        let logged_out = world.live(&login);
        world.api("POST", "/logout", &logged_out);
        check(&mut world, &logged_out);
    }
}

#[test]
fn a_query_may_have_to_be_signed_one_way_or_not_at_all() {
    const QUERY: &str = "/portfolio/accounts?a=1";
    for (policy, folded, excluded, in_url) in [
        (QueryPolicy::Any, 200, 200, 200),
        (QueryPolicy::Fold, 200, 401, 401),
        (QueryPolicy::Exclude, 401, 200, 401),
        (QueryPolicy::Reject, 401, 401, 401),
    ] {
        let (mut world, login) = World::first_party();
        let live = world.live(&login);
        world.gateway.set_query_policy(policy);
        let mut call = world.api_call("GET", QUERY, &live);
        call.folded = vec![("a", "1")];
        assert_eq!(world.send(&call.signed_with(&live.token)).status(), folded, "{policy:?}");
        assert_eq!(world.api("GET", QUERY, &live).status(), excluded, "{policy:?}");
        let call = world.api_call("GET", QUERY, &live).with("oauth_signature_method", "HMAC-SHA256");
        let url = encode(&format!("{ORIGIN}/v1/api{QUERY}"));
        let base_string = format!("GET&{url}&{}", encode(&call.parameters()));
        assert_eq!(world.send(&call.signed_as(&live.token, &base_string)).status(), in_url, "{policy:?}");
        let reason = world.api("GET", QUERY, &live);
        let is_rejected_as_such = header(&reason, "Gateway-Reason") == Some("set: requests with a query are rejected");
        assert_eq!(is_rejected_as_such, policy == QueryPolicy::Reject);
        assert_eq!(accounts(&mut world, &live).status(), 200, "{policy:?}: without a query");
    }
}

#[test]
fn a_plus_in_a_query_may_be_a_space_or_a_plus_to_a_signature() {
    for (plus, space, literal) in [(PlusInQuery::Space, 200, 401), (PlusInQuery::Plus, 401, 200)] {
        let (mut world, login) = World::first_party();
        let live = world.live(&login);
        world.gateway.set_query_policy(QueryPolicy::Fold);
        world.gateway.set_plus_in_query(plus);
        for (value, status) in [("p q", space), ("p+q", literal)] {
            let mut call = world.api_call("GET", "/portfolio/accounts?a=p+q", &live);
            call.folded = vec![("a", value)];
            assert_eq!(world.send(&call.signed_with(&live.token)).status(), status, "{plus:?} {value}");
        }
    }
}

#[test]
fn accounts_may_come_a_while_after_the_brokerage_session() {
    let (mut world, login) = World::first_party();
    world.gateway.set_accounts_delay(MINUTE);
    let live = world.live(&login);
    assert_eq!(world.open_brokerage_session(&live)["authenticated"], true);
    world.wait(MINUTE - Duration::from_secs(1));
    assert_eq!(json(&world.api("GET", "/iserver/accounts", &live))["accounts"], serde_json::json!([]));
    assert_eq!(world.api("GET", "/iserver/marketdata/snapshot?conids=1", &live).status(), 400);
    world.wait(Duration::from_secs(1));
    assert_eq!(json(&world.api("GET", "/iserver/accounts", &live))["accounts"][0], "DU1234567");
    assert_eq!(world.api("GET", "/iserver/marketdata/snapshot?conids=1", &live).status(), 200);
}
