//! ibind, a Python client that logs in to IBKR every day, logs in to the gateway: the gateway asks no more than IBKR.
//!
//! ```text
//! cargo test --all-features --test interop_ibind -- --ignored --nocapture
//! ```
#![cfg(feature = "http")]

#[path = "../examples/support/mod.rs"]
mod support;

#[path = "support/python.rs"]
mod python;

use std::path::Path;
use std::process::Command;

use ibkr_oauth_gateway::Server;
use support::credentials::{Credentials, Keys, Party};

const IBIND: &str = "ibind[oauth]==0.2.2";

#[test]
#[ignore = "installs ibind from PyPI"]
fn ibind_logs_in_again_and_again() {
    let workplace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ibind");
    let python = python::with_packages(&workplace, &[IBIND]);

    let server = Server::bind("127.0.0.1:0").unwrap();
    let keys = Keys::generate(&mut |step| println!("{step}")).unwrap();
    let credentials = Credentials::enroll(&mut server.gateway(), &keys, "EXAMPLECO", &Party::First).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials.json");
    credentials.write_new(&file).unwrap();

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop_ibind.py");
    python::run(Command::new(python).env("IBIND_LOGS_DIR", &workplace).arg(script).arg(file));
}
