//! The `Authorization` header, in all the layouts that are in use (protocol section 2.2).

use std::collections::BTreeMap;

use crate::percent_encoding::percent_decode;
use crate::rejection::Rejection;

/// Longest header value that is read, in bytes: a DH challenge and a signature by the largest keys fit several times.
const MAX_LENGTH: usize = 16 * 1024;

/// The parameters of the header: names as they came, values percent-decoded once.
#[derive(Debug)]
pub(crate) struct Authorization {
    parameters: BTreeMap<String, String>,
}

impl Authorization {
    /// Accepts the realm anywhere, quoted or not, and commas with or without space, in any order.
    pub(crate) fn parse(value: &[u8]) -> Result<Self, Rejection> {
        if value.len() > MAX_LENGTH {
            return Err(Rejection::Malformed("the Authorization header is too long"));
        }
        let text =
            std::str::from_utf8(value).map_err(|_| Rejection::Malformed("the Authorization header is not text"))?;
        let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("OAuth") {
            return Err(Rejection::Malformed("the Authorization header does not start with OAuth"));
        }
        let mut parameters = BTreeMap::new();
        while !rest.is_empty() {
            let (name, value, after) = split_parameter(rest).ok_or(BROKEN_PAIR)?;
            let value = percent_decode(value.as_bytes()).and_then(|bytes| String::from_utf8(bytes).ok());
            let value = value.ok_or(Rejection::Malformed("a parameter is not percent-encoded UTF-8"))?;
            if parameters.insert(String::from(name), value).is_some() {
                return Err(Rejection::Malformed("a parameter occurs twice"));
            }
            rest = after;
        }
        Ok(Self { parameters })
    }

    /// The value of a parameter; a rejection that names it if the header has none.
    pub(crate) fn get(&self, name: &'static str) -> Result<&str, Rejection> {
        self.parameters.get(name).map(String::as_str).ok_or(Rejection::Missing(name))
    }

    /// What the signature covers: all but itself and the realm (protocol section 2.1).
    pub(crate) fn signed(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let covered = self.parameters.iter().filter(|(name, _)| !matches!(name.as_str(), "realm" | "oauth_signature"));
        covered.map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes())).collect()
    }
}

const BROKEN_PAIR: Rejection = Rejection::Malformed("the Authorization header is not a list of name=\"value\"");

/// The first `name="value"` or `name=value`, and what follows its comma.
fn split_parameter(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = text.split_once('=')?;
    let (value, after) = match rest.trim_start().strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None => rest.split_at(rest.find(',').unwrap_or(rest.len())),
    };
    let (name, value, after) = (name.trim(), value.trim(), after.trim_start());
    let nameless = name.is_empty() || name.contains(['"', ',', ' ']);
    match (nameless, after.strip_prefix(',')) {
        (false, Some(next)) => Some((name, value, next.trim_start())),
        (false, None) if after.is_empty() => Some((name, value, "")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    #[test]
    fn every_layout_in_use_says_the_same() {
        for layout in [
            r#"OAuth realm="limited_poa", oauth_nonce="ab", oauth_signature="a%2Bb%2Fc%3D""#,
            r#"OAuth oauth_nonce="ab", oauth_signature="a%2Bb%2Fc%3D", realm="limited_poa""#,
            r#"OAuth realm=limited_poa, oauth_nonce="ab", oauth_signature="a%2Bb%2Fc%3D""#,
            r#"OAuth oauth_signature="a%2Bb%2Fc%3D",realm="limited_poa",oauth_nonce="ab""#,
            r#"oauth  oauth_signature = "a%2Bb%2Fc%3D" ,realm=limited_poa,oauth_nonce=ab"#,
        ] {
            let authorization = Authorization::parse(layout.as_bytes()).unwrap();
            assert_eq!(authorization.get("realm").unwrap(), "limited_poa", "{layout}");
            assert_eq!(authorization.get("oauth_signature").unwrap(), "a+b/c=", "{layout}");
            assert_eq!(authorization.signed(), [(b"oauth_nonce".to_vec(), b"ab".to_vec())], "{layout}");
        }
    }

    #[test]
    fn reads_the_published_header() {
        let vector = vectors::ibkr("pdf-request-token");
        let header = vector["outputs"]["authorization_header"].as_str().unwrap();
        let authorization = Authorization::parse(header.as_bytes()).unwrap();
        assert_eq!(authorization.signed(), vectors::pairs(&vector["inputs"]["oauth_params"]));
        assert_eq!(
            authorization.get("oauth_signature").unwrap(),
            vector["outputs"]["oauth_signature"].as_str().unwrap()
        );
    }

    #[test]
    fn a_broken_header_is_rejected() {
        for broken in [
            "",
            "Bearer abc",
            "OAuth realm",
            r#"OAuth realm="limited_poa"#,
            r#"OAuth realm="a" oauth_nonce="b""#,
            r#"OAuth realm="a", realm="b""#,
            r#"OAuth ="a""#,
            r#"OAuth oauth_nonce="%zz""#,
            r#"OAuth oauth_nonce="%ff""#,
        ] {
            let rejection = Authorization::parse(broken.as_bytes()).unwrap_err();
            assert!(matches!(rejection, Rejection::Malformed(_)), "{broken}");
        }
        assert!(Authorization::parse(&[b'O'; MAX_LENGTH + 1]).is_err());
        assert!(Authorization::parse(b"OAuth \xff=1").is_err());
    }

    #[test]
    fn a_missing_parameter_is_named() {
        let authorization = Authorization::parse(br#"OAuth realm="limited_poa""#).unwrap();
        assert_eq!(authorization.get("oauth_nonce").unwrap_err(), Rejection::Missing("oauth_nonce"));
    }
}
