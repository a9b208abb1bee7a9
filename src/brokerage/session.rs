//! The brokerage session: opened, kept alive, opened again.

use alloc::sync::{Arc, Weak};
use core::fmt;
use core::mem;
use core::time::Duration;
use rand_core::CryptoRng;

use super::answer::{self, Standing};
use super::event::{Bridge, BrokerageEvent, CompetePolicy};
use super::exchange::{BrokerageExchange, BrokerageOutbound, Step};
use super::maintenance::Maintenance;
use super::web_socket::WebSocketRequest;
use crate::error::{Error, Misuse};
use crate::token::Token;
use crate::{ApiRequest, Diagnosis, LiveSession, Response, Retry, UnixTime};

/// "Approximately every 60 seconds" (protocol section 8).
const TICKLE_PERIOD: Duration = Duration::from_secs(60);
/// Between asking for a brokerage session and asking whether it is ready.
const READY_PAUSE: Duration = Duration::from_secs(2);
/// After so many times, ask for a new one: half a minute.
const MAX_CHECKS: u32 = 15;
/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause after a failure, and the pause while IBKR is known to restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
const MAINTENANCE_PAUSE: Duration = Duration::from_secs(60);

/// Opens a brokerage session behind a live session, tickles it every minute, and opens it again when it is lost.
///
/// ```no_run
/// # use ibkr_oauth::{LiveSession, Request, Response, UnixTime};
/// # use ibkr_oauth::brokerage::{BrokerageEvent, BrokerageOutbound, BrokerageSession, CompetePolicy};
/// # fn send(_: &Request) -> Result<Response<'static>, std::io::Error> { unimplemented!() }
/// # fn wait_until(_: Option<UnixTime>) {}
/// # fn now() -> UnixTime { unimplemented!() }
/// # fn run(live: LiveSession, mut rng: impl rand_core::CryptoRng) -> Result<(), Box<dyn std::error::Error>> {
/// let mut brokerage = BrokerageSession::new(CompetePolicy::Yield);
/// loop {
///     while let Some(BrokerageOutbound { request, exchange }) = brokerage.poll_request(&live, &mut rng, now())? {
///         let Ok(response) = send(&request) else { break }; // a lost request is offered again, later
///         match brokerage.handle_response(exchange, response, now())? {
///             BrokerageEvent::Ready => println!("trading"),
///             BrokerageEvent::LiveSessionRefused => return Ok(()), // log in again
///             event => println!("{event:?}"),
///         }
///     }
///     wait_until(brokerage.poll_timeout());
/// }
/// # }
/// ```
///
/// Answers that are part of a session's life, refusals included, come as [`BrokerageEvent`]s: nothing that a server
/// says is an `Err`. A request that was handed out is not offered again at once, so a driver without answers does not
/// flood anybody.
pub struct BrokerageSession {
    policy: CompetePolicy,
    /// Whether the user has asked to take over this once.
    takes_over_once: bool,
    bridge: Bridge,
    /// When the next step towards the wanted state is due.
    step_at: UnixTime,
    /// When the next tickle is due; none before the first answer to an init.
    tickle_at: Option<UnixTime>,
    /// Failed steps in a row.
    failures: u32,
    /// Times in a row that a brokerage session could not be built.
    unavailable: u32,
    /// Live session tokens in a row that were refused, and the step that was, last.
    refusals: u32,
    refused_step: Option<Step>,
    /// Questions in a row whether it is ready, answered with no.
    checks: u32,
    session_id: Option<Token>,
    /// The live session that signed last.
    live: Option<LiveSession>,
    awaited: Weak<()>,
    /// The latest `now`: what is planned moves along if the clock goes back.
    seen_at: UnixTime,
}

impl BrokerageSession {
    /// With nothing done yet: the first poll asks for a brokerage session.
    pub fn new(policy: CompetePolicy) -> Self {
        Self {
            policy,
            takes_over_once: false,
            bridge: Bridge::Missing,
            step_at: UnixTime::from_millis(0),
            tickle_at: None,
            failures: 0,
            unavailable: 0,
            refusals: 0,
            refused_step: None,
            checks: 0,
            session_id: None,
            live: None,
            awaited: Weak::new(),
            seen_at: UnixTime::from_millis(0),
        }
    }

    /// Where the brokerage session stands.
    pub fn bridge(&self) -> Bridge {
        self.bridge
    }

