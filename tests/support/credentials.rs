//! Consumers that a gateway knows, with the keys of `tests/keys`: to log in as, or to hand to a program in a file.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::path::Path;

use ibkr_oauth::{AccessToken, Consumer, DhParams, OAuthSession, RsaKeys, RsaPrivateKey};
use ibkr_oauth_gateway::{AccountKind, Gateway, RegisteredConsumer, User};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use serde::Serialize;

use crate::support::{DHPARAM_PEM, ENCRYPTION_PEM, SIGNATURE_PEM};

/// The user that every consumer here acts for, and the user's accounts.
pub const USER: &str = "demo";
pub const ACCOUNTS: [&str; 2] = ["DU1234567", "DU7654321"];

/// All that a client needs to log in, as it stands in a file.
#[derive(Clone, Serialize)]
pub struct Credentials {
    pub consumer_key: String,
    pub realm: String,
    pub access_token: String,
    pub access_token_secret: String,
    pub private_signature_pem: String,
    pub private_encryption_pem: String,
    pub dhparam_pem: String,
    pub base_url: String,
}

impl Credentials {
    /// Those of a consumer that trades for its own user.
    pub fn first_party(gateway: &mut Gateway, consumer_key: &str) -> Self {
        let consumer = RegisteredConsumer {
            consumer_key: consumer_key.to_owned(),
            signature_public_key_pem: include_str!("../keys/public_signature.pem").to_owned(),
            encryption_public_key_pem: include_str!("../keys/public_encryption.pem").to_owned(),
            dhparam_pem: DHPARAM_PEM.to_owned(),
            callback_url: None,
        };
        gateway.register_consumer(&consumer).unwrap();
        gateway.add_user(User {
            name: USER.to_owned(),
            accounts: ACCOUNTS.map(str::to_owned).into(),
            kind: AccountKind::Paper,
        });
        let issued = gateway.issue_access_token(consumer_key, USER, &mut UnwrapErr(SysRng)).unwrap();
        Self {
            realm: consumer.realm().to_owned(),
            consumer_key: consumer.consumer_key,
            access_token: issued.token,
            access_token_secret: issued.secret_base64,
            private_signature_pem: SIGNATURE_PEM.to_owned(),
            private_encryption_pem: ENCRYPTION_PEM.to_owned(),
            dhparam_pem: consumer.dhparam_pem,
            base_url: gateway.base_url(),
        }
    }

    /// A session that is not logged in yet.
    pub fn session(&self) -> OAuthSession {
        let [signature, encryption] = [&self.private_signature_pem, &self.private_encryption_pem]
            .map(|pem| RsaPrivateKey::from_pem(pem).unwrap());
        let keys = RsaKeys::new(signature, encryption);
        let dh = DhParams::from_pem(&self.dhparam_pem).unwrap();
        let builder = Consumer::builder(&self.consumer_key, keys, dh).realm(&self.realm).base_url(&self.base_url);
        let access_token = AccessToken::new(&self.access_token, &self.access_token_secret).unwrap();
        OAuthSession::with_access_token(builder.build().unwrap(), access_token)
    }

    /// Writes a new file that only its owner may read.
    pub fn write_new(&self, path: &Path) {
        let mut options = fs::OpenOptions::new();
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.write(true).create_new(true).open(path).unwrap();
        serde_json::to_writer_pretty(file, self).unwrap();
    }
}
