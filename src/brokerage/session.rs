//! The brokerage session: opened, kept alive, opened again.

use core::fmt;
use core::mem;
use core::time::Duration;
use rand_core::CryptoRng;

use super::answer::{self, Standing};
use super::contest::Contest;
use super::event::{BrokerageEvent, BrokeragePhase, CompetePolicy};
use super::exchange::{BrokerageExchange, BrokerageOutbound, Step};
use super::maintenance::Maintenance;
use super::web_socket::WebSocketRequest;
use crate::backoff::{Backoff, Jitter};
use crate::error::{Error, Misuse};
use crate::live_session_token::TokenId;
use crate::server_clock::ClockVerdict;
use crate::ticket::Awaited;
use crate::token::Token;
use crate::{ApiRequest, Consumer, Diagnosis, LiveSession, Response, Retry, UnixTime};

/// "Approximately every 60 seconds" (protocol section 8).
const TICKLE_PERIOD: Duration = Duration::from_secs(60);
/// "After ssodh/init always wait 2 s" (protocol section 14.4).
const READY_PAUSE: Duration = Duration::from_secs(2);
/// After so many questions in vain, ask for a new session: half a minute.
const MAX_CHECKS: u32 = 15;
/// How long a response that said "authenticated and established" is believed. IBKR ends a session that is idle for 5 to 6
/// minutes (protocol section 7).
const WITNESS_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// While a witness is younger, tickles that say nothing are enough.
const FRESH: Duration = Duration::from_secs(2 * 60);
/// Between two requests that a doubt, or [`BrokerageSession::open`], can cause.
const DOUBT_PAUSE: Duration = Duration::from_secs(5);
/// The pause after a first failure, and the longest; and the longest while IBKR is known to restart.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
const MAINTENANCE_PAUSE: Duration = Duration::from_secs(60);
/// A smaller step back of the clock is a difference between two threads, not a clock that was set.
const WOBBLE: Duration = Duration::from_secs(1);

/// Opens a brokerage session behind a live session, tickles it every minute, and opens it again when it is lost.
///
/// [`Client`](crate::Client) drives one of these together with the login; use it by itself where you want them apart.
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
/// Responses that are part of a session's life, refusals included, come as [`BrokerageEvent`]s: nothing that a server
/// says is an `Err`. A request that was handed out is not offered again at once, so a driver without responses does not
/// flood anybody.
///
/// # Transitions
/// | phase | what happens | next phase | event |
/// |---|---|---|---|
/// | `Missing` | the response to init says "authenticated and established" | `Opening`; after 2 s `/iserver/accounts` is asked | `Opening` |
/// | `Missing` | the response to init says neither that nor "competing" | `Opening`; after 2 s status is asked | `Opening` |
/// | `Missing`, `Opening` | init or status says "competing" | `Competing` | `Competing` |
/// | `Opening` | status or a tickle says "authenticated and established" | `Opening`; `/iserver/accounts` is asked | `Opening`, `Alive` |
/// | `Opening` | `/iserver/accounts` lists an account | `Ready` | `Ready` |
/// | `Opening` | 15 questions in vain | `Missing` | `Opening` |
/// | `Ready` | no response has said so for five minutes | `Unconfirmed`; status is asked | - |
/// | `Unconfirmed` | status or a tickle says "authenticated and established" | `Ready` | `Ready` |
/// | `Ready`, `Unconfirmed` | status or a tickle says otherwise, or `no bridge` | `Missing` | `Lost` |
/// | `Ready`, `Unconfirmed` | status or a tickle says "competing" | `Competing` | `Competing`, from the third time on `Contested` |
/// | `Competing` | a tickle does not say "competing" | `Missing` | `CompetitorGone` |
/// | `Competing` | [`open`](Self::open), or by [`CompetePolicy::TakeOver`] after a pause | init with `compete` | - |
/// | any | [`log_out`](Self::log_out) | `LoggingOut` | - |
/// | `LoggingOut` | the response to `/logout`, or the live session token is refused | `LoggedOut` | `LoggedOut` |
/// | `LoggedOut` | [`open`](Self::open) | `Missing` | - |
/// | any | any other refusal, no response | the same; asked again after a growing pause | `Failed`, or none |
pub struct BrokerageSession {
    policy: CompetePolicy,
    /// Whether the user has asked to take over this once.
    takes_over_once: bool,
    /// Never `Unconfirmed`, which is derived from `confirmed_at`.
    phase: BrokeragePhase,
    /// Whether status is to be asked, because somebody doubts that the session is ready.
    is_doubted: bool,
    times: Times,
    /// The pause that follows if the latest step fails.
    pause: Duration,
    backoff: Backoff,
    contest: Contest,
    /// Times in a row that a brokerage session could not be built.
    unavailable: u32,
    /// Live session tokens in a row that were refused, and the step that was, last.
    refusals: u32,
    refused_step: Option<Step>,
    /// Questions in a row whether it is ready, answered with no.
    checks: u32,
    /// Whether the latest request repeated one whose timestamp was refused.
    is_repeat: bool,
    session_id: Option<Token>,
    /// The login whose live session token signed last.
    login: Option<Login>,
    awaited: Awaited,
}

