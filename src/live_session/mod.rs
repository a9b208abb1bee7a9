//! A live session: signs API requests until it expires.

mod prepared_request;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::agreement::live_session_token::{LiveSessionToken, TokenId};
use crate::credentials::identity::Identity;
use crate::credentials::token::Token;
use crate::error::Error;
use crate::signing::authorization::{Header, common_parameters};
use crate::signing::base_string::{self, BaseString, Parameter, Writer};
use crate::signing::mac::Recorded;
use crate::signing::nonce_and_timestamp::{NONCE, Stamp, TIMESTAMP};
use crate::signing::percent_encoding::{Encoder, SignatureText, Sink, encode, write_to};
use crate::signing::policy::QueryPolicy;
use crate::signing::template::Template;
use crate::time::UnixTime;
use crate::wire::api_request::{ApiRequest, Parameters};
use crate::wire::method::Method;
use crate::wire::receipt::Receipt;
use crate::wire::request::{Head, Request};
use crate::wire::response::Response;

use prepared_request::Kept;
pub use prepared_request::PreparedRequest;

/// Parameters of a request that are sorted without an allocation.
const INLINE_PARAMETERS: usize = 16;

/// [Protocol section 7](crate::protocol#section-7): a live session token lives for about 24 hours.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// A value that is so much later than the server's clock is no time of computation.
const AHEAD: Duration = Duration::from_secs(60 * 60);
const HALF_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// A smaller step back is taken for a correction of the clock; a larger one means that somebody set it.
const CLOCK_STEP: Duration = Duration::from_secs(60 * 60);

/// A live session, proved by the server's MAC. Signs API requests.
///
/// Cheap to clone, `Send` and `Sync`. Each clone signs until its token expires, after 24 hours at most, and knows
/// nothing of the next token: a [`Signer`](crate::Signer) follows every refresh.
///
/// ```no_run
/// # use ibkr_oauth::{OAuthSession, Request, Response, UnixTime};
/// # fn send(_: &Request) -> Result<Response<'static>, std::io::Error> { unimplemented!() }
/// # fn list(session: &OAuthSession, mut rng: impl rand_core::CryptoRng) -> Result<(), Box<dyn std::error::Error>> {
/// # let now = UnixTime::from_secs(1_714_650_000);
/// use ibkr_oauth::ApiRequest;
/// if let Some(live) = session.live(now) {
///     let request = live.sign(&ApiRequest::get("/portfolio/accounts"), &mut rng, now)?;
///     let response = send(&request)?; // with your HTTP client: this URL, these headers, once
///     live.handle_response(request.receipt(), &response, now)?; // a rejection explains itself
///     println!("{}", String::from_utf8_lossy(response.body()));
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LiveSession(Arc<Inner>);

struct Inner {
    identity: Identity,
    access_token: Token,
    token: LiveSessionToken,
    texts: Texts,
    query_policy: QueryPolicy,
    life: Life,
}

/// What all requests have in common, encoded once.
struct Texts {
    base_url: String,
    /// The `oauth_*` parameters in the base string. Gaps: nonce, timestamp.
    signed: Template,
    /// The header. Gap before the signature: nonce; behind it: timestamp.
    header: Header,
}

impl Texts {
    fn new(identity: &Identity, access_token: &Token) -> Self {
        let [key, nonce, method, timestamp] = common_parameters(identity, "HMAC-SHA256", None, None);
        let sorted = [key, nonce, method, timestamp, ("oauth_token", Some(access_token.as_str()))];
        Self {
            base_url: encode(identity.base_url()),
            signed: base_string::template(sorted, identity.parameter_encoding()).trimmed(),
            header: Header::new(identity.realm(), sorted).trimmed(),
        }
    }
}

impl LiveSession {
    pub(crate) fn new(
        identity: Identity,
        access_token: Token,
        token: LiveSessionToken,
        query_policy: QueryPolicy,
        life: Life,
    ) -> Self {
        let texts = Texts::new(&identity, &access_token);
        Self(Arc::new(Inner { identity, access_token, token, texts, query_policy, life }))
    }

    /// The same token under another policy.
    pub(crate) fn with_query_policy(&self, policy: QueryPolicy) -> Self {
        let Inner { identity, access_token, token, life, .. } = &*self.0;
        Self::new(identity.clone(), access_token.clone(), token.clone(), policy, *life)
    }

    /// The same token with another life.
    #[cfg(feature = "serde")]
    pub(crate) fn with_life(&self, life: Life) -> Self {
        let Inner { identity, access_token, token, query_policy, .. } = &*self.0;
        Self::new(identity.clone(), access_token.clone(), token.clone(), *query_policy, life)
    }

