//! What is scheduled happens, lasts as long as it should, and is over afterwards.

use std::time::Duration;

use ibkr_oauth_gateway::{Delivery, Incident};
use serde_json::json;

use crate::client::{World, header, json, text, token_and_proof};

const MINUTE: Duration = Duration::from_secs(60);
const OPEN: &str = r#"{"publish":true,"compete":false}"#;

#[test]
fn who_asks_too_often_waits() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    world.gateway.schedule(world.now, Incident::TooManyRequests { lasts: MINUTE });
    let rejection = world.api("GET", "/portfolio/accounts", &live);
    assert_eq!((rejection.status().as_u16(), text(&rejection)), (429, ""));
    assert_eq!(header(&rejection, "Gateway-Reason"), Some("scheduled: too many requests"));
    world.wait(MINUTE);
    assert_eq!(world.api("GET", "/portfolio/accounts", &live).status(), 200);
}

#[test]
fn there_may_be_no_brokerage_session_for_a_while() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    world.gateway.schedule(world.now, Incident::NoBrokerageSessions { lasts: MINUTE });
    let open = |world: &mut World| {
        let call = world.api_call("POST", "/iserver/auth/ssodh/init", &live);
        world.send(&call.with_body("application/json", OPEN).signed_with(&live.token))
    };
    let rejection = open(&mut world);
    assert_eq!(
        (rejection.status().as_u16(), text(&rejection)),
        (500, r#"{"error":"failed to generate sso dh token"}"#)
    );
    world.wait(MINUTE);
    assert_eq!(json(&open(&mut world))["authenticated"], true);
}

#[test]
fn a_competitor_who_leaves_makes_room() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    let user = || "demo".to_string();
    world.gateway.schedule(world.now, Incident::CompetingLogin { user: user() });
    world.gateway.schedule(world.now + MINUTE, Incident::CompetitorLeaves { user: user() });
    let standing = |world: &mut World| json(&world.api("POST", "/iserver/auth/status", &live))["competing"].clone();
    assert_eq!(standing(&mut world), true);
    world.wait(MINUTE);
    assert_eq!(standing(&mut world), false);
}

#[test]
fn accounts_may_be_empty_until_told_otherwise() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    world.open_brokerage_session(&live);
    world.gateway.schedule(world.now, Incident::EmptyAccounts { lasts: Duration::MAX });
    let rejection = world.api("GET", "/iserver/marketdata/snapshot?conids=1", &live);
    assert_eq!(text(&rejection), r#"{"error":"Bad Request: no bridge","statusCode":400}"#);
    let answer = json(&world.api("GET", "/iserver/accounts", &live));
    assert_eq!((&answer["accounts"], &answer["selectedAccount"]), (&json!([]), &json!(null)));
    assert_eq!(json(&world.api("POST", "/iserver/auth/status", &live))["authenticated"], true);
    world.gateway.schedule(world.now, Incident::EmptyAccounts { lasts: Duration::ZERO });
    assert_eq!(json(&world.api("GET", "/iserver/accounts", &live))["selectedAccount"], "DU1234567");
}

#[test]
fn tickles_may_say_nothing_about_the_brokerage_session() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    world.gateway.schedule(world.now, Incident::TicklesWithoutStatus { lasts: MINUTE });
    let tickle = json(&world.api("POST", "/tickle", &live));
    assert_eq!(tickle["iserver"], json!({}));
    assert!(tickle["session"].is_string());
    world.wait(MINUTE);
    assert_eq!(json(&world.api("POST", "/tickle", &live))["iserver"]["authStatus"]["authenticated"], false);
}

#[test]
fn a_session_may_be_authenticated_and_competing_at_once() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    world.gateway.schedule(world.now, Incident::AuthenticatedAndCompeting { lasts: MINUTE });
    let absent = json(&world.api("POST", "/iserver/auth/status", &live));
    assert_eq!((&absent["authenticated"], &absent["competing"]), (&json!(false), &json!(false)));
    let both = world.open_brokerage_session(&live);
    assert_eq!((&both["authenticated"], &both["competing"]), (&json!(true), &json!(true)));
    assert_eq!(world.api("GET", "/iserver/accounts", &live).status(), 200);
    world.wait(MINUTE);
    let ready = json(&world.api("POST", "/iserver/auth/status", &live));
    assert_eq!((&ready["authenticated"], &ready["competing"]), (&json!(true), &json!(false)));
}

