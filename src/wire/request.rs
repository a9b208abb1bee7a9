//! Request descriptors: what to send, for the caller's HTTP client to send as it is.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::ops::Range;

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
    /// The URL, then the values of `Authorization`, `Content-Length`, `Content-Type` and `User-Agent`.
    text: String,
    /// Where URL, `Authorization`, `Content-Length` and `Content-Type` end in `text`.
    ends: [usize; 4],
    base_string: BaseString,
    body: Vec<u8>,
    receipt: Receipt,
}

/// A body with its `Content-Type`.
pub(crate) type TypedBody<'a> = (&'a str, Vec<u8>);

/// URL and `Authorization` value, in one block with room for the other headers.
pub(crate) struct Head {
    text: String,
    url_end: usize,
}

impl Head {
    /// `length` is what `write_target` and `write_authorization` write at most. The target goes behind the base URL.
    pub(crate) fn write(
        identity: &Identity,
        length: usize,
        write_target: impl FnOnce(&mut String),
        write_authorization: impl FnOnce(&mut String),
    ) -> Self {
        let (base_url, user_agent) = (identity.base_url(), identity.user_agent());
        let own = base_url.len().saturating_add(LONGEST_NUMBER).saturating_add(user_agent.len());
        let mut text = String::with_capacity(length.saturating_add(own));
        text.push_str(base_url);
        write_target(&mut text);
        let url_end = text.len();
        write_authorization(&mut text);
        Self { text, url_end }
    }
}

/// Digits of the longest `Content-Length`.
const LONGEST_NUMBER: usize = 20;

impl Request {
    pub(crate) fn new(
        identity: &Identity,
        method: Method,
        head: Head,
        base_string: BaseString,
        body: Option<TypedBody<'_>>,
        receipt: Receipt,
    ) -> Self {
        let Head { mut text, url_end } = head;
        let authorization_end = text.len();
        let (content_type, body) = body.map_or((None, Vec::new()), |(kind, body)| (Some(kind), body));
        // Protocol section 2.4: a POST without a body and without `Content-Length: 0` is answered with 411.
        if method != Method::Get || content_type.is_some() {
            // Writing to a `String` does not fail.
            let _ = write!(text, "{}", body.len());
        }
        let length_end = text.len();
        // No header, no text: `headers` leaves it out where nothing stands.
        text.push_str(content_type.unwrap_or_default());
        let type_end = text.len();
        // Protocol section 2.3: without it the edge answers 403.
        text.push_str(identity.user_agent());
        Self {
            method,
            text,
            base_url: identity.parsed_base_url().clone(),
            ends: [url_end, authorization_end, length_end, type_end],
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
        // The ends were noted between one text and the next.
        self.text.get(..self.url_end()).unwrap_or_default()
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
        let [url_end, authorization_end, length_end, type_end] = self.ends;
        let text = |part: Range<usize>| self.text.get(part).unwrap_or_default();
        let headers = [
            ("Accept", "*/*"),
            ("Authorization", text(url_end..authorization_end)),
            ("Content-Length", text(authorization_end..length_end)),
            ("Content-Type", text(length_end..type_end)),
            ("User-Agent", text(type_end..self.text.len())),
        ];
        headers.into_iter().filter(|(_, value)| !value.is_empty())
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

    fn url_end(&self) -> usize {
        let [url_end, ..] = self.ends;
        url_end
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
