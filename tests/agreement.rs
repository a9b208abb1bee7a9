//! What is signed, against encoders that share nothing with ours: one written out here, so plain that it is obviously
//! right, and two in Python: oauthlib (RFC 5849) and ibind (IBKR's single encoding).
//!
//! ```text
//! cargo test --test agreement -- --include-ignored --nocapture
//! ```

#[path = "support/python.rs"]
mod python;
mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use ibkr_oauth::{
    ApiRequest, BaseString, Consumer, ConsumerBuilder, Error, LiveSession, Method, Misuse, ParameterEncoding,
    QueryPolicy, Request,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sha2::Sha256;
use support::{NOW, WorkedLogin, header, rng};

type Pair = (String, String);

// ---- The obviously right encoder ----

fn encode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        match after {
            [high, low, after @ ..] if *first == b'%' => {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&[*high, *low]).unwrap(), 16).unwrap());
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn joined(pairs: &[Pair]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn split(text: &str) -> Vec<Pair> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap()).map(|(name, value)| (name.into(), value.into())).collect()
}

/// Sorted by encoded name, then encoded value.
fn sorted(pairs: &[Pair]) -> Vec<Pair> {
    let mut sorted = pairs.to_vec();
    sorted.sort_by_key(|(name, value)| (encode(name), encode(value)));
    sorted
}

fn base_string(method: &str, url: &str, pairs: &[Pair], encoding: ParameterEncoding) -> String {
    let parameters = match encoding {
        ParameterEncoding::Single => joined(&sorted(pairs)),
        ParameterEncoding::Rfc5849 => {
            joined(&sorted(pairs).iter().map(|(name, value)| (encode(name), encode(value))).collect::<Vec<_>>())
        }
    };
    [method, &encode(url), &encode(&parameters)].join("&")
}

// ---- Parameters of every kind ----

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        // What the API is asked for.
        4 => "[a-z]{1,10}|[0-9,]{0,12}|[A-Za-z_]{1,8}[0-9]{0,3}",
        // What encoders stumble over.
        4 => "[ +%/|,:&=~!*'()\"a-bA-B0-1._-]{0,8}",
        // Percent-encoded already.
        1 => "(%[0-9a-fA-F]{2}|[a-z]){0,4}",
        // Any characters at all, of one to four bytes, control characters among them.
        2 => proptest::collection::vec(any::<char>(), 0..6).prop_map(String::from_iter),
        // Long ones that differ late or not at all.
        2 => "abcdefghijklm[no +]{0,6}",
    ]
}

fn name() -> impl Strategy<Value = String> {
    text().prop_filter("reserved", |name| !name.starts_with("oauth_"))
}

fn pairs(most: usize) -> impl Strategy<Value = Vec<Pair>> {
    proptest::collection::vec((name(), text()), 0..=most).prop_map(|mut pairs| {
        // Names, and whole parameters, that come more than once.
        if let [first, second, .., last] = pairs.as_mut_slice() {
            second.0.clone_from(&first.0);
            last.clone_from(first);
        }
        pairs
    })
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![Just(Method::Get), Just(Method::Post), Just(Method::Put), Just(Method::Delete)]
}

fn encoding() -> impl Strategy<Value = ParameterEncoding> {
    prop_oneof![Just(ParameterEncoding::Single), Just(ParameterEncoding::Rfc5849)]
}

fn path() -> impl Strategy<Value = String> {
    kept_by_clients("(/([a-zA-Z0-9._~-]|%[0-9A-F]{2}|[!$&'()*+,;=:@]){0,8}){1,4}")
}

/// Without the segments that HTTP clients take out.
fn kept_by_clients(path: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    path.prop_filter("a segment `.` or `..`", |path| {
        path.split('/').all(|segment| !matches!(&*segment.replace("%2E", "."), "." | ".."))
    })
}

fn borrowed(pairs: &[Pair]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

// ---- A live session of every kind ----

fn worked() -> &'static WorkedLogin {
    static WORKED: OnceLock<WorkedLogin> = OnceLock::new();
    WORKED.get_or_init(WorkedLogin::any)
}

