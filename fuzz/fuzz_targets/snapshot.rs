//! Any bytes as a stored session. Invariants: no panic; a session that is resumed stores to the same session again; it is
//! live only with the token that was proved when it was stored.
#![no_main]

use ibkr_oauth::{OAuthSession, Snapshot};
use ibkr_oauth_fuzz::{START, assert_silent, consumer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(snapshot) = serde_json::from_slice::<Snapshot>(bytes) else { return };
    assert_silent(&format!("{snapshot:?}"));
    match OAuthSession::resume(consumer(), &snapshot, START) {
        Ok(session) => {
            let stored = serde_json::to_string(session.snapshot().expose()).unwrap();
            let again = serde_json::from_str(&stored).unwrap();
            let again = OAuthSession::resume(consumer(), &again, START).unwrap();
            assert_eq!(serde_json::to_string(again.snapshot().expose()).unwrap(), stored);
            assert_eq!(again.phase(START), session.phase(START));
        }
        Err(error) => assert_silent(&error.to_string()),
    }
});
