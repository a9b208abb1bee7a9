//! Answers, all with a body that is there whole; those of the proxy itself are marked.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

/// The header that marks answers of the proxy itself: IBKR's have none. Its value says what became of the request.
///
/// | value | meaning |
/// |---|---|
/// | `answered` | the proxy has answered in IBKR's stead |
/// | `refused` | the request is not allowed, or not understood: nothing was sent |
/// | `not-sent` | the request could not be sent: nothing was done, and it may be repeated |
/// | `unanswered` | the request was sent, and no answer came: whether it took effect is not known, and it is not sent again |
pub const MARK: HeaderName = HeaderName::from_static("ibkr-oauth-proxy");

pub(crate) type Answer = Response<Full<Bytes>>;

/// What became of a request that the proxy answers itself.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    Answered,
    Refused,
    NotSent,
    Unanswered,
}

impl Fate {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::NotSent => "not-sent",
            Self::Unanswered => "unanswered",
        }
    }
}

/// Says something in IBKR's stead.
pub(crate) fn answered(content: &Value) -> Answer {
    own(StatusCode::OK, Fate::Answered, content)
}

/// Says what is wrong, in the form in which IBKR says it.
pub(crate) fn failed(status: StatusCode, fate: Fate, why: &str) -> Answer {
    own(status, fate, &json!({ "error": why }))
}

/// Refuses a request. The connection is closed: its body may not have been read.
pub(crate) fn refused(status: StatusCode, why: &str) -> Answer {
    let mut answer = failed(status, Fate::Refused, why);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

pub(crate) fn own(status: StatusCode, fate: Fate, content: &Value) -> Answer {
    text(status, fate, "application/json; charset=utf-8", content.to_string())
}

pub(crate) fn text(status: StatusCode, fate: Fate, content_type: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::from(text));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(MARK, HeaderValue::from_static(fate.as_str()));
    answer
}

pub(crate) fn retry_after(mut answer: Answer, seconds: u64) -> Answer {
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    answer
}
