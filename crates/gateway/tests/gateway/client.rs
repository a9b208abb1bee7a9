//! A client as simple as can be, which shares nothing with the crate: what it signs is right by inspection.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd, Resize};
use hmac::{Hmac, KeyInit, Mac};
use ibkr_oauth::UnixTime;
use ibkr_oauth::gateway::{Gateway, RawRequest, RawResponse};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rsa::{Pkcs1v15Encrypt, Pkcs1v15Sign, PrivateKey};
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::support::credentials::{Credentials, Keys, Party};

pub const ORIGIN: &str = "http://127.0.0.1:4000";
pub const FIRST_PARTY: &str = "FIRSTPRTY";
pub const CALLBACK: &str = "https://localhost:20000/";

/// One set for all tests: they take a while to make.
pub fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys::generate(&mut |_| ()).unwrap())
}

/// A gateway, its clock, and consumers to talk to it.
pub struct World {
    pub gateway: Gateway,
    pub now: UnixTime,
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
    pub expires: UnixTime,
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
        let now = UnixTime::from_secs(1_714_669_716);
        Self { gateway, now, rng: StdRng::seed_from_u64(7), nonces: 0 }
    }

    pub fn first_party() -> (Self, Login) {
        let mut world = Self::new();
        let login = world.enroll_first_party(FIRST_PARTY);
        (world, login)
    }

    pub fn enroll_first_party(&mut self, consumer_key: &str) -> Login {
        let credentials = self.enroll(consumer_key, &Party::First);
        let access = credentials.access.unwrap();
        self.login(&credentials.consumer_key, &credentials.realm, &access.token, &access.secret)
    }

    pub fn enroll(&mut self, consumer_key: &str, party: &Party<'_>) -> Credentials {
        Credentials::enroll(&mut self.gateway, keys(), consumer_key, party).unwrap()
    }

    pub fn login(&self, consumer_key: &str, realm: &str, token: &str, secret: &str) -> Login {
        let secret = BASE64_STANDARD.decode(secret).unwrap();
        assert_eq!(secret.len(), 256);
        let secret = keys().encryption.decrypt(Pkcs1v15Encrypt, &secret).unwrap();
        let [consumer_key, realm, token] = [consumer_key, realm, token].map(str::to_owned);
        Login { consumer_key, realm, token, secret }
    }

    pub fn wait(&mut self, duration: Duration) {
        self.now = self.now.saturating_add(duration);
    }

    pub fn send(&mut self, call: &Call) -> RawResponse {
        let mut headers: Vec<(&str, Vec<u8>)> = vec![("authorization", (call.layout)(call).into_bytes())];
        headers.extend(call.headers.iter().map(|(name, value)| (*name, value.clone().into_bytes())));
        let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        let target = format!("/v1/api{}", call.endpoint);
        let body = call.body.as_bytes();
        self.send_raw(&RawRequest { method: call.method, target: &target, headers: &headers, body })
    }

    pub fn send_raw(&mut self, request: &RawRequest<'_>) -> RawResponse {
        self.gateway.handle(request, &mut self.rng, self.now)
    }

    /// A request with all that any signed request needs, not signed yet.
    pub fn call(&mut self, method: &'static str, endpoint: &str, consumer_key: &str, realm: &str) -> Call {
        self.nonces += 1;
        let oauth = [
            ("oauth_consumer_key", consumer_key.to_owned()),
            ("oauth_nonce", format!("nonce{}", self.nonces)),
            ("oauth_timestamp", self.now.as_secs().to_string()),
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

    /// Logs in, or gives the refusal.
    pub fn try_live(&mut self, login: &Login) -> Result<Live, RawResponse> {
        let (call, exponent) = self.live_session_call(login);
        let response = self.send(&call.signed_by(login));
        if response.status != 200 {
            return Err(response);
        }
        let answer = json(&response);
        let response = answer["diffie_hellman_response"].as_str().unwrap();
        let response = format!("{}{response}", "0".repeat(response.len() % 2));
        let response = BoxedUint::from_be_slice_vartime(&base16ct::lower::decode_vec(response).unwrap());
        let mut secret = power(&response, &exponent);
        if secret[0] >= 0x80 {
            secret.insert(0, 0);
        }
        let token = mac::<Hmac<Sha1>>(&secret, &login.secret);
        let proof = base16ct::lower::encode_string(&mac::<Hmac<Sha1>>(&token, login.consumer_key.as_bytes()));
        assert_eq!(answer["live_session_token_signature"], proof);
        let expires = UnixTime::from_millis(answer["live_session_token_expiration"].as_u64().unwrap());
        Ok(Live { login: login.clone(), token, expires })
    }

    pub fn live(&mut self, login: &Login) -> Live {
        self.try_live(login).unwrap_or_else(|refusal| panic!("{}", said(&refusal)))
    }

    /// An API request, not signed yet.
    pub fn api_call(&mut self, method: &'static str, endpoint: &str, live: &Live) -> Call {
        let login = &live.login;
        self.call(method, endpoint, &login.consumer_key, &login.realm).with("oauth_token", &login.token)
    }

    pub fn api(&mut self, method: &'static str, endpoint: &str, live: &Live) -> RawResponse {
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

pub fn json(response: &RawResponse) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|_| panic!("no JSON: {}", said(response)))
}

pub fn text(response: &RawResponse) -> &str {
    std::str::from_utf8(&response.body).unwrap()
}

/// For the message of a failed assertion.
pub fn said(response: &RawResponse) -> String {
    format!("{} {} ({:?})", response.status, text(response), response.header("gateway-reason"))
}

fn mac<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let code = <M as KeyInit>::new_from_slice(key).unwrap().chain_update(message);
    code.finalize().into_bytes().to_vec()
}

/// A power in the group of the test credentials, big-endian, without leading zeros.
fn power(base: &BoxedUint, exponent: &BoxedUint) -> Vec<u8> {
    let (_, parameters) = der::Document::from_pem(&dhparam()).unwrap();
    let parameters: Vec<der::asn1::Uint> = parameters.decode_msg().unwrap();
    let prime = BoxedUint::from_be_slice_vartime(parameters[0].as_bytes());
    let base = base.resize(prime.bits_precision());
    let group = BoxedMontyParams::new(Odd::new(prime).unwrap());
    let power = BoxedMontyForm::new(base, &group).pow(exponent).retrieve();
    power.to_be_bytes_trimmed_vartime().to_vec()
}

fn dhparam() -> String {
    Credentials::enroll(&mut Gateway::new(ORIGIN).unwrap(), keys(), FIRST_PARTY, &Party::First).unwrap().dhparam_pem
}

fn hex(number: &[u8]) -> String {
    base16ct::lower::encode_string(number).trim_start_matches('0').to_owned()
}