    /// What to open a WebSocket with, from the first tickle on. It changes with the session id and with the login.
    pub fn web_socket(&self) -> Option<WebSocketRequest> {
        let (live, session_id) = (self.live.as_ref()?, self.session_id.as_ref()?);
        Some(WebSocketRequest::new(live.consumer(), live.access_token(), session_id))
    }

    /// When [`poll_request`](Self::poll_request) has work next: the next step or the next tickle; a moment that has passed
    /// means now. `None` while a request is in flight, and after a logout. If the clock may be set back, wait no longer
    /// than a minute at once: the next poll then plans anew.
    pub fn poll_timeout(&self) -> Option<UnixTime> {
        if self.awaited.strong_count() > 0 {
            return None;
        }
        let step_at = self.step().map(|_| self.step_at);
        step_at.into_iter().chain(self.next_tickle()).min()
    }

    fn next_tickle(&self) -> Option<UnixTime> {
        self.tickle_at.filter(|_| !matches!(self.bridge, Bridge::LoggingOut | Bridge::LoggedOut))
    }

    /// Asks for a brokerage session: again after a logout, and, this once, although another one competes, which is then
    /// logged out. A request in flight is no longer awaited.
    pub fn open(&mut self) {
        if self.bridge == Bridge::Ready {
            return;
        }
        self.takes_over_once = self.bridge == Bridge::Competing;
        self.bridge = Bridge::Missing;
        self.step_at = UnixTime::from_millis(0);
        self.awaited = Weak::new();
    }

    /// Closes the brokerage session: the next poll offers the logout, and after it nothing more. A request in flight is
    /// no longer awaited.
    pub fn log_out(&mut self) {
        self.bridge = Bridge::LoggingOut;
        self.step_at = UnixTime::from_millis(0);
        self.awaited = Weak::new();
    }

    /// The next request to send, signed with `live`, or `None` while nothing is due or one is in flight.
    ///
    /// # Errors
    /// Those of [`LiveSession::sign`]; then nothing has changed.
    pub fn poll_request(
        &mut self,
        live: &LiveSession,
        rng: &mut dyn CryptoRng,
        now: UnixTime,
    ) -> Result<Option<BrokerageOutbound>, Error> {
        self.follow_clock(now);
        let Some(step) = self.due(live, now).filter(|_| self.awaited.strong_count() == 0) else {
            return Ok(None);
        };
        let request = live.sign(&self.api_request(step), rng, now)?;
        let ticket = Arc::new(());
        self.awaited = Arc::downgrade(&ticket);
        if self.live.replace(live.clone()).is_some_and(|known| !known.is(live)) {
            // The session id belongs to the login: the next tickle brings the new one.
            self.session_id = None;
            self.tickle_at = self.tickle_at.map(|_| now);
        }
        // From here on the request counts as made, whatever becomes of it.
        match step {
            Step::Tickle => self.tickle_at = Some(now.saturating_add(TICKLE_PERIOD)),
            Step::Init | Step::Status | Step::Logout => self.step_at = now.saturating_add(FIRST_PAUSE),
        }
        Ok(Some(BrokerageOutbound { request, exchange: BrokerageExchange { ticket, step } }))
    }

    /// Moves what is planned along with a clock that went back.
    fn follow_clock(&mut self, now: UnixTime) {
        let back = self.seen_at.saturating_since(now);
        self.seen_at = now;
        self.step_at = self.step_at.saturating_sub(back);
        self.tickle_at = self.tickle_at.map(|at| at.saturating_sub(back));
    }

    fn due(&self, live: &LiveSession, now: UnixTime) -> Option<Step> {
        // A new login need not wait, unless new logins are refused one after the other.
        let is_new_login = self.live.as_ref().is_some_and(|known| !known.is(live)) && self.refusals < 2;
        if is_new_login && self.bridge == Bridge::Ready {
            // Whether a brokerage session outlives its live session token is not documented: ask.
            return Some(Step::Status);
        }
        let step = self.step().filter(|_| is_new_login || now >= self.step_at);
        let tickle = self.next_tickle().filter(|at| now >= *at).map(|_| Step::Tickle);
        tickle.or(step)
    }

