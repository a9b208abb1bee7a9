//! Any sequence of operations on a brokerage session. Invariants: no panic; one exchange in flight; what a server says is
//! an event, never an error; a stale exchange changes nothing; no request without a pause: at most one step and one
//! tickle are offered at one moment without an answer in between; nonces never repeat and timestamps never decrease; no
//! planted secret in any output.
#![no_main]

use arbitrary::Arbitrary;
use ibkr_oauth::brokerage::{Bridge, BrokerageExchange, BrokerageOutbound, BrokerageSession, CompetePolicy};
use ibkr_oauth::{AccessToken, LiveSession, OAuthSession, Response, UnixTime};
use ibkr_oauth_fuzz::{START, Series, assert_silent, consumer, prove};
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;

#[derive(Arbitrary, Debug)]
struct Input {
    take_over: bool,
    operations: Vec<Operation>,
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Poll,
    Answer { status: u16, body: Vec<u8> },
    AnswerStatus { authenticated: Option<bool>, established: Option<bool>, competing: Option<bool>, tickle: bool },
    AnswerForeign,
    Drop,
    Advance { seconds: u16 },
    GoBack { seconds: u16 },
    Open,
    LogOut,
    NewLogin,
}

fuzz_target!(|input: Input| {
    let mut rng = StdRng::seed_from_u64(1);
    let policy = if input.take_over { CompetePolicy::TakeOver } else { CompetePolicy::Yield };
    let (mut now, mut live) = (START, login(&mut rng));
    let (mut session, mut foreign) = (BrokerageSession::new(policy), BrokerageSession::new(policy));
    let (mut in_flight, mut series): (Option<BrokerageExchange>, _) = (None, Series::default());
    let mut offered_without_answer = 0;
    for operation in input.operations.iter().take(96) {
        match operation {
            Operation::Poll => {
                let Ok(polled) = session.poll_request(&live, &mut rng, now) else { continue };
                if let Some(BrokerageOutbound { request, exchange }) = polled {
                    assert!(in_flight.is_none(), "two exchanges in flight");
                    series.check(&request, now);
                    assert_silent(&format!("{request:?} {exchange:?}"));
                    offered_without_answer += 1;
                    assert!(offered_without_answer <= 3, "a flood");
                    in_flight = Some(exchange);
                }
            }
            Operation::Answer { status, body } => {
                answer(&mut session, in_flight.take(), *status, body, now);
                offered_without_answer = 0;
            }
            Operation::AnswerStatus { authenticated, established, competing, tickle } => {
                let status = serde_json::json!({
                    "authenticated": authenticated, "established": established, "competing": competing,
                });
                let body = match tickle {
                    true => serde_json::json!({ "session": "cafe", "iserver": { "authStatus": status } }),
                    false => status,
                };
                answer(&mut session, in_flight.take(), 200, body.to_string().as_bytes(), now);
                offered_without_answer = 0;
            }
            Operation::AnswerForeign => {
                let Ok(Some(outbound)) = foreign.poll_request(&live, &mut rng, now) else { continue };
                series = Series::default();
                let before = (session.bridge(), session.poll_timeout());
                assert!(session.handle_response(outbound.exchange, Response::new(200, b"{}"), now).is_err());
                assert_eq!((session.bridge(), session.poll_timeout()), before);
            }
            Operation::Drop => in_flight = None,
            Operation::Advance { seconds } => {
                now = UnixTime::from_millis(now.as_millis() + 1000 * u64::from(*seconds));
                offered_without_answer = 0;
            }
            Operation::GoBack { seconds } => {
                now = UnixTime::from_millis(now.as_millis() - 1000 * u64::from(*seconds).min(now.as_secs() - 1_000_000_000));
            }
            Operation::Open => {
                // What is in flight is no longer awaited, unless there is nothing to open.
                in_flight = in_flight.filter(|_| session.bridge() == Bridge::Ready);
                session.open();
                offered_without_answer = 0;
            }
            Operation::LogOut => {
                in_flight = None;
                session.log_out();
                offered_without_answer = 0;
            }
            Operation::NewLogin => {
                live = login(&mut rng);
                series = Series::default();
                offered_without_answer = 0;
            }
        }
        assert_silent(&format!("{session:?} {:?}", session.web_socket()));
    }
});

fn answer(session: &mut BrokerageSession, exchange: Option<BrokerageExchange>, status: u16, body: &[u8], now: UnixTime) {
    let Some(exchange) = exchange else { return };
    let event = session.handle_response(exchange, Response::new(status, body), now).expect("it is awaited");
    assert_silent(&format!("{event:?}"));
}

fn login(rng: &mut StdRng) -> LiveSession {
    let access_token = AccessToken::new("PLANTED-a1b2", "AAAA").unwrap();
    let mut session = OAuthSession::with_access_token(consumer(), access_token);
    let outbound = session.poll_request(rng, START).unwrap().unwrap();
    let body = prove(&outbound.request);
    session.handle_response(outbound.exchange, Response::new(200, body.as_bytes()), START).unwrap();
    session.live(START).unwrap().clone()
}
