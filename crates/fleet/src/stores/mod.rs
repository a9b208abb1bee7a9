//! Stores on engines that you run already, for tokio.

#[cfg(feature = "folder")]
mod folder;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

#[cfg(feature = "folder")]
pub use folder::Folder;
#[cfg(feature = "postgres")]
pub use postgres::Postgres;
#[cfg(feature = "redis")]
pub use redis::Redis;

use std::future::Future;
use std::time::Duration;

use thiserror::Error;

use crate::store::{Answer, Operation};

/// No operation is waited for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Something that performs operations.
pub trait Store {
    /// Performs one operation.
    ///
    /// # Errors
    /// [`StoreError`]: whether the operation was done is not known, which to the machines is [`Answer::Unknown`].
    fn perform(&self, operation: &Operation) -> impl Future<Output = Result<Answer, StoreError>> + Send;
}

/// A store did not do what it was asked for, or did not say so. The message holds no value of an entry.
#[derive(Debug, Error)]
#[error("the store: {0}")]
pub struct StoreError(String);

impl StoreError {
    /// Returns the error of a store of your own. The message must hold no value of an entry, and no password.
    pub fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Gives up after a while.
pub(crate) async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| StoreError::new("no answer in time"))?
}
