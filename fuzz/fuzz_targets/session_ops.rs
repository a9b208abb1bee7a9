//! Any sequence of operations on two interleaved sessions. Invariants: no panic; one exchange in flight, unless the
//! deadline of the one before has passed, which is stale then; an error leaves the snapshot, byte for byte, as it was; a session is live only after an answer whose MAC an honest server made; what `poll_timeout` says is
//! due is offered; nonces never repeat and timestamps never decrease; what is signed is one message, and signed the same
//! by `authorization`; a second run of the same input gives the same bytes; no planted secret in any output, errors
//! included; no more memory than 64 KiB and 64 bytes for each byte of the input.
#![no_main]

use std::time::Duration;

use ibkr_oauth::{
    AccessToken, ApiRequest, Error, Exchange, LiveSession, OAuthSession, Outbound, Phase, Receipt, Response, Snapshot,
    UnixTime,
};
use ibkr_oauth_fuzz::{
    MemoryBound, START, Series, assert_one_message, assert_silent, assert_silent_error, authorization, consumer,
    holds_a_secret, number, operations, prove,
};
use libfuzzer_sys::fuzz_target;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How long a response is awaited.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the parties share, and the bytes that they have sent.
struct World {
    rng: StdRng,
    now: UnixTime,
    sent: Vec<String>,
}

struct Party {
    session: OAuthSession,
    in_flight: Option<(Exchange, Option<String>)>,
    deadline: UnixTime,
    series: Series,
    /// What an honest server knows: whether it has proved a token to this session.
    proved: bool,
    old: Option<LiveSession>,
    /// Of the latest signed request.
    receipt: Option<Receipt>,
}

impl Party {
    fn new(session: OAuthSession) -> Self {
        Self {
            session,
            in_flight: None,
            deadline: START,
            series: Series::default(),
            proved: false,
            old: None,
            receipt: None,
        }
    }

    fn snapshot(&self) -> String {
        serde_json::to_string(self.session.snapshot().expose()).unwrap()
    }

    /// `operation` may fail, and then nothing has changed.
    fn attempt<T>(&mut self, operation: impl FnOnce(&mut OAuthSession) -> Result<T, Error>) -> Option<T> {
        let before = self.snapshot();
        match operation(&mut self.session) {
            Ok(value) => Some(value),
            Err(error) => {
                assert_eq!(self.snapshot(), before, "{error} changed the session");
                assert_silent_error(&error);
                assert_silent(&format!("{:?}", error.retry(START)));
                None
            }
        }
    }

    fn answer(&mut self, exchange: Exchange, status: u16, body: &[u8], now: UnixTime) -> Option<Phase> {
        self.attempt(|session| session.handle_response(exchange, Response::new(status, body), now))
    }
}

fuzz_target!(|script: &str| {
    if holds_a_secret(script) {
        return;
    }
    let _bound = MemoryBound::bytes(64 * 1024 + 64 * script.len());
    assert_eq!(run(script), run(script), "the same input gave other bytes");
});

fn run(script: &str) -> Vec<String> {
    let mut world = World { rng: StdRng::seed_from_u64(1), now: START, sent: Vec::new() };
    let [mut party, mut other] = [(); 2].map(|()| Party::new(OAuthSession::new(consumer())));
    for (operation, argument) in operations(script).take(64) {
        match operation {
            "other" => std::mem::swap(&mut party, &mut other),
            "foreign" => {
                let Some((exchange, _)) = party.in_flight.take() else { continue };
                let taken = other.answer(exchange, 200, argument.as_bytes(), world.now);
                assert!(taken.is_none(), "a foreign exchange was taken");
            }
            "invalidate_foreign" => {
                let Some(foreign) = &other.old else { continue };
                let before = party.snapshot();
                party.session.invalidate(foreign);
                assert_eq!(party.snapshot(), before, "another session's token was invalidated");
            }
            _ => step(&mut party, operation, argument, &mut world),
        }
        assert!(party.session.live(world.now).is_none() || party.proved, "live without a proof");
        let live = party.session.live(world.now);
        assert_silent(&format!("{:?} {live:?} {:?}", party.session, party.session.consent_url()));
    }
    world.sent
}

