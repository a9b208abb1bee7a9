//! The base URL: the address of the gateway, which every signature covers.

use http::Uri;

/// A base URL, taken apart.
///
/// Signatures are checked against this and never against the `Host` header, which clients are known to send wrong
/// (ibind says `api.ibkr.com` to whatever it talks to).
pub(crate) struct BaseUrl {
    /// `scheme://host[:port]`, in lower case, without a default port (protocol section 3.3).
    origin: String,
    /// Empty, or `/` and more, without a slash at the end.
    path: String,
}

/// A request's URI, seen from the base URL.
#[derive(Clone, Copy)]
pub(crate) struct Target<'r> {
    /// Path and query.
    pub(crate) whole: &'r str,
    /// The whole path.
    pub(crate) path: &'r str,
    /// The path below the base URL, with its leading slash.
    pub(crate) endpoint: &'r str,
    /// The query, still encoded; empty if there is none.
    pub(crate) query: &'r str,
}

impl BaseUrl {
    /// `None` unless it is `http` or `https`, a host, and at most a path.
    pub(crate) fn parse(url: &str) -> Option<Self> {
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

    /// `None` if the path is not below this base URL. Scheme and host, where a URI has them, are not looked at.
    pub(crate) fn resolve<'r>(&self, uri: &'r Uri) -> Option<Target<'r>> {
        let whole = uri.path_and_query()?.as_str();
        let (path, query) = whole.split_once('?').unwrap_or((whole, ""));
        let endpoint = path.strip_prefix(&self.path)?;
        endpoint.starts_with('/').then_some(Target { whole, path, endpoint, query })
    }

    /// The absolute URL of a path, or of a path and query.
    pub(crate) fn url(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.origin)
    }
}

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.url(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        for inside in ["/v1/api/tickle?a=b?c", "https://elsewhere/v1/api/tickle?a=b?c"] {
            let uri = inside.parse().unwrap();
            let target = base.resolve(&uri).unwrap();
            assert_eq!((target.path, target.endpoint, target.query), ("/v1/api/tickle", "/tickle", "a=b?c"));
            assert_eq!(target.whole, "/v1/api/tickle?a=b?c");
        }
        for outside in ["*", "/", "/v1/api", "/v1/apitickle", "/v2/api/tickle", "h:80", "http://h"] {
            assert!(base.resolve(&outside.parse().unwrap()).is_none(), "{outside}");
        }
    }
}
