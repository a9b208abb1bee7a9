//! What the caller wants from the API, before it is signed.

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

    /// Bytes of the path, and of all parameters with their separators.
    pub(crate) fn length(&self) -> usize {
        let query = match self.query {
            Query::Pairs(query) => pairs_length(query),
            Query::Raw(query) => query.len(),
        };
        let form = match self.body {
            Body::Form(form) => pairs_length(form),
            Body::None | Body::Json(_) => 0,
        };
        self.path.len().saturating_add(query).saturating_add(form)
    }

    /// Checks the request and decodes its parameters.
    pub(crate) fn parameters(&self) -> Result<Parameters<'a>, Misuse> {
        if !url::is_path(self.path) {
            return Err(Misuse::InvalidPath);
        }
        let (query, raw_query) = match self.query {
            Query::Pairs(pairs) => (pairs, Vec::new()),
            Query::Raw(query) => (Default::default(), decoded(query)?),
        };
        let form = match self.body {
            Body::Form(pairs) => pairs,
            Body::None | Body::Json(_) => &[],
        };
        let parameters = Parameters { query, raw_query, form };
        let mut names = parameters.query().chain(parameters.form()).map(|(name, _)| name);
        if names.any(|name| name.starts_with("oauth_")) {
            return Err(Misuse::ReservedParameter);
        }
        drop(names);
        Ok(parameters)
    }

    /// Path and query as sent.
    pub(crate) fn path_and_query(&self, parameters: &Parameters<'_>) -> String {
        let mut target = String::from(self.path);
        if parameters.query().next().is_some() {
            target.push('?');
            encode_pairs(&mut target, parameters.query());
        }
        target
    }

    /// The body as sent.
    pub(crate) fn typed_body(&self) -> Option<TypedBody> {
        match self.body {
            Body::None => None,
            Body::Form(pairs) => {
                let mut form = String::new();
                encode_pairs(&mut form, pairs.iter().copied());
                Some(("application/x-www-form-urlencoded", form.into_bytes()))
            }
            Body::Json(json) => Some(("application/json", json.to_vec())),
        }
    }
}

/// Bytes of the pairs, with two separators each.
fn pairs_length(pairs: Pairs<'_>) -> usize {
    pairs.iter().flat_map(|(name, value)| [name.len(), value.len(), 2]).fold(0, usize::saturating_add)
}

/// The parameters of a request that may be signed, decoded.
pub(crate) struct Parameters<'a> {
    query: Pairs<'a>,
    raw_query: Vec<(String, String)>,
    form: Pairs<'a>,
}

impl Parameters<'_> {
    pub(crate) fn query(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let decoded = self.raw_query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        self.query.iter().copied().chain(decoded)
    }

    pub(crate) fn form(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.form.iter().copied()
    }
}

fn decoded(query: &str) -> Result<Vec<(String, String)>, Misuse> {
    let plain = |encoded: &str| decode(&encoded.replace('+', " ")).map_err(|_| Misuse::InvalidQuery);
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| Ok((plain(name)?, plain(value)?))).collect()
}

/// Appends `name=value&...` with names and values encoded: a query or a form body.
fn encode_pairs<'a>(out: &mut String, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut separator = "";
    for (name, value) in pairs {
        out.push_str(separator);
        encode_into(out, name);
        out.push('=');
        encode_into(out, value);
        separator = "&";
    }
}
