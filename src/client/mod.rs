//! The client: login, brokerage session and the caller's own requests, driven by one poll.

mod deadline_forecast;
mod exchange;
mod login_limit;
mod output;
mod own_requests;
mod poll;
mod request_ticket;
mod responses;
pub(crate) mod signer;
#[cfg(feature = "serde")]
mod snapshot;
mod token_health;

use alloc::collections::VecDeque;
use core::fmt;
use core::time::Duration;

pub use exchange::ClientExchange;
use login_limit::LoginLimit;
pub use output::{ConsentUrl, Event, NotSent, Outcome, Output};
use own_requests::OwnRequests;
pub use request_ticket::RequestTicket;
pub use signer::Signer;
use token_health::TokenHealth;

use crate::advice::pacing::Pacing;
use crate::brokerage::auth_status::says_not_authenticated;
use crate::brokerage::event::{BrokeragePhase, CompetePolicy};
use crate::brokerage::session::BrokerageSession;
use crate::brokerage::web_socket::WebSocketRequest;
use crate::credentials::consumer::Consumer;
use crate::credentials::token::AccessToken;
use crate::error::Error;
use crate::live_session::LiveSession;
use crate::session::{OAuthSession, Phase};
use crate::time::UnixTime;
use crate::wire::api_request::ApiRequest;

/// How long the response to `/logout` is awaited.
const FAREWELL: Duration = Duration::from_secs(30);

/// A login to IBKR's Web API with its brokerage session and the caller's own requests: everything that keeps a program
/// logged in, without IO.
///
/// # The contract
/// ```no_run
/// # use ibkr_oauth::{Client, Output, Request, Response, UnixTime};
/// # fn send(_: &Request) -> Option<Response<'static>> { unimplemented!() }
/// # fn now() -> UnixTime { unimplemented!() }
/// # fn sleep_until(_: UnixTime) {}
/// # fn drive(mut client: Client, mut rng: impl rand_core::CryptoRng) {
/// loop {
///     match client.poll(&mut rng, now()) {
///         Output::Send { request, exchange } => match send(&request) { // any HTTP client, no redirects, no retries
///             Some(response) => _ = client.handle_response(exchange, &response, now()), // too late: no harm
///             None => drop(exchange), // or `handle_no_response`, which says the same
///         },
///         Output::Event(event) => println!("{event:?}"),
///         Output::Wait(until) => sleep_until(until),
///     }
/// }
/// # }
/// ```
/// Poll until it says [`Output::Wait`]; poll again when that moment has come, after each response, and after each call
/// that changes something. Several exchanges may be in flight at once: the client's own and the caller's do not wait for
/// one another. Three promises hold:
///
/// - **An error changes nothing**, but for what is known of the server's clock.
/// - **A dropped [`ClientExchange`] loses nothing.** What the client asked is asked again; what the caller asked is
///   reported as [`Outcome::NoResponse`]. Every exchange has a deadline, after which the same happens.
/// - **The same calls give the same bytes.** Time and randomness come from the caller and from nowhere else.
///
/// # What it does by itself
/// - It logs in, refreshes the live session token before it expires, and logs in again when the token is dead: that is,
///   when a request of its own was rejected, or nothing has succeeded for five minutes although the server responds. One
///   rejected request of the caller's only makes it ask, by a tickle.
/// - It opens the brokerage session, tickles it every minute, and opens it again when it is lost ([`BrokerageSession`] has
///   the table). [`BrokeragePhase::Ready`] is reported only if a response has said "authenticated and established" in
///   the last five minutes.
/// - It paces all requests, and sends nothing for ten minutes after a 429.
/// - It asks for no more than twelve live session tokens in any hour, with growing pauses between failures. The limit
///   outlives the process if a [snapshot](Self::snapshot) does.
/// - It never sends a request of the caller's twice, unless that is a GET, the server rejected it, and the cause was repaired;
///   then once.
///
/// # Transitions
/// | state | what happens | next state | events |
/// |---|---|---|---|
/// | no access token | a request token arrives | the same | [`Event::ConsentNeeded`] |
/// | no access token | the callback, then an access token arrive | logging in | [`Event::AccessTokenGranted`] |
/// | logging in | the live session token is proved | logged in | [`Event::LoggedIn`] |
/// | logging in | any failure | the same, after a growing pause | [`Event::LoginFailed`] |
/// | logging in | a private key fails | stopped | [`Event::Stopped`] |
/// | logged in | the refresh margin begins | the same; signs with the old token until the new one is proved | [`Event::LoggedIn`] |
/// | logged in | a request of the client's is rejected (401, 410) | logging in | from the third time on [`Event::LoginContested`] |
/// | logged in | nothing succeeds for five minutes | logging in | - |
/// | logged in | the brokerage session changes | the same | [`Event::Brokerage`], [`Event::BrokerageContested`] |
/// | any | [`log_out`](Self::log_out) | logged out | [`Event::LoggedOut`] |
/// | logged out, stopped | [`open`](Self::open) | logging in | - |
/// | any | [`reauthorize`](Self::reauthorize) | no access token | - |
///
#[cfg_attr(feature = "http", doc = include_str!("drivers.md"))]
pub struct Client {
    oauth: OAuthSession,
    brokerage: BrokerageSession,
    policy: CompetePolicy,
    wants_brokerage_session: bool,
    goal: Goal,
    /// Whether no login is possible: something on this machine must be changed first.
    is_stopped: bool,
    logins: LoginLimit,
    permit: Permit,
    health: TokenHealth,
    requests: OwnRequests,
    pacing: Pacing,
    signer: Signer,
    events: VecDeque<Event>,
    last_reported: LastReported,
    probe: Probe,
    /// Whether the other query policy was tried, and the server accepted or rejected it.
    has_tried_other_policy: bool,
    /// The latest `now`.
    seen_at: UnixTime,
}

