//! Log in, and stay logged in through everything that happens at night.
//!
//! ```text
//! cargo run --example keep_alive [-- --credentials FILE [--base-url URL]]
//! ```
//!
//! Without credentials: three days in a second, against a gateway of our own on a virtual clock, with nightly resets, a
//! competing login, an outage, a 410 and a clock that is off. With them (the file is that of `login`; the
//! environment variable `IBKR_CREDENTIALS` names it too): the same loop in real time, until interrupted. It opens a
//! brokerage session and leaves one that competes alone.

mod support;

use std::collections::VecDeque;
use std::error::Error;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use ibkr_oauth::brokerage::{BrokeragePhase, CompetePolicy};
use ibkr_oauth::{Client, Error as OAuthError, Event, Maintenance, Output, Request, Response, UnixTime};
use ibkr_oauth_gateway::{Gateway, Incident, TestKeys};
use rand::SeedableRng;
use rand::rngs::StdRng;

use support::{Account, Credentials, USER, agent, enroll, now, rng, send};

const HOUR: Duration = Duration::from_secs(3600);

/// Where requests go and time comes from.
trait World {
    fn now(&self) -> UnixTime;
    fn wait_until(&mut self, at: UnixTime);
    fn send(&mut self, request: Request) -> Result<Response<'static>, Box<dyn Error>>;
}

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    account: Account,
}

fn main() -> ExitCode {
    support::exit_code(run(&Arguments::parse().account))
}

fn run(account: &Account) -> Result<(), Box<dyn Error>> {
    match account.read()? {
        Some(credentials) => real_time(&credentials),
        None => three_days(),
    }
}

fn real_time(credentials: &Credentials) -> Result<(), Box<dyn Error>> {
    println!("Staying logged in until interrupted.");
    let mut client = Client::new(credentials.session()?);
    keep_alive(&mut client, &mut RealWorld { agent: agent() }, UnixTime::from_millis(u64::MAX))
}

fn three_days() -> Result<(), Box<dyn Error>> {
    println!("Three days against a gateway of our own, on a virtual clock (day and time in New York):\n");
    let mut gateway = Gateway::new("http://127.0.0.1:4000/v1/api")?;
    let credentials = enroll(&mut gateway, &TestKeys::generate()?, "KEEPALIVE")?;
    let mut world = VirtualWorld::new(gateway);
    let end = world.now().saturating_add(HOUR * 72);
    let mut client = Client::new(credentials.session()?).with_compete_policy(CompetePolicy::TakeOver);
    keep_alive(&mut client, &mut world, end)?;
    println!("\nThree days, and still logged in.");
    Ok(())
}

/// The whole loop: do what the client says, and tell what happens.
fn keep_alive(client: &mut Client, world: &mut dyn World, end: UnixTime) -> Result<(), Box<dyn Error>> {
    let (started, mut last_words) = (world.now(), String::new());
    while world.now() < end {
        match client.poll(&mut rng(), world.now()) {
            Output::Send { request, exchange } => match world.send(request) {
                Ok(response) => _ = client.handle_response(exchange, &response, world.now()), // too late: no harm
                Err(error) => println!("No response: {error}."), // and the exchange is dropped
            },
            Output::Event(Event::Stopped { error }) => return Err(error.into()),
            Output::Event(event) => {
                let Some(words) = in_words(&event, world.now()) else { continue };
                // In an outage, many requests fail alike.
                if words != last_words || !matches!(event, Event::BrokerageFailed { .. }) {
                    println!("{}  {words}", day_and_time(started, world.now()));
                    last_words = words;
                }
            }
            Output::Wait(until) => world.wait_until(until.min(end)),
        }
    }
    Ok(())
}

fn day_and_time(started: UnixTime, now: UnixTime) -> String {
    let minutes = now.saturating_since(started).as_secs() / 60;
    format!("day {} {:02}:{:02}", 1 + minutes / 1440, minutes / 60 % 24, minutes % 60)
}

