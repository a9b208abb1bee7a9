//! A client as simple as can be, which shares nothing with the gateway: what it signs is right by inspection.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd, Resize};
use der::Encode;
use der::asn1::UintRef;
use der::pem::{LineEnding, encode_string};
use hmac::{Hmac, KeyInit, Mac};
use ibkr_oauth_gateway::http::{Request, Response};
use ibkr_oauth_gateway::{AccountKind, Gateway, IssuedToken, RegisteredConsumer, User};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rsa::pkcs8::EncodePublicKey;
use rsa::{Pkcs1v15Encrypt, Pkcs1v15Sign, PrivateKey};
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256};

pub const ORIGIN: &str = "http://127.0.0.1:4000";
pub const FIRST_PARTY: &str = "FIRSTPRTY";
/// The user of every consumer.
pub const USER: &str = "demo";

/// The 2048-bit MODP group (RFC 3526, group 14): a prime that need not be searched for.
const PRIME: &str = "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd\
    ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed\
    ee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f\
    83655d23dca3ad961c62f356208552bb9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3b\
    e39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf6955817183995497cea956ae515d2261898fa0510\
    15728e5a8aacaa68ffffffffffffffff";

/// A consumer's two private keys.
pub struct Keys {
    pub signature: PrivateKey,
    pub encryption: PrivateKey,
}

/// One set for all tests: they take a while to make.
pub fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let mut rng = StdRng::seed_from_u64(1);
        let mut generate = || PrivateKey::new(&mut rng, 2048).unwrap();
        Keys { signature: generate(), encryption: generate() }
    })
}

/// What a consumer of this key registers: a third party, if it has a callback URL.
pub fn registration(consumer_key: &str, callback_url: Option<&str>) -> RegisteredConsumer {
    let public_pem = |key: &PrivateKey| key.to_public_key().to_public_key_pem(LineEnding::LF).unwrap();
    RegisteredConsumer {
        consumer_key: consumer_key.to_owned(),
        signature_public_key_pem: public_pem(&keys().signature),
        encryption_public_key_pem: public_pem(&keys().encryption),
        dhparam_pem: dhparam_pem(&prime(), &[2]),
        callback_url: callback_url.map(str::to_owned),
    }
}

/// What `openssl dhparam` would write.
pub fn dhparam_pem(prime: &[u8], generator: &[u8]) -> String {
    let parameters = [prime, generator].map(|number| UintRef::new(number).unwrap());
    encode_string("DH PARAMETERS", LineEnding::LF, &parameters.to_vec().to_der().unwrap()).unwrap()
}

fn prime() -> Vec<u8> {
    base16ct::lower::decode_vec(PRIME).unwrap()
}

fn demo() -> User {
    User {
        name: USER.to_owned(),
        accounts: vec!["DU1234567".to_owned(), "DU7654321".to_owned()],
        kind: AccountKind::Paper,
    }
}

/// A gateway, its clock, and consumers to talk to it.
pub struct World {
    pub gateway: Gateway,
    pub now: SystemTime,
    rng: StdRng,
    nonces: u32,
}

/// What a consumer knows once it has an access token.
#[derive(Clone)]
pub struct Login {
    pub consumer_key: String,
    pub realm: String,
    pub token: String,
    pub secret: Vec<u8>,
}

/// A live session token, verified.
pub struct Live {
    pub login: Login,
    pub token: Vec<u8>,
    pub expires: SystemTime,
}

/// A request in the making: tests bend it, sign it, bend it again.
#[derive(Clone)]
pub struct Call {
    pub method: &'static str,
    /// Below the base URL, with any query.
    pub endpoint: String,
    /// Without `realm`.
    pub oauth: BTreeMap<String, String>,
    pub realm: String,
    /// Parameters from query and body that are signed as well.
    pub folded: Vec<(&'static str, &'static str)>,
    pub headers: Vec<(&'static str, String)>,
    pub body: &'static str,
    pub layout: fn(&Call) -> String,
}

impl World {
    pub fn new() -> Self {
        let gateway = Gateway::new(&format!("{ORIGIN}/v1/api")).unwrap();
        let now = at(1_714_669_716_000);
        Self { gateway, now, rng: StdRng::seed_from_u64(7), nonces: 0 }
    }

    pub fn first_party() -> (Self, Login) {
        let mut world = Self::new();
        let login = world.enroll_first_party(FIRST_PARTY);
        (world, login)
    }

    pub fn enroll_first_party(&mut self, consumer_key: &str) -> Login {
        self.enroll_first_party_of(consumer_key, USER)
    }

    pub fn enroll_first_party_of(&mut self, consumer_key: &str, user: &str) -> Login {
        let realm = self.enroll(consumer_key, None);
        self.gateway.add_user(User { name: user.to_owned(), ..demo() });
        let issued = self.gateway.issue_access_token(consumer_key, user, &mut self.rng);
        let IssuedToken { token, secret_base64 } = issued.unwrap();
        self.login(consumer_key, realm, &token, &secret_base64)
    }

