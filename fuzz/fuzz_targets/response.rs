//! Any status, headers and body, at each of the three steps. Invariants: no panic; a typed error or the phase that
//! follows; nothing live without a proof; bodies over 64 KiB refused; reasons bounded, without control characters.
#![no_main]

use arbitrary::Arbitrary;
use ibkr_oauth::{AccessToken, Error, OAuthSession, Phase, Response};
use ibkr_oauth_fuzz::{START, consumer};
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;

#[derive(Arbitrary, Debug)]
struct Input {
    step: u8,
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    /// The body this many times over.
    times: u16,
    body: Vec<u8>,
}

fuzz_target!(|input: Input| {
    let mut session = session(input.step);
    let before = session.phase(START);
    let exchange = session.poll_request(&mut StdRng::seed_from_u64(1), START).unwrap().unwrap().exchange;
    let body = input.body.repeat(usize::from(input.times).max(1));
    let response = input.headers.iter().fold(Response::new(input.status, &body), |response, (name, value)| {
        response.header(name, value)
    });
    match session.handle_response(exchange, response, START) {
        Ok(phase) => {
            assert!(body.len() <= 65_536 && (200..300).contains(&input.status));
            assert_ne!(phase, Phase::LiveSession);
        }
        Err(error) => {
            assert_eq!(session.phase(START), before);
            if let Error::Rejected(rejected) = &error {
                assert!(rejected.reason.chars().count() <= 200 && !rejected.reason.contains(char::is_control));
            }
            assert!(error.to_string().len() < 4096);
        }
    }
});

fn session(step: u8) -> OAuthSession {
    let mut session = OAuthSession::new(consumer());
    match step % 3 {
        0 => {}
        1 => {
            let exchange = session.poll_request(&mut StdRng::seed_from_u64(1), START).unwrap().unwrap().exchange;
            session.handle_response(exchange, Response::new(200, br#"{"oauth_token":"a1"}"#), START).unwrap();
            session.handle_verifier("b2").unwrap();
        }
        _ => session = OAuthSession::with_access_token(consumer(), AccessToken::new("a1", "AAAA").unwrap()),
    }
    session
}
