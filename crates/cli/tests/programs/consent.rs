//! A third party's user is asked for consent: once, never for one that comes to nothing, and told what becomes of the answer.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ibkr_oauth_gateway::{Consent, Incident};
use serde_json::{Map, Value};

use crate::support::{Ran, Running, USER, World, contents};

pub const THIRD_PARTY_LOGIN: [&str; 4] = ["login", "--third-party", "--port", "0"];
const CALLBACK: &str = "http://127.0.0.1:20000/callback?from=ibkr";
pub const TOKEN_REQUEST: &str = "POST /v1/api/oauth/request_token ";
const TOKEN_GRANT: &str = "POST /v1/api/oauth/access_token ";

/// A third party, whose file of credentials has no access token.
pub fn third_party(name: &str) -> World {
    let world = World::new(name);
    world.register_callback(CALLBACK);
    world.write("credentials.json", &format!("{:#}", Value::Object(without_access_token(&world))));
    world
}

/// The other fields of the file of credentials.
pub fn without_access_token(world: &World) -> Map<String, Value> {
    let mut fields = world.credentials();
    fields.retain(|field, _| !field.starts_with("access_token"));
    fields
}

/// The page that the user is to open, if that has been said.
pub fn page_in(said: &str) -> Option<String> {
    let line = said.lines().find(|line| line.contains("/authorize?oauth_token="))?;
    said.contains("press Enter").then(|| line.trim().to_owned())
}

pub fn consent_page(login: &Running<'_>) -> String {
    page_in(&login.wait_for("press Enter")).unwrap()
}

/// What the user decides on that page: the address that the browser is sent to.
pub fn decide(world: &World, page: &str, decision: Consent) -> String {
    let (_, token) = page.split_once("oauth_token=").unwrap();
    world.server().gateway().consent(token, USER, decision, &mut UnwrapErr(SysRng)).unwrap()
}

/// The user agrees, and pastes the address; then the login goes on to its end.
pub fn agree(world: &World, mut login: Running<'_>) -> Ran {
    let callback = decide(world, &consent_page(&login), Consent::Grant);
    login.types(&callback);
    let ran = login.end();
    let (_, verifier) = callback.split_once("oauth_verifier=").unwrap();
    assert!(!format!("{ran:?}").contains(verifier));
    ran
}

/// What a browser is answered that asks like this.
fn browse(address: &str, request: &str) -> String {
    let mut browser = TcpStream::connect(address).unwrap();
    browser.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(browser, "{request}\r\nHost: localhost\r\nUser-Agent: {}\r\n\r\n", "x".repeat(9000)).unwrap();
    let mut answer = String::new();
    browser.read_to_string(&mut answer).unwrap();
    answer
}

/// Where the login waits for the browser.
fn listening(login: &Running<'_>) -> String {
    let said = login.wait_for("press Enter");
    let (_, behind) = said.split_once("to come back to port ").unwrap();
    format!("127.0.0.1:{}", behind.split_once('.').unwrap().0)
}

#[test]
fn the_browser_is_told_what_became_of_its_callback() {
    let world = third_party("consent-browser");
    for (decision, code, page, outcome) in [
        (Consent::Deny, 4, "You have not agreed, so nothing is done. You can close this page.", "did not consent"),
        (Consent::Grant, 0, "Thank you. You can close this page.", "DU1234567"),
    ] {
        let login = world.start(&THIRD_PARTY_LOGIN);
        let callback = decide(&world, &consent_page(&login), decision);
        let target = callback.strip_prefix("http://127.0.0.1:20000").unwrap();
        let address = listening(&login);
        // Browsers connect before they know what to ask, and keep nobody waiting: one after the other, they would for too long.
        let _slow = [(); 7].map(|()| TcpStream::connect(&address).unwrap());
        for (request, status) in [
            ("GET / HTTP/1.1", "404"),
            ("GET /favicon.ico HTTP/1.1", "404"),
            ("GET /?not_oauth_token=1 HTTP/1.1", "404"),
            ("GET /callback?oauth_token=of-an-old-page&oauth_verifier=x HTTP/1.1", "400"),
            ("GET /?oauth_token=0123456789abcdef0123&oauth_verifier=0123456789abcdef0123 HTTP/1.1", "400"),
            (&format!("POST {target} HTTP/1.1"), "400"),
        ] {
            let answer = browse(&address, request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        }
        write!(TcpStream::connect(&address).unwrap(), "nonsense\r\n\r\n").unwrap();
        login.wait_for_times("That was not it", 2);
        assert_eq!(world.count(TOKEN_GRANT), 0, "nothing is redeemed");
        let answer = browse(&address, &format!("GET /wherever{target} HTTP/1.1"));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(page), "{answer}");
        login.end().ends_with(code).says(outcome);
        assert!(TcpStream::connect(&address).is_err(), "nobody listens any more");
    }
}

