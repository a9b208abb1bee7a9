//! The two URLs of a consumer: where the API lives, and where users give consent.
//!
//! A URL is signed as it is sent, so it is kept to the byte; the `url` crate would normalise it.

use alloc::format;
use alloc::string::{String, ToString};
use core::net::Ipv6Addr;

use crate::credentials::error::UrlError;

/// Longer URLs are rejected.
pub(crate) const MAX_LENGTH: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// What a URL begins with.
    fn prefix(self) -> &'static str {
        match self {
            Self::Http => "http://",
            Self::Https => "https://",
        }
    }

    /// What the URL of a WebSocket begins with ([RFC 6455 section 3](https://www.rfc-editor.org/rfc/rfc6455#section-3)).
    pub(crate) fn web_socket_prefix(self) -> &'static str {
        match self {
            Self::Http => "ws://",
            Self::Https => "wss://",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A base URL in the form that is signed: scheme and host in lower case, default port and trailing slashes gone
/// ([RFC 5849 section 3.4.1.2](https://www.rfc-editor.org/rfc/rfc5849#section-3.4.1.2);
/// [protocol section 3.3](crate::protocol#section-3-3)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseUrl {
    scheme: Scheme,
    host: String,
    authority: String,
    path: String,
    text: String,
}

impl BaseUrl {
    /// Puts together parts that are known to be right. `host` is in lower case, `path` is empty or begins with `/`.
    pub(crate) fn from_parts(scheme: Scheme, host: &str, port: Option<u16>, path: &str) -> Self {
        let port = port.filter(|port| *port != scheme.default_port());
        let authority = port.map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
        let text = [scheme.prefix(), &authority, path].concat();
        Self { scheme, host: host.to_string(), authority, path: path.to_string(), text }
    }

    /// Parses an absolute `http` or `https` URL without query or fragment.
    pub(crate) fn parse(url: &str) -> Result<Self, UrlError> {
        check(url)?;
        let (scheme, rest) = split_scheme(url)?;
        if rest.contains(['?', '#']) {
            return Err(UrlError::QueryOrFragment);
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let (host, port) = split_port(authority)?;
        check_host(host)?;
        if has_dot_segment(path) {
            return Err(UrlError::DotSegment);
        }
        Ok(Self::from_parts(scheme, &host.to_ascii_lowercase(), port, path.trim_end_matches('/')))
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    #[cfg_attr(not(feature = "doctor"), expect(dead_code, reason = "the doctor alone asks for it"))]
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Host and port, without a port that is the scheme's own.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Empty, or without a slash at its end.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns path and query of a URL that begins with this one.
    pub(crate) fn path_and_query<'url>(&self, url: &'url str) -> &'url str {
        let behind_scheme = url.strip_prefix(self.scheme.prefix());
        // The whole URL would mean the same on a request line (RFC 9112 section 3.2.2).
        behind_scheme.and_then(|rest| rest.strip_prefix(self.authority())).unwrap_or(url)
    }
}

/// Checks an absolute URL which is sent as it is: the callback may have a query of its own.
pub(crate) fn check_absolute(url: &str) -> Result<(), UrlError> {
    check(url)?;
    let (_, rest) = split_scheme(url)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    check_host(split_port(authority)?.0)
}

/// Whether `path` can stand in a URL as it is: it begins with `/`, everything that needs an escape has one, and no HTTP
/// client shortens it.
pub(crate) fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.len() <= MAX_LENGTH && (is_plain(path) || is_path_with_escapes(path))
}

/// Whether `path` has nothing but slashes and what stands for itself, and no dot: nearly all paths, and quickly told.
fn is_plain(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'~'))
}

fn is_path_with_escapes(path: &str) -> bool {
    !has_dot_segment(path) && check(path).is_ok() && !path.contains(['?', '#'])
}

/// Whether a segment means this directory or the one above. HTTP clients take such segments out
/// ([RFC 3986 section 5.2.4](https://www.rfc-editor.org/rfc/rfc3986#section-5.2.4)), many of them percent-encoded ones
/// too (<https://url.spec.whatwg.org/#single-dot-path-segment>), and then send another path than the one that was
/// signed.
fn has_dot_segment(path: &str) -> bool {
    const SPELLINGS: [&str; 6] = [".", "..", "%2e", ".%2e", "%2e.", "%2e%2e"];
    path.split('/').any(|segment| SPELLINGS.iter().any(|dots| segment.eq_ignore_ascii_case(dots)))
}

