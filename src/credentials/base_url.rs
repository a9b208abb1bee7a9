//! The two URLs of a consumer: where the API lives, and where users give consent.

use alloc::string::String;
use core::net::Ipv6Addr;

use crate::credentials::error::UrlError;
use crate::signing::percent_encoding::is_unreserved;

/// Longer URLs are refused.
pub(crate) const MAX_LENGTH: usize = 2048;

/// Checks an absolute `http` or `https` URL without query or fragment and brings it to the form that is signed: scheme
/// and host in lower case, default port and trailing slashes gone
/// ([RFC 5849 section 3.4.1.2](https://www.rfc-editor.org/rfc/rfc5849#section-3.4.1.2);
/// [protocol section 3.3](crate::protocol#section-3-3)).
pub(crate) fn normalize(url: &str) -> Result<String, UrlError> {
    check(url)?;
    let (scheme, default_port, rest) = split_scheme(url)?;
    if rest.contains(['?', '#']) {
        return Err(UrlError::QueryOrFragment);
    }
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let (host, port) = split_port(authority)?;
    check_host(host)?;
    if has_dot_segment(path) {
        return Err(UrlError::DotSegment);
    }

    let mut normal = String::from(scheme);
    normal.push_str(&host.to_ascii_lowercase());
    if let Some(port) = port.filter(|port| *port != default_port) {
        normal.push_str(&alloc::format!(":{port}"));
    }
    normal.push_str(path.trim_end_matches('/'));
    Ok(normal)
}

/// Checks an absolute URL which is sent as it is: the callback may have a query of its own.
pub(crate) fn check_absolute(url: &str) -> Result<(), UrlError> {
    check(url)?;
    let (_, _, rest) = split_scheme(url)?;
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
    path.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'/' || is_unreserved(byte) && byte != b'.')
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

pub(crate) fn split_scheme(url: &str) -> Result<(&'static str, u16, &str), UrlError> {
    [("https://", 443), ("http://", 80)]
        .into_iter()
        .find_map(|(scheme, port)| {
            let (start, rest) = url.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some((scheme, port, rest))
        })
        .ok_or(UrlError::Scheme)
}

/// Splits `host:port`; the colons of an IPv6 address stand in brackets.
pub(crate) fn split_port(authority: &str) -> Result<(&str, Option<u16>), UrlError> {
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
            assert_eq!(normalize(written).as_deref(), Ok(signed));
        }
    }

    #[test]
    fn what_is_no_base_url_is_refused_by_name() {
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
            assert_eq!(normalize(written), Err(problem), "{written:?}");
        }
        assert_eq!(normalize(&alloc::format!("https://h/{}", "a".repeat(2048))), Err(UrlError::TooLong));
    }
}
