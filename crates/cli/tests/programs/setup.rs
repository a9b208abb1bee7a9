//! From nothing to the first login.

use crate::support::World;

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
