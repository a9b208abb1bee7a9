//! The page on which a user lets a third party in, or not.
//!
//! A browser gets a page with buttons from `/authorize?oauth_token=TOKEN`. A test adds `&approve=NAME` or
//! `&deny=NAME` (a user's name, or nothing for the only one) and is redirected at once.

use std::collections::BTreeMap;

use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use ibkr_oauth_gateway::{Consent, Gateway};
use rand::rand_core::CryptoRng;

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

/// Answers a request for the page; `None` if the request is for anything else.
pub fn answer<B>(gateway: &mut Gateway, request: &Request<B>, rng: &mut dyn CryptoRng) -> Option<Response<Vec<u8>>> {
    if request.uri().path() != "/authorize" {
        return None;
    }
    let arguments = arguments(request.uri().query().unwrap_or_default());
    let argument = |name: &str| arguments.get(name).map(String::as_str);
    let request_token = argument("oauth_token").unwrap_or_default();
    let decision = match (argument("approve"), argument("deny")) {
        (Some(user), None) => Some((Consent::Grant, user)),
        (None, Some(user)) => Some((Consent::Deny, user)),
        _ => None,
    };
    Some(match (request.method(), decision) {
        (&Method::GET, Some((decision, user))) => decide(gateway, request_token, user, decision, rng),
        (&Method::GET, None) => ask(gateway, request_token),
        _ => page(StatusCode::NOT_FOUND, "<p>Not found.</p>"),
    })
}

fn decide(
    gateway: &mut Gateway,
    request_token: &str,
    user: &str,
    decision: Consent,
    rng: &mut dyn CryptoRng,
) -> Response<Vec<u8>> {
    let only_user = gateway.users().next().map(|user| user.name.clone()).unwrap_or_default();
    let user = if user.is_empty() { &only_user } else { user };
    match gateway.consent(request_token, user, decision, rng) {
        Ok(callback) => {
            let mut response = Response::new(Vec::new());
            *response.status_mut() = StatusCode::SEE_OTHER;
            response.headers_mut().extend(HeaderValue::try_from(callback).map(|callback| (LOCATION, callback)));
            response
        }
        Err(error) => page(StatusCode::NOT_FOUND, &format!("<p>{}</p>", escape(&error.to_string()))),
    }
}

fn ask(gateway: &Gateway, request_token: &str) -> Response<Vec<u8>> {
    let Some(consumer_key) = gateway.awaiting_consent(request_token) else {
        return page(StatusCode::NOT_FOUND, "<p>This link has been used, or never was any good.</p>");
    };
    let buttons: String = gateway
        .users()
        .map(|user| {
            let name = escape(&user.name);
            format!(
                "<p>{name}: <button name=\"approve\" value=\"{name}\">Approve</button> \
                 <button name=\"deny\" value=\"{name}\">Deny</button></p>\n"
            )
        })
        .collect();
    page(
        StatusCode::OK,
        &format!(
            "<p><b>{consumer_key}</b> asks for access to your account.</p>\n\
             <form action=\"/authorize\">\n\
             <input type=\"hidden\" name=\"oauth_token\" value=\"{token}\">\n{buttons}</form>",
            token = escape(request_token),
        ),
    )
}

fn page(status: StatusCode, content: &str) -> Response<Vec<u8>> {
    let body = format!("<!doctype html>\n<title>Authorize</title>\n<h1>Authorize</h1>\n{content}\n");
    let mut response = Response::new(body.into_bytes());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

fn arguments(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), decode(value))).collect()
}

/// Undoes form encoding; what is not encoded right stays as it is, and matches nothing.
fn decode(text: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escape = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = escape.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, escaped) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                rest = &after[2..];
                continue;
            }
            (b'+', _) => decoded.push(b' '),
            _ => decoded.push(*first),
        }
        rest = after;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
