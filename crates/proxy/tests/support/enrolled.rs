//! A consumer that is on file at a gateway, and its client.

use std::sync::OnceLock;

use ibkr_oauth_gateway::{AccountKind, Gateway, TestKeys, User};
use ibkr_oauth_proxy::ibkr_oauth_tokio::ibkr_oauth::{
    AccessToken, Client, Consumer, DhParams, OAuthSession, Pacing, RsaKeys, RsaPrivateKey,
};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

pub const CONSUMER_KEY: &str = "EXAMPLECO";
pub const USER: &str = "demo";
pub const ACCOUNT: &str = "DU1234567";

pub struct Enrolled {
    base_url: String,
    token: String,
    secret: String,
}

/// Made once for all tests.
fn keys() -> &'static TestKeys {
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

    /// A client in no hurry to spare IBKR.
    pub fn client(&self) -> Client {
        let key = |pem| RsaPrivateKey::from_pem(pem).unwrap();
        let dh = DhParams::from_pem(&keys().dhparam_pem).unwrap();
        let keys = RsaKeys::new(key(&keys().private_signature_pem), key(&keys().private_encryption_pem));
        let consumer = Consumer::builder(CONSUMER_KEY, keys, dh);
        let consumer = consumer.base_url(&self.base_url).build().unwrap();
        let token = AccessToken::new(&self.token, &self.secret).unwrap();
        Client::new(OAuthSession::with_access_token(consumer, token)).with_pacing(Pacing::fifty_a_second())
    }
}
