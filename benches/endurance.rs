//! A hundred thousand logins, each followed by a hundred signatures, in one process: memory and time stay as they were.
//! Needs Linux, which says what the process has used of both.
//!
//! ```text
//! cargo bench --bench endurance [-- LOGINS]
//! ```

mod support;

use std::alloc::System;
use std::fs;
use std::hint::black_box;
use std::ops::AddAssign;
use std::time::Duration;

use ibkr_oauth::{AccessToken, ApiRequest, Consumer, LiveSession, OAuthSession, Outbound, Request};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::tests::pair::{Pair, response};
use support::{PATH, borrowed, cpu_time, parameters};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const LOGINS: u32 = 100_000;
const SIGNATURES: u32 = 100;
/// Fewer, and the gateway has not forgotten its first nonces by the end of the first tenth.
const FEWEST_LOGINS: u32 = 10_000;
/// Seconds from login to login: longer than the gateway has to remember a nonce.
const PAUSE: u64 = 600;
/// What else the machine does makes CPU time a coarse measure: only a time that grows with the logins exceeds this.
const ABSURD: u32 = 3;

fn main() {
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let logins = arguments.map(|argument| argument.parse().unwrap()).next().unwrap_or(LOGINS);
    assert!(logins >= FEWEST_LOGINS, "{FEWEST_LOGINS} logins at least");
    println!("| tenth | login, client | login, gateway | signature | live heap | resident |");
    println!("| --: | --: | --: | --: | --: | --: |");

    let mut world = World::new();
    let mut tenths = (1..=10).map(|number| {
        let tenth = world.live_through(logins / 10);
        tenth.print(number);
        tenth
    });
    let (first, second) = (tenths.next().unwrap(), tenths.next().unwrap());
    let last = tenths.last().unwrap();

    assert!(last.heap <= second.heap, "the live heap has grown from {} to {} bytes", second.heap, last.heap);
    assert!(last.time.total() < first.time.total() * ABSURD, "the last logins took too long");
}

/// Both halves without a socket between them, on a virtual clock, and a user who logs in over and over again.
struct World {
    pair: Pair,
    consumer: Consumer,
    access_token: AccessToken,
    time: Time,
}

impl World {
    fn new() -> Self {
        let mut pair = Pair::new();
        let issued = pair.issue();
        let access_token = AccessToken::new(&issued.token, &issued.secret_base64).unwrap();
        let consumer = pair.builder().build().unwrap();
        Self { pair, consumer, access_token, time: Time::default() }
    }

    fn live_through(&mut self, logins: u32) -> Tenth {
        self.time = Time::default();
        let heap = (0..logins).map(|_| self.log_in_and_sign()).min().unwrap_or_default();
        Tenth { logins, time: self.time, heap, resident: resident() }
    }

    /// Returns the bytes on the heap when all is over.
    fn log_in_and_sign(&mut self) -> usize {
        let live = self.log_in();
        self.sign(&live);
        drop(live);
        self.pair.wait(PAUSE);
        live_heap()
    }

    fn log_in(&mut self) -> LiveSession {
        let start = cpu_time();
        let mut session = OAuthSession::with_access_token(self.consumer.clone(), self.access_token.clone());
        let mut in_gateway = Duration::ZERO;
        while let Some(Outbound { request, exchange }) =
            session.poll_request(&mut self.pair.rng, self.pair.now).unwrap()
        {
            let asked = cpu_time();
            let answer = self.pair.send(&request);
            in_gateway += cpu_time() - asked;
            session.handle_response(exchange, &response(&answer), self.pair.now).unwrap();
        }
        let live = session.live(self.pair.now).unwrap().clone();
        self.time += Time { gateway: in_gateway, client: cpu_time() - start - in_gateway, ..Time::default() };
        live
    }

    /// The gateway sees the last signature, and agrees.
    fn sign(&mut self, live: &LiveSession) {
        let parameters = parameters(10);
        let query = borrowed(&parameters);
        let start = cpu_time();
        for _ in 1..SIGNATURES {
            black_box(self.sign_one(live, &ApiRequest::get(PATH).query(&query)));
        }
        let last = self.sign_one(live, &ApiRequest::get("/portfolio/accounts").query(&query));
        self.time += Time { signatures: cpu_time() - start, ..Time::default() };
        assert_eq!(self.pair.send(&last).status(), 200);
    }

    fn sign_one(&mut self, live: &LiveSession, request: &ApiRequest<'_>) -> Request {
        live.sign(request, &mut self.pair.rng, self.pair.now).unwrap()
    }
}

/// CPU time, by what it went into.
#[derive(Clone, Copy, Default)]
struct Time {
    client: Duration,
    gateway: Duration,
    signatures: Duration,
}

impl Time {
    fn total(self) -> Duration {
        self.client + self.gateway + self.signatures
    }
}

impl AddAssign for Time {
    fn add_assign(&mut self, more: Self) {
        self.client += more.client;
        self.gateway += more.gateway;
        self.signatures += more.signatures;
    }
}

/// A tenth of the logins.
struct Tenth {
    logins: u32,
    time: Time,
    /// The fewest bytes that were allocated after a login: what is left when the gateway has just forgotten old nonces.
    heap: usize,
    /// KiB.
    resident: usize,
}

impl Tenth {
    fn print(&self, number: u32) {
        let milliseconds = |time: Duration| (time / self.logins).as_secs_f64() * 1e3;
        let signature = (self.time.signatures / self.logins / SIGNATURES).as_nanos();
        println!(
            "| {number} | {:.2} ms | {:.2} ms | {signature} ns | {} B | {} KiB |",
            milliseconds(self.time.client),
            milliseconds(self.time.gateway),
            self.heap,
            self.resident
        );
    }
}

fn live_heap() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// KiB of the process in memory.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
