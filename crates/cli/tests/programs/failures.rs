//! What goes wrong has one exit code, and names cause and remedy.

use std::net::TcpListener;
use std::time::Duration;

use ibkr_oauth_gateway::Incident;
use serde_json::json;

use crate::support::{LOGIN, USER, World};

#[test]
fn each_kind_of_failure_has_its_exit_code_for_people_and_machines() {
    let mut world = World::new("codes");
    world.run(&["login", "--nonsense"]).ends_with(2);
    world.run(&["request", "FETCH", "/x"]).ends_with(2);
    world.run(&["request", "GET", "no-path"]).ends_with(2).says("the request path");
    let nowhere = ["login", "--credentials", "nowhere.toml"];
    world.run(&nowhere).ends_with(3).says("cannot read nowhere.toml");
    let other = world.damaged("other.json", &[("access_token", json!("0".repeat(20)))]);
    world.run(&["login", "--credentials", &other]).ends_with(4);
    world.happens(Incident::Outage { lasts: Duration::MAX });
    world.run(&["login"]).ends_with(7).says("503");
    world.happens(Incident::Outage { lasts: Duration::ZERO });
    world.run(&["login"]).ends_with(0);
    world.run(&["request", "GET", "/nonsense"]).ends_with(1).says("404");
    world.write("blocked", "a file where a folder belongs");
    world.run(&["login", "--store", "blocked"]).ends_with(8).says("blocked");
    world.stop_server();
    world.run(&["login", "--store", "another"]).ends_with(5).says("does not answer");

    for (arguments, code, kind) in [
        (&nowhere[..], 3, "credentials"),
        (&["login", "--store", "blocked"], 8, "file"),
        (&["login", "--store", "another"], 5, "network"),
        (&["keep-alive", "--store", "blocked"], 8, "file"),
    ] {
        let failure = world.run(&[arguments, &["--json"]].concat()).ends_with(code);
        let error = &failure.json()["error"];
        assert_eq!((&error["kind"], &error["exit_code"]), (&json!(kind), &json!(code)));
        assert!(failure.stderr.is_empty(), "{failure:?}");
    }
}

#[test]
fn an_order_whose_answer_is_lost_is_told_from_one_that_never_went_out() {
    let mut world = World::new("lost");
    world.run(&["login"]).ends_with(0);
    let order = ["request", "POST", "/portfolio/order", "--json", "{}"];
    // The gateway is there, and hangs up as soon as it has heard the request.
    world.hang_up(true);
    world.run(&order).ends_with(6).says("whether it took effect is not known");
    world.run(&["request", "GET", "/portfolio/accounts"]).ends_with(5);
    assert_eq!(world.count("POST /v1/api/portfolio/order "), 1, "an order is sent once");
    world.hang_up(false);
    world.stop_server();
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let elsewhere = format!("http://{unused}/v1/api");
    world.run(&["request", "POST", "/portfolio/order", "--json", "{}", "--base-url", &elsewhere]).ends_with(5);
}

#[test]
fn a_brokerage_session_in_use_elsewhere_is_told_at_once() {
    let world = World::new("competing");
    let user = USER.to_owned();
    world.happens(Incident::CompetingLogin { user });
    let request = ["request", "GET", "/iserver/accounts"];
    world.run(&request).ends_with(7).says("in use elsewhere").says("--take-over");
    world.run(&[&request[..], &["--take-over"]].concat()).ends_with(0).says("DU1234567");
    assert_eq!(world.count(LOGIN), 1);
}

#[test]
fn a_damaged_store_is_named_and_left_as_it_is() {
    let world = World::new("damaged-store");
    world.run(&["login"]).ends_with(0);
    let file = world.session_file();
    for damage in [r#"{"version":1,"access_token":{"token":""#, "[]", "\u{1F980}"] {
        std::fs::write(&file, damage).unwrap();
        for arguments in [&["login"][..], &["request", "GET", "/portfolio/accounts"], &["keep-alive"]] {
            world.run(arguments).ends_with(8).says(file.file_name().unwrap().to_str().unwrap());
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), damage);
    }
    assert_eq!(world.count(LOGIN), 1);
}

#[test]
fn logs_are_json_if_wanted_and_never_say_a_secret() {
    let world = World::new("logs");
    let debug = ["--log-level", "debug"];
    let said = world.run(&[&["login", "--log-format", "json"], &debug[..]].concat()).ends_with(0);
    let lines: Vec<_> = said.stderr.lines().collect();
    assert!(!lines.is_empty());
    for line in lines {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(entry["target"].as_str().unwrap().starts_with("ibkr_oauth"), "{line}");
    }
    world.run(&[&["request", "GET", "/iserver/accounts"], &debug[..]].concat()).ends_with(0).says("Brokerage(Ready)");
    assert!(world.run(&["login"]).ends_with(0).stderr.is_empty());
}
