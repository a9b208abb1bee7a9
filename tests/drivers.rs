//! The drivers that the documentation of `Client` and the examples offer for copying: the same in both, short, and safe.
#![cfg(all(feature = "http", feature = "serde"))]

#[allow(dead_code, reason = "its `main` is the example's")]
#[path = "../examples/async.rs"]
mod async_example;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use async_example::support::credentials::{Credentials, Keys, Party};
use async_example::support::driver::{self, now};
use async_example::{Sends, https, next_event};
use ibkr_oauth::{ApiRequest, Client, Event, OAuthSession, Outcome, UnixTime};
use ibkr_oauth_gateway::Server;

const DOCUMENTATION: &str = include_str!("../src/client/drivers.md");
const BLOCKING: &str = include_str!("../examples/support/driver.rs");
const TOKIO: &str = include_str!("../examples/async.rs");

/// What begins with `head`, to the end of the block.
fn block<'a>(text: &'a str, head: &str) -> &'a str {
    let start = text.find(head).unwrap_or_else(|| panic!("{head} is missing"));
    let end = text[start..].find("\n}\n").unwrap();
    &text[start..start + end + 2]
}

fn documented<'a>(example: &'a str, heads: &[&str]) -> usize {
    let blocks: Vec<&'a str> = heads.iter().map(|head| block(example, head)).collect();
    for block in &blocks {
        assert!(DOCUMENTATION.contains(block), "differs in the documentation:\n{block}");
    }
    blocks.iter().map(|block| block.lines().count()).sum()
}

#[test]
fn the_documented_drivers_are_the_examples_and_have_at_most_25_lines() {
    assert!(documented(BLOCKING, &["pub fn next_event(", "pub fn send("]) <= 25);
    assert!(documented(TOKIO, &["pub async fn next_event(", "pub async fn send("]) <= 25);
    documented(BLOCKING, &["pub fn agent(", "pub fn rng(", "pub fn now("]);
    documented(TOKIO, &["pub fn https("]);
}

#[test]
fn the_shortest_example_has_at_most_50_lines_and_no_module() {
    let minimal = include_str!("../examples/minimal.rs");
    assert!(minimal.lines().count() <= 50);
    assert!(!minimal.contains("mod "));
}

fn serve() -> (Server, Credentials) {
    let keys = Keys::generate(&mut |_| ()).unwrap();
    let server = Server::bind("127.0.0.1:0").unwrap();
    let credentials = Credentials::enroll(&mut server.gateway(), &keys, "DRIVENCOM", &Party::First).unwrap();
    (server, credentials)
}

fn client(credentials: &Credentials) -> Client {
    let consumer = credentials.consumer().unwrap().build().unwrap();
    let session = OAuthSession::with_access_token(consumer, credentials.access_token().unwrap().unwrap());
    Client::new(session).without_brokerage_session()
}

/// Whether this is the end of the request, which must be good.
fn is_answer(event: &Event) -> bool {
    match event {
        Event::Finished { outcome: Outcome::Answered(_), .. } => true,
        Event::Finished { outcome, .. } => panic!("{outcome:?}"),
        _ => false,
    }
}

/// How many live session tokens it has asked for.
fn logins(client: &Client) -> usize {
    let snapshot = serde_json::to_value(client.snapshot().expose()).unwrap();
    snapshot["asked_for_tokens_at"].as_array().unwrap().len()
}

#[test]
fn a_blocking_program_gets_the_thread_back_when_it_wants_it() {
    let (_server, credentials) = serve();
    let (mut client, agent) = (client(&credentials), driver::agent());
    client.request(&ApiRequest::get("/portfolio/accounts"), now()).unwrap();
    let never = UnixTime::from_millis(u64::MAX);
    while !is_answer(&driver::next_event(&mut client, &agent, never).unwrap()) {}
    let soon = now().saturating_add(Duration::from_millis(50));
    assert_eq!(driver::next_event(&mut client, &agent, soon), None);
    assert!(now() >= soon);
}

/// The future is dropped a thousand times a second; each time, all that it holds is dropped with it.
#[tokio::test]
async fn a_tokio_program_may_drop_the_future_at_any_moment() {
    let (_server, credentials) = serve();
    let (mut client, https, mut sends) = (client(&credentials), https(), Sends::new());
    client.request(&ApiRequest::get("/portfolio/accounts"), now()).unwrap();
    let mut dropped = 0;
    loop {
        let event = next_event(&mut client, &https, &mut sends);
        match tokio::time::timeout(Duration::from_millis(1), event).await {
            Ok(event) if is_answer(&event) => break,
            Ok(_) => {}
            Err(_) => dropped += 1,
        }
    }
    assert!(dropped > 0);
    assert_eq!(logins(&client), 1, "nothing was asked for twice");
}

/// Files that are gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("minimal-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_shortest_example_lists_the_accounts_and_nothing_else() {
    let (server, credentials) = serve();
    let access = credentials.access.as_ref().unwrap();
    let folder = Folder::new();
    let files = [
        ("private_signature.pem", credentials.private_signature_pem.as_str()),
        ("private_encryption.pem", credentials.private_encryption_pem.as_str()),
        ("dhparam.pem", credentials.dhparam_pem.as_str()),
        ("access_token_secret", access.secret.as_str()),
    ];
    for (name, text) in files {
        fs::write(folder.0.join(name), text).unwrap();
    }
    let examples = std::env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().join("examples");
    let output = Command::new(examples.join(format!("minimal{}", std::env::consts::EXE_SUFFIX)))
        .args(files.map(|(name, _)| name))
        .current_dir(&folder.0)
        .env_clear()
        .envs([("IBKR_CONSUMER_KEY", &credentials.consumer_key), ("IBKR_ACCESS_TOKEN", &access.token)])
        .env("IBKR_BASE_URL", server.base_url())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "DU1234567\nDU7654321\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}