#[test]
fn a_user_who_does_not_agree_leaves_everything_as_it_was() {
    let world = third_party("consent-denied");
    let before = contents(world.file(""));
    let mut login = world.start_with_keyboard(&THIRD_PARTY_LOGIN);
    let page = consent_page(&login);
    assert!(page.starts_with("https://interactivebrokers.com/authorize?oauth_token="), "{page}");
    login.types("http://localhost:20000/?oauth_token=somebody-elses&oauth_verifier=x");
    login.types("http://localhost:20000/?oauth_token=somebody-elses");
    login.wait_for_times("That was not it", 2);
    login.types(&decide(&world, &page, Consent::Deny));
    login.end().ends_with(4).says("the user did not consent");
    assert!(contents(world.file("")) == before);
    assert_eq!(world.count(TOKEN_GRANT), 0);
}

#[test]
fn where_the_port_is_taken_the_address_is_pasted() {
    let world = third_party("consent-taken");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let arguments = ["login", "--third-party", "--port", &port];
    world.run(&arguments).ends_with(2).says("no callback came");
    let mut login = world.start_with_keyboard(&arguments);
    assert!(login.wait_for("press Enter").contains("cannot be used"));
    login.types("\n ");
    agree(&world, login).ends_with(0).says("DU1234567");
}

#[test]
fn scripts_are_told_all_of_it_as_json() {
    let world = third_party("consent-json");
    let mut login = world.start_with_keyboard(&[&THIRD_PARTY_LOGIN[..], &["--json"]].concat());
    let asked: Value = serde_json::from_str(login.wait_for("\n").lines().next().unwrap()).unwrap();
    assert!(asked["port"].as_u64().unwrap() > 0, "{asked}");
    login.types("http://localhost:20000/?oauth_token=somebody-elses");
    login.types(&decide(&world, asked["consent_url"].as_str().unwrap(), Consent::Grant));
    let ran = login.end().ends_with(0);
    assert!(ran.stderr.is_empty(), "{ran:?}");
    let lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str()).collect();
    assert_eq!(events, [Some("consent-needed"), Some("callback-not-used"), Some("access-token-stored"), None]);
    assert_eq!(lines[2]["file"], world.path("credentials.json"));
    assert_eq!((&lines[3]["stored"], &lines[3]["accounts"][0]), (&false.into(), &"DU1234567".into()));
    assert!(world.credentials()["access_token"].is_string());
}

#[test]
fn nobody_is_asked_for_a_consent_that_could_not_be_stored() {
    let world = third_party("consent-nowhere");
    let fields = world.credentials();
    let mut command = world.command(&THIRD_PARTY_LOGIN);
    command.env_remove("IBKR_CREDENTIALS").stdin(Stdio::null());
    for (field, value) in &fields {
        command.env(format!("IBKR_OAUTH_{}", field.to_uppercase()), value.as_str().unwrap());
    }
    let refused = world.run_on(command).end().ends_with(3);
    refused.says("come from the environment").says("no consent is asked for").says("--credentials");
    assert_eq!(world.count(TOKEN_REQUEST), 0);
}

#[test]
fn what_is_missing_or_wrong_is_said_before_anybody_is_asked() {
    let world = third_party("consent-wrong");
    world.run(&["login"]).ends_with(3).says("access_token is missing").says("--third-party");
    world.run(&["login", "--port", "1"]).ends_with(2).says("--third-party");
    world.run(&[&THIRD_PARTY_LOGIN[..], &["--authorize-url", "nowhere"]].concat()).ends_with(2).says("authorize");
    world.happens(Incident::Outage { lasts: Duration::MAX });
    world.run(&THIRD_PARTY_LOGIN).ends_with(7).says("503");
    assert_eq!(world.count(TOKEN_GRANT), 0);

    let first_party = World::new("consent-first-party");
    first_party.write("credentials.json", &Value::Object(without_access_token(&first_party)).to_string());
    let ran = first_party.run(&THIRD_PARTY_LOGIN).ends_with(4).says("not logged in");
    assert!(!ran.stdout.contains("oauth_token"), "{ran:?}");
}
