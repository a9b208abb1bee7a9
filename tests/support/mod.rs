//! What several test files need: keys, randomness, a clock, vectors.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod pair;
pub mod scripted;
pub mod vectors;
pub mod world;

use std::sync::OnceLock;

use ibkr_oauth::rand_core::{CryptoRng, TryCryptoRng, TryRng};
use ibkr_oauth::{
    AccessToken, Consumer, ConsumerBuilder, ConsumerKeys, DhParams, Exchange, KeyError, OAuthSession, Outbound,
    Request, Response, RsaKeys, RsaPrivateKey, Secret, UnixTime,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use vectors::{IBKR, SHORT_SECRETS, vectors};

pub const SIGNATURE_PEM: &str = include_str!("../keys/private_signature.pem");
pub const ENCRYPTION_PEM: &str = include_str!("../keys/private_encryption.pem");
pub const DHPARAM_PEM: &str = include_str!("../keys/dhparam.pem");

/// Noon, 2 May 2024 and a bit.
pub const NOW: UnixTime = UnixTime::from_millis(1_714_650_000_250);

pub fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

pub fn keys() -> RsaKeys {
    static KEYS: OnceLock<RsaKeys> = OnceLock::new();
    let read = |pem| RsaPrivateKey::from_pem(pem).unwrap();
    KEYS.get_or_init(|| RsaKeys::new(read(SIGNATURE_PEM), read(ENCRYPTION_PEM))).clone()
}

pub fn dh() -> DhParams {
    static DH: OnceLock<DhParams> = OnceLock::new();
    DH.get_or_init(|| DhParams::from_pem(DHPARAM_PEM).unwrap()).clone()
}

pub fn builder() -> ConsumerBuilder {
    Consumer::builder("TESTCONS", keys(), dh())
}

/// Keys that cost nothing: the signature is constant, and every secret decrypts to `prepend`.
#[derive(Clone)]
pub struct FakeKeys {
    pub prepend: Vec<u8>,
}

impl ConsumerKeys for FakeKeys {
    fn sign_rsa_sha256(&self, _: &[u8], _: &mut dyn CryptoRng) -> Result<Vec<u8>, KeyError> {
        Ok(vec![0x5a; 256])
    }

    fn decrypt_pkcs1v15(&self, _: &[u8], _: &mut dyn CryptoRng) -> Result<Secret<Vec<u8>>, KeyError> {
        Ok(Secret::new(self.prepend.clone()))
    }
}

/// Keys that cost nothing and know two powers by heart: a login's challenge, and its shared secret.
#[derive(Clone)]
pub struct Powers {
    pub keys: FakeKeys,
    pub challenge: Vec<u8>,
    pub shared_secret: Vec<u8>,
}

impl Powers {
    /// Those of a worked login.
    pub fn read(vector: &Value) -> Self {
        let output = |name: &str| vector["outputs"][name].as_str().unwrap();
        let challenge = output("clientChallengeHex");
        let even = if challenge.len().is_multiple_of(2) { challenge.to_string() } else { format!("0{challenge}") };
        let keys = WorkedLogin::read(vector).keys;
        Self { keys, challenge: hex(&even), shared_secret: hex(output("sharedSecretBytesHex")) }
    }
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

pub fn access_token() -> AccessToken {
    AccessToken::new("a1b2c3d4e5f6a7b8c9d0", "c2VjcmV0").unwrap()
}

/// A "random" source that gives out bytes written down beforehand, then zeros.
pub struct Script(pub Vec<u8>);

impl TryRng for Script {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        let given = out.len().min(self.0.len());
        out.fill(0);
        out[..given].copy_from_slice(&self.0[..given]);
        self.0.drain(..given);
        Ok(())
    }
}

impl TryCryptoRng for Script {}

/// A random source that counts the bytes drawn from it.
pub struct Counting {
    source: StdRng,
    pub drawn: usize,
}

impl Counting {
    pub fn new(seed: u64) -> Self {
        Self { source: rng(seed), drawn: 0 }
    }
}

impl TryRng for Counting {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.drawn += 4;
        self.source.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.drawn += 8;
        self.source.try_next_u64()
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        self.drawn += out.len();
        self.source.try_fill_bytes(out)
    }
}

