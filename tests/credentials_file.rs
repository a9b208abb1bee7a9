//! The file in which the examples keep credentials.
#![cfg(feature = "http")]

#[path = "../examples/support/mod.rs"]
mod support;

use ibkr_oauth_gateway::Gateway;
use support::credentials::{Credentials, Keys, Party};

#[test]
fn credentials_survive_being_written_down() {
    let keys = Keys::generate(&mut |_| ()).unwrap();
    let mut gateway = Gateway::new("http://h/v1/api").unwrap();
    for party in [Party::First, Party::Third { callback_url: "https://localhost:20000/" }] {
        let written = Credentials::enroll(&mut gateway, &keys, "SOMEPARTY", &party).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials.json");
        written.write_new(&path).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(Credentials::read(&path).unwrap() == written);
        assert!(written.write_new(&path).is_err(), "nothing is overwritten");
    }
    let error = |json: &str| Credentials::from_json(json).err().unwrap();
    assert_eq!(error(r#"{"access_token":"t"}"#), "access_token_secret is missing");
    assert_eq!(error(r#"{"realm":"r"}"#), "consumer_key is missing");
    assert_eq!(error(r#"{"consumer_key":1}"#), "consumer_key is not a string");
    assert_eq!(error(r#""a1b2c3d4e5f6a7b8c9d0""#), "it is not a JSON object");
}
