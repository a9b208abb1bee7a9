//! Who logs in: from a file, from the environment, never from arguments.

pub(crate) mod error;
mod field;
mod file;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use ibkr_oauth::{
    AccessToken, Consumer, ConsumerBuilder, DhParams, KeyError, OAuthSession, RsaKeys, RsaPrivateKey, Secret, doctor,
};

use self::error::CredentialsError;
use self::field::{Field, Source};
use crate::files::read_secret;
use crate::surroundings::rng;

/// Names a file with all or some of the credentials.
const FILE_VARIABLE: &str = "IBKR_CREDENTIALS";
/// The generator that goes with a bare prime, unless there is another.
const GENERATOR: u32 = 2;

/// Who logs in: the keys of a consumer, and the access token of a first party.
///
/// # Where they come from
/// | field of the file | variable | variable of `ibind` |
/// |---|---|---|
/// | `consumer_key` | `IBKR_OAUTH_CONSUMER_KEY` | `IBIND_OAUTH1A_CONSUMER_KEY` |
/// | `realm` | `IBKR_OAUTH_REALM` | `IBIND_OAUTH1A_REALM` |
/// | `access_token` | `IBKR_OAUTH_ACCESS_TOKEN` | `IBIND_OAUTH1A_ACCESS_TOKEN` |
/// | `access_token_secret` | `IBKR_OAUTH_ACCESS_TOKEN_SECRET` | `IBIND_OAUTH1A_ACCESS_TOKEN_SECRET` |
/// | `private_signature_pem` | `IBKR_OAUTH_PRIVATE_SIGNATURE_PEM` | `IBIND_OAUTH1A_SIGNATURE_KEY`, `..._SIGNATURE_KEY_FP` |
/// | `private_encryption_pem` | `IBKR_OAUTH_PRIVATE_ENCRYPTION_PEM` | `IBIND_OAUTH1A_ENCRYPTION_KEY`, `..._ENCRYPTION_KEY_FP` |
/// | `dhparam_pem` | `IBKR_OAUTH_DHPARAM_PEM` | `IBIND_OAUTH1A_DH_PRIME` (hexadecimal) |
/// | `dh_generator`, for a bare prime | `IBKR_OAUTH_DH_GENERATOR` | `IBIND_OAUTH1A_DH_GENERATOR` |
/// | `base_url` | `IBKR_OAUTH_BASE_URL` | `IBIND_OAUTH1A_REST_URL` |
///
/// A name with `_FILE` behind it (`access_token_secret_file`, `IBKR_OAUTH_ACCESS_TOKEN_SECRET_FILE`) names a file with the
/// value, as Docker and systemd hand over secrets; in a file of credentials the path is relative to that file. The file is
/// JSON or TOML. `IBKR_CREDENTIALS` names it; then the variables go before its fields. Of several names for one thing, the
/// one further left in the table counts, a value before a file with the value; empty variables count as not set.
///
/// `realm` and `base_url` may be missing, and the access token with its secret for a third party.
///
/// In a variable, `\n` between the lines of a PEM block means a line break.
#[derive(Clone, Default)]
pub struct Credentials {
    pieces: BTreeMap<Field, Piece>,
    file: Option<PathBuf>,
}

/// A value, and where it was found.
#[derive(Clone)]
struct Piece {
    text: Secret<String>,
    source: Source,
}

