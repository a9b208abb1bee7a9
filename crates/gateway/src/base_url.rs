//! Where the gateway believes it is: the address that every signature covers.

use alloc::format;
use alloc::string::String;

/// A base URL, taken apart.
///
/// Signatures are checked against this and never against the `Host` header, which clients are known to send wrong
/// (ibind says `api.ibkr.com` to whatever it talks to).
pub(super) struct BaseUrl {
    /// `scheme://host[:port]`, in lower case, without a default port (protocol section 3.3).
    origin: String,
    /// Empty, or `/` and more, without a slash at the end.
    path: String,
}

/// A request target, seen from the base URL.
#[derive(Clone, Copy)]
pub(super) struct Target<'r> {
    /// The whole path.
    pub(super) path: &'r str,
    /// The path below the base URL, with its leading slash.
    pub(super) endpoint: &'r str,
    /// The query, still encoded; empty if there is none.
    pub(super) query: &'r str,
}

impl BaseUrl {
    /// `None` unless it is `http` or `https`, a host, and at most a path.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
        let default_port = match scheme.as_str() {
            "http" => ":80",
            "https" => ":443",
            _ => return None,
        };
        let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
        let plain = rest.chars().all(|character| character.is_ascii_graphic() && !"?#@\"\\".contains(character));
        if authority.is_empty() || !plain {
            return None;
        }
        let path = path.trim_end_matches('/');
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        Some(Self { origin: format!("{scheme}://{authority}"), path })
    }

    /// `None` if the target is no path below this base URL.
    pub(super) fn resolve<'r>(&self, target: &'r str) -> Option<Target<'r>> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let endpoint = path.strip_prefix(&self.path)?;
        endpoint.starts_with('/').then_some(Target { path, endpoint, query })
    }

    /// The absolute URL of a path, or of a path and query.
    pub(super) fn url(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.origin)
    }
}

impl core::fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.url(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn is_written_the_way_it_is_signed() {
        for (given, written) in [
            ("https://api.ibkr.com/v1/api", "https://api.ibkr.com/v1/api"),
            ("HTTPS://API.ibkr.com:443/v1/api/", "https://api.ibkr.com/v1/api"),
            ("http://localhost:12345/tradingapi/v1", "http://localhost:12345/tradingapi/v1"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(BaseUrl::parse(given).unwrap().to_string(), written);
        }
        for bad in
            ["", "api.ibkr.com", "ftp://h/", "http://", "http:///v1", "http://u@h/", "http://h/v1?x=1", "http://h/#"]
        {
            assert!(BaseUrl::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn only_paths_below_it_are_served() {
        let base = BaseUrl::parse("http://h/v1/api").unwrap();
        let target = base.resolve("/v1/api/tickle?a=b?c").unwrap();
        assert_eq!((target.path, target.endpoint, target.query), ("/v1/api/tickle", "/tickle", "a=b?c"));
        for outside in ["", "*", "/", "/v1/api", "/v1/apitickle", "/v2/api/tickle", "http://h/v1/api/tickle"] {
            assert!(base.resolve(outside).is_none(), "{outside}");
        }
    }
}
