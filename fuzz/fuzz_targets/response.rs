//! Any status, headers and body, at each of the three steps. The input is `STEP STATUS TIMES`, a header on each line, an
//! empty line, and the body, which is repeated so often; `@response` and `@proof` in it stand for the values of an honest
//! server. Invariants: no panic; a typed error or the phase that follows; an error leaves the snapshot as it was; nothing
//! live without the proof; reasons bounded, without control characters, silent about proofs; bodies over 64 KiB refused
//! within 16 KiB of memory, others read within 80 bytes for each of theirs.
#![no_main]

use ibkr_oauth::{AccessToken, Error, OAuthSession, Phase, Response};
use ibkr_oauth_fuzz::{MemoryBound, START, assert_silent_error, consumer, holds_a_secret, number, prove};
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

const MAX_BODY: usize = 64 * 1024;

fuzz_target!(|input: &[u8]| {
    let (head, body) = parts(input);
    if holds_a_secret(&String::from_utf8_lossy(body)) {
        return;
    }
    let mut lines = head.lines();
    let (step, status) = lines.next().unwrap_or("").split_once(' ').unwrap_or_default();
    let (status, times) = number::<u16>(status);
    let mut session = session(step);
    let before = snapshot(&session);
    let outbound = session.poll_request(&mut StdRng::seed_from_u64(1), START).unwrap().unwrap();
    let honest = outbound.request.url().ends_with("live_session_token").then(|| Honest::answer_to(&outbound.request));
    let times = number::<usize>(times).0.clamp(1, 1 + 2 * MAX_BODY / body.len().max(1));
    let body = filled(body, honest.as_ref()).repeat(times);

    let bytes = 16 * 1024 + if body.len() > MAX_BODY { 0 } else { 80 * body.len() };
    let _bound = MemoryBound::bytes(bytes);
    let headers = lines.filter_map(|line| line.split_once(": "));
    let response = headers
        .fold(Response::new(status, &body), |response, (name, value)| response.with_header(name, value.as_bytes()));
    let is_proved = |honest: &Honest| body.windows(honest.proof.len()).any(|window| window == honest.proof.as_bytes());
    match session.handle_response(outbound.exchange, &response, START) {
        Ok(phase) => {
            assert!(body.len() <= MAX_BODY && (200..300).contains(&status));
            assert!(phase != Phase::LiveSession || honest.as_ref().is_some_and(is_proved), "live without a proof");
        }
        Err(error) => {
            assert_eq!(snapshot(&session), before);
            if let Error::Rejected(rejected) = &error {
                assert!(rejected.reason.chars().count() <= 200 && !rejected.reason.contains(char::is_control));
            }
            assert!(error.to_string().len() < 4096);
            assert!(honest.is_none_or(|honest| !format!("{error} {error:?}").contains(&honest.proof)));
            assert_silent_error(&error);
        }
    }
});

struct Honest {
    response: String,
    proof: String,
}

impl Honest {
    fn answer_to(request: &ibkr_oauth::Request) -> Self {
        let answer: Value = serde_json::from_str(&prove(request)).unwrap();
        let text = |name: &str| answer[name].as_str().unwrap().to_string();
        Self { response: text("diffie_hellman_response"), proof: text("live_session_token_signature") }
    }
}

fn parts(input: &[u8]) -> (&str, &[u8]) {
    let end = input.windows(2).position(|window| window == b"\n\n").unwrap_or(input.len());
    (std::str::from_utf8(&input[..end]).unwrap_or(""), input.get(end + 2..).unwrap_or_default())
}

fn filled(body: &[u8], honest: Option<&Honest>) -> Vec<u8> {
    match (honest, std::str::from_utf8(body)) {
        (Some(Honest { response, proof }), Ok(text)) => {
            text.replacen("@response", response, 1).replacen("@proof", proof, 1).into()
        }
        _ => body.to_vec(),
    }
}

fn snapshot(session: &OAuthSession) -> Value {
    serde_json::to_value(session.snapshot().expose()).unwrap()
}

fn session(step: &str) -> OAuthSession {
    let mut session = OAuthSession::new(consumer());
    match step {
        "access_token" => {
            let exchange = session.poll_request(&mut StdRng::seed_from_u64(1), START).unwrap().unwrap().exchange;
            session.handle_response(exchange, &Response::new(200, br#"{"oauth_token":"a1"}"#), START).unwrap();
            session.handle_verifier("b2").unwrap();
        }
        "live_session_token" => {
            session = OAuthSession::with_access_token(consumer(), AccessToken::new("a1", "AAAA").unwrap());
        }
        _ => {}
    }
    session
}