impl Credentials {
    /// Reads a file of credentials, and those that it names.
    ///
    /// # Errors
    /// [`CredentialsError`] names the file and what is wrong with it.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, CredentialsError> {
        let path = path.as_ref();
        Ok(Self { pieces: file::read(path, None)?, file: Some(path.to_owned()) })
    }

    /// Reads the environment, and the files that it names.
    ///
    /// # Errors
    /// [`CredentialsError`] names the variable or the file and what is wrong with it; [`CredentialsError::NoneFound`] if no
    /// variable is set.
    pub fn from_environment() -> Result<Self, CredentialsError> {
        Self::from_variables(|name| env::var_os(name))
    }

    /// Reads what [`from_environment`](Self::from_environment) does, from the variables that `variable` knows.
    ///
    /// # Errors
    /// The same.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, CredentialsError> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let file = variable(FILE_VARIABLE).map(PathBuf::from);
        let mut pieces = match &file {
            Some(path) => file::read(path, Some(FILE_VARIABLE.to_owned()))?,
            None => BTreeMap::new(),
        };
        for field in Field::ALL {
            if let Some(piece) = from_variables(field, &variable)? {
                pieces.insert(field, piece);
            }
        }
        if pieces.is_empty() { Err(CredentialsError::NoneFound) } else { Ok(Self { pieces, file }) }
    }

    /// Sets the base URL: the same credentials for another server.
    #[must_use]
    pub fn with_base_url(mut self, url: &str) -> Self {
        let text = Secret::new(url.to_owned());
        self.pieces.insert(Field::BaseUrl, Piece { text, source: Source::Caller });
        self
    }

    /// Returns the file of credentials, if they or some of them come from one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Returns the consumer key, if there is one.
    pub fn consumer_key(&self) -> Option<&str> {
        self.text(Field::ConsumerKey)
    }

    /// Returns the base URL, if one is set.
    pub fn base_url(&self) -> Option<&str> {
        self.text(Field::BaseUrl)
    }

    /// Returns the settings of the consumer, for more to be set.
    ///
    /// # Errors
    /// [`CredentialsError::Missing`], and [`CredentialsError::Unusable`] with what the doctor says.
    pub fn consumer(&self) -> Result<ConsumerBuilder, CredentialsError> {
        let consumer_key = self.required(Field::ConsumerKey)?;
        let keys = RsaKeys::new(self.key(Field::SignatureKey)?, self.key(Field::EncryptionKey)?);
        let mut builder = Consumer::builder(consumer_key.text.expose(), keys, self.dh_params()?);
        if let Some(realm) = self.text(Field::Realm) {
            builder = builder.realm(realm);
        }
        if let Some(base_url) = self.base_url() {
            builder = builder.base_url(base_url);
        }
        Ok(builder)
    }

    /// Returns the access token; `None` for a third party that has yet to ask.
    ///
    /// # Errors
    /// [`CredentialsError::Missing`] if there is half of it, [`CredentialsError::Unusable`] if it cannot be.
    pub fn access_token(&self) -> Result<Option<AccessToken>, CredentialsError> {
        if self.text(Field::AccessToken).is_none() && self.text(Field::AccessTokenSecret).is_none() {
            return Ok(None);
        }
        let token = self.required(Field::AccessToken)?;
        let secret = self.required(Field::AccessTokenSecret)?;
        let access_token = AccessToken::new(token.text.expose(), secret.text.expose());
        access_token.map(Some).map_err(|error| self.unusable(format!("{} or {}", token.source, secret.source), &error))
    }

    /// Puts an access token into the file of credentials at `path`, as a third party does when its user has consented.
    /// Everything else in the file stays as it is, and whatever happens meanwhile, the file is whole. Owner and mode stay, but
    /// nobody outside its group may read it.
    ///
    /// # Errors
    /// [`CredentialsError`] names the file and what is wrong; a TOML file that has an access token already is not changed.
    /// [`CredentialsError::Unwritable`] may come of the last step, after which the access token is in the file and may not
    /// outlast a power failure: read the file to know.
    pub fn store_access_token(path: impl AsRef<Path>, access_token: &AccessToken) -> Result<(), CredentialsError> {
        file::store_access_token(path.as_ref(), access_token)
    }

    /// Finds out whether an access token can be put into the file at `path`, before a user is asked for the consent that it
    /// comes of: replaces the file by itself, and needs as much room for that as the access token will.
    ///
    /// # Errors
    /// Those of [`store_access_token`](Self::store_access_token).
    pub fn try_storing(path: impl AsRef<Path>) -> Result<(), CredentialsError> {
        file::try_storing(path.as_ref())
    }

    /// Returns a session that has not logged in yet, with the access token if there is one.
    ///
    /// # Errors
    /// Those of [`consumer`](Self::consumer) and [`access_token`](Self::access_token).
    pub fn session(&self) -> Result<OAuthSession, CredentialsError> {
        let consumer = self.consumer()?.build();
        let consumer = consumer.map_err(|error| self.unusable("the credentials".to_owned(), &error))?;
        Ok(match self.access_token()? {
            Some(access_token) => OAuthSession::with_access_token(consumer, access_token),
            None => OAuthSession::new(consumer),
        })
    }

    /// Lets the doctor look at all there is. Takes a second or two.
    pub fn examine(&self) -> doctor::Report {
        doctor::examine(&self.for_doctor(), &mut rng())
    }

    /// Returns all there is as the doctor takes it, for more to be added: a clock to compare with, or what is missing.
    pub fn for_doctor(&self) -> doctor::Credentials<'_> {
        doctor::Credentials {
            consumer_key: self.text(Field::ConsumerKey),
            realm: self.text(Field::Realm),
            access_token: self.text(Field::AccessToken),
            access_token_secret: self.text(Field::AccessTokenSecret),
            signature_key: self.text(Field::SignatureKey),
            encryption_key: self.text(Field::EncryptionKey),
            dh_params: self.text(Field::DhParams),
            dh_generator: self.text(Field::DhGenerator).and_then(|generator| generator.parse().ok()),
            base_url: self.base_url(),
            ..doctor::Credentials::default()
        }
    }

    /// Returns how replicas with these credentials seal what they store for each other: under keys that are derived from the
    /// private encryption key, so that there is no other secret to hand out. Who has that key replaced logs in anew.
    ///
    /// # Errors
    /// [`CredentialsError::Missing`].
    #[cfg(feature = "fleet")]
    pub fn secrecy(&self) -> Result<ibkr_oauth_fleet::Secrecy, CredentialsError> {
        use ibkr_oauth_fleet::{Seal, Secrecy};
        use sha2::{Digest, Sha256};

        let secret = self.required(Field::EncryptionKey)?.text.expose();
        let seal = |purpose: &str| {
            let key = Sha256::new().chain_update(purpose).chain_update([0]).chain_update(secret).finalize();
            Seal::new(&zeroize::Zeroizing::new(key.into()))
        };
        Ok(Secrecy::sealed(seal("ibkr-oauth replicas: private"), seal("ibkr-oauth replicas: public")))
    }

    fn text(&self, field: Field) -> Option<&str> {
        self.pieces.get(&field).map(|piece| piece.text.expose().as_str())
    }

    fn required(&self, field: Field) -> Result<&Piece, CredentialsError> {
        self.pieces.get(&field).ok_or_else(|| CredentialsError::missing(field))
    }

    fn key(&self, field: Field) -> Result<RsaPrivateKey, CredentialsError> {
        let piece = self.required(field)?;
        RsaPrivateKey::from_pem(piece.text.expose()).map_err(|error| self.unusable(piece.source.to_string(), &error))
    }

    /// As a PEM block, or a bare prime.
    fn dh_params(&self) -> Result<DhParams, CredentialsError> {
        let piece = self.required(Field::DhParams)?;
        let (text, unusable) = (piece.text.expose(), |error| self.unusable(piece.source.to_string(), &error));
        match DhParams::from_pem(text) {
            Err(KeyError::NoPem) => DhParams::from_hex(text, self.dh_generator()?).map_err(unusable),
            params => params.map_err(unusable),
        }
    }

    fn dh_generator(&self) -> Result<u32, CredentialsError> {
        let Some(piece) = self.pieces.get(&Field::DhGenerator) else { return Ok(GENERATOR) };
        let generator = piece.text.expose().parse();
        generator.map_err(|_| self.unusable(piece.source.to_string(), &"it is no number"))
    }

    fn unusable(&self, source: String, cause: &dyn fmt::Display) -> CredentialsError {
        CredentialsError::Unusable { source_name: source, cause: cause.to_string(), report: Box::new(self.examine()) }
    }
}