/// What is planned and what has been: all of it moves along with a clock that went back.
#[derive(Default)]
struct Times {
    /// The latest `now`.
    seen: UnixTime,
    /// When the next step towards the wanted state is due.
    step: UnixTime,
    /// When the latest step went out.
    asked: Option<UnixTime>,
    /// No step before this moment, whatever anybody doubts: the server's wish, or the penalty box.
    not_before: UnixTime,
    /// When the next tickle is due; none before the first response to an init.
    tickle: Option<UnixTime>,
    /// When the latest response that said "authenticated and established" was asked for.
    confirmed: Option<UnixTime>,
}

impl Times {
    fn follow_clock(&mut self, now: UnixTime) {
        let back = self.seen.saturating_since(now);
        if back <= WOBBLE {
            self.seen = self.seen.max(now);
            return;
        }
        self.seen = now;
        for at in [&mut self.step, &mut self.not_before] {
            *at = at.saturating_sub(back);
        }
        for at in [&mut self.asked, &mut self.tickle, &mut self.confirmed].into_iter().flatten() {
            *at = at.saturating_sub(back);
        }
    }

    /// The earliest moment for a step that a doubt causes.
    fn after_doubt(&self) -> UnixTime {
        let pause_over = self.asked.map_or(UnixTime::default(), |asked| asked.saturating_add(DOUBT_PAUSE));
        pause_over.max(self.not_before)
    }
}

/// What the WebSocket needs of a login, and which token it has: no secret of a live session.
struct Login {
    token: TokenId,
    consumer: Consumer,
    access_token: Token,
}

impl BrokerageSession {
    /// Returns a session with nothing done yet: the first poll asks for a brokerage session.
    pub fn new(policy: CompetePolicy) -> Self {
        Self {
            policy,
            takes_over_once: false,
            phase: BrokeragePhase::Missing,
            is_doubted: false,
            times: Times::default(),
            pause: FIRST_PAUSE,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            contest: Contest::default(),
            unavailable: 0,
            refusals: 0,
            refused_step: None,
            checks: 0,
            is_repeat: false,
            session_id: None,
            login: None,
            awaited: Awaited::default(),
        }
    }

    /// Returns where the brokerage session stands at `now`.
    pub fn phase(&self, now: UnixTime) -> BrokeragePhase {
        match self.phase {
            BrokeragePhase::Ready if !self.is_confirmed(now) => BrokeragePhase::Unconfirmed,
            phase => phase,
        }
    }

    fn is_confirmed(&self, now: UnixTime) -> bool {
        self.times.confirmed.is_some_and(|confirmed| now < confirmed.saturating_add(WITNESS_LIFETIME))
    }

    /// Returns what to open a WebSocket with, from the first tickle on. It changes with the session id and with the login.
    pub fn web_socket(&self) -> Option<WebSocketRequest> {
        let (login, session_id) = (self.login.as_ref()?, self.session_id.as_ref()?);
        Some(WebSocketRequest::new(&login.consumer, &login.access_token, session_id))
    }

