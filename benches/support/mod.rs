//! What the benches share: a live session, requests of every size, and the floor beneath a signature.
#![allow(dead_code, reason = "each bench uses its own part")]

#[path = "../../tests/support/mod.rs"]
pub mod tests;

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use ibkr_oauth::{ApiRequest, Consumer, LiveSession, QueryPolicy};
use sha2::Sha256;
use tests::WorkedLogin;
use tests::vectors::{IBKR, vectors};
pub use tests::{NOW, rng};

pub const PATH: &str = "/iserver/marketdata/history";
pub const SIZES: [usize; 5] = [0, 1, 10, 100, 1000];

/// What market data requests ask for, in the order of IBKR's documentation: not sorted.
const PARAMETERS: [(&str, &str); 10] = [
    ("conids", "265598,8314"),
    ("fields", "31,84,86"),
    ("since", "1714650000000"),
    ("conid", "265598"),
    ("exchange", "SMART"),
    ("period", "1d"),
    ("bar", "5mins"),
    ("outsideRth", "true"),
    ("startTime", "20240502-14:30:00"),
    ("source", "Bid_Ask"),
];

/// `count` parameters: the ten above, and again with `1`, `2`, ... behind the names, as often as needed.
pub fn parameters(count: usize) -> Vec<(String, &'static str)> {
    let rounds = (0..).map(|round| if round == 0 { String::new() } else { round.to_string() });
    let all = rounds.flat_map(|suffix| PARAMETERS.map(|(name, value)| (format!("{name}{suffix}"), value)));
    all.take(count).collect()
}

pub fn borrowed<'a>(parameters: &'a [(String, &'a str)]) -> Vec<(&'a str, &'a str)> {
    parameters.iter().map(|(name, value)| (name.as_str(), *value)).collect()
}

/// Signs the query too: the dearer of the two policies.
pub fn live_session() -> LiveSession {
    let vectors = vectors(IBKR);
    let worked = vectors.iter().find(|vector| vector["inputs"]["clientPrivateHex"].is_string()).unwrap();
    let mut login = WorkedLogin::read(worked);
    let builder = Consumer::builder(login.consumer.consumer_key(), login.keys.clone(), login.dh.clone());
    login.consumer = builder.query_policy(QueryPolicy::Fold).build().unwrap();
    login.live_session(NOW).live(NOW).unwrap().clone()
}

/// The bytes that are signed for `request`.
pub fn base_string(live: &LiveSession, request: &ApiRequest<'_>) -> String {
    live.sign(request, &mut rng(1), NOW).unwrap().base_string().to_string()
}

/// The floor: what no signature can do without.
pub struct Floor(Hmac<Sha256>);

impl Floor {
    /// Keyed with as many bytes as a live session token has.
    pub fn new() -> Self {
        Self(Hmac::new_from_slice(&[0x5a; 20]).unwrap())
    }

    /// A MAC with the key absorbed already.
    pub fn sign(&self, base_string: &[u8]) -> [u8; 32] {
        self.0.clone().chain_update(base_string).finalize().into_bytes().into()
    }
}

/// What this thread has had of a processor.
pub fn cpu_time() -> Duration {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(schedule.split_whitespace().next().unwrap().parse().unwrap())
}
