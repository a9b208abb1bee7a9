//! A third party's user is asked once, and what comes of the consent is stored before anything else is done.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ibkr_oauth_gateway::{Consent, Incident};
use serde_json::Value;

use crate::support::{Running, World};

const ARGUMENTS: [&str; 4] = ["login", "--third-party", "--port", "0"];

/// A third party, whose file of credentials has no access token.
fn third_party(name: &str) -> World {
    let world = World::new(name);
    world.register_callback("http://127.0.0.1:20000/callback?from=ibkr");
    let mut fields = world.credentials();
    fields.retain(|field, _| !field.starts_with("access_token"));
    fields.insert("note".into(), "stays".into());
    world.write("credentials.json", &Value::Object(fields).to_string());
    world
}

/// What the user decides on the page that the program has named: the address that the browser is sent to.
fn decide(world: &World, login: &Running<'_>, decision: Consent) -> String {
    let said = login.wait_for("press Enter");
    let (_, behind) = said.split_once("?oauth_token=").unwrap();
    let token = behind.split_whitespace().next().unwrap();
    assert!(said.contains("https://interactivebrokers.com/authorize?oauth_token="), "{said}");
    world.server().gateway().consent(token, "demo", decision, &mut UnwrapErr(SysRng)).unwrap()
}

/// What a browser shows that is sent to this address at the port that the program has named.
fn browse(login: &Running<'_>, target: &str) -> String {
    let said = login.wait_for("come back to port ");
    let (_, behind) = said.split_once("come back to port ").unwrap();
    let port: u16 = behind.split('.').next().unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

#[test]
fn a_user_who_agrees_in_the_browser_is_asked_once() {
    let world = third_party("consent-browser");
    let login = world.start(&ARGUMENTS);
    let callback = decide(&world, &login, Consent::Grant);
    let target = callback.strip_prefix("http://127.0.0.1:20000").unwrap();
    assert!(browse(&login, "/favicon.ico").starts_with("HTTP/1.1 404 "));
    assert!(browse(&login, "/callback?oauth_token=of-an-old-page&oauth_verifier=x").starts_with("HTTP/1.1 400 "));
    assert!(browse(&login, target).starts_with("HTTP/1.1 200 "));
    login.end().ends_with(0).says("That was not it").says("is stored in").says("DU1234567");
    let fields = world.credentials();
    assert!(fields["access_token"].is_string() && fields["note"] == "stays");
    world.run(&["login", "--third-party"]).ends_with(0).says("Still logged in");
    assert_eq!(world.count("POST /v1/api/oauth/request_token "), 1);
}

#[test]
fn an_access_token_is_kept_though_the_login_after_it_fails() {
    let world = third_party("consent-kept");
    world.happens(Incident::OddResponse {
        endpoint: "/oauth/live_session_token".into(),
        status: 401,
        body: "{}".into(),
        lasts: std::time::Duration::MAX,
    });
    let mut login = world.start_with_keyboard(&ARGUMENTS);
    let callback = decide(&world, &login, Consent::Grant);
    login.types(&callback);
    login.end().ends_with(4).says("is stored in");
    assert!(world.credentials()["access_token_secret"].is_string());
}

#[test]
fn a_user_who_does_not_agree_leaves_everything_as_it_was() {
    let world = third_party("consent-denied");
    let before = world.read("credentials.json");
    let mut login = world.start_with_keyboard(&ARGUMENTS);
    let callback = decide(&world, &login, Consent::Deny);
    login.types("http://localhost:20000/?oauth_token=somebody-elses&oauth_verifier=x");
    login.wait_for("That was not it");
    login.types(&callback);
    login.end().ends_with(4).says("did not consent");
    assert_eq!(world.read("credentials.json"), before);
}

#[test]
fn nobody_is_asked_for_a_consent_that_could_not_be_stored() {
    let world = third_party("consent-nowhere");
    let fields = world.credentials();
    let mut command = world.command(&ARGUMENTS);
    command.env_remove("IBKR_CREDENTIALS").stdin(Stdio::null());
    for (field, value) in &fields {
        command.env(format!("IBKR_OAUTH_{}", field.to_uppercase()), value.as_str().unwrap());
    }
    world.finish(command.spawn().unwrap()).ends_with(3).says("no consent is asked for");
    assert_eq!(world.count("POST /v1/api/oauth/request_token "), 0);
}

#[test]
fn scripts_are_told_the_page_and_the_port_as_json() {
    let world = third_party("consent-json");
    let login = world.start(&["login", "--third-party", "--port", "0", "--json"]);
    let said = login.wait_for("consent-needed");
    let event: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert!(event["consent_url"].as_str().unwrap().contains("oauth_token=") && event["port"].is_u64(), "{said}");
    login.terminate();
}