impl TryCryptoRng for Counting {}

pub fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers().find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// One parameter of the `Authorization` header.
pub fn parameter<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let start = header(request, "Authorization")?.split_once(&format!(" {name}=\""))?.1;
    start.split_once('"').map(|(value, _)| value)
}

pub fn poll(session: &mut OAuthSession) -> Outbound {
    session.poll_request(&mut rng(1), NOW).unwrap().expect("a request")
}

pub fn answer(
    session: &mut OAuthSession,
    exchange: Exchange,
    body: &str,
) -> Result<ibkr_oauth::Phase, ibkr_oauth::Error> {
    session.handle_response(exchange, &Response::new(200, body.as_bytes()), NOW)
}

/// A worked Diffie-Hellman agreement from the vectors, playable without a server.
#[derive(Clone)]
pub struct WorkedLogin {
    pub id: String,
    pub keys: FakeKeys,
    pub dh: DhParams,
    pub consumer: Consumer,
    pub random: Vec<u8>,
    pub challenge: String,
    pub response: String,
    pub proof: String,
    pub token: String,
}

impl WorkedLogin {
    pub fn read(vector: &Value) -> Self {
        let input = |name: &str| vector["inputs"][name].as_str().unwrap().to_string();
        let output = |name: &str| vector["outputs"][name].as_str().unwrap().to_string();
        let dh = DhParams::from_hex(&input("primeHex"), 2).unwrap();
        let keys = FakeKeys { prepend: hex(&input("prependHex")) };
        Self {
            id: vector["id"].as_str().unwrap().to_string(),
            consumer: Consumer::builder(&input("consumerKey"), keys.clone(), dh.clone()).build().unwrap(),
            keys,
            dh,
            // The nonce is drawn first, then the exponent.
            random: [vec![7; 16], hex(&input("clientPrivateHex"))].concat(),
            challenge: output("clientChallengeHex"),
            response: input("serverResponseHex"),
            proof: output("liveSessionTokenSignature"),
            token: output("liveSessionToken"),
        }
    }

    pub fn all() -> Vec<Self> {
        static ALL: OnceLock<Vec<WorkedLogin>> = OnceLock::new();
        ALL.get_or_init(Self::read_all).iter().map(Self::in_a_process_of_its_own).collect()
    }

    /// With a consumer that knows nothing of the server's clock yet.
    pub fn in_a_process_of_its_own(&self) -> Self {
        let builder = Consumer::builder(self.consumer.consumer_key(), self.keys.clone(), self.dh.clone());
        Self { consumer: builder.build().unwrap(), ..self.clone() }
    }

    fn read_all() -> Vec<Self> {
        let vectors = [IBKR, SHORT_SECRETS].into_iter().flat_map(vectors);
        vectors.filter(|vector| vector["inputs"]["clientPrivateHex"].is_string()).map(|v| Self::read(&v)).collect()
    }

    pub fn any() -> Self {
        Self::all().swap_remove(0)
    }

    /// Any, whose server has another address.
    pub fn at(base_url: &str) -> Self {
        let login = Self::any();
        let builder = Consumer::builder(login.consumer.consumer_key(), login.keys.clone(), login.dh.clone());
        Self { consumer: builder.base_url(base_url).build().unwrap(), ..login }
    }

    pub fn session(&self) -> OAuthSession {
        OAuthSession::with_access_token(self.consumer.clone(), access_token())
    }

    pub fn poll(&self, session: &mut OAuthSession, now: UnixTime) -> Option<Outbound> {
        session.poll_request(&mut Script(self.random.clone()), now).unwrap()
    }

    pub fn body(&self, expiration: Option<u64>) -> String {
        serde_json::json!({
            "diffie_hellman_response": self.response,
            "live_session_token_signature": self.proof,
            "live_session_token_expiration": expiration,
        })
        .to_string()
    }

    /// A session that is live from `now` for 24 hours.
    pub fn live_session(&self, now: UnixTime) -> OAuthSession {
        let mut session = self.session();
        let outbound = self.poll(&mut session, now).unwrap();
        session.handle_response(outbound.exchange, &Response::new(200, self.body(None).as_bytes()), now).unwrap();
        session
    }
}

pub fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}
