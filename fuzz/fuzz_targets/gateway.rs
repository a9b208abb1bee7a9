//! A client, honest or hostile, against the gateway: it makes requests, spoils them, sends them, sends them again.
//! Invariants: no panic; every answer has a status from 200 to 599; only what an honest client has signed is let in, for
//! the method and path that it signed, and once; what it signed is verified if nobody changed it; a WebSocket opens only
//! behind a login that stands; no more memory than 256 KiB and 256 bytes for each byte of the
//! input.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use ibkr_oauth::rand_core::CryptoRng;
use ibkr_oauth::{
    AccessToken, ApiRequest, Consumer, ConsumerKeys, Exchange, KeyError, OAuthSession, Outbound, Request, Response,
    RsaKeys, RsaPrivateKey, Secret, UnixTime,
};
use ibkr_oauth_fuzz::{MemoryBound, START, dh, dh_pem, number, operations};
use ibkr_oauth_gateway::{AccountKind, Consent, Gateway, RegisteredConsumer, User, WebSocket, http};
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

const BASE_URL: &str = "http://127.0.0.1:4000/v1/api";
const CONSUMER: &str = "TRADINGCO";

/// A request that may have been spoilt since it was signed.
#[derive(Clone, Default, PartialEq)]
struct Message {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What an honest client has signed.
struct Signed {
    message: Message,
    is_used: bool,
}

struct World {
    gateway: Gateway,
    session: OAuthSession,
    now: UnixTime,
    rng: StdRng,
    message: Message,
    /// What `message` was made from, if anybody signed it.
    signed: Option<Signed>,
    exchange: Option<Exchange>,
    /// Of the latest tickle.
    session_id: String,
    web_socket: Option<WebSocket>,
}

fuzz_target!(|script: &str| {
    RSA.lock().unwrap().prepare();
    let _bound = MemoryBound::bytes(256 * 1024 + 256 * script.len());
    let mut world = World::new();
    for (operation, argument) in operations(script).take(48) {
        let argument = world.filled(argument);
        world.step(operation, &argument);
    }
});

impl Message {
    /// None if it is not HTTP.
    fn to_http(&self) -> Option<http::Request<&[u8]>> {
        let head = http::Request::builder().method(self.method.as_str()).uri(&self.target);
        let head = self.headers.iter().fold(head, |head, (name, value)| head.header(name, value));
        head.body(self.body.as_slice()).ok()
    }
}

impl World {
    fn new() -> Self {
        let mut gateway = Gateway::new(BASE_URL).unwrap();
        let consumer = RegisteredConsumer {
            consumer_key: CONSUMER.to_string(),
            signature_public_key_pem: include_str!("../../tests/keys/public_signature.pem").to_string(),
            encryption_public_key_pem: include_str!("../../tests/keys/public_encryption.pem").to_string(),
            dhparam_pem: dh_pem(),
            callback_url: Some("https://trader.example/back?user=7".to_string()),
        };
        gateway.register_consumer(&consumer).unwrap();
        gateway.add_user(User {
            name: "alice".to_string(),
            accounts: vec!["DU1".to_string()],
            kind: AccountKind::Paper,
        });
        Self {
            gateway,
            session: OAuthSession::new(consumer_at_gateway()),
            now: START,
            rng: StdRng::seed_from_u64(1),
            message: Message::default(),
            signed: None,
            exchange: None,
            session_id: String::new(),
            web_socket: None,
        }
    }

