//! The probe finds out how the gateway is set, whatever that is.

use std::time::Duration;

use ibkr_oauth_gateway::{ExpirationField, Incident, LiveSessionTokens, PlusInQuery, QueryPolicy};
use serde_json::Value;

use crate::support::World;

const PROBE: [&str; 5] = ["probe", "--yes", "--pause", "0", "--json"];

/// The answer to a question, of those in a report.
fn answer<'a>(report: &'a Value, name: &str) -> &'a str {
    let answers = report["answers"].as_array().unwrap();
    let found = answers.iter().find(|answer| answer["name"] == name);
    found.unwrap_or_else(|| panic!("no answer to {name}: {report:#}"))["answer"].as_str().unwrap()
}

fn seen(report: &Value, name: &str) -> String {
    let answers = report["answers"].as_array().unwrap();
    answers.iter().find(|answer| answer["name"] == name).unwrap()["seen"].as_str().unwrap().to_owned()
}

#[test]
fn how_queries_are_signed_is_found() {
    for (policy, expected, plus) in [
        (QueryPolicy::Any, "either way is accepted", "cannot be told"),
        (QueryPolicy::Exclude, "no", "cannot be told"),
        (QueryPolicy::Fold, "yes", "yes"),
        (QueryPolicy::Reject, "neither way is accepted", "cannot be told"),
    ] {
        let world = World::new("probe-query");
        world.server().gateway().set_query_policy(policy);
        let report = world.run(&PROBE).ends_with(0).json();
        assert_eq!((answer(&report, "query"), answer(&report, "plus")), (expected, plus));
        assert_eq!(answer(&report, "signature"), "yes");
        assert_eq!(answer(&report, "expiration"), "the expiry");
        assert!(report["rejected"].as_u64().unwrap() <= 10, "{report}");
        assert_eq!(world.count("POST /v1/api/"), 2, "only logins are no GETs");
    }
}

#[test]
fn what_a_plus_and_an_expiration_mean_is_found() {
    let world = World::new("probe-plus");
    world.server().gateway().set_query_policy(QueryPolicy::Fold);
    world.server().gateway().set_plus_in_query(PlusInQuery::Plus);
    world.server().gateway().set_expiration_field(ExpirationField::TimeOfComputation);
    let report = world.run(&PROBE).ends_with(0).json();
    assert_eq!((answer(&report, "plus"), seen(&report, "plus").as_str()), ("no", "%20: accepted, +: rejected"));
    assert_eq!(answer(&report, "expiration"), "the time of computation");
}

#[test]
fn what_becomes_of_tokens_and_timestamps_is_found() {
    let cases = [
        (LiveSessionTokens::NewestOnly, "no", 45, "30 s: accepted, 60 s: rejected"),
        (LiveSessionTokens::Several, "yes", 300, "240 s: accepted, 360 s: rejected"),
    ];
    for (tokens, survives, window, limit) in cases {
        let world = World::new("probe-tokens");
        world.server().gateway().set_live_session_tokens(tokens);
        world.server().gateway().set_timestamp_window(Duration::from_secs(window));
        let report = world.run(&PROBE).ends_with(0).json();
        assert_eq!((answer(&report, "older-token"), seen(&report, "timestamp").as_str()), (survives, limit));
    }
}

#[test]
fn a_server_that_verifies_nothing_is_found() {
    let world = World::new("probe-anything");
    let endpoint = "/portfolio/accounts".to_owned();
    let odd = Incident::OddResponse { endpoint, status: 200, body: "[]".into(), lasts: Duration::MAX };
    world.happens(odd);
    let report = world.run(&PROBE).ends_with(0).json();
    assert_eq!((answer(&report, "signature"), answer(&report, "query")), ("no", "cannot be told"));
    assert_eq!(answer(&report, "older-token"), "cannot be told");
    assert_eq!(answer(&report, "timestamp"), "no limit was found");
}

#[test]
fn nothing_is_sent_after_a_429_or_without_consent() {
    let world = World::new("probe-consent");
    world.run_with_stdin(&["probe", "--pause", "0"], "n\n").ends_with(0);
    assert_eq!(world.count("/oauth/"), 0);
    let answers = "y\nn\nn\n";
    let said = world.run_with_stdin(&["probe", "--pause", "0", "--report", "probe.json"], answers).ends_with(0);
    said.says("Does the signature cover the query? either way is accepted");
    let report: Value = serde_json::from_str(&world.read("probe.json")).unwrap();
    assert_eq!(report["answers"].as_array().map(Vec::len), Some(4), "the rest was declined: {report:#}");
    assert_eq!(world.count("POST /v1/api/oauth/live_session_token "), 1);

    let endpoint = "/portfolio/accounts".to_owned();
    let odd = Incident::OddResponse { endpoint, status: 429, body: "{}".into(), lasts: Duration::MAX };
    world.happens(odd);
    let before = world.count("GET /v1/api/portfolio/accounts");
    world.run(&PROBE).ends_with(7).says("429");
    assert_eq!(world.count("GET /v1/api/portfolio/accounts"), before + 1);
}
