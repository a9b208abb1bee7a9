//! Any sequence of operations, with real keys and the gateway as the honest server. What holds for two sessions of one
//! consumer, each with a user of its own, whatever is done to them:
//!
//! - nothing panics, and one exchange is in flight at a time, unless the deadline of the one before has passed;
//! - an error changes nothing, byte for byte of the snapshot;
//! - a live session token comes only with the answer that the gateway made for the exchange in flight, whole and in time,
//!   and with that answer it does come;
//! - no nonce comes twice; no timestamp of either is less than the one before, unless the server refused that one and its
//!   clock shows that ours was fast, or that one turns out to be more than a day ahead;
//! - nothing that is shown holds a secret;
//! - afterwards an honest server and a right clock lead to a live session;
//! - the same calls give the same bytes.
#![cfg(all(feature = "http1", feature = "serde", feature = "std"))]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ibkr_oauth::http1::encode;
use ibkr_oauth::{
    AccessToken, ApiRequest, ConsumerKeys, Error, Exchange, Misuse, OAuthSession, Outbound, Phase, Request, Response,
    Snapshot, UnixTime,
};
use ibkr_oauth_gateway::{Consent, User};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;
use support::pair::{Pair, response};
use support::{ENCRYPTION_PEM, NOW, SIGNATURE_PEM, keys, parameter, rng};

/// How long a response is awaited.
const PATIENCE: Duration = Duration::from_secs(30);
const DAY: u64 = 24 * 60 * 60;
/// A secret has at least as many characters.
const SECRET_LENGTH: usize = 16;
const USERS: [&str; 2] = ["alice", "bob"];

#[derive(Debug, Clone)]
enum Operation {
    /// All that an undisturbed driver does, up to the next answer; the user agrees at once.
    Proceed,
    Poll,
    /// To what is in flight; if nothing is, to what is due.
    Answer(Answer),
    /// The exchange of the other session, with its own honest answer.
    AnswerOthersExchange,
    DropExchange,
    /// The user agrees on the consent page, and the browser comes back.
    Consent,
    Callback(String),
    Verifier(String),
    /// Time passes for everybody.
    Wait {
        seconds: u64,
    },
    /// Our clock is set so many seconds ahead of the server's.
    SetClock {
        ahead: i64,
    },
    Resume,
    Sign,
    Invalidate,
    InvalidateOthers,
    Reauthorize,
}

