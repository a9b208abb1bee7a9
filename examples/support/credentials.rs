//! Throw-away credentials: what a consumer of IBKR's Web API keeps, made up on the spot.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use der::asn1::UintRef;
use der::pem::LineEnding;
use der::{Encode, pem};
use ibkr_oauth::{AccessToken, Consumer, ConsumerBuilder, DhParams, RsaKeys, RsaPrivateKey};
use ibkr_oauth_gateway::{Gateway, GatewayError, RegisteredConsumer, User};
use rand::Rng;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use rsa::PrivateKey;
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey};
use serde_json::{Map, Value, json};

/// Where a file without `base_url` leads.
const PRODUCTION: &str = "https://api.ibkr.com/v1/api";

/// The user that every set of credentials belongs to.
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

/// How a consumer gets at access tokens.
pub enum Party<'a> {
    /// From the self-service portal, for its own user.
    First,
    /// With the consent of each user, who is sent back to this URL.
    Third { callback_url: &'a str },
}

/// All that a client needs to log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub consumer_key: String,
    pub realm: String,
    /// None for a third party that has yet to ask.
    pub access: Option<Access>,
    pub private_signature_pem: String,
    pub private_encryption_pem: String,
    pub dhparam_pem: String,
    pub base_url: String,
}

/// An access token and its secret: there is never one without the other.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    pub token: String,
    /// Encrypted to the encryption key, in base64.
    pub secret: String,
}

impl Keys {
    /// Two fresh RSA keys of 2048 bits; `progress` hears what takes so long.
    pub fn generate(progress: &mut dyn FnMut(&str)) -> rsa::Result<Self> {
        progress("generating the signature key");
        let signature = PrivateKey::new(&mut UnwrapErr(SysRng), 2048)?;
        progress("generating the encryption key");
        let encryption = PrivateKey::new(&mut UnwrapErr(SysRng), 2048)?;
        Ok(Self { signature, encryption })
    }
}

impl Credentials {
    /// Registers a consumer with these keys, adds [`USER`], and lets a first party have its access token.
    pub fn enroll(
        gateway: &mut Gateway,
        keys: &Keys,
        consumer_key: &str,
        party: &Party<'_>,
    ) -> Result<Self, GatewayError> {
        let consumer = RegisteredConsumer {
            consumer_key: consumer_key.to_owned(),
            signature_public_key_pem: public_pem(&keys.signature),
            encryption_public_key_pem: public_pem(&keys.encryption),
            dhparam_pem: dhparam_pem(&group_14()),
            callback_url: match party {
                Party::First => None,
                Party::Third { callback_url } => Some((*callback_url).to_owned()),
            },
        };
        gateway.register_consumer(&consumer)?;
        gateway.add_user(User {
            name: USER.to_owned(),
            accounts: vec!["DU1234567".to_owned(), "DU7654321".to_owned()],
            is_paper: true,
        });
        let access = match party {
            Party::First => {
                let issued = gateway.issue_access_token(consumer_key, USER, &mut UnwrapErr(SysRng))?;
                Some(Access { token: issued.token, secret: issued.secret_base64 })
            }
            Party::Third { .. } => None,
        };
        Ok(Self {
            realm: consumer.realm().to_owned(),
            consumer_key: consumer.consumer_key,
            access,
            private_signature_pem: private_pem(&keys.signature),
            private_encryption_pem: private_pem(&keys.encryption),
            dhparam_pem: consumer.dhparam_pem,
            base_url: gateway.base_url(),
        })
    }

    pub fn to_json(&self) -> String {
        let mut json = json!({
            "consumer_key": self.consumer_key,
            "realm": self.realm,
            "private_signature_pem": self.private_signature_pem,
            "private_encryption_pem": self.private_encryption_pem,
            "dhparam_pem": self.dhparam_pem,
            "base_url": self.base_url,
        });
        if let Some(access) = &self.access {
            json["access_token"] = json!(access.token);
            json["access_token_secret"] = json!(access.secret);
        }
        format!("{json:#}\n")
    }

