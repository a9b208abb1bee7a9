//! Prepared requests: signed like any other, byte for byte, with whatever live session comes.

mod support;

use ibkr_oauth::{
    ApiRequest, Consumer, Error, LiveSession, Method, Misuse, ParameterEncoding, PreparedRequest, QueryPolicy,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::LazyLock;
use std::time::Duration;
use support::{NOW, WorkedLogin, rng};

const POLICIES: [QueryPolicy; 2] = [QueryPolicy::Fold, QueryPolicy::Exclude];
const ENCODINGS: [ParameterEncoding; 2] = [ParameterEncoding::Single, ParameterEncoding::Rfc5849];

/// Two tokens, by every policy and in every encoding.
static SESSIONS: LazyLock<Vec<LiveSession>> = LazyLock::new(|| {
    let mut logins = WorkedLogin::all();
    logins.truncate(2);
    let settings = POLICIES.into_iter().flat_map(|policy| ENCODINGS.map(|encoding| (policy, encoding)));
    let session = |(login, (policy, encoding)): (&WorkedLogin, _)| {
        let mut login = login.clone();
        let builder = Consumer::builder(login.consumer.consumer_key(), login.keys.clone(), login.dh.clone());
        login.consumer = builder.query_policy(policy).parameter_encoding(encoding).build().unwrap();
        login.live_session(NOW).live(NOW).unwrap().clone()
    };
    settings.flat_map(|setting| logins.iter().map(move |login| (login, setting))).map(session).collect()
});

fn prepared(live: &LiveSession, prepared: &mut PreparedRequest, seed: u64) -> String {
    let mut out = String::from("kept ");
    live.prepared_authorization_into(&mut out, prepared, &mut rng(seed), NOW).unwrap();
    out
}

fn ordinary(live: &LiveSession, request: &ApiRequest<'_>, seed: u64) -> String {
    let mut out = String::from("kept ");
    live.authorization_into(&mut out, request, &mut rng(seed), NOW).unwrap();
    out
}

/// Names around `oauth_`, names that begin alike, and what looks like the protocol's own parameters.
fn text() -> impl Strategy<Value = String> {
    let awkward = [
        "",
        "o",
        "oauth",
        "oauth-",
        "oauth`",
        "oauth~",
        "oauti",
        "OAUTH_",
        "&oauth_nonce=",
        "%26oauth_nonce%3D",
        "a=b&c",
        "a long name 1",
        "a long name 1\0",
        "a long name 10",
        "%",
        " ",
        "\0",
        "~",
        "\u{3001}",
        "\u{1f600}",
    ];
    prop_oneof![
        proptest::sample::select(awkward.to_vec()).prop_map(str::to_string),
        "[a-z]{1,12}",
        "[ -~]{0,20}",
        ".{0,8}",
        ("oa", "[a-z_~!]{0,4}").prop_map(|(start, end)| format!("{start}{end}")),
        "[a-z |,:]{200,400}",
    ]
    .prop_filter("reserved", |text| !text.starts_with("oauth_"))
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    prop_oneof![vec((text(), text()), 0..6), vec((text(), text()), 0..40)]
}

fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_prepared_signature_is_the_ordinary_one_for_every_input(
        method in proptest::sample::select(vec![Method::Get, Method::Post, Method::Put, Method::Delete]),
        path in "/[a-z0-9/~;@%4A-F]{0,80}".prop_filter("no path", |path| PreparedRequest::new(&ApiRequest::get(path)).is_ok()),
        query in pairs(),
        form in pairs(),
        has_form in any::<bool>(),
        sessions in vec(0_usize..8, 1..6),
    ) {
        let (query, form) = (borrowed(&query), borrowed(&form));
        let mut request = ApiRequest::new(method, &path).query(&query);
        if has_form {
            request = request.form(&form);
        }
        let mut again = PreparedRequest::new(&request).unwrap();
        for (seed, session) in (0..).zip(sessions) {
            let live = &SESSIONS[session];
            prop_assert_eq!(prepared(live, &mut again, seed), ordinary(live, &request, seed));
            prop_assert_eq!(prepared(live, &mut again, seed + 100), ordinary(live, &request, seed + 100));
        }
    }
}

#[test]
fn every_length_of_what_comes_before_the_nonce_is_signed_right() {
    let value = "v".repeat(200);
    for length in 0..value.len() {
        let query = [("a", &value[..length]), ("z", &value[length..])];
        let request = ApiRequest::get("/x").query(&query);
        let mut again = PreparedRequest::new(&request).unwrap();
        for live in &*SESSIONS {
            assert_eq!(prepared(live, &mut again, 1), ordinary(live, &request, 1));
        }
    }
}

#[test]
fn what_is_sent_beside_the_header_is_known_beforehand() {
    let request = ApiRequest::post("/iserver/x").raw_query("a+b=c%2Bd&e").json(b"{}");
    let mut prepared = PreparedRequest::new(&request).unwrap();
    assert_eq!((prepared.method(), prepared.path_and_query()), (Method::Post, "/iserver/x?a%20b=c%2Bd&e="));
    let live = &SESSIONS[0];
    let receipt = live.prepared_authorization_into(&mut String::new(), &mut prepared, &mut rng(1), NOW).unwrap();
    assert_eq!(receipt, live.sign(&request, &mut rng(1), NOW).unwrap().receipt());
    assert!(!format!("{prepared:?}").contains("oauth_token"));
}

#[test]
fn what_cannot_be_signed_is_rejected_when_it_is_prepared() {
    let misuse = |request: &ApiRequest<'_>| PreparedRequest::new(request).unwrap_err();
    assert_eq!(misuse(&ApiRequest::get("no path")), Misuse::InvalidPath);
    assert_eq!(misuse(&ApiRequest::get("/x").raw_query("a=%")), Misuse::InvalidQuery);
    assert_eq!(misuse(&ApiRequest::post("/x").form(&[("oauth_token", "x")])), Misuse::ReservedParameter);
}

#[test]
fn a_prepared_request_outlives_its_token_and_does_not_sign_with_it() {
    let live = &SESSIONS[0];
    let mut again = PreparedRequest::new(&ApiRequest::get("/x")).unwrap();
    prepared(live, &mut again, 1);
    let (mut out, late) = (String::from("kept"), NOW.saturating_add(Duration::from_secs(25 * 3600)));
    let error = live.prepared_authorization_into(&mut out, &mut again, &mut rng(1), late).unwrap_err();
    assert!(matches!(error, Error::Expired { .. }), "{error}");
    assert_eq!(out, "kept");
}
