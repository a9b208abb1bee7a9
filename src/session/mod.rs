//! The OAuth session: the state machine from a consumer to a live session token.

mod requests;
mod responses;

use alloc::format;
use alloc::string::String;
use core::fmt;
use rand_core::CryptoRng;

use crate::agreement::live_session_token::TokenId;
use crate::credentials::consumer::Consumer;
use crate::credentials::token::{AccessToken, Token};
use crate::error::{Error, Misuse};
use crate::exchange::{Exchange, Outbound, Step};
use crate::live_session::LiveSession;
use crate::signing::nonce_and_timestamp::Stamp;
use crate::signing::percent_encoding::encode_into;
use crate::signing::policy::QueryPolicy;
use crate::ticket::Awaited;
use crate::time::UnixTime;
use crate::wire::callback;
use crate::wire::receipt::Receipt;
use crate::wire::response::Response;

/// How far a login has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[allow(clippy::exhaustive_enums, reason = "the protocol's own four stages")]
pub enum Phase {
    /// Nothing yet. A third party starts here.
    Unauthorized,
    /// A request token is there; the user's consent is awaited, or being redeemed.
    RequestToken,
    /// An access token is there. A first party starts here.
    AccessToken,
    /// A live session token is there: API requests can be signed.
    LiveSession,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unauthorized => "unauthorized",
            Self::RequestToken => "request token",
            Self::AccessToken => "access token",
            Self::LiveSession => "live session",
        })
    }
}

/// A login to IBKR's Web API, from nothing to a live session, without IO.
///
/// # The contract
/// ```no_run
/// # use ibkr_oauth::{Error, OAuthSession, Outbound, Request, Response, UnixTime};
/// # fn send(_: &Request) -> Result<Response<'static>, Box<dyn core::error::Error>> { unimplemented!() }
/// # fn now() -> UnixTime { unimplemented!() }
/// # fn drive(mut session: OAuthSession, mut rng: impl rand_core::CryptoRng) -> Result<(), Box<dyn core::error::Error>> {
/// while let Some(Outbound { request, exchange }) = session.poll_request(&mut rng, now())? {
///     let response = send(&request)?; // any HTTP client: status, all headers, body; `?` is safe here
///     session.handle_response(exchange, &response, now())?;
/// }
/// # Ok(()) }
/// ```
/// `poll_*` methods return the next thing to do; `handle_*` methods report what happened; methods named by a noun only
/// read. Three promises hold for every method:
///
/// - **An error changes nothing.** All fallible work comes first, the new state is assigned once, last. (Only the
///   server's clock is learned from a rejection too, and a timestamp that it rejects counts as not used: see
///   [`clock_skew`](Self::clock_skew).)
/// - **A dropped [`Exchange`] loses nothing.** The next poll offers a fresh request, with a new nonce. So does the
///   first poll after the exchange's deadline, 30 seconds
///   ([`ConsumerBuilder::oauth_deadline`](crate::ConsumerBuilder::oauth_deadline)): the exchange is stale then.
/// - **The same calls give the same bytes.** Time and randomness come from the caller and from nowhere else.
///
/// # Consent
/// A third party sends its user to IBKR's page in between. `drive` is the loop above:
///
/// ```no_run
/// # use ibkr_oauth::{Consumer, OAuthSession, Phase, UnixTime};
/// # fn drive(_: &mut OAuthSession) -> Result<(), Box<dyn core::error::Error>> { unimplemented!() }
/// # fn redirect_to(_: &str) -> String { unimplemented!() }
/// # fn now() -> UnixTime { unimplemented!() }
/// # fn consent(consumer: Consumer) -> Result<(), Box<dyn core::error::Error>> {
/// let mut session = OAuthSession::new(consumer);
/// drive(&mut session)?; // /oauth/request_token
/// let page = session.consent_url().ok_or("no request token came")?;
/// let target = redirect_to(&page); // what the browser asks your callback URL for: /back?oauth_token=...&oauth_verifier=...
/// session.handle_callback(&target)?; // for this request token, or an error
/// drive(&mut session)?; // /oauth/access_token, then /oauth/live_session_token
/// assert_eq!(session.phase(now()), Phase::LiveSession);
/// let for_next_time = session.access_token(); // store it: no consent is needed again
/// # Ok(()) }
/// ```
///
/// # Transitions
/// | phase | call | next phase |
/// |---|---|---|
/// | `Unauthorized` | response to `/oauth/request_token` | `RequestToken` |
/// | `RequestToken` | [`handle_callback`](Self::handle_callback), [`handle_verifier`](Self::handle_verifier) | `RequestToken`, and the next poll redeems the verifier |
/// | `RequestToken` | response to `/oauth/access_token` | `AccessToken` |
/// | `AccessToken` | response to `/oauth/live_session_token` | `LiveSession` |
/// | `LiveSession` | the refresh margin begins | `LiveSession`, and the next poll asks for a new token while the old one signs |
/// | `LiveSession` | response to `/oauth/live_session_token` | `LiveSession`, with the new token |
/// | `LiveSession` | the token expires, or [`invalidate`](Self::invalidate) | `AccessToken` |
/// | any | [`reauthorize`](Self::reauthorize) | `Unauthorized` |
/// | any | any error | the same |
pub struct OAuthSession {
    consumer: Consumer,
    state: State,
    query_policy: QueryPolicy,
    awaited: Awaited,
    generation: u64,
}

