//! Credentials in a file, and throw-away ones made up on the spot.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use der::asn1::UintRef;
use der::pem::LineEnding;
use der::{Encode, pem};
use ibkr_oauth::{AccessToken, Consumer, ConsumerBuilder, DhParams, RsaKeys, RsaPrivateKey};
use ibkr_oauth_gateway::{Gateway, GatewayError, RegisteredConsumer, User};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey};
use rsa::{Pkcs1v15Encrypt, PrivateKey};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::files::{read_secret, replace, write_new};

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

/// All that a client needs to log in. What is secret is wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub consumer_key: String,
    pub realm: String,
    /// None for a third party that has yet to ask.
    pub access: Option<Access>,
    pub private_signature_pem: Zeroizing<String>,
    pub private_encryption_pem: Zeroizing<String>,
    pub dhparam_pem: String,
    pub base_url: String,
}

/// An access token and its secret: there is never one without the other.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    pub token: Zeroizing<String>,
    /// Encrypted to the encryption key, in base64.
    pub secret: Zeroizing<String>,
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

    fn from_pem(signature: &str, encryption: &str) -> rsa::pkcs8::Result<Self> {
        let [signature, encryption] = [signature, encryption].map(PrivateKey::from_pkcs8_pem);
        Ok(Self { signature: signature?, encryption: encryption? })
    }

    /// What a consumer with these keys hands over to be registered.
    fn registration(&self, consumer_key: &str, dhparam_pem: String, party: &Party<'_>) -> RegisteredConsumer {
        RegisteredConsumer {
            consumer_key: consumer_key.to_owned(),
            signature_public_key_pem: public_pem(&self.signature),
            encryption_public_key_pem: public_pem(&self.encryption),
            dhparam_pem,
            callback_url: match party {
                Party::First => None,
                Party::Third { callback_url } => Some((*callback_url).to_owned()),
            },
        }
    }
}

