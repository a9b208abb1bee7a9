//! Any sequence of operations on two interleaved sessions. Invariants: no panic; an error leaves the snapshot, byte for
//! byte, as it was; a session is live only after an answer whose MAC an honest server made; nonces never repeat and
//! timestamps never decrease; a second run of the same input gives the same bytes; no planted secret in any output.
#![no_main]

use arbitrary::Arbitrary;
use ibkr_oauth::{AccessToken, ApiRequest, Exchange, LiveSession, OAuthSession, Outbound, Phase, Response, Snapshot, UnixTime};
use ibkr_oauth_fuzz::{START, Series, assert_silent, consumer, prove};
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;

#[derive(Arbitrary, Debug)]
struct Input {
    seed: u64,
    first_party: [bool; 2],
    operations: Vec<(bool, Operation)>,
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Poll,
    AnswerHonestly,
    Answer { status: u16, body: Vec<u8> },
    /// A refusal by a server whose clock is off.
    Refuse { status: u16, seconds_ahead: i16 },
    AnswerTheOther { body: Vec<u8> },
    Drop,
    Callback(String),
    GoodCallback,
    Verifier(String),
    Advance { millis: u32 },
    GoBack { millis: u32 },
    Resume,
    Sign { path: String, query: Vec<(String, String)> },
    SignRaw { query: String },
    Invalidate,
    InvalidateOld,
    Reauthorize,
}

struct Party {
    session: OAuthSession,
    in_flight: Option<(Exchange, Option<String>)>,
    series: Series,
    /// What an honest server knows: whether it has proved a token to this session.
    proved: bool,
    old: Option<LiveSession>,
}

impl Party {
    fn new(first_party: bool) -> Self {
        let session = match first_party {
            true => OAuthSession::with_access_token(consumer(), AccessToken::new("a1b2", "UExBTlRFRA==").unwrap()),
            false => OAuthSession::new(consumer()),
        };
        Self { session, in_flight: None, series: Series::default(), proved: false, old: None }
    }

    fn snapshot(&self) -> String {
        serde_json::to_string(self.session.snapshot().expose()).unwrap()
    }

    /// `operation` may fail, and then nothing has changed.
    fn attempt<T>(&mut self, operation: impl FnOnce(&mut OAuthSession) -> Result<T, ibkr_oauth::Error>) -> Option<T> {
        let before = self.snapshot();
        match operation(&mut self.session) {
            Ok(value) => Some(value),
            Err(error) => {
                assert_eq!(self.snapshot(), before, "{error} changed the session");
                assert_silent(&format!("{error} {error:?} {:?}", error.retry(START)));
                None
            }
        }
    }

    fn answer(&mut self, exchange: Exchange, status: u16, body: &[u8], now: UnixTime) -> Option<Phase> {
        self.attempt(|session| session.handle_response(exchange, Response::new(status, body), now))
    }
}

fuzz_target!(|input: Input| {
    assert_eq!(run(&input), run(&input), "the same input gave other bytes");
});

fn run(input: &Input) -> Vec<String> {
    let mut rng = StdRng::seed_from_u64(input.seed);
    let mut parties = input.first_party.map(Party::new);
    let (mut now, mut sent) = (START, Vec::new());
    for (which, operation) in input.operations.iter().take(64) {
        let [first, second] = &mut parties;
        let (party, other) = if *which { (first, second) } else { (second, first) };
        step(party, other, operation, &mut rng, &mut now, &mut sent);
        assert!(party.session.live(now).is_none() || party.proved, "live without a proof");
        assert_silent(&format!("{:?} {:?}", party.session, party.session.live(now)));
    }
    sent
}

