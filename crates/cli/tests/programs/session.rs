//! All commands share one login.

use ibkr_oauth_gateway::Incident;

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
fn keep_alive_tells_machines_what_happens_and_outlives_it() {
    let world = World::new("keep-alive");
    let keep_alive = world.start(&["keep-alive", "--json"]);
    keep_alive.wait_for(r#""event":"ready""#);
    world.happens(Incident::LiveSessionsEnd);
    world.run(&["request", "GET", "/portfolio/accounts"]).ends_with(0).says("DU1234567");
    keep_alive.terminate().ends_with(0).stdout.lines().for_each(|line| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["time"].is_string() && event["event"].is_string() && event["message"].is_string(), "{line}");
    });
    // Whoever logs out does it for all.
    let last = world.start(&["keep-alive", "--without-brokerage-session", "--log-out"]);
    world.run(&["login"]).ends_with(0);
    let logins = world.count(LOGIN);
    last.terminate().ends_with(0);
    world.run(&["login", "--json"]).ends_with(0);
    assert_eq!(world.count("POST /v1/api/logout "), 1);
    assert_eq!(world.count(LOGIN), logins + 1);
}

#[test]
fn times_are_local_with_their_zone_for_people_and_utc_for_machines() {
    let world = World::new("zone");
    let in_zone = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        command.env("TZ", "XYZ-3");
        world.run_on(command).end().ends_with(0)
    };
    let utc = in_zone(&["login", "--json"]).json()["until"].as_str().unwrap().to_owned();
    let said = in_zone(&["login"]).says(" XYZ.").stdout;
    let hour = |text: &str| text.split_once(':').unwrap().0.rsplit(['T', ' ']).next().unwrap().parse::<u32>().unwrap();
    assert!(utc.ends_with('Z'));
    assert_eq!(hour(&said), (hour(&utc) + 3) % 24, "{said} {utc}");
}

#[test]
fn commands_at_the_same_time_log_in_once() {
    let world = World::new("together");
    let start = |number: usize| {
        let path = if number.is_multiple_of(2) { "/portfolio/accounts" } else { "/iserver/accounts" };
        world.start(&["request", "GET", path])
    };
    let commands: Vec<_> = (0..12).map(start).collect();
    for command in commands {
        command.end().ends_with(0).says("DU1234567");
    }
    assert_eq!(world.count(LOGIN), 1);
}

#[test]
fn a_stored_session_that_the_server_forgot_is_replaced_once() {
    let world = World::new("forgotten");
    world.run(&["login"]).ends_with(0).says("Logged in until");
    world.happens(Incident::LiveSessionsEnd);
    world.run(&["login"]).ends_with(0).says("Logged in until");
    world.run(&["request", "GET", "/portfolio/accounts"]).ends_with(0).says("DU1234567");
    assert_eq!(world.count(LOGIN), 2);
}
