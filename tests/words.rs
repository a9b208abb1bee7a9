//! What rejections are explained with, what errors say, and what `Debug` shows, in one file to read: `tests/words.snap`.
//! Words change only on purpose.
#![cfg(all(feature = "doctor", feature = "http1", feature = "serde"))]

mod support;

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use ibkr_oauth::brokerage::{BrokerageOutbound, BrokeragePhase, BrokerageSession, CompetePolicy};
use ibkr_oauth::doctor::Credentials;
use ibkr_oauth::http1::Decoder;
use ibkr_oauth::{
    AccountKind, ActivationWait, Callback, Diagnosis, Error, Maintenance, Mismatch, OAuthSession, Outbound, Phase,
    Response, RsaPrivateKey,
};
use ibkr_oauth_gateway::Gateway;
use support::{NOW, SIGNATURE_PEM, WorkedLogin, answer, poll, rng};

const DIAGNOSES: [Diagnosis; 19] = [
    Diagnosis::ClockOff,
    Diagnosis::RequestRejected,
    Diagnosis::InvalidConsumer,
    Diagnosis::UnknownAccessToken,
    Diagnosis::LiveSessionTokenFailed,
    Diagnosis::InvalidSignature,
    Diagnosis::Unauthorized,
    Diagnosis::InvalidToken,
    Diagnosis::NoBridge,
    Diagnosis::MalformedRequest,
    Diagnosis::RejectedAtTheEdge,
    Diagnosis::Gone,
    Diagnosis::LengthRequired,
    Diagnosis::TooManyRequests,
    Diagnosis::BrokerageSessionUnavailable,
    Diagnosis::TickleFailed,
    Diagnosis::Unavailable,
    Diagnosis::Redirected,
    Diagnosis::Unknown,
];

const MISMATCHES: [Mismatch; 11] = [
    Mismatch::SignByteLeftOut,
    Mismatch::SecretPadded,
    Mismatch::SecretAsText,
    Mismatch::PrependAsText,
    Mismatch::SecretStillEncrypted,
    Mismatch::ResponseInPlaceOfSecret,
    Mismatch::ChallengeInPlaceOfSecret,
    Mismatch::ConsumerKeyInUpperCase,
    Mismatch::ConsumerKeyInLowerCase,
    Mismatch::OtherGenerator,
    Mismatch::Unexplained,
];

/// `INSTA_UPDATE=always cargo test --all-features --test words` writes the file anew.
#[test]
fn texts_match_the_snapshot() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(".");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("words", words()));
}

#[test]
fn a_diagnosis_says_why_and_what_to_do() {
    for diagnosis in DIAGNOSES {
        assert_eq!(diagnosis.to_string(), format!("{}; {}", diagnosis.cause(), diagnosis.remedy()));
    }
}

#[test]
fn an_outage_is_not_taken_for_a_key_that_becomes_active() {
    assert_eq!(ActivationWait::since(NOW).explain(&rejection(503, ""), NOW), None);
}

fn words() -> String {
    let mut words = String::new();
    for diagnosis in DIAGNOSES {
        writeln!(words, "{diagnosis:?}\n  why: {}\n  do:  {}", diagnosis.cause(), diagnosis.remedy()).unwrap();
    }
    for mismatch in MISMATCHES {
        writeln!(words, "{mismatch:?}\n  {mismatch}").unwrap();
    }
    for maintenance in [Maintenance::NightlyReset, Maintenance::Weekend] {
        writeln!(words, "{maintenance:?}\n  {maintenance}").unwrap();
    }
    for (status, reason) in [(401, "invalid consumer"), (400, "no bridge")] {
        let error = rejection(status, reason);
        for hours in [0, 17, 72, 400] {
            let now = NOW.saturating_add(Duration::from_secs(hours * 60 * 60));
            let activation = ActivationWait::since(NOW).explain(&error, now).unwrap();
            writeln!(words, "{:?}, hour {hours}\n  {activation}", activation.stage).unwrap();
        }
    }
    let phases = [Phase::Unauthorized, Phase::RequestToken, Phase::AccessToken, Phase::LiveSession];
    let brokerage = [
        BrokeragePhase::Missing,
        BrokeragePhase::Opening,
        BrokeragePhase::Ready,
        BrokeragePhase::Unconfirmed,
        BrokeragePhase::Competing,
        BrokeragePhase::LoggingOut,
        BrokeragePhase::LoggedOut,
    ];
    let kinds = [AccountKind::Live, AccountKind::Paper];
    writeln!(words, "phases: {}; {}; {}", list(&phases), list(&brokerage), list(&kinds)).unwrap();
    for text in error_texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        writeln!(words, "error: {text}").unwrap();
    }
    for value in shown() {
        writeln!(words, "{value}").unwrap();
    }
    words
}

