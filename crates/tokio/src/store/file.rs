//! A session in a file, for the processes on one machine.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ibkr_oauth::{Secret, Snapshot};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::{Locked, Login, Place, StoreError, Work};
use crate::files::{FileLock, read_secret, replace};

/// How long a login waits for another process's.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often who waits looks whether it is its turn.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes that a stored session has at most, about.
const EXPECTED_LENGTH: usize = 8 * 1024;

pub(super) struct SessionFile {
    path: PathBuf,
    /// What this process has last seen in the file.
    seen: Mutex<Option<Fingerprint>>,
}

/// Of the file's content; `None` of a file that is not there.
type Fingerprint = Option<[u8; 32]>;

impl SessionFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, seen: Mutex::new(None) }
    }

    /// The stored session; `None` if there is no file, or an empty one. What is no stored session may be something else.
    fn read_now(&self) -> Result<Option<Snapshot>, StoreError> {
        let content = match read_secret(&self.path) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::NotFound => Zeroizing::default(),
            Err(error) => return Err(self.unusable(&error.to_string())),
        };
        *self.seen() = Some(fingerprint(content.as_bytes()));
        if content.trim().is_empty() {
            return Ok(None);
        }
        // What is wrong with it is not said: it may quote a secret.
        serde_json::from_str(&content).map(Some).map_err(|_| self.unusable("it is no stored session"))
    }

    async fn replace(&self, locked: Locked, login: Login) -> Result<(), StoreError> {
        let unwritable = |cause: String| StoreError::Write { path: self.path.clone(), cause };
        let json = written(&login.snapshot).map_err(|error| unwritable(error.to_string()))?;
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

    async fn locked(&self) -> Result<Locked, StoreError> {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        let begun = Instant::now();
        loop {
            let cause = match FileLock::try_new(&path) {
                Ok(Some(lock)) => return Ok(Locked(Box::new(lock))),
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

    fn seen(&self) -> MutexGuard<'_, Option<Fingerprint>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place for SessionFile {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn unusable(&self, cause: &str) -> StoreError {
        StoreError::Read { path: self.path.clone(), cause: cause.to_owned() }
    }

    fn read(&self) -> Work<'_, Option<Snapshot>> {
        Box::pin(async { self.read_now() })
    }

    fn news(&self) -> Work<'_, Option<Snapshot>> {
        Box::pin(async {
            let seen = *self.seen();
            let stored = self.read_now()?;
            Ok(stored.filter(|_| seen != *self.seen()))
        })
    }

    fn keep(&self, locked: Locked, login: Login) -> Work<'_, ()> {
        Box::pin(self.replace(locked, login))
    }

    fn lock(&self) -> Work<'_, Locked> {
        Box::pin(self.locked())
    }
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
