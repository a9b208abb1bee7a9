//! The third party's way to an access token: request token, consent, access token.

use ibkr_oauth_gateway::http::Response;
use ibkr_oauth_gateway::{Consent, GatewayError};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::client::{FIRST_PARTY, USER, World, json, keys, said};

const CALLBACK: &str = "https://localhost:20000/";
const THIRD_PARTY: &str = "TESTCONS";
const REALM: &str = "test_realm";

fn third_party() -> World {
    let mut world = World::new();
    world.enroll_third_party(THIRD_PARTY, CALLBACK);
    world
}

fn request_token(world: &mut World) -> String {
    let call = world.call("POST", "/oauth/request_token", THIRD_PARTY, REALM).with("oauth_callback", "oob");
    let response = world.send(&call.signed_rsa(&keys().signature, ""));
    assert_eq!(response.status(), 200, "{}", said(&response));
    json(&response)["oauth_token"].as_str().unwrap().to_owned()
}

fn consent(world: &mut World, token: &str, decision: Consent) -> Result<String, GatewayError> {
    world.gateway.consent(token, USER, decision, &mut StdRng::seed_from_u64(1))
}

fn access_token(world: &mut World, token: &str, verifier: &str) -> Response<Vec<u8>> {
    let call = world.call("POST", "/oauth/access_token", THIRD_PARTY, REALM);
    let call = call.with("oauth_token", token).with("oauth_verifier", verifier);
    world.send(&call.signed_rsa(&keys().signature, ""))
}

fn granted(world: &mut World) -> (String, String) {
    let token = request_token(world);
    let url = consent(world, &token, Consent::Grant).unwrap();
    let verifier = url.strip_prefix(&format!("{CALLBACK}?oauth_token={token}&oauth_verifier=")).unwrap();
    (token, verifier.to_owned())
}

#[test]
fn a_user_lets_a_third_party_in() {
    let mut world = third_party();
    let (token, verifier) = granted(&mut world);
    assert!([&token, &verifier].iter().all(|text| text.len() == 20), "{token} {verifier}");
    let answer = json(&access_token(&mut world, &token, &verifier));
    assert_eq!(answer["is_paper"], true);
    let [token, secret] = ["oauth_token", "oauth_token_secret"].map(|name| answer[name].as_str().unwrap());
    let login = world.login(THIRD_PARTY, REALM, token, secret);
    let live = world.live(&login);
    assert_eq!(world.api("GET", "/portfolio/accounts", &live).status(), 200);
}

#[test]
fn a_verifier_is_good_for_one_access_token() {
    let mut world = third_party();
    let (token, verifier) = granted(&mut world);
    assert_eq!(access_token(&mut world, &token, "0ffb93ab9aa0d2177cc2").status(), 401);
    assert_eq!(access_token(&mut world, &token, &verifier).status(), 200, "a wrong guess spoils nothing");
    assert_eq!(access_token(&mut world, &token, &verifier).status(), 401);
    assert_eq!(consent(&mut world, &token, Consent::Grant), Err(GatewayError::UnknownRequestToken));
}

#[test]
fn without_consent_there_is_no_access() {
    let mut world = third_party();
    let token = request_token(&mut world);
    assert_eq!(world.gateway.awaiting_consent(&token), Some(THIRD_PARTY));
    assert_eq!(access_token(&mut world, &token, "").status(), 401);
    assert_eq!(consent(&mut world, &token, Consent::Deny).unwrap(), format!("{CALLBACK}?oauth_token={token}"));
    assert_eq!(world.gateway.awaiting_consent(&token), None);
    assert_eq!(access_token(&mut world, &token, "").status(), 401);
}

#[test]
fn consent_is_for_the_consumer_that_asked() {
    let mut world = third_party();
    world.enroll_third_party("OTHERCONS", CALLBACK);
    let (token, verifier) = granted(&mut world);
    let call = world.call("POST", "/oauth/access_token", "OTHERCONS", "limited_poa");
    let call = call.with("oauth_token", &token).with("oauth_verifier", &verifier);
    assert_eq!(world.send(&call.signed_rsa(&keys().signature, "")).status(), 401);
    assert_eq!(access_token(&mut world, &token, &verifier).status(), 200);
}

#[test]
fn consent_again_keeps_the_token_and_changes_the_secret() {
    let mut world = third_party();
    let answers = [(); 2].map(|()| {
        let (token, verifier) = granted(&mut world);
        json(&access_token(&mut world, &token, &verifier))
    });
    assert_eq!(answers[0]["oauth_token"], answers[1]["oauth_token"]);
    assert_ne!(answers[0]["oauth_token_secret"], answers[1]["oauth_token_secret"]);
}

#[test]
fn a_first_party_has_no_use_for_request_tokens() {
    let (mut world, login) = World::first_party();
    let call = world.call("POST", "/oauth/request_token", FIRST_PARTY, &login.realm).with("oauth_callback", "oob");
    let response = world.send(&call.signed_rsa(&keys().signature, ""));
    assert_eq!(response.status(), 401, "{}", said(&response));
}

#[test]
fn a_callback_keeps_its_own_query() {
    let mut world = World::new();
    world.enroll_third_party(THIRD_PARTY, "http://h/done?site=1");
    let token = request_token(&mut world);
    let url = consent(&mut world, &token, Consent::Grant).unwrap();
    assert!(url.starts_with(&format!("http://h/done?site=1&oauth_token={token}&oauth_verifier=")), "{url}");
}

#[test]
fn only_so_many_flows_wait_at_once() {
    let mut world = third_party();
    let first = request_token(&mut world);
    for _ in 0..1024 {
        request_token(&mut world);
    }
    assert_eq!(world.gateway.awaiting_consent(&first), None);
}
