//! Whatever is done to a client, and whatever its answers are: what holds then stands at the top of `ordeal/client.rs`.
#![cfg(all(feature = "std", feature = "http1", feature = "serde"))]

mod ordeal;

use ordeal::client::World;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn settings() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(String::new()),
        1 => Just("third_party".to_string()),
        1 => Just("take_over".to_string()),
        1 => Just("log_in_only".to_string()),
    ]
}

fn operation() -> impl Strategy<Value = String> {
    let word = |word: &'static str| Just(word.to_string());
    let millis = prop_oneof![3 => 0..2000_u32, 3 => 0..70_000_u32, 2 => 0..1_000_000_u32, 1 => any::<u32>()];
    let which = 0..6_usize;
    prop_oneof![
        6 => word("settle"),
        2 => word("poll"),
        6 => which.clone().prop_map(|which| format!("honest {which}")),
        8 => (which.clone(), answer()).prop_map(|(which, answer)| format!("answer {which} {answer}")),
        2 => header(),
        1 => which.clone().prop_map(|which| format!("replay {which}")),
        1 => which.clone().prop_map(|which| format!("unheard {which}")),
        2 => which.clone().prop_map(|which| format!("drop {which}")),
        1 => which.clone().prop_map(|which| format!("fail {which}")),
        4 => millis.clone().prop_map(|millis| format!("advance {millis}")),
        2 => millis.prop_map(|millis| format!("back {millis}")),
        1 => prop_oneof![0..2_000_000_000_u32, any::<u32>()].prop_map(|seconds| format!("clock {seconds}")),
        4 => prop_oneof![4 => 1..300_u16, 1 => any::<u16>()].prop_map(|seconds| format!("run {seconds}")),
        8 => own_request(),
        1 => which.prop_map(|which| format!("cancel {which}")),
        1 => word("sign /portfolio/accounts"),
        1 => answer().prop_map(|answer| format!("signed {answer}")),
        // One of the first requests after a pause is refused, and what follows takes its course.
        2 => (own_request(), answer()).prop_map(|(request, answer)| format!("{request}\nsettle\nanswer 0 {answer}\nrun 60")),
        // One is refused again and again, by a server whose clock jumps.
        2 => (own_request(), proptest::collection::vec(date(), 2..4)).prop_map(|(request, dates)| {
            let rejected = |date| format!("settle\n{date}\nanswer 0 401 {{}}\n");
            format!("run 60\n{request}\n{}settle", dates.into_iter().map(rejected).collect::<String>())
        }),
        // A request meets a token that the server has forgotten.
        2 => own_request().prop_map(|request| format!("run 60\n{request}\nreset\nrun 120")),
        // A process that is started again and again.
        1 => Just("resume\nsettle\n".repeat(15)),
        1 => own_request().prop_map(|request| format!("{request}\n").repeat(12)),
        2 => word("doubt"),
        1 => word("open"),
        1 => word("log_out"),
        1 => word("reauthorize"),
        1 => word("resume"),
        1 => prop_oneof![word("keep"), word("adopt")],
        1 => word("consent"),
        1 => word("reset"),
        1 => prop_oneof![word("compete"), word("give_up")],
        1 => any::<u64>().prop_map(|millis| format!("expires {millis}")),
        1 => word(r#"socket {"topic":"sts","args":{"authenticated":false}}"#),
    ]
}

fn answer() -> impl Strategy<Value = String> {
    let status = prop_oneof![4 => Just(200_u16), 3 => Just(401), 2 => Just(400), 1 => Just(429), 2 => Just(503), 2 => any::<u16>()];
    let body = prop_oneof![
        Just(String::new()),
        Just("<html>".to_string()),
        Just("{}".to_string()),
        Just(r#"{"accounts":[]}"#.to_string()),
        Just(r#"{"accounts":["DU1"]}"#.to_string()),
        Just(r#"{"authenticated":true,"established":true,"competing":false}"#.to_string()),
        Just(r#"{"authenticated":false,"competing":true}"#.to_string()),
        Just(r#"{"iserver":{"authStatus":{"authenticated":false}}}"#.to_string()),
        Just(r#"{"error":"Bad Request: no bridge","statusCode":400}"#.to_string()),
        Just(r#"{"error":"failed to generate sso dh token"}"#.to_string()),
        "[ -~]{0,40}",
    ];
    (status, body).prop_map(|(status, body)| format!("{status} {body}"))
}

fn header() -> impl Strategy<Value = String> {
    prop_oneof![date(), any::<u32>().prop_map(|seconds| format!("header Retry-After {seconds}"))]
}

fn date() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("header Date Thu, 02 May 2024 11:40:03 GMT".to_string()),
        Just("header Date Thu, 02 May 2024 12:40:03 GMT".to_string()),
        Just("header Date Thu, 02 May 2024 18:40:03 GMT".to_string()),
        Just("header Date Thu, 01 Jan 1970 00:00:00 GMT".to_string()),
        Just("header Date Fri, 31 Dec 2100 00:00:00 GMT".to_string()),
    ]
}

fn own_request() -> impl Strategy<Value = String> {
    let method = prop_oneof![3 => Just("get"), 2 => Just("post"), 1 => Just("put"), 1 => Just("delete")];
    let target = prop_oneof![
        3 => Just("/portfolio/accounts"),
        2 => Just("/portfolio/DU1/summary?a=b%20c"),
        2 => Just("/iserver/account/DU1/orders"),
        1 => Just("/iserver/marketdata/snapshot?conids=8314"),
        1 => Just("/tickle"),
        1 => Just("no path"),
    ];
    let body = prop_oneof![Just(""), Just(" {\"a\":1}")];
    (method, target, body).prop_map(|(method, target, body)| format!("{method} {target}{body}"))
}

fn script() -> impl Strategy<Value = String> {
    let operations = proptest::collection::vec(operation(), 1..80);
    (settings(), operations).prop_map(|(settings, operations)| format!("{settings}\n{}", operations.join("\n")))
}

/// The same scripts each time, so that a change is not blocked by another one's luck; fuzzing looks for others.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn whatever_happens_every_promise_holds_and_the_way_back_is_open(script in script()) {
        World::after(&script).ends_well();
    }
}

proptest! {
    #![proptest_config(config(6))]

    #[test]
    fn the_same_calls_give_the_same_bytes(script in script()) {
        prop_assert_eq!(World::after(&script).sent, World::after(&script).sent);
    }
}
