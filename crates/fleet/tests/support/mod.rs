//! IBKR's half of the protocol with one user, and clients for it.

use ibkr_oauth_fleet::ibkr_oauth::{
    AccessToken, Client, Consumer, DhParams, OAuthSession, Request, Response, RsaKeys, RsaPrivateKey, UnixTime,
};
use ibkr_oauth_gateway::{AccountKind, Gateway, RegisteredConsumer, User, http};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::time::{Duration, SystemTime};

pub const CONSUMER: &str = "TRADINGCO";
pub const BASE_URL: &str = "http://127.0.0.1:4000/v1/api";
const DHPARAM_PEM: &str = include_str!("../keys/dhparam.pem");

pub struct Ibkr {
    pub gateway: Gateway,
    pub access_token: AccessToken,
    pub rng: StdRng,
    /// Requests that came, and those for a live session token among them.
    pub sent: usize,
    pub logins: usize,
}

impl Ibkr {
    pub fn new() -> Self {
        let (mut gateway, mut rng) = (Gateway::new(BASE_URL).unwrap(), StdRng::seed_from_u64(1));
        let consumer = RegisteredConsumer {
            consumer_key: CONSUMER.to_string(),
            signature_public_key_pem: include_str!("../keys/public_signature.pem").to_string(),
            encryption_public_key_pem: include_str!("../keys/public_encryption.pem").to_string(),
            dhparam_pem: DHPARAM_PEM.to_string(),
            callback_url: None,
        };
        gateway.register_consumer(&consumer).unwrap();
        gateway.add_user(User {
            name: "alice".to_string(),
            accounts: vec!["DU1".to_string()],
            kind: AccountKind::Paper,
        });
        let issued = gateway.issue_access_token(CONSUMER, "alice", &mut rng).unwrap();
        let access_token = AccessToken::new(&issued.token, &issued.secret_base64).unwrap();
        Self { gateway, access_token, rng, sent: 0, logins: 0 }
    }

    /// A new client, as after a start.
    pub fn client(&self) -> Client {
        let read = |pem| RsaPrivateKey::from_pem(pem).unwrap();
        let keys = RsaKeys::new(
            read(include_str!("../keys/private_signature.pem")),
            read(include_str!("../keys/private_encryption.pem")),
        );
        let consumer = Consumer::builder(CONSUMER, keys, DhParams::from_pem(DHPARAM_PEM).unwrap()).base_url(BASE_URL);
        Client::new(OAuthSession::with_access_token(consumer.build().unwrap(), self.access_token.clone()))
    }

    pub fn answer(&mut self, request: &Request, now: UnixTime) -> Response<'static> {
        self.sent += 1;
        self.logins += usize::from(request.path().ends_with("/oauth/live_session_token"));
        let head = http::Request::builder().method(request.method().as_str()).uri(request.url());
        let head = request.headers().fold(head, |head, (name, value)| head.header(name, value));
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(now.as_millis());
        let answer = self.gateway.handle(&head.body(request.body().to_vec()).unwrap(), &mut self.rng, at);
        let response = Response::new(answer.status().as_u16(), answer.body().clone());
        let headers = answer.headers().iter();
        headers.fold(response, |response, (name, value)| response.with_header(name.as_str(), value.as_bytes()))
    }
}