    /// Returns when [`poll_request`](Self::poll_request) has work next: the next step, the next tickle, or the deadline of
    /// the request in flight; a moment that has passed means now. `None` after a logout. The clock may be set back, or
    /// the machine sleep: wait no longer than a minute at once.
    pub fn poll_timeout(&self) -> Option<UnixTime> {
        self.awaited.deadline().or_else(|| self.next_step().into_iter().chain(self.next_tickle()).min())
    }

    /// When the next step is due.
    fn next_step(&self) -> Option<UnixTime> {
        match self.phase {
            BrokeragePhase::Ready if !self.is_doubted => {
                let witness_gone = self.times.confirmed?.saturating_add(WITNESS_LIFETIME);
                Some(witness_gone.max(self.times.step))
            }
            _ => self.step().map(|_| self.times.step),
        }
    }

    fn next_tickle(&self) -> Option<UnixTime> {
        let is_over = matches!(self.phase, BrokeragePhase::LoggingOut | BrokeragePhase::LoggedOut);
        self.times.tickle.filter(|_| !is_over)
    }

    /// Asks for a brokerage session: again after a logout, and, this once, although another one competes, which is then
    /// logged out. Does nothing if the session is there or being opened; hastens the next attempt, by no more than one
    /// every five seconds, if it is missing.
    pub fn open(&mut self) {
        match self.phase {
            BrokeragePhase::Ready | BrokeragePhase::Unconfirmed | BrokeragePhase::Opening => {}
            BrokeragePhase::Missing => self.hasten(),
            BrokeragePhase::Competing => {
                self.takes_over_once = true;
                self.phase = BrokeragePhase::Missing;
                self.times.step = self.times.after_doubt();
            }
            BrokeragePhase::LoggingOut | BrokeragePhase::LoggedOut => {
                self.phase = BrokeragePhase::Missing;
                self.times.step = self.times.not_before;
                self.awaited.forget();
            }
        }
    }

    /// Doubts that the session is as it was: one of your own requests got `no bridge`, the WebSocket said
    /// `authenticated: false`, or the network is back. The next poll asks, once in five seconds at most.
    pub fn doubt(&mut self) {
        match self.phase {
            BrokeragePhase::Ready => {
                self.is_doubted = true;
                self.times.step = self.times.after_doubt();
            }
            BrokeragePhase::Missing | BrokeragePhase::Opening => self.hasten(),
            _ => {}
        }
    }

    fn hasten(&mut self) {
        self.times.step = self.times.step.min(self.times.after_doubt());
    }

    /// Tickles at the next poll, whatever the phase: a question whether the live session token is still accepted.
    pub(crate) fn hasten_tickle(&mut self, now: UnixTime) {
        self.times.tickle = Some(self.times.tickle.map_or(now, |at| at.min(now)));
    }

    /// Forgets the login: nothing of it is kept.
    pub(crate) fn forget_login(&mut self) {
        (self.login, self.session_id) = (None, None);
        self.awaited.forget();
    }

    /// Closes the brokerage session: the next poll offers the logout, and after it nothing more. A request in flight is
    /// no longer awaited.
    pub fn log_out(&mut self) {
        self.phase = BrokeragePhase::LoggingOut;
        self.times.step = UnixTime::default();
        self.awaited.forget();
    }

    /// Returns the next request to send, signed with `live`, or `None` while nothing is due or one is in flight.
    ///
    /// # Errors
    /// Those of [`LiveSession::sign`]; then nothing has changed.
    pub fn poll_request(
        &mut self,
        live: &LiveSession,
        rng: &mut dyn CryptoRng,
        now: UnixTime,
    ) -> Result<Option<BrokerageOutbound>, Error> {
        let patience = live.consumer().brokerage_deadline();
        self.times.follow_clock(now);
        self.awaited.follow_clock(patience, now);
        let Some(step) = self.due(live, now).filter(|_| !self.awaited.is_pending(now)) else {
            return Ok(None);
        };
        let request = live.sign(&self.api_request(step), rng, now)?;
        let jitter = Jitter::draw(rng);
        let (ticket, receipt) = (self.awaited.issue(patience, now), request.receipt());
        self.adopt(live, now);
        self.note_sent(step, jitter, now);
        Ok(Some(BrokerageOutbound { request, exchange: BrokerageExchange { ticket, receipt, step } }))
    }