fn live(configure: impl FnOnce(ConsumerBuilder) -> ConsumerBuilder) -> LiveSession {
    let mut login = worked().clone();
    let builder = Consumer::builder(login.consumer.consumer_key(), login.keys.clone(), login.dh.clone());
    login.consumer = configure(builder).build().unwrap();
    login.live_session(NOW).live(NOW).unwrap().clone()
}

fn signs(key: &str, base_string: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(&BASE64.decode(key).unwrap()).unwrap().chain_update(base_string);
    BASE64.encode(mac.finalize().into_bytes())
}

/// The parameters in the `Authorization` header, without `realm`; the signature by itself.
fn oauth_parameters(request: &Request) -> (Vec<Pair>, String) {
    let value = header(request, "Authorization").unwrap().strip_prefix("OAuth ").unwrap();
    let pairs = value.split(", ").map(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap();
        (name.to_string(), decode(value.strip_prefix('"').unwrap().strip_suffix('"').unwrap()))
    });
    let mut parameters: BTreeMap<String, String> = pairs.collect();
    assert!(parameters.remove("realm").is_some());
    let signature = parameters.remove("oauth_signature").unwrap();
    (parameters.into_iter().collect(), signature)
}

/// How a query came to be written.
#[derive(Debug, Clone, Copy)]
enum Query {
    Pairs,
    /// Raw, as a browser's form has it.
    Plus,
    /// Raw, with as few escapes as can be, and those in lower case.
    Careless,
}

impl Query {
    fn write(self, pairs: &[Pair]) -> String {
        let careless = |text: &str| {
            let character = |character| match character {
                '%' | '&' | '+' | '=' => format!("%{:02x}", u32::from(character)),
                other => other.to_string(),
            };
            text.chars().map(character).collect::<String>()
        };
        let write = |text: &str| match self {
            Self::Pairs => unreachable!(),
            Self::Plus => encode(text).replace("%20", "+"),
            Self::Careless => careless(text),
        };
        joined(&pairs.iter().map(|(name, value)| (write(name), write(value))).collect::<Vec<_>>())
    }
}

