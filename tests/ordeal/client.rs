//! Any sequence of operations on a client. What holds whatever is done to it, by the caller, the network and the server:
//!
//! - **Own requests.** Anything but a GET goes out once at most, a GET twice, and the second time only after a rejection. Each
//!   ticket has one outcome, which is what happened, not later than its deadline. A response to a request that is not
//!   finished is taken. The queue is bounded. While a live session token is asked for, only GETs go out.
//! - **Waits.** `Wait` is later than now, by a minute at most; there is an end of requests and events at any one moment; one
//!   login request is in flight at once, and one of the brokerage session, unless the deadline of the one before has passed;
//!   the client asks for no more than one thing a second in any minute; nothing goes out for ten minutes after a 429.
//! - **Ready** is said only while a response that spoke of `authenticated`, asked for less than five minutes ago, is there.
//! - **Logins.** At most twelve live session tokens are asked for in any hour of the clock, across restarts and new consents.
//!   Only a token that an honest server has proved signs, and it is the newest; after a log-out or a new beginning
//!   nothing does, signers neither, and nothing goes out after the log-out is told.
//! - An error changes nothing, byte for byte of the snapshot. An exchange of an earlier client is stale.
//! - No secret in anything that is shown.
//! - Afterwards an honest server and a right clock lead to a brokerage session that is ready.
//!
//! A clock that goes back by more than a second takes all plans along: the time that it went back does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ibkr_oauth::brokerage::{BrokeragePhase, CompetePolicy};
use ibkr_oauth::{
    ApiRequest, Client, ClientExchange, Error, Event, Method, OAuthSession, Outcome, Output, Receipt, Request,
    RequestTicket, Response, Signer, Snapshot, UnixTime,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::server::{Reply, Server, is_login, is_signed_with};
use super::{
    START, access_token, assert_one_message, assert_silent, assert_silent_error, authorization, consumer, hex, number,
    operations, parameter,
};

/// A clock that goes back by less is another thread's.
const WOBBLE: Duration = Duration::from_secs(1);
const LOGIN_PATIENCE: Duration = Duration::from_secs(30);
const BROKERAGE_PATIENCE: Duration = Duration::from_secs(15);
const LOG_OUT_PATIENCE: Duration = Duration::from_secs(30);
const OWN_PATIENCE: Duration = Duration::from_secs(60);
const WITNESS_LIFETIME: Duration = Duration::from_secs(5 * 60);
const PENALTY: Duration = Duration::from_secs(10 * 60);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const TOKENS_AN_HOUR: usize = 12;
const QUESTIONS_A_MINUTE: usize = 60;
const QUEUE: usize = 8;
/// Outputs at one moment with no response in between: each own request once, its outcome, and a few of the client's.
const FLOOD: usize = 2 * QUEUE + 16;
/// Operations of a script that are performed.
const OPERATIONS: usize = 200;

pub struct World {
    client: Client,
    signer: Signer,
    server: Server,
    rng: StdRng,
    now: UnixTime,
    lived: Lived,
    policy: CompetePolicy,
    trades: bool,
    flights: Vec<Flight>,
    tickets: BTreeMap<RequestTicket, Fate>,
    /// Outcomes that must not come again.
    finished: BTreeSet<RequestTicket>,
    /// The live session token that the client knows.
    token: Option<Vec<u8>>,
    /// All of them, in the forms that they could be shown in.
    secrets: Vec<String>,
    proof: Option<String>,
    /// A snapshot, and the token in it.
    kept: Option<(String, Option<Vec<u8>>)>,
    nonces: BTreeSet<String>,
    /// When live session tokens were asked for, and when the client asked anything of the brokerage.
    tokens_asked: Vec<Duration>,
    questions: Vec<Duration>,
    /// When the newest response that may be a witness was asked for.
    witness: Option<Duration>,
    silent_until: Duration,
    farewell: Farewell,
    /// For the next answer.
    headers: Vec<(String, String)>,
    /// Of the request that the signer signed last.
    receipt: Option<Receipt>,
    /// Every request as it went out.
    pub sent: Vec<String>,
}

/// The time that a client has lived through.
struct Lived {
    seen: UnixTime,
    in_all: Duration,
}

impl Lived {
    fn at(&self, now: UnixTime) -> Duration {
        self.in_all + now.saturating_since(self.seen)
    }

    /// The client sees the clock. Returns whether it was set back.
    fn see(&mut self, now: UnixTime) -> bool {
        self.in_all = self.at(now);
        let is_set_back = self.seen.saturating_since(now) > WOBBLE;
        self.seen = if is_set_back { now } else { self.seen.max(now) };
        is_set_back
    }
}

/// A request in flight.
struct Flight {
    exchange: ClientExchange,
    request: Request,
    asked: Duration,
    kind: Kind,
    /// Whether it is known not to be awaited any more.
    is_over: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Login,
    Brokerage,
    Own(RequestTicket),
}

/// One of the caller's own requests.
struct Fate {
    method: Method,
    path: String,
    asked: Duration,
    sent: usize,
    attempt: Attempt,
}

#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    Never,
    InFlight,
    Lost,
    Answered,
    Rejected,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Farewell {
    No,
    /// The log-out may still be told.
    Said {
        at: Duration,
    },
    Over,
}

impl World {
    /// A first party, or a third party that has no consent yet.
    fn new(is_first_party: bool, policy: CompetePolicy, trades: bool) -> Self {
        let session = match is_first_party {
            true => OAuthSession::with_access_token(consumer(), access_token()),
            false => OAuthSession::new(consumer()),
        };
        let client = set_up(Client::new(session), policy, trades);
        Self {
            signer: client.signer(),
            client,
            server: Server::default(),
            rng: StdRng::seed_from_u64(1),
            now: START,
            lived: Lived { seen: START, in_all: Duration::ZERO },
            policy,
            trades,
            flights: Vec::new(),
            tickets: BTreeMap::new(),
            finished: BTreeSet::new(),
            token: None,
            secrets: Vec::new(),
            proof: None,
            kept: None,
            nonces: BTreeSet::new(),
            tokens_asked: Vec::new(),
            questions: Vec::new(),
            witness: None,
            silent_until: Duration::ZERO,
            farewell: Farewell::No,
            headers: Vec::new(),
            receipt: None,
            sent: Vec::new(),
        }
    }

    /// Does all that the script says, and looks at what came of each line.
    pub fn after(script: &str) -> Self {
        let says = |word| operations(script).take(OPERATIONS).any(|(operation, _)| operation == word);
        let policy = if says("take_over") { CompetePolicy::TakeOver } else { CompetePolicy::Yield };
        let mut world = Self::new(!says("third_party"), policy, !says("log_in_only"));
        for (operation, argument) in operations(script).take(OPERATIONS) {
            world.perform(operation, argument);
            world.look_around();
        }
        world
    }

    fn perform(&mut self, operation: &str, argument: &str) {
        let (which, rest) = number::<usize>(argument);
        match operation {
            "poll" => drop(self.poll()),
            "settle" => self.settle(),
            "run" => self.run(Duration::from_secs(u64::from(number::<u16>(argument).0).min(7200))),
            "honest" => self.honest(which),
            "answer" => self.answer(which, rest),
            "replay" => self.replay(which),
            "header" => self.headers.extend(argument.split_once(' ').map(|(name, value)| (name.into(), value.into()))),
            "unheard" => self.unheard(which),
            "drop" => drop(self.lose(which)),
            "fail" => self.no_response(which),
            "advance" => self.now = self.now.saturating_add(Duration::from_millis(number::<u32>(argument).0.into())),
            "back" => self.now = self.now.saturating_sub(Duration::from_millis(number::<u32>(argument).0.into())),
            "clock" => self.now = UnixTime::from_secs(number::<u32>(argument).0.into()),
            "get" => self.request(Method::Get, argument),
            "post" => self.request(Method::Post, argument),
            "put" => self.request(Method::Put, argument),
            "delete" => self.request(Method::Delete, argument),
            "cancel" => self.cancel(which),
            "sign" => self.sign(argument),
            "signed" => self.signed(argument),
            "doubt" => self.client.doubt(),
            "open" => self.open(),
            "log_out" => self.log_out(),
            "reauthorize" => self.reauthorize(),
            "resume" => self.resume(),
            "keep" => self.kept = Some((self.stored(), self.token.clone())),
            "adopt" => self.adopt(),
            "consent" => self.consent(),
            "callback" => self.decide(|client| client.handle_callback(argument)),
            "verifier" => self.decide(|client| client.handle_verifier(argument)),
            "socket" => self.client.handle_web_socket_message(argument),
            "reset" => self.server.reset(),
            "compete" => self.server.has_competitor = true,
            "give_up" => self.server.has_competitor = false,
            "expires" => self.server.expiration = argument.parse().ok(),
            _ => {}
        }
    }

    /// What holds at any moment.
    fn look_around(&self) {
        let age = |at: Duration| self.lived.at(self.now).saturating_sub(at);
        if self.client.brokerage_phase(self.now) == BrokeragePhase::Ready {
            let is_fresh = self.witness.is_some_and(|asked| age(asked) < WITNESS_LIFETIME + WOBBLE);
            assert!(is_fresh, "ready without a witness: {:?}", self.witness.map(age));
        }
        let live = self.client.live(self.now);
        assert!(live.is_none() || self.token.is_some(), "live without a proof");
        let signs = self.signer.live().is_some_and(|live| self.now < live.expires_at());
        assert_eq!(signs, live.is_some(), "the signer does not follow");
        self.is_silent(&format!("{:?} {live:?} {:?} {:?}", self.client, self.signer, self.client.web_socket()));
        self.is_silent(&format!("{:?} {:?}", self.client.access_token(), self.client.snapshot()));
    }

    fn is_silent(&self, shown: &str) {
        assert_silent(shown);
        assert!(!self.secrets.iter().any(|secret| shown.contains(secret)), "a token is shown: {shown}");
    }

    fn is_silent_about(&self, error: &Error) {
        assert_silent_error(error);
        self.is_silent(&format!("{error} {error:?} {:?}", error.retry(self.now)));
    }

    fn stored(&self) -> String {
        serde_json::to_string(self.client.snapshot().expose()).unwrap()
    }

    /// An error changes nothing, and shows nothing.
    fn attempt<T, E: Into<Error>>(&mut self, operation: impl FnOnce(&mut Client) -> Result<T, E>) -> Result<T, Error> {
        let before = self.stored();
        let outcome = operation(&mut self.client).map_err(Into::into);
        if let Err(error) = &outcome {
            assert_eq!(self.stored(), before, "{error} changed the client");
            self.is_silent_about(error);
        }
        outcome
    }

    /// The same for an operation that takes the time.
    fn attempt_at<T, E: Into<Error>>(
        &mut self,
        operation: impl FnOnce(&mut Client, UnixTime) -> Result<T, E>,
    ) -> Result<T, Error> {
        let now = self.now;
        if self.lived.see(now) {
            // What is planned has moved along.
            return operation(&mut self.client, now).map_err(Into::into);
        }
        self.attempt(|client| operation(client, now))
    }
}

/// Polls, and what comes of them.
impl World {
    /// Returns until when the client waits, if it does.
    fn poll(&mut self) -> Option<UnixTime> {
        self.lived.see(self.now);
        match self.client.poll(&mut self.rng, self.now) {
            Output::Wait(until) => {
                self.waits(until);
                Some(until)
            }
            Output::Event(event) => {
                self.is_silent(&format!("{event:?}"));
                self.happened(event);
                None
            }
            Output::Send { request, exchange } => {
                self.is_silent(&format!("{request:?} {exchange:?}"));
                self.goes_out(request, exchange);
                None
            }
        }
    }

    /// Polls until the client waits.
    fn settle(&mut self) {
        assert!((0..FLOOD).any(|_| self.poll().is_some()), "a flood");
    }

    fn waits(&self, until: UnixTime) {
        assert!(until > self.now, "a wait for the past");
        assert!(until.saturating_since(self.now) <= MINUTE, "a wait of more than a minute");
        assert!(self.tickets.len() <= QUEUE, "more requests than the queue has room for");
        let lived = self.lived.in_all;
        for fate in self.tickets.values() {
            assert!(lived < fate.asked + OWN_PATIENCE + WOBBLE, "{} has no end", fate.path);
            assert!(fate.attempt != Attempt::Lost, "{} is lost, and not finished", fate.path);
        }
        if let Farewell::Said { at } = self.farewell {
            assert!(lived < at + LOG_OUT_PATIENCE + WOBBLE, "a log-out without end");
        }
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Finished { ticket, outcome } => self.is_finished(ticket, &outcome),
            // Else it happened before the caller changed their mind.
            Event::LoggedOut if self.farewell != Farewell::No => {
                self.farewell = Farewell::Over;
                self.token = None;
                self.end_flights(|kind| kind == Kind::Brokerage);
            }
            Event::LoginFailed { error, .. } | Event::Stopped { error } | Event::BrokerageFailed { error, .. } => {
                self.is_silent_about(&error);
            }
            Event::Brokerage(BrokeragePhase::Ready) => assert!(self.witness.is_some(), "ready without any witness"),
            _ => {}
        }
    }

    fn is_finished(&mut self, ticket: RequestTicket, outcome: &Outcome) {
        assert!(self.finished.insert(ticket), "a second outcome: {outcome:?}");
        let fate = self.tickets.remove(&ticket).expect("a ticket that is known and was not cancelled");
        let expected = match outcome {
            Outcome::Responded(_) => Attempt::Answered,
            Outcome::Rejected { error, .. } => {
                self.is_silent_about(error);
                Attempt::Rejected
            }
            Outcome::NotSent(_) => Attempt::Never,
            _ if fate.attempt == Attempt::Lost => Attempt::Lost,
            _ => Attempt::InFlight,
        };
        assert_eq!(fate.attempt, expected, "{} {}", fate.method, fate.path);
    }

    /// What holds for every request that goes out.
    fn goes_out(&mut self, request: Request, exchange: ClientExchange) {
        let lived = self.lived.in_all;
        assert!(lived >= self.silent_until, "{} goes out in spite of a 429", request.url());
        assert!(self.nonces.insert(parameter(&request, "oauth_nonce").unwrap()), "a nonce came twice");
        assert_one_message(&request);
        self.sent.push(format!("{} {}", request.url(), authorization(&request)));
        let kind = match exchange.request() {
            Some(ticket) => self.own_goes_out(ticket, &request),
            None if is_login(&request) => self.login_goes_out(&request),
            None => self.question_goes_out(&request),
        };
        // What was in flight is overtaken.
        self.end_flights(|earlier| earlier == kind);
        assert!(
            kind == Kind::Login || self.is_signed(&request),
            "{} is not signed with the newest token",
            request.url()
        );
        self.flights.push(Flight { exchange, request, asked: lived, kind, is_over: false });
    }

    fn is_signed(&self, request: &Request) -> bool {
        self.token.as_ref().is_some_and(|token| is_signed_with(token, request))
    }

    fn is_in_flight(&self, kind: Kind, patience: Duration) -> bool {
        let is_fresh = |asked| self.lived.in_all.saturating_sub(asked) < patience - WOBBLE;
        self.flights.iter().any(|flight| flight.kind == kind && !flight.is_over && is_fresh(flight.asked))
    }

    fn login_goes_out(&mut self, request: &Request) -> Kind {
        assert!(self.farewell == Farewell::No, "a login after a log-out");
        assert!(!self.is_in_flight(Kind::Login, LOGIN_PATIENCE), "two login requests in flight");
        if request.path().ends_with("/live_session_token") {
            self.tokens_asked.push(self.lived.in_all);
            assert!(count_since(&self.tokens_asked, HOUR - WOBBLE) <= TOKENS_AN_HOUR, "more than 12 tokens in an hour");
        }
        Kind::Login
    }

    fn question_goes_out(&mut self, request: &Request) -> Kind {
        let may_go_out = match self.farewell {
            Farewell::No => true,
            Farewell::Said { .. } => request.path().ends_with("/logout"),
            Farewell::Over => false,
        };
        assert!(may_go_out, "{} after a log-out", request.path());
        assert!(!self.is_in_flight(Kind::Brokerage, BROKERAGE_PATIENCE), "two brokerage requests in flight");
        self.questions.push(self.lived.in_all);
        assert!(count_since(&self.questions, MINUTE) <= QUESTIONS_A_MINUTE, "a flood of questions");
        Kind::Brokerage
    }

    fn own_goes_out(&mut self, ticket: RequestTicket, request: &Request) -> Kind {
        assert!(self.farewell == Farewell::No, "{} after a log-out", request.path());
        let asks_for_token = self.flights.iter().any(|flight| flight.request.path().ends_with("/live_session_token"))
            && self.is_in_flight(Kind::Login, LOGIN_PATIENCE);
        let fate = self.tickets.get_mut(&ticket).expect("a ticket that is known, not finished and not cancelled");
        let path = request.path().strip_prefix("/v1/api").unwrap();
        assert_eq!((fate.method, &*fate.path), (request.method(), path.split('?').next().unwrap()));
        if fate.method == Method::Get {
            let expected = if fate.sent == 0 { Attempt::Never } else { Attempt::Rejected };
            assert!(fate.sent < 2 && fate.attempt == expected, "a GET is repeated without reason");
        } else {
            assert_eq!(fate.sent, 0, "an order is sent twice");
            assert!(!asks_for_token, "an order goes out during a refresh");
        }
        fate.sent += 1;
        fate.attempt = Attempt::InFlight;
        Kind::Own(ticket)
    }
}

