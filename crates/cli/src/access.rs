//! Who logs in, where to, and where the session is stored.

use std::path::PathBuf;

use clap::Args;
use ibkr_oauth_tokio::{Credentials, Store};

use crate::exit::Failure;

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
    /// The folder of stored sessions, which all commands share [default: ~/.local/state/ibkr-oauth]
    #[arg(long, value_name = "FOLDER", env = "IBKR_OAUTH_STORE")]
    store: Option<PathBuf>,
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
        Self { source: Source::of(credentials), store }
    }

    pub fn credentials(&self) -> Result<Credentials, Failure> {
        self.source.credentials()
    }

    pub fn folder(&self) -> Result<PathBuf, Failure> {
        Ok(self.store.clone().map_or_else(Store::default_folder, Ok)?)
    }
}
