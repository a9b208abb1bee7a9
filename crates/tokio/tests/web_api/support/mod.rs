//! What the tests share: a gateway on a socket, and credentials to log in with.

pub mod server;

use std::sync::OnceLock;
use std::time::Duration;

use ibkr_oauth_gateway::{AccountKind, Gateway, RegisteredConsumer, User};
use ibkr_oauth_tokio::ibkr_oauth::{
    AccessToken, Client, Consumer, DhParams, OAuthSession, Pacing, RsaKeys, RsaPrivateKey,
};
use ibkr_oauth_tokio::{Builder, WebApi};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use rsa::PrivateKey;
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};

pub const CONSUMER_KEY: &str = "EXAMPLECO";
pub const USER: &str = "demo";
pub const ACCOUNT: &str = "DU1234567";
/// Nothing that a test waits for takes so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The 2048-bit MODP group (RFC 3526, group 14), as `openssl dhparam` writes it.
pub const DH_PARAMS: &str = "-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA///////////JD9qiIWjCNMTGYouA3BzRKQJOCIpnzHQCC76mOxOb
IlFKCHmONATd75UZs806QxswKwpt8l8UN0/hNW1tUcJF5IW1dmJefsb0TELppjft
awv/XLb0Brft7jhr+1qJn6WunyQRfEsf5kkoZlHs5Fs9wgB8uKFjvwWY2kg2HFXT
mmkWP6j9JM9fg2VdI9yjrZYcYvNWIIVSu57VKQdwlpZtZww1Tkq8mATxdGwIyhgh
fDKQXkYuNs474553LBgOhgObJ4Oi7Aeij7XFXfBvTFLJ3ivL9pVYFxg5lUl86pVq
5RXSJhiY+gUQFXKOWoqsqmj//////////wIBAg==
-----END DH PARAMETERS-----
";

/// A consumer that is on file at a gateway, with its access token.
#[derive(Clone)]
pub struct Enrolled {
    pub base_url: String,
    pub token: String,
    pub secret: String,
}

struct Keys {
    signature: PrivateKey,
    encryption: PrivateKey,
}

/// Made once: that takes seconds.
fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let key = || PrivateKey::new(&mut UnwrapErr(SysRng), 2048).unwrap();
        Keys { signature: key(), encryption: key() }
    })
}

pub fn signature_pem() -> String {
    keys().signature.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
}

pub fn encryption_pem() -> String {
    keys().encryption.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
}

/// What is on file of the consumer; a third party has a callback URL.
pub fn registration(callback_url: Option<&str>) -> RegisteredConsumer {
    let public = |key: &PrivateKey| key.to_public_key().to_public_key_pem(LineEnding::LF).unwrap();
    RegisteredConsumer {
        consumer_key: CONSUMER_KEY.to_owned(),
        signature_public_key_pem: public(&keys().signature),
        encryption_public_key_pem: public(&keys().encryption),
        dhparam_pem: DH_PARAMS.to_owned(),
        callback_url: callback_url.map(str::to_owned),
    }
}

impl Enrolled {
    pub fn at(gateway: &mut Gateway) -> Self {
        gateway.register_consumer(&registration(None)).unwrap();
        gateway.add_user(User { name: USER.to_owned(), accounts: vec![ACCOUNT.to_owned()], kind: AccountKind::Paper });
        let issued = gateway.issue_access_token(CONSUMER_KEY, USER, &mut UnwrapErr(SysRng)).unwrap();
        Self { base_url: gateway.base_url(), token: issued.token, secret: issued.secret_base64 }
    }

    pub fn session(&self) -> OAuthSession {
        let key = |pem: String| RsaPrivateKey::from_pem(&pem).unwrap();
        let keys = RsaKeys::new(key(signature_pem()), key(encryption_pem()));
        let dh = DhParams::from_pem(DH_PARAMS).unwrap();
        let consumer = Consumer::builder(CONSUMER_KEY, keys, dh).base_url(&self.base_url).build().unwrap();
        OAuthSession::with_access_token(consumer, AccessToken::new(&self.token, &self.secret).unwrap())
    }

    /// A client in no hurry to spare IBKR.
    pub fn client(&self) -> Client {
        Client::new(self.session()).with_pacing(Pacing::fifty_a_second())
    }

    /// The file of credentials.
    pub fn json(&self) -> String {
        let fields = [
            ("consumer_key", CONSUMER_KEY),
            ("realm", "limited_poa"),
            ("access_token", &self.token),
            ("access_token_secret", &self.secret),
            ("private_signature_pem", &signature_pem()),
            ("private_encryption_pem", &encryption_pem()),
            ("dhparam_pem", DH_PARAMS),
            ("base_url", &self.base_url),
        ];
        serde_json::to_string(&fields.into_iter().collect::<std::collections::BTreeMap<_, _>>()).unwrap()
    }
}

pub fn start(builder: Builder) -> WebApi {
    builder.start().unwrap().0
}

/// Fails a test that would hang.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}
