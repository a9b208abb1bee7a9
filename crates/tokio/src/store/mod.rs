//! One session for all processes of a user: a place, a lock, and no more logins than are needed.

mod file;
#[cfg(feature = "fleet")]
mod replicas;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::{env, fmt};

use ibkr_oauth::{Client, OAuthSession, Secret, SharedSession, Snapshot, SnapshotError};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::files::make_private_folder;
use crate::surroundings::now;
use file::SessionFile;

/// Bytes of the hash in a session's name.
const NAME_LENGTH: usize = 8;

/// Where a session is kept for any number of processes at once: whoever needs a new live session token takes the lock, looks
/// whether another process has stored one meanwhile, and asks for one only if not.
///
/// - For processes on one machine: a file, for its owner only, replaced whole or not at all. Beside it lies a lock, whose name
///   ends with `.lock`. Who reads the file can trade until the token expires.
/// - For processes on any number of machines: an entry in a store of `ibkr-oauth-fleet`, such as PostgreSQL or Redis
///   (`Store::for_replicas`, feature `fleet`).
///
/// ```no_run
/// use ibkr_oauth_tokio::{Credentials, Store, WebApi};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let session = Credentials::from_environment()?.session()?;
/// let store = Store::in_folder(&Store::default_folder()?, &session)?;
/// let client = store.client(session).await?; // goes on where another process is
/// let (api, _) = WebApi::builder(client).store(store).start()?;
/// # Ok(()) }
/// ```
pub struct Store {
    place: Box<dyn Place>,
}

/// Why a session cannot be stored or read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file cannot be read, or holds something else. It is not replaced.
    #[error("{} cannot be read, and is not replaced: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The file, or its folder, cannot be written.
    #[error("{} cannot be written: {cause}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The lock cannot be taken: another process has it, or the system refuses.
    #[error("{} cannot be locked: {cause}", path.display())]
    Lock {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The store that replicas share did not do what it was asked for.
    #[error("the session of all replicas: {cause}")]
    Replicas {
        /// Why.
        cause: String,
    },
    /// There is no access token yet, to tell whose session it is.
    #[error("a session without an access token cannot be shared")]
    NoAccessToken,
    /// The system does not say where a user's files belong.
    #[error("there is no home folder to store sessions in")]
    NoHome,
}