#[derive(Debug, Clone)]
enum Answer {
    Honest,
    /// The honest one, with another digit somewhere in what proves the token.
    Forged {
        field: &'static str,
        at: Index,
    },
    /// The beginning of the honest one.
    CutOff(Index),
    /// The honest one to an earlier exchange.
    Replayed,
    /// The honest one to the other session's exchange.
    Others,
    /// A refusal by a server whose clock is so many seconds ahead of ours, and which says what it was sent.
    Refusal {
        status: u16,
        ahead: i64,
    },
    Any {
        status: u16,
        body: String,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let clock = || prop_oneof![4 => Just(0), 3 => -600..600_i64, 2 => -80_000..80_000_i64, 1 => -400_000..400_000_i64];
    let wait = prop_oneof![4 => 0..60_u64, 2 => 0..7200_u64, 1 => 80_000..200_000_u64];
    let text = "(\\?|&|oauth_token=|oauth_verifier=|%|[0-9a-f]{20}|[ -~]){0,6}";
    prop_oneof![
        10 => Just(Operation::Proceed),
        8 => Just(Operation::Poll),
        12 => answer(clock()).prop_map(Operation::Answer),
        1 => Just(Operation::AnswerOthersExchange),
        1 => Just(Operation::DropExchange),
        1 => Just(Operation::Consent),
        1 => text.prop_map(Operation::Callback),
        1 => text.prop_map(Operation::Verifier),
        3 => wait.prop_map(|seconds| Operation::Wait { seconds }),
        3 => clock().prop_map(|ahead| Operation::SetClock { ahead }),
        2 => Just(Operation::Resume),
        5 => Just(Operation::Sign),
        2 => Just(Operation::Invalidate),
        1 => Just(Operation::InvalidateOthers),
        1 => Just(Operation::Reauthorize),
    ]
}

fn answer(clock: impl Strategy<Value = i64>) -> impl Strategy<Value = Answer> {
    let field = prop_oneof![Just("diffie_hellman_response"), Just("live_session_token_signature")];
    let status = || prop_oneof![Just(200_u16), Just(400), Just(401), Just(503), any::<u16>()];
    let body = prop_oneof![
        Just(String::new()),
        Just("<html>".to_string()),
        "\\{\"(oauth_token|diffie_hellman_response)\":\"[0-9a-f]{20}\",\"(oauth_token_secret|live_session_token_signature)\":\"[0-9a-f]{40}\"\\}",
    ];
    prop_oneof![
        4 => Just(Answer::Honest),
        3 => (field, any::<Index>()).prop_map(|(field, at)| Answer::Forged { field, at }),
        1 => any::<Index>().prop_map(Answer::CutOff),
        2 => Just(Answer::Replayed),
        2 => Just(Answer::Others),
        2 => (status(), clock).prop_map(|(status, ahead)| Answer::Refusal { status, ahead }),
        1 => (status(), body).prop_map(|(status, body)| Answer::Any { status, body }),
    ]
}

/// Two sessions, their server, and all that has been seen.
struct World {
    pair: Pair,
    parties: [Party; 2],
    nonces: BTreeSet<String>,
    secrets: BTreeSet<String>,
    /// The access token secrets whose content is among them.
    decrypted: BTreeSet<String>,
    /// Every request, as it goes over the wire.
    sent: Vec<Vec<u8>>,
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
}

struct Flight {
    exchange: Exchange,
    request: Request,
    is_awaited: bool,
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
        let is_refusal = self.response.status() == 401 && self.response.body().first() != Some(&b'<');
        is_refusal && self.date.is_some_and(|date| date.as_secs().abs_diff(timestamp) > 2)
    }
}

impl Party {
    fn new(session: OAuthSession) -> Self {
        Self { session, in_flight: None, deadline: NOW, earlier: None }
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
        now.as_secs().checked_add_signed(self.session.clock_skew().into()).unwrap()
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut pair = Pair::new();
        pair.rng = rng(seed);
        pair.gateway.add_user(User { name: USERS[1].to_string(), accounts: vec!["DU2".to_string()], is_paper: true });
        let third_party = OAuthSession::new(pair.builder().build().unwrap());
        let consumer = third_party.consumer().clone();
        let issued = pair.issue();
        let access_token = AccessToken::new(&issued.token, &issued.secret_base64).unwrap();
        let sessions = [OAuthSession::with_access_token(consumer, access_token), third_party];
        let private = [SIGNATURE_PEM, ENCRYPTION_PEM].into_iter().flat_map(str::lines).filter(|line| line.len() == 64);
        Self {
            secrets: private.map(str::to_string).collect(),
            pair,
            parties: sessions.map(Party::new),
            nonces: BTreeSet::new(),
            decrypted: BTreeSet::new(),
            sent: Vec::new(),
            latest: 0,
        }
    }

    /// Does all of it, and looks at what came of each step.
    fn after(seed: u64, operations: &[(usize, Operation)]) -> Self {
        let mut world = Self::new(seed);
        operations.iter().for_each(|(who, operation)| world.perform(*who, operation));
        world
    }

