//! HTTP responses: the bytes that came, read as facts or as a typed error.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::advice::diagnosis::Diagnosis;
use crate::credentials::token::{AccessToken, AccountKind, Token};
use crate::encoding::decode_hex;
use crate::error::{Error, Malformed, Rejected};
use crate::time::UnixTime;

/// Bytes of the largest body that is looked at. The largest real one has under 2,000.
const MAX_BODY: usize = 64 * 1024;
/// Characters kept of a rejection.
const MAX_REASON: usize = 200;
/// A word of at least this many characters, digits among them, may be a token or a signature.
const TOKEN_LIKE: usize = 16;
/// The longest pause that a server can ask for: no response may stop a client for good.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// A raw HTTP response: the status, the headers that matter, and the body (after any `Content-Encoding`), borrowed or
/// owned.
///
/// ```
/// use ibkr_oauth::Response;
/// let body = br#"{"error":"service unavailable"}"#.to_vec();
/// let borrowed = Response::new(503, &body).with_header("Retry-After", b"120");
/// let owned: Response<'static> = Response::new(503, body);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Response<'a> {
    status: u16,
    date: Option<UnixTime>,
    retry_after: Option<RetryAfter>,
    body: Cow<'a, [u8]>,
}

/// What stands in a `Retry-After` ([RFC 9110 section 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3)).
#[derive(Clone, Copy, PartialEq, Eq)]
enum RetryAfter {
    Delay(Duration),
    Date(UnixTime),
}

impl<'a> Response<'a> {
    /// Makes a response without headers. `body` may be anything: a slice, an array, a vector.
    ///
    /// The session rejects a body over 64 KiB unread.
    pub fn new(status: u16, body: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { status, date: None, retry_after: None, body: body.into() }
    }

    /// Adds a header. Hand over all of them: those that mean nothing here, or cannot be read, are ignored. Of two with
    /// one name, the latter counts.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &[u8]) -> Self {
        if name.eq_ignore_ascii_case("date") {
            self.date = date(value).or(self.date);
        }
        if name.eq_ignore_ascii_case("retry-after") {
            self.retry_after = retry_after(value).or(self.retry_after);
        }
        self
    }

    /// Sets what the server's clock showed, for callers without feature `std`, where `Date` headers are not read.
    #[must_use]
    pub fn with_server_time(mut self, time: UnixTime) -> Self {
        self.date = Some(time);
        self
    }

    /// A copy that owns its body.
    pub(crate) fn to_static(&self) -> Response<'static> {
        Response { body: Cow::Owned(self.body.to_vec()), ..*self }
    }

    /// The same response with its body, which came later.
    #[cfg(feature = "http1")]
    pub(crate) fn with_body(self, body: Vec<u8>) -> Response<'static> {
        Response { body: body.into(), ..self }
    }

    /// Returns the status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns how long the server asks to wait, if it says: `Retry-After` in seconds, or as a date if there is a
    /// `Date` to compare it with. A day at most.
    pub fn retry_after(&self) -> Option<Duration> {
        let pause = match self.retry_after? {
            RetryAfter::Delay(pause) => pause,
            RetryAfter::Date(date) => date.saturating_since(self.date?),
        };
        Some(pause.min(MAX_PAUSE))
    }

    /// Returns the body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn date(&self) -> Option<UnixTime> {
        self.date
    }

    /// Whether the body looks like JSON: a response of the API, not of something on the way to it.
    pub(crate) fn is_json(&self) -> bool {
        matches!(trimmed(&self.body).first(), Some(b'{' | b'['))
    }

    pub(crate) fn is_html(&self) -> bool {
        is_html(&self.body)
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The object in a successful response. An `error`, or a `statusCode` that says so, makes it a rejection even with
    /// status 200 ([protocol section 6.2](crate::protocol#section-6-2)).
    pub(crate) fn object(&self) -> Result<Object<'_>, Error> {
        if !self.is_success() {
            return Err(self.rejected());
        }
        let object = Object::parse(&self.body)?;
        if object.is_rejection() { Err(self.rejected()) } else { Ok(object) }
    }

    /// Whether the server may have looked at the signature and rejected it. A 400 is a business error, given after the
    /// signature was accepted (`no bridge`, a missing parameter); an HTML page comes from a proxy or a cache.
    pub(crate) fn may_reject_signature(&self) -> bool {
        self.meant_status() == 401 && !is_html(&self.body)
    }

    pub(crate) fn rejected(&self) -> Error {
        let reason = reason(&self.body);
        let diagnosis = Diagnosis::of(self.meant_status(), &reason, is_html(&self.body));
        Error::Rejected(Rejected { status: self.status, reason, diagnosis, retry_after: self.retry_after() })
    }

    /// The status, or that of a rejection which arrived with a status of success.
    fn meant_status(&self) -> u16 {
        let rejected_with = || Object::parse(&self.body).ok()?.rejected_with();
        self.is_success().then(rejected_with).flatten().unwrap_or(self.status)
    }
}

