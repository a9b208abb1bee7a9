//! A reader-writer lock: `std::sync::RwLock`, or `spin`'s without `std`.

#[cfg(feature = "std")]
use std::sync::{PoisonError, RwLock};

#[cfg(not(feature = "std"))]
use spin::RwLock;

/// A value that many threads read and few write. Nothing that is done under it can panic or wait.
pub(crate) struct Lock<T>(RwLock<T>);

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(RwLock::new(value))
    }

    /// Calls `sees` with the value.
    pub(crate) fn read<R>(&self, sees: impl FnOnce(&T) -> R) -> R {
        #[cfg(feature = "std")]
        let value = self.0.read().unwrap_or_else(PoisonError::into_inner);
        #[cfg(not(feature = "std"))]
        let value = self.0.read();
        sees(&value)
    }

    /// Calls `changes` with the value.
    pub(crate) fn write<R>(&self, changes: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(feature = "std")]
        let mut value = self.0.write().unwrap_or_else(PoisonError::into_inner);
        #[cfg(not(feature = "std"))]
        let mut value = self.0.write();
        changes(&mut value)
    }
}