    /// From here on the request counts as made, whatever becomes of it.
    fn note_sent(&mut self, step: Step, jitter: Jitter, now: UnixTime) {
        if step == Step::Tickle {
            self.times.tickle = Some(now.saturating_add(TICKLE_PERIOD));
            return;
        }
        self.is_doubted = false;
        self.pause = self.backoff.next_pause(jitter);
        self.times.asked = Some(now);
        self.times.step = now.saturating_add(self.pause);
    }

    fn adopt(&mut self, live: &LiveSession, now: UnixTime) {
        let login = Login {
            token: live.id(),
            consumer: live.consumer().clone(),
            access_token: live.access_token().clone(),
        };
        if self.login.replace(login).is_some_and(|known| known.token != live.id()) {
            // The session id belongs to the login: the next tickle brings the new one.
            self.session_id = None;
            self.times.tickle = self.times.tickle.map(|_| now);
        }
    }

    fn due(&self, live: &LiveSession, now: UnixTime) -> Option<Step> {
        // A new login need not wait, unless new logins are refused one after the other.
        let is_new_login = self.login.as_ref().is_some_and(|known| known.token != live.id()) && self.refusals < 2;
        if is_new_login && self.phase == BrokeragePhase::Ready {
            // Whether a brokerage session outlives its live session token is not documented: ask.
            return Some(Step::Status);
        }
        let is_due = is_new_login || self.next_step().is_some_and(|at| now >= at);
        let tickle = self.next_tickle().filter(|at| now >= *at).map(|_| Step::Tickle);
        tickle.or_else(|| self.step().filter(|_| is_due))
    }

    /// The step towards the wanted state.
    fn step(&self) -> Option<Step> {
        match self.phase {
            BrokeragePhase::Missing => Some(Step::Init),
            BrokeragePhase::Competing if self.takes_over() => Some(Step::Init),
            BrokeragePhase::Opening if self.is_confirmed(self.times.seen) => Some(Step::Accounts),
            BrokeragePhase::Opening | BrokeragePhase::Ready | BrokeragePhase::Unconfirmed => Some(Step::Status),
            BrokeragePhase::LoggingOut => Some(Step::Logout),
            BrokeragePhase::LoggedOut | BrokeragePhase::Competing => None,
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
            Step::Accounts => ApiRequest::get("/iserver/accounts"),
            Step::Tickle => ApiRequest::post("/tickle"),
            Step::Logout => ApiRequest::post("/logout"),
        }
    }

    /// Protocol section 6.2, where a session cannot be built: "compete=false then true". So the attempts alternate.
    fn competes(&self) -> bool {
        self.takes_over() && (self.phase == BrokeragePhase::Competing || self.unavailable.is_multiple_of(2))
    }

    /// Takes the response to the request that came with `exchange`.
    ///
    /// # Errors
    /// [`Misuse::StaleExchange`] for an exchange that is not awaited; nothing has changed then.
    pub fn handle_response(
        &mut self,
        exchange: BrokerageExchange,
        response: Response<'_>,
        now: UnixTime,
    ) -> Result<BrokerageEvent, Misuse> {
        if !self.awaited.is(&exchange.ticket) {
            return Err(Misuse::StaleExchange);
        }
        let consumer = self.login.as_ref().map(|login| &login.consumer);
        let clock =
            consumer.map_or(ClockVerdict::Innocent, |known| known.learn_clock(&exchange.receipt, &response, now));
        self.times.follow_clock(now);
        let was_unconfirmed = self.phase(now) == BrokeragePhase::Unconfirmed;
        match self.event(&exchange, &response, now) {
            Ok(BrokerageEvent::Alive) if was_unconfirmed && self.phase(now) == BrokeragePhase::Ready => {
                Ok(BrokerageEvent::Ready)
            }
            Ok(event) => {
                self.is_repeat = false;
                if self.refused_step == Some(exchange.step) {
                    self.refusals = 0;
                }
                Ok(event)
            }
            Err(error) => Ok(self.failed(exchange.step, error.blaming(clock), now)),
        }
    }