/// Where the client is going.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    LoggedIn,
    /// Until this moment the response to `/logout` is awaited.
    LoggingOut {
        until: UnixTime,
    },
    LoggedOut,
}

/// Whether the caller lets this client ask for a live session token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Permit {
    NotNeeded,
    Awaited,
    Given,
}

/// What the latest events have reported, so that only changes are.
#[derive(Default)]
struct LastReported {
    brokerage: Option<BrokeragePhase>,
    skew: i32,
}

/// A tickle out of turn, that asks whether the token is still accepted.
#[derive(Default)]
struct Probe {
    is_wanted: bool,
    /// No other before this moment.
    not_before: UnixTime,
}

impl Client {
    /// Returns a client for `session`, which may be at any stage. It opens a brokerage session and leaves competing ones
    /// alone, unless told otherwise.
    pub fn new(session: OAuthSession) -> Self {
        Self::with_limit(session, LoginLimit::new(VecDeque::new()))
    }

    fn with_limit(session: OAuthSession, logins: LoginLimit) -> Self {
        let pacing = Pacing::default();
        let signer = Signer::new(pacing.penalty().clone());
        let policy = CompetePolicy::default();
        let last_reported = LastReported { brokerage: Some(BrokeragePhase::Missing), skew: session.clock_skew() };
        let client = Self {
            brokerage: BrokerageSession::new(policy),
            policy,
            wants_brokerage_session: true,
            goal: Goal::LoggedIn,
            is_stopped: false,
            logins,
            permit: Permit::NotNeeded,
            health: TokenHealth::default(),
            requests: OwnRequests::default(),
            pacing,
            signer,
            events: VecDeque::new(),
            last_reported,
            probe: Probe::default(),
            has_tried_other_policy: false,
            seen_at: UnixTime::default(),
            oauth: session,
        };
        client.publish();
        client
    }

    /// Sets what to do about another brokerage session of the same user. Default: [`CompetePolicy::Yield`].
    #[must_use]
    pub fn with_compete_policy(mut self, policy: CompetePolicy) -> Self {
        self.policy = policy;
        self.brokerage = self.fresh_brokerage();
        self
    }

