//! Who may ask at all: the proxy trades without a password, and any web page in a browser can send requests to it.

use std::net::{IpAddr, SocketAddr};

use http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::answer::{Answer, refused};
use crate::options::Options;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses the request of somebody who may not ask. `connected_to` is the address that a client of TCP has chosen.
#[expect(clippy::result_large_err, reason = "a refusal is an answer, and moved once")]
pub(crate) fn admit(head: &Parts, options: &Options, connected_to: Option<SocketAddr>) -> Result<(), Answer> {
    let forbidden = |why| Err(refused(StatusCode::FORBIDDEN, why));
    let Some(host) = host(head) else {
        return Err(refused(StatusCode::BAD_REQUEST, "the request needs one Host, and no other in its target"));
    };
    if !is_own_name(host.host(), options, connected_to) {
        return forbidden("the proxy does not go by the name in Host");
    }
    if !is_own_page(&head.headers, &host) {
        return forbidden("web pages from elsewhere are not served");
    }
    match &options.bearer_token {
        Some(token) if !bearer(&head.headers).is_some_and(|given| token.is(given)) => {
            let mut refusal = refused(StatusCode::UNAUTHORIZED, "the proxy wants its bearer token");
            refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            Err(refusal)
        }
        _ => Ok(()),
    }
}

/// The one host that the request is for.
fn host(head: &Parts) -> Option<Authority> {
    let host: Authority = only(&head.headers, HOST)?.parse().ok()?;
    let is_plain = !host.as_str().contains('@') && !host.host().is_empty();
    let agrees = head.uri.authority().is_none_or(|target| target.as_str().eq_ignore_ascii_case(host.as_str()));
    (is_plain && agrees).then_some(host)
}

/// A name under which another site's pages cannot reach the proxy: a DNS name of theirs may lead here, too.
fn is_own_name(name: &str, options: &Options, connected_to: Option<SocketAddr>) -> bool {
    let address: Option<IpAddr> = name.trim_start_matches('[').trim_end_matches(']').parse().ok();
    match address.map(|address| address.to_canonical()) {
        Some(address) if address.is_loopback() => true,
        Some(address) if connected_to.is_some_and(|own| own.ip().to_canonical() == address) => true,
        None if name.eq_ignore_ascii_case("localhost") => true,
        _ => options.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)),
    }
}

/// Whether no web page has asked, or one of this very host and port.
fn is_own_page(headers: &HeaderMap, host: &Authority) -> bool {
    let is_own_origin = match headers.contains_key(ORIGIN) {
        true => only(headers, ORIGIN)
            .and_then(|origin| origin.split_once("://"))
            .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host.as_str())),
        false => true,
    };
    let is_own_site = match headers.contains_key(SEC_FETCH_SITE) {
        true => matches!(only(headers, SEC_FETCH_SITE), Some("same-origin" | "none")),
        false => true,
    };
    is_own_origin && is_own_site
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = only(headers, AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_ascii().as_bytes())
}

/// The value of a header that is there once.
pub(crate) fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::options::{BearerToken, Listen, Tls};

    fn options() -> Options {
        let listen = Listen::Tcp { address: ([127, 0, 0, 1], 0).into(), tls: Tls::Plain };
        Options { allowed_hosts: vec!["ibkr.example".into()], ..Options::new(listen) }
    }

    /// The status of the refusal; 0 if there is none.
    fn refusal(options: &Options, target: &str, headers: &[(&str, &str)]) -> u16 {
        let request = Request::builder().uri(target);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let (head, ()) = request.body(()).unwrap().into_parts();
        let refusal = admit(&head, options, Some(([10, 0, 0, 5], 5000).into()));
        refusal.map_or_else(|refusal| refusal.status().as_u16(), |()| 0)
    }

    #[test]
    fn only_names_that_no_other_site_can_have_are_admitted() {
        let names = ["localhost", "LOCALHOST:5000", "127.0.0.1:5000", "127.8.9.1", "[::1]:5000", "10.0.0.5:5000"];
        for name in names.into_iter().chain(["ibkr.example", "[::ffff:127.0.0.1]:1"]) {
            assert_eq!(refusal(&options(), "/", &[("host", name)]), 0, "{name}");
        }
        let others = ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.6", "a.ibkr.example"];
        for name in others {
            assert_eq!(refusal(&options(), "/", &[("host", name)]), 403, "{name}");
        }
        assert_eq!(refusal(&options(), "/", &[]), 400);
        for name in ["", "x@localhost", "local host"] {
            assert_eq!(refusal(&options(), "/", &[("host", name)]), 400, "{name}");
        }
        assert_eq!(refusal(&options(), "/", &[("host", "localhost"), ("host", "localhost")]), 400);
        assert_eq!(refusal(&options(), "http://evil.example/", &[("host", "localhost")]), 400);
        assert_eq!(refusal(&options(), "http://localhost/", &[("host", "localhost")]), 0);
    }

    #[test]
    fn pages_from_elsewhere_are_refused() {
        let from = |name, value| refusal(&options(), "/", &[("host", "localhost:5000"), (name, value)]);
        for (name, value) in [
            ("origin", "https://localhost:5000"),
            ("origin", "http://LOCALHOST:5000"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
        ] {
            assert_eq!(from(name, value), 0, "{value}");
        }
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "https://localhost:3000"),
            ("origin", "https://localhost"),
            ("origin", "null"),
            ("origin", ""),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "Same-Origin"),
        ] {
            assert_eq!(from(name, value), 403, "{value}");
        }
        let twice = [("host", "localhost"), ("origin", "https://localhost"), ("origin", "https://evil.example")];
        assert_eq!(refusal(&options(), "/", &twice), 403);
    }

    #[test]
    fn where_there_is_a_token_nobody_is_admitted_without_it() {
        let token = BearerToken::new("0123456789abcdef").unwrap();
        let options = Options { bearer_token: Some(token), ..options() };
        let with = |value| refusal(&options, "/", &[("host", "localhost"), ("authorization", value)]);
        assert_eq!(refusal(&options, "/", &[("host", "localhost")]), 401);
        assert_eq!((with("Bearer 0123456789abcdef"), with("bearer 0123456789abcdef")), (0, 0));
        for value in [
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcde",
            "Bearer ",
            "0123456789abcdef",
            "Basic 0123456789abcdef",
        ] {
            assert_eq!(with(value), 401, "{value}");
        }
        assert!(BearerToken::new("0123456789abcde").is_err() && BearerToken::new("0123456789 abcdef").is_err());
        assert!(!format!("{options:?}").contains("0123456789"));
    }
}
