//! Any text as callback and as verifier. Invariants: no panic; a callback is accepted only if the request token in it is
//! the one asked for, as it says before a session is known; a verifier goes to the server as it was given; after a refusal the right callback still works; no
//! more memory than 8 KiB and 16 bytes for each byte of the input.
#![no_main]

use ibkr_oauth::{Callback, OAuthSession, Response};
use ibkr_oauth_fuzz::{
    MemoryBound, START, assert_one_message, assert_silent, assert_silent_error, consumer, parameter,
};
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;

fuzz_target!(|text: &str| {
    let _bound = MemoryBound::bytes(8 * 1024 + 16 * text.len());
    let mut rng = StdRng::seed_from_u64(1);
    let mut session = OAuthSession::new(consumer());
    let exchange = session.poll_request(&mut rng, START).unwrap().unwrap().exchange;
    session.handle_response(exchange, &Response::new(200, br#"{"oauth_token":"a1b2c3"}"#), START).unwrap();
    let callback = Callback::parse(text);
    assert_silent(&format!("{callback:?}"));
    let is_ours = callback.is_ok_and(|it| it.has_verifier() && Some(it.request_token()) == session.request_token());
    let taken = session.handle_callback(text);
    assert_eq!(taken.is_ok(), is_ours, "{text}");
    match taken {
        Ok(()) => {
            assert!(names_the_request_token(text), "{text}");
            let request = session.poll_request(&mut rng, START).unwrap().unwrap().request;
            assert_one_message(&request);
            assert_eq!(parameter(&request, "oauth_token").as_deref(), Some("a1b2c3"));
        }
        Err(error) => {
            assert_silent_error(&error);
            assert!(session.poll_request(&mut rng, START).unwrap().is_none());
            session.handle_callback("?oauth_token=a1b2c3&oauth_verifier=d4").unwrap();
        }
    }
    if session.handle_verifier(text).is_ok() {
        let request = session.poll_request(&mut rng, START).unwrap().unwrap().request;
        assert_one_message(&request);
        let verifier = parameter(&request, "oauth_verifier").unwrap();
        assert_eq!(decoded(&verifier), decoded(&text.trim().replace('%', "%25")));
    }
});

/// Or may: what is escaped is not looked into.
fn names_the_request_token(text: &str) -> bool {
    text.contains('%') || text.split(['?', '&', '#']).any(|part| part.trim() == "oauth_token=a1b2c3")
}

fn decoded(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).unwrap());
        bytes.extend(rest.bytes());
    }
    bytes
}
