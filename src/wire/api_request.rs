//! API requests: method, path, query and body, before they are signed.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use crate::credentials::base_url;
use crate::error::Misuse;
use crate::signing::percent_encoding::{decode_form, write_to};
use crate::signing::percent_tables::ONCE;
use crate::wire::method::Method;
use crate::wire::request::TypedBody;

/// A request to the Web API: method, path, query and body.
///
/// ```
/// use ibkr_oauth::ApiRequest;
/// let fields = [("conids", "265598,8314"), ("fields", "31,84,86")];
/// let snapshot = ApiRequest::get("/iserver/marketdata/snapshot").query(&fields);
/// let init = ApiRequest::post("/iserver/auth/ssodh/init").json(br#"{"publish":true,"compete":true}"#);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "nothing is sent before it is signed"]
pub struct ApiRequest<'a> {
    method: Method,
    path: &'a str,
    pub(crate) query: Query<'a>,
    pub(crate) body: Body<'a>,
}

/// Names and values as they are meant, not encoded; repeated names are kept.
pub(crate) type Pairs<'a> = &'a [(&'a str, &'a str)];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Query<'a> {
    Pairs(Pairs<'a>),
    Raw(&'a str),
    Verbatim(&'a str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Body<'a> {
    None,
    Form(Pairs<'a>),
    Json(&'a [u8]),
    Typed { content_type: &'a str, bytes: &'a [u8] },
}

impl<'a> ApiRequest<'a> {
    /// Makes a request; `path` goes behind the base URL: it begins with `/` and has no query.
    pub const fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, query: Query::Pairs(&[]), body: Body::None }
    }

    /// Makes a `GET`.
    pub const fn get(path: &'a str) -> Self {
        Self::new(Method::Get, path)
    }

    /// Makes a `POST`.
    pub const fn post(path: &'a str) -> Self {
        Self::new(Method::Post, path)
    }

    /// Makes a `PUT`.
    pub const fn put(path: &'a str) -> Self {
        Self::new(Method::Put, path)
    }

    /// Makes a `DELETE`.
    pub const fn delete(path: &'a str) -> Self {
        Self::new(Method::Delete, path)
    }

    /// Sets the query, as names and values that are not encoded yet.
    pub const fn query(mut self, pairs: &'a [(&'a str, &'a str)]) -> Self {
        self.query = Query::Pairs(pairs);
        self
    }

    /// Sets the query, as it stands behind the `?`: percent-encoded, joined by `&`; `+` is a space. It is decoded, and
    /// sent in the encoding that is signed.
    pub const fn raw_query(mut self, query: &'a str) -> Self {
        self.query = Query::Raw(query);
        self
    }

    /// Sets the query as it is sent, byte for byte: what stands behind the `?` of another client's request, to be passed on.
    /// Where the query is signed ([`QueryPolicy`](crate::QueryPolicy)), its decoded parameters are, as with
    /// [`raw_query`](Self::raw_query).
    pub const fn verbatim_query(mut self, query: &'a str) -> Self {
        self.query = Query::Verbatim(query);
        self
    }

    /// Sets a form as body. Its fields are signed ([protocol section 3.5](crate::protocol#section-3-5)).
    pub const fn form(mut self, pairs: &'a [(&'a str, &'a str)]) -> Self {
        self.body = Body::Form(pairs);
        self
    }

    /// Sets JSON as body. It is not signed ([protocol section 3.5](crate::protocol#section-3-5)).
    pub const fn json(mut self, body: &'a [u8]) -> Self {
        self.body = Body::Json(body);
        self
    }

    /// Sets a body of another media type, such as `text/plain`, which is sent as it is and not signed. A form belongs into
    /// [`form`](Self::form): its fields are signed.
    pub const fn body(mut self, content_type: &'a str, bytes: &'a [u8]) -> Self {
        self.body = Body::Typed { content_type, bytes };
        self
    }

    pub(crate) fn method(&self) -> Method {
        self.method
    }

    pub(crate) fn path(&self) -> &'a str {
        self.path
    }

    /// Checks path and query, and decodes the query.
    pub(crate) fn decoded_query(&self) -> Result<DecodedQuery<'a>, Misuse> {
        if !base_url::is_path(self.path) {
            return Err(Misuse::InvalidPath);
        }
        match self.query {
            Query::Pairs(pairs) => Ok(DecodedQuery::Pairs(pairs)),
            Query::Verbatim(query) if !can_be_sent(query) => Err(Misuse::InvalidQuery),
            Query::Raw(query) | Query::Verbatim(query) => decoded(query),
        }
    }

    /// Returns the parameters that may be signed, and checks them. `query` is that of [`decoded_query`](Self::decoded_query).
    pub(crate) fn parameters<'q>(&self, query: Pairs<'q>) -> Result<Parameters<'q>, Misuse>
    where
        'a: 'q,
    {
        let form = match self.body {
            Body::Form(pairs) => pairs,
            Body::Typed { content_type, .. } if !is_header_value(content_type) => {
                return Err(Misuse::InvalidContentType);
            }
            Body::None | Body::Json(_) | Body::Typed { .. } => &[],
        };
        let is_reserved = |(name, _): &(&str, &str)| name.starts_with("oauth_");
        if query.iter().any(is_reserved) || form.iter().any(is_reserved) {
            return Err(Misuse::ReservedParameter);
        }
        Ok(Parameters { query, form })
    }

    /// Appends path and query as sent.
    pub(crate) fn write_target(&self, out: &mut String, parameters: &Parameters<'_>) {
        out.push_str(self.path);
        if let Query::Verbatim(query) = self.query {
            out.push('?');
            out.push_str(query);
            return;
        }
        if !parameters.query.is_empty() {
            out.push('?');
            encode_pairs(out, parameters.query);
        }
    }

    /// Bytes that path and query can take at most.
    pub(crate) fn longest_target(&self, parameters: &Parameters<'_>) -> usize {
        let longest =
            |name: &str, value: &str| name.len().saturating_add(value.len()).saturating_mul(3).saturating_add(2);
        if let Query::Verbatim(query) = self.query {
            return self.path.len().saturating_add(query.len()).saturating_add(1);
        }
        let parameters = parameters.query.iter().map(|(name, value)| longest(name, value));
        parameters.fold(self.path.len(), usize::saturating_add)
    }

    /// The body as sent.
    pub(crate) fn typed_body(&self) -> Option<TypedBody<'a>> {
        match self.body {
            Body::None => None,
            Body::Form(pairs) => {
                let mut form = String::new();
                encode_pairs(&mut form, pairs);
                Some(("application/x-www-form-urlencoded", form.into_bytes()))
            }
            Body::Json(json) => Some(("application/json", json.to_vec())),
            Body::Typed { content_type, bytes } => Some((content_type, bytes.to_vec())),
        }
    }
}

