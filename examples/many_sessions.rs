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

use ibkr_oauth::brokerage::{BrokerageOutbound, BrokeragePhase, BrokerageSession, CompetePolicy};
use ibkr_oauth::{AccessToken, Consumer, OAuthSession, Outbound, Request, Response, UnixTime};
use ibkr_oauth_gateway::{Gateway, User};
use rand::SeedableRng;
use rand::rngs::StdRng;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use support::arguments::Arguments;
use support::credentials::{Credentials, Keys, Party};
use support::in_process;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    let outcome: Result<(), Box<dyn Error>> =
        Arguments::parse(&["--sessions", "--minutes"]).map_err(Into::into).and_then(|arguments| {
            let number = |flag: &str, default: usize| arguments.get(flag).map_or(Ok(default), str::parse);
            run(number("--sessions", 1000)?, number("--minutes", 10)?)
        });
    support::exit_code(outcome)
}

/// Logs `count` users in, keeps them alive for so many minutes, and says what that took.
pub fn run(count: usize, minutes: usize) -> Result<(), Box<dyn Error>> {
    let mut world = World::new()?;
    let users = world.enroll(count)?;

    let region = Region::new(ALLOCATOR);
    let mut fleet = Fleet::new(users, world.now);
    let started = Instant::now();
    let stopped_at = world.now.saturating_add(Duration::from_secs(1));
    fleet.drive(&mut world, stopped_at)?;
    let logins = started.elapsed();
    println!(
        "{} sessions are live and have a brokerage session, after {:.1} s.",
        fleet.ready(world.now),
        logins.as_secs_f64()
    );
    // The gateway's memory of them is in it too: the client's part is what one session weighs when it is built alone.
    let change = region.change();
    let both_halves = (change.bytes_allocated.saturating_sub(change.bytes_deallocated)) / count.max(1);
    println!("Memory: {} bytes for a session; {both_halves} with the gateway's half of it.", world.weigh()?);

    let started = Instant::now();
    let end = world.now.saturating_add(Duration::from_secs(60) * u32::try_from(minutes)?);
    let requests = fleet.drive(&mut world, end)?;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{minutes} minutes later: {} are ready; {requests} tickles in {seconds:.1} s, both halves.",
        fleet.ready(world.now)
    );
    if fleet.ready(world.now) == count { Ok(()) } else { Err("not every session is ready".into()) }
}

/// All sessions and the one timer queue.
struct Fleet {
    members: Vec<Member>,
    timers: BinaryHeap<Reverse<(UnixTime, usize)>>,
}

struct Member {
    oauth: OAuthSession,
    brokerage: BrokerageSession,
}

impl Member {
    fn new(oauth: OAuthSession) -> Self {
        Self { oauth, brokerage: BrokerageSession::new(CompetePolicy::Yield) }
    }

    /// Does what is due; returns how many requests that took.
    fn step(&mut self, world: &mut World) -> Result<usize, Box<dyn Error>> {
        let mut requests = 0;
        while let Some(Outbound { request, exchange }) = self.oauth.poll_request(&mut world.rng, world.now)? {
            let answer = world.send(request)?;
            self.oauth.handle_response(exchange, answer, world.now)?;
            requests += 1;
        }
        let Some(live) = self.oauth.live(world.now).cloned() else {
            return Ok(requests);
        };
        while let Some(BrokerageOutbound { request, exchange }) =
            self.brokerage.poll_request(&live, &mut world.rng, world.now)?
        {
            let answer = world.send(request)?;
            self.brokerage.handle_response(exchange, answer, world.now)?;
            requests += 1;
        }
        Ok(requests)
    }

    fn next_moment(&self) -> Option<UnixTime> {
        self.oauth.poll_timeout().into_iter().chain(self.brokerage.poll_timeout()).min()
    }
}

impl Fleet {
    fn new(sessions: Vec<OAuthSession>, now: UnixTime) -> Self {
        let timers = (0..sessions.len()).map(|index| Reverse((now, index))).collect();
        Self { members: sessions.into_iter().map(Member::new).collect(), timers }
    }

    fn drive(&mut self, world: &mut World, end: UnixTime) -> Result<usize, Box<dyn Error>> {
        let mut requests = 0;
        while let Some(&Reverse((at, index))) = self.timers.peek().filter(|Reverse((at, _))| *at < end) {
            self.timers.pop();
            world.now = world.now.max(at);
            requests += self.members[index].step(world)?;
            if let Some(next) = self.members[index].next_moment() {
                self.timers.push(Reverse((next, index)));
            }
        }
        world.now = end;
        Ok(requests)
    }

    fn ready(&self, now: UnixTime) -> usize {
        self.members.iter().filter(|member| member.brokerage.phase(now) == BrokeragePhase::Ready).count()
    }
}

/// The gateway without a socket, a consumer, and a clock.
struct World {
    gateway: Gateway,
    consumer: Consumer,
    rng: StdRng,
    now: UnixTime,
}

const CONSUMER: &str = "MANYUSERS";

impl World {
    fn new() -> Result<Self, Box<dyn Error>> {
        let mut gateway = Gateway::new("http://127.0.0.1:4000/v1/api")?;
        let keys = Keys::generate(&mut |_| {})?;
        let consumer = Credentials::enroll(&mut gateway, &keys, CONSUMER, &Party::First)?.consumer()?.build()?;
        Ok(Self { gateway, consumer, rng: StdRng::seed_from_u64(1), now: UnixTime::from_secs(1_714_622_400) })
    }

    fn enroll(&mut self, count: usize) -> Result<Vec<OAuthSession>, Box<dyn Error>> {
        (0..count).map(|number| self.enroll_one(&format!("user{number}"), number % 2 == 0)).collect()
    }

    fn enroll_one(&mut self, name: &str, is_paper: bool) -> Result<OAuthSession, Box<dyn Error>> {
        self.gateway.add_user(User { name: name.to_string(), accounts: vec![format!("DU-{name}")], is_paper });
        let issued = self.gateway.issue_access_token(CONSUMER, name, &mut self.rng)?;
        let access_token = AccessToken::new(&issued.token, &issued.secret_base64)?;
        Ok(OAuthSession::with_access_token(self.consumer.clone(), access_token))
    }

    fn send(&mut self, request: Request) -> Result<Response<'static>, Box<dyn Error>> {
        in_process::send(&mut self.gateway, request, &mut self.rng, self.now)
    }

    /// Bytes that dropping one live session with its brokerage session gives back, and its own size.
    fn weigh(&mut self) -> Result<usize, Box<dyn Error>> {
        let mut member = Member::new(self.enroll_one("weighed", true)?);
        member.step(self)?;
        let region = Region::new(ALLOCATOR);
        drop(member);
        Ok(region.change().bytes_deallocated + size_of::<Member>())
    }
}
