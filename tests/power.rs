//! Keys that compute the powers of a login themselves, and parameters whose prime was checked before.

mod support;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ibkr_oauth::rand_core::CryptoRng;
use ibkr_oauth::{Consumer, ConsumerKeys, DhParams, Error, KeyError, OAuthSession, Phase, Secret};
use sha2::{Digest, Sha256};
use support::vectors::{IBKR, vector};
use support::{DHPARAM_PEM, FakeKeys, Script, WorkedLogin, access_token, answer, hex};

/// Knows two powers by heart: the challenge, and the shared secret.
#[derive(Clone)]
struct Powers {
    keys: FakeKeys,
    challenge: Vec<u8>,
    shared_secret: Vec<u8>,
}

impl ConsumerKeys for Powers {
    fn sign_rsa_sha256(&self, message: &[u8], rng: &mut dyn CryptoRng) -> Result<Vec<u8>, KeyError> {
        self.keys.sign_rsa_sha256(message, rng)
    }

    fn decrypt_pkcs1v15(&self, ciphertext: &[u8], rng: &mut dyn CryptoRng) -> Result<Secret<Vec<u8>>, KeyError> {
        self.keys.decrypt_pkcs1v15(ciphertext, rng)
    }

    fn diffie_hellman_power(&self, base: &[u8], exponent: &Secret<Vec<u8>>, prime: &[u8]) -> Option<Secret<Vec<u8>>> {
        assert_eq!((exponent.expose().len(), prime.len()), (32, 256));
        let is_generator = base.iter().rev().skip(1).all(|byte| *byte == 0) && base.last() == Some(&2);
        let power = if is_generator { &self.challenge } else { &self.shared_secret };
        Some(Secret::new(power.clone()))
    }
}

struct Play {
    login: WorkedLogin,
    powers: Powers,
    prime: Vec<u8>,
}

impl Play {
    fn new() -> Self {
        let vector = vector(IBKR, "ibkrdotnet-dh-signBitPadded");
        let login = WorkedLogin::read(&vector);
        let shared_secret = hex(vector["outputs"]["sharedSecretBytesHex"].as_str().unwrap());
        let challenge = even(&login.challenge);
        let powers = Powers { keys: login.keys.clone(), challenge, shared_secret };
        Self { login, powers, prime: hex(vector["inputs"]["primeHex"].as_str().unwrap()) }
    }

    /// The session after its login, with `powers`.
    fn log_in(&self, powers: &Powers) -> Result<Phase, Error> {
        let consumer_key = self.login.consumer.consumer_key();
        let consumer = Consumer::builder(consumer_key, powers.clone(), self.login.dh.clone()).build().unwrap();
        let mut session = OAuthSession::with_access_token(consumer, access_token());
        let outbound = session.poll_request(&mut Script(self.login.random.clone()), support::NOW)?.unwrap();
        let phase = answer(&mut session, outbound.exchange, &self.login.body(None));
        assert_eq!(
            session.phase(support::NOW),
            phase.clone().unwrap_or(Phase::AccessToken),
            "an error changes nothing"
        );
        phase
    }
}

fn even(digits: &str) -> Vec<u8> {
    hex(&if digits.len().is_multiple_of(2) { digits.to_string() } else { format!("0{digits}") })
}

#[test]
fn a_login_takes_its_powers_from_keys_that_compute_them() {
    let play = Play::new();
    assert_eq!(play.log_in(&play.powers), Ok(Phase::LiveSession));
    let padded = [vec![0; 7], play.powers.shared_secret.clone()].concat();
    assert_eq!(play.log_in(&Powers { shared_secret: padded, ..play.powers.clone() }), Ok(Phase::LiveSession));
    let wrong = Powers { shared_secret: vec![7; 256], ..play.powers.clone() };
    assert!(matches!(play.log_in(&wrong), Err(Error::LiveSessionMismatch(_))), "the server's proof finds it");
}

#[test]
fn a_power_that_cannot_be_is_an_error_and_signs_nothing() {
    let play = Play::new();
    let mut largest = play.prime.clone();
    *largest.last_mut().unwrap() -= 1;
    let too_long = [vec![1], play.powers.shared_secret.clone()].concat();
    for power in
        [vec![], vec![0; 256], vec![1], largest, play.prime.clone(), vec![0xff; 256], vec![0xff; 300], too_long]
    {
        let challenge = Powers { challenge: power.clone(), ..play.powers.clone() };
        assert_eq!(play.log_in(&challenge), Err(Error::Keys(KeyError::Power)), "{power:?}");
        let shared_secret = Powers { shared_secret: power.clone(), ..play.powers.clone() };
        assert_eq!(play.log_in(&shared_secret), Err(Error::Keys(KeyError::Power)), "{power:?}");
    }
}

/// The parameters of the tests with one bit of the prime turned over: no prime any more.
fn spoilt() -> (String, [u8; 32]) {
    let base64: String = DHPARAM_PEM.lines().filter(|line| !line.starts_with('-')).collect();
    let mut der = BASE64_STANDARD.decode(base64).unwrap();
    let start = der.windows(2).position(|pair| pair == [0x01, 0x01]).unwrap() + 3;
    der[start + 100] ^= 1;
    let fingerprint = Sha256::digest(&der[start..start + 256]).into();
    (
        format!("-----BEGIN DH PARAMETERS-----\n{}\n-----END DH PARAMETERS-----\n", BASE64_STANDARD.encode(der)),
        fingerprint,
    )
}

#[test]
fn a_prime_that_was_checked_before_is_known_by_its_fingerprint() {
    let checked = DhParams::from_pem(DHPARAM_PEM).unwrap().fingerprint();
    assert_eq!(DhParams::from_pem_checked_before(DHPARAM_PEM, &checked).unwrap().fingerprint(), checked);
    let (spoilt, fingerprint) = spoilt();
    let refusal = |checked| DhParams::from_pem_checked_before(&spoilt, checked).map(drop);
    assert_eq!(refusal(&checked), Err(KeyError::NotPrime), "another prime is checked now");
    assert_eq!(refusal(&[0; 32]), Err(KeyError::NotPrime));
    assert_eq!(refusal(&fingerprint), Ok(()), "what is named is not checked again");
}
