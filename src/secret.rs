//! Secrets: values that are wiped on drop and that `Debug` does not show.

use alloc::string::String;
use core::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// A value that is wiped from memory on drop and redacted by `Debug`.
///
/// Comparison takes the same time wherever the first difference is; lengths are not hidden.
///
/// ```
/// use ibkr_oauth::Secret;
/// let secret = Secret::new(String::from("hunter2"));
/// assert_eq!(format!("{secret:?}"), "[redacted]");
/// assert_eq!(secret.expose(), "hunter2");
/// ```
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Wraps `value`, which is wiped when it is dropped. Copies that the caller made before are the caller's to wipe.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// Returns the value itself. What is done with it is no longer protected.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.expose().as_ref().ct_eq(other.expose().as_ref()).into()
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// `text` without what is `unwanted`. One buffer, large enough from the start: one that grows leaves copies behind.
pub(crate) fn without(text: &str, unwanted: impl Fn(char) -> bool) -> Zeroizing<String> {
    let mut rest = Zeroizing::new(String::with_capacity(text.len()));
    rest.extend(text.chars().filter(|c| !unwanted(*c)));
    rest
}
