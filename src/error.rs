//! Errors: misuse, unusable responses, rejections, keys, callbacks.

use alloc::string::String;
use core::time::Duration;
use thiserror::Error;

use crate::advice::diagnosis::{Advice, Diagnosis, Retry};
use crate::advice::mismatch::Mismatch;
use crate::credentials::error::{KeyError, TokenError};
use crate::time::UnixTime;
use crate::wire::callback::CallbackError;

/// Why a step did not happen. After any error the session is what it was before the call, except for what is known of
/// the server's clock (see [`OAuthSession::clock_skew`](crate::OAuthSession::clock_skew)).
///
/// No message holds a token, a key, a signature or a raw body. `Display` includes the cause, so `source` is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Error {
    /// The calling code breaks the contract, or its clock or random source does not work. Data from the network never
    /// causes this.
    #[error("wrong use of the session: {0}")]
    Misuse(Misuse),
    /// A 2xx response whose body cannot be used.
    #[error("unusable response: {0}")]
    Malformed(Malformed),
    /// The server, or something on the way to it, rejected the request.
    #[error("rejected: {0}")]
    Rejected(Rejected),
    /// The server's proof of the live session token does not match the token derived here
    /// ([protocol section 5](crate::protocol#section-5), step 8). Nothing was signed with it.
    #[error("the live session token does not match the server's proof of it: {0}")]
    LiveSessionMismatch(Mismatch),
    /// A private key could not do its work.
    #[error("private key: {0}")]
    Keys(KeyError),
    /// The browser brought back something other than the consent that was asked for.
    #[error("consent: {0}")]
    Callback(CallbackError),
    /// The live session token is past its expiry, so nothing was signed with it.
    #[error("the live session token expired at {at}: log in again")]
    Expired {
        /// When it expired.
        at: UnixTime,
    },
    /// There is no live session token now: the login is under way, or the session was logged out.
    #[error("there is no live session: the login is under way, or the session was logged out")]
    NoLiveSession,
    /// The queue of a client's own requests is full.
    #[error("{limit} requests are waiting already")]
    QueueFull {
        /// How many requests it holds.
        limit: usize,
    },
}

impl Error {
    /// What a rejection means.
    pub(crate) fn diagnosis(&self) -> Option<Diagnosis> {
        match self {
            Self::Rejected(rejected) => Some(rejected.diagnosis),
            _ => None,
        }
    }

    /// Returns what a retry at `now` or later may be worth. Advice, not policy; [`Backoff`](crate::Backoff) spreads it
    /// out.
    ///
    /// ```
    /// use ibkr_oauth::rand_core::CryptoRng;
    /// use ibkr_oauth::{Backoff, Error, Misuse, UnixTime};
    ///
    /// /// Returns when to try again, or `None` if somebody has to change something first.
    /// fn after(error: &Error, backoff: &mut Backoff, rng: &mut dyn CryptoRng, now: UnixTime) -> Option<UnixTime> {
    ///     backoff.next_attempt(error.retry(now), rng, now)
    /// }
    /// # use rand::SeedableRng;
    /// # let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    /// let (mut backoff, now) = (Backoff::default(), UnixTime::from_secs(1_714_650_000));
    /// let no_token = after(&Error::NoLiveSession, &mut backoff, &mut rng, now);
    /// assert!(no_token > Some(now));
    /// assert_eq!(after(&Error::Misuse(Misuse::InvalidPath), &mut backoff, &mut rng, now), None);
    /// backoff.reset(); // after a success: the next pause is short again
    /// ```
    pub fn retry(&self, now: UnixTime) -> Retry {
        let advice = match self {
            // A machine without a battery-backed clock waits for the network's time.
            Self::Misuse(Misuse::ClockOutOfRange) => Advice::Later(Duration::from_secs(60)),
            Self::Misuse(_) | Self::Keys(_) => Advice::Never,
            // Protocol section 5, step 4: IBKR's own demo asks again if the value is empty.
            Self::Malformed(Malformed::Missing { field: "diffie_hellman_response" }) => {
                Advice::Later(Duration::from_secs(1))
            }
            Self::Malformed(_) | Self::LiveSessionMismatch(_) => Advice::Later(Duration::from_secs(60)),
            Self::Rejected(rejected) => rejected.advice(),
            // The user may have refused. Any other callback was not for us, and the right one may still come.
            Self::Callback(CallbackError::Missing { name: "oauth_verifier" }) => Advice::Reauthorize,
            Self::Callback(_) => Advice::Never,
            Self::Expired { .. } | Self::NoLiveSession => Advice::LogIn,
            Self::QueueFull { .. } => Advice::Later(Duration::from_secs(1)),
        };
        match advice {
            Advice::Again => Retry::Again,
            Advice::Later(pause) => Retry::Later(now.saturating_add(pause)),
            Advice::LogIn => Retry::LogIn,
            Advice::OpenBrokerageSession => Retry::OpenBrokerageSession,
            Advice::Reauthorize => Retry::Reauthorize,
            Advice::Never => Retry::Never,
        }
    }
}