    /// Logs in only: no brokerage session is opened, nothing is tickled. `/portfolio` works so; `/iserver` does not.
    #[must_use]
    pub fn without_brokerage_session(mut self) -> Self {
        self.wants_brokerage_session = false;
        self.brokerage = self.fresh_brokerage();
        self
    }

    fn fresh_brokerage(&self) -> BrokerageSession {
        let mut brokerage = BrokerageSession::new(self.policy);
        if !self.wants_brokerage_session {
            brokerage.end();
        }
        brokerage
    }

    /// Sets the request limits. Default: [`Pacing::default`]. Give the pacings of all clients whose requests leave from one
    /// IP address one [`Penalty`](crate::Penalty).
    #[must_use]
    pub fn with_pacing(mut self, pacing: Pacing) -> Self {
        self.signer = Signer::new(pacing.penalty().clone());
        self.pacing = pacing;
        self.publish();
        self
    }

    /// Sets how many of the caller's own requests there may be at once. Default: 256.
    #[must_use]
    pub fn with_request_limit(mut self, limit: usize) -> Self {
        self.requests.set_limit(limit);
        self
    }

    /// Sets how long each of the caller's own requests may take, from [`request`](Self::request) to its response. Default: 60
    /// seconds.
    #[must_use]
    pub fn with_request_deadline(mut self, deadline: Duration) -> Self {
        self.requests.set_patience(deadline);
        self
    }

    /// Asks for a live session token only with a [permit](Self::permit_login) for each, so that clients on several machines,
    /// each with the same access token, agree on who does.
    #[must_use]
    pub fn with_login_permits(mut self) -> Self {
        self.permit = Permit::Awaited;
        self
    }

    /// Returns whether a login is due at `now` and waits for a permit. Before you give it, see whether another client has
    /// logged in meanwhile; if so, go on with its token (`Client::adopt`, feature `serde`).
    pub fn awaits_permit(&self, now: UnixTime) -> bool {
        self.permit == Permit::Awaited && self.asks_for_token() && self.login_wanted(now).is_some_and(|at| at <= now)
    }

    /// Lets the client ask for one live session token, now or when the next is due.
    pub fn permit_login(&mut self) {
        if self.permit == Permit::Awaited {
            self.permit = Permit::Given;
        }
    }

    /// Returns the consumer.
    pub fn consumer(&self) -> &Consumer {
        self.oauth.consumer()
    }

    /// Returns how far the login has come at `now`.
    pub fn phase(&self, now: UnixTime) -> Phase {
        self.oauth.phase(now)
    }

    /// Returns where the brokerage session stands at `now`.
    pub fn brokerage_phase(&self, now: UnixTime) -> BrokeragePhase {
        // A clock that has just been set back makes no response younger.
        self.brokerage.phase(now.max(self.seen_at))
    }

    /// Returns the access token, from the moment there is one: a third party stores it and asks for consent only once.
    pub fn access_token(&self) -> Option<&AccessToken> {
        self.oauth.access_token()
    }

    /// Returns the live session, while there is one at `now`.
    pub fn live(&self, now: UnixTime) -> Option<&LiveSession> {
        self.oauth.live(now)
    }

    /// Returns a handle that signs with whatever live session token is current.
    pub fn signer(&self) -> Signer {
        self.signer.clone()
    }

    /// Returns what to open a WebSocket with, from the first tickle on. It changes with the session id and with the login:
    /// then open it anew.
    pub fn web_socket(&self) -> Option<WebSocketRequest> {
        self.brokerage.web_socket()
    }

    /// Returns how many live session tokens there have been, as [`OAuthSession::generation`] does.
    pub fn generation(&self) -> u64 {
        self.oauth.generation()
    }

    /// Returns the seconds by which the server's clock is ahead of the caller's, as far as known.
    pub fn clock_skew(&self) -> i32 {
        self.oauth.clock_skew()
    }

    /// Returns when the pause after a 429 ends; `None` if there is none at `now`.
    pub fn penalty_ends_at(&self, now: UnixTime) -> Option<UnixTime> {
        self.pacing.penalty().ends_at(now)
    }

