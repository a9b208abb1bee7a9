//! What a rejection means, and what to do about it ([protocol section 6.2](crate::protocol#section-6-2)).

use core::fmt;
use core::time::Duration;

/// The named causes of rejections. [`Rejected::diagnosis`](crate::Rejected::diagnosis) finds the one that fits.
///
/// `Display` gives cause and remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Diagnosis {
    /// A 401 whose `Date` shows that the request's timestamp was off by more than 2 seconds. The server's clock is
    /// known now: a fresh request has the right timestamp. If that is rejected too, the clock is not blamed again.
    ClockOff,
    /// A 401 to one request while the same live session token is accepted for others: the token is fine.
    RequestRejected,
    /// 401 `invalid consumer`: the one response to a consumer key that is not active yet, a wrong key, realm, base string
    /// or signature, and a clock that is off.
    InvalidConsumer,
    /// 401 `LST failed ... No access secret key found`: the server does not know the access token, or not this secret.
    UnknownAccessToken,
    /// 401 `LST failed` without a detail.
    LiveSessionTokenFailed,
    /// 401 `Invalid signature`: an API request signed with a live session token that is not the newest.
    InvalidSignature,
    /// 401 `Access Denied` or `Unauthorized` to an API request: the live session token has expired, or was never valid.
    Unauthorized,
    /// Any other 401 to an OAuth request: the request token, verifier or access token is not, or no longer, valid.
    InvalidToken,
    /// 400 `no bridge`: `/iserver` needs a brokerage session, and there is none.
    NoBridge,
    /// Any other 400: the server could not read the request.
    MalformedRequest,
    /// 401 or 403 with an HTML page: rejected at the edge, before IBKR's servers.
    RejectedAtTheEdge,
    /// 410: the session is gone, or belongs to another server.
    Gone,
    /// 411: a POST arrived without `Content-Length`.
    LengthRequired,
    /// 429: too many requests.
    TooManyRequests,
    /// `failed to generate sso dh token`: the brokerage session cannot be built now, or another one competes.
    BrokerageSessionUnavailable,
    /// `failed to process request`: a tickle that did not work.
    TickleFailed,
    /// 503, or any other 5xx: maintenance, or a backend that takes too long. A status from 600 on counts as one
    /// ([RFC 9110 section 15](https://www.rfc-editor.org/rfc/rfc9110#section-15)).
    Unavailable,
    /// 3xx: something on the way sends requests elsewhere.
    Redirected,
    /// Nothing that is known.
    Unknown,
}

/// Advice on when to try again, and after what. The caller decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Retry {
    /// At once, with a fresh request: what was wrong with the rejected one (its timestamp) is right in the next. If
    /// that is rejected too, the advice is another.
    Again,
    /// Not before this moment.
    Later(crate::UnixTime),
    /// After a new login: hand the live session to [`OAuthSession::invalidate`](crate::OAuthSession::invalidate), and
    /// poll that session for a new live session token. Not at once if the last new token did not help either.
    LogIn,
    /// After a brokerage session was opened: [`BrokerageSession`](crate::brokerage::BrokerageSession).
    OpenBrokerageSession,
    /// Not with these tokens: a third party asks its user again, a first party makes a new token in the portal.
    Reauthorize,
    /// Not at all: something on this machine must be changed first.
    Never,
}

/// When to try again, before `now` is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    Again,
    Later(Duration),
    LogIn,
    OpenBrokerageSession,
    Reauthorize,
    Never,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// [Protocol section 8](crate::protocol#section-8): ten minutes in the penalty box.
const PENALTY: Duration = Duration::from_secs(10 * 60);
/// Consumer keys become active overnight at the earliest: asking every quarter of an hour is often enough.
const ACTIVATION: Duration = Duration::from_secs(15 * 60);

impl Diagnosis {
    /// Never looks at the `id` in a body: it differs with each response.
    pub(crate) fn of(status: u16, reason: &str, is_html: bool) -> Self {
        let reason = reason.to_ascii_lowercase();
        let says = |words: &str| reason.contains(words);
        match status {
            300..400 => Self::Redirected,
            400 if says("no bridge") => Self::NoBridge,
            400 => Self::MalformedRequest,
            // A page of HTML comes from a proxy or the edge, which know nothing of tokens.
            401 | 403 if is_html => Self::RejectedAtTheEdge,
            401 if says("invalid consumer") => Self::InvalidConsumer,
            401 if says("no access secret key found") => Self::UnknownAccessToken,
            401 if says("lst failed") => Self::LiveSessionTokenFailed,
            401 if says("invalid signature") => Self::InvalidSignature,
            401 => Self::Unauthorized,
            410 => Self::Gone,
            411 => Self::LengthRequired,
            429 => Self::TooManyRequests,
            408 | 500.. => Self::by_reason(&reason).unwrap_or(Self::Unavailable),
            _ => Self::by_reason(&reason).unwrap_or(Self::Unknown),
        }
    }

    /// What is said with different statuses.
    fn by_reason(reason: &str) -> Option<Self> {
        if reason.contains("failed to generate sso dh token") {
            return Some(Self::BrokerageSessionUnavailable);
        }
        reason.contains("failed to process request").then_some(Self::TickleFailed)
    }

