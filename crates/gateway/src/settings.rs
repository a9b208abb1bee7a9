//! What is not known about IBKR, or differs between its servers: to be set as a test needs it.

use std::time::Duration;

use crate::Gateway;

/// Which live session tokens of one access token are valid, since it is not known which are at IBKR (protocol section
/// 13).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum LiveSessionTokens {
    /// Only the newest: a new one invalidates those before it, and the WebSockets that were opened with them. This is
    /// the default, because it is what is hardest on a client.
    #[default]
    NewestOnly,
    /// The newest sixteen.
    Several,
}

/// What the signature of an API request must cover if the request has a query, since clients differ (protocol sections
/// 3.4 and 14.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum QueryPolicy {
    /// Whatever clients are known to sign.
    #[default]
    Any,
    /// The query, among the parameters.
    Fold,
    /// Nothing of the query.
    Exclude,
    /// Requests with a query are rejected, however they are signed.
    Reject,
}

/// What a `+` in a query is to a signature that covers the query, which is not documented (protocol section 3.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum PlusInQuery {
    /// A space, as in a form.
    #[default]
    Space,
    /// Itself, as in a path.
    Plus,
}

/// What `live_session_token_expiration` says, since sources differ (protocol section 6.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum ExpirationField {
    /// When the token expires.
    #[default]
    Expiry,
    /// When the token was computed, a day before it expires.
    TimeOfComputation,
}

/// The response to an API request with a dead live session token: one that has expired, was logged out, or has given
/// way to a newer one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum DeadTokenResponse {
    /// With 401.
    #[default]
    Unauthorized,
    /// With 302, to the page where people log in.
    RedirectToLogin,
    /// With status 200, and that page for a body.
    LoginPage,
}

/// How a [`Gateway`] is set.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) live_session_tokens: LiveSessionTokens,
    pub(crate) query_policy: QueryPolicy,
    pub(crate) plus_in_query: PlusInQuery,
    pub(crate) expiration_field: ExpirationField,
    pub(crate) dead_token_response: DeadTokenResponse,
    pub(crate) accounts_delay: Duration,
}

impl Gateway {
    /// Sets how far a timestamp may be from now, either way: five minutes at first.
    pub fn set_timestamp_window(&mut self, window: Duration) {
        self.replay.set_window(window);
    }

    /// Sets which live session tokens of one access token are valid: only the newest at first.
    ///
    /// What is invalid by then stays so.
    pub fn set_live_session_tokens(&mut self, valid: LiveSessionTokens) {
        self.settings.live_session_tokens = valid;
    }

    /// Sets what the signature of an API request with a query must cover: at first, whatever clients are known to sign.
    pub fn set_query_policy(&mut self, policy: QueryPolicy) {
        self.settings.query_policy = policy;
    }

    /// Sets what a `+` in a query is to a signature that covers the query: a space at first.
    pub fn set_plus_in_query(&mut self, plus: PlusInQuery) {
        self.settings.plus_in_query = plus;
    }

    /// Sets what `live_session_token_expiration` says: the expiry at first.
    pub fn set_expiration_field(&mut self, field: ExpirationField) {
        self.settings.expiration_field = field;
    }

    /// Sets how an API request with a dead live session token is answered: with 401 at first.
    pub fn set_dead_token_response(&mut self, response: DeadTokenResponse) {
        self.settings.dead_token_response = response;
    }

    /// Sets how long `/iserver/accounts` is empty after a brokerage session was opened, and all else under `/iserver`
    /// is answered with 400, `no bridge` (protocol section 14.4): no time at first.
    pub fn set_accounts_delay(&mut self, delay: Duration) {
        self.settings.accounts_delay = delay;
    }
}
