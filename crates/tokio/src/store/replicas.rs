//! A session that replicas on any number of machines share, in a store of theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ibkr_oauth::rand_core::Rng;
use ibkr_oauth::{Secret, Snapshot};
use ibkr_oauth_fleet::Secrecy;
use ibkr_oauth_fleet::drivers::{LoginStore, StoredLogin};
use ibkr_oauth_fleet::stores;

use super::{Locked, Login, Place, StoreError, Work};
use crate::surroundings::rng;

/// How long a login waits for another replica's. A request that is sent much later than it was signed may be rejected; so the
/// client makes a new one then.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) struct Replicas<S> {
    key: String,
    login: Arc<LoginStore<S>>,
    /// Which version this process has last seen; 0 if there was no entry.
    seen: Arc<AtomicU64>,
}

impl<S: stores::Store + Send + Sync + 'static> Replicas<S> {
    pub(super) fn new(store: Arc<S>, key: &str, secrecy: Secrecy) -> Self {
        let mut random = [0; 16];
        rng().fill_bytes(&mut random);
        let login = Arc::new(LoginStore::new(store, key, secrecy, u128::from_ne_bytes(random)));
        Self { key: key.to_owned(), login, seen: Arc::default() }
    }

    async fn stored(&self) -> Result<StoredLogin, StoreError> {
        let stored = self.login.read().await.map_err(|error| self.unusable(&error.to_string()))?;
        if stored.version.is_some() && stored.snapshot.is_none() {
            tracing::warn!(place = %self.key, "the stored session cannot be read, and is replaced by the next login");
        }
        Ok(stored)
    }

    async fn newer(&self) -> Result<Option<Snapshot>, StoreError> {
        let stored = self.stored().await?;
        let version = stored.version.unwrap_or_default();
        let seen = self.seen.swap(version, Ordering::Relaxed);
        Ok(stored.snapshot.filter(|_| version != seen))
    }

    async fn locked(&self) -> Result<Locked, StoreError> {
        let why = "another replica logs in, or the store does not answer";
        let lock = self.login.lock(PATIENCE).await.ok_or_else(|| self.unusable(why))?;
        Ok(Locked(Box::new(lock)))
    }

    async fn written(&self, locked: Locked, login: Login) -> Result<(), StoreError> {
        let (place, seen) = (Arc::clone(&self.login), Arc::clone(&self.seen));
        let storing = tokio::spawn(async move {
            let _locked = locked;
            let over = Some(seen.load(Ordering::Relaxed)).filter(|version| *version > 0);
            let shared = login.shared.as_ref().map(Secret::expose);
            let version = place.keep(login.snapshot.expose(), shared, over, &mut rng()).await?;
            seen.store(version, Ordering::Relaxed);
            Ok::<_, stores::StoreError>(())
        });
        let outcome = storing.await.unwrap_or_else(|end| Err(stores::StoreError::new(end)));
        outcome.map_err(|error| self.unusable(&error.to_string()))
    }
}

impl<S: stores::Store + Send + Sync + 'static> Place for Replicas<S> {
    fn name(&self) -> String {
        self.key.clone()
    }

    fn unusable(&self, cause: &str) -> StoreError {
        StoreError::Replicas { cause: cause.to_owned() }
    }

    fn read(&self) -> Work<'_, Option<Snapshot>> {
        Box::pin(async {
            let stored = self.stored().await?;
            self.seen.store(stored.version.unwrap_or_default(), Ordering::Relaxed);
            Ok(stored.snapshot)
        })
    }

    fn news(&self) -> Work<'_, Option<Snapshot>> {
        Box::pin(self.newer())
    }

    fn keep(&self, locked: Locked, login: Login) -> Work<'_, ()> {
        Box::pin(self.written(locked, login))
    }

    fn lock(&self) -> Work<'_, Locked> {
        Box::pin(self.locked())
    }
}
