//! A thousand, ten thousand and a hundred thousand logged-in clients on one thread, with one timer queue: what each weighs,
//! and what all of them take to log in and to stay logged in. Keys and server are fakes that cost next to nothing, so that
//! the clients are what is measured. Needs Linux, which says what a thread has used of a processor.
//!
//! ```text
//! cargo bench --bench scale
//! ```

mod support;

use std::alloc::System;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth::{AccessToken, Client, Consumer, OAuthSession, Output, Response, UnixTime};
use rand::rngs::StdRng;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::tests::scripted::{ACCOUNTS, READY, tickle};
use support::tests::vectors::{IBKR, vector};
use support::tests::{Powers, WorkedLogin};
use support::{NOW, cpu_time, rng};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SIZES: [usize; 3] = [1000, 10_000, 100_000];
/// Of each size as many fleets as have so many sessions together: the kernel counts a thread's time in milliseconds.
const SESSIONS: usize = 100_000;
/// Minutes, and then polls, of each session.
const SWEEPS: usize = 20;
const MINUTE: Duration = Duration::from_secs(60);
/// Logged in, and the brokerage session opened.
const STORM: Duration = Duration::from_secs(10);
/// A hundred times the sessions do not fit into the processor's caches: each may take longer, but no more than this.
const ABSURD: f64 = 5.0;

fn main() {
    println!(
        "| sessions | bytes of each | storm of logins | of each | a minute, a tickle each | of each | a poll | of each |"
    );
    println!("| --: | --: | --: | --: | --: | --: | --: | --: |");
    let rows = SIZES.map(|count| {
        let row = Row::measure(count);
        row.print();
        row
    });
    let (first, last) = (&rows[0], &rows[SIZES.len() - 1]);
    assert!(last.bytes <= first.bytes + first.bytes / 20, "a session weighs more among many");
    for (one, among_many) in first.times().into_iter().zip(last.times()) {
        assert!(among_many < one * ABSURD, "a session takes {among_many} µs among many, {one} µs among few");
    }
}

/// What the fleets of one size took.
struct Row {
    count: usize,
    bytes: usize,
    storm: Duration,
    minutes: Duration,
    polls: Duration,
}

impl Row {
    fn measure(count: usize) -> Self {
        let [storm, minutes, polls] = [Duration::ZERO; 3];
        let mut row = Self { count, bytes: 0, storm, minutes, polls };
        (0..SESSIONS / count).for_each(|_| row.add_fleet());
        row
    }

    fn add_fleet(&mut self) {
        let (count, mut server, heap) = (self.count, Server::new(), live_heap());
        let mut fleet = Fleet::new(count, &server);
        self.storm += timed(|| assert_eq!(fleet.drive(&mut server, STORM), 4 * count, "login, init, tickle, accounts"));
        assert!(fleet.is_ready(server.now));
        self.minutes +=
            timed(|| assert_eq!(fleet.drive(&mut server, MINUTE * SWEEPS as u32), SWEEPS * count, "tickles"));
        assert!(fleet.is_ready(server.now));
        self.polls += timed(|| (0..SWEEPS).for_each(|_| fleet.poll_all(&mut server)));
        self.bytes = (live_heap() - heap) / count;
    }

    /// Microseconds of each session: for its login, a minute of its life, a poll.
    fn times(&self) -> [f64; 3] {
        let each = |time: Duration, times: usize| time.as_secs_f64() * 1e6 / (SESSIONS * times) as f64;
        [each(self.storm, 1), each(self.minutes, SWEEPS), each(self.polls, SWEEPS)]
    }

    fn print(&self) {
        let of_all = self.times().map(|time| time * self.count as f64 / 1e3);
        let [storm, minute, poll] = self.times();
        let [storms, minutes, polls] = of_all;
        println!(
            "| {} | {} | {storms:.0} ms | {storm:.1} µs | {minutes:.1} ms | {minute:.2} µs | {polls:.2} ms | {:.0} ns |",
            self.count,
            self.bytes,
            poll * 1e3,
        );
    }
}

/// All clients, and the one timer queue: when each of them has something to do next.
struct Fleet {
    clients: Vec<Client>,
    timers: BinaryHeap<Reverse<(UnixTime, usize)>>,
}

impl Fleet {
    fn new(count: usize, server: &Server) -> Self {
        let token = |number| AccessToken::new(&format!("{number:020x}"), "c2VjcmV0").unwrap();
        let session = |number| OAuthSession::with_access_token(server.consumer.clone(), token(number));
        let clients = (0..count).map(|number| Client::new(session(number))).collect();
        Self { clients, timers: (0..count).map(|number| Reverse((server.now, number))).collect() }
    }

    /// Lets so much time pass; returns how many requests that took.
    fn drive(&mut self, server: &mut Server, time: Duration) -> usize {
        let end = server.now.saturating_add(time);
        let mut requests = 0;
        while let Some(&Reverse((at, number))) = self.timers.peek().filter(|Reverse((at, _))| *at < end) {
            self.timers.pop();
            server.now = server.now.max(at);
            let (next, sent) = server.serve(&mut self.clients[number]);
            self.timers.push(Reverse((next, number)));
            requests += sent;
        }
        server.now = end;
        requests
    }

    /// As after a wake-up that nobody knows the cause of.
    fn poll_all(&mut self, server: &mut Server) {
        for client in &mut self.clients {
            server.serve(client);
        }
    }

    fn is_ready(&self, now: UnixTime) -> bool {
        self.clients.iter().all(|client| client.brokerage_phase(now) == BrokeragePhase::Ready)
    }
}

/// Answers what clients ask, without a look at it.
struct Server {
    consumer: Consumer,
    token: String,
    tickle: String,
    rng: StdRng,
    now: UnixTime,
}

impl Server {
    fn new() -> Self {
        let worked = vector(IBKR, "ibkrdotnet-dh-signBitPadded");
        let login = WorkedLogin::read(&worked);
        let consumer = Consumer::builder(login.consumer.consumer_key(), Powers::read(&worked), login.dh.clone());
        let (token, tickle) = (login.body(None), tickle(READY));
        Self { consumer: consumer.build().unwrap(), token, tickle, rng: rng(1), now: NOW }
    }

    /// Does what `client` has to do now; returns when it has more to do, and how many requests that took.
    fn serve(&mut self, client: &mut Client) -> (UnixTime, usize) {
        let mut requests = 0;
        loop {
            match client.poll(&mut self.rng, self.now) {
                Output::Send { request, exchange } => {
                    let response = Response::new(200, self.answer(request.path()).as_bytes());
                    client.handle_response(exchange, &response, self.now).unwrap();
                    requests += 1;
                }
                Output::Event(_) => {}
                Output::Wait(until) => return (until, requests),
            }
        }
    }

    fn answer(&self, path: &str) -> &str {
        match path.rsplit('/').next().unwrap() {
            "live_session_token" => &self.token,
            "tickle" => &self.tickle,
            "accounts" => ACCOUNTS,
            _ => READY,
        }
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = cpu_time();
    work();
    cpu_time() - start
}

fn live_heap() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}
