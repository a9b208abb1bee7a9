//! A network that loses, cuts, delays and damages answers: every session ends live, and none signs with a token that
//! the gateway has not proved.
//!
//! ```text
//! cargo test --release --test lossy_network -- --ignored --nocapture
//! ```

#[path = "../support/connections.rs"]
mod connections;
#[path = "../support/mod.rs"]
mod support;

mod fleet;
mod http;
mod wire;

use std::net::TcpListener;
use std::thread;

use fleet::Fleet;
use ibkr_oauth::{AccessToken, Consumer, OAuthSession, UnixTime};
use rand::rngs::StdRng;
use support::pair::{CONSUMER, gateway};
use support::{NOW, dh, keys, rng};
use wire::{Fault, Server, Wire};

/// After two refreshes, and with time to get over the faults of the second.
const END: UnixTime = UnixTime::from_millis(NOW.as_millis() + 60 * 60 * 60 * 1000);

/// With it, some proofs are damaged even if there are but a hundred clients.
const SEED: u64 = 6_000_000;

#[test]
fn a_hundred_sessions_outlive_a_lossy_network() {
    outlive(100);
}

#[test]
#[ignore = "takes a minute"]
fn a_thousand_sessions_outlive_a_lossy_network() {
    outlive(1000);
}

fn outlive(count: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}/v1/api", listener.local_addr().unwrap());
    let wire = Wire::new(&listener);
    let mut server = Server::new(gateway(&base_url));
    let sessions = enroll(&mut server, &base_url, count);
    let (complaints, log) = thread::scope(|scope| {
        let log = scope.spawn(|| server.serve(&listener, &wire));
        let complaints = Fleet::new(sessions, &wire).live_until(END);
        (complaints, log.join().unwrap())
    });

    println!("{count} clients: {log}.");
    assert_eq!(complaints, Vec::<String>::new());
    assert_eq!(log.unproved_signatures, 0, "a request was signed with a token that nobody had proved");
    assert!(log.damaged_proofs > 0, "no proof was put to the test");
    for fault in Fault::ALL {
        assert!((0.5..2.0).contains(&log.share_of(fault)), "{fault:?}");
    }
}

fn enroll(server: &mut Server, base_url: &str, count: u64) -> Vec<(OAuthSession, StdRng)> {
    let consumer = Consumer::builder(CONSUMER, keys(), dh()).base_url(base_url).build().unwrap();
    let enroll_one = |number: u64| {
        let issued = server.expect(&format!("user{number}"), rng(SEED + number));
        let access_token = AccessToken::new(&issued.token, &issued.secret_base64).unwrap();
        (OAuthSession::with_access_token(consumer.clone(), access_token), rng(SEED + count + number))
    };
    (0..count).map(enroll_one).collect()
}
