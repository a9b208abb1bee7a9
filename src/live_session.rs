//! A live session: signs API requests until it expires.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use rand_core::CryptoRng;

use crate::api_request::Parameters;
use crate::authorization::{self, common_parameters};
use crate::base_string::{Parameter, Writer};
use crate::error::Error;
use crate::live_session_token::LiveSessionToken;
use crate::percent_encoding::{Encoder, append_to, encode, write_to};
use crate::stamp::{Stamp, Stamper};
use crate::template::{Filling, Template};
use crate::token::Token;
use crate::{ApiRequest, BaseString, Consumer, QueryPolicy, Request, Response, UnixTime, base_string};

/// Parameters of a request that are sorted without an allocation.
const INLINE_PARAMETERS: usize = 16;

/// Protocol section 7: a live session token lives for about 24 hours.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const HALF_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// A clock that goes back by less has been set right; by more, it has been set.
const CLOCK_STEP: Duration = Duration::from_secs(60 * 60);

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
    texts: Texts,
    stamper: Arc<Stamper>,
    life: Life,
}

/// What all requests have in common, encoded once.
struct Texts {
    base_url: String,
    /// The `oauth_*` parameters in the base string. Gaps: nonce, timestamp.
    signed: Template,
    /// The header. Gaps: nonce, signature, timestamp.
    header: Template,
}

impl Texts {
    fn new(consumer: &Consumer, access_token: &Token) -> Self {
        let [key, nonce, method, timestamp] = common_parameters(consumer, "HMAC-SHA256", None, None);
        let sorted = [key, nonce, method, timestamp, ("oauth_token", Some(access_token.as_str()))];
        Self {
            base_url: encode(consumer.base_url()),
            signed: base_string::template(sorted, consumer.parameter_encoding()),
            header: authorization::header(consumer.realm(), sorted),
        }
    }
}

impl LiveSession {
    pub(crate) fn new(
        consumer: Consumer,
        access_token: Token,
        token: LiveSessionToken,
        stamper: Arc<Stamper>,
        life: Life,
    ) -> Self {
        let texts = Texts::new(&consumer, &access_token);
        Self(Arc::new(Inner { consumer, access_token, token, texts, stamper, life }))
    }

    /// Whether both are clones of one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether the next token is due: the refresh margin has begun, or the clock went back so far behind the moment
    /// this token came that its age is anybody's guess.
    pub(crate) fn is_due(&self, now: UnixTime) -> bool {
        now >= self.refresh_at() || now.saturating_add(CLOCK_STEP) < self.0.life.obtained_at
    }

    /// When the refresh margin begins.
    pub(crate) fn refresh_at(&self) -> UnixTime {
        self.0.life.expires_at.saturating_sub(self.0.consumer.refresh_margin())
    }

    #[cfg(feature = "serde")]
    pub(crate) fn token(&self) -> &LiveSessionToken {
        &self.0.token
    }

    #[cfg(feature = "serde")]
    pub(crate) fn life(&self) -> Life {
        self.0.life
    }

    pub(crate) fn consumer(&self) -> &Consumer {
        &self.0.consumer
    }

    pub(crate) fn access_token(&self) -> &Token {
        &self.0.access_token
    }

    /// Takes the answer to a request that this session signed, before you read it: a refusal becomes an error that
    /// explains itself, and the server's clock is learned.
    ///
    /// If its [`Diagnosis`](crate::Diagnosis) [refuses the live session](crate::Diagnosis::refuses_live_session), hand
    /// this session to [`OAuthSession::invalidate`](crate::OAuthSession::invalidate).
    ///
    /// # Errors
    /// [`Error::Rejected`] for every status but 2xx.
    pub fn handle_response(&self, response: &Response<'_>, now: UnixTime) -> Result<(), Error> {
        self.learn_clock(response, now);
        if response.is_success() { Ok(()) } else { Err(response.rejected()) }
    }

    /// Takes the server's clock from the answer to a request that this session signed.
    pub(crate) fn learn_clock(&self, response: &Response<'_>, now: UnixTime) {
        if self.0.consumer.corrects_clock() {
            self.0.stamper.learn(response, now);
        }
    }

    /// When the token stops signing, on the caller's clock.
    pub fn expires_at(&self) -> UnixTime {
        self.0.life.expires_at
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
        let stamp = self.stamp(rng, now)?;
        let mut base_string = String::new();
        append_to(&mut base_string, |out| self.write_base_string(out, request, &parameters, &stamp));
        let signature = self.0.token.sign(|mac| mac(base_string.as_bytes()));
        let mut authorization = String::new();
        append_to(&mut authorization, |out| self.write_header(out, &stamp, signature));
        Ok(Request::new(
            &self.0.consumer,
            request.method(),
            &request.path_and_query(&parameters),
            authorization,
            BaseString::without_prepend(base_string),
            request.typed_body(),
        ))
    }