    pub fn enroll_third_party(&mut self, consumer_key: &str, callback_url: &str) {
        self.enroll(consumer_key, Some(callback_url));
    }

    /// Returns the realm.
    fn enroll(&mut self, consumer_key: &str, callback_url: Option<&str>) -> &'static str {
        let consumer = registration(consumer_key, callback_url);
        self.gateway.register_consumer(&consumer).unwrap();
        self.gateway.add_user(demo());
        consumer.realm()
    }

    pub fn login(&self, consumer_key: &str, realm: &str, token: &str, secret: &str) -> Login {
        let secret = BASE64_STANDARD.decode(secret).unwrap();
        assert_eq!(secret.len(), 256);
        let secret = keys().encryption.decrypt(Pkcs1v15Encrypt, &secret).unwrap();
        let [consumer_key, realm, token] = [consumer_key, realm, token].map(str::to_owned);
        Login { consumer_key, realm, token, secret }
    }

    pub fn wait(&mut self, duration: Duration) {
        self.now += duration;
    }

    pub fn send(&mut self, call: &Call) -> Response<Vec<u8>> {
        let request = Request::builder().method(call.method).uri(format!("/v1/api{}", call.endpoint));
        let request = request.header("authorization", (call.layout)(call));
        let request = call.headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        self.send_raw(&request.body(call.body).unwrap())
    }

    pub fn send_raw<B: AsRef<[u8]>>(&mut self, request: &Request<B>) -> Response<Vec<u8>> {
        self.gateway.handle(request, &mut self.rng, self.now)
    }

    /// A request with all that any signed request needs, not signed yet.
    pub fn call(&mut self, method: &'static str, endpoint: &str, consumer_key: &str, realm: &str) -> Call {
        self.nonces += 1;
        let oauth = [
            ("oauth_consumer_key", consumer_key.to_owned()),
            ("oauth_nonce", format!("nonce{}", self.nonces)),
            ("oauth_timestamp", seconds(self.now).to_string()),
        ];
        Call {
            method,
            endpoint: endpoint.to_owned(),
            oauth: oauth.map(|(name, value)| (name.to_owned(), value)).into(),
            realm: realm.to_owned(),
            folded: Vec::new(),
            headers: vec![
                ("User-Agent", "test".to_owned()),
                ("Host", "api.ibkr.com".to_owned()),
                ("Content-Length", "0".to_owned()),
            ],
            body: "",
            layout: realm_first,
        }
    }

    /// The request for a live session token, not signed yet, and the exponent behind its challenge.
    pub fn live_session_call(&mut self, login: &Login) -> (Call, BoxedUint) {
        let call = self.call("POST", "/oauth/live_session_token", &login.consumer_key, &login.realm);
        let exponent = BoxedUint::from_be_slice_vartime(&Sha256::digest(self.nonces.to_be_bytes()));
        let challenge = power(&BoxedUint::from(2_u32), &exponent);
        let call = call.with("oauth_token", &login.token).with("diffie_hellman_challenge", &hex(&challenge));
        (call, exponent)
    }

    /// The answer to a request for a live session token and the shared secret, or the rejection.
    #[expect(clippy::result_large_err, reason = "a rejection is a response, and moved once")]
    pub fn exchange(&mut self, login: &Login) -> Result<(Value, Vec<u8>), Response<Vec<u8>>> {
        let (call, exponent) = self.live_session_call(login);
        let response = self.send(&call.signed_by(login));
        if response.status() != 200 {
            return Err(response);
        }
        let answer = json(&response);
        let response = answer["diffie_hellman_response"].as_str().unwrap();
        let response = format!("{}{response}", "0".repeat(response.len() % 2));
        let response = BoxedUint::from_be_slice_vartime(&base16ct::lower::decode_vec(response).unwrap());
        Ok((answer, power(&response, &exponent)))
    }

    /// Logs in, or gives the rejection.
    #[expect(clippy::result_large_err, reason = "a rejection is a response, and moved once")]
    pub fn try_live(&mut self, login: &Login) -> Result<Live, Response<Vec<u8>>> {
        let (answer, mut secret) = self.exchange(login)?;
        if secret[0] >= 0x80 {
            secret.insert(0, 0);
        }
        let (token, proof) = token_and_proof(&secret, login);
        assert_eq!(answer["live_session_token_signature"], proof);
        let expires = at(answer["live_session_token_expiration"].as_u64().unwrap());
        Ok(Live { login: login.clone(), token, expires })
    }

    pub fn live(&mut self, login: &Login) -> Live {
        self.try_live(login).unwrap_or_else(|rejection| panic!("{}", said(&rejection)))
    }

    /// An API request, not signed yet.
    pub fn api_call(&mut self, method: &'static str, endpoint: &str, live: &Live) -> Call {
        let login = &live.login;
        self.call(method, endpoint, &login.consumer_key, &login.realm).with("oauth_token", &login.token)
    }

