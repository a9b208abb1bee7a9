//! Any sequence of operations on a brokerage session, and on the pacing beside it. Invariants: no panic; one exchange in
//! flight, unless the deadline of the one before has passed, which is stale then; what a server says is an event, never an error; a stale exchange changes nothing; what is due is offered, and
//! nothing without a pause: at most one step and one tickle at one moment without an answer in between; pacing makes nobody
//! wait for longer than its longest period; nonces never repeat and timestamps never decrease; each request is one message,
//! and so is the WebSocket's; no planted secret in any output; no more memory than 64 KiB and 64 bytes for each byte of the
//! input.
#![no_main]

use std::time::Duration;

use ibkr_oauth::Pacing;
use ibkr_oauth::brokerage::{
    BrokerageExchange, BrokerageOutbound, BrokeragePhase, BrokerageSession, CompetePolicy, WebSocketRequest,
};
use ibkr_oauth::{AccessToken, ApiRequest, LiveSession, OAuthSession, Response, UnixTime};
use ibkr_oauth_fuzz::{
    MemoryBound, START, Series, assert_one_message, assert_silent, consumer, holds_a_secret, number, operations, prove,
};
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// The period of `/pa/` and of the scanner's parameters.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// How long a response is awaited.
const PATIENCE: Duration = Duration::from_secs(15);

fuzz_target!(|script: &str| {
    if holds_a_secret(script) {
        return;
    }
    let _bound = MemoryBound::bytes(64 * 1024 + 64 * script.len());
    let mut rng = StdRng::seed_from_u64(1);
    let (mut now, mut live) = (START, login(&mut rng));
    let mut session = BrokerageSession::new(CompetePolicy::Yield);
    let mut foreign = BrokerageSession::new(CompetePolicy::Yield);
    let mut pacing = Pacing::default();
    let (mut in_flight, mut series): (Option<BrokerageExchange>, _) = (None, Series::default());
    let mut deadline = START;
    let mut offered_without_answer = 0;
    for (operation, argument) in operations(script).take(96) {
        match operation {
            "take_over" => {
                (session, in_flight) = (BrokerageSession::new(CompetePolicy::TakeOver), None);
                offered_without_answer = 0;
            }
            "poll" => {
                let due = session.poll_timeout().is_some_and(|at| at <= now);
                let Ok(polled) = session.poll_request(&live, &mut rng, now) else { continue };
                assert!(polled.is_some() || !due, "what is due is not offered");
                if let Some(BrokerageOutbound { request, exchange }) = polled {
                    if let Some(overtaken) = in_flight.take() {
                        assert!(now >= deadline, "two exchanges in flight");
                        assert!(session.handle_response(overtaken, &Response::new(200, b"{}"), now).is_err());
                    }
                    deadline = now.saturating_add(PATIENCE);
                    series.check(&request, now);
                    assert_one_message(&request);
                    assert_silent(&format!("{request:?} {exchange:?}"));
                    offered_without_answer += 1;
                    assert!(offered_without_answer <= 3, "a flood");
                    in_flight = Some(exchange);
                }
            }
            "answer" => {
                let Some(exchange) = in_flight.take() else { continue };
                let (status, body) = number(argument);
                let response = Response::new(status, body.as_bytes());
                let event = session.handle_response(exchange, &response, now).expect("it is awaited");
                assert_silent(&format!("{event:?}"));
                offered_without_answer = 0;
            }
            "foreign" => {
                let Ok(Some(outbound)) = foreign.poll_request(&live, &mut rng, now) else { continue };
                series = Series::default();
                let before = (session.phase(now), session.poll_timeout());
                assert!(session.handle_response(outbound.exchange, &Response::new(200, b"{}"), now).is_err());
                assert_eq!((session.phase(now), session.poll_timeout()), before);
            }
            "drop" => in_flight = None,
            "advance" => {
                now = UnixTime::from_secs(now.as_secs() + u64::from(number::<u16>(argument).0));
                offered_without_answer = 0;
            }
            "back" => {
                let seconds = u64::from(number::<u16>(argument).0).min(now.as_secs() - 1_000_000_000);
                now = UnixTime::from_secs(now.as_secs() - seconds);
                deadline = deadline.min(now.saturating_add(PATIENCE));
            }
            "open" => {
                // Only what belongs to a logout is no longer awaited.
                let leaves = matches!(session.phase(now), BrokeragePhase::LoggingOut | BrokeragePhase::LoggedOut);
                in_flight = in_flight.filter(|_| !leaves);
                session.open();
                offered_without_answer = if leaves { 0 } else { offered_without_answer };
            }
            "doubt" => session.doubt(),
            "log_out" => {
                in_flight = None;
                session.log_out();
                offered_without_answer = 0;
            }
            "login" => {
                live = login(&mut rng);
                series = Series::default();
                offered_without_answer = 0;
            }
            "send" => {
                let request = ApiRequest::get(argument);
                let free_at = pacing.free_at(&request, now);
                let refused = pacing.try_send(&request, now).err().map(|error| error.retry_at);
                assert_eq!(refused, free_at, "asking and sending disagree");
                if let Some(at) = refused {
                    assert!(at > now && at.saturating_since(now) <= LONGEST_PAUSE, "a pause without reason or end");
                }
            }
            "too_many" => pacing.handle_too_many_requests(now, None),
            _ => {}
        }
        let web_socket = session.web_socket();
        web_socket.iter().for_each(assert_upgrade);
        assert_silent(&format!("{session:?} {web_socket:?}"));
    }
});

fn assert_upgrade(web_socket: &WebSocketRequest) {
    assert!(web_socket.url().starts_with("wss://") && web_socket.url().bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(web_socket.headers().all(|(_, value)| value.bytes().all(|byte| (b' '..=b'~').contains(&byte))));
}

fn login(rng: &mut StdRng) -> LiveSession {
    let access_token = AccessToken::new("PLANTED-a1b2", "AAAA").unwrap();
    let mut session = OAuthSession::with_access_token(consumer(), access_token);
    let outbound = session.poll_request(rng, START).unwrap().unwrap();
    let body = prove(&outbound.request);
    session.handle_response(outbound.exchange, &Response::new(200, body.as_bytes()), START).unwrap();
    session.live(START).unwrap().clone()
}