fn step(party: &mut Party, operation: &str, argument: &str, world: &mut World) {
    let now = world.now;
    match operation {
        "poll" => poll(party, world),
        "honest" => {
            let Some((exchange, honest)) = party.in_flight.take() else { return };
            let is_proof = honest.is_some();
            let token = r#"{"oauth_token":"b908","oauth_token_secret":"UExBTlRFRA=="}"#;
            let body = honest.unwrap_or_else(|| token.to_string());
            let phase = party.answer(exchange, 200, body.as_bytes(), now);
            assert!(is_proof || phase != Some(Phase::LiveSession));
            // A token that comes a day late has expired, until the clock goes back.
            party.proved |= is_proof && phase.is_some();
            party.old = party.session.live(now).cloned().or(party.old.take());
        }
        "answer" => {
            let Some((exchange, _)) = party.in_flight.take() else { return };
            let (status, body) = number(argument);
            party.answer(exchange, status, body.as_bytes(), now);
        }
        // By a server whose clock is off by so many seconds.
        "refuse" => {
            let Some((exchange, _)) = party.in_flight.take() else { return };
            let (status, response) = refusal(argument, now);
            assert!(party.session.handle_response(exchange, response, now).is_err());
            party.series.refused(status);
        }
        "drop" => party.in_flight = None,
        "portal" => {
            *party = Party::new(OAuthSession::with_access_token(
                consumer(),
                AccessToken::new("a1b2", "UExBTlRFRA==").unwrap(),
            ))
        }
        "callback" => decide(party, |session| session.handle_callback(argument)),
        "verifier" => decide(party, |session| session.handle_verifier(argument)),
        "consent" => {
            let Some(url) = party.session.consent_url() else { return };
            let callback = format!("{url}&oauth_verifier=0ffb");
            decide(party, |session| session.handle_callback(&callback));
            assert!(party.in_flight.is_none(), "the right callback was refused");
        }
        "advance" => world.now = UnixTime::from_millis(now.as_millis() + u64::from(number::<u32>(argument).0)),
        "back" => {
            let millis = now.as_millis().saturating_sub(u64::from(number::<u32>(argument).0));
            world.now = UnixTime::from_millis(millis.max(START.as_millis()));
            party.deadline = party.deadline.min(world.now.saturating_add(PATIENCE));
        }
        "resume" => {
            let snapshot: Snapshot = serde_json::from_str(&party.snapshot()).unwrap();
            let consumer = party.session.consumer().clone();
            party.session = OAuthSession::resume(consumer, &snapshot, now).unwrap();
            party.in_flight = None;
        }
        "get" => {
            let (path, query) = argument.split_once('?').unwrap_or((argument, ""));
            sign(party, &ApiRequest::get(path).raw_query(query), world);
        }
        "form" => {
            let pairs: Vec<_> = argument.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
            sign(party, &ApiRequest::post("/form").query(&pairs).form(&pairs), world);
        }
        "json" => sign(party, &ApiRequest::put("/json").json(argument.as_bytes()), world),
        // The answer to a signed request.
        "api" => {
            let Some(live) = party.session.live(now).cloned() else { return };
            let (status, response) = refusal(argument, now);
            let Some(receipt) = party.receipt else { return };
            if let Err(error) = live.handle_response(receipt, &response, now) {
                assert_silent_error(&error);
                party.series.refused(status);
            }
        }
        "invalidate" => {
            if let Some(live) = party.session.live(now).cloned() {
                party.session.invalidate(&live);
                party.proved = false;
            }
        }
        "reauthorize" => {
            party.session.reauthorize();
            party.in_flight = None;
            party.proved = false;
        }
        _ => {}
    }
}

fn poll(party: &mut Party, world: &mut World) {
    let due = party.session.poll_timeout().is_some_and(|at| at <= world.now);
    let Some(polled) = party.attempt(|session| session.poll_request(&mut world.rng, world.now)) else { return };
    assert!(polled.is_some() || !due, "what is due is not offered");
    if let Some(Outbound { request, exchange }) = polled {
        if let Some((overtaken, _)) = party.in_flight.take() {
            assert!(world.now >= party.deadline, "two exchanges in flight");
            assert!(party.answer(overtaken, 200, b"{}", world.now).is_none());
        }
        party.deadline = world.now.saturating_add(PATIENCE);
        party.series.check(&request, world.now);
        assert_one_message(&request);
        assert_silent(&format!("{request:?} {exchange:?} {}", request.base_string()));
        world.sent.push(authorization(&request).to_string());
        let honest = request.url().ends_with("live_session_token").then(|| prove(&request));
        party.in_flight = Some((exchange, honest));
    }
}

/// The user's decision ends the wait for an answer.
fn decide(party: &mut Party, decision: impl FnOnce(&mut OAuthSession) -> Result<(), Error>) {
    if party.attempt(decision).is_some() {
        party.in_flight = None;
    }
}

fn refusal(argument: &str, now: UnixTime) -> (u16, Response<'_>) {
    let (status, rest) = number::<u16>(argument);
    let status = if (200..300).contains(&status) { 401 } else { status };
    let (seconds_ahead, body) = number::<i16>(rest);
    let millis = now.as_millis().saturating_add_signed(i64::from(seconds_ahead) * 1000);
    (status, Response::new(status, body.as_bytes()).with_server_time(UnixTime::from_millis(millis)))
}

fn sign(party: &mut Party, request: &ApiRequest<'_>, world: &mut World) {
    let Some(live) = party.session.live(world.now).cloned() else { return };
    let seed = world.rng.random();
    let rng = || StdRng::seed_from_u64(seed);
    match live.sign(request, &mut rng(), world.now) {
        Ok(signed) => {
            party.series.check(&signed, world.now);
            assert_one_message(&signed);
            let (alone, receipt) = live.authorization(request, &mut rng(), world.now).unwrap();
            assert_eq!((authorization(&signed), signed.receipt()), (&*alone, receipt));
            party.receipt = Some(receipt);
            assert_silent(&format!("{signed:?} {}", signed.base_string()));
            world.sent.push(format!("{} {alone}", signed.url()));
        }
        Err(error) => assert_silent_error(&error),
    }
}
