//! The slice of the Web API behind the login.

use std::time::Duration;

use ibkr_oauth_gateway::http::Response;

use crate::client::{Live, World, json, said, text};

fn live() -> (World, Live) {
    let (mut world, login) = World::first_party();
    let live = world.live(&login);
    (world, live)
}

fn open_brokerage_session(world: &mut World, live: &Live, body: &'static str) -> Response<Vec<u8>> {
    let call = world.api_call("POST", "/iserver/auth/ssodh/init", live);
    let call = call.with_body("application/json", body).signed_with(&live.token);
    world.send(&call)
}

const COMPETE: &str = r#"{"publish":true,"compete":true}"#;
const IN_WORDS: &str = r#"{"publish":"true","compete":"true"}"#;
const GIVE_WAY: &str = r#"{"publish":true,"compete":false}"#;
const NO_BRIDGE: &str = r#"{"error":"Bad Request: no bridge","statusCode":400}"#;

#[test]
fn trading_takes_a_brokerage_session() {
    let (mut world, live) = live();
    let rejection = world.api("GET", "/iserver/accounts", &live);
    assert_eq!((rejection.status().as_u16(), text(&rejection)), (400, NO_BRIDGE));
    assert_eq!(json(&world.api("POST", "/iserver/auth/status", &live))["authenticated"], false);

    let opened = json(&open_brokerage_session(&mut world, &live, COMPETE));
    assert_eq!((&opened["authenticated"], &opened["established"]), (&true.into(), &true.into()));
    let accounts = json(&world.api("GET", "/iserver/accounts", &live));
    assert_eq!(accounts["selectedAccount"], "DU1234567");
    assert_eq!(accounts["isPaper"], true);
}