/// Signs the request and checks everything about it against the obviously right encoder.
fn check(
    live: &LiveSession,
    (method, path): (Method, &str),
    (query, written): (&[Pair], Query),
    form: &[Pair],
    (policy, encoding): (QueryPolicy, ParameterEncoding),
) -> Request {
    let (query_pairs, form_pairs, raw) = (borrowed(query), borrowed(form), query);
    let raw = if matches!(written, Query::Pairs) { String::new() } else { written.write(raw) };
    let request = ApiRequest::new(method, path);
    let request = if matches!(written, Query::Pairs) { request.query(&query_pairs) } else { request.raw_query(&raw) };
    let request = if form.is_empty() { request } else { request.form(&form_pairs) };
    let signed = live.sign(&request, &mut rng(1), NOW).unwrap();

    let (mut expected, signature) = oauth_parameters(&signed);
    expected.extend_from_slice(form);
    if policy == QueryPolicy::Fold {
        expected.extend_from_slice(query);
    }
    let (url, sent) = signed.url().split_once('?').unwrap_or((signed.url(), ""));
    let expected = base_string(method.as_str(), url, &expected, encoding);
    assert_eq!(signed.base_string().to_string(), expected);
    assert_eq!(signature, signs(&worked().token, &expected));
    let (authorization, _) = live.authorization(&request, &mut rng(1), NOW).unwrap();
    assert_eq!(header(&signed, "Authorization"), Some(&*authorization));

    let read = |text: &str| split(text).iter().map(|(name, value)| (decode(name), decode(value))).collect::<Vec<_>>();
    assert_eq!(read(sent), query, "what is sent is what was asked for");
    assert_eq!(sent, joined(&query.iter().map(|(name, value)| (encode(name), encode(value))).collect::<Vec<_>>()));
    assert_eq!(read(std::str::from_utf8(signed.body()).unwrap()), form);
    signed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_base_string_is_the_obviously_right_one(
        method in method(), path in path(), pairs in pairs(40), encoding in encoding(),
    ) {
        let url = format!("https://api.ibkr.com/v1/api{path}");
        let ours = BaseString::new(method, &url, &borrowed(&pairs), encoding).to_string();
        prop_assert_eq!(ours, base_string(method.as_str(), &url, &pairs, encoding));
    }

    #[test]
    fn the_order_in_which_parameters_are_given_does_not_matter(
        (given, shuffled) in pairs(40).prop_flat_map(|pairs| (Just(pairs.clone()), Just(pairs).prop_shuffle())),
        encoding in encoding(),
    ) {
        let write = |pairs: &[Pair]| BaseString::new(Method::Get, "https://h/x", &borrowed(pairs), encoding).to_string();
        prop_assert_eq!(write(&given), write(&shuffled));
    }

    #[test]
    fn a_base_string_is_three_encoded_parts_that_give_back_what_went_in(
        path in path(), pairs in pairs(40), encoding in encoding(),
    ) {
        let url = format!("https://api.ibkr.com/v1/api{path}");
        let text = BaseString::new(Method::Put, &url, &borrowed(&pairs), encoding).to_string();
        let [method, encoded_url, parameters] = text.split('&').collect::<Vec<_>>().try_into().unwrap();
        prop_assert_eq!(method, "PUT");
        for part in [encoded_url, parameters] {
            // Nothing but unreserved characters and escapes with upper-case digits: encoding it anew changes nothing.
            prop_assert_eq!(part, encode(&decode(part)));
        }
        prop_assert_eq!(decode(encoded_url), url);
        match encoding {
            // Nobody can tell a `&` or `=` of a name or value from a separator: the text is all there is to get back.
            ParameterEncoding::Single => prop_assert_eq!(decode(parameters), joined(&sorted(&pairs))),
            ParameterEncoding::Rfc5849 => {
                let found = split(&decode(parameters));
                let found: Vec<_> = found.iter().map(|(name, value)| (decode(name), decode(value))).collect();
                prop_assert_eq!(found, sorted(&pairs));
            }
        }
    }

    #[test]
    fn every_request_is_signed_as_a_plain_encoder_has_it_and_sent_as_signed(
        method in method(), path in path(), query in pairs(24), form in pairs(8),
        written in prop_oneof![Just(Query::Pairs), Just(Query::Plus), Just(Query::Careless)],
        policy in prop_oneof![Just(QueryPolicy::Fold), Just(QueryPolicy::Exclude)], encoding in encoding(),
    ) {
        let live = live(|builder| builder.query_policy(policy).parameter_encoding(encoding));
        check(&live, (method, &path), (&query, written), &form, (policy, encoding));
    }

    #[test]
    fn names_that_are_the_protocols_own_are_rejected_wherever_they_stand(
        pairs in pairs(20), at in any::<prop::sample::Index>(), rest in text(), place in 0_usize..3,
    ) {
        static LIVE: OnceLock<LiveSession> = OnceLock::new();
        let live = LIVE.get_or_init(|| live(|builder| builder));
        let mut pairs = pairs;
        pairs.insert(at.index(pairs.len() + 1), (format!("oauth_{rest}"), String::new()));
        let (borrowed, raw) = (borrowed(&pairs), Query::Careless.write(&pairs));
        let request = ApiRequest::post("/x");
        let request = [request.query(&borrowed), request.form(&borrowed), request.raw_query(&raw)][place];
        let rejected = live.sign(&request, &mut rng(1), NOW).unwrap_err();
        prop_assert_eq!(rejected, Error::Misuse(Misuse::ReservedParameter));
    }

    #[test]
    fn base_urls_are_signed_in_their_one_normal_form(
        (scheme, default_port) in prop_oneof![Just(("https", 443)), Just(("http", 80))],
        host in prop_oneof!["[a-zA-Z0-9]{1,8}(\\.[a-zA-Z0-9-]{1,6}){0,3}", Just("[::1]".into()), Just("[2001:DB8::7]".into())],
        port in proptest::option::of(prop_oneof![Just(80_u16), Just(443), Just(8443), 1_u16..]),
        path in kept_by_clients("(/[a-zA-Z0-9._~-]{1,8}){0,3}"), slashes in 0_usize..3, upper in any::<bool>(), query in pairs(4),
    ) {
        let written = if upper { scheme.to_uppercase() } else { scheme.to_string() };
        let colon_port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let base_url = format!("{written}://{host}{colon_port}{path}{}", "/".repeat(slashes));
        let live = live(|builder| builder.base_url(&base_url).query_policy(QueryPolicy::Fold));

        let colon_port = if port == Some(default_port) { String::new() } else { colon_port };
        let normal = format!("{scheme}://{}{colon_port}{path}/tickle", host.to_lowercase());
        let settings = (QueryPolicy::Fold, ParameterEncoding::Single);
        let signed = check(&live, (Method::Get, "/tickle"), (&query, Query::Pairs), &[], settings);
        prop_assert_eq!(signed.url().split('?').next(), Some(normal.as_str()));
        prop_assert_eq!(signed.base_string().to_string().split('&').nth(1).map(decode), Some(normal));
    }
}

