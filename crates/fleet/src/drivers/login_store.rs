//! The login of one user among equals, on tokio.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ibkr_oauth::rand_core::CryptoRng;
use ibkr_oauth::{SharedSession, Snapshot};
use tokio::time::sleep;

use super::lock::{Held, LockDriver};
use crate::keeper::Login;
use crate::lock::Lock;
use crate::secrecy::Secrecy;
use crate::store::{Answer, Entry, Operation};
use crate::stores::{Store, StoreError, in_time};

/// After so long without a sign of life, another process may log in.
const TAKEOVER: Duration = Duration::from_secs(10);
/// How often a write is tried whose answer does not come, and how long after another.
const ATTEMPTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// Keeps the login of one user where equal processes on any number of machines find it: replicas behind a load balancer, each
/// with the credentials and a [`Client`](ibkr_oauth::Client) of its own. None of them owns the login. Whoever needs a new live
/// session token takes the lock, looks whether another process has stored one, and asks for one only if not.
///
/// What is stored is what an [`Owner`](crate::Owner) stores: a [`FollowerDriver`](super::FollowerDriver) can follow it. Do not
/// keep a login under one key by both.
pub struct LoginStore<S> {
    store: Arc<S>,
    key: String,
    secrecy: Secrecy,
    lock: LockDriver<S>,
}

/// While it is there, no other process logs in. Dropped, it lets the next one.
#[derive(Debug)]
pub struct LoginLock {
    _held: Held,
}

/// What is stored of a login.
#[derive(Debug)]
#[non_exhaustive]
pub struct StoredLogin {
    /// Which version it is; `None` if there is no entry.
    pub version: Option<u64>,
    /// The login; `None` if there is none, or it cannot be read: it is damaged, or sealed under another key.
    pub snapshot: Option<Snapshot>,
}

impl<S: Store + Send + Sync + 'static> LoginStore<S> {
    /// Returns the place of the login `key`. `random` must be drawn anew for each process.
    pub fn new(store: Arc<S>, key: &str, secrecy: Secrecy, random: u128) -> Self {
        let lock = LockDriver::new(Lock::new(&format!("{key}/lock"), TAKEOVER, random), Arc::clone(&store));
        Self { store, key: key.to_string(), secrecy, lock }
    }

    /// Returns what is stored.
    ///
    /// # Errors
    /// [`StoreError`] if the store does not answer.
    pub async fn read(&self) -> Result<StoredLogin, StoreError> {
        let entry = self.entry().await?;
        let login = entry.as_ref().and_then(|entry| Login::read(&self.key, entry));
        let snapshot = login.and_then(|login| self.secrecy.snapshot(&self.key, &login));
        Ok(StoredLogin { version: entry.map(|entry| entry.version), snapshot })
    }

    /// Waits until no other process logs in; `None` if that does not end within `patience`, or the store does not answer.
    /// A process that died while logging in blocks others for ten seconds.
    pub async fn lock(&self, patience: Duration) -> Option<LoginLock> {
        self.lock.acquire(patience).await.map(|held| LoginLock { _held: held })
    }

    /// Stores a login in the place of the version that was read, and returns the new version. Keep the lock until then.
    ///
    /// # Errors
    /// [`StoreError`] if another version is there by now, or the store does not answer.
    pub async fn keep(
        &self,
        snapshot: &Snapshot,
        shared: Option<&SharedSession>,
        over: Option<u64>,
        rng: &mut (dyn CryptoRng + Send),
    ) -> Result<u64, StoreError> {
        let value = self.secrecy.login(&self.key, snapshot, shared, rng).written(0, &self.key);
        let write = Operation::Write { key: self.key.clone(), expected: over, value: value.clone() };
        for _ in 0..ATTEMPTS {
            match in_time(self.store.perform(&write)).await {
                Ok(Answer::Written(version)) => return Ok(version),
                Ok(Answer::Conflict) => return self.own_version(&value).await,
                _ => sleep(PAUSE).await,
            }
        }
        Err(StoreError::new("no answer"))
    }

    /// The version that was written without that its answer has come.
    async fn own_version(&self, value: &[u8]) -> Result<u64, StoreError> {
        let own = self.entry().await?.filter(|entry| entry.value == value);
        own.map(|entry| entry.version).ok_or_else(|| StoreError::new("another process has stored a login meanwhile"))
    }

    async fn entry(&self) -> Result<Option<Entry>, StoreError> {
        match in_time(self.store.perform(&Operation::Read(vec![self.key.clone()]))).await? {
            Answer::Entries(entries) => Ok(entries.into_iter().next().flatten()),
            _ => Err(StoreError::new("no answer")),
        }
    }
}

impl<S> fmt::Debug for LoginStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginStore").field("key", &self.key).finish_non_exhaustive()
    }
}
