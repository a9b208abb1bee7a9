//! From nothing to the first login.

use std::time::Duration;

use ibkr_oauth_gateway::Incident;

use crate::support::{LOGIN, World};

const SETUP: [&str; 5] = ["setup", "--dir", "new", "--group", "rfc3526-14"];

#[test]
fn setup_makes_keys_and_goes_on_where_it_stopped() {
    let world = World::new("setup");
    // Nobody has answered yet: the keys are there, and stay.
    world.run(&SETUP).ends_with(2).says("To upload:").says("no answer to: Consumer key");
    let key = world.read("new/private_signature.pem");

    let (token, secret) = world.issue_access_token("new");
    let url = world.credentials()["base_url"].as_str().unwrap().to_owned();
    let with_url = [&SETUP[..], &["--base-url", &url]].concat();
    let answers = format!("newconskw\n{token}\n {secret} \n");
    let said = world.run_with_stdin(&with_url, &answers).ends_with(0);
    let said = said.says("Nothing is wrong with these credentials").says("ogged in until").says("DU1234567");
    assert!(!said.stdout.contains("To upload:"));
    assert_eq!(world.read("new/private_signature.pem"), key);

    world.run(&SETUP).ends_with(0).says("Still logged in until").says("DU1234567");
    world.run(&["login", "--credentials", "new/credentials.toml"]).ends_with(0).says("Still logged in");
}

#[test]
fn setup_stops_at_credentials_that_no_login_can_work_with() {
    let world = World::new("setup-wrong");
    let url = world.credentials()["base_url"].as_str().unwrap().to_owned();
    let with_url = [&SETUP[..], &["--base-url", &url]].concat();
    let said = world.run_with_stdin(&with_url, "NEWCONSKW\n0123456789abcdef0123\nbm8gc2VjcmV0IG9mIG91cnM=\n");
    said.ends_with(3).says("No login can work").says("start setup again");
    assert_eq!(world.count("/oauth/"), 0, "nothing is sent");
}

#[test]
fn setup_waits_for_activation_if_asked_and_for_nothing_else() {
    let world = World::new("setup-wait");
    world.run(&SETUP).ends_with(2);
    let (token, secret) = world.issue_access_token("new");
    let url = world.credentials()["base_url"].as_str().unwrap().to_owned();
    let rejects = |body: &str, lasts| {
        let endpoint = "/oauth/live_session_token".to_owned();
        world.happens(Incident::OddResponse { endpoint, status: 401, body: body.to_owned(), lasts });
    };
    let not_active = r#"{"error":"id: 1, error: invalid consumer","statusCode":401}"#;
    rejects(not_active, Duration::MAX);
    let answers = format!("newconskw\n{token}\n{secret}\n");
    world.run_with_stdin(&[&SETUP[..], &["--base-url", &url]].concat(), &answers).ends_with(4);
    assert_eq!(world.count(LOGIN), 1, "nobody asked it to wait");

    let waits = [&SETUP[..], &["--wait", "--every", "1"]].concat();
    let setup = world.start(&waits);
    setup.wait_for_times("not active yet", 2);
    rejects(not_active, Duration::ZERO);
    setup.end().ends_with(0).says("ogged in until").says("DU1234567");
    assert!(world.count(LOGIN) >= 4, "once without waiting, twice in vain, once with success");

    std::fs::remove_dir_all(world.file("store")).unwrap();
    rejects("Unauthorized", Duration::MAX);
    world.run(&waits).ends_with(4);
}
