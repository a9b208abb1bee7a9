//! A folder as a store, for one machine.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "files are what this store is made of")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fd_lock::RwLock;

use super::{Store, StoreError, in_time};
use crate::store::{Answer, Entry, Operation};

/// A store in a folder, for processes on one machine: a file for each entry, replaced whole or not at all, under one lock. Only
/// the owner of the files can read them. Not for network file systems, whose locks are not to be relied on.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder, if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be made.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(&path).map_err(StoreError::new)?;
        Ok(Self { path })
    }

    fn perform_now(&self, operation: &Operation) -> io::Result<Answer> {
        let mut options = OpenOptions::new();
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let lock = options.create(true).truncate(false).write(true).open(self.path.join("lock"))?;
        let mut lock = RwLock::new(lock);
        let _locked = lock.write()?;
        match operation {
            Operation::Read(keys) => {
                let entries = keys.iter().map(|key| self.read(key)).collect::<io::Result<_>>()?;
                Ok(Answer::Entries(entries))
            }
            Operation::Write { key, expected, value } => {
                if self.version(key)? != *expected {
                    return Ok(Answer::Conflict);
                }
                let version = expected.unwrap_or_default().saturating_add(1);
                self.write(key, version, value)?;
                Ok(Answer::Written(version))
            }
            Operation::Delete { key, expected } => {
                if self.version(key)? != Some(*expected) {
                    return Ok(Answer::Conflict);
                }
                fs::remove_file(self.file(key)?)?;
                self.sync()?;
                Ok(Answer::Deleted)
            }
        }
    }

    fn version(&self, key: &str) -> io::Result<Option<u64>> {
        Ok(self.read(key)?.map(|entry| entry.version))
    }

    fn read(&self, key: &str) -> io::Result<Option<Entry>> {
        let bytes = match fs::read(self.file(key)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let (version, value) = bytes.split_first_chunk().ok_or(io::ErrorKind::InvalidData)?;
        Ok(Some(Entry { version: u64::from_be_bytes(*version), value: value.to_vec() }))
    }

    fn write(&self, key: &str, version: u64, value: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
        file.write_all(&version.to_be_bytes())?;
        file.write_all(value)?;
        file.as_file().sync_all()?;
        file.persist(self.file(key)?)?;
        self.sync()
    }

    /// The names in the folder outlast a power failure too, where folders can be synced.
    fn sync(&self) -> io::Result<()> {
        if cfg!(unix) { File::open(&self.path)?.sync_all() } else { Ok(()) }
    }

    /// Keys become names without separators; no two keys have one name.
    fn file(&self, key: &str) -> io::Result<PathBuf> {
        let mut name = String::from("entry-");
        for byte in key.bytes() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'@' => name.push(char::from(byte)),
                _ => name.push_str(&format!("%{byte:02x}")),
            }
        }
        if name.len() > 250 { Err(io::ErrorKind::InvalidFilename.into()) } else { Ok(self.path.join(name)) }
    }
}

impl Store for Folder {
    async fn perform(&self, operation: &Operation) -> Result<Answer, StoreError> {
        let (store, operation) = (self.clone(), operation.clone());
        in_time(async move {
            let done = tokio::task::spawn_blocking(move || store.perform_now(&operation)).await;
            done.map_err(StoreError::new)?.map_err(StoreError::new)
        })
        .await
    }
}