    fn step(&mut self, operation: &str, argument: &str) {
        match operation {
            // What an honest client does.
            "portal" => {
                self.forget();
                let issued = self.gateway.issue_access_token(CONSUMER, "alice", &mut self.rng).unwrap();
                let access_token = AccessToken::new(&issued.token, &issued.secret_base64).unwrap();
                self.session = OAuthSession::with_access_token(consumer_at_gateway(), access_token);
            }
            "poll" => {
                self.exchange = None;
                let polled = self.session.poll_request(&mut self.rng, self.now).unwrap();
                if let Some(Outbound { request, exchange }) = polled {
                    self.take(&request);
                    self.exchange = Some(exchange);
                }
            }
            "consent" | "deny" => {
                let decision = if operation == "deny" { Consent::Deny } else { Consent::Grant };
                let Some(url) = self.session.consent_url() else { return };
                let (_, token) = url.split_once("oauth_token=").unwrap();
                if let Ok(callback) = self.gateway.consent(token, "alice", decision, &mut self.rng) {
                    let taken = self.session.handle_callback(&callback);
                    assert_eq!(taken.is_ok(), decision == Consent::Grant, "{taken:?}");
                }
            }
            "get" => {
                let (path, query) = argument.split_once('?').unwrap_or((argument, ""));
                self.sign(&ApiRequest::get(path).raw_query(query));
            }
            "post" => {
                let (path, form) = argument.split_once(' ').unwrap_or((argument, ""));
                let pairs: Vec<_> = form.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
                self.sign(&ApiRequest::post(path).form(&pairs));
            }
            "json" => {
                let (path, body) = argument.split_once(' ').unwrap_or((argument, ""));
                self.sign(&ApiRequest::post(path).json(body.as_bytes()));
            }
            "advance" => {
                let seconds = number::<u64>(argument).0.min(100_000);
                self.now = UnixTime::from_secs(self.now.as_secs() + seconds);
            }
            // What a hostile one does to it.
            "method" => self.message.method = argument.to_string(),
            "target" => self.message.target = argument.to_string(),
            "header" => {
                let (name, value) = argument.split_once(": ").unwrap_or((argument, ""));
                self.message.headers.push((name.to_string(), value.to_string()));
            }
            "without" => self.message.headers.retain(|(name, _)| name != argument),
            "replace" => {
                let (old, new) = argument.split_once(' ').unwrap_or((argument, ""));
                self.message.headers.iter_mut().for_each(|(_, value)| *value = value.replacen(old, new, 1));
            }
            "body" => self.message.body = argument.as_bytes().to_vec(),
            // Both.
            "send" => self.send(),
            "upgrade" => self.upgrade(),
            "message" => {
                let Some(web_socket) = &mut self.web_socket else { return };
                let answers = self.gateway.handle_message(web_socket, argument, system_time(self.now));
                assert!(answers.len() <= 2, "{answers:?}");
            }
            _ => {}
        }
    }

    /// `@token` and `@session` stand for what a client knows.
    fn filled(&self, argument: &str) -> String {
        let token = self.session.access_token().map_or("", AccessToken::token);
        argument.replacen("@token", token, 1).replacen("@session", &self.session_id, 1)
    }

    fn sign(&mut self, request: &ApiRequest<'_>) {
        let Some(live) = self.session.live(self.now).cloned() else { return };
        if let Ok(request) = live.sign(request, &mut self.rng, self.now) {
            self.take(&request);
        }
    }

    fn take(&mut self, request: &Request) {
        self.message = Message {
            method: request.method().as_str().to_string(),
            target: request.path().to_string(),
            headers: request.headers().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            body: request.body().to_vec(),
        };
        self.signed = Some(Signed { message: self.message.clone(), is_used: false });
    }

