//! Why a live session token does not match the server's proof.

use core::fmt;

/// What explains a live session token that does not match the server's proof of it.
///
/// All but the last two name a derivation which the server, or whatever responds in its place, has used instead of that
/// of [protocol section 5](crate::protocol#section-5). `Display` gives cause and remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
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
    /// newest one; somebody has changed the response.
    Unexplained,
}

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

const OTHER_GENERATOR: &str = "the Diffie-Hellman parameters name another generator than 2; 2 was computed with, as IBKR \
     always does, so nothing has to be uploaded again, but another server may compute with theirs";
const WHAT_REMAINS: &str = "check that the Diffie-Hellman parameters and the encryption key are those registered with \
     the consumer key, and that the access token secret is the newest one; if they are, somebody changes the responses on \
     their way";
