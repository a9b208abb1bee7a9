//! Responses to send: the carrier adds only what frames them, `Content-Length` and `Connection`.

use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderValue, StatusCode};

use crate::time::{UnixTime, http_date};

pub(crate) type Response = http::Response<Vec<u8>>;

pub(crate) const JSON: &str = "application/json; charset=utf-8";
pub(crate) const HTML: &str = "text/html";
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

/// Returns a response with this body, of this media type.
pub(crate) fn response(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = http::Response::new(body.into_bytes());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Adds the server's time.
pub(crate) fn dated(mut response: Response, now: UnixTime) -> Response {
    response.headers_mut().extend(http_date(now).map(|date| (DATE, date)));
    response
}
