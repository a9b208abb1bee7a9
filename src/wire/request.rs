//! Request descriptors: what to send, for the caller's HTTP client to send as it is.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::credentials::consumer::Consumer;
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
    url: String,
    /// Where the path begins in `url`.
    path_start: usize,
    headers: Vec<(&'static str, String)>,
    base_string: BaseString,
    body: Vec<u8>,
    receipt: Receipt,
}

/// A body with its `Content-Type`.
pub(crate) type TypedBody = (&'static str, Vec<u8>);

impl Request {
    /// `path_and_query` goes behind the consumer's base URL.
    pub(crate) fn new(
        consumer: &Consumer,
        method: Method,
        path_and_query: &str,
        authorization: String,
        base_string: BaseString,
        body: Option<TypedBody>,
        receipt: Receipt,
    ) -> Self {
        let mut headers = Vec::from([("Accept", "*/*".to_string()), ("Authorization", authorization)]);
        let (content_type, body) = body.map_or((None, Vec::new()), |(kind, body)| (Some(kind), body));
        // Protocol section 2.4: a POST without a body and without `Content-Length: 0` is answered with 411.
        if method != Method::Get || content_type.is_some() {
            headers.push(("Content-Length", body.len().to_string()));
        }
        headers.extend(content_type.map(|kind| ("Content-Type", kind.to_string())));
        // Protocol section 2.3: without it the edge answers 403.
        headers.push(("User-Agent", consumer.user_agent().to_string()));
        Self {
            method,
            url: [consumer.base_url(), path_and_query].concat(),
            path_start: consumer.base_path_start(),
            headers,
            base_string,
            body,
            receipt,
        }
    }

    /// Returns the method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Returns the whole URL, query included.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the host, and the port unless it is the scheme's own: what stands in the `Host` header.
    pub fn authority(&self) -> &str {
        let origin = self.url.get(..self.path_start).unwrap_or_default();
        origin.split_once("://").map_or(origin, |(_, authority)| authority)
    }

    /// Returns path and query: what stands on the request line of HTTP/1.1.
    pub fn path(&self) -> &str {
        self.url.get(self.path_start..).unwrap_or_default()
    }

    /// Names and values, in alphabetical order. Always `Accept`, `Authorization` and `User-Agent`; `Content-Length` on
    /// everything but a GET, `Content-Type` where there is a body.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// Returns what was signed, for comparing with a server's or another client's idea of it. It is not sent.
    ///
    /// A refused signature is traced stage by stage: is the base string the same, byte for byte? Then the signature
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
        f.debug_struct("Request").field("method", &self.method).field("url", &self.url).finish_non_exhaustive()
    }
}