/// How many of these, in order, are less than `period` before the last.
fn count_since(times: &[Duration], period: Duration) -> usize {
    times.iter().rev().take_while(|at| times.last().unwrap().saturating_sub(**at) < period).count()
}

/// Responses.
impl World {
    fn take_flight(&mut self, which: usize) -> Option<Flight> {
        let which = which.checked_rem(self.flights.len())?;
        Some(self.flights.remove(which))
    }

    /// The server gets the request, and its response arrives.
    fn honest(&mut self, which: usize) {
        let Some(flight) = self.take_flight(which) else { return };
        let Reply { status, body, token } = self.server.answer(&flight.request);
        self.hand_in(flight, Response::new(status, body.as_bytes()), token);
    }

    /// The server gets the request; its response may never arrive.
    fn unheard(&mut self, which: usize) {
        let Some(which) = which.checked_rem(self.flights.len()) else { return };
        self.server.answer(&self.flights[which].request);
    }

    fn answer(&mut self, which: usize, argument: &str) {
        let Some(flight) = self.take_flight(which) else { return };
        let (status, body) = number(argument);
        let response = self.with_headers(Response::new(status, body.as_bytes()));
        self.hand_in(flight, response, None);
    }

    /// What proved an earlier token proves no other.
    fn replay(&mut self, which: usize) {
        let (Some(proof), Some(flight)) = (self.proof.clone(), self.take_flight(which)) else { return };
        self.hand_in(flight, Response::new(200, proof.as_bytes()), None);
    }

