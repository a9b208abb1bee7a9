//! The brokerage session: opened, kept alive, opened again.

use core::fmt;
use core::time::Duration;
use rand_core::CryptoRng;

use super::contest::Contest;
use super::event::{BrokeragePhase, CompetePolicy};
use super::exchange::{BrokerageExchange, BrokerageOutbound, Step};
use super::schedule::Schedule;
use super::web_socket::WebSocketRequest;
use crate::advice::backoff::{Backoff, Jitter};
use crate::agreement::live_session_token::TokenId;
use crate::credentials::identity::Identity;
use crate::credentials::token::Token;
use crate::error::Error;
use crate::live_session::LiveSession;
use crate::ticket::Awaited;
use crate::time::UnixTime;
use crate::wire::api_request::ApiRequest;

/// "Approximately every 60 seconds" ([protocol section 8](crate::protocol#section-8)).
const TICKLE_PERIOD: Duration = Duration::from_secs(60);
/// How long a response that said "authenticated and established" is believed. IBKR ends a session that is idle for 5 to
/// 6 minutes ([protocol section 7](crate::protocol#section-7)).
const WITNESS_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// The pause after a first failure, and the longest.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(10);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// The brokerage session behind a live session: opens it, tickles it every minute, and opens it again when it is lost.
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
///         match brokerage.handle_response(exchange, &response, now())? {
///             BrokerageEvent::Ready => println!("trading"),
///             BrokerageEvent::LiveSessionRejected => return Ok(()), // log in again
///             event => println!("{event:?}"),
///         }
///     }
///     wait_until(brokerage.poll_timeout());
/// }
/// # }
/// ```
///
/// Responses that are part of a session's life, rejections included, come as
/// [`BrokerageEvent`](super::BrokerageEvent)s: nothing that a server says is an `Err`. A request that was handed out is
/// not offered again at once, so a driver without responses does not flood anybody.
///
/// # Transitions
/// | phase | what happens | next phase | event |
/// |---|---|---|---|
/// | `Missing`, `Competing` | init says "authenticated and established" | `Opening`; `/iserver/accounts` is asked after 2 s | `Opening` |
/// | `Missing`, `Competing` | init says neither that nor "competing" | `Opening`; status is asked after 2 s | `Opening` |
/// | `Missing`, `Opening`, `Competing` | init or status says "competing" | `Competing` | `Competing` |
/// | `Opening` | status says "authenticated and established" | `Opening`; `/iserver/accounts` is asked at once | `Opening` |
/// | `Opening` | a tickle says "authenticated and established" | `Opening`; `/iserver/accounts` is asked, not status | `Alive` |
/// | `Opening` | status or `/iserver/accounts` says no | `Opening`; asked again after 2 s | `Opening` |
/// | `Opening` | status or `/iserver/accounts` says no for the 15th time | `Missing` | `Opening` |
/// | `Opening` | `/iserver/accounts` lists an account | `Ready` | `Ready` |
/// | `Opening` | `no bridge` | `Missing`; asked for after a growing pause | `Failed` |
/// | `Ready` | status or a tickle says "authenticated and established" | `Ready` | `Alive` |
/// | `Ready` | [`doubt`](Self::doubt) | `Ready`; status is asked, 5 s after the last question at the earliest | - |
/// | `Ready` | no response has said so for 5 minutes | `Unconfirmed`; status is asked | - |
/// | `Unconfirmed` | status or a tickle says "authenticated and established" | `Ready` | `Ready` |
/// | `Ready`, `Unconfirmed` | status or a tickle says neither that nor "competing", or `no bridge` | `Missing`; asked for at once | `Lost` |
/// | `Ready`, `Unconfirmed` | status or a tickle says "competing" | `Competing` | `Competing` |
/// | `Ready` | the same for the 3rd time in a row, each within 30 minutes, under [`CompetePolicy::TakeOver`] | `Competing` | `Contested` |
/// | `Competing` | a tickle says anything but "competing" | `Missing`; asked for at once | `CompetitorGone` |
/// | `Competing` | [`open`](Self::open) | `Missing`; asked for with `compete` | - |
/// | `Competing` | under [`CompetePolicy::TakeOver`], a pause ends | `Competing`; asked for with `compete` | - |
/// | any | the live session token is rejected | the same | `LiveSessionRejected` |
/// | any | any other rejection | the same; asked again after a growing pause | `Failed` |
/// | any | no response | the same; asked again after a growing pause | - |
/// | any | [`log_out`](Self::log_out) | `LoggingOut` | - |
/// | `LoggingOut` | the response to `/logout`, `no bridge`, or the live session token is rejected | `LoggedOut` | `LoggedOut` |
/// | `LoggingOut`, `LoggedOut` | [`open`](Self::open) | `Missing`; asked for at once | - |
///
/// After each session that never got ready the questions come half as often, down to one a minute: at 2, 4, 8 seconds.
///
/// "Any" is any but `LoggingOut` and `LoggedOut`, except for [`log_out`](Self::log_out).
pub struct BrokerageSession {
    pub(super) policy: CompetePolicy,
    /// Whether the user has asked to take over this once.
    pub(super) takes_over_once: bool,
    /// Never `Unconfirmed`, which is derived from `schedule.confirmed`.
    pub(super) phase: BrokeragePhase,
    /// Whether a tickle is wanted at once, whatever the phase.
    pub(super) is_probing: bool,
    /// Whether status is to be asked, because somebody doubts that the session is ready.
    pub(super) is_doubted: bool,
    pub(super) schedule: Schedule,
    /// The pause that follows if the latest step fails.
    pub(super) pause: Duration,
    pub(super) backoff: Backoff,
    pub(super) contest: Contest,
    /// Times in a row that a brokerage session could not be built.
    pub(super) unavailable: u32,
    /// Live session tokens in a row that were rejected, and the step that was, last.
    pub(super) rejections: u32,
    pub(super) rejected_step: Option<Step>,
    /// Checks in a row that found the session not ready.
    pub(super) checks: u32,
    /// Sessions in a row that never got ready.
    pub(super) vain_openings: u32,
    pub(super) session_id: Option<Token>,
    /// The login whose live session token signed last.
    pub(super) login: Option<Login>,
    pub(super) awaited: Awaited,
}

