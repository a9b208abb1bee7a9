//! What goes wrong at IBKR, on schedule: for testing how a client lives through it.

use std::time::Duration;

use crate::Delivery;

/// Something that happens at IBKR. [`Gateway::schedule`](crate::Gateway::schedule) says when.
///
/// What `lasts` ends by itself. [`Duration::MAX`] lets it last until the same incident is scheduled once more, with
/// another duration: [`Duration::ZERO`] ends it at once.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Incident {
    /// The nightly reset: every brokerage session ends (protocol section 7).
    NightlyReset,
    /// The user logs in somewhere else and takes the brokerage session along (protocol section 8).
    CompetingLogin {
        /// The username.
        user: String,
    },
    /// The user logs out there.
    CompetitorLeaves {
        /// The username.
        user: String,
    },
    /// Every request is answered with 503 and an HTML page.
    Outage {
        /// For so long.
        lasts: Duration,
    },
    /// Every request is answered with 429.
    TooManyRequests {
        /// For so long.
        lasts: Duration,
    },
    /// `/iserver/auth/ssodh/init` is answered with 500, `failed to generate sso dh token`.
    NoBrokerageSessions {
        /// For so long.
        lasts: Duration,
    },
    /// Every live session token dies: API requests are rejected as
    /// [`set_dead_token_response`](crate::Gateway::set_dead_token_response) says.
    LiveSessionsEnd,
    /// API requests are answered with 410 until somebody fetches a live session token.
    Gone,
    /// From now on the server's clock is ahead of the caller's by so many seconds; behind, if negative.
    ClockSkew {
        /// Seconds.
        seconds: i64,
    },
    /// `/iserver/accounts` is empty although the brokerage session is authenticated, and all else under `/iserver` is
    /// answered with 400, `no bridge` (protocol section 14.4).
    EmptyAccounts {
        /// For so long.
        lasts: Duration,
    },
    /// Tickles say nothing about the brokerage session: they have no `authStatus`.
    TicklesWithoutStatus {
        /// For so long.
        lasts: Duration,
    },
    /// A brokerage session that is authenticated is said to be competing as well.
    AuthenticatedAndCompeting {
        /// For so long.
        lasts: Duration,
    },
    /// The `Date` of each n-th response is wrong, and nothing else: the server's own clock is right.
    DamagedDates {
        /// The n. Zero ends it.
        every: u32,
        /// So many seconds in the future; in the past, if negative.
        seconds: i64,
    },
    /// `/oauth/live_session_token` is answered with an empty `diffie_hellman_response`: there is no new token
    /// (protocol section 5).
    EmptyDiffieHellmanResponses {
        /// For so long.
        lasts: Duration,
    },
    /// Each Diffie-Hellman exchange has a shared secret that must be written with a sign byte (protocol section 5):
    /// who forgets it fails at each login, and not only at about half of them.
    SignBytes {
        /// For so long.
        lasts: Duration,
    },
    /// As [`SignBytes`](Self::SignBytes), and the server is the one who forgets it: no client can verify the proof.
    NoSignBytes {
        /// For so long.
        lasts: Duration,
    },
    /// Requests to one endpoint are answered with status 200 and a JSON object whose `error` is an object itself.
    ErrorObject {
        /// The path below the base URL, such as `/tickle`.
        endpoint: String,
        /// For so long.
        lasts: Duration,
    },
    /// Requests to one endpoint are answered as a proxy on the way might: whoever asks, signed or not.
    OddResponse {
        /// The path below the base URL, such as `/oauth/live_session_token`.
        endpoint: String,
        /// The status, from 200 to 599; any other is sent as 500.
        status: u16,
        /// The body. Its media type is JSON if it begins with `{` or `[`, HTML if it begins with `<`, else text.
        body: String,
        /// For so long.
        lasts: Duration,
    },
    /// Every request has its effect, and its response travels badly. Of several that would last at the same time, the latest
    /// is the case. WebSockets are spared.
    BadDelivery {
        /// How.
        delivery: Delivery,
        /// For so long.
        lasts: Duration,
    },
}
