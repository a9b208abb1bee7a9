//! What the caller wants from the API, before it is signed.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use crate::error::Misuse;
use crate::percent_encoding::{decode, encode_into};
use crate::request::TypedBody;
use crate::{Method, url};

/// A request to the Web API: method, path, query and body.
///
/// ```
/// use ibkr_oauth::ApiRequest;
/// let fields = [("conids", "265598,8314"), ("fields", "31,84,86")];
/// let snapshot = ApiRequest::get("/iserver/marketdata/snapshot").query(&fields);
/// let init = ApiRequest::post("/iserver/auth/ssodh/init").json(br#"{"publish":true,"compete":true}"#);
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "nothing is sent before it is signed"]
pub struct ApiRequest<'a> {
    method: Method,
    path: &'a str,
    query: Query<'a>,
    body: Body<'a>,
}

/// Names and values as they are meant, not encoded; repeated names are kept.
type Pairs<'a> = &'a [(&'a str, &'a str)];

#[derive(Debug, Clone, Copy)]
enum Query<'a> {
    Pairs(Pairs<'a>),
    Raw(&'a str),
}

#[derive(Debug, Clone, Copy)]
enum Body<'a> {
    None,
    Form(Pairs<'a>),
    Json(&'a [u8]),
}

impl<'a> ApiRequest<'a> {
    /// `path` goes behind the base URL: it begins with `/` and has no query.
    pub const fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, query: Query::Pairs(&[]), body: Body::None }
    }

    /// A `GET`.
    pub const fn get(path: &'a str) -> Self {
        Self::new(Method::Get, path)
    }

    /// A `POST`.
    pub const fn post(path: &'a str) -> Self {
        Self::new(Method::Post, path)
    }

    /// A `PUT`.
    pub const fn put(path: &'a str) -> Self {
        Self::new(Method::Put, path)
    }

    /// A `DELETE`.
    pub const fn delete(path: &'a str) -> Self {
        Self::new(Method::Delete, path)
    }

    /// The query, as names and values that are not encoded yet.
    pub const fn query(mut self, pairs: &'a [(&'a str, &'a str)]) -> Self {
        self.query = Query::Pairs(pairs);
        self
    }

    /// The query, as it stands behind the `?`: percent-encoded, joined by `&`; `+` is a space. It is decoded, and sent
    /// in the encoding that is signed.
    pub const fn raw_query(mut self, query: &'a str) -> Self {
        self.query = Query::Raw(query);
        self
    }

    /// A form as body. Its fields are signed (protocol section 3.5).
    pub const fn form(mut self, pairs: &'a [(&'a str, &'a str)]) -> Self {
        self.body = Body::Form(pairs);
        self
    }

    /// JSON as body. It is not signed (protocol section 3.5).
    pub const fn json(mut self, body: &'a [u8]) -> Self {
        self.body = Body::Json(body);
        self
    }

    pub(crate) fn method(&self) -> Method {
        self.method
    }

    pub(crate) fn path(&self) -> &'a str {
        self.path
    }

    /// Checks the request and decodes its parameters.
    pub(crate) fn parameters(&self) -> Result<Parameters<'a>, Misuse> {
        if !url::is_path(self.path) {
            return Err(Misuse::InvalidPath);
        }
        let query = match self.query {
            Query::Pairs(pairs) => borrowed(pairs),
            Query::Raw(query) => parsed(query)?,
        };
        let form = match self.body {
            Body::Form(pairs) => borrowed(pairs),
            Body::None | Body::Json(_) => Vec::new(),
        };
        if query.iter().chain(&form).any(|(name, _)| name.starts_with("oauth_")) {
            return Err(Misuse::ReservedParameter);
        }
        Ok(Parameters { query, form })
    }

    /// The body as sent. `form` are the decoded fields of a form body.
    pub(crate) fn typed_body(&self, form: &[Pair<'_>]) -> Option<TypedBody> {
        match self.body {
            Body::None => None,
            Body::Form(_) => Some(("application/x-www-form-urlencoded", encoded(form).into_bytes())),
            Body::Json(json) => Some(("application/json", json.to_vec())),
        }
    }
}

/// A name and a value, decoded.
pub(crate) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The parameters of a request that take part in signing.
pub(crate) struct Parameters<'a> {
    pub(crate) query: Vec<Pair<'a>>,
    pub(crate) form: Vec<Pair<'a>>,
}

fn borrowed<'a>(pairs: Pairs<'a>) -> Vec<Pair<'a>> {
    pairs.iter().map(|(name, value)| (Cow::Borrowed(*name), Cow::Borrowed(*value))).collect()
}

fn parsed(query: &str) -> Result<Vec<Pair<'static>>, Misuse> {
    let plain = |encoded: &str| decode(&encoded.replace('+', " ")).map(Cow::Owned).map_err(|_| Misuse::InvalidQuery);
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| Ok((plain(name)?, plain(value)?)))
        .collect()
}

/// `name=value&...` with names and values encoded: a query or a form body.
pub(crate) fn encoded(pairs: &[Pair<'_>]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        encode_into(&mut text, name);
        text.push('=');
        encode_into(&mut text, value);
    }
    text
}
