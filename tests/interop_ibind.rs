//! ibind, a Python client that logs in to IBKR every day, logs in to the gateway: the gateway asks no more than IBKR.
//!
//! ```text
//! cargo test --all-features --test interop_ibind -- --ignored --nocapture
//! ```
#![cfg(feature = "http")]

#[path = "support/credentials.rs"]
mod credentials;
#[path = "support/python.rs"]
mod python;
mod support;

use std::path::Path;
use std::process::Command;

use credentials::Credentials;
use ibkr_oauth_gateway::Server;

const IBIND: &str = "ibind[oauth]==0.2.2";

#[test]
#[ignore = "installs ibind from PyPI"]
fn ibind_logs_in_again_and_again() {
    let workplace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ibind");
    let python = python::with_packages(&workplace, &[IBIND]);

    let server = Server::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials.json");
    Credentials::first_party(&mut server.gateway(), "EXAMPLECO").write_new(&file);

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop_ibind.py");
    python::run(Command::new(python).env("IBIND_LOGS_DIR", &workplace).arg(script).arg(file));
}