pub(crate) enum State {
    Unauthorized,
    RequestToken { token: Token, verifier: Option<Token> },
    AccessToken(AccessToken),
    LiveSession { access_token: AccessToken, live: LiveSession },
}

/// What can be asked of the server now.
#[allow(clippy::enum_variant_names, reason = "the protocol's own words")]
enum Work<'a> {
    RequestToken,
    AccessToken { token: &'a Token, verifier: &'a Token },
    LiveSessionToken(&'a AccessToken),
}

impl OAuthSession {
    /// Returns a third party's session: it begins with a request token and needs the user's consent.
    pub fn new(consumer: Consumer) -> Self {
        Self::in_state(consumer, State::Unauthorized)
    }

    /// Returns a session that has its access token: a first party's, from the self-service portal, or a third party's
    /// from an earlier consent.
    pub fn with_access_token(consumer: Consumer, access_token: AccessToken) -> Self {
        Self::in_state(consumer, State::AccessToken(access_token))
    }

    fn in_state(consumer: Consumer, state: State) -> Self {
        // The default is what is wanted where the caller fixed none.
        let query_policy = consumer.identity().fixed_query_policy().unwrap_or_default();
        Self::from_parts(consumer, state, query_policy)
    }

    pub(crate) fn from_parts(consumer: Consumer, state: State, query_policy: QueryPolicy) -> Self {
        Self { consumer, state, query_policy, awaited: Awaited::default(), generation: 0 }
    }

    #[cfg(feature = "serde")]
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    #[cfg(feature = "serde")]
    pub(crate) fn with_generation(self, generation: u64) -> Self {
        Self { generation, ..self }
    }

    /// Returns whose session this is.
    pub fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// Returns how far the login has come at `now`.
    pub fn phase(&self, now: UnixTime) -> Phase {
        match &self.state {
            State::Unauthorized => Phase::Unauthorized,
            State::RequestToken { .. } => Phase::RequestToken,
            State::AccessToken(_) => Phase::AccessToken,
            State::LiveSession { live, .. } if now >= live.expires_at() => Phase::AccessToken,
            State::LiveSession { .. } => Phase::LiveSession,
        }
    }

    /// Returns the live session, while there is one that has not expired at `now`.
    pub fn live(&self, now: UnixTime) -> Option<&LiveSession> {
        match &self.state {
            State::LiveSession { live, .. } if now < live.expires_at() => Some(live),
            _ => None,
        }
    }

    /// Returns the access token, from the moment there is one: a third party stores it and asks for consent only once.
    pub fn access_token(&self) -> Option<&AccessToken> {
        match &self.state {
            State::AccessToken(access_token) | State::LiveSession { access_token, .. } => Some(access_token),
            State::Unauthorized | State::RequestToken { .. } => None,
        }
    }

    /// Returns the request token, while consent is awaited or being redeemed: what a [`Callback`](crate::Callback) is
    /// for.
    pub fn request_token(&self) -> Option<&str> {
        match &self.state {
            State::RequestToken { token, .. } => Some(token.as_str()),
            _ => None,
        }
    }

    /// Returns the page to send the user to, while consent is awaited
    /// ([protocol section 1](crate::protocol#section-1)).
    pub fn consent_url(&self) -> Option<String> {
        match &self.state {
            State::RequestToken { token, .. } => {
                let mut url = format!("{}?oauth_token=", self.consumer.authorize_url());
                encode_into(&mut url, token.as_str());
                Some(url)
            }
            _ => None,
        }
    }

