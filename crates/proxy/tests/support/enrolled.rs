//! A consumer that is on file at a gateway, and its client.

use std::sync::OnceLock;

use ibkr_oauth_gateway::{AccountKind, Gateway, RegisteredConsumer, User};
use ibkr_oauth_proxy::ibkr_oauth_tokio::ibkr_oauth::{
    AccessToken, Client, Consumer, DhParams, OAuthSession, Pacing, RsaKeys, RsaPrivateKey,
};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use rsa::PrivateKey;
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};

pub const CONSUMER_KEY: &str = "EXAMPLECO";
pub const USER: &str = "demo";
pub const ACCOUNT: &str = "DU1234567";

/// The 2048-bit MODP group (RFC 3526, group 14), as `openssl dhparam` writes it.
const DH_PARAMS: &str = "-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA///////////JD9qiIWjCNMTGYouA3BzRKQJOCIpnzHQCC76mOxOb
IlFKCHmONATd75UZs806QxswKwpt8l8UN0/hNW1tUcJF5IW1dmJefsb0TELppjft
awv/XLb0Brft7jhr+1qJn6WunyQRfEsf5kkoZlHs5Fs9wgB8uKFjvwWY2kg2HFXT
mmkWP6j9JM9fg2VdI9yjrZYcYvNWIIVSu57VKQdwlpZtZww1Tkq8mATxdGwIyhgh
fDKQXkYuNs474553LBgOhgObJ4Oi7Aeij7XFXfBvTFLJ3ivL9pVYFxg5lUl86pVq
5RXSJhiY+gUQFXKOWoqsqmj//////////wIBAg==
-----END DH PARAMETERS-----
";

pub struct Enrolled {
    base_url: String,
    token: String,
    secret: String,
}

/// Made once: that takes seconds.
fn keys() -> &'static [PrivateKey; 2] {
    static KEYS: OnceLock<[PrivateKey; 2]> = OnceLock::new();
    KEYS.get_or_init(|| [(); 2].map(|()| PrivateKey::new(&mut UnwrapErr(SysRng), 2048).unwrap()))
}

impl Enrolled {
    pub fn at(gateway: &mut Gateway) -> Self {
        let [signature, encryption] = keys().each_ref().map(PrivateKey::to_public_key);
        let pem = |key: rsa::PublicKey| key.to_public_key_pem(LineEnding::LF).unwrap();
        let consumer = RegisteredConsumer {
            consumer_key: CONSUMER_KEY.to_owned(),
            signature_public_key_pem: pem(signature),
            encryption_public_key_pem: pem(encryption),
            dhparam_pem: DH_PARAMS.to_owned(),
            callback_url: None,
        };
        gateway.register_consumer(&consumer).unwrap();
        gateway.add_user(User { name: USER.to_owned(), accounts: vec![ACCOUNT.to_owned()], kind: AccountKind::Paper });
        let issued = gateway.issue_access_token(CONSUMER_KEY, USER, &mut UnwrapErr(SysRng)).unwrap();
        Self { base_url: gateway.base_url(), token: issued.token, secret: issued.secret_base64 }
    }

    /// A client in no hurry to spare IBKR.
    pub fn client(&self) -> Client {
        let [signature, encryption] =
            keys().each_ref().map(|key| RsaPrivateKey::from_pem(&key.to_pkcs8_pem(LineEnding::LF).unwrap()).unwrap());
        let dh = DhParams::from_pem(DH_PARAMS).unwrap();
        let consumer = Consumer::builder(CONSUMER_KEY, RsaKeys::new(signature, encryption), dh);
        let consumer = consumer.base_url(&self.base_url).build().unwrap();
        let token = AccessToken::new(&self.token, &self.secret).unwrap();
        Client::new(OAuthSession::with_access_token(consumer, token)).with_pacing(Pacing::fifty_a_second())
    }
}
