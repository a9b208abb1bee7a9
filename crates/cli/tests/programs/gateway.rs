//! The gateway, for clients in any language.

use serde_json::Value;

use crate::support::World;

#[test]
fn clients_log_in_to_the_gateway_also_after_a_restart() {
    let world = World::new("gateway");
    let arguments = ["gateway", "--dir", "gateway", "--user", "alice", "--user", "bob"];
    let login = |file: &str| world.run(&["login", "--credentials", &format!("gateway/{file}")]);
    let gateway = world.start(&arguments);
    let first = gateway.wait_for("listening on ");
    login("credentials.json").ends_with(0).says("Logged in").says("DU1234567");
    login("credentials-bob.json").ends_with(0).says("DU2000001");
    gateway.terminate().ends_with(0);
    let again = world.start(&arguments);
    assert_eq!(again.wait_for("listening on "), first, "the address stays");
    login("credentials.json").ends_with(0).says("Logged in").says("DU1234567");
    login("credentials-bob.json").ends_with(0).says("DU2000001");
    let _ = std::fs::remove_file(world.file("gateway/dhparam.pem"));
    again.terminate().ends_with(0);
    let third = world.start(&arguments);
    third.wait_for("listening on ");
    assert!(world.file("gateway/dhparam.pem").exists());
}

#[test]
fn scenarios_happen_to_clients() {
    let world = World::new("scenario");
    let gateway = world.start(&["gateway", "--dir", "gateway", "--json", "--scenario", "outage,for=600"]);
    let said: Value = serde_json::from_str(&gateway.wait_for("\n")).unwrap();
    let credentials = said["credentials"].as_str().unwrap();
    assert!(said["base_url"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    world.run(&["login", "--credentials", credentials]).ends_with(7).says("503");
    drop(gateway);
    let gateway = world.start(&["gateway", "--dir", "gateway", "--scenario", "no-sign-bytes"]);
    gateway.wait_for("listening on ");
    world.run(&["login", "--credentials", credentials]).ends_with(4).says("sign byte");
    drop(gateway);
    let gateway = world.start(&["gateway", "--dir", "gateway", "--scenario", "clock-skew", "--scenario", "sign-bytes"]);
    gateway.wait_for("listening on ");
    world.run(&["login", "--credentials", credentials]).ends_with(0).says("DU1234567");
    world.run(&["gateway", "--scenario", "rain"]).ends_with(2).says("there is no scenario rain");
}

#[test]
fn a_third_partys_credentials_have_no_access_token() {
    let world = World::new("third");
    let gateway = world.start(&["gateway", "--dir", "gateway", "--callback", "http://localhost:20000/", "--tls"]);
    gateway.wait_for("END CERTIFICATE");
    assert!(gateway.said().starts_with("listening on https://127.0.0.1:"));
    world.run(&["login", "--credentials", "gateway/credentials.json"]).ends_with(3).says("access_token is missing");
}

#[test]
fn the_demonstration_needs_no_account_and_leaves_nothing_behind() {
    let world = World::new("demo");
    let mut command = world.command(&["demo"]);
    let before = std::fs::read_dir(world.file("")).unwrap().count();
    command.env_remove("IBKR_CREDENTIALS").env_remove("IBKR_OAUTH_STORE");
    let said = world.finish(command.spawn().unwrap()).ends_with(0);
    said.says("Logged in until").says("DU1234567").says(r#""selectedAccount":"DU1234567""#);
    assert_eq!(std::fs::read_dir(world.file("")).unwrap().count(), before);
}