#[test]
fn every_nth_date_may_be_damaged() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    let right = header(&world.api("GET", "/portfolio/accounts", &live), "Date").unwrap().to_owned();
    let dates = |world: &mut World| -> Vec<bool> {
        let responses = (0..6).map(|count| world.api("GET", ["/portfolio/accounts", "/nowhere"][count % 2], &live));
        responses.map(|response| header(&response, "Date") == Some(&right)).collect()
    };
    world.gateway.schedule(world.now, Incident::DamagedDates { every: 3, seconds: -290 });
    assert_eq!(dates(&mut world), [true, true, false, true, true, false]);
    world.gateway.schedule(world.now, Incident::DamagedDates { every: 1, seconds: 86_400 });
    assert_eq!(dates(&mut world), [false; 6]);
    let tomorrow = header(&world.api("GET", "/portfolio/accounts", &live), "Date").unwrap().to_owned();
    assert_eq!((right.as_str(), tomorrow.as_str()), ("Thu, 02 May 2024 17:08:36 GMT", "Fri, 03 May 2024 17:08:36 GMT"));
    world.gateway.schedule(world.now, Incident::DamagedDates { every: 0, seconds: 0 });
    assert_eq!(dates(&mut world), [true; 6]);
}

#[test]
fn a_login_may_bring_nothing() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    world.gateway.schedule(world.now, Incident::EmptyDiffieHellmanResponses { lasts: MINUTE });
    let call = world.live_session_call(&login).0.signed_by(&login);
    let response = world.send(&call);
    assert_eq!((response.status().as_u16(), &json(&response)["diffie_hellman_response"]), (200, &json!("")));
    assert_eq!(world.api("GET", "/portfolio/accounts", &live).status(), 200, "the token before it is still the newest");
    world.wait(MINUTE);
    world.live(&login);
}

#[test]
fn a_sign_byte_may_be_needed_each_time_or_forgotten() {
    let (mut world, login) = World::first_party();
    let signed = |secret: &[u8]| [&[0], secret].concat();
    for incident in [Incident::SignBytes { lasts: MINUTE }, Incident::NoSignBytes { lasts: MINUTE }] {
        world.gateway.schedule(world.now, incident.clone());
        for _ in 0..8 {
            let (answer, secret) = world.exchange(&login).unwrap();
            assert!(secret[0] >= 0x80, "{incident:?}");
            let is_forgotten = matches!(incident, Incident::NoSignBytes { .. });
            let key = if is_forgotten { secret } else { signed(&secret) };
            assert_eq!(answer["live_session_token_signature"], token_and_proof(&key, &login).1, "{incident:?}");
        }
        world.wait(MINUTE);
    }
    world.live(&login);
}

#[test]
fn one_endpoint_may_answer_oddly() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    let (endpoint, lasts) = ("/tickle".to_owned(), MINUTE);
    world.gateway.schedule(world.now, Incident::ErrorObject { endpoint: endpoint.clone(), lasts });
    let response = world.api("POST", "/tickle", &live);
    assert_eq!(response.status(), 200);
    assert!(json(&response)["error"].is_object());
    for (given, sent, body, media_type) in [
        (409, 409, "conflict", "text/plain; charset=utf-8"),
        (404, 404, "<p>proxy</p>", "text/html"),
        (200, 200, r#"{"statusCode":500}"#, "application/json; charset=utf-8"),
        (99, 500, "", "text/plain; charset=utf-8"),
    ] {
        let (endpoint, body) = (endpoint.clone(), body.to_owned());
        let incident = Incident::OddResponse { endpoint, status: given, body: body.clone(), lasts };
        world.gateway.schedule(world.now, incident);
        let response = world.api("POST", "/tickle", &live);
        assert_eq!((response.status().as_u16(), text(&response)), (sent, body.as_str()));
        assert_eq!(header(&response, "Content-Type"), Some(media_type));
        assert_eq!(world.api("GET", "/portfolio/accounts", &live).status(), 200, "that is another endpoint");
    }
    world.wait(MINUTE);
    assert!(json(&world.api("POST", "/tickle", &live))["session"].is_string());
}

#[test]
fn a_response_says_how_it_travels_and_the_request_has_had_its_effect() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    let incident = |delivery| Incident::BadDelivery { delivery, lasts: MINUTE };
    world.gateway.schedule(world.now, incident(Delivery::Cut));
    world.gateway.schedule(world.now, incident(Delivery::Lost));
    let call = world.api_call("POST", "/iserver/auth/ssodh/init", &live).with_body("application/json", OPEN);
    let response = world.send(&call.signed_with(&live.token));
    assert_eq!((response.status().as_u16(), response.extensions().get()), (200, Some(&Delivery::Lost)));
    let rejection = world.api("GET", "/nowhere", &live);
    assert_eq!((rejection.status().as_u16(), rejection.extensions().get()), (404, Some(&Delivery::Lost)));
    world.wait(MINUTE);
    let status = world.api("POST", "/iserver/auth/status", &live);
    assert_eq!((&json(&status)["authenticated"], status.extensions().get::<Delivery>()), (&json!(true), None));
}