/// The gateway's view.
impl Credentials {
    /// Registers a consumer with these keys, adds [`USER`], and lets a first party have its access token.
    pub fn enroll(
        gateway: &mut Gateway,
        keys: &Keys,
        consumer_key: &str,
        party: &Party<'_>,
    ) -> Result<Self, GatewayError> {
        let consumer = keys.registration(consumer_key, dhparam_pem(&group_14()), party);
        gateway.register_consumer(&consumer)?;
        gateway.add_user(user());
        let access = match party {
            Party::First => {
                let issued = gateway.issue_access_token(consumer_key, USER, &mut UnwrapErr(SysRng))?;
                Some(Access { token: issued.token.into(), secret: issued.secret_base64.into() })
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

    /// Makes a gateway that starts again know what an earlier one knew: the consumer, [`USER`], and the access token. The
    /// error names the part that no gateway of ours has made.
    pub fn enroll_again(&self, gateway: &mut Gateway, party: &Party<'_>) -> Result<(), String> {
        let keys = Keys::from_pem(&self.private_signature_pem, &self.private_encryption_pem);
        let keys = keys.map_err(|_| "the private keys cannot be read")?;
        let consumer = keys.registration(&self.consumer_key, self.dhparam_pem.clone(), party);
        gateway.register_consumer(&consumer).map_err(|error| error.to_string())?;
        gateway.add_user(user());
        let Some(access) = &self.access else { return Ok(()) };
        let secret = access.decrypted_secret(&keys).ok_or("the access token secret is not for the encryption key")?;
        let restored = gateway.restore_access_token(&self.consumer_key, USER, &access.token, *secret);
        restored.map_err(|error| error.to_string())
    }
}

/// The account holder who consents.
fn user() -> User {
    User { name: USER.to_owned(), accounts: vec!["DU1234567".to_owned(), "DU7654321".to_owned()], is_paper: true }
}

impl Access {
    fn decrypted_secret(&self, keys: &Keys) -> Option<Zeroizing<[u8; 32]>> {
        let ciphertext = BASE64_STANDARD.decode(self.secret.as_str()).ok()?;
        let secret = Zeroizing::new(keys.encryption.decrypt(Pkcs1v15Encrypt, &ciphertext).ok()?);
        <[u8; 32]>::try_from(secret.as_slice()).ok().map(Zeroizing::new)
    }
}

/// The file's view: a JSON object.
impl Credentials {
    pub fn to_json(&self) -> Zeroizing<String> {
        let mut fields = vec![
            ("consumer_key", self.consumer_key.as_str()),
            ("realm", &self.realm),
            ("private_signature_pem", &self.private_signature_pem),
            ("private_encryption_pem", &self.private_encryption_pem),
            ("dhparam_pem", &self.dhparam_pem),
            ("base_url", &self.base_url),
        ];
        if let Some(access) = &self.access {
            fields.extend(access.fields());
        }
        with_fields("{}", &fields).expect("an empty object is an object")
    }

    /// Reads what [`Self::to_json`] writes; the error names the key that is wrong.
    pub fn from_json(json: &str) -> Result<Self, String> {
        let fields = object(json)?;
        let optional = |name: &str| fields.get(name).map_or(Ok(None), |value| text(name, value));
        let required = |name: &str| optional(name)?.ok_or_else(|| format!("{name} is missing"));
        let access = match (optional("access_token")?, optional("access_token_secret")?) {
            (Some(token), Some(secret)) => Some(Access { token, secret }),
            (None, None) => None,
            (Some(_), None) => return Err("access_token_secret is missing".to_owned()),
            (None, Some(_)) => return Err("access_token is missing".to_owned()),
        };
        Ok(Self {
            consumer_key: required("consumer_key")?.to_string(),
            realm: required("realm")?.to_string(),
            access,
            private_signature_pem: required("private_signature_pem")?,
            private_encryption_pem: required("private_encryption_pem")?,
            dhparam_pem: required("dhparam_pem")?.to_string(),
            base_url: optional("base_url")?.map_or_else(|| PRODUCTION.to_owned(), |url| url.to_string()),
        })
    }

    pub fn read(path: &Path) -> io::Result<Self> {
        let bytes = read_secret(path)?;
        let json = std::str::from_utf8(&bytes).map_err(|_| invalid("it is not text"))?;
        Self::from_json(json).map_err(invalid)
    }

    /// Writes a new file; there must be none of that name.
    pub fn write_new(&self, path: &Path) -> io::Result<()> {
        write_new(path, &self.to_json())
    }
}

impl Access {
    pub fn of(access_token: &AccessToken) -> Self {
        let secret = access_token.secret().expose().as_str().to_owned();
        Self { token: access_token.token().to_owned().into(), secret: secret.into() }
    }

    /// Puts the access token into the credentials at `path`. Everything else in the file stays as it is.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        let bytes = read_secret(path)?;
        let json = std::str::from_utf8(&bytes).map_err(|_| invalid("it is not text"))?;
        replace(path, with_fields(json, &self.fields()).map_err(invalid)?.as_bytes())
    }

    fn fields(&self) -> [(&'static str, &str); 2] {
        [("access_token", &self.token), ("access_token_secret", &self.secret)]
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

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The fields of a JSON object, their values as they stand there: no copy is made of them.
pub fn object(json: &str) -> Result<BTreeMap<String, &RawValue>, String> {
    // What is found in place of an object may be a secret.
    let problem = |error: serde_json::Error| match error.classify() {
        serde_json::error::Category::Data => "it is not a JSON object".to_owned(),
        _ => format!("it is not a JSON object: {error}"),
    };
    serde_json::from_str(json).map_err(problem)
}

/// The text of a field; none for `null`.
///
/// It is wiped on drop. A copy of a text with escapes, as PEM has them, stays in a buffer of `serde_json`.
fn text(name: &str, value: &RawValue) -> Result<Option<Zeroizing<String>>, String> {
    let text: Option<String> = serde_json::from_str(value.get()).map_err(|_| format!("{name} is not a string"))?;
    Ok(text.map(Zeroizing::new))
}

/// `json`, an object, with these `fields` of text, and with all others as they are.
fn with_fields(json: &str, fields: &[(&str, &str)]) -> Result<Zeroizing<String>, String> {
    let quote = |text: &str| json_text(text.len(), |out| serde_json::to_writer(out, text));
    let quoted: Vec<_> = fields.iter().map(|(_, text)| quote(text)).collect();
    let mut object = object(json)?;
    for ((name, _), text) in fields.iter().zip(&quoted) {
        object.insert((*name).to_owned(), serde_json::from_str(text).map_err(|error| error.to_string())?);
    }
    let length = json.len() + quoted.iter().map(|text| text.len()).sum::<usize>();
    Ok(json_text(length, |out| {
        serde_json::to_writer_pretty(&mut *out, &object)?;
        out.push(b'\n');
        Ok(())
    }))
}

/// What `write` makes of values with about `length` bytes.
///
/// One buffer, large enough from the start: one that grows leaves copies behind.
pub fn json_text(length: usize, write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>) -> Zeroizing<String> {
    let mut out = Zeroizing::new(Vec::with_capacity(2 * length + 4096));
    write(&mut out).expect("texts and their names can be written as JSON");
    let text = String::from_utf8(std::mem::take(&mut *out)).expect("JSON is text");
    Zeroizing::new(text)
}

/// PKCS#8, as OpenSSL 3 writes private keys.
pub fn private_pem(key: &PrivateKey) -> Zeroizing<String> {
    key.to_pkcs8_pem(LineEnding::LF).expect("a key of this process can be written")
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