    /// Opens the brokerage session, against any competitor.
    pub fn open_brokerage_session(&mut self, live: &Live) -> Value {
        let call = self.api_call("POST", "/iserver/auth/ssodh/init", live);
        let call = call.with_body("application/json", r#"{"publish":true,"compete":true}"#).signed_with(&live.token);
        json(&self.send(&call))
    }

    pub fn api(&mut self, method: &'static str, endpoint: &str, live: &Live) -> Response<Vec<u8>> {
        let call = self.api_call(method, endpoint, live).signed_with(&live.token);
        self.send(&call)
    }
}

impl Call {
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.oauth.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.oauth.remove(name);
        self
    }

    pub fn without_header(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self
    }

    pub fn with_body(mut self, content_type: &str, body: &'static str) -> Self {
        self.headers.push(("Content-Type", content_type.to_owned()));
        self.body = body;
        self
    }

    /// Signs a request for a live session token.
    pub fn signed_by(self, login: &Login) -> Self {
        self.signed_rsa(&keys().signature, &base16ct::lower::encode_string(&login.secret))
    }

    pub fn signed_rsa(self, key: &PrivateKey, prepend: &str) -> Self {
        let call = self.with("oauth_signature_method", "RSA-SHA256");
        let digest = Sha256::digest(format!("{prepend}{}", call.base_string()));
        let signature = key.sign(Pkcs1v15Sign::new::<Sha256>(), &digest).unwrap();
        call.with("oauth_signature", &BASE64_STANDARD.encode(signature))
    }

    pub fn signed_with(self, live_session_token: &[u8]) -> Self {
        let call = self.with("oauth_signature_method", "HMAC-SHA256");
        let base_string = call.base_string();
        call.signed_as(live_session_token, &base_string)
    }

    pub fn signed_as(self, live_session_token: &[u8], base_string: &str) -> Self {
        let code = mac::<Hmac<Sha256>>(live_session_token, base_string.as_bytes());
        self.with("oauth_signature_method", "HMAC-SHA256").with("oauth_signature", &BASE64_STANDARD.encode(code))
    }

    /// Method, URL without query, and all parameters in order of their names.
    pub fn base_string(&self) -> String {
        let path = self.endpoint.split('?').next().unwrap();
        format!("{}&{}&{}", self.method, encode(&format!("{ORIGIN}/v1/api{path}")), encode(&self.parameters()))
    }

    /// `name=value&name=value`, in order.
    pub fn parameters(&self) -> String {
        let mut parameters: Vec<(&str, &str)> =
            self.oauth.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        parameters.retain(|(name, _)| *name != "oauth_signature");
        parameters.extend(&self.folded);
        parameters.sort();
        parameters.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    }

    /// `name="value"` of all but the realm, in order.
    pub fn pairs(&self) -> Vec<String> {
        self.oauth.iter().map(|(name, value)| format!("{name}=\"{}\"", encode(value))).collect()
    }
}

pub fn realm_first(call: &Call) -> String {
    format!("OAuth realm=\"{}\", {}", call.realm, call.pairs().join(", "))
}

pub fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

pub fn json(response: &Response<Vec<u8>>) -> Value {
    serde_json::from_slice(response.body()).unwrap_or_else(|_| panic!("no JSON: {}", said(response)))
}

pub fn text(response: &Response<Vec<u8>>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

pub fn header<'a>(response: &'a Response<Vec<u8>>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// So many milliseconds after 1970 began.
pub fn at(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)
}

/// As `oauth_timestamp` has them.
pub fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// For the message of a failed assertion.
pub fn said(response: &Response<Vec<u8>>) -> String {
    format!("{} {} ({:?})", response.status(), text(response), header(response, "gateway-reason"))
}

/// The live session token of a shared secret, and what proves it.
pub fn token_and_proof(secret: &[u8], login: &Login) -> (Vec<u8>, String) {
    let token = mac::<Hmac<Sha1>>(secret, &login.secret);
    let proof = base16ct::lower::encode_string(&mac::<Hmac<Sha1>>(&token, login.consumer_key.as_bytes()));
    (token, proof)
}

fn mac<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let code = <M as KeyInit>::new_from_slice(key).unwrap().chain_update(message);
    code.finalize().into_bytes().to_vec()
}

/// A power in the group of the test credentials, big-endian, without leading zeros.
fn power(base: &BoxedUint, exponent: &BoxedUint) -> Vec<u8> {
    let prime = BoxedUint::from_be_slice_vartime(&prime());
    let base = base.resize(prime.bits_precision());
    let group = BoxedMontyParams::new(Odd::new(prime).unwrap());
    let power = BoxedMontyForm::new(base, &group).pow(exponent).retrieve();
    power.to_be_bytes_trimmed_vartime().to_vec()
}

fn hex(number: &[u8]) -> String {
    base16ct::lower::encode_string(number).trim_start_matches('0').to_owned()
}