    /// Returns when [`poll_request`](Self::poll_request) has work next, if nothing else happens; a moment that has
    /// passed means now. While live it is the beginning of the refresh margin; while an exchange is in flight, its
    /// deadline at the earliest. `None` while the user's consent is awaited. A machine may sleep meanwhile: wait no
    /// longer than a minute at once.
    ///
    /// Failures are not accounted for: after an error, wait as long as [`Error::retry`] advises.
    pub fn poll_timeout(&self) -> Option<UnixTime> {
        let due = match &self.state {
            State::RequestToken { verifier: None, .. } => return None,
            State::LiveSession { live, .. } => live.refresh_at(),
            State::Unauthorized | State::RequestToken { .. } | State::AccessToken(_) => UnixTime::default(),
        };
        Some(self.awaited.put_off(due))
    }

    /// The deadline of the exchange in flight.
    pub(crate) fn deadline(&self) -> Option<UnixTime> {
        self.awaited.deadline()
    }

    /// As [`poll_timeout`](Self::poll_timeout) if nothing is in flight, and now if the clock was set back so far that
    /// the age of the live session token is not known any more.
    pub(crate) fn due_at(&self, now: UnixTime) -> Option<UnixTime> {
        match self.work(now) {
            Some(_) => self.poll_timeout().map(|at| at.min(now)),
            None => self.poll_timeout(),
        }
    }

    /// Whether a response is awaited at `now`.
    pub(crate) fn is_awaiting(&self, now: UnixTime) -> bool {
        self.awaited.is_pending(now)
    }

    /// Returns the seconds by which the server's clock is ahead of the caller's, learned from `Date` headers and applied
    /// to the timestamps sent. Zero until something is learned, and with
    /// [`without_clock_correction`](crate::ConsumerBuilder::without_clock_correction).
    pub fn clock_skew(&self) -> i32 {
        self.consumer.identity().clock().skew()
    }

    /// Moves the deadline of the exchange in flight along with a clock that went back.
    pub(crate) fn follow_clock(&mut self, now: UnixTime) {
        self.awaited.follow_clock(self.consumer.oauth_deadline(), now);
    }

    /// Returns the next request to send, or `None` while there is nothing to do: an exchange is in flight, the user's
    /// consent is awaited, or the session is live and not about to expire.
    ///
    /// Costs one RSA signature; for a live session token also one RSA decryption and one modular exponentiation:
    /// milliseconds.
    ///
    /// # Errors
    /// [`Error::Keys`] if signing or decryption fails; a truncated access token secret is reported here.
    /// [`Error::Misuse`] for an impossible clock or a broken random source.
    pub fn poll_request(&mut self, rng: &mut dyn CryptoRng, now: UnixTime) -> Result<Option<Outbound>, Error> {
        let patience = self.consumer.oauth_deadline();
        self.follow_clock(now);
        let Some(work) = self.work(now).filter(|_| !self.awaited.is_pending(now)) else {
            return Ok(None);
        };
        let stamp = Stamp::new(self.consumer.identity().clock(), rng, now)?;
        let receipt = Receipt::of_oauth(now, stamp.second);
        let (step, request) = match work {
            Work::RequestToken => self.ask_request_token(&stamp, receipt, rng)?,
            Work::AccessToken { token, verifier } => self.ask_access_token(token, verifier, &stamp, receipt, rng)?,
            Work::LiveSessionToken(access_token) => self.ask_live_session_token(access_token, &stamp, receipt, rng)?,
        };
        self.consumer.identity().clock().note(stamp.second);
        let ticket = self.awaited.issue(patience, now);
        Ok(Some(Outbound { request, exchange: Exchange { ticket, receipt, step } }))
    }

