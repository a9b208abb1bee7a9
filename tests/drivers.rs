//! The drivers that the documentation of `Client` and the examples offer for copying: the same in both, short, and safe.
#![cfg(all(feature = "http", feature = "serde"))]

#[path = "support/credentials.rs"]
mod credentials;
#[path = "support/driver.rs"]
mod driver;
mod support;
#[path = "support/tokio_driver.rs"]
mod tokio_driver;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use credentials::Credentials;
use driver::now;
use ibkr_oauth::{ApiRequest, Client, Event, Outcome, UnixTime};
use ibkr_oauth_gateway::Server;
use tokio_driver::{Sends, https, next_event};

const DOCUMENTATION: &str = include_str!("../src/client/drivers.md");
const BLOCKING: &str = concat!(include_str!("../examples/support/mod.rs"), include_str!("../examples/websocket.rs"));
const TESTED_BLOCKING: &str = include_str!("support/driver.rs");
const TOKIO: &str = include_str!("../examples/async.rs");
const TESTED_TOKIO: &str = include_str!("support/tokio_driver.rs");

/// What begins with `head`, to the end of the block.
fn block<'a>(text: &'a str, head: &str) -> &'a str {
    let start = text.find(head).unwrap_or_else(|| panic!("{head} is missing"));
    let end = text[start..].find("\n}\n").unwrap();
    &text[start..start + end + 2]
}

/// How many lines these blocks of `text` have, which must stand in all `others` too.
fn shared(text: &str, others: &[&str], heads: &[&str]) -> usize {
    let lines_of = |head: &&str| {
        let block = block(text, head);
        assert!(others.iter().all(|other| other.contains(block)), "it differs elsewhere:\n{block}");
        block.lines().count()
    };
    heads.iter().map(lines_of).sum()
}

#[test]
fn the_documented_drivers_are_the_examples_and_have_at_most_25_lines() {
    let (blocking, tokio) = ([BLOCKING, TESTED_BLOCKING], [TOKIO, TESTED_TOKIO]);
    assert!(shared(DOCUMENTATION, &blocking, &["fn next_event(", "pub fn send("]) <= 25);
    assert!(shared(DOCUMENTATION, &tokio, &["pub async fn next_event(", "pub async fn send("]) <= 25);
    shared(DOCUMENTATION, &blocking, &["pub fn agent(", "pub fn rng(", "pub fn now("]);
    shared(DOCUMENTATION, &tokio, &["pub fn https("]);
}

#[test]
fn what_is_tested_of_the_event_loop_and_the_feed_is_the_examples() {
    let connection = ["pub fn wait(", "impl Call {", "fn unless_it_waits", "fn connect(", "fn split_port("];
    shared(include_str!("../examples/event_loop.rs"), &[include_str!("support/connections.rs")], &connection);
    let feed = ["pub struct Feed {", "impl Feed {", "fn is_pause(", "pub fn in_plain_words("];
    shared(include_str!("../examples/websocket.rs"), &[include_str!("support/feed.rs")], &feed);
}

#[test]
fn the_shortest_example_has_at_most_50_lines_and_no_module() {
    let minimal = include_str!("../examples/minimal.rs");
    assert!(minimal.lines().count() <= 50);
    assert!(!minimal.contains("mod "));
}

fn serve() -> (Server, Credentials) {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let credentials = Credentials::first_party(&mut server.gateway(), "DRIVENCOM");
    (server, credentials)
}

fn client(credentials: &Credentials) -> Client {
    Client::new(credentials.session()).without_brokerage_session()
}

/// Whether this is the end of the request, which must be good.
fn is_answer(event: &Event) -> bool {
    match event {
        Event::Finished { outcome: Outcome::Responded(_), .. } => true,
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
    let access_token = &*credentials.access_token;
    let folder = Folder::new();
    let files = [
        ("private_signature.pem", credentials.private_signature_pem.as_str()),
        ("private_encryption.pem", credentials.private_encryption_pem.as_str()),
        ("dhparam.pem", credentials.dhparam_pem.as_str()),
        ("access_token_secret", &credentials.access_token_secret),
    ];
    for (name, text) in files {
        fs::write(folder.0.join(name), text).unwrap();
    }
    let examples = std::env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().join("examples");
    let output = Command::new(examples.join(format!("minimal{}", std::env::consts::EXE_SUFFIX)))
        .args(files.map(|(name, _)| name))
        .current_dir(&folder.0)
        .env_clear()
        .envs([("IBKR_CONSUMER_KEY", &*credentials.consumer_key), ("IBKR_ACCESS_TOKEN", access_token)])
        .env("IBKR_BASE_URL", server.base_url())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "DU1234567\nDU7654321\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}
