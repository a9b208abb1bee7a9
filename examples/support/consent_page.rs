//! The page on which a user lets a third party in, or not.

/// Whose consent page is not at the origin of the base URL.
const IBKR_DOMAINS: [&str; 2] = ["ibkr.com", "interactivebrokers.com"];

/// Where the page is, for a client with this base URL; `None` if that is IBKR, which has its own page elsewhere.
pub fn url(base_url: &str) -> Option<String> {
    let (scheme, rest) = base_url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let host = authority.split(':').next()?.to_ascii_lowercase();
    let is_in = |domain: &&str| host.strip_suffix(*domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    (!IBKR_DOMAINS.iter().any(is_in)).then(|| format!("{scheme}://{authority}/authorize"))
}
