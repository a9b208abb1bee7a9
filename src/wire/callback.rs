//! The OAuth callback: what the user's browser brings back from the consent page
//! ([protocol section 1](crate::protocol#section-1)).

use alloc::string::String;
use core::fmt;
use thiserror::Error;

use crate::credentials::error::TokenError;
use crate::credentials::token::Token;
use crate::secret::Secret;
use crate::signing::percent_encoding::decode_form;

/// Bytes of the longest callback looked at.
const MAX_LENGTH: usize = 8 * 1024;

/// Why a callback cannot be used. The request token goes on waiting for the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum CallbackError {
    /// More than 8 KiB.
    #[error("the callback is too long")]
    TooLong,
    /// A `%` without two hex digits, or bytes that are not UTF-8.
    #[error("the callback's query is not percent-encoded as it should be")]
    Encoding,
    /// `oauth_token` or `oauth_verifier` is not there: the user may have refused, or only part of the address was
    /// copied. A session that says so of `oauth_verifier` has found its own request token in the callback.
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
    /// A request token that cannot be one. IBKR's have 20 hex digits.
    #[error("the request token: {0}")]
    RequestToken(TokenError),
    /// A verifier that cannot be one. IBKR's have 20 hex digits.
    #[error("the verifier: {0}")]
    Verifier(TokenError),
}

/// What a user's browser brings back from the consent page: a request token, and the verifier if the user agreed.
///
/// A web application learns from it which of the logins it has begun goes on, before it hands the same URL to that
/// session. **Look only among those that this browser has begun**, by a cookie of yours: else somebody can start a
/// login, consent for an account of their own, and send the callback to a user of yours, who from then on acts on a
/// stranger's account without knowing ([RFC 5849 section 4.13](https://www.rfc-editor.org/rfc/rfc5849#section-4.13);
/// "login CSRF").
///
/// ```
/// use ibkr_oauth::{Callback, Error, OAuthSession};
/// /// `begun`: the logins of the browser that sends the request.
/// fn go_on(begun: &mut [OAuthSession], target: &str) -> Result<bool, Error> {
///     let callback = Callback::parse(target)?;
///     let session = begun.iter_mut().find(|session| session.request_token() == Some(callback.request_token()));
///     session.map_or(Ok(false), |session| session.handle_callback(target).map(|()| true))
/// }
/// let callback = Callback::parse("/back?user=7&oauth_token=b9082d68cfef06b030de&oauth_verifier=0ffb93ab9aa0d2177cc2")?;
/// assert_eq!(callback.request_token(), "b9082d68cfef06b030de");
/// # Ok::<(), Error>(())
/// ```
///
/// `Debug` shows neither, and the verifier is wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Callback {
    request_token: Token,
    verifier: Option<Token>,
}

impl Callback {
    /// Takes a whole URL, the target of the browser's request, or the bare query. Parameters that do not begin with
    /// `oauth_` are the registered URL's own and are ignored.
    ///
    /// # Errors
    /// [`CallbackError`] names what is wrong. That the verifier is missing is no error yet: see
    /// [`has_verifier`](Self::has_verifier).
    pub fn parse(url: &str) -> Result<Self, CallbackError> {
        if url.len() > MAX_LENGTH {
            return Err(CallbackError::TooLong);
        }
        let (mut request_token, mut verifier) = (None, None);
        for pair in query(url.trim()).split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match plain(name)?.expose().as_str() {
                "oauth_token" => fill(&mut request_token, "oauth_token", value)?,
                "oauth_verifier" => fill(&mut verifier, "oauth_verifier", value)?,
                other if other.starts_with("oauth_") => return Err(CallbackError::Foreign),
                _ => {}
            }
        }
        let request_token = request_token.ok_or(CallbackError::Missing { name: "oauth_token" })?;
        let token = |text: Secret<String>| Token::new(text.expose());
        Ok(Self {
            request_token: token(request_token).map_err(CallbackError::RequestToken)?,
            verifier: verifier.map(token).transpose().map_err(CallbackError::Verifier)?,
        })
    }

    /// Returns the request token: what [`OAuthSession::request_token`](crate::OAuthSession::request_token) says of the
    /// session that this callback is for.
    pub fn request_token(&self) -> &str {
        self.request_token.as_str()
    }

    /// Returns whether there is a verifier. Without one the user has refused, or the address is cut off. The two cannot
    /// be told apart; the request token is known in both.
    pub fn has_verifier(&self) -> bool {
        self.verifier.is_some()
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").field("has_verifier", &self.has_verifier()).finish_non_exhaustive()
    }
}

/// The verifier in the callback `url`, if the callback is for `request_token`.
pub(crate) fn verifier(url: &str, request_token: &Token) -> Result<Token, CallbackError> {
    let callback = Callback::parse(url)?;
    if callback.request_token != *request_token {
        return Err(CallbackError::OtherRequestToken);
    }
    callback.verifier.ok_or(CallbackError::Missing { name: "oauth_verifier" })
}

fn query(callback: &str) -> &str {
    let without_fragment = callback.split('#').next().unwrap_or(callback);
    without_fragment.split_once('?').map_or(without_fragment, |(_, query)| query)
}

fn fill(slot: &mut Option<Secret<String>>, name: &'static str, value: &str) -> Result<(), CallbackError> {
    match slot.replace(plain(value)?) {
        Some(_) => Err(CallbackError::Duplicate { name }),
        None => Ok(()),
    }
}

fn plain(encoded: &str) -> Result<Secret<String>, CallbackError> {
    decode_form(encoded).map(Secret::new).map_err(|_| CallbackError::Encoding)
}
