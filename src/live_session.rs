//! A live session: signs API requests until it expires.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use rand_core::CryptoRng;

use crate::api_request::{ApiRequest, Parameters, encoded};
use crate::authorization::Authorization;
use crate::error::Error;
use crate::live_session_token::LiveSessionToken;
use crate::stamp::Stamper;
use crate::token::Token;
use crate::{Consumer, QueryPolicy, Request, UnixTime};

/// Protocol section 7: a live session token lives for about 24 hours.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const HALF_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// A live session, proved by the server's MAC. Signs API requests.
///
/// Cheap to clone, `Send` and `Sync`: hand clones to as many threads and tasks as you like. All of them share one
/// notion of the latest timestamp used.
#[derive(Clone)]
pub struct LiveSession(Arc<Inner>);

struct Inner {
    consumer: Consumer,
    access_token: Token,
    token: LiveSessionToken,
    stamper: Arc<Stamper>,
    expires_at: UnixTime,
}

impl LiveSession {
    pub(crate) fn new(
        consumer: Consumer,
        access_token: Token,
        token: LiveSessionToken,
        stamper: Arc<Stamper>,
        expires_at: UnixTime,
    ) -> Self {
        Self(Arc::new(Inner { consumer, access_token, token, stamper, expires_at }))
    }

    /// When the token stops signing, on the caller's clock.
    pub fn expires_at(&self) -> UnixTime {
        self.0.expires_at
    }

    /// Signs `request` and describes it whole: the URL with the query exactly as signed, and all headers.
    ///
    /// The result is to be sent once: a retry is a new signature, with a new nonce.
    ///
    /// # Errors
    /// [`Error::Expired`] from [`expires_at`](Self::expires_at) on; [`Error::Misuse`] for a path or a parameter that
    /// cannot be, and for a clock outside the years 2001 to 2106.
    pub fn sign(&self, request: &ApiRequest<'_>, rng: &mut dyn CryptoRng, now: UnixTime) -> Result<Request, Error> {
        let parameters = request.parameters()?;
        let authorization = self.authorize(request, &parameters, rng, now)?;
        let mut path_and_query = String::from(request.path());
        if !parameters.query.is_empty() {
            path_and_query.push('?');
            path_and_query.push_str(&encoded(&parameters.query));
        }
        let body = request.typed_body(&parameters.form);
        Ok(Request::new(&self.0.consumer, request.method(), &path_and_query, authorization, body))
    }

    /// The `Authorization` value alone, for callers who build the rest of the request themselves.
    ///
    /// They must then send the query percent-encoded as RFC 3986 has it, with `%20` for a space.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn authorization(
        &self,
        request: &ApiRequest<'_>,
        rng: &mut dyn CryptoRng,
        now: UnixTime,
    ) -> Result<String, Error> {
        self.authorize(request, &request.parameters()?, rng, now)
    }

    fn authorize(
        &self,
        request: &ApiRequest<'_>,
        parameters: &Parameters<'_>,
        rng: &mut dyn CryptoRng,
        now: UnixTime,
    ) -> Result<String, Error> {
        let session = &*self.0;
        if now >= session.expires_at {
            return Err(Error::Expired { at: session.expires_at });
        }
        let stamp = session.stamper.stamp(rng, now)?;
        let authorization = Authorization::new(&session.consumer, "HMAC-SHA256", &stamp)
            .with("oauth_token", session.access_token.as_str());
        let query = match session.consumer.query_policy() {
            QueryPolicy::Fold => parameters.query.as_slice(),
            QueryPolicy::Exclude => &[],
        };
        let signed: Vec<(&str, &str)> =
            query.iter().chain(&parameters.form).map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        let url = [session.consumer.base_url(), request.path()].concat();
        let base_string = authorization.base_string(&session.consumer, request.method(), &url, &signed);
        let signature = session.token.sign(base_string.expose().expose());
        session.stamper.note(&stamp);
        Ok(authorization.header(session.consumer.realm(), &signature))
    }
}

impl fmt::Debug for LiveSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveSession").field("expires_at", &self.0.expires_at).finish_non_exhaustive()
    }
}

/// When a token that arrived at `now` expires.
///
/// Sources disagree on what `live_session_token_expiration` means (protocol section 6.1): more than half a lifetime
/// ahead, it is the expiry; else the time of computation. The result is always 12 to 24 hours ahead, whatever was sent
/// and however wrong the clock is: a token that has just been made lives, and none is trusted for more than its lifetime.
pub(crate) fn expiry(reported: Option<u64>, now: UnixTime) -> UnixTime {
    let full = now.saturating_add(LIFETIME);
    let half = now.saturating_add(HALF_LIFETIME);
    match reported.map(UnixTime::from_millis) {
        None => full,
        Some(expiry) if expiry > half => expiry.min(full),
        Some(computed) => computed.saturating_add(LIFETIME).clamp(half, full),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_understood_in_both_meanings_and_bounded_whatever_is_sent() {
        let now = UnixTime::from_millis(1_714_583_316_258);
        let in_hours = |hours: u64| now.saturating_add(Duration::from_secs(hours * 3600));
        for (reported, expected) in [
            (None, in_hours(24)),
            (Some(in_hours(24).as_millis()), in_hours(24)),
            (Some(in_hours(20).as_millis()), in_hours(20)),
            (Some(now.as_millis()), in_hours(24)),
            (Some(now.as_millis() - 3_600_000), in_hours(23)),
            // In seconds instead of milliseconds, in the past, zero, and absurdly far ahead.
            (Some(now.as_secs()), in_hours(12)),
            (Some(0), in_hours(12)),
            (Some(u64::MAX), in_hours(24)),
        ] {
            assert_eq!(expiry(reported, now), expected, "{reported:?}");
        }
    }
}
