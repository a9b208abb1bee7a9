//! The live session token: derived from the Diffie-Hellman secret, proved by the server's MAC, or not made at all.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

use crate::Secret;
use crate::diffie_hellman::SharedSecret;
use crate::error::Error;

/// A live session token which the server has proved to hold too.
///
/// The proof is part of making one: there is no other constructor, so what cannot be proved cannot sign.
#[derive(Clone)]
pub(crate) struct LiveSessionToken {
    /// HMAC-SHA256 keyed with the 20 raw bytes of the token (protocol section 5, step 9).
    signer: Hmac<Sha256>,
}

impl LiveSessionToken {
    /// Protocol section 5, steps 7 and 8: the token is `HMAC-SHA1(K, prepend)`, and the server's
    /// `live_session_token_signature` is `HMAC-SHA1(token, consumer key)`. Compared in constant time.
    pub(crate) fn agree(
        shared_secret: &SharedSecret,
        prepend: &[u8],
        consumer_key: &str,
        server_proof: &[u8],
    ) -> Result<Self, Error> {
        let token = derive(shared_secret, prepend)?;
        keyed::<Hmac<Sha1>>(token.expose())?
            .chain_update(consumer_key)
            .verify_slice(server_proof)
            .map_err(|_| Error::LiveSessionMismatch)?;
        Ok(Self { signer: keyed(token.expose())? })
    }

    /// HMAC-SHA256 of a base string.
    pub(crate) fn sign(&self, base_string: &str) -> [u8; 32] {
        self.signer.clone().chain_update(base_string).finalize().into_bytes().into()
    }
}

fn derive(shared_secret: &SharedSecret, prepend: &[u8]) -> Result<Secret<[u8; 20]>, Error> {
    let mac = keyed::<Hmac<Sha1>>(shared_secret.to_java_bytes())?.chain_update(prepend);
    Ok(Secret::new(mac.finalize().into_bytes().into()))
}

/// HMAC takes keys of any length (RFC 2104 section 2), so this does not fail; the library's signature allows for MACs
/// that would.
fn keyed<M: KeyInit>(key: &[u8]) -> Result<M, Error> {
    M::new_from_slice(key).map_err(|_| Error::LiveSessionMismatch)
}
