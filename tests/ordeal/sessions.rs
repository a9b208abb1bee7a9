//! Any sequence of operations on two sessions of one consumer, each with a user of its own, and an honest server. What holds
//! whatever is done to them:
//!
//! - nothing panics, and one exchange is in flight at a time, unless the deadline of the one before has passed, which is stale
//!   then; what `poll_timeout` says is due is offered;
//! - an error changes nothing, byte for byte of the snapshot;
//! - a live session token comes only with the answer that the server made for the exchange in flight, whole, and with that
//!   answer it does come;
//! - no nonce comes twice; no timestamp of either is less than the one before, unless the server refused that one and its
//!   clock shows that ours was fast, or that one turns out to be more than a day ahead;
//! - each request is one message, and is signed the same by `authorization`;
//! - nothing that is shown holds a secret;
//! - afterwards an honest server and a right clock lead to a live session;
//! - the same calls give the same bytes.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use ibkr_oauth::http1::encode;
use ibkr_oauth::{
    AccessToken, ApiRequest, Consumer, Error, Exchange, LiveSession, Misuse, OAuthSession, Outbound, Phase, Receipt,
    Request, Response, Snapshot, UnixTime,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::{START, assert_one_message, assert_silent, authorization, number, operations, parameter};

/// How long a response is awaited.
const PATIENCE: Duration = Duration::from_secs(30);
const DAY: u64 = 24 * 60 * 60;
/// A secret has at least as many characters.
const SECRET_LENGTH: usize = 16;
const USERS: [&str; 2] = ["alice", "bob"];
/// Operations of a script that are performed.
const OPERATIONS: usize = 96;

/// What an honest server knows, and what its users decide.
pub trait Honest: Debug {
    /// Returns a consumer that it has on file.
    fn consumer(&self) -> Consumer;
    /// Issues an access token to the first user.
    fn access_token(&mut self, rng: &mut StdRng) -> AccessToken;
    /// Answers at `now` of its own clock.
    fn respond(&mut self, request: &Request, now: UnixTime, rng: &mut StdRng) -> Response<'static>;
    /// Returns the callback after `user` agreed, if the server issued this request token.
    fn consent(&mut self, request_token: &str, user: &str, rng: &mut StdRng) -> Option<String>;
    /// Returns what nobody must see of the consumer's keys.
    fn secrets(&self) -> Vec<String>;
    /// Returns what an access token secret decrypts to, in hex.
    fn decrypted(&self, access_token: &AccessToken) -> Option<String>;
}

/// Two sessions, their server, and all that has been seen.
pub struct World<S> {
    server: S,
    rng: StdRng,
    /// Our clock.
    now: UnixTime,
    /// Seconds by which the server's is ahead.
    server_ahead: i64,
    parties: [Party; 2],
    /// The script: what is in it several times is nobody's secret.
    script: String,
    nonces: BTreeSet<String>,
    secrets: BTreeSet<String>,
    /// The access token secrets whose content is among them.
    decrypted: BTreeSet<String>,
    /// Every request, as it goes over the wire.
    pub sent: Vec<Vec<u8>>,
    /// The latest timestamp of the consumer's series.
    latest: u64,
}

struct Party {
    session: OAuthSession,
    in_flight: Option<Flight>,
    /// From here on what is in flight may be overtaken.
    deadline: UnixTime,
    /// What proved the latest live session token.
    earlier: Option<String>,
    /// The latest signed request.
    signed: Option<Signed>,
}

struct Flight {
    exchange: Exchange,
    request: Request,
    is_awaited: bool,
}

struct Signed {
    live: LiveSession,
    timestamp: u64,
    receipt: Receipt,
}

/// An answer, and what the server's clock showed if it says so.
struct Dated {
    response: Response<'static>,
    date: Option<UnixTime>,
}

impl Dated {
    fn undated(status: u16, body: &str) -> Self {
        Self { response: Response::new(status, body.as_bytes().to_vec()), date: None }
    }

    /// Only a server that has looked at the signature says that a timestamp was not used.
    fn may_take_back(&self, timestamp: u64) -> bool {
        let is_rejection = self.response.status() == 401 && self.response.body().first() != Some(&b'<');
        is_rejection && self.date.is_some_and(|date| date.as_secs().abs_diff(timestamp) > 2)
    }
}

impl Party {
    fn new(session: OAuthSession) -> Self {
        Self { session, in_flight: None, deadline: START, earlier: None, signed: None }
    }

    fn stored(&self) -> Value {
        serde_json::to_value(self.session.snapshot().expose()).unwrap()
    }

    /// What is in flight has been overtaken.
    fn moves_on(&mut self) {
        self.in_flight.iter_mut().for_each(|flight| flight.is_awaited = false);
    }

    /// What our clock shows, set right by what is known of the server's.
    fn server_second(&self, now: UnixTime) -> u64 {
        now.as_secs().saturating_add_signed(self.session.clock_skew().into())
    }
}

impl<S: Honest> World<S> {
    /// Does all that the script says, and looks at what came of each line.
    pub fn after(mut server: S, seed: u64, script: &str) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let consumer = server.consumer();
        let first_party = OAuthSession::with_access_token(consumer.clone(), server.access_token(&mut rng));
        let mut world = Self {
            secrets: server.secrets().into_iter().collect(),
            server,
            rng,
            now: START,
            server_ahead: 0,
            parties: [first_party, OAuthSession::new(consumer)].map(Party::new),
            script: script.to_string(),
            nonces: BTreeSet::new(),
            decrypted: BTreeSet::new(),
            sent: Vec::new(),
            latest: 0,
        };
        let mut who = 0;
        for (operation, argument) in operations(script).take(OPERATIONS) {
            match operation {
                "other" => who = 1 - who,
                _ => world.perform(who, operation, argument),
            }
        }
        world
    }

    /// With an honest server and a right clock, both log in.
    pub fn ends_well(mut self) {
        self.set_clock(0);
        for who in [0, 1] {
            self.perform(who, "drop", "");
            if !self.logs_in(who) {
                self.perform(who, "reauthorize", "");
                assert!(self.logs_in(who), "no way back");
            }
        }
    }

    /// What each session would store.
    pub fn stored(&self) -> [Value; 2] {
        self.parties.each_ref().map(Party::stored)
    }

    fn perform(&mut self, who: usize, operation: &str, argument: &str) {
        let before = self.live_session_token(who);
        let is_proved = self.act(who, operation, argument);
        let token = self.live_session_token(who);
        match is_proved {
            true => assert!(token.is_some() && token != before, "not live in spite of the proof"),
            false => assert!(token.is_none() || token == before, "live without a proof"),
        }
        self.look_at(who);
    }

    fn live_session_token(&self, who: usize) -> Option<String> {
        self.parties[who].stored()["live_session"]["token"].as_str().map(str::to_string)
    }

    /// Returns whether the server has proved a live session token in it.
    fn act(&mut self, who: usize, operation: &str, argument: &str) -> bool {
        match operation {
            // All that an undisturbed driver does, up to the next answer.
            "proceed" => {
                self.consent(who);
                return self.answer(who, "honest", "");
            }
            // To what is in flight; if nothing is, to what is due.
            "honest" | "forge" | "cut_off" | "replay" | "others" | "refuse" | "answer" => {
                return self.answer(who, operation, argument);
            }
            "poll" => self.poll(who),
            "foreign" => self.answer_others_exchange(who),
            "drop" => self.parties[who].in_flight = None,
            // The user agrees on the consent page, and the browser comes back.
            "consent" => self.consent(who),
            "callback" => self.call_back(who, |session| session.handle_callback(argument)),
            "verifier" => self.call_back(who, |session| session.handle_verifier(argument)),
            // Time passes for everybody.
            "wait" => self.now = later(self.now, number::<u32>(argument).0.into()),
            // Our clock is set so many seconds ahead of the server's.
            "clock" => self.set_clock(number::<i32>(argument).0.into()),
            "resume" => self.resume(who),
            "get" | "form" | "json" => self.sign_whatever(who, operation, argument),
            // The server's answer to a request that is signed, or one that is made up.
            "sign" => drop(self.sign_and_send(who)),
            "api" => self.answer_signed(who, argument),
            "invalidate" => self.invalidate(who),
            "invalidate_others" => self.invalidate_others(who),
            "reauthorize" => {
                self.parties[who].session.reauthorize();
                self.parties[who].moves_on();
            }
            _ => {}
        }
        false
    }

    /// An error changes nothing, and shows nothing.
    fn attempt<T>(
        &mut self,
        who: usize,
        operation: impl FnOnce(&mut OAuthSession, &mut StdRng, UnixTime) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let party = &mut self.parties[who];
        let before = party.stored();
        let outcome = operation(&mut party.session, &mut self.rng, self.now);
        if let Err(error) = &outcome {
            assert_eq!(party.stored(), before, "{error}");
            self.is_silent_about(error);
        }
        outcome
    }

    fn poll(&mut self, who: usize) {
        let party = &self.parties[who];
        let was_awaiting = party.in_flight.as_ref().is_some_and(|flight| flight.is_awaited);
        let is_due = party.session.poll_timeout().is_some_and(|at| at <= self.now);
        let Ok(polled) = self.attempt(who, |session, rng, now| session.poll_request(rng, now)) else { return };
        assert!(polled.is_some() || !is_due, "what is due is not offered");
        let Some(Outbound { request, exchange }) = polled else { return };
        let (now, party) = (self.now, &mut self.parties[who]);
        assert!(!was_awaiting || now >= party.deadline, "two exchanges in flight");
        party.deadline = now.saturating_add(PATIENCE);
        self.goes_out(who, &request);
        self.is_silent(&format!("{exchange:?} {exchange:#?}"));
        let overtaken = self.parties[who].in_flight.replace(Flight { exchange, request, is_awaited: true });
        if let Some(Flight { exchange, request, .. }) = overtaken {
            let late = self.honest_answer(&request);
            assert_eq!(self.hand_in(who, exchange, late), Err(Error::Misuse(Misuse::StaleExchange)));
        }
    }

    /// What holds for every request that goes out.
    fn goes_out(&mut self, who: usize, request: &Request) {
        assert!(self.nonces.insert(parameter(request, "oauth_nonce").unwrap()), "a nonce came twice");
        let timestamp = timestamp(request);
        let is_over = self.latest > self.parties[who].server_second(self.now) + DAY;
        assert!(timestamp >= self.latest || is_over, "the timestamp {timestamp} comes after {}", self.latest);
        self.latest = timestamp;
        assert_one_message(request);
        self.sent.push(encode(request));
        self.is_silent(&format!("{request:?} {request:#?}"));
        let tokens = ["oauth_token", "oauth_verifier"].into_iter().filter_map(|name| parameter(request, name));
        // They belong there; what stands before them must not be seen.
        let base_string = tokens.fold(request.base_string().to_string(), |text, token| text.replace(&token, ""));
        self.is_silent(&base_string);
    }

    /// Returns whether it proves a live session token.
    fn answer(&mut self, who: usize, kind: &str, argument: &str) -> bool {
        if self.parties[who].in_flight.is_none() {
            self.poll(who);
        }
        let Some(Flight { exchange, request, is_awaited }) = self.parties[who].in_flight.take() else { return false };
        let honest = self.honest_answer(&request);
        let is_proof = honest.response.status() == 200 && request.path().ends_with("/live_session_token");
        let body = String::from_utf8(honest.response.body().to_vec()).unwrap();
        let earlier = self.parties[who].earlier.clone();
        let dated = match kind {
            "honest" => Some(honest),
            "forge" => is_proof.then(|| Dated::undated(200, &forged(&body, number(argument).0))),
            "cut_off" => Some(Dated::undated(200, &body[..number::<usize>(argument).0 % body.len()])),
            "replay" => earlier.map(|earlier| Dated::undated(200, &earlier)),
            "others" => self.others_answer(who),
            "refuse" => Some(self.rejection(&request, argument)),
            _ => Some(self.made_up(argument)),
        };
        if is_proof {
            self.parties[who].earlier = Some(body);
        }
        // Where there is no such answer, none comes.
        let Some(dated) = dated else { return false };
        let is_success = dated.response.status() == 200;
        let takes_back = dated.may_take_back(timestamp(&request));
        let outcome = self.hand_in(who, exchange, dated);
        if takes_back && is_awaited {
            self.takes_back(who, timestamp(&request));
        }
        match kind {
            _ if !is_awaited => assert_eq!(outcome, Err(Error::Misuse(Misuse::StaleExchange))),
            "honest" => assert_eq!(outcome.is_ok(), is_success, "{outcome:?}"),
            "others" | "answer" => {}
            _ => assert!(outcome.is_err(), "{kind} was taken"),
        }
        is_proof && outcome.is_ok() && kind == "honest"
    }

    fn honest_answer(&mut self, request: &Request) -> Dated {
        let date = self.server_time();
        Dated { response: self.server.respond(request, date, &mut self.rng), date: Some(date) }
    }

    fn others_answer(&mut self, who: usize) -> Option<Dated> {
        let answer = self.server.respond(
            &self.parties[1 - who].in_flight.as_ref()?.request,
            later(self.now, self.server_ahead),
            &mut self.rng,
        );
        Some(Dated::undated(answer.status(), std::str::from_utf8(answer.body()).unwrap()))
    }

    /// `STATUS AHEAD`: by a server whose clock is so many seconds ahead of ours, and which says what it was sent.
    fn rejection(&self, to: &Request, argument: &str) -> Dated {
        let (status, rest) = number::<u16>(argument);
        let status = if (200..300).contains(&status) { 401 } else { status };
        let date = later(self.now, number::<i32>(rest).0.into());
        let body = format!("unknown token: {}", parameter(to, "oauth_token").unwrap_or_default()).into_bytes();
        Dated { response: Response::new(status, body).with_server_time(date), date: Some(date) }
    }

    /// `STATUS BODY`
    fn made_up(&self, argument: &str) -> Dated {
        let (status, body) = number(argument);
        Dated::undated(status, body)
    }

    fn answer_others_exchange(&mut self, who: usize) {
        let Some(Flight { exchange, request, .. }) = self.parties[1 - who].in_flight.take() else { return };
        let honest = self.honest_answer(&request);
        assert_eq!(self.hand_in(who, exchange, honest), Err(Error::Misuse(Misuse::StaleExchange)));
    }

    fn hand_in(&mut self, who: usize, exchange: Exchange, dated: Dated) -> Result<Phase, Error> {
        self.attempt(who, |session, _, now| session.handle_response(exchange, &dated.response, now))
    }

    /// This timestamp was refused: if it is the latest, it counts as not used.
    fn takes_back(&mut self, who: usize, timestamp: u64) {
        if self.latest == timestamp {
            self.latest = self.latest.min(self.parties[who].server_second(self.now));
        }
    }

    fn consent(&mut self, who: usize) {
        let Some(url) = self.parties[who].session.consent_url() else { return };
        let request_token = url.split_once("?oauth_token=").unwrap().1;
        // The server knows nothing of a request token that it did not issue, and forgets one that is decided.
        if let Some(callback) = self.server.consent(request_token, USERS[who], &mut self.rng) {
            self.call_back(who, |session| session.handle_callback(&callback));
            assert!(!self.parties[who].stored()["request_token"]["verifier"].is_null());
        }
    }

    fn call_back(&mut self, who: usize, operation: impl FnOnce(&mut OAuthSession) -> Result<(), Error>) {
        if self.attempt(who, |session, _, _| operation(session)).is_ok() {
            self.parties[who].moves_on();
        }
    }

    fn server_time(&self) -> UnixTime {
        later(self.now, self.server_ahead)
    }

    fn set_clock(&mut self, ahead: i64) {
        // Ten digits: as far as a timestamp goes.
        let ahead = ahead.clamp(-100_000_000, 100_000_000);
        self.now = later(self.server_time(), ahead);
        self.server_ahead = -ahead;
        let latest_deadline = self.now.saturating_add(PATIENCE);
        for party in &mut self.parties {
            party.deadline = party.deadline.min(latest_deadline);
        }
    }

    fn resume(&mut self, who: usize) {
        let party = &mut self.parties[who];
        let snapshot: Snapshot = serde_json::from_value(party.stored()).unwrap();
        let consumer = party.session.consumer().clone();
        party.session = OAuthSession::resume(consumer, &snapshot, self.now).unwrap();
        party.moves_on();
    }

    /// `get PATH?QUERY`, `form PAIRS`, `json BODY`
    fn sign_whatever(&mut self, who: usize, kind: &str, argument: &str) {
        let pairs: Vec<_> = argument.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
        let (path, query) = argument.split_once('?').unwrap_or((argument, ""));
        let request = match kind {
            "get" => ApiRequest::get(path).raw_query(query),
            "form" => ApiRequest::post("/form").query(&pairs).form(&pairs),
            _ => ApiRequest::put("/json").json(argument.as_bytes()),
        };
        drop(self.sign(who, &request));
    }

    /// Signs, if there is a live session to sign with and the request can be.
    fn sign(&mut self, who: usize, request: &ApiRequest<'_>) -> Option<Request> {
        let live = self.parties[who].session.live(self.now)?.clone();
        let seed = self.rng.random();
        let rng = || StdRng::seed_from_u64(seed);
        let signed = live.sign(request, &mut rng(), self.now).inspect_err(|error| self.is_silent_about(error)).ok()?;
        self.goes_out(who, &signed);
        let (alone, receipt) = live.authorization(request, &mut rng(), self.now).unwrap();
        assert_eq!((authorization(&signed), signed.receipt()), (&*alone, receipt));
        self.parties[who].signed = Some(Signed { live, timestamp: timestamp(&signed), receipt });
        Some(signed)
    }

    /// The status of the answer, if there is a live session to sign with.
    fn sign_and_send(&mut self, who: usize) -> Option<u16> {
        let request = self.sign(who, &ApiRequest::get("/portfolio/accounts").query(&[("page", "0")]))?;
        let dated = self.honest_answer(&request);
        let status = dated.response.status();
        self.take_answer_to_signed(who, &dated);
        Some(status)
    }

    /// `STATUS BODY`, to the latest signed request.
    fn answer_signed(&mut self, who: usize, argument: &str) {
        let dated = self.made_up(argument);
        self.take_answer_to_signed(who, &dated);
    }

    fn take_answer_to_signed(&mut self, who: usize, dated: &Dated) {
        let Some(Signed { live, timestamp, receipt }) = self.parties[who].signed.take() else { return };
        let outcome = live.handle_response(receipt, &dated.response, self.now);
        if dated.may_take_back(timestamp) {
            self.takes_back(who, timestamp);
        }
        assert_eq!(outcome.is_ok(), (200..300).contains(&dated.response.status()));
        if let Err(error) = outcome {
            self.is_silent_about(&error);
        }
    }

    fn invalidate(&mut self, who: usize) {
        let (session, now) = (&mut self.parties[who].session, self.now);
        if let Some(live) = session.live(now).cloned() {
            session.invalidate(&live);
            assert_eq!(session.phase(now), Phase::AccessToken);
        }
    }

    fn invalidate_others(&mut self, who: usize) {
        if let Some(live) = self.parties[1 - who].session.live(self.now).cloned() {
            let before = self.parties[who].stored();
            self.parties[who].session.invalidate(&live);
            assert_eq!(self.parties[who].stored(), before);
        }
    }

    /// Nothing of the session that can be shown holds a secret.
    fn look_at(&mut self, who: usize) {
        self.learn_secrets(who);
        let session = &self.parties[who].session;
        self.is_silent(&format!("{session:?} {:?} {:?}", session.live(self.now), session.snapshot()));
        self.is_silent(&format!("{:?} {:?}", session.access_token(), self.server));
    }

    fn learn_secrets(&mut self, who: usize) {
        let stored = self.parties[who].stored();
        for part in ["request_token", "access_token", "live_session"] {
            let fields = stored[part].as_object().into_iter().flat_map(|part| part.values());
            let texts = fields.filter_map(Value::as_str).filter(|text| text.len() >= SECRET_LENGTH);
            let secrets = texts.filter(|text| self.script.matches(text).count() < 2);
            self.secrets.extend(secrets.map(str::to_string));
        }
        let access_token = self.parties[who].session.access_token();
        if let Some(access_token) = access_token.filter(|token| !self.decrypted.contains(token.secret().expose())) {
            self.decrypted.insert(access_token.secret().expose().clone());
            self.secrets.extend(self.server.decrypted(access_token));
        }
    }

    fn is_silent(&self, shown: &str) {
        assert_silent(shown);
        for secret in &self.secrets {
            assert!(!shown.contains(secret), "{secret} is shown in: {shown}");
        }
    }

    fn is_silent_about(&self, error: &Error) {
        assert!(std::error::Error::source(error).is_none(), "a message says everything");
        self.is_silent(&format!("{error} {error:?} {error:#?} {:?}", error.retry(self.now)));
    }

    /// With an honest server and a right clock, the way to an API that answers is never far.
    fn logs_in(&mut self, who: usize) -> bool {
        (0..4).any(|_| {
            self.perform(who, "proceed", "");
            let is_accepted = self.sign_and_send(who) == Some(200);
            if !is_accepted {
                self.perform(who, "invalidate", "");
                // What one session sent with a fast clock keeps the server from looking at the other's for so long.
                self.now = later(self.now, 300);
            }
            is_accepted
        })
    }
}

/// Another digit somewhere in what proves the token.
fn forged(body: &str, at: usize) -> String {
    let mut answer: Value = serde_json::from_str(body).unwrap();
    let field = ["diffie_hellman_response", "live_session_token_signature"][at % 2];
    let digits = answer[field].as_str().unwrap();
    let at = at / 2 % digits.len();
    let other = if &digits[at..=at] == "0" { "1" } else { "0" };
    answer[field] = [&digits[..at], other, &digits[at + 1..]].concat().into();
    answer.to_string()
}

fn timestamp(request: &Request) -> u64 {
    parameter(request, "oauth_timestamp").unwrap().parse().unwrap()
}

fn later(time: UnixTime, seconds: i64) -> UnixTime {
    UnixTime::from_millis(time.as_millis().saturating_add_signed(seconds * 1000))
}