    fn event(
        &mut self,
        exchange: &BrokerageExchange,
        response: &Response<'_>,
        now: UnixTime,
    ) -> Result<BrokerageEvent, Error> {
        match exchange.step {
            Step::Init | Step::Status => {
                let standing = answer::standing(response)?;
                self.note_standing(standing, exchange);
                Ok(self.stands(exchange.step, standing, now))
            }
            Step::Accounts => answer::has_accounts(response).map(|has_accounts| self.accounts(has_accounts, now)),
            Step::Tickle => {
                let tickle = answer::tickle(response)?;
                self.session_id = tickle.session_id.or_else(|| self.session_id.take());
                Ok(match tickle.standing {
                    Some(standing) => {
                        self.note_standing(standing, exchange);
                        self.stands_by_tickle(standing, now)
                    }
                    None => self.tickle_says_nothing(now),
                })
            }
            Step::Logout => response.object().map(|_| self.logged_out()),
        }
    }

    fn note_standing(&mut self, standing: Standing, exchange: &BrokerageExchange) {
        if standing == Standing::Ready {
            self.times.confirmed = self.times.confirmed.max(Some(exchange.receipt.asked_at()));
        }
    }

    fn stands(&mut self, step: Step, standing: Standing, now: UnixTime) -> BrokerageEvent {
        self.backoff.reset();
        // The first tickle brings the session id for the WebSocket.
        self.times.tickle = self.times.tickle.or(Some(now));
        match standing {
            Standing::Ready if step == Step::Init => self.opening(READY_PAUSE, now),
            Standing::Ready if self.phase == BrokeragePhase::Ready => self.ready(),
            Standing::Ready => self.opening(Duration::ZERO, now),
            Standing::Competing => self.competing(now),
            Standing::NotReady if self.phase == BrokeragePhase::Ready => self.lost(now),
            Standing::NotReady => self.not_ready_yet(now),
        }
    }

    /// A tickle speaks of a session that is there; it does not hurry one that is being opened.
    fn stands_by_tickle(&mut self, standing: Standing, now: UnixTime) -> BrokerageEvent {
        match (self.phase, standing) {
            (BrokeragePhase::Ready, Standing::Ready) => self.ready(),
            (BrokeragePhase::Ready, Standing::NotReady) => self.lost(now),
            (BrokeragePhase::Ready, Standing::Competing) => self.competing(now),
            (BrokeragePhase::Competing, Standing::NotReady | Standing::Ready) => self.competitor_gone(now),
            _ => BrokerageEvent::Alive,
        }
    }

    /// Some tickles carry no `authStatus` (protocol section 8): then status is the witness.
    fn tickle_says_nothing(&mut self, now: UnixTime) -> BrokerageEvent {
        let is_fresh = self.times.confirmed.is_some_and(|confirmed| now < confirmed.saturating_add(FRESH));
        if self.phase == BrokeragePhase::Ready && !is_fresh {
            self.is_doubted = true;
            self.times.step = self.times.after_doubt();
        }
        BrokerageEvent::Alive
    }

    fn opening(&mut self, pause: Duration, now: UnixTime) -> BrokerageEvent {
        self.checks = 0;
        self.phase = BrokeragePhase::Opening;
        self.times.step = now.saturating_add(pause);
        BrokerageEvent::Opening
    }

    fn not_ready_yet(&mut self, now: UnixTime) -> BrokerageEvent {
        let checks_in_vain = if self.phase == BrokeragePhase::Opening { self.checks.saturating_add(1) } else { 0 };
        self.opening(READY_PAUSE, now);
        self.checks = checks_in_vain;
        if checks_in_vain >= MAX_CHECKS {
            self.phase = BrokeragePhase::Missing;
        }
        BrokerageEvent::Opening
    }

    fn accounts(&mut self, has_accounts: bool, now: UnixTime) -> BrokerageEvent {
        if !has_accounts {
            return self.not_ready_yet(now);
        }
        self.phase = BrokeragePhase::Ready;
        self.contest.note_ready(now);
        self.ready();
        BrokerageEvent::Ready
    }

    fn ready(&mut self) -> BrokerageEvent {
        self.backoff.reset();
        self.unavailable = 0;
        self.takes_over_once = false;
        self.is_doubted = false;
        BrokerageEvent::Alive
    }

