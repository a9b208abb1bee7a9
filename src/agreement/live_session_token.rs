//! The live session token: derived from the Diffie-Hellman secret, and checked against the server's MAC.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::agreement::diffie_hellman::SharedSecret;
use crate::secret::Secret;
use crate::signing::mac::MacKey;

/// A live session token which the server has proved to hold too.
///
/// The proof is part of making one: no constructor goes without it, so what cannot be proved cannot sign.
#[derive(Clone)]
pub(crate) struct LiveSessionToken {
    id: TokenId,
    /// HMAC-SHA256 keyed with the 20 raw bytes of the token ([protocol section 5](crate::protocol#section-5), step 9).
    signer: MacKey,
    #[cfg(feature = "serde")]
    bytes: Secret<[u8; 20]>,
    #[cfg(feature = "serde")]
    proof: [u8; 20],
}

/// Tells one live session token from another without holding it: the beginning of the server's proof, which never signs
/// anything. The same token has the same id, however often it is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TokenId([u8; 8]);

impl LiveSessionToken {
    /// [Protocol section 5](crate::protocol#section-5), steps 7 and 8: the token is `HMAC-SHA1(K, prepend)`, and the
    /// server's `live_session_token_signature` is `HMAC-SHA1(token, consumer key)`. Compared in constant time.
    pub(crate) fn agree(
        shared_secret: &SharedSecret,
        prepend: &[u8],
        consumer_key: &str,
        server_proof: &[u8],
    ) -> Option<Self> {
        Self::proved(derive(shared_secret.to_java_bytes(), prepend)?, consumer_key, server_proof)
    }

    /// The token of these 20 bytes, if `server_proof` is its proof.
    pub(crate) fn proved(token: Secret<[u8; 20]>, consumer_key: &str, server_proof: &[u8]) -> Option<Self> {
        let proof = keyed::<Hmac<Sha1>>(token.expose())?.chain_update(consumer_key);
        proof.verify_slice(server_proof).ok()?;
        Some(Self {
            id: TokenId(server_proof.first_chunk().copied()?),
            signer: MacKey::new(token.expose()),
            #[cfg(feature = "serde")]
            proof: server_proof.try_into().ok()?,
            #[cfg(feature = "serde")]
            bytes: token,
        })
    }

    /// Which token it is.
    pub(crate) fn id(&self) -> TokenId {
        self.id
    }

    /// The 20 bytes, for a snapshot.
    #[cfg(feature = "serde")]
    pub(crate) fn expose(&self) -> &[u8; 20] {
        self.bytes.expose()
    }

    /// The server's proof, for a snapshot.
    #[cfg(feature = "serde")]
    pub(crate) fn proof(&self) -> &[u8; 20] {
        &self.proof
    }

    /// What signs base strings.
    pub(crate) fn signer(&self) -> &MacKey {
        &self.signer
    }
}

/// [Protocol section 5](crate::protocol#section-5), step 7.
pub(crate) fn derive(shared_secret: &[u8], prepend: &[u8]) -> Option<Secret<[u8; 20]>> {
    let mac = keyed::<Hmac<Sha1>>(shared_secret)?.chain_update(prepend);
    Some(Secret::new(mac.finalize().into_bytes().into()))
}

/// HMAC takes keys of any length ([RFC 2104 section 2](https://www.rfc-editor.org/rfc/rfc2104#section-2)), so this does
/// not fail; the library's signature allows for MACs that would.
fn keyed<M: KeyInit>(key: &[u8]) -> Option<M> {
    M::new_from_slice(key).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::BASE64;
    use crate::signing::percent_encoding::write_to;
    use base64::Engine;

    /// The two worked values of IBKR's PDF: the proof of a token (section 7.4.4) and a request signed with it
    /// (section 7.5).
    #[test]
    fn ibkrs_worked_token_has_its_proof_and_signs_as_published() {
        let token = BASE64.decode(published!("ibkr/pdf-7.4.4-lst-validation/inputs/live_session_token.txt")).unwrap();
        let token = Secret::new(<[u8; 20]>::try_from(token).unwrap());
        let proof = published!("ibkr/pdf-7.4.4-lst-validation/outputs/live_session_token_signature.txt");
        let proof = base16ct::lower::decode_vec(proof).unwrap();
        let consumer_key = published!("ibkr/pdf-7.4.4-lst-validation/inputs/consumer_key.txt");
        let proved = LiveSessionToken::proved(token.clone(), consumer_key, &proof).unwrap();

        let base_string = published!("ibkr/pdf-7.5-protected-get-query-folded/outputs/base_string.txt");
        let mut mac = proved.signer().mac();
        write_to(&mut mac, |out| out.plain(base_string));
        assert_eq!(
            BASE64.encode(proved.signer().finish(&mac)),
            published!("ibkr/pdf-7.5-protected-get-query-folded/outputs/oauth_signature.txt")
        );

        for byte in 0..proof.len() {
            let mut forged = proof.clone();
            forged[byte] ^= 1;
            assert!(LiveSessionToken::proved(token.clone(), consumer_key, &forged).is_none());
        }
        assert!(LiveSessionToken::proved(token.clone(), consumer_key, &proof[..19]).is_none(), "a prefix is no proof");
        assert!(LiveSessionToken::proved(token.clone(), consumer_key, &[]).is_none(), "nothing is no proof");
        assert!(
            LiveSessionToken::proved(token.clone(), "testcons", &proof).is_none(),
            "the consumer key is part of the proof"
        );
    }
}