    /// Which token it is.
    pub(crate) fn id(&self) -> TokenId {
        self.0.token.id()
    }

    /// Returns whether the token of this session signed the request of `receipt`.
    pub fn signed(&self, receipt: &Receipt) -> bool {
        receipt.token() == Some(self.id())
    }

    /// When the token was asked for.
    pub(crate) fn obtained_at(&self) -> UnixTime {
        self.0.life.obtained_at
    }

    /// Whether the next token is due: the refresh margin has begun, or the clock went back so far behind the moment
    /// this token came that its age can no longer be computed.
    pub(crate) fn is_due(&self, now: UnixTime) -> bool {
        now >= self.refresh_at() || now.saturating_add(CLOCK_STEP) < self.0.life.obtained_at
    }

    /// When the refresh margin begins.
    pub(crate) fn refresh_at(&self) -> UnixTime {
        self.0.life.expires_at.saturating_sub(self.0.identity.refresh_margin())
    }

    #[cfg(feature = "serde")]
    pub(crate) fn query_policy(&self) -> QueryPolicy {
        self.0.query_policy
    }

    #[cfg(feature = "serde")]
    pub(crate) fn token(&self) -> &LiveSessionToken {
        &self.0.token
    }

    #[cfg(feature = "serde")]
    pub(crate) fn life(&self) -> Life {
        self.0.life
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.0.identity
    }

    pub(crate) fn access_token(&self) -> &Token {
        &self.0.access_token
    }

    /// Takes the response to a request that this session signed, before you read it: a rejection becomes an error that
    /// explains itself, and the server's clock is learned. `receipt` is the [`Request::receipt`] of that request.
    ///
    /// If its [`Diagnosis`](crate::Diagnosis) [rejects the live session](crate::Diagnosis::rejects_live_session), hand
    /// this session to [`OAuthSession::invalidate`](crate::OAuthSession::invalidate).
    ///
    /// # Errors
    /// [`Error::Rejected`] for every status but 2xx.
    pub fn handle_response(&self, receipt: Receipt, response: &Response<'_>, now: UnixTime) -> Result<(), Error> {
        let clock = self.0.identity.learn_clock(&receipt, response, now);
        if response.is_success() { Ok(()) } else { Err(clock.explain(response.rejected())) }
    }

    /// Returns when the token stops signing, on the caller's clock.
    pub fn expires_at(&self) -> UnixTime {
        self.0.life.expires_at
    }

    /// Signs `request` and describes it whole: the URL with the query exactly as signed, and all headers.
    ///
    /// The result is to be sent once: a retry is a new signature, with a new nonce. Two allocations, if what is signed is
    /// shorter than a kilobyte and there is no body.
    ///
    /// # Errors
    /// [`Error::Expired`] from [`expires_at`](Self::expires_at) on; [`Error::Misuse`] for a path or a parameter that
    /// cannot be, and for a clock outside the years 2001 to 2106.
    pub fn sign(&self, request: &ApiRequest<'_>, rng: &mut dyn CryptoRng, now: UnixTime) -> Result<Request, Error> {
        let query = request.decoded_query()?;
        let query = query.pairs();
        let parameters = request.parameters(&query)?;
        let stamp = self.stamp(rng, now)?;
        let (nonce, timestamp) = (stamp.nonce(), stamp.timestamp());
        let stamped = [nonce.as_str(), timestamp.as_str()];
        let body = request.typed_body();
        let content_type = body.as_ref().map_or(0, |(content_type, _)| content_type.len());
        let lengths = [request.longest_target(&parameters), self.header_length(), content_type];
        let length = lengths.into_iter().fold(0, usize::saturating_add);
        let mut head = Head::new(&self.0.identity, length, |text| request.write_target(text, &parameters));
        let mut signed = Recorded { mac: self.0.token.signer().mac(), text: Vec::new() };
        write_to(&mut signed, |encoder| {
            self.write_base_string(encoder, request, &parameters, stamped);
            self.begin_header(head.authorization(), nonce.as_str());
        });
        let Recorded { mac, text: base_string } = signed;
        self.end_header(head.authorization(), timestamp.as_str(), &self.0.token.signer().finish(&mac));
        let base_string = BaseString::without_prepend(base_string);
        Ok(Request::new(&self.0.identity, request.method(), head, base_string, body, self.receipt(&stamp, now)))
    }

