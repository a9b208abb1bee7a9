//! Log in, and stay logged in through everything that happens at night.
//!
//! ```text
//! cargo run --example keep_alive [-- --credentials FILE [--base-url URL]]
//! ```
//!
//! Without credentials: three days in a few seconds, against a gateway of our own on a virtual clock, with a nightly
//! reset, a competing login, an outage, a 410 and a clock that is off. With them (the file is that of `login`; the
//! environment variable `IBKR_CREDENTIALS` names it too): the same loop in real time, until interrupted. It opens a
//! brokerage session and leaves one that competes alone.

mod support;

use std::collections::VecDeque;
use std::error::Error;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use ibkr_oauth::brokerage::{BrokerageEvent, BrokerageOutbound, BrokeragePhase, BrokerageSession, CompetePolicy};
use ibkr_oauth::{Backoff, OAuthSession, Outbound, Request, Response, Retry, UnixTime};
use ibkr_oauth_gateway::{Gateway, Incident};
use rand::SeedableRng;
use rand::rngs::StdRng;

use support::arguments::Arguments;
use support::credentials::{Credentials, Keys, Party, USER};
use support::{driver, in_process};

const HOUR: Duration = Duration::from_secs(3600);

/// Where requests go and time comes from.
trait World {
    fn now(&self) -> UnixTime;
    fn wait_until(&mut self, at: UnixTime);
    fn send(&mut self, request: Request) -> Result<Response<'static>, Box<dyn Error>>;
}

fn main() -> ExitCode {
    let outcome: Result<(), Box<dyn Error>> =
        Arguments::parse(&["--credentials", "--base-url"]).map_err(Into::into).and_then(run);
    support::exit_code(outcome)
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    match arguments.credentials()? {
        Some(credentials) => real_time(&credentials),
        None => three_days(),
    }
}

fn real_time(credentials: &Credentials) -> Result<(), Box<dyn Error>> {
    let access_token = credentials.access_token()?.ok_or("the file has no access token: run `login` first")?;
    let oauth = OAuthSession::with_access_token(credentials.consumer()?.build()?, access_token);
    let mut world = RealWorld { agent: driver::agent() };
    println!("Staying logged in until interrupted.");
    Keeper::new(oauth, CompetePolicy::Yield, world.now()).keep_alive(&mut world, UnixTime::from_millis(u64::MAX))
}

fn three_days() -> Result<(), Box<dyn Error>> {
    println!("Three days against a gateway of our own, on a virtual clock (day and time in New York):\n");
    let mut gateway = Gateway::new("http://127.0.0.1:4000/v1/api")?;
    let keys = Keys::generate(&mut |_| {})?;
    let credentials = Credentials::enroll(&mut gateway, &keys, "KEEPALIVE", &Party::First)?;
    let access_token = credentials.access_token()?.ok_or("the portal issued no access token")?;
    let oauth = OAuthSession::with_access_token(credentials.consumer()?.build()?, access_token);
    let mut world = VirtualWorld::new(gateway);
    let end = world.now().saturating_add(HOUR * 72);
    Keeper::new(oauth, CompetePolicy::TakeOver, world.now()).keep_alive(&mut world, end)?;
    println!("\nThree days, and still logged in.");
    Ok(())
}

/// A login and the brokerage session behind it.
struct Keeper {
    oauth: OAuthSession,
    brokerage: BrokerageSession,
    started: UnixTime,
    /// After a failed login: how long to wait, and until when.
    backoff: Backoff,
    login_at: UnixTime,
    failures: u32,
    known_skew: i32,
}

impl Keeper {
    fn new(oauth: OAuthSession, policy: CompetePolicy, started: UnixTime) -> Self {
        Self {
            oauth,
            brokerage: BrokerageSession::new(policy),
            started,
            backoff: Backoff::default(),
            login_at: started,
            failures: 0,
            known_skew: 0,
        }
    }

    /// The whole loop: let both machines do what is due, then wait for whichever wants something next.
    fn keep_alive(&mut self, world: &mut dyn World, end: UnixTime) -> Result<(), Box<dyn Error>> {
        while world.now() < end {
            if world.now() >= self.login_at {
                self.log_in(world)?;
            }
            self.keep_brokerage_session(world)?;
            self.report_skew(world.now());
            world.wait_until(self.next_moment(world.now()).min(end));
        }
        Ok(())
    }

    fn next_moment(&self, now: UnixTime) -> UnixTime {
        let login_at = match self.oauth.poll_timeout() {
            Some(refresh_at) if refresh_at > now => refresh_at,
            _ => self.login_at.max(now),
        };
        let brokerage_at = self.brokerage.poll_timeout().filter(|_| self.oauth.live(now).is_some());
        brokerage_at.map_or(login_at, |at| at.min(login_at)).max(now.saturating_add(Duration::from_millis(10)))
    }

