//! Who logs in, where to, and where the session is stored.

use std::path::PathBuf;

use clap::Args;
use ibkr_oauth::OAuthSession;
use ibkr_oauth_tokio::{Credentials, Store};

use crate::exit::Failure;
use crate::store::Place;

/// Who logs in, and where to.
#[derive(Args)]
#[command(next_help_heading = "Credentials")]
pub struct Source {
    /// The file with the credentials, TOML or JSON; without it, IBKR_CREDENTIALS, IBKR_OAUTH_* and ibind's
    /// IBIND_OAUTH1A_* are read
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// The server, in place of that of the credentials
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
}

/// Who logs in, where to, and where the session is stored.
#[derive(Args)]
pub struct Access {
    #[command(flatten)]
    source: Source,
    /// The folder of stored sessions, which all commands share [default: ~/.local/state/ibkr-oauth]; or what commands on
    /// several machines share: postgres://HOST/DATABASE or redis://HOST, in the variable if it has a password
    #[arg(long, value_name = "FOLDER|URL", env = "IBKR_OAUTH_STORE", hide_env_values = true, value_parser = Place::parse)]
    store: Option<Place>,
}

impl Source {
    pub fn of(credentials: PathBuf) -> Self {
        Self { credentials: Some(credentials), base_url: None }
    }

    /// Whether a file is named on the command line.
    pub fn is_named(&self) -> bool {
        self.credentials.is_some()
    }

    pub fn credentials(&self) -> Result<Credentials, Failure> {
        let credentials = match &self.credentials {
            Some(file) => Credentials::from_file(file)?,
            None => Credentials::from_environment()?,
        };
        Ok(match &self.base_url {
            Some(url) => credentials.with_base_url(url),
            None => credentials,
        })
    }
}

impl Access {
    pub fn of(credentials: PathBuf, store: Option<PathBuf>) -> Self {
        Self { source: Source::of(credentials), store: store.map(Place::Folder) }
    }

    pub fn credentials(&self) -> Result<Credentials, Failure> {
        self.source.credentials()
    }

    /// Opens the store of this session.
    pub async fn open(&self, credentials: &Credentials, session: &OAuthSession) -> Result<Store, Failure> {
        self.place()?.open(credentials, session).await
    }

    /// The folder for what this machine has for itself.
    pub fn folder(&self) -> Result<PathBuf, Failure> {
        self.place()?.folder()
    }

    fn place(&self) -> Result<Place, Failure> {
        match &self.store {
            Some(place) => Ok(place.clone()),
            None => Ok(Place::Folder(Store::default_folder()?)),
        }
    }
}
