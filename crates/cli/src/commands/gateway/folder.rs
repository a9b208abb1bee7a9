//! What outlives a gateway, in a folder: the keys and access tokens that its clients have too, and its own state.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ibkr_oauth_gateway::{AccountKind, Gateway, RegisteredConsumer, State, User};
use rsa::Pkcs1v15Encrypt;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};
use crate::files::{Readers, is_there, read_if_there, replace, write_new};
use crate::keys::{DHPARAM, ENCRYPTION, Keys, SIGNATURE, dhparam_pem, group_14, private_pem, public_pem};
use crate::surroundings::rng;

const CONSUMER_KEY: &str = "EXAMPLECO";
const FIRST: &str = "credentials.json";
const STATE: &str = "gateway-state.json";
/// Behind the address in a base URL.
const PATH: &str = "/v1/api";

#[derive(Clone)]
pub struct Folder(pub PathBuf);

/// Letters and digits: the name becomes part of a file's.
pub fn user_name(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then(|| text.to_owned()).ok_or_else(|| "a user's name consists of letters and digits".to_owned())
}

impl Folder {
    pub fn make(&self) -> Result<(), Failure> {
        let made = fs::create_dir_all(&self.0);
        made.map_err(|error| Failure::file(format!("cannot make {}", self.0.display()), &error))
    }

    /// The file of a user's credentials; the first user's has the plain name.
    pub fn credentials_of(&self, users: &[String], user: &str) -> PathBuf {
        match users.first().is_some_and(|first| first == user) {
            true => self.0.join(FIRST),
            false => self.0.join(format!("credentials-{user}.json")),
        }
    }

    /// Where an earlier start listened; `None` in a folder without credentials.
    pub fn earlier_address(&self, scheme: &str) -> Result<Option<String>, Failure> {
        let path = self.0.join(FIRST);
        let Some(credentials) = Enrolled::read(&path)? else { return Ok(None) };
        let rest = credentials.text("base_url").and_then(|url| url.strip_prefix(scheme)?.strip_prefix("://"));
        let address = rest.and_then(|rest| rest.strip_suffix(PATH));
        address.map(|address| Some(address.to_owned())).ok_or_else(|| in_the_way(&path))
    }

    /// The state that an earlier start has stored.
    pub fn earlier_state(&self) -> Result<Option<State>, Failure> {
        let path = self.0.join(STATE);
        match read_if_there(&path).map_err(|error| unreadable(&path, &error))? {
            Some(text) => serde_json::from_str(&text).map(Some).map_err(|_| no_state(&path)),
            None if is_there(&path) => Err(in_the_way(&path)),
            None => Ok(None),
        }
    }

    /// Stores the state for later starts, in place of an earlier one.
    pub fn store_state(&self, gateway: &Gateway) -> Result<(), Failure> {
        let path = self.0.join(STATE);
        let written = serde_json::to_vec(&gateway.state()).map_err(io::Error::from);
        let written = written.map(Zeroizing::new).and_then(|state| replace(&path, &state));
        written.map_err(|error| unwritable(&path, &error))
    }

    /// Those of an earlier start, or fresh ones. The PEM files are written where they are missing.
    pub async fn keys(&self) -> Result<Keys, Failure> {
        let path = self.0.join(FIRST);
        let keys = match Enrolled::read(&path)? {
            Some(earlier) => earlier.keys().ok_or_else(|| in_the_way(&path))?,
            None => {
                let mut names =
                    [SIGNATURE, ENCRYPTION, DHPARAM, FIRST, STATE].into_iter().map(|name| self.0.join(name));
                names.find(|path| is_there(path)).map_or(Ok(()), |path| Err(in_the_way(&path)))?;
                let made = tokio::task::spawn_blocking(Keys::generate).await;
                made.map_err(|error| Failure::file("cannot make keys", &error))??
            }
        };
        self.provide(SIGNATURE, &private_pem(&keys.signature)?)?;
        self.provide(ENCRYPTION, &private_pem(&keys.encryption)?)?;
        self.provide(DHPARAM, &parameters()?)?;
        Ok(keys)
    }

    /// Writes a file, or sees that it is there as it would be written.
    fn provide(&self, name: &str, content: &str) -> Result<(), Failure> {
        let path = self.0.join(name);
        match read_if_there(&path).map_err(|error| unreadable(&path, &error))? {
            None => write(&path, content),
            Some(found) if *found == content => Ok(()),
            Some(_) => Err(in_the_way(&path)),
        }
    }