    /// Signs `request` and returns the `Authorization` value alone, for callers who build the rest of the request
    /// themselves, with the receipt to hand in with the response. One allocation (more if
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
    ) -> Result<(String, Receipt), Error> {
        let mut out = String::with_capacity(self.header_length());
        let receipt = self.authorization_into(&mut out, request, rng, now)?;
        Ok((out, receipt))
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
    ) -> Result<Receipt, Error> {
        let query = request.decoded_query()?;
        let query = query.pairs();
        let parameters = request.parameters(&query)?;
        let stamp = self.stamp(rng, now)?;
        let (nonce, timestamp) = (stamp.nonce(), stamp.timestamp());
        let stamped = [nonce.as_str(), timestamp.as_str()];
        let mut mac = self.0.token.signer().mac();
        write_to(&mut mac, |encoder| {
            self.write_base_string(encoder, request, &parameters, stamped);
            self.begin_header(out, nonce.as_str());
        });
        self.end_header(out, timestamp.as_str(), &self.0.token.signer().finish(&mac));
        Ok(self.receipt(&stamp, now))
    }

    /// Appends the `Authorization` value for a request that was prepared, as
    /// [`authorization_into`](Self::authorization_into) does for any. If `out` has room for it, nothing is allocated but
    /// for the first signature of `prepared` with this session.
    ///
    /// # Errors
    /// As [`sign`](Self::sign), but for what [`PreparedRequest::new`] has checked.
    pub fn prepared_authorization_into(
        &self,
        out: &mut String,
        prepared: &mut PreparedRequest,
        rng: &mut dyn CryptoRng,
        now: UnixTime,
    ) -> Result<Receipt, Error> {
        let stamp = self.stamp(rng, now)?;
        let (nonce, timestamp) = (stamp.nonce(), stamp.timestamp());
        let stamped = [nonce.as_str(), timestamp.as_str()];
        let kept = prepared.kept_for(self);
        kept.stamp(stamped);
        self.begin_header(out, nonce.as_str());
        let mac = kept.mac();
        self.end_header(out, timestamp.as_str(), &self.0.token.signer().finish(&mac));
        Ok(self.receipt(&stamp, now))
    }

    fn receipt(&self, stamp: &Stamp, now: UnixTime) -> Receipt {
        Receipt::of_api(now, stamp.second, self.id())
    }

    /// Nonce and timestamp, if the token still lives.
    fn stamp(&self, rng: &mut dyn CryptoRng, now: UnixTime) -> Result<Stamp, Error> {
        if now >= self.0.life.expires_at {
            return Err(Error::Expired { at: self.0.life.expires_at });
        }
        let clock = self.0.identity.clock();
        let stamp = Stamp::new(clock, rng, now)?;
        clock.note(stamp.second);
        Ok(stamp)
    }

    fn write_base_string<S: Sink>(
        &self,
        out: &mut Encoder<'_, S>,
        request: &ApiRequest<'_>,
        parameters: &Parameters<'_>,
        [nonce, timestamp]: [&str; 2],
    ) {
        let mut base_string = self.begin(out, request.method(), request.path());
        self.sorted(parameters, |before, after| {
            base_string.parameters(before);
            base_string.template(&self.0.texts.signed, &[nonce, timestamp]);
            base_string.parameters(after);
        });
    }

    /// What the signatures of a request have in common.
    fn keep(&self, method: Method, path: &str, parameters: &Parameters<'_>) -> Kept {
        let no_stamp = ["0".repeat(NONCE), "0".repeat(TIMESTAMP)];
        let no_stamp = no_stamp.each_ref().map(String::as_str);
        let signed = &self.0.texts.signed;
        self.sorted(parameters, |before, after| {
            let mut beginning = String::new();
            write_to(&mut beginning, |out| {
                let mut base_string = self.begin(out, method, path);
                base_string.parameters(before);
                base_string.separator();
            });
            let longest = [beginning.len(), signed.length(), NONCE, TIMESTAMP, base_string::longest(after)];
            let mut text = Zeroizing::new(String::with_capacity(longest.into_iter().fold(0, usize::saturating_add)));
            text.push_str(&beginning);
            write_to(&mut *text, |out| {
                signed.fill(&no_stamp, |part| out.plain(part));
                Writer::following(out, self.0.identity.parameter_encoding()).parameters(after);
            });
            let gaps = signed.gaps(no_stamp).map(|gap| beginning.len().saturating_add(gap));
            Kept::new(self, &text, gaps)
        })
    }

    fn begin<'w, 's, S: Sink>(&self, out: &'w mut Encoder<'s, S>, method: Method, path: &str) -> Writer<'w, 's, S> {
        Writer::new(out, method, &self.0.texts.base_url, path, self.0.identity.parameter_encoding())
    }

    /// Hands the parameters that are signed to `write`: first those that come before the protocol's own, then those that
    /// come after them.
    fn sorted<R>(&self, parameters: &Parameters<'_>, write: impl FnOnce(&[Parameter<'_>], &[Parameter<'_>]) -> R) -> R {
        let lists = match self.0.query_policy {
            QueryPolicy::Fold => [parameters.query, parameters.form],
            QueryPolicy::Exclude => [&[], parameters.form],
        };
        let count = lists.iter().map(|list| list.len()).fold(0, usize::saturating_add);
        if count == 0 {
            return write(&[], &[]);
        }
        let (mut inline, mut heap) = ([Parameter::NONE; INLINE_PARAMETERS], Vec::new());
        let sorted = inline.get_mut(..count).unwrap_or_else(|| {
            heap.resize(count, Parameter::NONE);
            &mut heap
        });
        let mut slots = sorted.iter_mut();
        for list in lists {
            list.iter().zip(slots.by_ref()).for_each(|(pair, slot)| *slot = Parameter::new(pair));
        }
        // No other parameter's name begins with `oauth_`, so in the sorted list these stand together.
        let place = base_string::place_of("oauth_", sorted);
        base_string::sort(sorted);
        let (before, after) = sorted.split_at(place);
        write(before, after)
    }

    /// Bytes of the longest header.
    fn header_length(&self) -> usize {
        self.0
            .texts
            .header
            .length()
            .saturating_add(NONCE)
            .saturating_add(SignatureText::LONGEST)
            .saturating_add(TIMESTAMP)
    }

    /// Appends what stands before the signature. To be called when the text for the MAC is written and not hashed yet: the hash
    /// cannot read what is still on its way to the processor's cache, and this fills the time.
    fn begin_header(&self, out: &mut String, nonce: &str) {
        self.0.texts.header.before_signature.fill(&[nonce], |text| out.push_str(text));
    }

    /// Appends signature and timestamp.
    fn end_header(&self, out: &mut String, timestamp: &str, signature: &[u8; 32]) {
        out.push_str(SignatureText::new(signature).as_str());
        self.0.texts.header.behind_signature.fill(&[timestamp], |text| out.push_str(text));
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
    /// Of a token that was asked for at `asked_at`, when the server's clock showed `server_time`.
    ///
    /// Sources disagree on what `live_session_token_expiration` means (protocol sections
    /// [6.1](crate::protocol#section-6-1) and [14.6](crate::protocol#section-14-6)). A value more than an hour later
    /// than the server's own clock is the expiry, since nothing was computed in the future; any other is the time of
    /// computation. Only the difference from the server's clock counts, so a wrong clock on either side changes
    /// nothing, and no token is trusted for longer than 24 hours after it was asked for.
    pub(crate) fn from(asked_at: UnixTime, server_time: UnixTime, reported: Option<u64>) -> Self {
        let lifetime = match reported.map(UnixTime::from_millis) {
            None => LIFETIME,
            Some(expiry) if expiry > server_time.saturating_add(AHEAD) => expiry.saturating_since(server_time),
            Some(computed) => LIFETIME.saturating_sub(server_time.saturating_since(computed)).max(HALF_LIFETIME),
        };
        Self { obtained_at: asked_at, expires_at: asked_at.saturating_add(lifetime.min(LIFETIME)) }
    }

    /// The same life on a clock that is ahead by so many seconds.
    #[cfg(feature = "serde")]
    pub(crate) fn shifted(self, seconds: i32) -> Self {
        Self { obtained_at: self.obtained_at.shifted(seconds), expires_at: self.expires_at.shifted(seconds) }
    }

    /// The same life for a token that somebody else stored. Whatever the store says, it is not trusted for longer than a
    /// lifetime from its first sight at `seen_at`.
    #[cfg(feature = "serde")]
    pub(crate) fn bounded(self, seen_at: UnixTime) -> Self {
        Self { expires_at: self.expires_at.min(seen_at.saturating_add(LIFETIME)), ..self }
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
            (Some(in_hours(2).as_millis()), in_hours(2)),
            (Some(now.as_millis()), in_hours(24)),
            (Some(now.as_millis() - 3_600_000), in_hours(23)),
            // In seconds instead of milliseconds, in the past, zero, and absurdly far ahead.
            (Some(now.as_secs()), in_hours(12)),
            (Some(0), in_hours(12)),
            (Some(u64::MAX), in_hours(24)),
        ] {
            assert_eq!(Life::from(now, now, reported).expires_at, expected, "{reported:?}");
        }
    }
}
