//! Pieces of credentials, from wherever their owner keeps them.

use std::path::{Path, PathBuf};
use std::{env, io};

use ibkr_oauth::doctor::Credentials;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::support::credentials::object;
use crate::support::files::read_secret;

/// Whatever was found. It is wiped on drop.
#[derive(Default)]
pub struct Pieces {
    pub consumer_key: Option<Zeroizing<String>>,
    pub realm: Option<Zeroizing<String>>,
    pub access_token: Option<Zeroizing<String>>,
    pub access_token_secret: Option<Zeroizing<String>>,
    pub signature_key: Option<Zeroizing<String>>,
    pub encryption_key: Option<Zeroizing<String>>,
    pub signature_passphrase: Option<Zeroizing<String>>,
    pub encryption_passphrase: Option<Zeroizing<String>>,
    pub dh_params: Option<Zeroizing<String>>,
    pub dh_generator: Option<u32>,
    pub base_url: Option<Zeroizing<String>>,
}

impl Pieces {
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let json = read(path)?.ok_or_else(|| format!("{} is not there", path.display()))?;
        let fields = object(&json).map_err(|error| format!("{}: {error}", path.display()))?;
        let text = |name: &str| fields.get(name).and_then(|value| as_text(value));
        Ok(Self {
            consumer_key: text("consumer_key"),
            realm: text("realm"),
            access_token: text("access_token"),
            access_token_secret: text("access_token_secret"),
            signature_key: text("private_signature_pem"),
            encryption_key: text("private_encryption_pem"),
            signature_passphrase: text("private_signature_passphrase"),
            encryption_passphrase: text("private_encryption_passphrase"),
            dh_params: text("dhparam_pem").or_else(|| text("dh_prime")),
            dh_generator: generator(text("dh_generator"))?,
            base_url: text("base_url"),
        })
    }

    pub fn from_dir(dir: &Path) -> Result<Self, String> {
        if !dir.is_dir() {
            return Err(format!("{} is not a directory", dir.display()));
        }
        Ok(Self {
            signature_key: read(&dir.join("private_signature.pem"))?,
            encryption_key: read(&dir.join("private_encryption.pem"))?,
            dh_params: read(&dir.join("dhparam.pem"))?,
            ..Self::default()
        })
    }

    /// `IBKR_CREDENTIALS`, else ibind's variables; None if there are neither.
    pub fn from_environment() -> Result<Option<Self>, String> {
        match env::var_os("IBKR_CREDENTIALS") {
            Some(file) => Self::from_file(Path::new(&file)).map(Some),
            None => Self::from_ibind(),
        }
    }

    /// The names, and the precedence of a key's text over its path, are those of ibind 0.2.2.
    fn from_ibind() -> Result<Option<Self>, String> {
        let text = |name: &str| env::var(format!("IBIND_OAUTH1A_{name}")).ok().map(Zeroizing::new);
        let file = |name: &str| {
            let Some(path) = text(name).map(|path| PathBuf::from(path.as_str())) else { return Ok(None) };
            match read(&path)? {
                Some(text) => Ok(Some(text)),
                None => Err(format!("IBIND_OAUTH1A_{name} names {}, which is not there", path.display())),
            }
        };
        let key = |name: &str| match text(name) {
            Some(pem) => Ok(Some(pem)),
            None => file(&format!("{name}_FP")),
        };
        let is_used = env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with("IBIND_OAUTH1A_"));
        let pieces = Self {
            consumer_key: text("CONSUMER_KEY"),
            realm: text("REALM"),
            access_token: text("ACCESS_TOKEN"),
            access_token_secret: text("ACCESS_TOKEN_SECRET"),
            signature_key: key("SIGNATURE_KEY")?,
            encryption_key: key("ENCRYPTION_KEY")?,
            dh_params: text("DH_PRIME"),
            dh_generator: generator(text("DH_GENERATOR"))?,
            base_url: text("REST_URL"),
            ..Self::default()
        };
        Ok(is_used.then_some(pieces))
    }

    /// These, and those of `others` that are missing here.
    pub fn or(self, others: Self) -> Self {
        Self {
            consumer_key: self.consumer_key.or(others.consumer_key),
            realm: self.realm.or(others.realm),
            access_token: self.access_token.or(others.access_token),
            access_token_secret: self.access_token_secret.or(others.access_token_secret),
            signature_key: self.signature_key.or(others.signature_key),
            encryption_key: self.encryption_key.or(others.encryption_key),
            signature_passphrase: self.signature_passphrase.or(others.signature_passphrase),
            encryption_passphrase: self.encryption_passphrase.or(others.encryption_passphrase),
            dh_params: self.dh_params.or(others.dh_params),
            dh_generator: self.dh_generator.or(others.dh_generator),
            base_url: self.base_url.or(others.base_url),
        }
    }

    pub fn credentials(&self) -> Credentials<'_> {
        Credentials {
            consumer_key: shown(&self.consumer_key),
            realm: shown(&self.realm),
            access_token: shown(&self.access_token),
            access_token_secret: shown(&self.access_token_secret),
            signature_key: shown(&self.signature_key),
            encryption_key: shown(&self.encryption_key),
            signature_passphrase: shown(&self.signature_passphrase),
            encryption_passphrase: shown(&self.encryption_passphrase),
            dh_params: shown(&self.dh_params),
            dh_generator: self.dh_generator,
            base_url: shown(&self.base_url),
            clocks: None,
        }
    }
}

fn shown(piece: &Option<Zeroizing<String>>) -> Option<&str> {
    piece.as_ref().map(|text| text.as_str())
}

/// A number where a text belongs is shown to the doctor, not refused.
fn as_text(value: &RawValue) -> Option<Zeroizing<String>> {
    match serde_json::from_str(value.get()) {
        Ok(text) => Option::map(text, Zeroizing::new),
        Err(_) => Some(value.get().to_owned().into()),
    }
}

/// The text of a file; None if there is no such file. What is no text becomes one that the doctor knows for what it is.
fn read(path: &Path) -> Result<Option<Zeroizing<String>>, String> {
    match read_secret(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned().into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

fn generator(text: Option<Zeroizing<String>>) -> Result<Option<u32>, String> {
    let number = text.map(|text| text.trim().parse());
    number.transpose().map_err(|_| "the Diffie-Hellman generator is not a number".to_string())
}
