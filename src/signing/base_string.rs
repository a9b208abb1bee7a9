//! The signature base string ([protocol section 3](crate::protocol#section-3)).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::secret::Secret;
use crate::signing::percent_encoding::{Encoder, append_to, compare_encoded, encoded_prefix};
use crate::signing::percent_tables::{AMPERSAND, Code, EQUALS, NOTHING, ONCE, TWICE, Table};
use crate::signing::policy::ParameterEncoding;
use crate::signing::template::{Filling, Slot, Template};
use crate::wire::method::Method;

impl ParameterEncoding {
    fn table(self) -> &'static Table {
        match self {
            Self::Single => &ONCE,
            Self::Rfc5849 => &TWICE,
        }
    }
}

/// The text that is signed: `[prepend]METHOD&url&parameters`.
///
/// `Display` and `Debug` leave the prepend out; [`BaseString::text`] does not.
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
    /// Sorts the parameters by encoded name, then encoded value
    /// ([RFC 5849 section 3.4.1.3.2](https://www.rfc-editor.org/rfc/rfc5849#section-3.4.1.3.2)), and encodes
    /// everything.
    ///
    /// `url` goes without query and fragment. `parameters` are all that is signed: the `oauth_*` ones except
    /// `oauth_signature`, the query, a form body; not `realm` ([protocol section 2.1](crate::protocol#section-2-1)),
    /// not a JSON body ([protocol section 3.5](crate::protocol#section-3-5)).
    pub fn new(method: Method, url: &str, parameters: &[(&str, &str)], encoding: ParameterEncoding) -> Self {
        let mut sorted: Vec<_> = parameters.iter().map(Parameter::new).collect();
        sort(&mut sorted);
        let mut text = String::new();
        append_to(&mut text, |out| Writer::new(out, method, "", url, encoding).parameters(&sorted));
        Self::without_prepend(text)
    }

    /// A text that [`Writer`] wrote.
    pub(crate) fn without_prepend(text: String) -> Self {
        Self { prepend: Secret::new(String::new()), unprotected: text }
    }

    /// The same, with the decrypted access token secret in front as lower-case hex
    /// ([protocol section 4](crate::protocol#section-4)).
    pub(crate) fn with_prepend(self, secret: &[u8]) -> Self {
        Self { prepend: Secret::new(base16ct::lower::encode_string(secret)), ..self }
    }

    /// Returns the whole text, as signed. **For a live session token request it begins with the decrypted access token
    /// secret**: never log it. For every other request it holds no secret.
    pub fn text(&self) -> Secret<String> {
        Secret::new([self.prepend.expose().as_str(), &self.unprotected].concat())
    }
}

/// A parameter that can be sorted.
#[derive(Clone, Copy)]
pub(crate) struct Parameter<'a> {
    /// The beginning of the name. Most names differ here already, and numbers are compared faster than texts.
    prefix: u128,
    pair: &'a (&'a str, &'a str),
}

impl<'a> Parameter<'a> {
    pub(crate) const NONE: Self = Self { prefix: 0, pair: &("", "") };

    pub(crate) fn new(pair: &'a (&'a str, &'a str)) -> Self {
        Self { prefix: encoded_prefix(pair.0), pair }
    }
}

/// Sorts by encoded name, then encoded value
/// ([RFC 5849 section 3.4.1.3.2](https://www.rfc-editor.org/rfc/rfc5849#section-3.4.1.3.2)).
pub(crate) fn sort(parameters: &mut [Parameter<'_>]) {
    parameters.sort_unstable_by_key(|parameter| parameter.prefix);
    if parameters.is_sorted_by(|left, right| left.prefix < right.prefix) {
        return;
    }
    for alike in parameters.chunk_by_mut(|left, right| left.prefix == right.prefix) {
        alike.sort_unstable_by(|Parameter { pair: left, .. }, Parameter { pair: right, .. }| {
            compare_encoded(left.0, right.0).then_with(|| compare_encoded(left.1, right.1))
        });
    }
}

/// Where in a sorted list parameters belong whose names begin with `beginning`, if it has none of them.
pub(crate) fn place_of(beginning: &str, sorted: &[Parameter<'_>]) -> usize {
    let beginning = encoded_prefix(beginning);
    sorted.partition_point(|parameter| parameter.prefix < beginning)
}

/// Writes a base string from left to right.
pub(crate) struct Writer<'w, 's> {
    out: &'w mut Encoder<'s>,
    encoding: ParameterEncoding,
    separator: Code,
}

impl<'w, 's> Writer<'w, 's> {
    /// Writes what stands before the parameters. The URL comes in two parts; the first is encoded already.
    pub(crate) fn new(
        out: &'w mut Encoder<'s>,
        method: Method,
        encoded_url: &str,
        path: &str,
        encoding: ParameterEncoding,
    ) -> Self {
        out.plain(method.as_str());
        out.plain("&");
        out.plain(encoded_url);
        out.encode(path, &ONCE);
        out.plain("&");
        Self { out, encoding, separator: NOTHING }
    }

    /// Writes parameters that are sorted already.
    pub(crate) fn parameters(&mut self, sorted: &[Parameter<'_>]) {
        let table = self.encoding.table();
        for Parameter { pair: (name, value), .. } in sorted {
            write_name(self.out, self.separator, name, table);
            self.out.encode(value, table);
            self.separator = AMPERSAND;
        }
    }

    /// Writes parameters from a [`template`].
    pub(crate) fn template(&mut self, template: &Template, fillings: &[Filling<'_>]) {
        self.out.code(self.separator);
        template.fill(self.out, fillings);
        self.separator = AMPERSAND;
    }
}

/// Parameters that are sorted already, and some of which have no value yet.
pub(crate) fn template<'a>(sorted: impl IntoIterator<Item = Slot<'a>>, encoding: ParameterEncoding) -> Template {
    let (mut template, mut separator) = (Template::default(), NOTHING);
    for (name, value) in sorted {
        template.text(|out| write_name(out, separator, name, encoding.table()));
        match value {
            Some(value) => template.text(|out| out.encode(value, encoding.table())),
            None => template.gap(),
        }
        separator = AMPERSAND;
    }
    template
}

/// The separators are encoded once, whatever becomes of the parameters.
#[inline]
fn write_name(out: &mut Encoder<'_>, separator: Code, name: &str, table: &Table) {
    out.code(separator);
    out.encode(name, table);
    out.code(EQUALS);
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
