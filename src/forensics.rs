//! Why a live session token does not match the server's proof: known mistakes, tried one by one.
//!
//! It runs only after the check has failed, and its outcome changes nothing but the error: a proof that fits a mistake
//! is no proof.

use alloc::vec::Vec;
use core::fmt;
use zeroize::Zeroizing;

use crate::diffie_hellman::trimmed;
use crate::live_session_token::{LiveSessionToken, derive};

/// What explains a live session token that does not match the server's proof of it.
///
/// All but the last two name a derivation which the server, or whatever answers in its place, has used instead of that of
/// protocol section 5. `Display` gives cause and remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mismatch {
    /// The Diffie-Hellman secret without Java's sign byte.
    SignByteLeftOut,
    /// The Diffie-Hellman secret padded to the length of the prime.
    SecretPadded,
    /// The Diffie-Hellman secret as hexadecimal text.
    SecretAsText,
    /// The prepend as hexadecimal text.
    PrependAsText,
    /// The access token secret as it is stored, still encrypted.
    SecretStillEncrypted,
    /// The server's Diffie-Hellman value in place of the secret.
    ResponseInPlaceOfSecret,
    /// Our Diffie-Hellman value in place of the secret.
    ChallengeInPlaceOfSecret,
    /// The consumer key in upper case: it was given in lower case here.
    ConsumerKeyInUpperCase,
    /// The consumer key in lower case.
    ConsumerKeyInLowerCase,
    /// None of the above, and the Diffie-Hellman parameters name another generator than 2. IBKR computes with 2 all the
    /// same, and so does this crate; another server may not.
    OtherGenerator,
    /// None of these. What remains: the Diffie-Hellman parameters are not the registered ones; the encryption key is not
    /// the registered one (a wrong key decrypts to other bytes instead of failing); the access token secret is not the
    /// newest one; somebody has changed the answer.
    Unexplained,
}

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

const OTHER_GENERATOR: &str = "the Diffie-Hellman parameters name another generator than 2; 2 was computed with, as IBKR \
     always does, so nothing has to be uploaded again, but another server may compute with theirs";
const WHAT_REMAINS: &str = "check that the Diffie-Hellman parameters and the encryption key are those registered with \
     the consumer key, and that the access token secret is the newest one; if they are, somebody changes the answers on \
     their way";

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instead = match self {
            Self::SignByteLeftOut => "the Diffie-Hellman secret without its sign byte",
            Self::SecretPadded => "the Diffie-Hellman secret padded to the length of the prime",
            Self::SecretAsText => "the Diffie-Hellman secret as text",
            Self::PrependAsText => "the prepend as text",
            Self::SecretStillEncrypted => "the access token secret without decrypting it",
            Self::ResponseInPlaceOfSecret => "its own Diffie-Hellman value in place of the secret",
            Self::ChallengeInPlaceOfSecret => "our Diffie-Hellman value in place of the secret",
            Self::ConsumerKeyInUpperCase => "the consumer key in upper case: write it so",
            Self::ConsumerKeyInLowerCase => "the consumer key in lower case",
            Self::OtherGenerator => return write!(f, "{OTHER_GENERATOR}; {WHAT_REMAINS}"),
            Self::Unexplained => return f.write_str(WHAT_REMAINS),
        };
        write!(f, "the server has used {instead}")
    }
}
