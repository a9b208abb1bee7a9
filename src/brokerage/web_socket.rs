//! The WebSocket ([protocol section 8](crate::protocol#section-8)): not signed, but opened with the access token and
//! the session id of a tickle.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::time::Duration;

use crate::credentials::identity::Identity;
use crate::credentials::token::Token;
use crate::secret::Secret;
use crate::signing::percent_encoding::encode_into;

/// What to open a WebSocket with. Two are equal if they lead to the same session: when
/// [`BrokerageSession::web_socket`](super::BrokerageSession::web_socket) gives another than the one you opened, open
/// that one.
///
/// `Debug` shows neither the URL's token nor the cookie.
#[derive(Clone, PartialEq, Eq)]
pub struct WebSocketRequest {
    url: Secret<String>,
    cookie: Secret<String>,
    user_agent: String,
}

impl WebSocketRequest {
    /// Ten minutes: repeat each market data subscription (`smd+CONID+{...}`) this long after it was sent. Its stream
    /// stops after a quarter of an hour, without a message that says so
    /// ([protocol section 14.5](crate::protocol#section-14-5)).
    pub const MARKET_DATA_RENEWAL: Duration = Duration::from_secs(10 * 60);

    /// The access token goes into the query, the bare session id into the cookie `api`.
    pub(super) fn new(identity: &Identity, access_token: &Token, session_id: &Token) -> Self {
        let base = identity.parsed_base_url();
        let mut url =
            format!("{}{}{}/ws?oauth_token=", base.scheme().web_socket_prefix(), base.authority(), base.path());
        encode_into(&mut url, access_token.as_str());
        let cookie = format!("api={}", session_id.as_str());
        Self { url: Secret::new(url), cookie: Secret::new(cookie), user_agent: identity.user_agent().to_string() }
    }

    /// Returns the URL, which holds the access token: do not log it.
    pub fn url(&self) -> &str {
        self.url.expose()
    }

    /// Returns the headers to add to the usual ones of an upgrade.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        [("Cookie", self.cookie.expose().as_str()), ("User-Agent", self.user_agent.as_str())].into_iter()
    }
}

impl fmt::Debug for WebSocketRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketRequest").field("user_agent", &self.user_agent).finish_non_exhaustive()
    }
}