    fn send(&mut self) {
        let Some(request) = self.message.to_http() else { return };
        let answer = self.gateway.handle(&request, &mut self.rng, system_time(self.now));
        let status = answer.status().as_u16();
        assert!((200..600).contains(&status));
        if let Ok(tickle) = serde_json::from_slice::<Value>(answer.body()) {
            self.session_id = tickle["session"].as_str().unwrap_or(&self.session_id).to_string();
        }
        if status == 200 {
            let signed = self.signed.as_mut().expect("nobody signed it, and it was let in");
            let Message { method, target, .. } = &signed.message;
            assert_eq!((method.as_str(), path(target)), (request.method().as_str(), request.uri().path()));
            assert!(!std::mem::replace(&mut signed.is_used, true), "it was let in twice");
        }
        let is_logout = request.uri().path().ends_with("/logout");
        if status == 200 && is_logout {
            self.forget();
        }
        let is_honest = self.signed.as_ref().is_some_and(|signed| signed.message == self.message);
        let reason = answer.headers().get("Gateway-Reason").map_or("", |reason| reason.to_str().unwrap());
        assert!(!is_honest || !reason.contains("signature"), "{reason}");
        if let Some(exchange) = self.exchange.take().filter(|_| is_honest) {
            let response = Response::new(status, answer.body());
            let headers = answer.headers().iter();
            let response =
                headers.fold(response, |response, (name, value)| response.with_header(name.as_str(), value.as_bytes()));
            let _ = self.session.handle_response(exchange, &response, self.now);
        }
    }

    /// A new secret voids what the old one signed, and a logout what the token signed.
    fn forget(&mut self) {
        if let Some(live) = self.session.live(self.now).cloned() {
            self.session.invalidate(&live);
        }
        (self.message, self.signed) = (Message::default(), None);
    }

    fn upgrade(&mut self) {
        let Some(request) = self.message.to_http() else { return };
        if let Ok((web_socket, greeting)) = self.gateway.open_web_socket(&request, system_time(self.now)) {
            let token = self.session.access_token().expect("nobody has a login, and somebody was let in").token();
            assert!(!greeting.is_empty() && !format!("{web_socket:?}").contains(token));
            self.web_socket = Some(web_socket);
        }
    }
}

fn system_time(time: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(time.as_millis())
}

fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

fn consumer_at_gateway() -> Consumer {
    Consumer::builder(CONSUMER, RememberedKeys, dh()).base_url(BASE_URL).build().unwrap()
}

/// RSA keys that compute once what they are asked again and again: most inputs begin alike.
struct RememberedKeys;

static RSA: Mutex<Rsa> = Mutex::new(Rsa { keys: None, answers: BTreeMap::new() });

struct Rsa {
    keys: Option<RsaKeys>,
    answers: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Rsa {
    const MOST_ANSWERS: usize = 256;

    /// Once, and room for more answers: neither is a matter of the input.
    fn prepare(&mut self) {
        let key = |pem| RsaPrivateKey::from_pem(pem).unwrap();
        self.keys.get_or_insert_with(|| {
            RsaKeys::new(
                key(include_str!("../../tests/keys/private_signature.pem")),
                key(include_str!("../../tests/keys/private_encryption.pem")),
            )
        });
        if self.answers.len() > Self::MOST_ANSWERS {
            self.answers.clear();
        }
    }
}

impl ConsumerKeys for RememberedKeys {
    fn sign_rsa_sha256(&self, message: &[u8], _: &mut dyn CryptoRng) -> Result<Vec<u8>, KeyError> {
        let Rsa { keys, answers } = &mut *RSA.lock().unwrap();
        let keys = keys.as_ref().unwrap();
        let answer = answers.entry(message.to_vec());
        let sign = || keys.sign_rsa_sha256(message, &mut StdRng::seed_from_u64(1)).unwrap();
        Ok(answer.or_insert_with(sign).clone())
    }

    fn decrypt_pkcs1v15(&self, ciphertext: &[u8], _: &mut dyn CryptoRng) -> Result<Secret<Vec<u8>>, KeyError> {
        let Rsa { keys, answers } = &mut *RSA.lock().unwrap();
        let keys = keys.as_ref().unwrap();
        let answer = answers.entry(ciphertext.to_vec());
        let decrypt = || keys.decrypt_pkcs1v15(ciphertext, &mut StdRng::seed_from_u64(1)).unwrap().expose().clone();
        Ok(Secret::new(answer.or_insert_with(decrypt).clone()))
    }
}