#[test]
fn a_brokerage_session_wants_to_be_published() {
    let (mut world, live) = live();
    let rejection = open_brokerage_session(&mut world, &live, r#"{"compete":true}"#);
    assert_eq!(
        (rejection.status().as_u16(), text(&rejection)),
        (500, r#"{"error":"failed to generate sso dh token"}"#)
    );
}

/// Python writes `True`.
#[test]
fn a_boolean_may_be_a_word_in_any_letter_case_and_no_other_word() {
    for words in [IN_WORDS, r#"{"publish":"True","compete":"True"}"#] {
        let (mut world, first) = live();
        open_brokerage_session(&mut world, &first, GIVE_WAY);
        let second = world.enroll_first_party("OTHERCONS");
        let second = world.live(&second);
        let give_way = open_brokerage_session(&mut world, &second, r#"{"publish":"TRUE","compete":"False"}"#);
        assert_eq!(json(&give_way)["competing"], true, "False is false");
        assert_eq!(json(&open_brokerage_session(&mut world, &second, words))["authenticated"], true, "{words}");
    }
    let (mut world, live) = live();
    for words in [
        r#"{"publish":"yes","compete":true}"#,
        r#"{"publish":true,"compete":"yes"}"#,
        r#"{"publish":true,"compete":1}"#,
        r#"{"publish":true,"compete":""}"#,
    ] {
        let rejection = open_brokerage_session(&mut world, &live, words);
        assert_eq!(rejection.status(), 400, "{words}: {}", said(&rejection));
    }
}

/// IBKR's guide sends a form, its demo a query.
#[test]
fn the_arguments_may_come_by_query_or_form() {
    for query in ["", "?compete=true&publish=true"] {
        let (mut world, live) = live();
        let mut call = world.api_call("POST", &format!("/iserver/auth/ssodh/init{query}"), &live);
        call.folded = vec![("compete", "true"), ("publish", "true")];
        if query.is_empty() {
            call = call.with_body("application/x-www-form-urlencoded", "compete=true&publish=true");
        }
        let response = world.send(&call.signed_with(&live.token));
        assert_eq!(json(&response)["authenticated"], true, "{query}: {}", said(&response));
    }
}

#[test]
fn a_brokerage_session_ends_when_nobody_tickles() {
    let (mut world, live) = live();
    open_brokerage_session(&mut world, &live, COMPETE);
    for _ in 0..10 {
        world.wait(Duration::from_secs(60));
        let tickled = json(&world.api("POST", "/tickle", &live));
        assert_eq!(tickled["iserver"]["authStatus"]["authenticated"], true);
        assert_eq!(tickled["session"].as_str().unwrap().len(), 32);
    }
    world.wait(Duration::from_secs(6 * 60));
    let rejection = world.api("GET", "/iserver/accounts", &live);
    assert_eq!(text(&rejection), NO_BRIDGE);
    assert_eq!(world.api("GET", "/portfolio/accounts", &live).status(), 200, "the login outlives it");
}

#[test]
fn two_programs_of_one_user_compete_for_the_session() {
    let (mut world, first) = live();
    let login = world.enroll_first_party("OTHERCONS");
    let second = world.live(&login);
    open_brokerage_session(&mut world, &first, GIVE_WAY);
    let answer = json(&open_brokerage_session(&mut world, &second, GIVE_WAY));
    assert_eq!((&answer["authenticated"], &answer["competing"]), (&false.into(), &true.into()));
    open_brokerage_session(&mut world, &second, COMPETE);
    assert_eq!(world.api("GET", "/iserver/accounts", &second).status(), 200);
    assert_eq!(world.api("GET", "/iserver/accounts", &first).status(), 400);
}

#[test]
fn prices_are_plausible_and_stay() {
    let (mut world, live) = live();
    open_brokerage_session(&mut world, &live, COMPETE);
    let mut ask = |conids: &'static str| {
        let endpoint = format!("/iserver/marketdata/snapshot?conids={conids}&fields=31,84,85,86,88");
        let mut call = world.api_call("GET", &endpoint, &live);
        call.folded = vec![("conids", conids), ("fields", "31,84,85,86,88")];
        world.send(&call.signed_with(&live.token))
    };
    let quotes = json(&ask("265598,8314"));
    assert_eq!(quotes, json(&ask("265598,8314")));
    assert_eq!((&quotes[1]["85"], &quotes[1]["88"]), (&"100".into(), &"100".into()));
    let price = |field: &str| quotes[1][field].as_str().unwrap().parse::<f64>().unwrap();
    assert_eq!(quotes[1]["conid"], 8314);
    assert!(price("84") < price("31") && price("31") < price("86"), "{quotes}");
    assert_eq!(ask("AAPL").status(), 400);
    assert_eq!(ask(vec!["1"; 100].join(",").leak()).status(), 200);
    assert_eq!(ask(vec!["1"; 101].join(",").leak()).status(), 400);
}

#[test]
fn both_methods_serve_where_ibkrs_samples_disagree() {
    for endpoint in ["/tickle", "/iserver/auth/status", "/logout"] {
        for method in ["GET", "POST"] {
            let (mut world, live) = live();
            let response = world.api(method, endpoint, &live);
            assert_eq!(response.status(), 200, "{method} {endpoint}: {}", said(&response));
        }
    }
}

#[test]
fn after_logout_everything_starts_over() {
    let (mut world, live) = live();
    open_brokerage_session(&mut world, &live, COMPETE);
    assert_eq!(text(&world.api("POST", "/logout", &live)), r#"{"status":true}"#);
    assert_eq!(world.api("GET", "/portfolio/accounts", &live).status(), 401);
    let again = world.live(&live.login);
    assert_eq!(text(&world.api("GET", "/iserver/accounts", &again)), NO_BRIDGE);
}

#[test]
fn other_paths_are_not_found() {
    let (mut world, live) = live();
    for (method, endpoint) in
        [("GET", "/trsrv/stocks"), ("GET", "/"), ("DELETE", "/tickle"), ("GET", "/oauth/request_token")]
    {
        assert_eq!(world.api(method, endpoint, &live).status(), 404, "{method} {endpoint}");
    }
}