    /// Reads what [`Self::to_json`] writes; the error names the key that is wrong.
    pub fn from_json(json: &str) -> Result<Self, String> {
        let fields: Map<String, Value> = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let optional = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format!("{name} is not a string")),
        };
        let required = |name: &str| optional(name)?.ok_or_else(|| format!("{name} is missing"));
        let access = match (optional("access_token")?, optional("access_token_secret")?) {
            (Some(token), Some(secret)) => Some(Access { token, secret }),
            (None, None) => None,
            (Some(_), None) => return Err("access_token_secret is missing".to_owned()),
            (None, Some(_)) => return Err("access_token is missing".to_owned()),
        };
        Ok(Self {
            consumer_key: required("consumer_key")?,
            realm: required("realm")?,
            access,
            private_signature_pem: required("private_signature_pem")?,
            private_encryption_pem: required("private_encryption_pem")?,
            dhparam_pem: required("dhparam_pem")?,
            base_url: optional("base_url")?.unwrap_or_else(|| PRODUCTION.to_owned()),
        })
    }

    pub fn read(path: &Path) -> io::Result<Self> {
        let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
        Self::from_json(&fs::read_to_string(path)?).map_err(invalid)
    }

    pub fn write(&self, path: &Path) -> io::Result<()> {
        write_secret(path, &self.to_json())
    }
}

/// The client's view.
impl Credentials {
    /// The error names the part that cannot be used.
    pub fn consumer(&self) -> Result<ConsumerBuilder, String> {
        let key = |name: &str, pem: &str| RsaPrivateKey::from_pem(pem).map_err(|error| format!("{name}: {error}"));
        let keys = RsaKeys::new(
            key("private_signature_pem", &self.private_signature_pem)?,
            key("private_encryption_pem", &self.private_encryption_pem)?,
        );
        let dh = DhParams::from_pem(&self.dhparam_pem).map_err(|error| format!("dhparam_pem: {error}"))?;
        let builder = Consumer::builder(&self.consumer_key, keys, dh).realm(&self.realm);
        Ok(builder.base_url(&self.base_url))
    }

    /// None for a third party that has yet to ask.
    pub fn access_token(&self) -> Result<Option<AccessToken>, String> {
        let access_token = self.access.as_ref().map(|access| AccessToken::new(&access.token, &access.secret));
        access_token.transpose().map_err(|error| format!("access_token or access_token_secret: {error}"))
    }
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_secret(path: &Path, content: &str) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{:016x}.tmp", UnwrapErr(SysRng).next_u64()));
    let written = write_new(temporary.as_ref(), content).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Writes a new file that only its owner may read; there must be none of that name.
pub fn write_new(path: &Path, content: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    write_with(&mut options, path, content)
}

/// Writes a new file that anybody may read; there must be none of that name.
pub fn write_new_public(path: &Path, content: &str) -> io::Result<()> {
    write_with(&mut OpenOptions::new(), path, content)
}

fn write_with(options: &mut OpenOptions, path: &Path, content: &str) -> io::Result<()> {
    let mut file = options.write(true).create_new(true).open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

/// A directory that nobody has used before, under the system's own for such things.
pub fn fresh_dir(name: &str) -> PathBuf {
    env::temp_dir().join(format!("{name}-{:016x}", UnwrapErr(SysRng).next_u64()))
}

/// PKCS#8, as OpenSSL 3 writes private keys.
pub fn private_pem(key: &PrivateKey) -> String {
    key.to_pkcs8_pem(LineEnding::LF).expect("a key of this process can be written").to_string()
}

/// What `openssl rsa -pubout` would write.
pub fn public_pem(key: &PrivateKey) -> String {
    key.to_public_key().to_public_key_pem(LineEnding::LF).expect("a key of this process can be written")
}

/// What `openssl dhparam` would write: `SEQUENCE { prime, generator }`, the generator being 2.
pub fn dhparam_pem(prime: &[u8]) -> String {
    let parameters = [prime, &[2]].map(|number| UintRef::new(number).expect("the prime is short enough"));
    let der = parameters.to_vec().to_der().expect("two numbers make a sequence");
    pem::encode_string("DH PARAMETERS", LineEnding::LF, &der).expect("the sequence is short enough")
}

/// The prime of the 2048-bit MODP group, big-endian.
pub fn group_14() -> Vec<u8> {
    base16ct::lower::decode_vec(PRIME).expect("the prime is in hexadecimal")
}
