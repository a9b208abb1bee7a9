//! A login, from the first poll to the proof: with OpenSSL's arithmetic, with the crate's own, and the parts of it that
//! OpenSSL computes, alone. All three in turn, in one process; the fastest of many counts.
//!
//! ```text
//! cargo bench
//! ```

#[path = "../../../tests/support/mod.rs"]
mod support;

use ibkr_oauth::{AccessToken, Consumer, ConsumerKeys, OAuthSession, Phase, Response, Secret};
use ibkr_oauth_gateway::{AccountKind, Gateway, IssuedToken, RegisteredConsumer, User};
use ibkr_oauth_openssl::OpenSslKeys;
use std::hint::black_box;
use std::time::Instant;
use support::pair::{http_request, system_time};
use support::{DHPARAM_PEM, ENCRYPTION_PEM, NOW, SIGNATURE_PEM, dh, keys, rng};

const CONSUMER_KEY: &str = "TRADINGCO";
const BASE_URL: &str = "http://127.0.0.1:4000/v1/api";
const ROUNDS: usize = 300;
/// As many bytes as a base string with its prepend has.
const MESSAGE: [u8; 1400] = [b'a'; 1400];

/// A login that is played again and again: the same seed gives the same request, which has the same answer.
struct Replay {
    consumer: Consumer,
    access_token: AccessToken,
    answer: Vec<u8>,
}

impl Replay {
    fn record(keys: impl ConsumerKeys + 'static) -> Self {
        let mut gateway = Gateway::new(BASE_URL).unwrap();
        let registered = RegisteredConsumer {
            consumer_key: CONSUMER_KEY.to_string(),
            signature_public_key_pem: include_str!("../../../tests/keys/public_signature.pem").to_string(),
            encryption_public_key_pem: include_str!("../../../tests/keys/public_encryption.pem").to_string(),
            dhparam_pem: DHPARAM_PEM.to_string(),
            callback_url: None,
        };
        gateway.register_consumer(&registered).unwrap();
        gateway.add_user(User {
            name: "alice".to_string(),
            accounts: vec!["DU1".to_string()],
            kind: AccountKind::Paper,
        });
        let issued = gateway.issue_access_token(CONSUMER_KEY, "alice", &mut rng(2)).unwrap();
        let IssuedToken { token, secret_base64 } = issued;
        let mut replay = Self {
            consumer: Consumer::builder(CONSUMER_KEY, keys, dh()).base_url(BASE_URL).build().unwrap(),
            access_token: AccessToken::new(&token, &secret_base64).unwrap(),
            answer: Vec::new(),
        };
        let request = replay.session().poll_request(&mut rng(3), NOW).unwrap().unwrap().request;
        replay.answer = gateway.handle(&http_request(&request), &mut rng(4), system_time(NOW)).into_body();
        replay
    }

    fn session(&self) -> OAuthSession {
        OAuthSession::with_access_token(self.consumer.clone(), self.access_token.clone())
    }

    fn play(&self) {
        let mut session = self.session();
        let outbound = session.poll_request(&mut rng(3), NOW).unwrap().unwrap();
        let phase = session.handle_response(outbound.exchange, &Response::new(200, &self.answer), NOW);
        assert_eq!(phase, Ok(Phase::LiveSession));
    }
}

/// Two RSA operations and two powers.
fn arithmetic(keys: &OpenSslKeys, ciphertext: &[u8], prime: &[u8]) {
    let exponent = Secret::new(vec![0xa7; 32]);
    black_box(keys.decrypt_pkcs1v15(ciphertext, &mut rng(1)).unwrap());
    black_box(keys.sign_rsa_sha256(&MESSAGE, &mut rng(1)).unwrap());
    let peer = keys.diffie_hellman_power(&[2], &exponent, prime).unwrap();
    black_box(keys.diffie_hellman_power(peer.expose(), &exponent, prime));
}

fn main() {
    let openssl = || OpenSslKeys::from_pem(SIGNATURE_PEM, ENCRYPTION_PEM).unwrap();
    let (with_openssl, with_ours, bare) = (Replay::record(openssl()), Replay::record(keys()), openssl());
    let encryption = openssl::rsa::Rsa::private_key_from_pem(ENCRYPTION_PEM.as_bytes()).unwrap();
    let mut ciphertext = vec![0; encryption.size() as usize];
    encryption.public_encrypt(&[7; 32], &mut ciphertext, openssl::rsa::Padding::PKCS1).unwrap();
    let prime = openssl::dh::Dh::params_from_pem(DHPARAM_PEM.as_bytes()).unwrap().prime_p().to_vec();

    let contenders: [(&str, &dyn Fn()); 3] = [
        ("OpenSSL's arithmetic alone", &|| arithmetic(&bare, &ciphertext, &prime)),
        ("a login with it", &|| with_openssl.play()),
        ("a login with the crate's own", &|| with_ours.play()),
    ];
    let mut fastest = [f64::INFINITY; 3];
    for _ in 0..ROUNDS {
        for (fastest, (_, work)) in fastest.iter_mut().zip(contenders) {
            let start = Instant::now();
            work();
            *fastest = fastest.min(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    println!("| what | µs | of OpenSSL's |\n|:--|--:|--:|");
    for (microseconds, (name, _)) in fastest.into_iter().zip(contenders) {
        println!("| {name} | {microseconds:.0} | {:.2} |", microseconds / fastest[0]);
    }
}