    /// The step towards the wanted state.
    fn step(&self) -> Option<Step> {
        match self.bridge {
            Bridge::Missing => Some(Step::Init),
            Bridge::Competing if self.takes_over() => Some(Step::Init),
            Bridge::Opening => Some(Step::Status),
            Bridge::LoggingOut => Some(Step::Logout),
            Bridge::Ready | Bridge::LoggedOut | Bridge::Competing => None,
        }
    }

    fn takes_over(&self) -> bool {
        self.policy == CompetePolicy::TakeOver || self.takes_over_once
    }

    /// Protocol section 8: "publish must be set to true"; the others have no body.
    fn api_request(&self, step: Step) -> ApiRequest<'static> {
        match step {
            Step::Init if self.competes() => {
                ApiRequest::post("/iserver/auth/ssodh/init").json(br#"{"publish":true,"compete":true}"#)
            }
            Step::Init => ApiRequest::post("/iserver/auth/ssodh/init").json(br#"{"publish":true,"compete":false}"#),
            Step::Status => ApiRequest::post("/iserver/auth/status"),
            Step::Tickle => ApiRequest::post("/tickle"),
            Step::Logout => ApiRequest::post("/logout"),
        }
    }

    /// Protocol section 6.2, where a session cannot be built: "compete=false then true". So the attempts alternate.
    fn competes(&self) -> bool {
        self.takes_over() && (self.bridge == Bridge::Competing || self.unavailable.is_multiple_of(2))
    }

    /// Takes the answer to the request that came with `exchange`.
    ///
    /// # Errors
    /// [`Misuse::StaleExchange`] for an exchange that is not awaited; nothing has changed then.
    pub fn handle_response(
        &mut self,
        exchange: BrokerageExchange,
        response: Response<'_>,
        now: UnixTime,
    ) -> Result<BrokerageEvent, Misuse> {
        if !Weak::ptr_eq(&self.awaited, &Arc::downgrade(&exchange.ticket)) {
            return Err(Misuse::StaleExchange);
        }
        if let Some(live) = &self.live {
            live.learn_clock(&response, now);
        }
        self.follow_clock(now);
        match self.event(exchange.step, &response, now) {
            Ok(event) => {
                if self.refused_step == Some(exchange.step) {
                    self.refusals = 0;
                }
                Ok(event)
            }
            Err(error) => Ok(self.failed(exchange.step, error, now)),
        }
    }

    fn event(&mut self, step: Step, response: &Response<'_>, now: UnixTime) -> Result<BrokerageEvent, Error> {
        match step {
            Step::Init | Step::Status => Ok(self.stands(answer::standing(response)?, now)),
            Step::Tickle => {
                let tickle = answer::tickle(response)?;
                self.session_id = tickle.session_id.or_else(|| self.session_id.take());
                Ok(tickle.standing.map_or(BrokerageEvent::Alive, |standing| self.stands_by_tickle(standing, now)))
            }
            Step::Logout => response.object().map(|_| self.logged_out()),
        }
    }

    fn stands(&mut self, standing: Standing, now: UnixTime) -> BrokerageEvent {
        // The first tickle brings the session id for the WebSocket.
        self.tickle_at = self.tickle_at.or(Some(now));
        match standing {
            Standing::Ready => self.ready(),
            Standing::Competing => self.competing(now),
            Standing::NotReady if self.bridge == Bridge::Ready => self.lost(now),
            Standing::NotReady => self.opening(now),
        }
    }

    /// A tickle speaks of a session that is there; it does not hurry one that is being opened.
    fn stands_by_tickle(&mut self, standing: Standing, now: UnixTime) -> BrokerageEvent {
        match (self.bridge, standing) {
            (Bridge::Ready | Bridge::Opening, Standing::Ready) => self.ready(),
            (Bridge::Ready, Standing::NotReady) => self.lost(now),
            (Bridge::Ready, Standing::Competing) => self.competing(now),
            (Bridge::Competing, Standing::NotReady | Standing::Ready) => self.competitor_gone(now),
            _ => BrokerageEvent::Alive,
        }
    }

    fn ready(&mut self) -> BrokerageEvent {
        self.failures = 0;
        self.unavailable = 0;
        self.takes_over_once = false;
        match mem::replace(&mut self.bridge, Bridge::Ready) {
            Bridge::Ready => BrokerageEvent::Alive,
            _ => BrokerageEvent::Ready,
        }
    }

    fn opening(&mut self, now: UnixTime) -> BrokerageEvent {
        let checks_in_vain = if self.bridge == Bridge::Opening { self.checks.saturating_add(1) } else { 0 };
        let is_hopeless = checks_in_vain >= MAX_CHECKS;
        self.checks = checks_in_vain;
        self.bridge = if is_hopeless { Bridge::Missing } else { Bridge::Opening };
        self.step_at = now.saturating_add(READY_PAUSE);
        BrokerageEvent::Opening
    }

    fn competing(&mut self, now: UnixTime) -> BrokerageEvent {
        self.bridge = Bridge::Competing;
        self.step_at = now.saturating_add(FIRST_PAUSE);
        BrokerageEvent::Competing
    }

    fn competitor_gone(&mut self, now: UnixTime) -> BrokerageEvent {
        self.bridge = Bridge::Missing;
        self.step_at = now;
        BrokerageEvent::CompetitorGone
    }

    fn lost(&mut self, now: UnixTime) -> BrokerageEvent {
        self.bridge = Bridge::Missing;
        self.step_at = now;
        BrokerageEvent::Lost
    }

    fn logged_out(&mut self) -> BrokerageEvent {
        self.bridge = Bridge::LoggedOut;
        self.session_id = None;
        self.tickle_at = None;
        BrokerageEvent::LoggedOut
    }

    /// Protocol section 6.2 says what each refusal asks for.
    fn failed(&mut self, step: Step, error: Error, now: UnixTime) -> BrokerageEvent {
        let diagnosis = match &error {
            Error::Rejected(rejected) => rejected.diagnosis,
            _ => Diagnosis::Unknown,
        };
        match diagnosis {
            _ if diagnosis.refuses_live_session() && step == Step::Logout => self.logged_out(),
            _ if diagnosis.refuses_live_session() => self.refused(step, now),
            Diagnosis::NoBridge if self.bridge == Bridge::Ready => self.lost(now),
            _ => {
                self.put_off(step, diagnosis, error.retry(now), now);
                // Known: the answer has just been taken, so nothing is in flight.
                let step_at = self.step().map(|_| self.step_at);
                let next_attempt = step_at.into_iter().chain(self.next_tickle()).min().unwrap_or(now);
                BrokerageEvent::Failed { error, next_attempt, maintenance: Maintenance::at(now) }
            }
        }
    }

    /// The first new login is tried at once. If that is refused too, logging in is not what helps, and the pauses grow.
    fn refused(&mut self, step: Step, now: UnixTime) -> BrokerageEvent {
        self.refused_step = Some(step);
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals > 1 {
            self.step_at = now.saturating_add(doubled(self.refusals.saturating_sub(2)));
            self.tickle_at = self.tickle_at.map(|_| self.step_at);
        }
        BrokerageEvent::LiveSessionRefused
    }

    /// A failed tickle changes nothing, because the next one is planned already; unless there were too many requests.
    fn put_off(&mut self, step: Step, diagnosis: Diagnosis, advice: Retry, now: UnixTime) {
        let wished = match advice {
            Retry::Later(at) => at,
            Retry::Again | Retry::Reauthorize | Retry::Never => now,
        };
        if diagnosis == Diagnosis::TooManyRequests {
            self.tickle_at = self.tickle_at.map(|at| at.max(wished));
        }
        if step == Step::Tickle {
            return;
        }
        let pause = doubled(self.failures);
        let pause = if Maintenance::at(now).is_some() { pause.min(MAINTENANCE_PAUSE) } else { pause };
        self.failures = self.failures.saturating_add(1);
        self.step_at = now.saturating_add(pause);
        match diagnosis {
            // "Tickle first", protocol section 6.2.
            Diagnosis::BrokerageSessionUnavailable => {
                self.unavailable = self.unavailable.saturating_add(1);
                self.tickle_at = Some(now);
            }
            Diagnosis::NoBridge => self.bridge = Bridge::Missing,
            // What the server wishes, or the penalty box, goes before our own pauses.
            _ => self.step_at = self.step_at.max(wished),
        }
    }
}

/// The pause after so many failures before this one.
fn doubled(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE)
}

impl fmt::Debug for BrokerageSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerageSession")
            .field("policy", &self.policy)
            .field("bridge", &self.bridge)
            .finish_non_exhaustive()
    }
}
