//! The signature base string (protocol section 3).

use alloc::string::String;
use core::fmt;

use crate::percent_encoding::{compare_encoded, encode, encode_into};
use crate::{Method, Secret};

/// How names and values get into the base string.
///
/// Both agree for letters, digits and `-._~`, so for all three OAuth requests of a usual login.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ParameterEncoding {
    /// `name=value&...` is encoded once, as a whole: what IBKR verifies.
    ///
    /// IBKR's published live session token request has `|` in a parameter; its signature fits `%7C` and does not fit
    /// `%257C` (protocol section 3.1).
    #[default]
    Single,
    /// Names and values are encoded, joined, and encoded again, as RFC 5849 section 3.4.1.3.2 has it. Not what IBKR
    /// verifies; for comparing with other OAuth 1.0a implementations.
    Rfc5849,
}

impl ParameterEncoding {
    fn write(self, out: &mut String, text: &str) {
        match self {
            Self::Single => encode_into(out, text),
            Self::Rfc5849 => encode_into(out, &encode(text)),
        }
    }
}

/// The text that is signed: `[prepend]METHOD&url&parameters`.
///
/// `Display` and `Debug` leave the prepend out; [`BaseString::expose`] does not.
///
/// ```
/// use ibkr_oauth::{BaseString, Method, ParameterEncoding};
/// let parameters = [("oauth_token", "a1b2"), ("conid", "8314")];
/// let base = BaseString::new(Method::Get, "https://h/v1/api/x", &parameters, ParameterEncoding::Single);
/// assert_eq!(base.to_string(), "GET&https%3A%2F%2Fh%2Fv1%2Fapi%2Fx&conid%3D8314%26oauth_token%3Da1b2");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct BaseString {
    prepend: Secret<String>,
    unprotected: String,
}

impl BaseString {
    /// Sorts the parameters by encoded name, then encoded value (RFC 5849 section 3.4.1.3.2), and encodes everything.
    ///
    /// `url` goes without query and fragment. `parameters` are all that is signed: the `oauth_*` ones except
    /// `oauth_signature`, the query, a form body; not `realm` (protocol section 2.1), not a JSON body (section 3.5).
    pub fn new(method: Method, url: &str, parameters: &[(&str, &str)], encoding: ParameterEncoding) -> Self {
        let mut sorted = parameters.to_vec();
        sort(&mut sorted);
        let mut text = String::new();
        write(&mut text, method, &[url], sorted.into_iter(), encoding);
        Self::without_prepend(text)
    }

    /// A text that [`write`] wrote.
    pub(crate) fn without_prepend(text: String) -> Self {
        Self { prepend: Secret::new(String::new()), unprotected: text }
    }

    /// The same, with the decrypted access token secret in front as lower-case hex (protocol section 4).
    pub(crate) fn with_prepend(self, secret: &[u8]) -> Self {
        Self { prepend: Secret::new(base16ct::lower::encode_string(secret)), ..self }
    }

    /// The whole text, as signed. **For a live session token request it begins with the decrypted access token
    /// secret**: never log it. For every other request it holds no secret.
    pub fn expose(&self) -> Secret<String> {
        Secret::new([self.prepend.expose().as_str(), &self.unprotected].concat())
    }
}

/// Sorts by encoded name, then encoded value (RFC 5849 section 3.4.1.3.2).
pub(crate) fn sort(parameters: &mut [(&str, &str)]) {
    parameters.sort_unstable_by(|left, right| {
        compare_encoded(left.0, right.0).then_with(|| compare_encoded(left.1, right.1))
    });
}

/// Appends the base string over a URL, given in parts, and parameters that are sorted already. Allocates only where
/// `out` is too small.
pub(crate) fn write<'a>(
    out: &mut String,
    method: Method,
    url: &[&str],
    sorted: impl Iterator<Item = (&'a str, &'a str)>,
    encoding: ParameterEncoding,
) {
    out.push_str(method.as_str());
    out.push('&');
    for part in url {
        encode_into(out, part);
    }
    out.push('&');
    let mut separator = "";
    for (name, value) in sorted {
        out.push_str(separator);
        encoding.write(out, name);
        out.push_str("%3D");
        encoding.write(out, value);
        separator = "%26";
    }
}

impl fmt::Display for BaseString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prepend.expose().len() {
            0 => f.write_str(&self.unprotected),
            digits => write!(f, "[prepend of {digits} hex digits]{}", self.unprotected),
        }
    }
}

impl fmt::Debug for BaseString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseString({self})")
    }
}