    /// Returns the page to send the user to, while consent is awaited.
    pub fn consent_url(&self) -> Option<alloc::string::String> {
        self.oauth.consent_url()
    }

    /// Returns the request token whose consent is awaited: a web application finds the pending login of a callback by it.
    pub fn request_token(&self) -> Option<&str> {
        self.oauth.request_token()
    }

    /// Takes the URL that the user's browser was redirected to after consent, as [`OAuthSession::handle_callback`] does.
    ///
    /// # Errors
    /// Those of [`OAuthSession::handle_callback`]; the client goes on waiting.
    pub fn handle_callback(&mut self, url: &str) -> Result<(), Error> {
        self.oauth.handle_callback(url)
    }

    /// Takes the verifier alone, as [`OAuthSession::handle_verifier`] does.
    ///
    /// # Errors
    /// Those of [`OAuthSession::handle_verifier`]; the client goes on waiting.
    pub fn handle_verifier(&mut self, verifier: &str) -> Result<(), Error> {
        self.oauth.handle_verifier(verifier)
    }

    /// Takes a text message of the WebSocket. Those that say that the brokerage session is gone (`sts` with
    /// `authenticated` false, [protocol section 8](crate::protocol#section-8)) make the client ask; all others change
    /// nothing.
    pub fn handle_web_socket_message(&mut self, text: &str) {
        if says_not_authenticated(text) {
            self.doubt();
        }
    }

    /// Doubts that all is well: the network is back, the machine woke up, or somebody else said that the session is gone. The
    /// next poll asks, once in five seconds at most; and a pause of more than a minute between attempts to log in is cut
    /// short, once in ten minutes at most.
    pub fn doubt(&mut self) {
        self.logins.hasten();
        self.brokerage.doubt();
    }

    /// Logs in again after a log-out or a stop, and asks for a brokerage session; if another one competes, that is logged
    /// out this once.
    pub fn open(&mut self) {
        let goal = core::mem::replace(&mut self.goal, Goal::LoggedIn);
        self.is_stopped = false;
        self.logins.hasten();
        if self.wants_brokerage_session {
            self.brokerage.open();
        } else if goal != Goal::LoggedIn {
            // No log-out is sent any more.
            self.brokerage.end();
        }
    }

    /// Logs out: own requests that have not gone out end, the server is told, the live session token is forgotten, and
    /// nothing more is sent until [`open`](Self::open). [`Event::LoggedOut`] comes after the response of the server, or
    /// after 30 seconds.
    pub fn log_out(&mut self, now: UnixTime) {
        self.follow_clock(now);
        self.goal = Goal::LoggingOut { until: now.saturating_add(FAREWELL) };
        self.brokerage.log_out();
        self.end_unsent();
    }

    /// Starts over: forgets every token, also in the hands of signers, and asks for the user's consent again. For a third
    /// party whose user refused, or whose access token was withdrawn.
    pub fn reauthorize(&mut self) {
        self.goal = Goal::LoggedIn;
        self.is_stopped = false;
        self.oauth.reauthorize();
        self.logins.begin_anew();
        self.brokerage = self.fresh_brokerage();
        self.publish();
        self.end_unsent();
    }

    /// Puts a request of the caller's own into the queue. It goes out when there is a live session (for `/iserver` also a
    /// brokerage session, unless none is wanted) and the request limits allow it; it is signed only then. Its outcome comes
    /// with [`Event::Finished`].
    ///
    /// # Errors
    /// [`Error::QueueFull`], and [`Error::Misuse`] for a path or a parameter that cannot be.
    pub fn request(&mut self, request: &ApiRequest<'_>, now: UnixTime) -> Result<RequestTicket, Error> {
        request.parameters(&request.decoded_query()?.pairs())?;
        self.follow_clock(now);
        self.requests.push(request, now)
    }

    /// Takes a request of the caller's own back and returns whether that succeeded: it has not gone out and will not.
    pub fn cancel(&mut self, ticket: RequestTicket) -> bool {
        self.requests.cancel(ticket)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("oauth", &self.oauth).field("brokerage", &self.brokerage).finish_non_exhaustive()
    }
}
