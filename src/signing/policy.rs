//! How the server wants requests signed where sources disagree.

/// Whether the query of an API request is part of what is signed. Sources disagree (protocol sections
/// [3.4](crate::protocol#section-3-4) and [14.1](crate::protocol#section-14-1)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[allow(clippy::exhaustive_enums, reason = "a query is signed or it is not")]
pub enum QueryPolicy {
    /// Left out: IBKR's documentation of 2026 says so, and ibind, the client with the most users, does it.
    #[default]
    Exclude,
    /// Signed together with the `oauth_*` parameters, as in IBKR's guide of 2020 and the only worked API request that
    /// IBKR published. Try it if requests without a query work and requests with one get a 401.
    Fold,
}

impl QueryPolicy {
    /// Returns the other policy.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Exclude => Self::Fold,
            Self::Fold => Self::Exclude,
        }
    }
}

/// How names and values get into the base string.
///
/// The two differ only for characters that must be escaped; the three OAuth requests usually have none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[allow(clippy::exhaustive_enums, reason = "parameters are encoded once or twice")]
pub enum ParameterEncoding {
    /// `name=value&...` is encoded once, as a whole: what IBKR verifies.
    ///
    /// IBKR's published live session token request has `|` in a parameter; its signature fits `%7C` and does not fit
    /// `%257C` ([protocol section 3.1](crate::protocol#section-3-1)).
    #[default]
    Single,
    /// Names and values are encoded, joined, and encoded again, as
    /// [RFC 5849 section 3.4.1.3.2](https://www.rfc-editor.org/rfc/rfc5849#section-3.4.1.3.2) has it. Not what IBKR
    /// verifies; for comparing with other OAuth 1.0a implementations.
    Rfc5849,
}