/// What the WebSocket needs of a login, and which token it has: no secret of a live session.
pub(super) struct Login {
    token: TokenId,
    pub(super) identity: Identity,
    access_token: Token,
}

impl BrokerageSession {
    /// Returns a session with nothing done yet: the first poll asks for a brokerage session.
    pub fn new(policy: CompetePolicy) -> Self {
        Self {
            policy,
            takes_over_once: false,
            phase: BrokeragePhase::Missing,
            is_probing: false,
            is_doubted: false,
            schedule: Schedule::default(),
            pause: FIRST_PAUSE,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            contest: Contest::default(),
            unavailable: 0,
            rejections: 0,
            rejected_step: None,
            checks: 0,
            vain_openings: 0,
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

    pub(super) fn is_confirmed(&self, now: UnixTime) -> bool {
        self.schedule.confirmed.is_some_and(|confirmed| now < confirmed.saturating_add(WITNESS_LIFETIME))
    }

    /// Moves what is planned along with a clock that went back.
    pub(crate) fn follow_clock(&mut self, now: UnixTime) {
        let back = self.schedule.follow_clock(now);
        self.contest.set_back(back);
    }

    /// Returns what to open a WebSocket with, from the first tickle on. It changes with the session id and with the login.
    pub fn web_socket(&self) -> Option<WebSocketRequest> {
        let (login, session_id) = (self.login.as_ref()?, self.session_id.as_ref()?);
        Some(WebSocketRequest::new(&login.identity, &login.access_token, session_id))
    }

    /// Returns when [`poll_request`](Self::poll_request) has work next: the next step or the next tickle, but not before the
    /// deadline of a request in flight; a moment that has passed means now. `None` after a logout. The clock may be set
    /// back, or the machine sleep: wait no longer than a minute at once.
    pub fn poll_timeout(&self) -> Option<UnixTime> {
        let due = self.next_step().into_iter().chain(self.next_tickle()).min();
        due.map(|at| self.awaited.put_off(at))
    }

    /// When the next step is due.
    pub(super) fn next_step(&self) -> Option<UnixTime> {
        match self.phase {
            BrokeragePhase::Ready if !self.is_doubted => {
                let allowed = self.schedule.step.max(self.schedule.not_before);
                let confirmed = self.schedule.confirmed;
                Some(confirmed.map_or(allowed, |at| allowed.max(at.saturating_add(WITNESS_LIFETIME))))
            }
            _ => self.step().map(|_| self.schedule.step),
        }
    }

    pub(super) fn next_tickle(&self) -> Option<UnixTime> {
        if self.is_probing && self.phase != BrokeragePhase::LoggingOut {
            return Some(UnixTime::default());
        }
        match self.phase {
            BrokeragePhase::LoggingOut | BrokeragePhase::LoggedOut => None,
            _ => self.schedule.tickle,
        }
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
                self.schedule.step = self.schedule.after_doubt();
            }
            BrokeragePhase::LoggingOut | BrokeragePhase::LoggedOut => {
                self.phase = BrokeragePhase::Missing;
                self.schedule.step = self.schedule.not_before;
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
                self.schedule.step = self.schedule.after_doubt();
            }
            BrokeragePhase::Missing | BrokeragePhase::Opening => self.hasten(),
            _ => {}
        }
    }

    fn hasten(&mut self) {
        self.schedule.step = self.schedule.step.min(self.schedule.after_doubt());
    }

    /// Tickles at the next poll, whatever the phase: a question whether the live session token is still accepted.
    pub(crate) fn hasten_tickle(&mut self) {
        self.is_probing = true;
    }

    /// Ends as logged out without telling the server. Nothing of the login is kept.
    pub(crate) fn end(&mut self) {
        self.logged_out();
        self.login = None;
        self.awaited.forget();
    }

