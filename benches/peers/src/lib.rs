//! The peers: each signs the same GET, whose query is `parameters`, and returns the `Authorization` value.
//!
//! What a caller can keep from request to request (credentials, parsed URLs, a client) is made beforehand; what has to
//! be made anew for each is part of the work. Nonce and timestamp are the peers' own affair.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use reqwest_oauth1::OAuthClientProvider;

pub const CONSUMER_KEY: &str = "TESTCONS";
pub const CONSUMER_SECRET: &str = "consumer secret";
pub const TOKEN: &str = "a1b2c3d4e5f6a7b8c9d0";
pub const TOKEN_SECRET: &str = "token secret";
pub const URL: &str = "https://api.ibkr.com/v1/api/iserver/marketdata/history";

type Pair<'a> = (&'a str, &'a str);

/// `oauth1-request`: HMAC-SHA1.
pub struct Oauth1Request(oauth1_request::Builder<'static, oauth1_request::HmacSha1, &'static str>);

impl Default for Oauth1Request {
    fn default() -> Self {
        let token = oauth1_request::Token::from_parts(CONSUMER_KEY, CONSUMER_SECRET, TOKEN, TOKEN_SECRET);
        Self(oauth1_request::Builder::with_token(token, oauth1_request::HmacSha1::new()))
    }
}

impl Oauth1Request {
    pub fn sign(&self, parameters: &[Pair<'_>; 10]) -> String {
        let sorted = oauth1_request::ParameterList::new(*parameters);
        self.0.authorize("GET", URL, &sorted)
    }
}

/// `reqwest-oauth1`: HMAC-SHA1, by way of an older `oauth1-request`. It signs requests of `reqwest` and nothing less.
pub struct ReqwestOauth1(reqwest::Client);

impl Default for ReqwestOauth1 {
    fn default() -> Self {
        Self(reqwest::Client::new())
    }
}

impl ReqwestOauth1 {
    pub fn sign(&self, parameters: &[Pair<'_>; 10]) -> String {
        let secrets = reqwest_oauth1::Secrets::new(CONSUMER_KEY, CONSUMER_SECRET).token(TOKEN, TOKEN_SECRET);
        let request = self.0.clone().oauth1(secrets).get(URL).query(parameters);
        let request = request.generate_signature().unwrap().build().unwrap();
        request.headers()["authorization"].to_str().unwrap().to_string()
    }
}

/// `oauth1`: HMAC-SHA1.
pub fn oauth1(parameters: &[Pair<'_>; 10]) -> String {
    let (consumer, token) =
        (oauth1::Token::new(CONSUMER_KEY, CONSUMER_SECRET), oauth1::Token::new(TOKEN, TOKEN_SECRET));
    let parameters: HashMap<_, _> = parameters.iter().map(|(name, value)| (*name, Cow::from(*value))).collect();
    oauth1::authorize("GET", URL, &consumer, Some(&token), Some(parameters))
}

/// `oauth-1a`: HMAC-SHA1.
pub struct Oauth1a {
    url: http_types::Url,
    key: oauth_1a::SigningKey,
}

impl Default for Oauth1a {
    fn default() -> Self {
        let secrets = (oauth_1a::ClientSecret(CONSUMER_SECRET.into()), oauth_1a::TokenSecret(TOKEN_SECRET.into()));
        Self { url: URL.parse().unwrap(), key: oauth_1a::SigningKey::with_token(secrets.0, secrets.1) }
    }
}

impl Oauth1a {
    pub fn sign(&self, parameters: &[Pair<'_>; 10]) -> String {
        let data = oauth_1a::OAuthData {
            client_id: oauth_1a::ClientId(CONSUMER_KEY.into()),
            token: Some(oauth_1a::Token(TOKEN.into())),
            signature_method: oauth_1a::SignatureMethod::HmacSha1,
            nonce: oauth_1a::Nonce::generate(),
        };
        let parameters: BTreeMap<_, _> =
            parameters.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let request = oauth_1a::SignableRequest::new(http_types::Method::Get, self.url.clone(), parameters);
        data.authorization(request, oauth_1a::AuthorizationType::Request, &self.key)
    }
}

/// `oauth10a` with HMAC-SHA256, for which it leaves room; its own is HMAC-SHA512. The query comes with the URL, which is
/// parsed beforehand.
pub struct Oauth10a(oauth10a::url::Url);

impl Oauth10a {
    pub fn new(parameters: &[Pair<'_>; 10]) -> Self {
        let mut url: oauth10a::url::Url = URL.parse().unwrap();
        url.query_pairs_mut().extend_pairs(parameters);
        Self(url)
    }

    pub fn sign(&self) -> String {
        let signer = oauth10a::signer::Signer::<HmacSha256>::new(TOKEN, TOKEN_SECRET, CONSUMER_KEY, CONSUMER_SECRET);
        signer.unwrap().sign(&oauth10a::reqwest::Method::GET, &self.0).unwrap()
    }
}

#[derive(Debug)]
struct HmacSha256;

impl oauth10a::signer::SignatureMethod for HmacSha256 {
    type Error = std::convert::Infallible;

    const SIGNATURE_METHOD: &'static str = "HMAC-SHA256";

    fn digest(key: &str, base_string: &str) -> Result<String, Self::Error> {
        use base64::Engine;
        use hmac::{KeyInit, Mac};
        let mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap().chain_update(base_string);
        Ok(base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes()))
    }
}
