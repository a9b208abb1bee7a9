//! Why a live session token does not match the server's proof: known mistakes, tried one by one.
//!
//! It runs only after the check has failed. A match only chooses the error message; the login still fails.

use alloc::vec::Vec;
use zeroize::Zeroizing;

use crate::advice::mismatch::Mismatch;
use crate::agreement::live_session_token::{LiveSessionToken, derive};
use crate::encoding::trimmed;

/// All that went into the failed check.
pub(crate) struct Evidence<'a> {
    /// `K`, big-endian, as Java writes it.
    pub(crate) shared_secret: &'a [u8],
    /// Bytes of the prime.
    pub(crate) prime_length: usize,
    /// Whether the parameters name the generator 2.
    pub(crate) names_two: bool,
    /// `A`, big-endian.
    pub(crate) challenge: &'a [u8],
    /// `B`, as received.
    pub(crate) response: &'a [u8],
    pub(crate) prepend: &'a [u8],
    pub(crate) encrypted_secret: &'a [u8],
    pub(crate) consumer_key: &'a str,
    pub(crate) proof: &'a [u8],
}

impl Evidence<'_> {
    /// The first known mistake that leads to the server's proof.
    pub(crate) fn explain(&self) -> Mismatch {
        let significant = trimmed(self.shared_secret);
        let padded = left_padded(significant, self.prime_length);
        let secret_text = Zeroizing::new(base16ct::lower::encode_string(significant));
        let prepend_text = Zeroizing::new(base16ct::lower::encode_string(self.prepend));
        let derivations: [(Mismatch, &[u8], &[u8]); 7] = [
            (Mismatch::SignByteLeftOut, significant, self.prepend),
            (Mismatch::SecretPadded, &padded, self.prepend),
            (Mismatch::SecretAsText, secret_text.as_bytes(), self.prepend),
            (Mismatch::PrependAsText, self.shared_secret, prepend_text.as_bytes()),
            (Mismatch::SecretStillEncrypted, self.shared_secret, self.encrypted_secret),
            (Mismatch::ResponseInPlaceOfSecret, self.response, self.prepend),
            (Mismatch::ChallengeInPlaceOfSecret, self.challenge, self.prepend),
        ];
        let consumer_keys = [
            (Mismatch::ConsumerKeyInUpperCase, self.consumer_key.to_ascii_uppercase()),
            (Mismatch::ConsumerKeyInLowerCase, self.consumer_key.to_ascii_lowercase()),
        ];
        let by_derivation =
            derivations.into_iter().filter(|(_, key, message)| self.is_proved(key, message, self.consumer_key));
        let by_consumer_key = consumer_keys
            .iter()
            .filter(|(_, consumer_key)| self.is_proved(self.shared_secret, self.prepend, consumer_key));
        let found = by_derivation.map(|(mismatch, ..)| mismatch).chain(by_consumer_key.map(|(mismatch, _)| *mismatch));
        found.into_iter().next().unwrap_or_else(|| self.unexplained())
    }

    fn unexplained(&self) -> Mismatch {
        if self.names_two { Mismatch::Unexplained } else { Mismatch::OtherGenerator }
    }

    fn is_proved(&self, key: &[u8], message: &[u8], consumer_key: &str) -> bool {
        let token = derive(key, message);
        token.is_some_and(|token| LiveSessionToken::proved(token, consumer_key, self.proof).is_some())
    }
}

fn left_padded(bytes: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut padded = Vec::with_capacity(length.max(bytes.len()));
    padded.resize(length.saturating_sub(bytes.len()), 0);
    padded.extend_from_slice(bytes);
    Zeroizing::new(padded)
}