    /// Closes the brokerage session: the next poll offers the logout, and after it nothing more. A request in flight is
    /// no longer awaited.
    pub fn log_out(&mut self) {
        self.phase = BrokeragePhase::LoggingOut;
        self.schedule.step = UnixTime::default();
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
        let patience = live.identity().brokerage_deadline();
        self.follow_clock(now);
        self.awaited.follow_clock(patience, now);
        let Some(step) = self.due(live, now).filter(|_| !self.awaited.is_pending(now)) else {
            return Ok(None);
        };
        let request = live.sign(&self.with_body(step), rng, now)?;
        let jitter = Jitter::draw(rng);
        let (ticket, receipt) = (self.awaited.issue(patience, now), request.receipt());
        self.adopt(live, now);
        self.note_sent(step, jitter, now);
        Ok(Some(BrokerageOutbound { request, exchange: BrokerageExchange { ticket, receipt, step } }))
    }

    /// From here on the request counts as made, whatever becomes of it.
    fn note_sent(&mut self, step: Step, jitter: Jitter, now: UnixTime) {
        self.schedule.sent = Some(now);
        if step == Step::Tickle {
            self.is_probing = false;
            self.schedule.tickle = Some(now.saturating_add(TICKLE_PERIOD));
            return;
        }
        self.pause = self.backoff.next_pause(jitter);
        self.schedule.asked = Some(now);
        self.schedule.step = now.saturating_add(self.pause);
    }

    fn adopt(&mut self, live: &LiveSession, now: UnixTime) {
        let login =
            Login { token: live.id(), identity: live.identity().clone(), access_token: live.access_token().clone() };
        if self.login.replace(login).is_some_and(|known| known.token != live.id()) {
            // The session id belongs to the login: the next tickle brings the new one.
            self.session_id = None;
            self.schedule.tickle = self.schedule.tickle.map(|_| now);
        }
    }

    fn due(&self, live: &LiveSession, now: UnixTime) -> Option<Step> {
        let is_new_login = self.is_new_login(live, now);
        if is_new_login && self.phase == BrokeragePhase::Ready {
            // Whether a brokerage session outlives its live session token is not documented: ask.
            return Some(Step::Status);
        }
        let is_due = is_new_login || self.next_step().is_some_and(|at| now >= at);
        let tickle = self.next_tickle().filter(|at| now >= *at).map(|_| Step::Tickle);
        tickle.or_else(|| self.step().filter(|_| is_due))
    }

    /// Whether `live` is of a new login: that need not wait, unless new logins are rejected one after the other.
    fn is_new_login(&self, live: &LiveSession, now: UnixTime) -> bool {
        let is_other_token = self.login.as_ref().is_some_and(|known| known.token != live.id());
        is_other_token && self.rejections < 2 && now >= self.schedule.not_before
    }

    /// When a response could come at the earliest that makes the session ready; `None` after a logout.
    pub(crate) fn next_chance(&self, live: &LiveSession, now: UnixTime) -> Option<UnixTime> {
        if self.awaited.is_pending(now) || self.is_new_login(live, now) {
            return Some(now);
        }
        // That the competitor is gone, a tickle says.
        let tickle = self.next_tickle().filter(|_| self.phase == BrokeragePhase::Competing);
        self.next_step().into_iter().chain(tickle).min()
    }

    /// The step towards the wanted state.
    fn step(&self) -> Option<Step> {
        match self.phase {
            BrokeragePhase::Missing => Some(Step::Init),
            BrokeragePhase::Competing if self.takes_over() => Some(Step::Init),
            BrokeragePhase::Opening if self.is_confirmed(self.schedule.seen) => Some(Step::Accounts),
            BrokeragePhase::Opening | BrokeragePhase::Ready | BrokeragePhase::Unconfirmed => Some(Step::Status),
            BrokeragePhase::LoggingOut => Some(Step::Logout),
            BrokeragePhase::LoggedOut | BrokeragePhase::Competing => None,
        }
    }

    pub(super) fn takes_over(&self) -> bool {
        self.policy == CompetePolicy::TakeOver || self.takes_over_once
    }

    /// [Protocol section 8](crate::protocol#section-8): "publish must be set to true"; the others have no body.
    fn with_body(&self, step: Step) -> ApiRequest<'static> {
        match step {
            Step::Init if self.competes() => step.api_request().json(br#"{"publish":true,"compete":true}"#),
            Step::Init => step.api_request().json(br#"{"publish":true,"compete":false}"#),
            Step::Status | Step::Accounts | Step::Tickle | Step::Logout => step.api_request(),
        }
    }

    /// [Protocol section 6.2](crate::protocol#section-6-2), where a session cannot be built: "compete=false then true".
    /// So the attempts alternate.
    fn competes(&self) -> bool {
        self.takes_over() && (self.phase == BrokeragePhase::Competing || self.unavailable.is_multiple_of(2))
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
