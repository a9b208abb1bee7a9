//! Receipts of signed requests.

use crate::agreement::live_session_token::TokenId;
use crate::time::UnixTime;

/// When a request was signed, with which timestamp and which live session token. Keep it while the request is under
/// way, and hand it in with the response: a rejection is then blamed on what really caused it.
///
/// It holds no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt {
    asked_at: UnixTime,
    second: u32,
    token: Option<TokenId>,
}

impl Receipt {
    /// Of an API request that the live session token `token` signed.
    pub(crate) fn of_api(asked_at: UnixTime, second: u32, token: TokenId) -> Self {
        Self { asked_at, second, token: Some(token) }
    }

    /// Of one of the three OAuth requests.
    pub(crate) fn of_oauth(asked_at: UnixTime, second: u32) -> Self {
        Self { asked_at, second, token: None }
    }

    /// Returns when the request was signed, on the caller's clock.
    pub fn asked_at(&self) -> UnixTime {
        self.asked_at
    }

    /// The `oauth_timestamp` sent.
    pub(crate) fn second(&self) -> u32 {
        self.second
    }

    /// The live session token that signed; none for the three OAuth requests.
    pub(crate) fn token(&self) -> Option<TokenId> {
        self.token
    }
}
