//! A live session token, from the first poll to the proof, and its parts: ours, and OpenSSL's.

#[path = "../../support/mod.rs"]
mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use ibkr_oauth::{AccessToken, Consumer, ConsumerKeys, OAuthSession, Phase, Response};
use ibkr_oauth_gateway::{AccountKind, Gateway, IssuedToken, RegisteredConsumer, User};
use openssl::bn::{BigNum, BigNumContext};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use std::hint::black_box;
use support::tests::pair::{http_request, system_time};
use support::tests::{DHPARAM_PEM, ENCRYPTION_PEM, SIGNATURE_PEM, WorkedLogin, dh, keys};
use support::{NOW, rng};

const CONSUMER_KEY: &str = "TRADINGCO";
const BASE_URL: &str = "http://127.0.0.1:4000/v1/api";
/// As many bytes as a base string with its prepend has.
const MESSAGE: [u8; 1400] = [b'a'; 1400];

/// A login that is played again and again: the same seed gives the same request, which has the same answer.
struct Replay {
    consumer: Consumer,
    access_token: AccessToken,
    answer: Vec<u8>,
}

impl Replay {
    fn record() -> Self {
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
        let IssuedToken { token, secret_base64 } =
            gateway.issue_access_token(CONSUMER_KEY, "alice", &mut rng(2)).unwrap();
        let mut replay = Self {
            consumer: Consumer::builder(CONSUMER_KEY, keys(), dh()).base_url(BASE_URL).build().unwrap(),
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

    fn play(&self) -> OAuthSession {
        let mut session = self.session();
        let outbound = session.poll_request(&mut rng(3), NOW).unwrap().unwrap();
        let phase = session.handle_response(outbound.exchange, &Response::new(200, &self.answer), NOW);
        assert_eq!(phase, Ok(Phase::LiveSession));
        session
    }
}

/// What OpenSSL needs for the same: two keys, a ciphertext, and numbers of the same sizes.
struct OpenSsl {
    signature: PKey<Private>,
    encryption: Rsa<Private>,
    ciphertext: Vec<u8>,
    generator: BigNum,
    peer: BigNum,
    prime: BigNum,
    exponent: BigNum,
}

impl OpenSsl {
    fn new() -> Self {
        let dh = openssl::dh::Dh::params_from_pem(DHPARAM_PEM.as_bytes()).unwrap();
        let encryption = Rsa::private_key_from_pem(ENCRYPTION_PEM.as_bytes()).unwrap();
        let mut ciphertext = vec![0; encryption.size() as usize];
        encryption.public_encrypt(&[7; 32], &mut ciphertext, Padding::PKCS1).unwrap();
        let (mut peer, mut exponent) = (BigNum::new().unwrap(), BigNum::from_slice(&[0xa7; 32]).unwrap());
        peer.rshift1(dh.prime_p()).unwrap();
        // As for a Diffie-Hellman key: without it, the time taken would depend on the exponent.
        exponent.set_const_time();
        Self {
            signature: PKey::private_key_from_pem(SIGNATURE_PEM.as_bytes()).unwrap(),
            encryption,
            ciphertext,
            generator: dh.generator().to_owned().unwrap(),
            peer,
            prime: dh.prime_p().to_owned().unwrap(),
            exponent,
        }
    }

    fn sign(&self) -> Vec<u8> {
        let mut signer = openssl::sign::Signer::new(MessageDigest::sha256(), &self.signature).unwrap();
        signer.sign_oneshot_to_vec(&MESSAGE).unwrap()
    }

    fn decrypt(&self) -> Vec<u8> {
        let mut plaintext = vec![0; self.encryption.size() as usize];
        let length = self.encryption.private_decrypt(&self.ciphertext, &mut plaintext, Padding::PKCS1).unwrap();
        plaintext.truncate(length);
        plaintext
    }

    fn powers(&self) -> [BigNum; 2] {
        [&self.generator, &self.peer].map(|base| {
            let (mut power, mut context) = (BigNum::new().unwrap(), BigNumContext::new().unwrap());
            power.mod_exp(base, &self.exponent, &self.prime, &mut context).unwrap();
            power
        })
    }

    fn hmac_sha1(key: &[u8], message: &[u8]) -> Vec<u8> {
        let key = PKey::hmac(key).unwrap();
        let mut signer = openssl::sign::Signer::new(MessageDigest::sha1(), &key).unwrap();
        signer.sign_oneshot_to_vec(message).unwrap()
    }

    fn derive(&self) -> Vec<u8> {
        let prepend = self.decrypt();
        let [challenge, shared_secret] = self.powers();
        black_box((challenge.to_hex_str().unwrap(), self.sign()));
        let token = Self::hmac_sha1(&shared_secret.to_vec(), &prepend);
        Self::hmac_sha1(&token, CONSUMER_KEY.as_bytes())
    }
}

fn live_session_token(criterion: &mut Criterion) {
    let (replay, openssl, keys) = (Replay::record(), OpenSsl::new(), keys());
    let mut group = criterion.benchmark_group("live session token");

    group.bench_function("RSA-2048 signature, ours", |bencher| {
        bencher.iter(|| keys.sign_rsa_sha256(black_box(&MESSAGE), &mut rng(1)).unwrap());
    });
    group.bench_function("RSA-2048 signature, OpenSSL", |bencher| bencher.iter(|| openssl.sign()));
    group.bench_function("RSA-2048 decryption, ours", |bencher| {
        bencher.iter(|| keys.decrypt_pkcs1v15(black_box(&openssl.ciphertext), &mut rng(1)).unwrap());
    });
    group.bench_function("RSA-2048 decryption, OpenSSL", |bencher| bencher.iter(|| openssl.decrypt()));

    // With keys that cost nothing, a login is its two powers.
    let vectors = support::tests::vectors::vectors(support::tests::vectors::IBKR);
    let worked = vectors.iter().find(|vector| vector["inputs"]["clientPrivateHex"].is_string()).unwrap();
    let worked = WorkedLogin::read(worked);
    group.bench_function("two Diffie-Hellman powers, ours", |bencher| bencher.iter(|| worked.live_session(NOW)));
    group.bench_function("two Diffie-Hellman powers, OpenSSL", |bencher| bencher.iter(|| openssl.powers()));

    group.bench_function("whole, ours", |bencher| bencher.iter(|| replay.play()));
    group.bench_function("whole, OpenSSL", |bencher| bencher.iter(|| openssl.derive()));
}

criterion_group!(benches, live_session_token);
criterion_main!(benches);
