//! Request descriptors: what to send, for the caller's HTTP client to send as it is.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::iter;

use crate::credentials::base_url::BaseUrl;
use crate::credentials::identity::Identity;
use crate::signing::base_string::BaseString;
use crate::wire::method::Method;
use crate::wire::receipt::Receipt;

/// A signed request, ready to be sent once.
///
/// Send it as it is: the method, the URL to the last byte, and these headers (an HTTP client may add `Host`,
/// `Connection` and `Accept-Encoding`; it must neither follow redirects nor send the request twice, because each nonce
/// counts once). A retry is a new request from the session.
///
/// `Debug` leaves the `Authorization` value and the body out.
#[derive(PartialEq, Eq)]
pub struct Request {
    method: Method,
    base_url: Arc<BaseUrl>,
    /// The URL and the values of the [`HEADERS`], each on a line of its own: a line break can stand in none of them.
    lines: String,
    base_string: BaseString,
    body: Vec<u8>,
    receipt: Receipt,
}

/// A body with its `Content-Type`.
pub(crate) type TypedBody<'a> = (&'a str, Vec<u8>);

/// Headers that differ between requests. The line of one that a request has not is empty.
const HEADERS: [&str; 4] = ["Authorization", "Content-Length", "Content-Type", "User-Agent"];
/// Digits of the longest `Content-Length`.
const LONGEST_NUMBER: usize = 20;

/// URL and `Authorization` value on a line each, in one block with room for the other headers.
pub(crate) struct Head(String);

impl Head {
    /// Writes the URL. `length` is what `write_target` writes at most, behind the base URL, and what comes into the other lines,
    /// the length of the body and the user agent left out.
    pub(crate) fn new(identity: &Identity, length: usize, write_target: impl FnOnce(&mut String)) -> Self {
        let lengths = [identity.base_url().len(), length, LONGEST_NUMBER, identity.user_agent().len(), HEADERS.len()];
        let mut lines = String::with_capacity(lengths.into_iter().fold(0, usize::saturating_add));
        lines.push_str(identity.base_url());
        write_target(&mut lines);
        lines.push('\n');
        Self(lines)
    }

    /// Where the `Authorization` value goes.
    pub(crate) fn authorization(&mut self) -> &mut String {
        &mut self.0
    }
}

impl Request {
    pub(crate) fn new(
        identity: &Identity,
        method: Method,
        head: Head,
        base_string: BaseString,
        body: Option<TypedBody<'_>>,
        receipt: Receipt,
    ) -> Self {
        let Head(mut lines) = head;
        lines.push('\n');
        let has_body = body.is_some();
        let (content_type, body) = body.unwrap_or(("", Vec::new()));
        // Protocol section 2.4: a POST without a body and without `Content-Length: 0` is answered with 411.
        if method != Method::Get || has_body {
            // Writing to a `String` does not fail.
            let _ = write!(lines, "{}", body.len());
        }
        // Protocol section 2.3: without a user agent the edge answers 403.
        for text in ["\n", content_type, "\n", identity.user_agent()] {
            lines.push_str(text);
        }
        Self { method, base_url: identity.parsed_base_url().clone(), lines, base_string, body, receipt }
    }

    /// Returns the method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Returns the whole URL, query included.
    pub fn url(&self) -> &str {
        self.lines.split_once('\n').map_or(&self.lines, |(url, _)| url)
    }

    /// Returns the host, and the port unless it is the scheme's own: what stands in the `Host` header.
    pub fn authority(&self) -> &str {
        self.base_url.authority()
    }

    /// Returns path and query: what stands on the request line of HTTP/1.1.
    pub fn path(&self) -> &str {
        self.base_url.path_and_query(self.url())
    }

    /// Returns names and values, in alphabetical order. Always `Accept`, `Authorization` and `User-Agent`; `Content-Length` on
    /// everything but a GET, `Content-Type` where there is a body.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let values = self.lines.split('\n').skip(1);
        let headers = HEADERS.into_iter().zip(values).filter(|(_, value)| !value.is_empty());
        iter::once(("Accept", "*/*")).chain(headers)
    }

    /// Returns what was signed, for comparing with a server's or another client's idea of it. It is not sent.
    ///
    /// A rejected signature is traced stage by stage: is the base string the same, byte for byte? Then the signature
    /// over it: `oauth_signature` in the `Authorization` header is base64, percent-encoded once. Then the rest of that
    /// header.
    pub fn base_string(&self) -> &BaseString {
        &self.base_string
    }

    /// Returns what to hand in with the response to an API request.
    pub fn receipt(&self) -> Receipt {
        self.receipt
    }

    /// Returns the body; empty for every OAuth request ([protocol section 2.4](crate::protocol#section-2-4)).
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    #[cfg(feature = "http")]
    pub(crate) fn into_body(self) -> Vec<u8> {
        self.body
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).field("url", &self.url()).finish_non_exhaustive()
    }
}