impl Piece {
    /// Without white space around it, as files and copied texts have it.
    fn new(text: &str, source: Source) -> Self {
        Self { text: Secret::new(text.trim().to_owned()), source }
    }

    fn from_file(path: PathBuf, named_by: String) -> Result<Self, CredentialsError> {
        match read_secret(&path) {
            Ok(text) => Ok(Self::new(&text, Source::File { path, named_by })),
            Err(error) => Err(CredentialsError::unreadable(path, Some(named_by), &error)),
        }
    }
}

fn from_variables(
    field: Field,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<Piece>, CredentialsError> {
    for name in field.variables() {
        let Some(value) = variable(&name.text) else { continue };
        if name.is_of_file {
            return Piece::from_file(PathBuf::from(value), name.text).map(Some);
        }
        let value =
            Secret::new(value.into_string().map_err(|_| CredentialsError::NotText { name: name.text.clone() })?);
        return Ok(Some(Piece::new(with_line_breaks(value).expose(), Source::Variable(name.text))));
    }
    Ok(None)
}

/// A PEM block in a variable often has its line breaks written out.
fn with_line_breaks(value: Secret<String>) -> Secret<String> {
    match value.expose().contains("-----BEGIN") {
        true => Secret::new(value.expose().replace("\\n", "\n")),
        false => value,
    }
}

/// Shows what is there, and where it comes from.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.pieces.iter().map(|(field, piece)| (field, piece.source.to_string()))).finish()
    }
}
