//! A set of credentials, to be spoilt.

use ibkr_oauth::doctor::{Clocks, Credentials, Report, ServerTime, examine};
use ibkr_oauth::{AccessToken, Consumer, DhParams, OAuthSession, RsaKeys, RsaPrivateKey};

use crate::fixtures::{PREPEND, TOKEN, secret};
use crate::support::{self, DHPARAM_PEM, ENCRYPTION_PEM, NOW, SIGNATURE_PEM, rng};

/// A set of credentials that a test may spoil.
#[derive(Clone)]
pub struct Set {
    pub consumer_key: Option<String>,
    pub realm: Option<String>,
    pub token: Option<String>,
    pub secret: Option<String>,
    pub signature: Option<String>,
    pub encryption: Option<String>,
    pub passphrase: Option<String>,
    pub dh: Option<String>,
    pub generator: Option<u32>,
    pub base_url: Option<String>,
    pub server: Option<ServerTime<'static>>,
}

impl Set {
    pub fn healthy() -> Self {
        let text = |text: &str| Some(text.to_string());
        Self {
            consumer_key: text("MYCONSKEY"),
            realm: text("limited_poa"),
            token: text(TOKEN),
            secret: text(secret()),
            signature: text(SIGNATURE_PEM),
            encryption: text(ENCRYPTION_PEM),
            passphrase: None,
            dh: text(DHPARAM_PEM),
            generator: None,
            base_url: text("https://api.ibkr.com/v1/api"),
            server: Some(ServerTime::At(NOW)),
        }
    }

    pub fn credentials(&self) -> Credentials<'_> {
        Credentials {
            consumer_key: self.consumer_key.as_deref(),
            realm: self.realm.as_deref(),
            access_token: self.token.as_deref(),
            access_token_secret: self.secret.as_deref(),
            signature_key: self.signature.as_deref(),
            encryption_key: self.encryption.as_deref(),
            signature_passphrase: self.passphrase.as_deref(),
            encryption_passphrase: None,
            dh_params: self.dh.as_deref(),
            dh_generator: self.generator,
            base_url: self.base_url.as_deref(),
            clocks: self.server.map(|server| Clocks { own: NOW, server }),
        }
    }

    pub fn examine(&self) -> Report {
        examine(&self.credentials(), &mut rng(1))
    }

    /// Whether the rest of the crate refuses any of it, up to the first request.
    pub fn is_rejected(&self) -> bool {
        let keys = [&self.signature, &self.encryption].map(|pem| pem.as_deref().map(|pem| self.key(pem)));
        let dh = self.dh.as_deref().map(|text| {
            let generator = self.generator.unwrap_or(2);
            DhParams::from_pem(text).or_else(|_| DhParams::from_hex(text, generator)).map_err(drop)
        });
        let access = self.token.as_ref().zip(self.secret.as_ref());
        let access = access.map(|(token, secret)| AccessToken::new(token, secret).map_err(drop));
        let [signature, encryption] = keys;
        let rejected = [signature.as_ref().map(Result::is_err), encryption.as_ref().map(Result::is_err)];
        let rejected = rejected.into_iter().flatten().any(|rejected| rejected);
        if rejected || dh.as_ref().is_some_and(Result::is_err) || access.as_ref().is_some_and(Result::is_err) {
            return true;
        }
        let keys = RsaKeys::new(
            signature.unwrap_or_else(|| self.key(SIGNATURE_PEM)).unwrap(),
            encryption.unwrap_or_else(|| self.key(ENCRYPTION_PEM)).unwrap(),
        );
        let dh = dh.unwrap_or_else(|| Ok(support::dh())).unwrap();
        let mut consumer = Consumer::builder(self.consumer_key.as_deref().unwrap_or("MYCONSKEY"), keys, dh);
        if let Some(realm) = &self.realm {
            consumer = consumer.realm(realm);
        }
        if let Some(url) = &self.base_url {
            consumer = consumer.base_url(url);
        }
        let Ok(consumer) = consumer.build() else { return true };
        let Some(access) = access else { return false };
        OAuthSession::with_access_token(consumer, access.unwrap()).poll_request(&mut rng(1), NOW).is_err()
    }

    fn key(&self, pem: &str) -> Result<RsaPrivateKey, ()> {
        let plain = RsaPrivateKey::from_pem(pem);
        #[cfg(feature = "encrypted-keys")]
        if let (Err(_), Some(passphrase)) = (&plain, &self.passphrase) {
            return RsaPrivateKey::from_encrypted_pem(pem, passphrase.as_bytes()).map_err(drop);
        }
        plain.map_err(drop)
    }

    /// Texts that nobody may ever see in a report, in credentials long enough to be told from chance.
    pub fn secrets(&self) -> Vec<String> {
        let pems = [&self.signature, &self.encryption, &self.dh];
        let lines = pems.into_iter().flatten().flat_map(|pem| pem.lines());
        let texts = [&self.token, &self.secret, &self.passphrase].into_iter().flatten().map(String::as_str);
        let is_label = |word: &&str| {
            ["PRIVATE", "PUBLIC", "PARAMETERS", "Parameters", "CERTIFICATE", "Proc-Type", "ENCRYPTED"]
                .iter()
                .any(|part| word.contains(part))
        };
        let words = lines.chain(texts).flat_map(str::split_whitespace).filter(|word| !is_label(word));
        let prepend = String::from_utf8_lossy(PREPEND).to_string();
        let prepend_hex: String = PREPEND.iter().map(|byte| format!("{byte:02x}")).collect();
        words.map(str::to_string).chain([prepend, prepend_hex]).collect()
    }
}

pub fn after(change: fn(&mut Set)) -> Set {
    let mut set = Set::healthy();
    change(&mut set);
    set
}

pub fn put(credential: &mut Option<String>, text: impl Into<String>) {
    *credential = Some(text.into());
}

pub fn edit(credential: &mut Option<String>, change: impl Fn(&str) -> String) {
    *credential = credential.as_deref().map(change);
}
