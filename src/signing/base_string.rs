//! The signature base string ([protocol section 3](crate::protocol#section-3)).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::secret::Secret;
use crate::signing::percent_encoding::{Encoder, Sink, compare_encoded, eight_ranks, write_to};
use crate::signing::percent_tables::{AMPERSAND, Code, EQUALS, LONGEST_CODE, NOTHING, ONCE, TWICE, Table};
use crate::signing::policy::ParameterEncoding;
use crate::signing::template::{Slot, Template};
use crate::wire::method::Method;

impl ParameterEncoding {
    fn table(self) -> &'static Table<Code> {
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
    /// Not an empty text where there is none: to wipe no bytes takes 100 ns on some processors.
    prepend: Option<Secret<String>>,
    /// ASCII. Whether it is UTF-8 is looked at when it is read: most of them never are, and it takes a thirtieth of `sign`.
    unprotected: Vec<u8>,
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
        let mut text = Vec::new();
        write_to(&mut text, |out| Writer::new(out, method, "", url, encoding).parameters(&sorted));
        Self::without_prepend(text)
    }

    /// A text that [`Writer`] wrote.
    pub(crate) fn without_prepend(text: Vec<u8>) -> Self {
        Self { prepend: None, unprotected: text }
    }

    /// The same, with the decrypted access token secret in front as lower-case hex
    /// ([protocol section 4](crate::protocol#section-4)).
    pub(crate) fn with_prepend(self, secret: &[u8]) -> Self {
        let prepend = (!secret.is_empty()).then(|| Secret::new(base16ct::lower::encode_string(secret)));
        Self { prepend, ..self }
    }

    /// Returns the whole text, as signed. **For a live session token request it begins with the decrypted access token
    /// secret**: never log it. For every other request it holds no secret.
    pub fn text(&self) -> Secret<String> {
        let prepend = self.prepend.as_ref().map_or("", |prepend| prepend.expose());
        Secret::new([prepend, &String::from_utf8_lossy(&self.unprotected)].concat())
    }
}

/// A parameter that can be sorted.
#[derive(Clone, Copy)]
pub(crate) struct Parameter<'a> {
    /// [`eight_ranks`] of the name: most names differ in their first eight bytes, and numbers are compared faster than texts.
    ranks: u64,
    pair: &'a (&'a str, &'a str),
}

impl<'a> Parameter<'a> {
    pub(crate) const NONE: Self = Self { ranks: 0, pair: &("", "") };

    pub(crate) fn new(pair: &'a (&'a str, &'a str)) -> Self {
        Self { ranks: eight_ranks(pair.0, 0), pair }
    }
}

/// Sorts by encoded name, then encoded value
/// ([RFC 5849 section 3.4.1.3.2](https://www.rfc-editor.org/rfc/rfc5849#section-3.4.1.3.2)): by the first eight bytes of the
/// name, where these are equal by the next eight, and where those are equal too, by everything.
pub(crate) fn sort(parameters: &mut [Parameter<'_>]) {
    sort_alike(parameters, |alike| {
        alike.iter_mut().for_each(|parameter| parameter.ranks = eight_ranks(parameter.pair.0, 8));
        sort_alike(alike, |alike| {
            alike.sort_unstable_by(|Parameter { pair: left, .. }, Parameter { pair: right, .. }| {
                compare_encoded(left.0, right.0).then_with(|| compare_encoded(left.1, right.1))
            });
        });
    });
}

/// Sorts by `ranks`, and hands each group of parameters with equal ranks to `sort_further`.
fn sort_alike<'a>(parameters: &mut [Parameter<'a>], sort_further: impl Fn(&mut [Parameter<'a>])) {
    parameters.sort_unstable_by_key(|parameter| parameter.ranks);
    if parameters.is_sorted_by(|left, right| left.ranks < right.ranks) {
        return;
    }
    parameters
        .chunk_by_mut(|left, right| left.ranks == right.ranks)
        .filter(|alike| alike.len() > 1)
        .for_each(sort_further);
}

/// Returns how many of the parameters sort before every name that begins with `beginning`. None of theirs does, and
/// `beginning` has no more than eight bytes.
pub(crate) fn place_of(beginning: &str, unsorted: &[Parameter<'_>]) -> usize {
    let beginning = eight_ranks(beginning, 0);
    unsorted.iter().filter(|parameter| parameter.ranks < beginning).count()
}

/// Bytes that the parameters take at most, encoded and with a separator before each.
pub(crate) fn longest(parameters: &[Parameter<'_>]) -> usize {
    let longest = |(name, value): &(&str, &str)| {
        name.len().saturating_add(value.len()).saturating_add(2).saturating_mul(LONGEST_CODE)
    };
    parameters.iter().map(|parameter| longest(parameter.pair)).fold(LONGEST_CODE, usize::saturating_add)
}

/// Writes a base string from left to right.
pub(crate) struct Writer<'w, 's, S> {
    out: &'w mut Encoder<'s, S>,
    encoding: ParameterEncoding,
    separator: Code,
}

impl<'w, 's, S: Sink> Writer<'w, 's, S> {
    /// Writes what stands before the parameters. The URL comes in two parts; the first is encoded already.
    pub(crate) fn new(
        out: &'w mut Encoder<'s, S>,
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

    /// Goes on behind other parameters.
    pub(crate) fn following(out: &'w mut Encoder<'s, S>, encoding: ParameterEncoding) -> Self {
        Self { out, encoding, separator: AMPERSAND }
    }

    /// Writes parameters that are sorted already.
    pub(crate) fn parameters(&mut self, sorted: &[Parameter<'_>]) {
        let table = self.encoding.table();
        for Parameter { pair: (name, value), .. } in sorted {
            // The separators are encoded once, whatever becomes of the parameters.
            self.separator();
            self.out.encode(name, table);
            self.out.code(EQUALS);
            self.out.encode(value, table);
            self.out.hand_over();
        }
    }

    /// Writes the `&` before the next parameter, if there was one before.
    pub(crate) fn separator(&mut self) {
        self.out.code(self.separator);
        self.separator = AMPERSAND;
    }

    /// Writes parameters from a [`template`].
    pub(crate) fn template(&mut self, template: &Template, fillings: &[&str]) {
        self.separator();
        template.fill(fillings, |text| {
            self.out.plain(text);
            self.out.hand_over();
        });
    }
}

/// Parameters that are sorted already, and some of which have no value yet.
pub(crate) fn template<'a>(sorted: impl IntoIterator<Item = Slot<'a>>, encoding: ParameterEncoding) -> Template {
    let (mut template, mut separator) = (Template::default(), "");
    for (name, value) in sorted {
        template.encode(separator, &ONCE);
        template.encode(name, encoding.table());
        template.encode("=", &ONCE);
        match value {
            Some(value) => template.encode(value, encoding.table()),
            None => template.gap(),
        }
        separator = "&";
    }
    template
}

impl fmt::Display for BaseString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(prepend) = &self.prepend {
            write!(f, "[prepend of {} hex digits]", prepend.expose().len())?;
        }
        f.write_str(&String::from_utf8_lossy(&self.unprotected))
    }
}

impl fmt::Debug for BaseString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseString({self})")
    }
}