    fn work(&self, now: UnixTime) -> Option<Work<'_>> {
        match &self.state {
            State::Unauthorized => Some(Work::RequestToken),
            State::RequestToken { token, verifier: Some(verifier) } => Some(Work::AccessToken { token, verifier }),
            State::AccessToken(access_token) => Some(Work::LiveSessionToken(access_token)),
            State::LiveSession { access_token, live } if live.is_due(now) => Some(Work::LiveSessionToken(access_token)),
            State::RequestToken { verifier: None, .. } | State::LiveSession { .. } => None,
        }
    }

    /// Takes the URL that the user's browser was redirected to after consent: whole, as the target of the browser's
    /// request to your server, or only the query.
    ///
    /// # Errors
    /// [`Error::Callback`] names what is wrong; the session goes on waiting. [`Misuse::NoRequestToken`] if no consent
    /// is awaited.
    pub fn handle_callback(&mut self, url: &str) -> Result<(), Error> {
        let (token, slot) = self.pending_request_token()?;
        *slot = Some(callback::verifier(url, token)?);
        self.awaited.forget();
        Ok(())
    }

    /// Takes the verifier alone, as a user copies it out of the address bar. Prefer
    /// [`handle_callback`](Self::handle_callback): it also checks that the verifier belongs to this request token.
    ///
    /// # Errors
    /// As [`handle_callback`](Self::handle_callback).
    pub fn handle_verifier(&mut self, verifier: &str) -> Result<(), Error> {
        let (_, slot) = self.pending_request_token()?;
        *slot = Some(Token::new(verifier.trim()).map_err(callback::CallbackError::Verifier)?);
        self.awaited.forget();
        Ok(())
    }

    /// The request token and the place for its verifier. A newer verifier replaces an older one, and an exchange that
    /// is redeeming the older one is no longer awaited.
    fn pending_request_token(&mut self) -> Result<(&Token, &mut Option<Token>), Misuse> {
        match &mut self.state {
            State::RequestToken { token, verifier } => Ok((token, verifier)),
            _ => Err(Misuse::NoRequestToken),
        }
    }

    /// Takes the response to the request that came with `exchange` and returns the phase it leads to.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a rejection, [`Error::Malformed`] for an unusable response, [`Error::LiveSessionMismatch`]
    /// if the server cannot prove the token, [`Misuse::StaleExchange`] for an exchange that is not awaited. The
    /// session then is where it was, and the next poll offers a fresh request.
    pub fn handle_response(
        &mut self,
        exchange: Exchange,
        response: &Response<'_>,
        now: UnixTime,
    ) -> Result<Phase, Error> {
        if !self.awaited.is(&exchange.ticket) {
            return Err(Misuse::StaleExchange.into());
        }
        let clock = self.consumer.identity().learn_clock(&exchange.receipt, response, now);
        self.state = self.state_after(&exchange, response).map_err(|error| responses::at_login(error, clock))?;
        if matches!(exchange.step, Step::LiveSessionToken { .. }) {
            self.generation = self.generation.saturating_add(1);
        }
        // The exchange is dropped here, and with it the ticket that was awaited.
        Ok(self.phase(now))
    }

    /// Forgets the live session token of `dead`: call this when the server has rejected (401) a request that `dead`
    /// signed. The next poll then offers a request for a new token. If the token has been replaced already, nothing
    /// happens, so ten requests that fail together lead to one new token.
    ///
    /// Nothing here limits how often that may happen; [`Client`](crate::Client) does.
    pub fn invalidate(&mut self, dead: &LiveSession) {
        self.forget_token(dead.id());
    }

    /// The live session, expired or not.
    pub(crate) fn stored_live(&self) -> Option<&LiveSession> {
        match &self.state {
            State::LiveSession { live, .. } => Some(live),
            _ => None,
        }
    }

    /// Counts on from there, if another process has had more live session tokens.
    #[cfg(feature = "serde")]
    pub(crate) fn note_generation(&mut self, generation: u64) {
        self.generation = self.generation.max(generation);
    }

    /// Goes on where `other` is, a session of the same consumer. An exchange in flight is no longer awaited.
    #[cfg(feature = "serde")]
    pub(crate) fn replace_by(&mut self, other: Self) {
        self.state = other.state;
        self.query_policy = other.query_policy;
        self.awaited.forget();
    }

    pub(crate) fn forget_token(&mut self, dead: TokenId) {
        if let State::LiveSession { access_token, live } = &self.state
            && live.id() == dead
        {
            self.state = State::AccessToken(access_token.clone());
        }
    }

    /// Returns how many live session tokens this session has had, those before it was resumed included.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns whether the query of API requests is signed.
    pub fn query_policy(&self) -> QueryPolicy {
        self.query_policy
    }

    pub(crate) fn set_query_policy(&mut self, policy: QueryPolicy) {
        self.query_policy = policy;
        if let State::LiveSession { live, .. } = &mut self.state {
            *live = live.with_query_policy(policy);
        }
    }

    /// Starts over from [`Phase::Unauthorized`]: forgets every token, and the user is asked for consent again. For a
    /// third party whose user refused, or whose access token was withdrawn. Clones of the [`LiveSession`] that were
    /// handed out go on signing until their token expires; a [`Signer`](crate::Signer) does not.
    pub fn reauthorize(&mut self) {
        self.state = State::Unauthorized;
        self.awaited.forget();
    }
}

impl fmt::Debug for OAuthSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Unauthorized => "Unauthorized",
            State::RequestToken { .. } => "RequestToken",
            State::AccessToken(_) => "AccessToken",
            State::LiveSession { .. } => "LiveSession",
        };
        f.debug_struct("OAuthSession").field("consumer", &self.consumer).field("state", &state).finish_non_exhaustive()
    }
}