fn list(values: &[impl ToString]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The text of every error, with `{}` where a value comes, as it stands in the source.
fn error_texts(folder: &Path) -> Vec<String> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut texts = Vec::new();
    for path in paths {
        if path.is_dir() {
            texts.extend(error_texts(&path));
            continue;
        }
        let source = std::fs::read_to_string(path).unwrap();
        for attribute in source.split("#[error(").skip(1) {
            let (literal, _) = attribute.trim_start().trim_start_matches('"').split_once('"').unwrap();
            let lines = literal.lines().map(|line| line.trim_start().trim_end_matches('\\'));
            texts.push(lines.collect());
        }
    }
    texts
}

/// What `Debug` tells of everything that has secrets to keep: enough to find a mistake with.
fn shown() -> Vec<String> {
    let login = WorkedLogin::any();
    let mut session = login.session();
    let Outbound { request, exchange } = login.poll(&mut session, NOW).unwrap();
    let mut shown = vec![
        format!("{:?}", RsaPrivateKey::from_pem(SIGNATURE_PEM).unwrap()),
        format!("{:?}", support::dh()),
        format!("{:?}", support::access_token()),
        format!("{:?}", Callback::parse("?oauth_token=b9082d68cfef06b030de&oauth_verifier=0ffb93ab9aa0d2177cc2")),
        format!("{:?}", support::builder()),
        format!("{:?}", login.consumer),
        format!("{request:?}"),
        format!("{:?}", request.base_string()),
        format!("{exchange:?}"),
        format!("{:?}", Response::new(200, b"a secret").with_header("Date", b"today")),
        format!("{session:?}"),
    ];
    answer(&mut session, exchange, &login.body(None)).unwrap();
    let live = session.live(NOW).unwrap().clone();
    shown.extend([
        format!("{session:?}"),
        format!("{:?}", session.snapshot()),
        format!("{live:?}"),
        format!("{NOW:?}"),
    ]);

    let mut brokerage = BrokerageSession::new(CompetePolicy::Yield);
    let mut answer = |body: &str| {
        let BrokerageOutbound { exchange, .. } = brokerage.poll_request(&live, &mut rng(1), NOW).unwrap().unwrap();
        let shown = format!("{exchange:?}");
        brokerage.handle_response(exchange, &Response::new(200, body.as_bytes()), NOW).unwrap();
        shown
    };
    shown.push(answer(r#"{"authenticated":true,"established":true,"competing":false,"connected":true}"#));
    shown.push(answer(r#"{"session":"cafe01"}"#));
    shown.extend([format!("{brokerage:?}"), format!("{:?}", brokerage.web_socket().unwrap())]);

    let mut decoder = Decoder::default();
    for bytes in ["HTTP/1.1 200 OK\r\n", "Content-Length: 1\r\n\r\n", "x", "and more"] {
        shown.push(format!("{decoder:?}"));
        let _ = decoder.handle_bytes(bytes.as_bytes());
    }
    shown.push(format!("{decoder:?}"));
    let gateway = Gateway::new("http://127.0.0.1:4000/v1/api").unwrap();
    shown.extend([format!("{gateway:?}"), format!("{:?}", Credentials::default())]);
    shown
}

fn rejection(status: u16, reason: &str) -> Error {
    let mut session = OAuthSession::new(WorkedLogin::any().consumer);
    let exchange = poll(&mut session).exchange;
    session.handle_response(exchange, &Response::new(status, reason.as_bytes()), NOW).unwrap_err()
}