    /// Makes `gateway` know the consumer with these keys, and each user with an access token: that of an earlier start, or a
    /// new one, which is written. A third party has to ask for its own.
    pub fn enroll(
        &self,
        gateway: &mut Gateway,
        keys: &Keys,
        users: &[String],
        callback: Option<&str>,
    ) -> Result<(), Failure> {
        let consumer = RegisteredConsumer {
            consumer_key: CONSUMER_KEY.to_owned(),
            signature_public_key_pem: public_pem(&keys.signature)?,
            encryption_public_key_pem: public_pem(&keys.encryption)?,
            dhparam_pem: parameters()?,
            callback_url: callback.map(str::to_owned),
        };
        gateway.register_consumer(&consumer).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        for (number, user) in users.iter().enumerate() {
            gateway.add_user(User { name: user.clone(), accounts: accounts(number), kind: AccountKind::Paper });
            let path = self.credentials_of(users, user);
            match Enrolled::read(&path)? {
                Some(earlier) if earlier.is_third_partys() && callback.is_none() => return Err(no_callback(&path)),
                Some(earlier) => earlier.restore(gateway, keys, user).ok_or_else(|| in_the_way(&path))?,
                None => {
                    let enrolled = Enrolled::new(gateway, keys, user, callback)?;
                    write(&path, &enrolled.to_json())?;
                }
            }
        }
        Ok(())
    }
}

fn accounts(number: usize) -> Vec<String> {
    match number {
        0 => vec!["DU1234567".to_owned(), "DU7654321".to_owned()],
        more => vec![format!("DU2{more:06}")],
    }
}

/// The Diffie-Hellman parameters of the consumer, in PEM.
fn parameters() -> Result<String, Failure> {
    dhparam_pem(&group_14()?)
}

fn write(path: &Path, content: &str) -> Result<(), Failure> {
    let written = write_new(path, Readers::Owner, content);
    written.map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::file(format!("cannot write {}", path.display()), error)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::file(format!("cannot read {}", path.display()), error)
}

fn in_the_way(path: &Path) -> Failure {
    let cause = "is there already, not from an earlier start of this command: nothing is overwritten";
    Failure::new(Exit::File, format!("{} {cause}", path.display()))
}

fn no_callback(path: &Path) -> Failure {
    let cause = "has no access token: its credentials are a third party's, whose gateway needs --callback";
    Failure::new(Exit::Usage, format!("{} {cause}", path.display()))
}

/// What is wrong with it is not told in detail: that could quote a secret.
fn no_state(path: &Path) -> Failure {
    let cause = "is not the state of a gateway: it is damaged, or from another program or a later version";
    let remedy = "nothing is overwritten; without that file the gateway begins afresh";
    Failure::new(Exit::File, format!("{} {cause}: {remedy}", path.display()))
}

/// A user's credentials, as the fields of their file.
struct Enrolled(Map<String, Value>);

impl Enrolled {
    fn new(gateway: &mut Gateway, keys: &Keys, user: &str, callback: Option<&str>) -> Result<Self, Failure> {
        let mut fields = Map::new();
        fields.insert("consumer_key".into(), json!(CONSUMER_KEY));
        fields.insert("realm".into(), json!("limited_poa"));
        fields.insert("private_signature_pem".into(), json!(private_pem(&keys.signature)?.as_str()));
        fields.insert("private_encryption_pem".into(), json!(private_pem(&keys.encryption)?.as_str()));
        fields.insert("dhparam_pem".into(), json!(parameters()?));
        fields.insert("base_url".into(), json!(gateway.base_url()));
        if callback.is_none() {
            let issued = gateway.issue_access_token(CONSUMER_KEY, user, &mut rng());
            let issued = issued.map_err(|error| Failure::file("cannot make an access token", &error))?;
            fields.insert("access_token".into(), json!(issued.token));
            fields.insert("access_token_secret".into(), json!(issued.secret_base64));
        }
        Ok(Self(fields))
    }

    fn read(path: &Path) -> Result<Option<Self>, Failure> {
        let Some(text) = read_if_there(path).map_err(|error| unreadable(path, &error))? else { return Ok(None) };
        let fields: Option<Map<_, _>> = serde_json::from_str(&text).ok();
        let enrolled = fields.map(Self).filter(|known| known.text("consumer_key") == Some(CONSUMER_KEY));
        enrolled.map(Some).ok_or_else(|| in_the_way(path))
    }

    fn to_json(&self) -> Zeroizing<String> {
        format!("{:#}\n", Value::Object(self.0.clone())).into()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn is_third_partys(&self) -> bool {
        self.text("access_token").is_none()
    }

    /// `None` if they, or the Diffie-Hellman parameters, are not what an earlier start has written.
    fn keys(&self) -> Option<Keys> {
        parameters().ok().filter(|written| self.text("dhparam_pem") == Some(written))?;
        Keys::from_pem(self.text("private_signature_pem")?, self.text("private_encryption_pem")?)
    }

    /// `None` if the access token was made for other keys.
    fn restore(&self, gateway: &mut Gateway, keys: &Keys, user: &str) -> Option<()> {
        let Some(token) = self.text("access_token") else { return Some(()) };
        let ciphertext = BASE64_STANDARD.decode(self.text("access_token_secret")?).ok()?;
        let secret = Zeroizing::new(keys.encryption.decrypt(Pkcs1v15Encrypt, &ciphertext).ok()?);
        let secret = Zeroizing::new(<[u8; 32]>::try_from(secret.as_slice()).ok()?);
        gateway.restore_access_token(CONSUMER_KEY, user, token, *secret).ok()
    }
}
