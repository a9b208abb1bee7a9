//! All commands share one login.

use crate::support::{LOGIN, World};

#[test]
fn all_commands_of_a_day_log_in_once() {
    let world = World::new("once");
    assert_eq!(world.run(&["login", "--json"]).ends_with(0).json()["stored"], false);
    let again = world.run(&["login", "--json"]).ends_with(0).json();
    assert_eq!((&again["stored"], &again["accounts"][0]), (&true.into(), &"DU1234567".into()));
    for path in ["/portfolio/accounts", "/iserver/accounts", "/portfolio/accounts"] {
        world.run(&["request", "GET", path]).ends_with(0).says("DU1234567");
    }
    let keep_alive = world.start(&["keep-alive"]);
    keep_alive.wait_for("the brokerage session is ready");
    world.run(&["request", "GET", "/iserver/auth/status"]).ends_with(0).says(r#""authenticated":true"#);
    keep_alive.terminate().ends_with(0);
    world.run(&["login"]).ends_with(0).says("Still logged in");
    assert_eq!(world.count(LOGIN), 1);
}

#[test]
fn commands_at_the_same_time_log_in_once() {
    let world = World::new("together");
    let start = |number: usize| {
        let path = if number.is_multiple_of(2) { "/portfolio/accounts" } else { "/iserver/accounts" };
        world.command(&["request", "GET", path]).spawn().unwrap()
    };
    let children: Vec<_> = (0..12).map(start).collect();
    for child in children {
        world.finish(child).ends_with(0).says("DU1234567");
    }
    assert_eq!(world.count(LOGIN), 1);
}

#[test]
fn a_stored_session_that_the_server_forgot_is_replaced_once() {
    let world = World::new("forgotten");
    world.run(&["login"]).ends_with(0).says("Logged in until");
    world.server().gateway().schedule(std::time::SystemTime::now(), ibkr_oauth_gateway::Incident::LiveSessionsEnd);
    world.run(&["login"]).ends_with(0).says("Logged in until");
    world.run(&["request", "GET", "/portfolio/accounts"]).ends_with(0).says("DU1234567");
    assert_eq!(world.count(LOGIN), 2);
}
