//! One session for all processes of a user: a file, a lock, and no more logins than are needed.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, io};

use ibkr_oauth::{Client, OAuthSession, Secret, Snapshot, SnapshotError};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use zeroize::Zeroizing;

use crate::files::{FileLock, make_private_folder, read_secret, replace};
use crate::surroundings::now;

/// How long a login waits for another process's.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often who waits looks whether it is its turn.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes that a stored session has at most, about.
const EXPECTED_LENGTH: usize = 8 * 1024;
/// Bytes of the hash in a file's name.
const NAME_LENGTH: usize = 8;

/// A session in a file, for any number of processes at once: whoever needs a new live session token takes the lock, looks
/// whether another process has stored one meanwhile, and asks for one only if not.
///
/// The file is for its owner only, and replaced whole or not at all. Beside it lies a lock, whose name ends with `.lock`.
/// Who reads the file can trade until the token expires.
///
/// ```no_run
/// use ibkr_oauth_tokio::{Credentials, Store, WebApi};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let session = Credentials::from_environment()?.session()?;
/// let store = Store::in_folder(&Store::default_folder()?, &session)?;
/// let client = store.client(session)?; // goes on where another process is
/// let (api, _) = WebApi::builder(client).store(store).start()?;
/// # Ok(()) }
/// ```
pub struct Store {
    path: PathBuf,
    /// What this process has last seen in the file.
    seen: Mutex<Option<Fingerprint>>,
}

/// Of the file's content; `None` of a file that is not there.
type Fingerprint = Option<[u8; 32]>;

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
        Self { path: path.into(), seen: Mutex::new(None) }
    }

    /// Returns the store for the consumer key, access token and base URL of `session`, in a folder that is made if there is
    /// none. Sessions of other users and servers have other files there.
    ///
    /// # Errors
    /// [`StoreError::NoAccessToken`], and [`StoreError::Write`] if the folder cannot be made.
    pub fn in_folder(folder: &Path, session: &OAuthSession) -> Result<Self, StoreError> {
        let access_token = session.access_token().ok_or(StoreError::NoAccessToken)?;
        make_private_folder(folder)
            .map_err(|error| StoreError::Write { path: folder.to_owned(), cause: error.to_string() })?;
        let consumer = session.consumer();
        let mut hash = Sha256::new();
        for part in [consumer.consumer_key(), access_token.token(), consumer.base_url()] {
            hash.update(part);
            hash.update([0]);
        }
        let hash = hash.finalize();
        let hash = base16ct::lower::encode_string(hash.get(..NAME_LENGTH).unwrap_or(&hash));
        Ok(Self::new(folder.join(format!("{}-{hash}.session", consumer.consumer_key()))))
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

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a client that goes on with the stored session, or with `session` if none is stored that is of use: one of
    /// another access token is not, nor one that another version wrote.
    ///
    /// # Errors
    /// [`StoreError::Read`] if the file cannot be read, holds something else, or is another consumer's.
    pub fn client(&self, session: OAuthSession) -> Result<Client, StoreError> {
        let Some(snapshot) = self.read()? else { return Ok(Client::new(session)) };
        match Client::resume(session.consumer().clone(), &snapshot, now()) {
            Ok(client) if is_of_same_user(&client, &session) => Ok(client),
            Ok(_) => Ok(Client::new(session)),
            Err(SnapshotError::Foreign) => Err(self.unreadable(&SnapshotError::Foreign)),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the stored session is not used");
                Ok(Client::new(session))
            }
        }
    }

    /// The stored session; `None` if there is no file, or an empty one. What is no stored session may be something else.
    fn read(&self) -> Result<Option<Snapshot>, StoreError> {
        let content = match read_secret(&self.path) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::NotFound => Zeroizing::default(),
            Err(error) => return Err(self.unreadable(&error)),
        };
        *self.seen() = Some(fingerprint(content.as_bytes()));
        if content.trim().is_empty() {
            return Ok(None);
        }
        // What is wrong with it is not said: it may quote a secret.
        serde_json::from_str(&content).map(Some).map_err(|_| self.unreadable(&"it is no stored session"))
    }

    /// The stored session, if another process has stored one since this one last looked.
    pub(crate) fn news(&self, _: &Locked) -> Result<Option<Snapshot>, StoreError> {
        let seen = *self.seen();
        let stored = self.read()?;
        Ok(stored.filter(|_| seen != *self.seen()))
    }

    /// Stores a session in the place of what was there, and lets go of the lock when it is stored: also if nobody waits for
    /// that any more.
    pub(crate) async fn keep(&self, locked: Locked, snapshot: Secret<Snapshot>) -> Result<(), StoreError> {
        let unwritable = |cause: String| StoreError::Write { path: self.path.clone(), cause };
        let json = written(&snapshot).map_err(|error| unwritable(error.to_string()))?;
        let fingerprint = fingerprint(&json);
        let path = self.path.clone();
        let storing = spawn_blocking(move || {
            let _locked = locked;
            replace(&path, &json)
        });
        let outcome = storing.await.unwrap_or_else(|end| Err(io::Error::other(end)));
        outcome.map_err(|error| unwritable(error.to_string()))?;
        *self.seen() = Some(fingerprint);
        Ok(())
    }

    /// Stores what `snapshot` gives once no other login is under way, unless another process has stored one meanwhile.
    pub(crate) async fn keep_unless_newer(
        &self,
        snapshot: impl FnOnce() -> Secret<Snapshot>,
    ) -> Result<(), StoreError> {
        let locked = self.lock().await?;
        match self.news(&locked)? {
            Some(_) => Ok(()),
            None => self.keep(locked, snapshot()).await,
        }
    }

    pub(crate) async fn lock(&self) -> Result<Locked, StoreError> {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        let begun = Instant::now();
        loop {
            let cause = match FileLock::try_new(&path) {
                Ok(Some(lock)) => return Ok(Locked { _lock: lock }),
                Ok(None) if begun.elapsed() < PATIENCE => {
                    sleep(PAUSE).await;
                    continue;
                }
                Ok(None) => format!("another process has had it for {} seconds", PATIENCE.as_secs()),
                Err(error) => error.to_string(),
            };
            return Err(StoreError::Lock { path, cause });
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Option<Fingerprint>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreadable(&self, cause: &dyn std::fmt::Display) -> StoreError {
        StoreError::Read { path: self.path.clone(), cause: cause.to_string() }
    }
}

/// While it is there, no other process logs in.
pub(crate) struct Locked {
    _lock: FileLock,
}

fn fingerprint(content: &[u8]) -> Fingerprint {
    (!content.is_empty()).then(|| Sha256::digest(content).into())
}

/// One buffer, large enough from the start: one that grows leaves copies behind.
fn written(snapshot: &Secret<Snapshot>) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let mut json = Zeroizing::new(Vec::with_capacity(EXPECTED_LENGTH));
    serde_json::to_writer(&mut *json, snapshot.expose())?;
    Ok(json)
}

fn is_of_same_user(client: &Client, session: &OAuthSession) -> bool {
    match (client.access_token(), session.access_token()) {
        (Some(stored), Some(configured)) => {
            stored.token() == configured.token() && stored.secret() == configured.secret()
        }
        (_, configured) => configured.is_none(),
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}