impl fmt::Debug for Response<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.body.len())
    }
}

/// A `Date` in any of the three forms of
/// [RFC 9110 section 5.6.7](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7).
#[cfg(feature = "std")]
pub(crate) fn date(value: &[u8]) -> Option<UnixTime> {
    let date = httpdate::parse_http_date(str::from_utf8(value).ok()?.trim());
    date.ok().map(UnixTime::from)
}

/// The well-kept parser of HTTP dates needs `std`.
#[cfg(not(feature = "std"))]
pub(crate) fn date(_: &[u8]) -> Option<UnixTime> {
    None
}

fn retry_after(value: &[u8]) -> Option<RetryAfter> {
    let seconds = || str::from_utf8(value).ok()?.trim().parse().ok();
    let delay = seconds().map(|seconds| RetryAfter::Delay(Duration::from_secs(seconds)));
    delay.or_else(|| date(value).map(RetryAfter::Date))
}

/// Without what careless servers put around JSON: a byte order mark before it, NULs behind it.
fn trimmed(body: &[u8]) -> &[u8] {
    let mut rest = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body).trim_ascii();
    while let Some(shorter) = rest.strip_suffix(b"\0") {
        rest = shorter.trim_ascii_end();
    }
    rest
}

fn is_html(body: &[u8]) -> bool {
    trimmed(body).first() == Some(&b'<')
}

/// What a rejection says, bounded and harmless: no control characters, nothing that looks like a token, because a server
/// or proxy may echo what was sent.
fn reason(body: &[u8]) -> String {
    let text = match Object::parse(body) {
        Ok(object) => object.reason().unwrap_or_else(|| "a JSON response without a reason".to_string()),
        Err(Malformed::TooLarge { length, .. }) => format!("a response of {length} bytes, not read"),
        Err(Malformed::Html) => "an HTML page instead of a response of the API".to_string(),
        Err(_) if trimmed(body).is_empty() => "no reason given".to_string(),
        Err(_) => String::from_utf8_lossy(body.get(..MAX_REASON * 4).unwrap_or(body)).into_owned(),
    };
    sanitize(&text)
}

fn sanitize(text: &str) -> String {
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = printable.split_whitespace().map(|word| if looks_like_token(word) { "[redacted]" } else { word });
    let joined = words.collect::<Vec<_>>().join(" ");
    joined.chars().take(MAX_REASON).collect()
}

fn looks_like_token(word: &str) -> bool {
    let is_token_character = |c: char| c.is_ascii_alphanumeric() || "+/=%_-".contains(c);
    let suspicious = |run: &str| run.len() >= TOKEN_LIKE && run.contains(|c: char| c.is_ascii_digit());
    word.split(|c| !is_token_character(c)).any(suspicious)
}