/// The shortest pause, so that `Retry-After: 0` does not cause a busy loop.
const SHORTEST_WISH: Duration = Duration::from_secs(1);

impl From<Misuse> for Error {
    fn from(misuse: Misuse) -> Self {
        Self::Misuse(misuse)
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Self::Keys(error)
    }
}

impl From<CallbackError> for Error {
    fn from(error: CallbackError) -> Self {
        Self::Callback(error)
    }
}

impl Rejected {
    /// The server's own wish goes first, but it does not shorten a penalty, nor the wait for a key that is not active
    /// yet.
    fn advice(&self) -> Advice {
        let is_fixed = matches!(
            self.diagnosis,
            Diagnosis::TooManyRequests | Diagnosis::RejectedAtTheEdge | Diagnosis::InvalidConsumer
        );
        match (self.diagnosis.advice(), self.retry_after) {
            (Advice::Later(pause), Some(wish)) if is_fixed => Advice::Later(pause.max(wish)),
            (Advice::Later(_), Some(wish)) => Advice::Later(wish.max(SHORTEST_WISH)),
            (advice, _) => advice,
        }
    }
}

/// A mistake in the calling code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Misuse {
    /// The exchange is another session's, or the session has moved on since it was handed out.
    #[error("this exchange is not the one the session waits for")]
    StaleExchange,
    /// A callback or verifier arrived while no request token waits for one.
    #[error("no request token waits for a verifier")]
    NoRequestToken,
    /// `oauth_timestamp` has ten digits ([protocol section 7](crate::protocol#section-7)): `now` must be between
    /// 2001-09-09 and 2106-02-07.
    #[error("`now` is not between the years 2001 and 2106: is the machine's clock set, and is `now` in milliseconds?")]
    ClockOutOfRange,
    /// A nonce or an exponent came out as nothing but zeros.
    #[error("the random source is broken")]
    BrokenRandomSource,
    /// The path of an API request must begin with `/` and be a valid URL path: no query, fragment, backslash, space or
    /// control character, every `%` followed by two hex digits, and no segment `.` or `..`, percent-encoded or not,
    /// because HTTP clients take those out of what was signed.
    #[error("the request path is not a URL path that begins with `/`")]
    InvalidPath,
    /// A raw query with a `%` without two hex digits, or with bytes that are not UTF-8; one that is sent verbatim, also
    /// with characters that no request line can hold.
    #[error("the query is not percent-encoded as it should be")]
    InvalidQuery,
    /// A body's media type with characters that no header can hold.
    #[error("the content type has characters that no header can hold")]
    InvalidContentType,
    /// Parameter names that begin with `oauth_` are the protocol's own
    /// ([RFC 5849 section 3.1](https://www.rfc-editor.org/rfc/rfc5849#section-3.1)).
    #[error("a parameter name begins with `oauth_`")]
    ReservedParameter,
}

/// What is wrong with a 2xx response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The body was rejected unread.
    #[error("the body has {length} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Bytes received.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// An HTML page, as from a proxy, a maintenance notice or a wrong base URL.
    #[error("the body is an HTML page, not JSON: is the base URL right?")]
    Html,
    /// Not a JSON object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// A field that the step cannot do without.
    #[error("`{field}` is missing")]
    Missing {
        /// The field's name.
        field: &'static str,
    },
    /// A field of the wrong JSON type.
    #[error("`{field}` has the wrong JSON type")]
    WrongType {
        /// The field's name.
        field: &'static str,
    },
    /// A field that should be hexadecimal.
    #[error("`{field}` is not hexadecimal")]
    NotHex {
        /// The field's name.
        field: &'static str,
    },
    /// A token or secret that cannot be used.
    #[error("`{field}`: {problem}")]
    Token {
        /// The field's name.
        field: &'static str,
        /// What is wrong with it.
        problem: TokenError,
    },
    /// The server's Diffie-Hellman value is outside 2..=p-2: the secret would be known to everybody.
    #[error("the server's Diffie-Hellman value is outside 2..=p-2")]
    DiffieHellmanOutOfRange,
}

/// A rejection by the server, or by something on the way to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Error)]
#[error("HTTP {status}: {reason} ({diagnosis})")]
#[non_exhaustive]
pub struct Rejected {
    /// The HTTP status.
    pub status: u16,
    /// What the server says, at most 200 characters, without control characters or anything that looks like a token.
    pub reason: String,
    /// What it means.
    pub diagnosis: Diagnosis,
    /// How long the server asks to wait (`Retry-After`), if it says.
    pub retry_after: Option<Duration>,
}
