//! Both halves in one process, on a virtual clock: every byte goes through, no socket.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::time::{Duration, SystemTime};

use ibkr_oauth::{
    AccessToken, ApiRequest, Consumer, ConsumerBuilder, Error, OAuthSession, Outbound, Phase, Request, Response,
    UnixTime,
};
use ibkr_oauth_gateway::{AccountKind, Gateway, IssuedToken, RegisteredConsumer, User, http};
use rand::rngs::StdRng;

use super::{DHPARAM_PEM, NOW, keys, rng};

pub const CONSUMER: &str = "TRADINGCO";
pub const BASE_URL: &str = "http://127.0.0.1:4000/v1/api";

/// What the gateway says.
pub type Answer = http::Response<Vec<u8>>;

/// Both halves, and time as each of them sees it.
pub struct Pair {
    pub gateway: Gateway,
    pub rng: StdRng,
    /// The client's clock.
    pub now: UnixTime,
    /// Seconds by which the server's clock is ahead.
    pub server_ahead: i64,
}

impl Pair {
    pub fn new() -> Self {
        let mut gateway = gateway(BASE_URL);
        gateway.add_user(User {
            name: "alice".to_string(),
            accounts: vec!["DU1".to_string()],
            kind: AccountKind::Paper,
        });
        Self { gateway, rng: rng(5), now: NOW, server_ahead: 0 }
    }

    pub fn builder(&self) -> ConsumerBuilder {
        Consumer::builder(CONSUMER, keys(), super::dh()).base_url(BASE_URL)
    }

    pub fn issue(&mut self) -> IssuedToken {
        self.gateway.issue_access_token(CONSUMER, "alice", &mut self.rng).unwrap()
    }

    pub fn first_party(&mut self, builder: ConsumerBuilder) -> OAuthSession {
        let IssuedToken { token, secret_base64 } = self.issue();
        let access_token = AccessToken::new(&token, &secret_base64).unwrap();
        OAuthSession::with_access_token(builder.build().unwrap(), access_token)
    }

    pub fn live(&mut self, builder: ConsumerBuilder) -> OAuthSession {
        let mut session = self.first_party(builder);
        self.drive(&mut session).unwrap();
        session
    }

    pub fn send(&mut self, request: &Request) -> Answer {
        let server_now = self.now.as_millis().checked_add_signed(self.server_ahead * 1000).unwrap();
        let server_now = system_time(UnixTime::from_millis(server_now));
        self.gateway.handle(&http_request(request), &mut self.rng, server_now)
    }

    pub fn drive(&mut self, session: &mut OAuthSession) -> Result<Phase, Error> {
        while let Some(Outbound { request, exchange }) = session.poll_request(&mut self.rng, self.now)? {
            let answer = self.send(&request);
            session.handle_response(exchange, &response(&answer), self.now)?;
        }
        Ok(session.phase(self.now))
    }

    pub fn call(&mut self, session: &OAuthSession, request: &ApiRequest<'_>) -> Answer {
        let signed = session.live(self.now).unwrap().sign(request, &mut self.rng, self.now).unwrap();
        self.send(&signed)
    }

    pub fn wait(&mut self, seconds: u64) {
        self.now = self.now.saturating_add(Duration::from_secs(seconds));
    }
}

/// A gateway that has the consumer on file.
pub fn gateway(base_url: &str) -> Gateway {
    let mut gateway = Gateway::new(base_url).unwrap();
    register(&mut gateway, CONSUMER);
    gateway
}

/// Puts a consumer with the usual keys on file.
pub fn register(gateway: &mut Gateway, consumer_key: &str) {
    let consumer = RegisteredConsumer {
        consumer_key: consumer_key.to_string(),
        signature_public_key_pem: include_str!("../keys/public_signature.pem").to_string(),
        encryption_public_key_pem: include_str!("../keys/public_encryption.pem").to_string(),
        dhparam_pem: DHPARAM_PEM.to_string(),
        callback_url: Some("https://trader.example/back?user=7".to_string()),
    };
    gateway.register_consumer(&consumer).unwrap();
}

/// What the client half says, as the gateway reads it.
pub fn http_request(request: &Request) -> http::Request<Vec<u8>> {
    let head = http::Request::builder().method(request.method().as_str()).uri(request.url());
    let head = request.headers().fold(head, |head, (name, value)| head.header(name, value));
    head.body(request.body().to_vec()).unwrap()
}

/// What the gateway says, as the client half reads it.
pub fn response(answer: &Answer) -> Response<'static> {
    let response = Response::new(answer.status().as_u16(), answer.body().clone());
    let headers = answer.headers().iter();
    headers.fold(response, |response, (name, value)| response.with_header(name.as_str(), value.as_bytes()))
}

/// A moment of the client's, as the gateway counts it.
pub fn system_time(time: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(time.as_millis())
}