    fn with_headers<'a>(&mut self, response: Response<'a>) -> Response<'a> {
        let headers = std::mem::take(&mut self.headers);
        headers.iter().fold(response, |response, (name, value)| response.with_header(name, value.as_bytes()))
    }

    fn hand_in(&mut self, flight: Flight, response: Response<'_>, token: Option<Vec<u8>>) {
        if response.status() == 429 {
            self.silent_until = self.lived.at(self.now) + PENALTY - WOBBLE;
        }
        let Flight { exchange, request, asked, kind, is_over } = flight;
        let is_success = (200..300).contains(&response.status());
        let may_be_witness = kind == Kind::Brokerage && is_success && contains(response.body(), b"authenticated");
        let proof = token.is_some().then(|| String::from_utf8(response.body().to_vec()).unwrap());
        let was_taken = self.attempt_at(|client, now| client.handle_response(exchange, &response, now)).is_ok();
        assert!(!(was_taken && is_over), "a response to {} was taken that nobody awaits", request.path());
        if may_be_witness && was_taken {
            self.witness = self.witness.max(Some(asked));
        }
        if was_taken && let Some(token) = token.filter(|_| self.farewell != Farewell::Over) {
            self.secrets.extend([BASE64_STANDARD.encode(&token), hex(&token)]);
            (self.token, self.proof) = (Some(token), proof);
        }
        if let Kind::Own(ticket) = kind
            && let Some(fate) = self.tickets.get_mut(&ticket).filter(|_| !is_over)
        {
            let is_in_time = self.lived.in_all < fate.asked + OWN_PATIENCE - WOBBLE;
            assert!(was_taken || !is_in_time, "a response to {} came in time and was not taken", fate.path);
            if was_taken {
                fate.attempt = if is_success { Attempt::Answered } else { Attempt::Rejected };
            }
        }
    }

    /// No response will come, and the client can know.
    fn no_response(&mut self, which: usize) {
        let Some(exchange) = self.lose(which) else { return };
        self.lived.see(self.now);
        self.client.handle_no_response(exchange, self.now);
    }

    /// Nobody tells the client, nor the time.
    fn lose(&mut self, which: usize) -> Option<ClientExchange> {
        let flight = self.take_flight(which)?;
        if let Kind::Own(ticket) = flight.kind
            && let Some(fate) = self.tickets.get_mut(&ticket).filter(|_| !flight.is_over)
        {
            fate.attempt = Attempt::Lost;
        }
        Some(flight.exchange)
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// What the caller does.
impl World {
    /// `PATH?QUERY`, and a body behind a space.
    fn request(&mut self, method: Method, argument: &str) {
        let (target, body) = argument.split_once(' ').unwrap_or((argument, ""));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = ApiRequest::new(method, path).raw_query(query);
        let request = if body.is_empty() { request } else { request.json(body.as_bytes()) };
        let before = self.stored();
        let outcome = self.client.request(&request, self.now);
        // What cannot be is refused before anything else, the clock included.
        let is_set_back = !matches!(outcome, Err(Error::Misuse(_))) && self.lived.see(self.now);
        match outcome {
            Ok(ticket) => {
                let (path, asked) = (path.to_string(), self.lived.in_all);
                let fate = Fate { method, path, asked, sent: 0, attempt: Attempt::Never };
                assert!(self.tickets.insert(ticket, fate).is_none(), "a ticket came twice");
            }
            Err(error) => {
                let is_full = matches!(error, Error::QueueFull { .. });
                assert!(!is_full || self.tickets.len() >= QUEUE, "full with {} requests", self.tickets.len());
                assert!(is_set_back || self.stored() == before, "{error} changed the client");
                self.is_silent_about(&error);
            }
        }
    }

    fn cancel(&mut self, which: usize) {
        let Some(which) = which.checked_rem(self.tickets.len()) else { return };
        let ticket = *self.tickets.keys().nth(which).unwrap();
        if self.client.cancel(ticket) {
            let fate = self.tickets.remove(&ticket).unwrap();
            assert!(matches!(fate.attempt, Attempt::Never | Attempt::Rejected), "a request in flight was cancelled");
            self.finished.insert(ticket);
        }
    }

    fn sign(&mut self, path: &str) {
        match self.signer.sign(&ApiRequest::get(path), &mut self.rng, self.now) {
            Ok(request) => {
                assert!(self.is_signed(&request), "the signer has another token");
                assert!(self.nonces.insert(parameter(&request, "oauth_nonce").unwrap()), "a nonce came twice");
                self.receipt = Some(request.receipt());
            }
            Err(error) => self.is_silent_about(&error),
        }
    }

    fn signed(&mut self, argument: &str) {
        let Some(receipt) = self.receipt else { return };
        let (status, body) = number::<u16>(argument);
        let response = self.with_headers(Response::new(status, body.as_bytes()));
        if status == 429 {
            self.silent_until = self.lived.at(self.now) + PENALTY - WOBBLE;
        }
        if let Err(error) = self.signer.handle_response(receipt, &response, self.now) {
            self.is_silent_about(&error);
        }
    }

    fn open(&mut self) {
        if self.farewell != Farewell::No {
            self.end_flights(|kind| kind == Kind::Brokerage);
        }
        self.farewell = Farewell::No;
        self.client.open();
    }

    fn log_out(&mut self) {
        self.lived.see(self.now);
        self.farewell = Farewell::Said { at: self.lived.in_all };
        self.client.log_out(self.now);
        self.end_flights(|kind| kind == Kind::Brokerage);
    }

    fn reauthorize(&mut self) {
        self.client.reauthorize();
        self.farewell = Farewell::No;
        self.token = None;
        self.end_flights(|kind| matches!(kind, Kind::Brokerage | Kind::Login));
    }

    /// Nobody awaits the responses to these any more.
    fn end_flights(&mut self, ends: impl Fn(Kind) -> bool) {
        self.flights.iter_mut().filter(|flight| ends(flight.kind)).for_each(|flight| flight.is_over = true);
    }

    /// A process that goes on where another was.
    fn resume(&mut self) {
        let snapshot: Snapshot = serde_json::from_str(&self.stored()).unwrap();
        let consumer = self.client.consumer().clone();
        let client = Client::resume(consumer, &snapshot, self.now).unwrap();
        self.client = set_up(client, self.policy, self.trades);
        self.signer = self.client.signer();
        self.lived.see(self.now);
        self.lived.seen = self.now;
        self.end_flights(|_| true);
        (self.tickets, self.finished) = (BTreeMap::new(), BTreeSet::new());
        (self.witness, self.receipt) = (None, None);
        self.silent_until = Duration::ZERO;
        self.farewell = Farewell::No;
    }

    /// Goes on with what was kept, as if another process had asked for it.
    fn adopt(&mut self) {
        let Some((kept, token)) = self.kept.clone() else { return };
        let before = self.stored();
        let Ok(is_adopted) = self.client.adopt(&serde_json::from_str(&kept).unwrap(), self.now) else {
            assert_eq!(self.stored(), before, "an error changed the client");
            return;
        };
        self.lived.see(self.now);
        if is_adopted {
            self.end_flights(|kind| kind == Kind::Login);
            self.token = token.filter(|_| self.farewell != Farewell::Over);
        }
    }

    /// The user agrees, and the browser comes back.
    fn consent(&mut self) {
        let Some(url) = self.client.consent_url() else { return };
        self.decide(|client| client.handle_callback(&format!("{url}&oauth_verifier=0ffb")));
    }

    fn decide(&mut self, decision: impl FnOnce(&mut Client) -> Result<(), Error>) {
        if self.attempt(decision).is_ok() {
            self.end_flights(|kind| kind == Kind::Login);
        }
    }
}

/// Time with an honest server.
impl World {
    /// Lets so much time pass, with everything that is to be done in it.
    fn run(&mut self, time: Duration) {
        let until = self.now.saturating_add(time);
        while self.now < until {
            self.now = self.settle_honestly().min(until);
        }
    }

    /// Returns until when the client waits.
    fn settle_honestly(&mut self) -> UnixTime {
        for _ in 0..10 * FLOOD {
            if self.flights.is_empty() {
                self.consent();
            }
            if let Some(until) = self.poll() {
                return until;
            }
            while !self.flights.is_empty() {
                self.honest(0);
            }
        }
        panic!("a flood");
    }

    /// Every request has its outcome, and the way back is open.
    pub fn ends_well(mut self) {
        self.flights.clear();
        self.settle();
        self.now = self.now.max(START).saturating_add(OWN_PATIENCE + WOBBLE);
        self.settle();
        assert!(self.tickets.is_empty(), "without an outcome: {:?}", self.tickets.keys());
        self.open();
        self.server.has_competitor = false;
        self.server.expiration = None;
        // A 429 may ask for a day.
        let latest = self.now.saturating_add(25 * HOUR);
        while !self.is_ready() {
            assert!(self.now < latest, "no way back: {:?}", self.client);
            self.now = self.settle_honestly();
        }
        self.look_around();
    }

    fn is_ready(&self) -> bool {
        let is_ready = self.client.brokerage_phase(self.now) == BrokeragePhase::Ready;
        self.client.live(self.now).is_some() && (is_ready || !self.trades)
    }
}

fn set_up(client: Client, policy: CompetePolicy, trades: bool) -> Client {
    let client = client.with_compete_policy(policy).with_request_limit(QUEUE);
    if trades { client } else { client.without_brokerage_session() }
}