    /// The `Authorization` value alone, for callers who build the rest of the request themselves. One allocation (more if
    /// the value is longer than a kilobyte), and those of [`authorization_into`](Self::authorization_into).
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
        let mut out = String::new();
        self.authorization_into(&mut out, request, rng, now)?;
        Ok(out)
    }

    /// Appends the `Authorization` value to `out`. If `out` has room for it (some 400 bytes, whatever the request),
    /// nothing is allocated for up to 16 parameters, and one block for more; a raw query is decoded, which takes blocks
    /// of its own. On an error `out` is what it was.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn authorization_into(
        &self,
        out: &mut String,
        request: &ApiRequest<'_>,
        rng: &mut dyn CryptoRng,
        now: UnixTime,
    ) -> Result<(), Error> {
        let parameters = request.parameters()?;
        let stamp = self.stamp(rng, now)?;
        let write_base_string = |out: &mut Encoder<'_>| self.write_base_string(out, request, &parameters, &stamp);
        let signature = self.0.token.sign(|mac| write_to(mac, write_base_string));
        append_to(out, |out| self.write_header(out, &stamp, signature));
        Ok(())
    }

    /// Nonce and timestamp, if the token still lives.
    fn stamp(&self, rng: &mut dyn CryptoRng, now: UnixTime) -> Result<Stamp, Error> {
        if now >= self.0.life.expires_at {
            return Err(Error::Expired { at: self.0.life.expires_at });
        }
        let stamp = self.0.stamper.stamp(rng, now)?;
        self.0.stamper.note(&stamp);
        Ok(stamp)
    }

    fn write_base_string(
        &self,
        out: &mut Encoder<'_>,
        request: &ApiRequest<'_>,
        parameters: &Parameters<'_>,
        stamp: &Stamp,
    ) {
        let consumer = &self.0.consumer;
        let raw_query = parameters.raw_query();
        let lists = match consumer.query_policy() {
            QueryPolicy::Fold => [parameters.query, &raw_query, parameters.form],
            QueryPolicy::Exclude => [&[], &[], parameters.form],
        };
        let count = lists.iter().map(|list| list.len()).fold(0, usize::saturating_add);
        let (mut inline, mut heap) = ([Parameter::NONE; INLINE_PARAMETERS], Vec::new());
        let sorted = inline.get_mut(..count).unwrap_or_else(|| {
            heap.resize(count, Parameter::NONE);
            &mut heap
        });
        for (slot, pair) in sorted.iter_mut().zip(lists.into_iter().flatten()) {
            *slot = Parameter::new(pair);
        }
        base_string::sort(sorted);

        // No other parameter's name begins with `oauth_`, so in the sorted list these stand together.
        let place = base_string::place_of("oauth_", sorted);
        let (before, after) = sorted.split_at(place);
        let Texts { base_url, signed, .. } = &self.0.texts;
        let mut base_string =
            Writer::new(out, request.method(), base_url, request.path(), consumer.parameter_encoding());
        base_string.parameters(before);
        base_string.template(
            signed,
            &[Filling::Unreserved(stamp.nonce.as_bytes()), Filling::Unreserved(stamp.timestamp.as_bytes())],
        );
        base_string.parameters(after);
    }

    fn write_header(&self, out: &mut Encoder<'_>, stamp: &Stamp, signature: [u8; 32]) {
        let fillings = [
            Filling::Unreserved(stamp.nonce.as_bytes()),
            Filling::Base64(&signature),
            Filling::Unreserved(stamp.timestamp.as_bytes()),
        ];
        self.0.texts.header.fill(out, &fillings);
    }
}

impl fmt::Debug for LiveSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveSession").field("expires_at", &self.0.life.expires_at).finish_non_exhaustive()
    }
}

/// When a live session token came, and until when it signs, on the caller's clock.
#[derive(Clone, Copy)]
pub(crate) struct Life {
    pub(crate) obtained_at: UnixTime,
    pub(crate) expires_at: UnixTime,
}

impl Life {
    /// Of a token that came at `now`.
    ///
    /// Sources disagree on what `live_session_token_expiration` means (protocol section 6.1): more than half a lifetime
    /// ahead, it is the expiry; else the time of computation. The result is always 12 to 24 hours ahead, whatever was
    /// sent and however wrong the clock is: a token that has just been made lives, and none is trusted for more than
    /// its lifetime.
    pub(crate) fn from(now: UnixTime, reported: Option<u64>) -> Self {
        let full = now.saturating_add(LIFETIME);
        let half = now.saturating_add(HALF_LIFETIME);
        let expires_at = match reported.map(UnixTime::from_millis) {
            None => full,
            Some(expiry) if expiry > half => expiry.min(full),
            Some(computed) => computed.saturating_add(LIFETIME).clamp(half, full),
        };
        Self { obtained_at: now, expires_at }
    }

    /// Of a token that was stored. Whatever the store says, it is not trusted for longer than a lifetime from `now`.
    #[cfg(feature = "serde")]
    pub(crate) fn resumed(obtained_at: UnixTime, expires_at: UnixTime, now: UnixTime) -> Self {
        Self { obtained_at, expires_at: expires_at.min(now.saturating_add(LIFETIME)) }
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
            assert_eq!(Life::from(now, reported).expires_at, expected, "{reported:?}");
        }
    }
}
