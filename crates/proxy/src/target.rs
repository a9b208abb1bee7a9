//! The path of the API that a request is for. Ambiguous paths are rejected: what is checked here must be what IBKR reads.

use http::StatusCode;
use percent_encoding::percent_decode_str;

use crate::answer::{Answer, refused};

/// The prefixes of the Client Portal Gateway ([protocol section 14.9](ibkr_oauth_tokio::ibkr_oauth::protocol#section-14-9)).
const PREFIXES: [&str; 2] = ["/v1/api", "/v1/portal"];

/// Returns the path below IBKR's base URL that `path` stands for.
#[expect(clippy::result_large_err, reason = "a refusal is an answer, and moved once")]
pub(crate) fn below_api(path: &str) -> Result<&str, Answer> {
    if !is_normal(path) {
        return Err(refused(StatusCode::BAD_REQUEST, "the path is not in normal form"));
    }
    let below = PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix)).filter(|below| below.starts_with('/'));
    let below = below.ok_or_else(|| refused(StatusCode::NOT_FOUND, "only /v1/api and /v1/portal are forwarded"))?;
    let area = below.split('/').nth(1).unwrap_or_default();
    if area.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case("oauth")) {
        return Err(refused(StatusCode::FORBIDDEN, "logging in is the proxy's own business"));
    }
    Ok(below)
}

/// Whether no server can take the path for another one: no segment is empty (but the last) or dots, and nothing is encoded
/// that need not be, or that divides paths.
fn is_normal(path: &str) -> bool {
    let Some(segments) = path.strip_prefix('/') else { return false };
    let (all_but_last, last) = segments.rsplit_once('/').unwrap_or(("", segments));
    let are_whole = all_but_last.is_empty() && !segments.starts_with('/')
        || !all_but_last.is_empty() && all_but_last.split('/').all(|segment| !segment.is_empty());
    are_whole && all_but_last.split('/').chain([last]).all(is_normal_segment)
}

fn is_normal_segment(segment: &str) -> bool {
    let decoded: Vec<u8> = percent_decode_str(segment).collect();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(byte);
    // What is written plainly must be allowed to be, and what is encoded must have to be.
    let unencoded = segment.bytes().filter(|byte| *byte != b'%').all(|byte| plain(&byte));
    let encoded = decoded.iter().filter(|byte| !plain(byte));
    let count = segment.bytes().filter(|byte| *byte == b'%').count();
    let divides = |byte: &u8| b"/\\;?#%".contains(byte) || byte.is_ascii_control();
    !matches!(segment, "." | "..") && unencoded && encoded.clone().count() == count && !encoded.clone().any(divides)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(path: &str) -> u16 {
        below_api(path).map_or_else(|refusal| refusal.status().as_u16(), |_| 0)
    }

    #[test]
    fn both_prefixes_of_the_gateway_lead_to_the_api() {
        for prefix in PREFIXES {
            for below in ["/tickle", "/iserver/account/DU1/orders", "/a/", "/trsrv/BRK%20B", "/a/%C3%A9"] {
                assert_eq!(below_api(&format!("{prefix}{below}")).unwrap(), below);
            }
        }
    }

    #[test]
    fn nothing_outside_the_api_is_forwarded() {
        for path in ["/", "/v1", "/v1/api", "/v1/portal", "/v1/apiary/x", "/v2/api/x", "/sso/Login", "/V1/API/x"] {
            assert_eq!(status(path), 404, "{path}");
        }
    }

    #[test]
    fn what_servers_could_read_differently_is_refused() {
        for path in [
            "/v1/api/../x",
            "/v1/api/a/..",
            "/v1/api/./x",
            "/v1/api/%2e%2e/x",
            "/v1/api/.%2E/x",
            "/v1/api//x",
            "//v1/api/x",
            "/v1/api/a//b",
            "/v1/api/a//",
            "/v1/api/a%2fb",
            "/v1/api/a%5Cb",
            "/v1/api/a\\b",
            "/v1/api/a;b/c",
            "/v1/api/a%3bb",
            "/v1/api/a%00",
            "/v1/api/a%0d%0ab",
            "/v1/api/a%252fb",
            "/v1/api/a%3fb",
            "/v1/api/iserver/acc%6Funt",
            "/v1/api/a%",
            "/v1/api/a%2",
            "/v1/api/a%zz",
            "/v1/api/a\"b",
            "v1/api/a",
            "*",
            "",
        ] {
            assert_eq!(status(path), 400, "{path}");
        }
    }

    #[test]
    fn nobody_logs_in_through_the_proxy() {
        for path in
            ["/v1/api/oauth/live_session_token", "/v1/portal/oauth/request_token", "/v1/api/OAuth2/x", "/v1/api/oauth"]
        {
            assert_eq!(status(path), 403, "{path}");
        }
        assert_eq!(status("/v1/api/o%61uth/x"), 400);
    }
}