fn check(url: &str) -> Result<(), UrlError> {
    if url.len() > MAX_LENGTH {
        return Err(UrlError::TooLong);
    }
    let mut rest = url.bytes();
    while let Some(byte) = rest.next() {
        let fine = match byte {
            b'%' => rest.by_ref().take(2).filter(u8::is_ascii_hexdigit).count() == 2,
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => false,
            _ => byte.is_ascii_graphic(),
        };
        if !fine {
            return Err(UrlError::Characters);
        }
    }
    Ok(())
}

fn split_scheme(url: &str) -> Result<(Scheme, &str), UrlError> {
    let behind = |scheme: Scheme| {
        let (start, rest) = url.split_at_checked(scheme.prefix().len())?;
        start.eq_ignore_ascii_case(scheme.prefix()).then_some((scheme, rest))
    };
    behind(Scheme::Https).or_else(|| behind(Scheme::Http)).ok_or(UrlError::Scheme)
}

/// Splits `host:port`; the colons of an IPv6 address stand in brackets.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), UrlError> {
    if authority.contains('@') {
        return Err(UrlError::Host);
    }
    let after_brackets = authority.rfind(']').unwrap_or(0);
    let Some(colon) = authority.rfind(':').filter(|colon| *colon >= after_brackets) else {
        return Ok((authority, None));
    };
    let (host, port) = authority.split_at(colon);
    let digits = port.trim_start_matches(':');
    match digits.parse() {
        Ok(port @ 1..) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok((host, Some(port))),
        _ => Err(UrlError::Port),
    }
}

fn check_host(host: &str) -> Result<(), UrlError> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
    };
    let is_bracketed_address = |host: &str| {
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
    };
    if is_name(host) || is_bracketed_address(host) { Ok(()) } else { Err(UrlError::Host) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_has_one_spelling() {
        for (written, signed) in [
            ("https://api.ibkr.com/v1/api", "https://api.ibkr.com/v1/api"),
            ("HTTPS://API.ibkr.com:443/v1/api/", "https://api.ibkr.com/v1/api"),
            ("http://localhost:12345/tradingapi/v1", "http://localhost:12345/tradingapi/v1"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[2001:DB8::1]:80//", "http://[2001:db8::1]"),
            ("https://h:8443//a/B", "https://h:8443//a/B"),
        ] {
            assert_eq!(BaseUrl::parse(written).as_ref().map(BaseUrl::as_str), Ok(signed));
        }
    }

    #[test]
    fn a_url_falls_into_its_parts() {
        for (url, scheme, host, authority, path) in [
            ("https://api.ibkr.com/v1/api", Scheme::Https, "api.ibkr.com", "api.ibkr.com", "/v1/api"),
            ("http://LOCALHOST:8080", Scheme::Http, "localhost", "localhost:8080", ""),
            ("https://[::1]:444/http://x/", Scheme::Https, "[::1]", "[::1]:444", "/http://x"),
        ] {
            let base = BaseUrl::parse(url).unwrap();
            assert_eq!((base.scheme(), base.host(), base.authority(), base.path()), (scheme, host, authority, path));
            let request = [base.as_str(), "/tickle?a=http://b"].concat();
            assert_eq!(base.path_and_query(&request), [path, "/tickle?a=http://b"].concat());
        }
    }

    #[test]
    fn what_is_no_base_url_is_rejected_by_name() {
        for (written, problem) in [
            ("", UrlError::Scheme),
            ("api.ibkr.com/v1/api", UrlError::Scheme),
            ("ftp://api.ibkr.com", UrlError::Scheme),
            ("https://", UrlError::Host),
            ("https:///v1", UrlError::Host),
            ("https://user@host/", UrlError::Host),
            ("https://user:pw@host/", UrlError::Host),
            ("https://[::1", UrlError::Host),
            ("https://[zz]/", UrlError::Host),
            ("https://host:/", UrlError::Port),
            ("https://host:0/", UrlError::Port),
            ("https://host:65536/", UrlError::Port),
            ("https://host:+1/", UrlError::Port),
            ("https://host/a?b", UrlError::QueryOrFragment),
            ("https://host/a#b", UrlError::QueryOrFragment),
            ("https://host/a b", UrlError::Characters),
            ("https://host/\r\nX: y", UrlError::Characters),
            ("https://host/%4", UrlError::Characters),
            ("https://h\u{f6}st/", UrlError::Characters),
            ("https://host\\a", UrlError::Characters),
            ("https://host/.", UrlError::DotSegment),
            ("https://host/v1/../api", UrlError::DotSegment),
            ("https://host/v1/%2E%2e/api", UrlError::DotSegment),
        ] {
            assert_eq!(BaseUrl::parse(written), Err(problem), "{written:?}");
        }
        assert_eq!(BaseUrl::parse(&format!("https://h/{}", "a".repeat(2048))), Err(UrlError::TooLong));
    }
}
