//! Clients that were written for the Client Portal Gateway work with the proxy as they are: ibind from PyPI,
//! interactive-brokers-mcp from npm, and curl.
//!
//! ```text
//! cargo test -p ibkr-oauth-proxy --test proxy -- --ignored --nocapture
//! ```
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ibkr_oauth_proxy::{Listen, Options, Tls};

use crate::support::World;
use crate::support::enrolled::ACCOUNT;

const IBIND: &str = "ibind==0.2.2";
const MCP: &str = "interactive-brokers-mcp";
const MCP_VERSION: &str = "1.24.1";

async fn over_tls(folder: &Path) -> World {
    let tls = Tls::SelfSigned(folder.into());
    World::with(Options::new(Listen::Tcp { address: ([127, 0, 0, 1], 0).into(), tls }), |client| client).await
}

/// The interpreter of a virtual environment in `workplace`, made at first use, with ibind in it.
fn python_with_ibind(workplace: &Path) -> PathBuf {
    let python = workplace.join("venv/bin/python");
    if !python.exists() {
        done(Command::new("python3").args(["-m", "venv"]).arg(workplace.join("venv")));
    }
    done(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", IBIND]));
    python
}

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed: {}\n{out}\n{err}", output.status);
    output
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "installs ibind from PyPI"]
async fn ibind_in_gateway_mode_works_unchanged() {
    let workplace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gateway_clients");
    let python = python_with_ibind(&workplace);
    let folder = tempfile::tempdir().unwrap();
    let world = over_tls(folder.path()).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/gateway_mode.py");
    let port = world.address.port().to_string();
    let run = move || done(Command::new(python).env("IBIND_LOGS_DIR", &workplace).arg(script).arg(port));
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().last(), Some("ibind works with the proxy"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "installs 300 MB from npm"]
async fn a_client_in_javascript_works_unchanged() {
    let workplace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gateway_clients");
    let package = format!("{MCP}@{MCP_VERSION}");
    let install = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"];
    done(Command::new("npm").args(install).arg(&workplace).arg(package));
    let folder = tempfile::tempdir().unwrap();
    let world = over_tls(folder.path()).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/gateway_mode.mjs");
    let (client, port) = (workplace.join("node_modules").join(MCP), world.address.port().to_string());
    let run = move || done(Command::new("node").arg(script).arg(client).arg(port));
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let last = format!("{MCP} works with the proxy");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().last(), Some(&*last));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs curl"]
async fn curl_works_over_tls_and_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("proxy.pem");
    let world = over_tls(folder.path()).await;
    let url = format!("https://localhost:{}/v1/api/portfolio/accounts", world.address.port());
    let curl = move || done(Command::new("curl").args(["--silent", "--fail", "--cacert"]).arg(certificate).arg(url));
    let output = tokio::task::spawn_blocking(curl).await.unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains(ACCOUNT));

    let socket = folder.path().join("proxy.sock");
    let _world = World::with(Options::new(Listen::Unix(socket.clone())), |client| client).await;
    let curl = move || {
        let url = "http://localhost/v1/api/portfolio/accounts";
        done(Command::new("curl").args(["--silent", "--fail", "--unix-socket"]).arg(socket).arg(url))
    };
    let output = tokio::task::spawn_blocking(curl).await.unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains(ACCOUNT));
}
