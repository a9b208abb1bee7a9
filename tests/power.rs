//! Keys that compute the powers of a login themselves, and parameters whose prime was checked before.

mod support;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ibkr_oauth::{Consumer, DhParams, Error, KeyError, OAuthSession, Phase};
use sha2::{Digest, Sha256};
use support::vectors::{IBKR, vector};
use support::{DHPARAM_PEM, Powers, Script, WorkedLogin, access_token, answer, hex};

struct Play {
    login: WorkedLogin,
    powers: Powers,
    prime: Vec<u8>,
}

impl Play {
    fn new() -> Self {
        let vector = vector(IBKR, "ibkrdotnet-dh-signBitPadded");
        let (login, powers) = (WorkedLogin::read(&vector), Powers::read(&vector));
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
    let rejection = |checked| DhParams::from_pem_checked_before(&spoilt, checked).map(drop);
    assert_eq!(rejection(&checked), Err(KeyError::NotPrime), "another prime is checked now");
    assert_eq!(rejection(&[0; 32]), Err(KeyError::NotPrime));
    assert_eq!(rejection(&fingerprint), Ok(()), "what is named is not checked again");
}
