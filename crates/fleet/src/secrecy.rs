//! What a login looks like in the store.

use std::fmt;

use ibkr_oauth::rand_core::CryptoRng;
use ibkr_oauth::{SharedSession, Snapshot};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::keeper::Login;
#[cfg(feature = "seal")]
use crate::seal::Seal;
use crate::store::Entry;

/// How logins are written to the store, and read from it.
#[derive(Clone)]
pub struct Secrecy(Form);

#[derive(Clone)]
enum Form {
    Plain,
    #[cfg(feature = "seal")]
    Sealed {
        /// What followers do not have.
        private: Option<Seal>,
        public: Seal,
    },
}

/// Bytes of a snapshot, about: a buffer that grows would leave copies behind.
const LENGTH: usize = 4096;

impl Secrecy {
    /// Stores logins as they are: whoever can read the store can trade.
    pub fn plain() -> Self {
        Self(Form::Plain)
    }

    /// Encrypts logins: for owners under one key, for followers under another.
    #[cfg(feature = "seal")]
    pub fn sealed(private: Seal, public: Seal) -> Self {
        Self(Form::Sealed { private: Some(private), public })
    }

    /// Returns the half of [`sealed`](Self::sealed) that followers get.
    #[cfg(feature = "seal")]
    pub fn sealed_for_followers(public: Seal) -> Self {
        Self(Form::Sealed { private: None, public })
    }

    /// Reads what an owner shares with followers from the entry `key`; `None` if there is nothing to follow.
    pub fn shared(&self, key: &str, entry: &Entry) -> Option<SharedSession> {
        match &self.0 {
            Form::Plain => parsed(&Login::read(key, entry)?.public),
            #[cfg(feature = "seal")]
            Form::Sealed { public, .. } => parsed(&public.open(&public_name(key), &Login::read(key, entry)?.public)?),
        }
    }

    #[cfg_attr(not(feature = "seal"), allow(unused_variables, reason = "only a seal is bound to its key"))]
    pub(crate) fn snapshot(&self, key: &str, login: &Login) -> Option<Snapshot> {
        match &self.0 {
            Form::Plain => parsed(&login.private),
            #[cfg(feature = "seal")]
            Form::Sealed { private, .. } => parsed(&private.as_ref()?.open(&private_name(key), &login.private)?),
        }
    }

    #[cfg_attr(not(feature = "seal"), allow(unused_variables, reason = "only a seal is bound to its key"))]
    pub(crate) fn login(
        &self,
        key: &str,
        snapshot: &Snapshot,
        shared: Option<&SharedSession>,
        rng: &mut dyn CryptoRng,
    ) -> Login {
        let (private, public) = (text(snapshot), shared.map(text).unwrap_or_default());
        match &self.0 {
            Form::Plain => Login { private: private.to_vec(), public: public.to_vec() },
            #[cfg(feature = "seal")]
            Form::Sealed { private: seal, public: followers } => {
                let mut nonce = || {
                    let mut nonce = [0; 24];
                    rng.fill_bytes(&mut nonce);
                    nonce
                };
                let sealed = seal.as_ref().map(|seal| seal.seal(&private_name(key), &private, nonce()));
                let for_followers = followers.seal(&public_name(key), &public, nonce());
                Login { private: sealed.unwrap_or_default(), public: for_followers }
            }
        }
    }
}

#[cfg(feature = "seal")]
fn private_name(key: &str) -> String {
    format!("private {key}")
}

#[cfg(feature = "seal")]
fn public_name(key: &str) -> String {
    format!("public {key}")
}

fn parsed<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    serde_json::from_slice(text).ok()
}

fn text(value: &impl Serialize) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(LENGTH));
    match serde_json::to_writer(&mut *text, value) {
        Ok(()) => text,
        Err(_) => Zeroizing::default(),
    }
}

impl fmt::Debug for Secrecy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Plain => f.write_str("Plain"),
            #[cfg(feature = "seal")]
            Form::Sealed { .. } => f.write_str("Sealed"),
        }
    }
}