#[test]
fn long_urls_and_long_values_are_signed_whole() {
    let base_url = format!("https://api.ibkr.com/{}", "v1.".repeat(600));
    let live = live(|builder| builder.base_url(&base_url).query_policy(QueryPolicy::Fold));
    let path = format!("/{}", "a/~".repeat(600));
    for length in (0..3000).step_by(97) {
        let query = [("p".repeat(length), ",|".repeat(length)), ("z".to_string(), String::new())];
        let settings = (QueryPolicy::Fold, ParameterEncoding::Single);
        check(&live, (Method::Get, &path), (&query, Query::Pairs), &query, settings);
    }
}

// ---- Python ----

const PACKAGES: [&str; 2] = ["ibind[oauth]==0.2.2", "oauthlib==4.0.1"];
const CASES: usize = 4000;

#[test]
#[ignore = "installs ibind and oauthlib from PyPI"]
fn oauthlib_and_ibind_agree() {
    let mut runner = TestRunner::default();
    let folding = |builder: ConsumerBuilder| builder.query_policy(QueryPolicy::Fold);
    let rfc5849 = live(|builder| folding(builder).parameter_encoding(ParameterEncoding::Rfc5849));
    let single = live(folding);
    // ibind keeps parameters in a dict and sorts before it encodes, so names are distinct and need no encoding.
    let plain_names = proptest::collection::btree_map("[a-zA-Z0-9._~-]{1,20}", text(), 0..24);
    let mut lines = String::new();
    for number in 0..CASES {
        let mut draw = |most| pairs(most).new_tree(&mut runner).unwrap().current();
        let case = if number % 2 == 0 {
            let (query, form) = (draw(24), draw(8));
            let settings = (QueryPolicy::Fold, ParameterEncoding::Rfc5849);
            // oauthlib loses a `;` at the end of a path.
            let path = path().new_tree(&mut runner).unwrap().current().replace(';', ":");
            let signed = check(&rfc5849, (Method::Post, &path), (&query, Query::Pairs), &form, settings);
            serde_json::json!({
                "url": signed.url(),
                "authorization": header(&signed, "Authorization"),
                "body": std::str::from_utf8(signed.body()).unwrap(),
                "base_string": signed.base_string().to_string(),
            })
        } else {
            let query: Vec<Pair> = plain_names.new_tree(&mut runner).unwrap().current().into_iter().collect();
            let settings = (QueryPolicy::Fold, ParameterEncoding::Single);
            let signed = check(&single, (Method::Post, "/iserver/x"), (&query, Query::Pairs), &[], settings);
            let (oauth, signature) = oauth_parameters(&signed);
            serde_json::json!({
                "url": signed.url().split('?').next(),
                "oauth": oauth,
                "query": query,
                "signature": signature,
                "live_session_token": worked().token,
                "base_string": signed.base_string().to_string(),
            })
        };
        lines.push_str(&format!("{case}\n"));
    }

    let workplace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("agreement");
    let python = python::with_packages(&workplace, &PACKAGES);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agreement.py");
    let mut command = Command::new(python);
    command.env("IBIND_LOGS_DIR", &workplace).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Fails if Python gave up: then its exit status says so, and on the terminal stands why.
    let written = child.stdin.take().unwrap().write_all(lines.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    println!("{said}");
    assert!(output.status.success(), "{}", output.status);
    written.unwrap();
    let half = CASES / 2;
    assert_eq!(said.trim(), format!("oauthlib agrees on {half}, ibind on {half}"));
}