    fn log_in(&mut self, world: &mut dyn World) -> Result<(), Box<dyn Error>> {
        let mut rng = driver::rng();
        while let Some(Outbound { request, exchange }) = self.oauth.poll_request(&mut rng, world.now())? {
            let before = self.oauth.live(world.now()).is_some();
            let now = world.now();
            let retry = match world.send(request) {
                Ok(answer) => match self.oauth.handle_response(exchange, answer, now) {
                    Ok(_) if before => {
                        self.say(now, "the next live session token is here, ten minutes before the old one expires");
                        continue;
                    }
                    Ok(_) => {
                        self.backoff.reset();
                        self.say(now, "logged in: there is a live session token for 24 hours");
                        continue;
                    }
                    Err(error) => {
                        self.say(now, &format!("the login failed: {error}"));
                        error.retry(now)
                    }
                },
                Err(error) => {
                    self.say(now, &format!("the login got no answer: {error}"));
                    Retry::Again
                }
            };
            let again_at = self.backoff.next_attempt(retry, &mut rng, now);
            self.login_at = again_at.ok_or("waiting does not help: something must be changed first")?;
            return Ok(());
        }
        Ok(())
    }

    fn keep_brokerage_session(&mut self, world: &mut dyn World) -> Result<(), Box<dyn Error>> {
        let Some(live) = self.oauth.live(world.now()).cloned() else {
            return Ok(());
        };
        let mut rng = driver::rng();
        while let Some(BrokerageOutbound { request, exchange }) =
            self.brokerage.poll_request(&live, &mut rng, world.now())?
        {
            let now = world.now();
            let Ok(answer) = world.send(request) else {
                self.say(now, "a request got no answer; the next one is sent on time");
                return Ok(());
            };
            let event = self.brokerage.handle_response(exchange, answer, now)?;
            self.report(&event, now);
            if event == BrokerageEvent::LiveSessionRefused {
                self.oauth.invalidate(&live);
                return Ok(());
            }
        }
        Ok(())
    }

    fn report(&mut self, event: &BrokerageEvent, now: UnixTime) {
        if let BrokerageEvent::Failed { error, maintenance, .. } = event {
            self.failures += 1;
            if self.failures == 1 {
                let maintenance = maintenance.map_or(String::new(), |known| format!(" ({known})"));
                self.say(now, &format!("a request failed: {}{maintenance}", cause(error)));
            }
            return;
        }
        let still_closed = *event == BrokerageEvent::Alive && self.brokerage.phase(now) != BrokeragePhase::Ready;
        if self.failures > 0 && !still_closed {
            self.say(now, &format!("IBKR answers again, after {} failed requests", self.failures));
            self.failures = 0;
        }
        match event {
            BrokerageEvent::Ready => self.say(now, "the brokerage session is ready: orders and market data work"),
            BrokerageEvent::Lost => {
                self.say(now, "the brokerage session is gone, the token is fine: opening a new one")
            }
            BrokerageEvent::Competing => {
                self.say(now, "the user logged in somewhere else and has the brokerage session")
            }
            BrokerageEvent::LiveSessionRefused => {
                self.say(now, "IBKR does not accept the live session token any more: fetching a new one");
            }
            BrokerageEvent::LoggedOut => self.say(now, "logged out"),
            _ => {}
        }
    }

    fn report_skew(&mut self, now: UnixTime) {
        let skew = self.oauth.clock_skew();
        if skew != self.known_skew {
            self.known_skew = skew;
            self.say(now, &format!("our clock is off by {} s against IBKR's: timestamps are corrected", skew.abs()));
        }
    }

    fn say(&self, now: UnixTime, line: &str) {
        let minutes = now.saturating_since(self.started).as_secs() / 60;
        println!("day {} {:02}:{:02}  {line}", 1 + minutes / 1440, minutes / 60 % 24, minutes % 60);
    }
}

/// In one sentence; the whole message also has the remedy.
fn cause(error: &ibkr_oauth::Error) -> String {
    match error {
        ibkr_oauth::Error::Rejected(rejected) => format!("HTTP {}, {}", rejected.status, rejected.diagnosis.cause()),
        other => other.to_string(),
    }
}

struct RealWorld {
    agent: ureq::Agent,
}

impl World for RealWorld {
    fn now(&self) -> UnixTime {
        driver::now()
    }

    fn wait_until(&mut self, at: UnixTime) {
        thread::sleep(at.saturating_since(driver::now()));
    }

    fn send(&mut self, request: Request) -> Result<Response<'static>, Box<dyn Error>> {
        Ok(driver::send(&self.agent, request)?)
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
            gateway.schedule(in_process::system_time(at), incident);
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
        in_process::send(&mut self.gateway, request, &mut self.rng, self.now)
    }
}