fn step(
    party: &mut Party,
    other: &mut Party,
    operation: &Operation,
    rng: &mut StdRng,
    now: &mut UnixTime,
    sent: &mut Vec<String>,
) {
    match operation {
        Operation::Poll => {
            let polled = party.attempt(|session| session.poll_request(rng, *now)).flatten();
            if let Some(Outbound { request, exchange }) = polled {
                assert!(party.in_flight.is_none(), "two exchanges in flight");
                party.series.check(&request, *now);
                assert_silent(&format!("{request:?} {exchange:?} {}", request.base_string()));
                sent.push(format!("{:?}", request.headers().collect::<Vec<_>>()));
                let honest = request.url().ends_with("live_session_token").then(|| prove(&request));
                party.in_flight = Some((exchange, honest));
            }
        }
        Operation::AnswerHonestly => {
            let Some((exchange, honest)) = party.in_flight.take() else { return };
            let is_proof = honest.is_some();
            let token = r#"{"oauth_token":"b908","oauth_token_secret":"UExBTlRFRA=="}"#;
            let body = honest.unwrap_or_else(|| token.to_string());
            if party.answer(exchange, 200, body.as_bytes(), *now) == Some(Phase::LiveSession) {
                assert!(is_proof);
                party.proved = true;
                party.old = party.session.live(*now).cloned();
            }
        }
        Operation::Answer { status, body } => {
            let Some((exchange, _)) = party.in_flight.take() else { return };
            party.answer(exchange, *status, body, *now);
        }
        Operation::Refuse { status, seconds_ahead } => {
            let Some((exchange, _)) = party.in_flight.take() else { return };
            let millis = now.as_millis().saturating_add_signed(i64::from(*seconds_ahead) * 1000);
            let response = Response::new(*status, b"no").server_time(UnixTime::from_millis(millis));
            assert!(party.session.handle_response(exchange, response, *now).is_err());
            party.series.refused(*status);
        }
        Operation::AnswerTheOther { body } => {
            let Some((exchange, _)) = party.in_flight.take() else { return };
            assert!(other.answer(exchange, 200, body, *now).is_none(), "a foreign exchange was taken");
        }
        Operation::Drop => party.in_flight = None,
        Operation::Callback(url) => drop(party.attempt(|session| session.handle_callback(url))),
        Operation::GoodCallback => {
            let Some(url) = party.session.consent_url() else { return };
            let callback = format!("{url}&oauth_verifier=0ffb");
            assert!(party.attempt(|session| session.handle_callback(&callback)).is_some());
            party.in_flight = None;
        }
        Operation::Verifier(verifier) => {
            if party.attempt(|session| session.handle_verifier(verifier)).is_some() {
                party.in_flight = None;
            }
        }
        Operation::Advance { millis } => *now = UnixTime::from_millis(now.as_millis() + u64::from(*millis)),
        Operation::GoBack { millis } => {
            *now = UnixTime::from_millis(now.as_millis().saturating_sub(u64::from(*millis)).max(START.as_millis()));
        }
        Operation::Resume => {
            let stored = party.snapshot();
            let snapshot: Snapshot = serde_json::from_str(&stored).unwrap();
            party.session = OAuthSession::resume(consumer(), &snapshot, *now).unwrap();
            party.in_flight = None;
        }
        Operation::Sign { path, query } => {
            let pairs: Vec<(&str, &str)> = query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            sign(party, &ApiRequest::get(path).query(&pairs), rng, *now, sent);
        }
        Operation::SignRaw { query } => sign(party, &ApiRequest::post("/x").raw_query(query), rng, *now, sent),
        Operation::Invalidate => {
            if let Some(live) = party.session.live(*now).cloned() {
                party.session.invalidate(&live);
                assert!(party.session.live(*now).is_none());
            }
        }
        Operation::InvalidateOld => {
            let before = party.session.live(*now).is_some();
            if let Some(foreign) = &other.old {
                party.session.invalidate(foreign);
                assert_eq!(party.session.live(*now).is_some(), before, "another session's token was invalidated");
            }
        }
        Operation::Reauthorize => {
            party.session.reauthorize();
            party.in_flight = None;
            party.proved = false;
        }
    }
}

fn sign(party: &mut Party, request: &ApiRequest<'_>, rng: &mut StdRng, now: UnixTime, sent: &mut Vec<String>) {
    let Some(live) = party.session.live(now).cloned() else { return };
    if let Ok(request) = live.sign(request, rng, now) {
        party.series.check(&request, now);
        sent.push(format!("{} {:?}", request.url(), request.headers().collect::<Vec<_>>()));
    }
}
