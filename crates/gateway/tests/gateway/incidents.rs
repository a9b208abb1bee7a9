//! What is scheduled happens, lasts as long as it should, and is over afterwards.

use std::time::Duration;

use ibkr_oauth_gateway::Incident;

use crate::client::{World, header, json, text};

const MINUTE: Duration = Duration::from_secs(60);
const OPEN: &str = r#"{"publish":true,"compete":false}"#;

#[test]
fn who_asks_too_often_waits() {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    world.gateway.schedule(world.now, Incident::TooManyRequests { lasts: MINUTE });
    let refusal = world.api("GET", "/portfolio/accounts", &live);
    assert_eq!((refusal.status().as_u16(), text(&refusal)), (429, ""));
    assert_eq!(header(&refusal, "Gateway-Reason"), Some("scheduled: too many requests"));
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
    let refusal = open(&mut world);
    assert_eq!((refusal.status().as_u16(), text(&refusal)), (500, r#"{"error":"failed to generate sso dh token"}"#));
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
