//! Any sequence of operations on a client. Invariants:
//! - `poll` ends: between two answers it hands out a bounded number of requests and events, then a wait, which is later than
//!   `now` by a minute at most;
//! - a request that is not a GET is sent once at most, a GET twice; each ticket ends once; the queue is bounded;
//! - no more than twelve live session tokens are asked for in any hour;
//! - `Ready` was said by an answer that was asked for less than five minutes ago;
//! - an error changes nothing; nonces never repeat; each request is one message; no planted secret is shown;
//! - once everything works, the client is ready within three hours, and every ticket has ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ibkr_oauth::brokerage::{BrokeragePhase, CompetePolicy};
use ibkr_oauth::{
    AccessToken, ApiRequest, Client, ClientExchange, Error, Event, OAuthSession, Output, Request, RequestTicket,
    Response, UnixTime,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::server::Server;
use super::{START, assert_one_message, assert_silent, consumer, number, operations, parameter};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
/// The queue, what the client itself asks, and some events about each.
const MOST_OUTPUTS: usize = 1000;
/// Two threads may read a clock in another order than they use it.
const WOBBLE: u64 = 1000;

/// Runs a script, then lets everything work and waits for the client to be ready.
pub fn run(script: &str) {
    let mut ordeal = Ordeal::new();
    for (operation, argument) in operations(script).take(400) {
        ordeal.step(operation, argument);
    }
    ordeal.recover();
}

struct InFlight {
    request: Request,
    exchange: ClientExchange,
    asked: u64,
}

struct Ordeal {
    client: Client,
    server: Server,
    rng: StdRng,
    now: UnixTime,
    /// The latest time that the client was told.
    told: UnixTime,
    /// Milliseconds that have passed as far as the client could know, whatever was done to the clock.
    elapsed: u64,
    in_flight: VecDeque<InFlight>,
    /// How often each of the caller's own requests went out, by its path.
    sent: BTreeMap<String, u32>,
    open: BTreeSet<RequestTicket>,
    own_requests: u32,
    /// When the latest twelve live session tokens were asked for.
    minted: VecDeque<u64>,
    /// When the latest answer was asked for that may have said that the brokerage session is there.
    witness: Option<u64>,
    nonces: BTreeSet<String>,
}

impl Ordeal {
    fn new() -> Self {
        let access_token = AccessToken::new("PLANTED-a1b2", "AAAA").unwrap();
        Self {
            client: Client::new(OAuthSession::with_access_token(consumer(), access_token)),
            server: Server::default(),
            rng: StdRng::seed_from_u64(1),
            now: START,
            told: START,
            elapsed: 0,
            in_flight: VecDeque::new(),
            sent: BTreeMap::new(),
            open: BTreeSet::new(),
            own_requests: 0,
            minted: VecDeque::new(),
            witness: None,
            nonces: BTreeSet::new(),
        }
    }

    fn step(&mut self, operation: &str, argument: &str) {
        match operation {
            "poll" => drop(self.poll()),
            "honest" => self.answer_honestly(),
            "run" => self.run(u64::from(number::<u16>(argument).0) * 1000, |_| false),
            "answer" => self.answer(argument),
            "answer_latest" => {
                self.in_flight.rotate_right(usize::from(!self.in_flight.is_empty()));
                self.answer(argument);
            }
            "lose" => self.lose(),
            "drop" => drop(self.in_flight.pop_front()),
            "overtake" => self.in_flight.rotate_left(usize::from(!self.in_flight.is_empty())),
            "advance" => self.advance(number::<u32>(argument).0.into()),
            "back" => self.set_back(number::<u32>(argument).0.into()),
            "get" => self.request(ApiRequest::get, argument),
            "post" => self.request(ApiRequest::post, argument),
            "flood" => (0..600).for_each(|_| self.request(ApiRequest::get, "portfolio")),
            "cancel" => self.cancel(),
            "sign" => self.sign_beside(argument),
            "message" => self.client.handle_web_socket_message(argument),
            "verifier" => self.refuses_quietly(|client| client.handle_verifier(argument).is_ok()),
            "callback" => self.refuses_quietly(|client| client.handle_callback(argument).is_ok()),
            "doubt" => self.client.doubt(),
            "open" => self.client.open(),
            "log_out" => self.log_out(),
            "reauthorize" => self.client.reauthorize(),
            "resume" => self.resume(),
            "take_over" => self.renew(|client| client.with_compete_policy(CompetePolicy::TakeOver)),
            "reset" => self.server.reset(),
            "compete" => self.server.has_competitor = true,
            "expiration" => self.server.expiration = Some(number(argument).0),
            _ => return,
        }
        self.check();
    }

    fn check(&self) {
        assert_silent(&format!("{:?} {:?}", self.client, self.client.web_socket()));
        if self.client.brokerage_phase(self.now) == BrokeragePhase::Ready {
            let age = self.elapsed + self.untold() - self.witness.expect("ready, and no answer said so");
            assert!(age <= 5 * MINUTE + WOBBLE, "ready by an answer {age} ms old");
        }
    }

    /// Takes what the client has to give, and returns until when it then waits.
    fn poll(&mut self) -> UnixTime {
        self.tell_time();
        for _ in 0..MOST_OUTPUTS {
            match self.client.poll(&mut self.rng, self.now) {
                Output::Send { request, exchange } => self.take_request(request, exchange),
                Output::Event(event) => self.take_event(&event),
                Output::Wait(until) => {
                    assert!(until > self.now, "a wait in the past");
                    assert!(
                        until.saturating_since(self.now) <= Duration::from_secs(60),
                        "a wait of more than a minute"
                    );
                    return until;
                }
            }
        }
        panic!("poll does not come to an end");
    }

    fn take_request(&mut self, request: Request, exchange: ClientExchange) {
        assert_one_message(&request);
        assert_silent(&format!("{request:?} {exchange:?}"));
        assert!(self.nonces.insert(parameter(&request, "oauth_nonce").unwrap()), "a nonce came twice");
        if exchange.request().is_some() {
            let is_get = request.method().as_str() == "GET";
            let path = request.path().split('?').next().unwrap_or_default().to_string();
            let times = self.sent.entry(path).or_default();
            *times += 1;
            assert!(*times <= if is_get { 2 } else { 1 }, "{} was sent {times} times", request.path());
        }
        if request.path().ends_with("/oauth/live_session_token") {
            self.minted.push_back(self.elapsed);
            if self.minted.len() > 12 {
                let oldest = self.minted.pop_front().unwrap();
                assert!(self.elapsed - oldest >= HOUR - WOBBLE, "thirteen tokens in {} ms", self.elapsed - oldest);
            }
        }
        self.in_flight.push_back(InFlight { request, exchange, asked: self.elapsed });
    }

    fn take_event(&mut self, event: &Event) {
        // The address of the consent page holds the request token for whoever shows it.
        assert_silent(&format!("{event:?}"));
        if let Event::Finished { ticket, .. } = event {
            assert!(self.open.remove(ticket), "a ticket ended twice");
        }
    }

    fn answer_honestly(&mut self) {
        let Some(InFlight { request, exchange, asked }) = self.in_flight.pop_front() else { return };
        let reply = self.server.answer(&request);
        self.hand_in(exchange, Response::new(reply.status, reply.body.as_bytes()), asked, &reply.body);
    }

    fn answer(&mut self, argument: &str) {
        let Some(InFlight { exchange, asked, .. }) = self.in_flight.pop_front() else { return };
        let (status, body) = number(argument);
        self.hand_in(exchange, Response::new(status, body.as_bytes()), asked, body);
    }

    fn hand_in(&mut self, exchange: ClientExchange, response: Response<'_>, asked: u64, body: &str) {
        let (before, is_own, is_behind) = (self.state(), exchange.request().is_some(), self.now < self.told);
        self.tell_time();
        match self.client.handle_response(exchange, response, self.now) {
            Ok(()) if !is_own && body.contains("true") => self.witness = self.witness.max(Some(asked)),
            Ok(()) => {}
            Err(error) => {
                assert_silent(&format!("{error} {error:?}"));
                assert!(is_behind || self.state() == before, "an error changed something");
            }
        }
    }

    fn lose(&mut self) {
        if let Some(InFlight { exchange, .. }) = self.in_flight.pop_front() {
            self.tell_time();
            self.client.handle_no_response(exchange, self.now);
        }
    }

    /// What must not change.
    fn state(&self) -> (String, String) {
        let snapshot = serde_json::to_string(self.client.snapshot().expose()).unwrap();
        (snapshot, format!("{:?} {:?}", self.client.phase(self.now), self.client.brokerage_phase(self.now)))
    }

    fn refuses_quietly(&mut self, call: impl FnOnce(&mut Client) -> bool) {
        let before = self.state();
        assert!(call(&mut self.client) || self.state() == before, "an error changed something");
    }

    fn request<'a>(&mut self, method: fn(&'a str) -> ApiRequest<'a>, argument: &'a str) {
        let path = format!("/{}/{}", argument.trim_matches('/'), self.own_requests);
        self.own_requests += 1;
        self.tell_time();
        // The method decides on the request, the path is this request's alone.
        let request = method(Box::leak(path.into_boxed_str()));
        match self.client.request(&request.query(&[("a", "b")]), self.now) {
            Ok(ticket) => assert!(self.open.insert(ticket), "a ticket came twice"),
            Err(Error::QueueFull { .. }) => assert!(self.open.len() >= 256),
            Err(error) => assert_silent(&format!("{error}")),
        }
        assert!(self.open.len() <= 512, "the queue has no bound");
    }

    fn log_out(&mut self) {
        self.tell_time();
        self.client.log_out(self.now);
    }

    fn cancel(&mut self) {
        let Some(&ticket) = self.open.first() else { return };
        if self.client.cancel(ticket) {
            self.open.remove(&ticket);
        }
        assert!(!self.client.cancel(ticket), "cancelled twice");
    }

    /// Signs beside the client, and hands in what came back.
    fn sign_beside(&mut self, argument: &str) {
        let signer = self.client.signer();
        let Ok(request) = signer.sign(&ApiRequest::get("/portfolio/accounts"), &mut self.rng, self.now) else { return };
        assert_one_message(&request);
        assert!(self.nonces.insert(parameter(&request, "oauth_nonce").unwrap()), "a nonce came twice");
        let (status, body) = number(argument);
        if let Err(error) = signer.handle_response(request.receipt(), &Response::new(status, body.as_bytes()), self.now)
        {
            assert_silent(&format!("{error}"));
        }
    }

    /// The process ends and starts again: own requests are not kept, and what was in flight is nobody's.
    fn resume(&mut self) {
        self.tell_time();
        let snapshot = self.client.snapshot();
        let Ok(client) = Client::resume(consumer(), snapshot.expose(), self.now) else { return };
        self.client = client;
        self.open.clear();
        self.witness = None;
        for stale in std::mem::take(&mut self.in_flight) {
            let answered = self.client.handle_response(stale.exchange, Response::new(200, b"{}"), self.now);
            assert!(answered.is_err(), "an exchange of the process before is awaited");
        }
    }

    fn renew(&mut self, change: impl FnOnce(Client) -> Client) {
        self.resume();
        let idle = Client::new(OAuthSession::new(consumer()));
        self.client = change(std::mem::replace(&mut self.client, idle));
    }

    fn advance(&mut self, millis: u64) {
        self.now = self.now.saturating_add(Duration::from_millis(millis));
    }

    /// Before each call that tells the client the time.
    fn tell_time(&mut self) {
        self.elapsed += self.untold();
        self.told = self.now;
    }

    fn untold(&self) -> u64 {
        self.now.as_millis().saturating_sub(self.told.as_millis())
    }

    fn set_back(&mut self, millis: u64) {
        let millis = millis.min(self.now.as_millis().saturating_sub(START.as_millis() / 2));
        self.now = self.now.saturating_sub(Duration::from_millis(millis));
    }

    /// Everything works for so long, or until `ends`.
    fn run(&mut self, millis: u64, ends: impl Fn(&Self) -> bool) {
        self.tell_time();
        let end = self.elapsed + millis;
        loop {
            let until = self.poll();
            if self.elapsed >= end || ends(self) {
                return;
            }
            if self.in_flight.is_empty() {
                let wait = u64::try_from(until.saturating_since(self.now).as_millis()).unwrap();
                self.advance(wait.min(end - self.elapsed));
            }
            while !self.in_flight.is_empty() {
                self.answer_honestly();
            }
            self.check();
            if self.client.consent_url().is_some() {
                self.client.handle_verifier("0ffb").unwrap();
            }
        }
    }

    fn recover(&mut self) {
        self.in_flight.clear();
        self.server.has_competitor = false;
        self.server.expiration = None;
        self.client.open();
        self.run(3 * HOUR, Self::is_ready);
        assert!(self.is_ready(), "no way back: {:?}", self.client);
        self.run(2 * MINUTE, |ordeal| ordeal.open.is_empty());
        assert!(self.open.is_empty(), "tickets that never end");
    }

    fn is_ready(&self) -> bool {
        self.client.live(self.now).is_some() && self.client.brokerage_phase(self.now) == BrokeragePhase::Ready
    }
}
