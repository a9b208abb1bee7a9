//! Makes an HMAC (RFC 2104) from a key.

use hmac::KeyInit;

/// Returns a MAC with this key.
///
/// HMAC takes keys of any length, so there is always one; the library's signature allows for MACs that would not.
pub(crate) fn keyed<M: KeyInit>(key: &[u8]) -> Option<M> {
    M::new_from_slice(key).ok()
}
