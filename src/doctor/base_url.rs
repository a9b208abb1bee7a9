//! Checks of the base URL ([protocol section 1](crate::protocol#section-1)).

use alloc::format;
use alloc::string::ToString;

use super::consumer::{unquoted, untrimmed};
use super::{Credential, Credentials, FindingKind, Report};
use crate::credentials::base_url::{BaseUrl, Scheme};

const CREDENTIAL: Credential = Credential::BaseUrl;
/// Where IBKR's API is known to be.
const HOSTS: [&str; 4] = ["api.ibkr.com", "1.api.ibkr.com", "2.api.ibkr.com", "qa.interactivebrokers.com"];
const PATHS: [&str; 2] = ["/v1/api", "/alpha/api"];

pub(super) fn examine(credentials: &Credentials<'_>, report: &mut Report) {
    let Some(text) = credentials.base_url else {
        return;
    };
    let text = unquoted(untrimmed(text, CREDENTIAL, report), CREDENTIAL, report);
    if text.is_empty() {
        return report.add(FindingKind::Empty, CREDENTIAL, "0 characters");
    }
    match BaseUrl::parse(text) {
        Ok(url) => examine_parts(&url, report),
        Err(error) => report.add(FindingKind::UrlInvalid, CREDENTIAL, error.to_string()),
    }
    if text.ends_with('/') {
        report.add(FindingKind::UrlTrailingSlash, CREDENTIAL, "the last character is /");
    }
}

fn examine_parts(url: &BaseUrl, report: &mut Report) {
    let (host, path) = (url.host(), url.path());
    if is_loopback(host) {
        report.add(FindingKind::UrlLoopback, CREDENTIAL, format!("the host {host}"));
    } else {
        if url.scheme() == Scheme::Http {
            report.add(FindingKind::UrlPlain, CREDENTIAL, "it begins with http://");
        }
        if !HOSTS.contains(&host) {
            report.add(FindingKind::UrlHost, CREDENTIAL, format!("the host {host}"));
        }
    }
    if !PATHS.contains(&path) {
        report.add(FindingKind::UrlPath, CREDENTIAL, format!("a path of {} characters behind the host", path.len()));
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host == "[::1]" || host.starts_with("127.")
}
