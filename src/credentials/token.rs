//! Tokens: what the server or the self-service portal hands out.

use alloc::string::String;
use alloc::vec::Vec;
use base64::Engine;
use core::fmt;

use crate::credentials::error::TokenError;
use crate::encoding::BASE64;
use crate::secret;
use crate::secret::Secret;

/// Characters of the longest token, consumer key or realm accepted.
const MAX_LENGTH: usize = 256;

/// Characters of the longest access token secret accepted: base64 of an 8192-bit RSA block, with room.
pub(crate) const MAX_SECRET_LENGTH: usize = 2048;

/// A token in a form that can stand in a header.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(Secret<String>);

impl Token {
    pub(crate) fn new(text: &str) -> Result<Self, TokenError> {
        check_header_text(text)?;
        Ok(Self(Secret::new(String::from(text))))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.expose()
    }
}

/// Rejects what could break out of a quoted header value.
pub(crate) fn check_header_text(text: &str) -> Result<(), TokenError> {
    let harmless = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',');
    if text.is_empty() {
        return Err(TokenError::Empty);
    }
    if text.len() > MAX_LENGTH {
        return Err(TokenError::TooLong);
    }
    if text.bytes().all(harmless) { Ok(()) } else { Err(TokenError::Character) }
}

/// An access token and its secret, which is encrypted to the consumer's encryption key.
///
/// A first party gets both from the self-service portal, a third party at the end of the consent flow. The token is
/// permanent; making a new one in the portal makes the old *secret* worthless
/// ([protocol section 7](crate::protocol#section-7)).
///
/// ```
/// use ibkr_oauth::{AccessToken, TokenError};
/// let truncated = AccessToken::new("a1b2c3d4e5f6a7b8c9d0", "coPZc");
/// assert_eq!(truncated.unwrap_err(), TokenError::NotBase64 { characters: 5 });
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    token: Token,
    encrypted_secret: Secret<Vec<u8>>,
    account: Option<AccountKind>,
}

/// Whether an account trades with money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[allow(clippy::exhaustive_enums, reason = "an account is one or the other")]
pub enum AccountKind {
    /// Trades with money.
    Live,
    /// Trades on paper.
    Paper,
}

impl fmt::Display for AccountKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Paper => "paper",
        })
    }
}

impl AccountKind {
    /// As IBKR says it, in a field named `is_paper`.
    pub(crate) fn of(is_paper: bool) -> Self {
        if is_paper { Self::Paper } else { Self::Live }
    }
}

impl AccessToken {
    /// Reads a token from the texts that the portal shows: the token (20 hex digits) and the secret (base64). White
    /// space around and inside the secret, as pasted text has it, is ignored.
    ///
    /// # Errors
    /// [`TokenError`] names what is wrong. That the secret decrypts is seen when the first request is made.
    pub fn new(token: &str, secret: &str) -> Result<Self, TokenError> {
        Self::from_parts(Token::new(token.trim())?, secret)
    }

    /// The same, from a token that was checked.
    pub(crate) fn from_parts(token: Token, secret: &str) -> Result<Self, TokenError> {
        Ok(Self { token, encrypted_secret: decode_secret(secret)?, account: None })
    }

    /// Returns the same token, known to be for an account of this kind, as stored beside it.
    #[must_use]
    pub fn with_account_kind(self, account: AccountKind) -> Self {
        Self { account: Some(account), ..self }
    }

    /// Returns the token, as sent in `oauth_token`. With a live session it opens WebSockets: treat it as a secret.
    pub fn token(&self) -> &str {
        self.token.as_str()
    }

    /// Returns the encrypted secret in base64, for storing. Only the private encryption key decrypts it.
    pub fn secret(&self) -> Secret<String> {
        Secret::new(BASE64.encode(self.encrypted_secret.expose()))
    }

    /// Returns whether the token is for a live or a paper trading account, where the server said (`is_paper`,
    /// [protocol section 6.1](crate::protocol#section-6-1)).
    pub fn account_kind(&self) -> Option<AccountKind> {
        self.account
    }

    pub(crate) fn oauth_token(&self) -> Token {
        self.token.clone()
    }

    pub(crate) fn encrypted_secret(&self) -> &[u8] {
        self.encrypted_secret.expose()
    }
}

fn decode_secret(base64: &str) -> Result<Secret<Vec<u8>>, TokenError> {
    let compact = secret::without(base64, char::is_whitespace);
    if compact.is_empty() {
        return Err(TokenError::Empty);
    }
    if compact.len() > MAX_SECRET_LENGTH {
        return Err(TokenError::TooLong);
    }
    let bytes = BASE64.decode(compact.as_bytes());
    bytes.map(Secret::new).map_err(|_| TokenError::NotBase64 { characters: compact.len() })
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("account", &self.account).finish_non_exhaustive()
    }
}