/// A JSON object, read leniently. A value is decoded when it is asked for: what is wrong with one that nobody needs,
/// half a surrogate pair or a number without bounds, spoils no response.
pub(crate) struct Object<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Object<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        if body.len() > MAX_BODY {
            return Err(Malformed::TooLarge { length: body.len(), limit: MAX_BODY });
        }
        match serde_json::from_slice(trimmed(body)) {
            Ok(fields) => Ok(Self(fields)),
            Err(_) if is_html(body) => Err(Malformed::Html),
            Err(_) => Err(Malformed::NotAnObject),
        }
    }

    /// `None` if it is not there; an error if it cannot be decoded.
    fn value(&self, field: &str) -> Option<serde_json::Result<Value>> {
        self.0.get(field).map(|value| serde_json::from_str(value.get()))
    }

    /// The object in `field`, if that is one.
    pub(crate) fn object(&self, field: &str) -> Option<Self> {
        Self::parse(self.0.get(field)?.get().as_bytes()).ok()
    }

    pub(crate) fn text(&self, field: &'static str) -> Result<String, Malformed> {
        match self.value(field) {
            Some(Ok(Value::String(text))) if !text.is_empty() => Ok(text),
            None | Some(Ok(Value::String(_) | Value::Null)) => Err(Malformed::Missing { field }),
            Some(_) => Err(Malformed::WrongType { field }),
        }
    }

    fn token(&self, field: &'static str) -> Result<Token, Malformed> {
        Token::new(&self.text(field)?).map_err(|problem| Malformed::Token { field, problem })
    }

    fn hex(&self, field: &'static str) -> Result<Vec<u8>, Malformed> {
        decode_hex(&self.text(field)?).ok_or(Malformed::NotHex { field })
    }

    /// `true`, `"true"`, or not there.
    pub(crate) fn boolean(&self, field: &str) -> Option<bool> {
        match self.value(field)?.ok()? {
            Value::Bool(value) => Some(value),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Whether `field` is a list with something in it.
    pub(crate) fn has_elements(&self, field: &str) -> bool {
        matches!(self.value(field), Some(Ok(Value::Array(elements))) if !elements.is_empty())
    }

    /// `1`, `"1"`, or not there.
    fn number(&self, field: &str) -> Option<u64> {
        match self.value(field)?.ok()? {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    fn is_rejection(&self) -> bool {
        self.0.get("error").is_some_and(|error| is_text_or_object(error.get())) || self.rejected_with().is_some()
    }

    /// The status of a rejection, as JSON errors repeat it in `statusCode`.
    fn rejected_with(&self) -> Option<u16> {
        let status = u16::try_from(self.number("statusCode")?).ok()?;
        (status >= 400).then_some(status)
    }

    /// What it says, of whatever is there that can be read.
    fn reason(&self) -> Option<String> {
        let said = ["error", "message"].into_iter().filter_map(|field| self.0.get(field));
        let said = said.map(|value| value.get()).find(|value| is_text_or_object(value))?;
        Some(serde_json::from_str(said).unwrap_or_else(|_| said.to_string()))
    }
}

fn is_text_or_object(json: &str) -> bool {
    json.starts_with(['"', '{'])
}

/// `{"oauth_token": ...}` ([protocol section 6.1](crate::protocol#section-6-1)).
pub(crate) fn request_token(response: &Response<'_>) -> Result<Token, Error> {
    Ok(response.object()?.token("oauth_token")?)
}

/// `{"is_paper": ..., "oauth_token": ..., "oauth_token_secret": ...}`
/// ([protocol section 6.1](crate::protocol#section-6-1)).
pub(crate) fn access_token(response: &Response<'_>) -> Result<AccessToken, Error> {
    let fields = response.object()?;
    let token = fields.token("oauth_token")?;
    let secret = fields.text("oauth_token_secret")?;
    let access_token = AccessToken::from_parts(token, &secret)
        .map_err(|problem| Malformed::Token { field: "oauth_token_secret", problem })?;
    // The schema calls the field `is_true`, its example `is_paper` (protocol section 11).
    let is_paper = fields.boolean("is_paper").or_else(|| fields.boolean("is_true"));
    Ok(match is_paper {
        Some(is_paper) => access_token.with_account_kind(AccountKind::of(is_paper)),
        None => access_token,
    })
}

/// The server's half of the Diffie-Hellman agreement.
pub(crate) struct Agreement {
    /// `B`, big-endian.
    pub(crate) peer_value: Vec<u8>,
    /// HMAC-SHA1 of the consumer key, keyed with the live session token.
    pub(crate) proof: Vec<u8>,
    /// As sent, in milliseconds: an expiry or a time of computation.
    pub(crate) expiration: Option<u64>,
}

/// `{"diffie_hellman_response": ..., "live_session_token_signature": ..., "live_session_token_expiration": ...}`
/// ([protocol section 6.1](crate::protocol#section-6-1)).
pub(crate) fn agreement(response: &Response<'_>) -> Result<Agreement, Error> {
    let fields = response.object()?;
    // The schema misnames the field `diffie_hellman_challenge` (protocol section 11).
    let peer_value = match fields.hex("diffie_hellman_response") {
        Err(missing @ Malformed::Missing { .. }) => fields.hex("diffie_hellman_challenge").map_err(|_| missing)?,
        other => other?,
    };
    Ok(Agreement {
        peer_value,
        proof: fields.hex("live_session_token_signature")?,
        expiration: fields.number("live_session_token_expiration"),
    })
}
