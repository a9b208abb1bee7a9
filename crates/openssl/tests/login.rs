//! A login with OpenSSL's arithmetic, against IBKR's half of the protocol, and beside the crate's own.

#[path = "../../../tests/support/mod.rs"]
mod support;

use ibkr_oauth::{AccessToken, Consumer, ConsumerKeys, KeyError, OAuthSession, Phase, Secret};
use ibkr_oauth_gateway::{AccountKind, Gateway, IssuedToken, RegisteredConsumer, User};
use ibkr_oauth_openssl::OpenSslKeys;
use support::pair::{http_request, response, system_time};
use support::{DHPARAM_PEM, ENCRYPTION_PEM, NOW, SIGNATURE_PEM, dh, keys, rng};

const CONSUMER_KEY: &str = "TRADINGCO";
const BASE_URL: &str = "http://127.0.0.1:4000/v1/api";

fn openssl() -> OpenSslKeys {
    OpenSslKeys::from_pem(SIGNATURE_PEM, ENCRYPTION_PEM).unwrap()
}

fn gateway() -> (Gateway, AccessToken) {
    let mut gateway = Gateway::new(BASE_URL).unwrap();
    let registered = RegisteredConsumer {
        consumer_key: CONSUMER_KEY.to_string(),
        signature_public_key_pem: include_str!("../../../tests/keys/public_signature.pem").to_string(),
        encryption_public_key_pem: include_str!("../../../tests/keys/public_encryption.pem").to_string(),
        dhparam_pem: DHPARAM_PEM.to_string(),
        callback_url: None,
    };
    gateway.register_consumer(&registered).unwrap();
    gateway.add_user(User { name: "alice".to_string(), accounts: vec!["DU1".to_string()], kind: AccountKind::Paper });
    let IssuedToken { token, secret_base64 } = gateway.issue_access_token(CONSUMER_KEY, "alice", &mut rng(2)).unwrap();
    (gateway, AccessToken::new(&token, &secret_base64).unwrap())
}

#[test]
fn a_hundred_logins_end_in_a_live_session() {
    let (mut gateway, access_token) = gateway();
    let consumer = Consumer::builder(CONSUMER_KEY, openssl(), dh()).base_url(BASE_URL).build().unwrap();
    for seed in 0..100 {
        let mut session = OAuthSession::with_access_token(consumer.clone(), access_token.clone());
        let outbound = session.poll_request(&mut rng(seed), NOW).unwrap().unwrap();
        let answer = gateway.handle(&http_request(&outbound.request), &mut rng(seed + 1000), system_time(NOW));
        assert_eq!(session.handle_response(outbound.exchange, &response(&answer), NOW), Ok(Phase::LiveSession));
    }
}

#[test]
fn signatures_secrets_and_powers_are_those_of_the_pure_rust_keys() {
    let (openssl, pure, (_, access_token)) = (openssl(), keys(), gateway());
    let signatures = [&openssl as &dyn ConsumerKeys, &pure].map(|keys| keys.sign_rsa_sha256(b"text", &mut rng(1)));
    assert_eq!(signatures[0], signatures[1]);
    let requests = [Box::new(openssl) as Box<dyn ConsumerKeys>, Box::new(pure)].map(|keys| {
        let consumer = Consumer::builder(CONSUMER_KEY, Boxed(keys), dh()).base_url(BASE_URL).build().unwrap();
        let mut session = OAuthSession::with_access_token(consumer, access_token.clone());
        session.poll_request(&mut support::Script(vec![0x5a; 4096]), NOW).unwrap().unwrap().request
    });
    assert_eq!(requests[0], requests[1], "prepend, challenge and signature are in it");
}

#[test]
fn what_cannot_be_decrypted_is_an_error_and_keys_are_checked() {
    let decrypt = |ciphertext: &[u8]| openssl().decrypt_pkcs1v15(ciphertext, &mut rng(1)).map(drop);
    assert_eq!(decrypt(&[1; 255]), Err(KeyError::SecretLength { expected: 256, found: 255 }));
    assert_eq!(decrypt(&[0xff; 256]), Err(KeyError::Decrypt));
    let refusal = |pem: &str| OpenSslKeys::from_pem(pem, ENCRYPTION_PEM).map(drop);
    assert_eq!(refusal("no key"), Err(KeyError::Der));
    assert_eq!(refusal(include_str!("../../../tests/keys/private_signature.encrypted.pem")), Err(KeyError::Der));
}

struct Boxed(Box<dyn ConsumerKeys>);

impl ConsumerKeys for Boxed {
    fn sign_rsa_sha256(
        &self,
        message: &[u8],
        rng: &mut dyn ibkr_oauth::rand_core::CryptoRng,
    ) -> Result<Vec<u8>, KeyError> {
        self.0.sign_rsa_sha256(message, rng)
    }

    fn decrypt_pkcs1v15(
        &self,
        ciphertext: &[u8],
        rng: &mut dyn ibkr_oauth::rand_core::CryptoRng,
    ) -> Result<Secret<Vec<u8>>, KeyError> {
        self.0.decrypt_pkcs1v15(ciphertext, rng)
    }

    fn diffie_hellman_power(&self, base: &[u8], exponent: &Secret<Vec<u8>>, prime: &[u8]) -> Option<Secret<Vec<u8>>> {
        self.0.diffie_hellman_power(base, exponent, prime)
    }
}