    /// The same rejection, given to one of the three OAuth requests: no live session token was involved yet.
    pub(crate) fn of_login(self) -> Self {
        match self {
            Self::Unauthorized => Self::InvalidToken,
            other => other,
        }
    }

    /// Returns whether the live session token is what the server rejects: hand the live session to
    /// [`OAuthSession::invalidate`](crate::OAuthSession::invalidate), and poll that session for a new one.
    pub const fn rejects_live_session(self) -> bool {
        matches!(self, Self::Unauthorized | Self::InvalidSignature | Self::Gone)
    }

    /// Returns why the server rejected the request, in a sentence.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::ClockOff => "the timestamp of the request was not the server's time",
            Self::RequestRejected => {
                "the server accepts the live session token for other requests, but not for this one"
            }
            Self::InvalidConsumer => {
                "the server gives this one response if the consumer key is not active yet, is written in lower case, or \
                 does not go with the realm, and if a registered key is not the one that signs, or the clock is off"
            }
            Self::UnknownAccessToken => "the server knows no secret for this access token",
            Self::LiveSessionTokenFailed => "the server could not make a live session token and does not say why",
            Self::InvalidSignature => "the request is signed with a live session token that the server does not expect",
            Self::Unauthorized => "the live session token has expired, or the request was not signed",
            Self::InvalidToken => "the request token, verifier or access token is not valid, or no longer",
            Self::NoBridge => "there is no brokerage session behind the live session",
            Self::MalformedRequest => "the server could not read the request",
            Self::RejectedAtTheEdge => {
                "the request was rejected before it reached IBKR: no User-Agent, or a blocked address"
            }
            Self::Gone => "the session is gone, or this is not the server that has it",
            Self::LengthRequired => "a POST arrived without Content-Length: an HTTP client left the header out",
            Self::TooManyRequests => "too many requests",
            Self::BrokerageSessionUnavailable => {
                "the brokerage session cannot be built now, or another session of the same user competes"
            }
            Self::TickleFailed => "the server could not process the tickle",
            Self::Unavailable => "the server is in maintenance or overloaded",
            Self::Redirected => "something on the way sends the request elsewhere",
            Self::Unknown => "no known cause fits",
        }
    }

    /// Returns what to do, in a sentence.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::ClockOff => {
                "send a fresh request, whose timestamp is corrected; if it persists, set this machine's clock"
            }
            Self::RequestRejected => {
                "check that the user may call this endpoint; if only requests with a query are rejected, try the other \
                 QueryPolicy"
            }
            // Protocol section 7: sources disagree about the wait.
            Self::InvalidConsumer => {
                "check the credentials offline first; if they are fine, wait and do not make new keys: activation takes \
                 until after midnight in New York, Zug or Hong Kong by IBKR's documentation, until the weekend restart \
                 by its e-mails, and has taken two weeks"
            }
            Self::UnknownAccessToken => "make a new access token and secret, and use both",
            Self::LiveSessionTokenFailed => "try again in a minute; if it persists, make a new access token and secret",
            Self::InvalidSignature => {
                "fetch a new live session token; if only requests with a query are rejected, try the other QueryPolicy"
            }
            Self::Unauthorized => "fetch a new live session token",
            Self::InvalidToken => "ask the user for consent again, or make a new access token in the portal",
            Self::NoBridge => "open a brokerage session (/iserver/auth/ssodh/init), then repeat the request",
            Self::MalformedRequest => "send the request exactly as it was handed out",
            Self::RejectedAtTheEdge => {
                "send the User-Agent that was handed out; if it persists, ask IBKR about your address"
            }
            Self::Gone => "fetch a new live session token, or use another server, such as 1.api.ibkr.com",
            Self::LengthRequired => "send the Content-Length that was handed out, also when it is 0",
            Self::TooManyRequests => "pause: ten minutes after a 429, longer if it happens often",
            Self::BrokerageSessionUnavailable => {
                "tickle and try again; close other sessions of this user, or let yours compete"
            }
            Self::TickleFailed => "tickle again; if it persists, open a new brokerage session",
            Self::Unavailable => "try again later; IBKR restarts nightly and maintains on Saturday evening",
            Self::Redirected => "check the base URL and any proxy",
            Self::Unknown => "see the reason that the server gave",
        }
    }

    pub(crate) const fn advice(self) -> Advice {
        match self {
            Self::ClockOff => Advice::Again,
            Self::InvalidSignature | Self::Unauthorized | Self::Gone => Advice::LogIn,
            Self::NoBridge => Advice::OpenBrokerageSession,
            Self::BrokerageSessionUnavailable | Self::TickleFailed => Advice::Later(SECOND.saturating_mul(10)),
            // Captive portals and maintenance pages redirect too, for a while, and proxies and edges give odd statuses.
            Self::LiveSessionTokenFailed
            | Self::Unavailable
            | Self::Redirected
            | Self::MalformedRequest
            | Self::LengthRequired
            | Self::RequestRejected
            | Self::Unknown => Advice::Later(MINUTE),
            Self::InvalidConsumer => Advice::Later(ACTIVATION),
            Self::TooManyRequests | Self::RejectedAtTheEdge => Advice::Later(PENALTY),
            Self::UnknownAccessToken | Self::InvalidToken => Advice::Reauthorize,
        }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.cause(), self.remedy())
    }
}
