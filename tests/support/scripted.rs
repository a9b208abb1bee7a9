//! A brokerage session, its clock, and a server that says what it is told to.

use std::time::Duration;

use ibkr_oauth::brokerage::{
    BrokerageEvent, BrokerageExchange, BrokerageOutbound, BrokeragePhase, BrokerageSession, CompetePolicy,
};
use ibkr_oauth::{LiveSession, Request, Response, UnixTime};

use super::{NOW, WorkedLogin, rng};

pub const READY: &str = r#"{"authenticated":true,"established":true,"competing":false,"connected":true}"#;
pub const NOT_READY: &str = r#"{"authenticated":true,"established":false,"competing":false,"connected":true}"#;
pub const ABSENT: &str = r#"{"authenticated":false,"competing":false,"connected":false}"#;
pub const COMPETING: &str = r#"{"authenticated":false,"competing":true,"connected":true}"#;
pub const ACCOUNTS: &str = r#"{"accounts":["DU1"]}"#;
pub const NO_BRIDGE: &str = r#"{"error":"Bad Request: no bridge","statusCode":400}"#;

/// The answer to a tickle that carries `status`.
pub fn tickle(status: &str) -> String {
    format!(r#"{{"session":"cafe01","iserver":{{"authStatus":{status}}}}}"#)
}

/// A brokerage session, its clock, and a server that says what it is told to.
pub struct Scripted {
    pub session: BrokerageSession,
    pub live: LiveSession,
    logins: usize,
    pub now: UnixTime,
}

impl Scripted {
    pub fn new(policy: CompetePolicy) -> Self {
        let oauth = WorkedLogin::any().live_session(NOW);
        Self { session: BrokerageSession::new(policy), live: oauth.live(NOW).unwrap().clone(), logins: 0, now: NOW }
    }

    /// Ready, and just tickled.
    pub fn ready() -> Self {
        Self::ready_under(CompetePolicy::Yield)
    }

    pub fn ready_under(policy: CompetePolicy) -> Self {
        let mut scripted = Self::new(policy);
        scripted.opens();
        scripted.wait(58);
        assert_eq!(scripted.answer("/tickle", 200, &tickle(READY)), BrokerageEvent::Alive);
        scripted
    }

    /// From the init that is due to a session that works.
    pub fn opens(&mut self) {
        assert_eq!(self.answer("/iserver/auth/ssodh/init", 200, READY), BrokerageEvent::Opening);
        if self.seconds_to_go() == Some(0) {
            assert_eq!(self.answer("/tickle", 200, r#"{"session":"cafe01"}"#), BrokerageEvent::Alive);
        }
        assert_eq!(self.seconds_to_go(), Some(2));
        self.wait(2);
        assert_eq!(self.answer("/iserver/accounts", 200, ACCOUNTS), BrokerageEvent::Ready);
        assert_eq!(self.session.phase(self.now), BrokeragePhase::Ready);
    }

    pub fn poll(&mut self) -> Option<(Request, BrokerageExchange)> {
        let outbound = self.session.poll_request(&self.live, &mut rng(1), self.now).unwrap();
        outbound.map(|BrokerageOutbound { request, exchange }| (request, exchange))
    }

    /// The next request must be to `path`; it is answered.
    pub fn answer(&mut self, path: &str, status: u16, body: &str) -> BrokerageEvent {
        let (request, exchange) = self.poll().unwrap_or_else(|| panic!("nothing to send, not {path}"));
        assert_eq!(request.path(), format!("/v1/api{path}"));
        self.session.handle_response(exchange, &Response::new(status, body.as_bytes()), self.now).unwrap()
    }

    /// The next request, which asks whether the session is there, is answered with `status`.
    pub fn answer_whatever_is_due(&mut self, status: &str) -> BrokerageEvent {
        let (request, exchange) = self.poll().expect("something is due");
        let body = if request.path().ends_with("/tickle") { tickle(status) } else { status.to_string() };
        self.session.handle_response(exchange, &Response::new(200, body.as_bytes()), self.now).unwrap()
    }

    pub fn wait(&mut self, seconds: u64) {
        self.now = self.now.saturating_add(Duration::from_secs(seconds));
    }

    pub fn wait_until_due(&mut self) {
        self.now = self.now.max(self.session.poll_timeout().unwrap());
    }

    pub fn log_in_again(&mut self) {
        self.logins += 1;
        let logins = WorkedLogin::all();
        self.live = logins[self.logins % logins.len()].live_session(NOW).live(NOW).unwrap().clone();
    }

    pub fn seconds_to_go(&self) -> Option<u64> {
        self.session.poll_timeout().map(|at| at.saturating_since(self.now).as_secs())
    }
}
