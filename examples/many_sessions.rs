//! A thousand sessions on one thread with one timer queue: many users of one third party, each with a login and a
//! brokerage session of its own.
//!
//! ```text
//! cargo run --release --example many_sessions [-- --sessions N] [--minutes N]
//! ```
//!
//! It runs against a gateway of our own on a virtual clock, since nobody has a thousand accounts, and says what a
//! session weighs.

mod support;

use std::alloc::System;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth::{AccessToken, Client, Consumer, OAuthSession, Output, Request, Response, UnixTime};
use ibkr_oauth::{Pacing, Penalty};
use ibkr_oauth_gateway::{AccountKind, Gateway, TestKeys, User};
use rand::SeedableRng;
use rand::rngs::StdRng;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use support::enroll;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 1000)]
    sessions: usize,
    /// How long they are kept alive
    #[arg(long, default_value_t = 10)]
    minutes: u32,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    support::exit_code(run(arguments.sessions, arguments.minutes))
}

/// Logs `count` users in, keeps them alive for so many minutes, and says what that took.
fn run(count: usize, minutes: u32) -> Result<(), Box<dyn Error>> {
    let mut world = World::new()?;
    let mut fleet = Fleet::new(world.enroll(count)?, world.now);

    let started = Instant::now();
    fleet.drive(&mut world, Duration::from_secs(4))?;
    let seconds = started.elapsed().as_secs_f64();
    println!("{} sessions are live and have a brokerage session, after {seconds:.1} s.", fleet.ready(world.now));

    let started = Instant::now();
    let requests = fleet.drive(&mut world, Duration::from_secs(60) * minutes)?;
    let (ready, seconds) = (fleet.ready(world.now), started.elapsed().as_secs_f64());
    println!("{minutes} minutes later: {ready} are ready; {requests} tickles in {seconds:.1} s, both halves.");
    println!("Memory: {} bytes for a session.", fleet.weigh_one());
    if ready == count { Ok(()) } else { Err("not every session is ready".into()) }
}

/// All clients, and the one timer queue: when each of them has something to do next.
struct Fleet {
    clients: Vec<Client>,
    timers: BinaryHeap<Reverse<(UnixTime, usize)>>,
}

impl Fleet {
    fn new(clients: Vec<Client>, now: UnixTime) -> Self {
        let timers = (0..clients.len()).map(|index| Reverse((now, index))).collect();
        Self { clients, timers }
    }

    /// Lets so much time pass; returns how many requests that took.
    fn drive(&mut self, world: &mut World, time: Duration) -> Result<usize, Box<dyn Error>> {
        let end = world.now.saturating_add(time);
        let mut requests = 0;
        while let Some(&Reverse((at, index))) = self.timers.peek().filter(|Reverse((at, _))| *at < end) {
            self.timers.pop();
            world.now = world.now.max(at);
            let (next, sent) = world.serve(&mut self.clients[index])?;
            self.timers.push(Reverse((next, index)));
            requests += sent;
        }
        world.now = end;
        Ok(requests)
    }

    fn ready(&self, now: UnixTime) -> usize {
        self.clients.iter().filter(|client| client.brokerage_phase(now) == BrokeragePhase::Ready).count()
    }

    /// Bytes that dropping one client gives back, and its own size.
    fn weigh_one(&mut self) -> usize {
        let client = self.clients.pop();
        let region = Region::new(ALLOCATOR);
        drop(client);
        region.change().bytes_deallocated + size_of::<Client>()
    }
}

/// The gateway without a socket, a consumer, and a clock.
struct World {
    gateway: Gateway,
    consumer: Consumer,
    /// All leave from one address: a 429 pauses all.
    penalty: Penalty,
    rng: StdRng,
    now: UnixTime,
}

const CONSUMER: &str = "MANYUSERS";

impl World {
    fn new() -> Result<Self, Box<dyn Error>> {
        let mut gateway = Gateway::new("http://127.0.0.1:4000/v1/api")?;
        let consumer = enroll(&mut gateway, &TestKeys::generate()?, CONSUMER)?.consumer()?.build()?;
        let now = UnixTime::from_secs(1_714_622_400);
        Ok(Self { gateway, consumer, penalty: Penalty::default(), rng: StdRng::seed_from_u64(1), now })
    }

    fn enroll(&mut self, count: usize) -> Result<Vec<Client>, Box<dyn Error>> {
        let kinds = [AccountKind::Paper, AccountKind::Live].into_iter().cycle();
        kinds.take(count).enumerate().map(|(number, kind)| self.enroll_one(&format!("user{number}"), kind)).collect()
    }

    fn enroll_one(&mut self, name: &str, kind: AccountKind) -> Result<Client, Box<dyn Error>> {
        self.gateway.add_user(User { name: name.to_string(), accounts: vec![format!("DU-{name}")], kind });
        let issued = self.gateway.issue_access_token(CONSUMER, name, &mut self.rng)?;
        let access_token = AccessToken::new(&issued.token, &issued.secret_base64)?;
        let session = OAuthSession::with_access_token(self.consumer.clone(), access_token);
        Ok(Client::new(session).with_pacing(Pacing::default().with_penalty(self.penalty.clone())))
    }

    /// Does what `client` has to do now; returns when it has more to do, and how many requests that took.
    fn serve(&mut self, client: &mut Client) -> Result<(UnixTime, usize), Box<dyn Error>> {
        let mut requests = 0;
        loop {
            match client.poll(&mut self.rng, self.now) {
                Output::Send { request, exchange } => {
                    let response = self.send(request)?;
                    client.handle_response(exchange, &response, self.now)?;
                    requests += 1;
                }
                Output::Event(_) => {}
                Output::Wait(until) => return Ok((until, requests)),
            }
        }
    }

    fn send(&mut self, request: Request) -> Result<Response<'static>, Box<dyn Error>> {
        let request = http::Request::try_from(request)?;
        Ok(self.gateway.handle(&request, &mut self.rng, self.now.into()).into())
    }
}
