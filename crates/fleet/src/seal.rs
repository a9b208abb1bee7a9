//! Authenticated encryption of secrets, which the store, and who reads its backups, cannot read.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use std::fmt;
use zeroize::Zeroizing;

const NONCE: usize = 24;

/// A key of yours that encrypts bytes with XChaCha20-Poly1305 (`draft-irtf-cfrg-xchacha`). Give owners and followers
/// different keys: followers need no access token secret.
///
/// Each ciphertext is bound to a name: what was sealed for one user decrypts for no other. It does not say how old it is:
/// whoever can write to the store can put back what was sealed for this user before.
#[derive(Clone)]
pub struct Seal {
    cipher: XChaCha20Poly1305,
    older: Vec<XChaCha20Poly1305>,
}

impl Seal {
    /// Encrypts and decrypts with this key: 32 bytes that nobody can guess.
    pub fn new(key: &[u8; 32]) -> Self {
        Self { cipher: XChaCha20Poly1305::new(&Key::from(*key)), older: Vec::new() }
    }

    /// Decrypts what was sealed with an older key, too. So keys are replaced: first all members get both keys, then the older
    /// is dropped when everything is written anew, a day later.
    #[must_use]
    pub fn with_older(mut self, key: &[u8; 32]) -> Self {
        self.older.push(XChaCha20Poly1305::new(&Key::from(*key)));
        self
    }

    /// Encrypts `secret` for `name`. `nonce` must be drawn anew, from a cryptographic random source, for each call.
    pub fn seal(&self, name: &str, secret: &[u8], nonce: [u8; NONCE]) -> Vec<u8> {
        let payload = Payload { msg: secret, aad: name.as_bytes() };
        // It fails for messages of 256 GiB only.
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).unwrap_or_default();
        [&nonce[..], &sealed].concat()
    }

    /// Decrypts what was sealed for `name`; `None` if it was not, or was changed since. The result is wiped on drop.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let ciphers = [&self.cipher].into_iter().chain(&self.older);
        let open = |cipher: &XChaCha20Poly1305| {
            cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: name.as_bytes() }).ok()
        };
        ciphers.into_iter().find_map(open).map(Zeroizing::new)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_under_its_name_and_key_only() {
        let (old, new) = (Seal::new(&[1; 32]), Seal::new(&[2; 32]));
        let sealed = old.seal("alice", b"secret", [7; 24]);
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(old.open("alice", &sealed).unwrap().as_slice(), b"secret");
        assert!(old.open("bob", &sealed).is_none(), "of another user");
        assert!(new.open("alice", &sealed).is_none(), "under another key");
        assert_eq!(new.with_older(&[1; 32]).open("alice", &sealed).unwrap().as_slice(), b"secret");
        for place in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[place] ^= 1;
            assert!(old.open("alice", &damaged).is_none());
            assert!(old.open("alice", &sealed[..place]).is_none());
        }
    }
}