/// The parameters of a request that may be signed, not encoded.
pub(crate) struct Parameters<'a> {
    pub(crate) query: Pairs<'a>,
    pub(crate) form: Pairs<'a>,
}

/// A query that is not encoded.
pub(crate) enum DecodedQuery<'a> {
    /// It never was.
    Pairs(Pairs<'a>),
    /// What needs no decoding is borrowed.
    Raw(Vec<(Cow<'a, str>, Cow<'a, str>)>),
}

impl DecodedQuery<'_> {
    /// Returns names and values.
    pub(crate) fn pairs(&self) -> Cow<'_, [(&str, &str)]> {
        match self {
            Self::Pairs(pairs) => Cow::Borrowed(*pairs),
            Self::Raw(pairs) => Cow::Owned(pairs.iter().map(|(name, value)| (&**name, &**value)).collect()),
        }
    }
}

/// Whether a query can stand on a request line as it is.
fn can_be_sent(query: &str) -> bool {
    query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

fn is_header_value(value: &str) -> bool {
    value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

fn decoded(query: &str) -> Result<DecodedQuery<'_>, Misuse> {
    let mut decoded = Vec::with_capacity(query.bytes().filter(|byte| *byte == b'&').count().saturating_add(1));
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        decoded.push((plain(name)?, plain(value)?));
    }
    Ok(DecodedQuery::Raw(decoded))
}

fn plain(encoded: &str) -> Result<Cow<'_, str>, Misuse> {
    if !encoded.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Ok(Cow::Borrowed(encoded));
    }
    decode_form(encoded).map(Cow::Owned).map_err(|_| Misuse::InvalidQuery)
}

/// Appends `name=value&...` with names and values encoded: a query or a form body.
fn encode_pairs(out: &mut String, pairs: Pairs<'_>) {
    write_to(out, |out| {
        let mut separator = "";
        for (name, value) in pairs {
            out.plain(separator);
            out.encode(name, &ONCE);
            out.plain("=");
            out.encode(value, &ONCE);
            separator = "&";
        }
    });
}