/// What `event` means, if anything has to be told. Never a secret.
fn in_words(event: &Event, now: UnixTime) -> Option<String> {
    let seconds_to = |at: &UnixTime| at.saturating_since(now).as_secs();
    Some(match event {
        Event::LoggedIn { until } => format!("logged in for the next {} hours", seconds_to(until).div_ceil(3600)),
        Event::LoginFailed { error, next_attempt } => {
            format!("the login failed: {}; next attempt in {} s", cause(error), seconds_to(next_attempt))
        }
        Event::Stopped { error } => format!("no login is possible before something is changed here: {error}"),
        Event::LoginContested => "another program logs in with the same access token: the next login waits".into(),
        Event::Brokerage(phase) => phase_in_words(*phase)?.into(),
        Event::BrokerageContested => "another program takes the brokerage session back each time: waiting".into(),
        Event::BrokerageFailed { error, .. } => {
            let maintenance = Maintenance::at(now).map_or(String::new(), |known| format!(" ({known})"));
            format!("a request failed: {}{maintenance}", cause(error))
        }
        Event::ClockOff { seconds } => {
            let direction = if *seconds > 0 { "behind" } else { "ahead of" };
            format!("our clock is {} s {direction} IBKR's: timestamps are corrected", seconds.unsigned_abs())
        }
        Event::QueryPolicyChanged(_) => "IBKR wants queries signed in the other way: done from now on".into(),
        Event::LoggedOut => "logged out".into(),
        _ => return None,
    })
}

fn phase_in_words(phase: BrokeragePhase) -> Option<&'static str> {
    match phase {
        BrokeragePhase::Missing => Some("the brokerage session is gone: opening a new one"),
        BrokeragePhase::Ready => Some("the brokerage session is ready: orders and market data work"),
        BrokeragePhase::Unconfirmed => Some("for five minutes IBKR has not said that the brokerage session is there"),
        BrokeragePhase::Competing => Some("the user logged in somewhere else and has the brokerage session"),
        _ => None,
    }
}

/// In one sentence; the whole message also has the remedy.
fn cause(error: &OAuthError) -> String {
    match error {
        OAuthError::Rejected(rejected) => format!("HTTP {}, {}", rejected.status, rejected.diagnosis.cause()),
        other => other.to_string(),
    }
}

struct RealWorld {
    agent: ureq::Agent,
}

impl World for RealWorld {
    fn now(&self) -> UnixTime {
        now()
    }

    fn wait_until(&mut self, at: UnixTime) {
        thread::sleep(at.saturating_since(now()));
    }

    fn send(&mut self, request: Request) -> Result<Response<'static>, Box<dyn Error>> {
        Ok(send(&self.agent, request)?)
    }
}

/// The gateway without a socket, on a clock that jumps to wherever it is wanted.
struct VirtualWorld {
    gateway: Gateway,
    rng: StdRng,
    now: UnixTime,
    /// What will be told about, in order.
    incidents: VecDeque<(UnixTime, &'static str)>,
}

impl VirtualWorld {
    /// Begins at midnight in New York on Thursday, 2 May 2024: day 1, 0:00.
    fn new(mut gateway: Gateway) -> Self {
        let now = UnixTime::from_secs(1_714_622_400);
        let half_an_hour = HOUR / 2;
        let user = || USER.to_string();
        let script = [
            (6, Incident::CompetingLogin { user: user() }, "the user opens TWS, which takes the brokerage session"),
            (12, Incident::Outage { lasts: half_an_hour }, "an outage of half an hour begins"),
            (24, Incident::NightlyReset, "the nightly reset"),
            (32, Incident::NoBrokerageSessions { lasts: half_an_hour }, "no brokerage sessions for half an hour"),
            (32, Incident::NightlyReset, "and the one that was there is closed"),
            (36, Incident::Gone, "the session is moved to another server"),
            (42, Incident::LiveSessionsEnd, "all live session tokens are forgotten"),
            (48, Incident::NightlyReset, "the nightly reset"),
            (56, Incident::ClockSkew { seconds: 420 }, "from here on, our clock is seven minutes slow"),
        ];
        let mut incidents = VecDeque::new();
        for (hour, incident, words) in script {
            let at = now.saturating_add(HOUR * hour);
            gateway.schedule(at.into(), incident);
            incidents.push_back((at, words));
        }
        Self { gateway, rng: StdRng::seed_from_u64(1), now, incidents }
    }
}

impl World for VirtualWorld {
    fn now(&self) -> UnixTime {
        self.now
    }

    fn wait_until(&mut self, at: UnixTime) {
        self.now = self.now.max(at);
        while let Some((_, words)) = self.incidents.front().filter(|(begins, _)| *begins <= at) {
            println!("                 ... at IBKR: {words}");
            self.incidents.pop_front();
        }
    }

    fn send(&mut self, request: Request) -> Result<Response<'static>, Box<dyn Error>> {
        let request = http::Request::try_from(request)?;
        Ok(self.gateway.handle(&request, &mut self.rng, self.now.into()).into())
    }
}
