//! What the user's browser brings back from the consent page (protocol section 1).

use alloc::string::String;
use thiserror::Error;

use crate::percent_encoding::decode;
use crate::token::{Token, TokenError};

/// Bytes of the longest callback looked at.
const MAX_LENGTH: usize = 8 * 1024;

/// Why a callback cannot be used. The request token goes on waiting for the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallbackError {
    /// More than 8 KiB.
    #[error("the callback is too long")]
    TooLong,
    /// A `%` without two hex digits, or bytes that are not UTF-8.
    #[error("the callback's query is not percent-encoded as it should be")]
    Encoding,
    /// `oauth_token` or `oauth_verifier` is not there: the user may have refused, or only part of the address was
    /// copied.
    #[error("the callback has no `{name}`: did the user refuse, or is the address cut off?")]
    Missing {
        /// The parameter.
        name: &'static str,
    },
    /// `oauth_token` or `oauth_verifier` is there twice: somebody may have tampered with it.
    #[error("the callback has `{name}` more than once")]
    Duplicate {
        /// The parameter.
        name: &'static str,
    },
    /// A parameter that begins with `oauth_` and does not belong in a callback.
    #[error("the callback has an `oauth_` parameter that does not belong there")]
    Foreign,
    /// The callback belongs to another request token: an old browser tab, another user, or a forged link.
    #[error("the callback is for another request token")]
    OtherRequestToken,
    /// A verifier that cannot be one. IBKR's have 20 hex digits.
    #[error("the verifier: {0}")]
    Verifier(TokenError),
}

/// The verifier in `callback`, if the callback is for `request_token`.
///
/// Takes a whole URL, the target of the browser's request, or the bare query. Parameters that do not begin with
/// `oauth_` are the registered URL's own and are ignored.
pub(crate) fn verifier(callback: &str, request_token: &Token) -> Result<Token, CallbackError> {
    if callback.len() > MAX_LENGTH {
        return Err(CallbackError::TooLong);
    }
    let (mut token, mut verifier) = (None, None);
    for pair in query(callback.trim()).split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match plain(name)?.as_str() {
            "oauth_token" => fill(&mut token, "oauth_token", value)?,
            "oauth_verifier" => fill(&mut verifier, "oauth_verifier", value)?,
            other if other.starts_with("oauth_") => return Err(CallbackError::Foreign),
            _ => {}
        }
    }
    let token = token.ok_or(CallbackError::Missing { name: "oauth_token" })?;
    if Token::new(&token).ok().as_ref() != Some(request_token) {
        return Err(CallbackError::OtherRequestToken);
    }
    let verifier = verifier.ok_or(CallbackError::Missing { name: "oauth_verifier" })?;
    Token::new(&verifier).map_err(CallbackError::Verifier)
}

fn query(callback: &str) -> &str {
    let without_fragment = callback.split('#').next().unwrap_or(callback);
    without_fragment.split_once('?').map_or(without_fragment, |(_, query)| query)
}

fn fill(slot: &mut Option<String>, name: &'static str, value: &str) -> Result<(), CallbackError> {
    match slot.replace(plain(value)?) {
        Some(_) => Err(CallbackError::Duplicate { name }),
        None => Ok(()),
    }
}

/// Decodes as browsers encode forms: `+` is a space.
fn plain(encoded: &str) -> Result<String, CallbackError> {
    decode(&encoded.replace('+', " ")).map_err(|_| CallbackError::Encoding)
}
