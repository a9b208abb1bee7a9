//! Whatever is done to a client, and whatever its answers are: the invariants stand at the top of `ordeal/client.rs`.
#![cfg(all(feature = "std", feature = "http1", feature = "serde"))]

mod ordeal;

use proptest::prelude::*;

/// Mostly what happens, sometimes what should not.
fn operation() -> impl Strategy<Value = String> {
    let said = prop_oneof![
        Just("{}"),
        Just("[]"),
        Just("<html>"),
        Just("not JSON"),
        Just(r#"{"error":"Unauthorized"}"#),
        Just(r#"{"error":"Bad Request: no bridge","statusCode":400}"#),
        Just(r#"{"authenticated":true,"established":true,"competing":false}"#),
        Just(r#"{"authenticated":false,"established":false,"competing":true}"#),
        Just(r#"{"iserver":{"authStatus":{"authenticated":false}}}"#),
    ];
    let status = prop::sample::select(vec![200_u16, 200, 302, 400, 401, 401, 403, 404, 410, 429, 500, 503]);
    let answer = (status, said).prop_map(|(status, body)| format!("{status} {body}"));
    prop_oneof![
        6 => Just("poll".to_string()),
        6 => Just("honest".to_string()),
        4 => (1_u32..4000).prop_map(|seconds| format!("run {seconds}")),
        4 => answer.clone().prop_map(|answer| format!("answer {answer}")),
        // What went out last is refused.
        2 => (prop::sample::select(vec!["get", "post"]), answer.clone())
            .prop_map(|(method, answer)| format!("{method} portfolio\npoll\nanswer_latest {answer}\nrun 60")),
        // A request meets a token that the server has forgotten.
        2 => prop::sample::select(vec!["get", "post"])
            .prop_map(|method| format!("run 60\n{method} portfolio\nreset\nrun 120")),
        // A process that is started again and again.
        1 => Just("resume\npoll\n".repeat(15)),
        2 => answer.prop_map(|answer| format!("sign {answer}")),
        4 => prop::sample::select(vec![1, 900, 1100, 16_000, 31_000, 61_000, 400_000, 90_000_000])
            .prop_map(|millis| format!("advance {millis}")),
        2 => prop::sample::select(vec![1, 900, 1100, 70_000, 7_200_000, 90_000_000])
            .prop_map(|millis| format!("back {millis}")),
        2 => prop::sample::select(vec!["get iserver/a", "get portfolio", "post iserver/orders", "post portfolio/o"])
            .prop_map(str::to_string),
        3 => prop::sample::select(vec![
            "lose", "drop", "overtake", "cancel", "doubt", "open", "log_out", "reauthorize", "resume", "take_over",
            "reset", "flood", "compete", "expiration 1714650000000", "verifier 0ffb", "callback https://a/?oauth_token=1",
            r#"message {"topic":"sts","args":{"authenticated":false}}"#,
        ]).prop_map(str::to_string),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_client_keeps_its_promises_and_recovers_whatever_happens(
        operations in prop::collection::vec(operation(), 0..60),
    ) {
        ordeal::client::run(&operations.join("\n"));
    }
}