    fn perform(&mut self, who: usize, operation: &Operation) {
        let before = self.live_session_token(who);
        let is_proved = self.act(who, operation);
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
    fn act(&mut self, who: usize, operation: &Operation) -> bool {
        let party = &mut self.parties[who];
        match operation {
            Operation::Proceed => return self.proceed(who),
            Operation::Poll => self.poll(who),
            Operation::Answer(answer) => {
                self.poll(who);
                return self.answer(who, answer);
            }
            Operation::AnswerOthersExchange => self.answer_others_exchange(who),
            Operation::DropExchange => party.in_flight = None,
            Operation::Consent => self.consent(who),
            Operation::Callback(url) => self.call_back(who, |session| session.handle_callback(url)),
            Operation::Verifier(verifier) => self.call_back(who, |session| session.handle_verifier(verifier)),
            Operation::Wait { seconds } => self.pair.wait(*seconds),
            Operation::SetClock { ahead } => self.set_clock(*ahead),
            Operation::Resume => self.resume(who),
            Operation::Sign => drop(self.sign(who)),
            Operation::Invalidate => self.invalidate(who),
            Operation::InvalidateOthers => self.invalidate_others(who),
            Operation::Reauthorize => {
                party.session.reauthorize();
                party.moves_on();
            }
        }
        false
    }

    /// An error changes nothing, and shows nothing.
    fn attempt<T>(
        &mut self,
        who: usize,
        operation: impl FnOnce(&mut OAuthSession, &mut Pair) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let party = &mut self.parties[who];
        let before = party.stored();
        let outcome = operation(&mut party.session, &mut self.pair);
        if let Err(error) = &outcome {
            assert_eq!(party.stored(), before, "{error}");
            self.is_silent_about(error);
        }
        outcome
    }

    fn proceed(&mut self, who: usize) -> bool {
        self.consent(who);
        self.poll(who);
        self.answer(who, &Answer::Honest)
    }

    fn poll(&mut self, who: usize) {
        let was_awaiting = self.parties[who].in_flight.as_ref().is_some_and(|flight| flight.is_awaited);
        let polled = self.attempt(who, |session, pair| session.poll_request(&mut pair.rng, pair.now));
        let Ok(Some(Outbound { request, exchange })) = polled else { return };
        let (now, party) = (self.pair.now, &mut self.parties[who]);
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
        let value = |name| parameter(request, name).unwrap().to_string();
        assert!(self.nonces.insert(value("oauth_nonce")), "a nonce came twice");
        let timestamp = timestamp(request);
        let is_over = self.latest > self.parties[who].server_second(self.pair.now) + DAY;
        assert!(timestamp >= self.latest || is_over, "the timestamp {timestamp} comes after {}", self.latest);
        self.latest = timestamp;
        self.sent.push(encode(request));
        self.is_silent(&format!("{request:?} {request:#?}"));
        let tokens = ["oauth_token", "oauth_verifier"].into_iter().filter_map(|name| parameter(request, name));
        // They belong there; what stands before them must not be seen.
        let base_string = tokens.fold(request.base_string().to_string(), |text, token| text.replace(token, ""));
        self.is_silent(&base_string);
    }

    /// Returns whether it proves a live session token.
    fn answer(&mut self, who: usize, answer: &Answer) -> bool {
        let Some(Flight { exchange, request, is_awaited }) = self.parties[who].in_flight.take() else { return false };
        let honest = self.honest_answer(&request);
        let is_proof = honest.response.status() == 200 && request.path().ends_with("/live_session_token");
        let body = String::from_utf8(honest.response.body().to_vec()).unwrap();
        let earlier = self.parties[who].earlier.clone();
        let dated = match answer {
            Answer::Honest => Some(honest),
            Answer::Forged { field, at } => is_proof.then(|| Dated::undated(200, &forged(&body, field, at))),
            Answer::CutOff(at) => Some(Dated::undated(200, &body[..at.index(body.len())])),
            Answer::Replayed => earlier.map(|earlier| Dated::undated(200, &earlier)),
            Answer::Others => self.others_answer(who),
            Answer::Refusal { status, ahead } => Some(self.refusal(&request, *status, *ahead)),
            Answer::Any { status, body } => Some(Dated::undated(*status, body)),
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
            self.takes_back(who, &request);
        }
        match answer {
            _ if !is_awaited => assert_eq!(outcome, Err(Error::Misuse(Misuse::StaleExchange))),
            Answer::Honest => assert_eq!(outcome.is_ok(), is_success, "{outcome:?}"),
            Answer::Others | Answer::Any { .. } => {}
            _ => assert!(outcome.is_err(), "{answer:?} was taken"),
        }
        is_proof && outcome.is_ok() && matches!(answer, Answer::Honest)
    }

    fn honest_answer(&mut self, request: &Request) -> Dated {
        Dated { response: response(&self.pair.send(request)), date: Some(self.server_time()) }
    }

    fn others_answer(&mut self, who: usize) -> Option<Dated> {
        let answer = self.pair.send(&self.parties[1 - who].in_flight.as_ref()?.request);
        Some(Dated::undated(answer.status().as_u16(), std::str::from_utf8(answer.body()).unwrap()))
    }

    fn refusal(&self, to: &Request, status: u16, ahead: i64) -> Dated {
        let date = later(self.pair.now, ahead);
        let body = format!("unknown token: {}", parameter(to, "oauth_token").unwrap_or_default()).into_bytes();
        Dated { response: Response::new(status, body).with_server_time(date), date: Some(date) }
    }

    fn answer_others_exchange(&mut self, who: usize) {
        let Some(Flight { exchange, request, .. }) = self.parties[1 - who].in_flight.take() else { return };
        let honest = self.honest_answer(&request);
        assert_eq!(self.hand_in(who, exchange, honest), Err(Error::Misuse(Misuse::StaleExchange)));
    }

    fn hand_in(&mut self, who: usize, exchange: Exchange, dated: Dated) -> Result<Phase, Error> {
        self.attempt(who, |session, pair| session.handle_response(exchange, dated.response, pair.now))
    }

    /// The timestamp of `request` was refused: if it is the latest, it counts as not used.
    fn takes_back(&mut self, who: usize, request: &Request) {
        if self.latest == timestamp(request) {
            self.latest = self.latest.min(self.parties[who].server_second(self.pair.now));
        }
    }

    fn consent(&mut self, who: usize) {
        let Some(url) = self.parties[who].session.consent_url() else { return };
        let request_token = url.split_once("?oauth_token=").unwrap().1;
        let decided = self.pair.gateway.consent(request_token, USERS[who], Consent::Grant, &mut self.pair.rng);
        // The server knows nothing of a request token that it did not issue, and forgets one that is decided.
        if let Ok(callback) = decided {
            self.call_back(who, |session| session.handle_callback(&callback));
            assert!(!self.parties[who].stored()["request_token"]["verifier"].is_null());
        }
    }

    fn call_back(&mut self, who: usize, operation: impl FnOnce(&mut OAuthSession) -> Result<(), Error>) {
        if self.attempt(who, |session, _| operation(session)).is_ok() {
            self.parties[who].moves_on();
        }
    }

    fn server_time(&self) -> UnixTime {
        later(self.pair.now, self.pair.server_ahead)
    }

    fn set_clock(&mut self, ahead: i64) {
        self.pair.now = later(self.server_time(), ahead);
        self.pair.server_ahead = -ahead;
        let latest_deadline = self.pair.now.saturating_add(PATIENCE);
        for party in &mut self.parties {
            party.deadline = party.deadline.min(latest_deadline);
        }
    }

    fn resume(&mut self, who: usize) {
        let party = &mut self.parties[who];
        let snapshot: Snapshot = serde_json::from_value(party.stored()).unwrap();
        let consumer = party.session.consumer().clone();
        party.session = OAuthSession::resume(consumer, &snapshot, self.pair.now).unwrap();
        party.moves_on();
    }

    /// The status of the answer, if there is a live session to sign with.
    fn sign(&mut self, who: usize) -> Option<u16> {
        let now = self.pair.now;
        let live = self.parties[who].session.live(now)?.clone();
        let request = ApiRequest::get("/portfolio/accounts").query(&[("page", "0")]);
        let request = live.sign(&request, &mut self.pair.rng, now).unwrap();
        self.goes_out(who, &request);
        let dated = self.honest_answer(&request);
        let outcome = live.handle_response(request.receipt(), &dated.response, now);
        if dated.may_take_back(timestamp(&request)) {
            self.takes_back(who, &request);
        }
        let response = dated.response;
        assert_eq!(outcome.is_ok(), response.status() == 200);
        if let Err(error) = outcome {
            self.is_silent_about(&error);
        }
        Some(response.status())
    }

    fn invalidate(&mut self, who: usize) {
        let (session, now) = (&mut self.parties[who].session, self.pair.now);
        if let Some(live) = session.live(now).cloned() {
            session.invalidate(&live);
            assert_eq!(session.phase(now), Phase::AccessToken);
        }
    }

    fn invalidate_others(&mut self, who: usize) {
        if let Some(live) = self.parties[1 - who].session.live(self.pair.now).cloned() {
            let before = self.parties[who].stored();
            self.parties[who].session.invalidate(&live);
            assert_eq!(self.parties[who].stored(), before);
        }
    }

    /// Nothing of the session that can be shown holds a secret.
    fn look_at(&mut self, who: usize) {
        self.learn_secrets(who);
        let session = &self.parties[who].session;
        self.is_silent(&format!("{session:?} {:?} {:?}", session.live(self.pair.now), session.snapshot()));
        self.is_silent(&format!("{:?} {:?}", session.access_token(), self.pair.gateway));
    }

    fn learn_secrets(&mut self, who: usize) {
        let stored = self.parties[who].stored();
        for part in ["request_token", "access_token", "live_session"] {
            let fields = stored[part].as_object().into_iter().flat_map(|part| part.values());
            let texts = fields.filter_map(Value::as_str).filter(|text| text.len() >= SECRET_LENGTH);
            self.secrets.extend(texts.map(str::to_string));
        }
        let access_token = self.parties[who].session.access_token().map(|access_token| access_token.secret());
        if let Some(encrypted) = access_token.filter(|secret| self.decrypted.insert(secret.expose().clone())) {
            let encrypted = BASE64.decode(encrypted.expose()).unwrap();
            let prepend = keys().decrypt_pkcs1v15(&encrypted, &mut rng(0));
            self.secrets.extend(prepend.iter().map(|prepend| hex_text(prepend.expose())));
        }
    }

    fn is_silent(&self, shown: &str) {
        for secret in &self.secrets {
            assert!(!shown.contains(secret), "{secret} is shown in: {shown}");
        }
    }

    fn is_silent_about(&self, error: &Error) {
        assert!(std::error::Error::source(error).is_none(), "a message says everything");
        self.is_silent(&format!("{error} {error:?} {error:#?} {:?}", error.retry(self.pair.now)));
    }

    /// With an honest server and a right clock, the way to an API that answers is never far.
    fn logs_in(&mut self, who: usize) -> bool {
        (0..4).any(|_| {
            self.perform(who, &Operation::Proceed);
            let is_accepted = self.sign(who) == Some(200);
            if !is_accepted {
                self.perform(who, &Operation::Invalidate);
                // What one session sent with a fast clock keeps the server from looking at the other's for so long.
                self.pair.wait(300);
            }
            is_accepted
        })
    }
}

fn forged(body: &str, field: &str, at: &Index) -> String {
    let mut answer: Value = serde_json::from_str(body).unwrap();
    let digits = answer[field].as_str().unwrap();
    let at = at.index(digits.len());
    let other = if &digits[at..=at] == "0" { "1" } else { "0" };
    answer[field] = [&digits[..at], other, &digits[at + 1..]].concat().into();
    answer.to_string()
}

fn timestamp(request: &Request) -> u64 {
    parameter(request, "oauth_timestamp").unwrap().parse().unwrap()
}

fn later(time: UnixTime, seconds: i64) -> UnixTime {
    UnixTime::from_millis(time.as_millis().checked_add_signed(seconds * 1000).unwrap())
}

fn hex_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn operations() -> impl Strategy<Value = Vec<(usize, Operation)>> {
    proptest::collection::vec((0..2_usize, operation()), 1..32)
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn whatever_happens_every_promise_holds_and_the_way_back_is_open(seed in any::<u64>(), operations in operations()) {
        let mut world = World::after(seed, &operations);
        world.set_clock(0);
        for who in [0, 1] {
            world.perform(who, &Operation::DropExchange);
            if !world.logs_in(who) {
                world.perform(who, &Operation::Reauthorize);
                assert!(world.logs_in(who));
            }
        }
    }
}

proptest! {
    #![proptest_config(config(6))]

    #[test]
    fn the_same_calls_give_the_same_bytes(seed in any::<u64>(), operations in operations()) {
        let (first, second) = (World::after(seed, &operations), World::after(seed, &operations));
        prop_assert_eq!(&first.sent, &second.sent);
        for who in [0, 1] {
            prop_assert_eq!(first.parties[who].stored(), second.parties[who].stored());
        }
    }
}