impl Store {
    /// Returns the store in this file, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { place: Box::new(SessionFile::new(path.into())) }
    }

    /// Returns the store for the consumer key, access token and base URL of `session`, in a folder that is made if there is
    /// none. Sessions of other users and servers have other files there.
    ///
    /// # Errors
    /// [`StoreError::NoAccessToken`], and [`StoreError::Write`] if the folder cannot be made.
    pub fn in_folder(folder: &Path, session: &OAuthSession) -> Result<Self, StoreError> {
        let name = name(session)?;
        make_private_folder(folder)
            .map_err(|error| StoreError::Write { path: folder.to_owned(), cause: error.to_string() })?;
        Ok(Self::new(folder.join(format!("{name}.session"))))
    }

    /// Returns the store for the consumer key, access token and base URL of `session` that processes on any number of machines
    /// share through `store`. Each of them logs in, tickles and asks for the brokerage session by itself if it must, and has
    /// its own request limits: divide them with [`Pacing::shared_by`](ibkr_oauth::Pacing::shared_by).
    ///
    /// # Errors
    /// [`StoreError::NoAccessToken`].
    #[cfg(feature = "fleet")]
    pub fn for_replicas<S>(
        store: std::sync::Arc<S>,
        secrecy: ibkr_oauth_fleet::Secrecy,
        session: &OAuthSession,
    ) -> Result<Self, StoreError>
    where
        S: ibkr_oauth_fleet::stores::Store + Send + Sync + 'static,
    {
        let key = format!("login/{}", name(session)?);
        Ok(Self { place: Box::new(replicas::Replicas::new(store, &key, secrecy)) })
    }

    /// Returns where sessions of this user belong: `$XDG_STATE_HOME/ibkr-oauth`, `~/.local/state/ibkr-oauth` without that
    /// variable, and `%LOCALAPPDATA%\ibkr-oauth` on Windows.
    ///
    /// # Errors
    /// [`StoreError::NoHome`].
    pub fn default_folder() -> Result<PathBuf, StoreError> {
        let variable = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = match cfg!(windows) {
            true => variable("LOCALAPPDATA"),
            false => variable("XDG_STATE_HOME").or_else(|| Some(env::home_dir()?.join(".local/state"))),
        };
        Ok(base.ok_or(StoreError::NoHome)?.join("ibkr-oauth"))
    }

    /// Returns a client that goes on with the stored session, or with `session` if none is stored that is of use: one of
    /// another access token is not, nor one that another version wrote.
    ///
    /// # Errors
    /// [`StoreError::Read`] if the file cannot be read, holds something else, or is another consumer's;
    /// [`StoreError::Replicas`] if the store does not answer.
    pub async fn client(&self, session: OAuthSession) -> Result<Client, StoreError> {
        let Some(snapshot) = self.place.read().await? else { return Ok(Client::new(session)) };
        match Client::resume(session.consumer().clone(), &snapshot, now()) {
            Ok(client) if is_of_same_user(&client, &session) => Ok(client),
            Ok(_) => Ok(Client::new(session)),
            Err(SnapshotError::Foreign) => Err(self.place.unusable(&SnapshotError::Foreign.to_string())),
            Err(error) => {
                tracing::warn!(place = %self.place.name(), %error, "the stored session is not used");
                Ok(Client::new(session))
            }
        }
    }

    /// The stored session, if another process has stored one since this one last looked.
    pub(crate) async fn news(&self, _: &Locked) -> Result<Option<Snapshot>, StoreError> {
        self.place.news().await
    }

    /// Stores a login in the place of what was there, and lets go of the lock when it is stored: also if nobody waits for
    /// that any more.
    pub(crate) async fn keep(&self, locked: Locked, login: Login) -> Result<(), StoreError> {
        self.place.keep(locked, login).await
    }

    /// Stores what `login` gives once no other login is under way, unless another process has stored one meanwhile.
    pub(crate) async fn keep_unless_newer(&self, login: impl FnOnce() -> Login) -> Result<(), StoreError> {
        let locked = self.lock().await?;
        match self.news(&locked).await? {
            Some(_) => Ok(()),
            None => self.keep(locked, login()).await,
        }
    }

    pub(crate) async fn lock(&self) -> Result<Locked, StoreError> {
        self.place.lock().await
    }
}

/// What is stored of a login: for the next process, and for those who only sign.
pub(crate) struct Login {
    pub(crate) snapshot: Secret<Snapshot>,
    #[cfg_attr(not(feature = "fleet"), allow(dead_code, reason = "nobody follows a file"))]
    pub(crate) shared: Option<Secret<SharedSession>>,
}

/// While it is there, no other process logs in.
pub(crate) struct Locked(#[allow(dead_code, reason = "it is dropped")] Box<dyn Send + Sync>);

/// Where one session is kept.
trait Place: Send + Sync {
    /// How messages call it.
    fn name(&self) -> String;

    /// Why a session that was read is of no use.
    fn unusable(&self, cause: &str) -> StoreError;

    /// The stored session, if there is one.
    fn read(&self) -> Work<'_, Option<Snapshot>>;

    /// The stored session, if another process has stored one since this one last looked.
    fn news(&self) -> Work<'_, Option<Snapshot>>;

    /// Stores a login, and lets go of the lock then: also if nobody waits for that any more.
    fn keep(&self, locked: Locked, login: Login) -> Work<'_, ()>;

    /// Waits until no other process logs in.
    fn lock(&self) -> Work<'_, Locked>;
}

type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The name of a session: the same for all processes with the same consumer key, access token and base URL.
fn name(session: &OAuthSession) -> Result<String, StoreError> {
    let access_token = session.access_token().ok_or(StoreError::NoAccessToken)?;
    let consumer = session.consumer();
    let mut hash = Sha256::new();
    for part in [consumer.consumer_key(), access_token.token(), consumer.base_url()] {
        hash.update(part);
        hash.update([0]);
    }
    let hash = hash.finalize();
    let hash = base16ct::lower::encode_string(hash.get(..NAME_LENGTH).unwrap_or(&hash));
    Ok(format!("{}-{hash}", consumer.consumer_key()))
}

fn is_of_same_user(client: &Client, session: &OAuthSession) -> bool {
    match (client.access_token(), session.access_token()) {
        (Some(stored), Some(configured)) => {
            stored.token() == configured.token() && stored.secret() == configured.secret()
        }
        (_, configured) => configured.is_none(),
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.place.name()).finish()
    }
}
