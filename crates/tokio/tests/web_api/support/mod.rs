//! What the tests share: a gateway on a socket, and credentials to log in with.

pub mod server;

use std::sync::OnceLock;
use std::time::Duration;

use ibkr_oauth_gateway::{AccountKind, Gateway, TestKeys, User};
use ibkr_oauth_tokio::ibkr_oauth::{
    AccessToken, Client, Consumer, DhParams, OAuthSession, Pacing, RsaKeys, RsaPrivateKey,
};
use ibkr_oauth_tokio::{Builder, WebApi};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

pub const CONSUMER_KEY: &str = "EXAMPLECO";
pub const USER: &str = "demo";
pub const ACCOUNT: &str = "DU1234567";
/// Nothing that a test waits for takes so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A consumer that is on file at a gateway, with its access token.
#[derive(Clone)]
pub struct Enrolled {
    pub base_url: String,
    pub token: String,
    pub secret: String,
}

/// Made once for all tests.
pub fn keys() -> &'static TestKeys {
    static KEYS: OnceLock<TestKeys> = OnceLock::new();
    KEYS.get_or_init(|| TestKeys::generate().unwrap())
}

impl Enrolled {
    pub fn at(gateway: &mut Gateway) -> Self {
        gateway.register_consumer(&keys().registration(CONSUMER_KEY, None)).unwrap();
        gateway.add_user(User { name: USER.to_owned(), accounts: vec![ACCOUNT.to_owned()], kind: AccountKind::Paper });
        let issued = gateway.issue_access_token(CONSUMER_KEY, USER, &mut UnwrapErr(SysRng)).unwrap();
        Self { base_url: gateway.base_url(), token: issued.token, secret: issued.secret_base64 }
    }

    pub fn session(&self) -> OAuthSession {
        let key = |pem| RsaPrivateKey::from_pem(pem).unwrap();
        let dh = DhParams::from_pem(&keys().dhparam_pem).unwrap();
        let keys = RsaKeys::new(key(&keys().private_signature_pem), key(&keys().private_encryption_pem));
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
            ("private_signature_pem", &keys().private_signature_pem),
            ("private_encryption_pem", &keys().private_encryption_pem),
            ("dhparam_pem", &keys().dhparam_pem),
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
