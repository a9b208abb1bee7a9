//! Where the session is kept that all commands share.

use std::path::PathBuf;
use std::sync::Arc;

use ibkr_oauth::OAuthSession;
use ibkr_oauth_fleet::stores::{Postgres, Redis, StoreError};
use ibkr_oauth_tokio::{Credentials, Store};

use crate::exit::{Exit, Failure};

/// The table in PostgreSQL, and how keys in Redis begin.
const TABLE: &str = "ibkr_oauth";
const PREFIX: &str = "ibkr-oauth/";

/// A folder for the commands on one machine, or a store for those on any number.
#[derive(Clone)]
pub enum Place {
    Folder(PathBuf),
    Postgres(String),
    Redis(String),
}

impl Place {
    /// Reads what `--store` says.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            None => Ok(Self::Folder(PathBuf::from(text))),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(text.to_owned())),
            Some(("redis" | "valkey" | "redis+unix" | "unix", _)) => Ok(Self::Redis(text.to_owned())),
            Some(_) => Err("it is neither a folder nor a URL that begins with postgres:// or redis://".to_owned()),
        }
    }

    /// The folder for what a machine has for itself.
    pub fn folder(&self) -> Result<PathBuf, Failure> {
        match self {
            Self::Folder(folder) => Ok(folder.clone()),
            Self::Postgres(_) | Self::Redis(_) => Ok(Store::default_folder()?),
        }
    }

    /// Opens the store of this session.
    pub async fn open(&self, credentials: &Credentials, session: &OAuthSession) -> Result<Store, Failure> {
        match self {
            Self::Folder(folder) => Ok(Store::in_folder(folder, session)?),
            Self::Postgres(url) => {
                let config = url.parse().map_err(|_| unusable("it is no URL of PostgreSQL"))?;
                let store = Postgres::new(config, tokio_postgres::NoTls, TABLE);
                store.create_table().await.map_err(|error| unreachable_store(&error))?;
                Ok(Store::for_replicas(Arc::new(store), credentials.secrecy()?, session)?)
            }
            Self::Redis(url) => {
                let client = redis::Client::open(url.as_str()).map_err(|_| unusable("it is no URL of Redis"))?;
                let store = Redis::new(client, PREFIX);
                Ok(Store::for_replicas(Arc::new(store), credentials.secrecy()?, session)?)
            }
        }
    }
}

/// The URL is not shown: it may hold a password.
fn unusable(why: &str) -> Failure {
    Failure::new(Exit::Usage, format!("--store or IBKR_OAUTH_STORE: {why}"))
}

fn unreachable_store(error: &StoreError) -> Failure {
    Failure::new(Exit::File, error.to_string())
}
