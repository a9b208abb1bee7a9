//! Any bytes as a stored session. Invariants: no panic; a session that is resumed stores to the same session again; it is
//! live only with a token that the server's proof fits, and for a day at most; no planted secret in any output; no more
//! memory than 32 KiB and 64 bytes for each byte of the input.
#![no_main]

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ibkr_oauth::{ApiRequest, OAuthSession, Snapshot};
use ibkr_oauth_fuzz::{
    CONSUMER_KEY, MemoryBound, START, assert_one_message, assert_silent, assert_silent_error, consumer, hex, hmac_sha1,
};
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fuzz_target!(|bytes: &[u8]| {
    let _bound = MemoryBound::bytes(32 * 1024 + 64 * bytes.len());
    let Ok(snapshot) = serde_json::from_slice::<Snapshot>(bytes) else { return };
    assert_silent(&format!("{snapshot:?}"));
    match OAuthSession::resume(consumer(), &snapshot, START) {
        Ok(mut session) => {
            let stored = serde_json::to_string(session.snapshot().expose()).unwrap();
            let again = serde_json::from_str(&stored).unwrap();
            let again = OAuthSession::resume(consumer(), &again, START).unwrap();
            assert_eq!(serde_json::to_string(again.snapshot().expose()).unwrap(), stored);
            assert_eq!(again.phase(START), session.phase(START));
            let mut rng = StdRng::seed_from_u64(1);
            if let Some(live) = session.live(START) {
                assert!(is_proved(&stored), "live without a proof");
                assert!(live.expires_at() <= START.saturating_add(DAY), "live for too long");
                assert_one_message(&live.sign(&ApiRequest::get("/a"), &mut rng, START).unwrap());
            }
            if let Some(outbound) = session.poll_request(&mut rng, START).unwrap() {
                assert_one_message(&outbound.request);
                assert_silent(&format!("{outbound:?} {session:?}"));
            }
        }
        Err(error) => assert_silent_error(&error),
    }
});

fn is_proved(stored: &str) -> bool {
    let stored: Value = serde_json::from_str(stored).unwrap();
    let text = |name: &str| stored["live_session"][name].as_str().unwrap();
    let proof = hmac_sha1(&BASE64_STANDARD.decode(text("token")).unwrap(), CONSUMER_KEY.as_bytes());
    hex(&proof).eq_ignore_ascii_case(text("proof"))
}
