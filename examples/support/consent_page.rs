//! The page on which a user lets a third party in, or not.
//!
//! A browser gets a page with buttons from `/authorize?oauth_token=TOKEN`. A test adds `&approve=NAME` or
//! `&deny=NAME` (a user's name, or nothing for the only one) and is redirected at once.

use std::collections::BTreeMap;

use ibkr_oauth::gateway::{Consent, Gateway, RawResponse};
use rand::rand_core::CryptoRng;

/// Answers a request for the page; `None` if the request is for anything else.
pub fn answer(gateway: &mut Gateway, method: &str, target: &str, rng: &mut dyn CryptoRng) -> Option<RawResponse> {
    let query = target.strip_prefix("/authorize")?;
    let arguments = match query.strip_prefix('?') {
        Some(query) => arguments(query),
        None if query.is_empty() => BTreeMap::new(),
        None => return None,
    };
    let argument = |name: &str| arguments.get(name).map(String::as_str);
    let request_token = argument("oauth_token").unwrap_or_default();
    let decision = match (argument("approve"), argument("deny")) {
        (Some(user), None) => Some((Consent::Grant, user)),
        (None, Some(user)) => Some((Consent::Deny, user)),
        _ => None,
    };
    Some(match (method, decision) {
        ("GET", Some((decision, user))) => decide(gateway, request_token, user, decision, rng),
        ("GET", None) => ask(gateway, request_token),
        _ => page(404, "<p>Not found.</p>"),
    })
}

fn decide(
    gateway: &mut Gateway,
    request_token: &str,
    user: &str,
    decision: Consent,
    rng: &mut dyn CryptoRng,
) -> RawResponse {
    let only_user = gateway.users().next().map(|user| user.name.clone()).unwrap_or_default();
    let user = if user.is_empty() { &only_user } else { user };
    match gateway.consent(request_token, user, decision, rng) {
        Ok(callback) => {
            let location = ("Location".to_owned(), callback);
            RawResponse { status: 303, headers: vec![location], body: Vec::new() }
        }
        Err(error) => page(404, &format!("<p>{}</p>", escape(&error.to_string()))),
    }
}

fn ask(gateway: &Gateway, request_token: &str) -> RawResponse {
    let Some(consumer_key) = gateway.awaiting_consent(request_token) else {
        return page(404, "<p>This link has been used, or never was any good.</p>");
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
        200,
        &format!(
            "<p><b>{consumer_key}</b> asks for access to your account.</p>\n\
             <form action=\"/authorize\">\n\
             <input type=\"hidden\" name=\"oauth_token\" value=\"{token}\">\n{buttons}</form>",
            token = escape(request_token),
        ),
    )
}

fn page(status: u16, content: &str) -> RawResponse {
    let body = format!("<!doctype html>\n<title>Authorize</title>\n<h1>Authorize</h1>\n{content}\n");
    let content_type = ("Content-Type".to_owned(), "text/html; charset=utf-8".to_owned());
    RawResponse { status, headers: vec![content_type], body: body.into_bytes() }
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
