//! What goes over the wire, before anyone has made sense of it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// A request as it arrived: nothing decoded, nothing judged.
///
/// The body is whole and free of transfer coding.
#[derive(Clone, Copy, Debug)]
pub struct RawRequest<'r> {
    /// The method, in upper case.
    pub method: &'r str,
    /// Path and query, as they stand on the request line.
    pub target: &'r str,
    /// Names, in any case, and values, in the order they came.
    pub headers: &'r [(&'r str, &'r [u8])],
    /// The body; empty if there is none.
    pub body: &'r [u8],
}

impl<'r> RawRequest<'r> {
    /// The first header of that name.
    pub(super) fn header(&self, name: &str) -> Option<&'r [u8]> {
        let mut headers = self.headers.iter();
        headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// Is the body of this media type, whatever parameters follow it?
    pub(super) fn body_is(&self, media_type: &str) -> bool {
        let content_type = self.header("content-type").unwrap_or_default();
        let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(media_type.as_bytes())
    }
}

/// A response to be sent: the carrier adds only what frames it, `Content-Length` and `Connection`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawResponse {
    /// The status code.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl RawResponse {
    pub(super) fn new(status: u16, content_type: &str, body: String) -> Self {
        let headers = [("Content-Type".to_string(), content_type.to_string())];
        Self { status, headers: headers.into(), body: body.into_bytes() }
    }

    pub(super) fn with_header(mut self, name: &str, value: String) -> Self {
        self.headers.push((name.to_string(), value));
        self
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}
