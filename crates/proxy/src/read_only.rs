//! What is known to change nothing: an allow-list, so that what IBKR adds tomorrow is refused until somebody has read of it.

use ibkr_oauth_tokio::ibkr_oauth::Method;

/// Patterns of paths to read with GET. `*` is one segment, `**` at the end one or more.
const GET: [&str; 31] = [
    "/fyi/**",
    "/hmds/**",
    "/iserver/account/*/alerts",
    "/iserver/account/*/summary",
    "/iserver/account/*/summary/*",
    "/iserver/account/alert/*",
    "/iserver/account/mta",
    "/iserver/account/order/status/*",
    "/iserver/account/orders",
    "/iserver/account/pnl/partitioned",
    "/iserver/account/trades",
    "/iserver/accounts",
    "/iserver/auth/ssodh/init",
    "/iserver/auth/status",
    "/iserver/contract/**",
    "/iserver/currency/pairs",
    "/iserver/exchangerate",
    "/iserver/marketdata/history",
    "/iserver/marketdata/snapshot",
    "/iserver/reauthenticate",
    "/iserver/scanner/params",
    "/iserver/secdef/**",
    "/iserver/trades",
    "/iserver/watchlist",
    "/iserver/watchlists",
    "/portfolio/**",
    "/portfolio2/**",
    "/sso/validate",
    "/tickle",
    "/trsrv/**",
    "/ws",
];

/// Questions that IBKR takes with POST.
const POST: [&str; 13] = [
    "/hmds/scanner",
    "/iserver/auth/ssodh/init",
    "/iserver/auth/status",
    "/iserver/contract/rules",
    "/iserver/reauthenticate",
    "/iserver/scanner/run",
    "/iserver/secdef/search",
    "/pa/allperiods",
    "/pa/performance",
    "/pa/summary",
    "/pa/transactions",
    "/portfolio/allocation",
    "/tickle",
];

/// Topics of a WebSocket that bring something and change nothing. The letter before them begins or ends a subscription.
const TOPICS: [&str; 8] = ["bd", "ld", "md", "mh", "or", "pl", "sd", "tr"];

/// Returns whether a request for this path changes nothing.
pub(crate) fn allows(method: Method, path: &str) -> bool {
    let patterns: &[&str] = match method {
        Method::Get => &GET,
        Method::Post => &POST,
        Method::Put | Method::Delete => &[],
    };
    patterns.iter().any(|pattern| fits(pattern, path))
}

/// Returns whether a message on a WebSocket changes nothing.
pub(crate) fn allows_message(message: &str) -> bool {
    let head = message.split(['+', '{']).next().unwrap_or_default();
    let topic = head.strip_prefix('s').or(head.strip_prefix('u'));
    matches!(message, "tic" | "ech+hb") || topic.is_some_and(|topic| TOPICS.contains(&topic))
}

fn fits(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for wanted in pattern.split('/') {
        match (wanted, segments.next()) {
            ("**", Some(first)) => return !first.is_empty(),
            ("*", Some(segment)) if !segment.is_empty() => {}
            (wanted, Some(segment)) if wanted == segment => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_allowed_and_everything_else_is_not() {
        for path in
            ["/iserver/accounts", "/portfolio/DU1/positions/0", "/iserver/account/order/status/7", "/trsrv/stocks"]
        {
            assert!(allows(Method::Get, path), "{path}");
            assert!(!allows(Method::Delete, path) && !allows(Method::Put, path), "{path}");
        }
        for path in ["/iserver/secdef/search", "/pa/performance", "/tickle"] {
            assert!(allows(Method::Post, path), "{path}");
        }
        for path in
            ["/iserver/account/DU1/orders", "/iserver/reply/1", "/portfolio/DU1/positions/invalidate", "/logout"]
        {
            assert!(!allows(Method::Post, path), "{path}");
        }
        for path in
            ["/logout", "/portfolio/", "/portfolio", "/iserver/accounts/", "/iserver/account/a/b/summary", "/new"]
        {
            assert!(!allows(Method::Get, path), "{path}");
        }
    }

    #[test]
    fn a_web_socket_is_for_listening() {
        let prices = [r#"smd+265598+{"fields":["31"]}"#, "umd+265598+{}", "smh+265598+{}"];
        let others = ["tic", "ech+hb", "sor+{}", "spl", "sbd+DU1+1", "ssd+DU1+{}", "sld+DU1+{}", "str+{}", "utr"];
        for message in prices.into_iter().chain(others) {
            assert!(allows_message(message), "{message}");
        }
        for message in ["", "{}", "s", "sxx", "order+{}", "ssmd+1", "xmd+1", "{\"session\":\"x\"}"] {
            assert!(!allows_message(message), "{message}");
        }
    }
}