    fn competing(&mut self, now: UnixTime) -> BrokerageEvent {
        let was_ours = mem::replace(&mut self.phase, BrokeragePhase::Competing) == BrokeragePhase::Ready;
        let pause = if was_ours { self.contest.note_lost(self.pause, now) } else { self.pause };
        self.times.step = now.saturating_add(pause);
        if was_ours && self.takes_over() && self.contest.is_on() {
            BrokerageEvent::Contested
        } else {
            BrokerageEvent::Competing
        }
    }

    fn competitor_gone(&mut self, now: UnixTime) -> BrokerageEvent {
        self.phase = BrokeragePhase::Missing;
        self.times.step = now;
        BrokerageEvent::CompetitorGone
    }

    fn lost(&mut self, now: UnixTime) -> BrokerageEvent {
        self.phase = BrokeragePhase::Missing;
        self.is_doubted = false;
        self.times.step = now;
        BrokerageEvent::Lost
    }

    fn logged_out(&mut self) -> BrokerageEvent {
        self.phase = BrokeragePhase::LoggedOut;
        self.session_id = None;
        self.times.tickle = None;
        BrokerageEvent::LoggedOut
    }

    /// Protocol section 6.2 says what each refusal asks for.
    fn failed(&mut self, step: Step, error: Error, now: UnixTime) -> BrokerageEvent {
        let diagnosis = error.diagnosis().unwrap_or(Diagnosis::Unknown);
        if diagnosis.refuses_live_session() {
            return if step == Step::Logout { self.logged_out() } else { self.refused(step, now) };
        }
        if diagnosis == Diagnosis::NoBridge && self.phase == BrokeragePhase::Ready {
            return self.lost(now);
        }
        if diagnosis == Diagnosis::ClockOff && !mem::replace(&mut self.is_repeat, true) {
            self.repeat(step, now);
        } else {
            self.put_off(step, diagnosis, error.retry(now), now);
        }
        // Known: the response has just been taken, so nothing is in flight.
        let next_attempt = self.next_step().into_iter().chain(self.next_tickle()).min().unwrap_or(now);
        BrokerageEvent::Failed { error, next_attempt, maintenance: Maintenance::at(now) }
    }

    /// The timestamp was wrong and is right now: once, the same is asked again at once.
    fn repeat(&mut self, step: Step, now: UnixTime) {
        match step {
            Step::Tickle => self.times.tickle = Some(now),
            _ => self.times.step = now,
        }
    }

    /// The first new login is tried at once. If that is refused too, logging in is not what helps, and the pauses grow.
    fn refused(&mut self, step: Step, now: UnixTime) -> BrokerageEvent {
        self.refused_step = Some(step);
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals > 1 {
            let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.refusals.saturating_sub(2)));
            self.times.step = now.saturating_add(pause.min(LONGEST_PAUSE));
            self.times.tickle = self.times.tickle.map(|_| self.times.step);
        }
        BrokerageEvent::LiveSessionRefused
    }

    /// A failed tickle changes nothing, because the next one is planned already; unless there were too many requests.
    fn put_off(&mut self, step: Step, diagnosis: Diagnosis, advice: Retry, now: UnixTime) {
        let wished = match advice {
            Retry::Later(at) => at,
            _ => now,
        };
        if diagnosis == Diagnosis::TooManyRequests {
            self.times.tickle = self.times.tickle.map(|at| at.max(wished));
            self.times.not_before = wished;
        }
        if step == Step::Tickle {
            return;
        }
        let is_maintenance = Maintenance::at(now).is_some();
        let pause = if is_maintenance { self.pause.min(MAINTENANCE_PAUSE) } else { self.pause };
        self.times.step = now.saturating_add(pause);
        match diagnosis {
            // "Tickle first", protocol section 6.2.
            Diagnosis::BrokerageSessionUnavailable => {
                self.unavailable = self.unavailable.saturating_add(1);
                self.times.tickle = Some(now);
            }
            Diagnosis::NoBridge => self.phase = BrokeragePhase::Missing,
            // What the server wishes, or the penalty box, goes before our own pauses.
            _ => {
                self.times.step = self.times.step.max(wished);
                self.times.not_before = self.times.not_before.max(wished);
            }
        }
    }
}

impl fmt::Debug for BrokerageSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerageSession")
            .field("policy", &self.policy)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}
