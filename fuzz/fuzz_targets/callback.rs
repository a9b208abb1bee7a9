//! Any text as callback or verifier. Invariants: no panic; accepted only if the request token in it is the one asked
//! for; after a refusal the right callback still works.
#![no_main]

use ibkr_oauth::{OAuthSession, Response};
use ibkr_oauth_fuzz::{START, consumer, parameter};
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;

fuzz_target!(|callback: &str| {
    let mut rng = StdRng::seed_from_u64(1);
    let mut session = OAuthSession::new(consumer());
    let exchange = session.poll_request(&mut rng, START).unwrap().unwrap().exchange;
    session.handle_response(exchange, Response::new(200, br#"{"oauth_token":"a1b2c3"}"#), START).unwrap();
    if session.handle_callback(callback).is_ok() {
        assert!(callback.contains("oauth") || callback.contains('%'), "{callback}");
        let request = session.poll_request(&mut rng, START).unwrap().unwrap().request;
        assert_eq!(parameter(&request, "oauth_token").as_deref(), Some("a1b2c3"));
    } else {
        assert!(session.poll_request(&mut rng, START).unwrap().is_none());
        session.handle_callback("?oauth_token=a1b2c3&oauth_verifier=d4").unwrap();
    }
});
