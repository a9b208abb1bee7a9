//! The page on which a user grants a third party access, or denies it (protocol section 1).

use std::collections::BTreeMap;

use html_escape::{encode_double_quoted_attribute, encode_text};
use http::header::LOCATION;
use http::{HeaderValue, Method, Request, StatusCode};
use rand_core::CryptoRng;

use crate::response::{HTML, Response, TEXT, response};
use crate::{Consent, Gateway};

/// Answers a request for the page; returns `None` if the request is for anything else.
pub(crate) fn handle<B>(gateway: &mut Gateway, request: &Request<B>, rng: &mut dyn CryptoRng) -> Option<Response> {
    if request.uri().path() != "/authorize" {
        return None;
    }
    let query = request.uri().query().unwrap_or_default();
    let arguments: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
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
) -> Response {
    let only_user = gateway.users().next().map(|user| user.name.clone()).unwrap_or_default();
    let user = if user.is_empty() { &only_user } else { user };
    match gateway.consent(request_token, user, decision, rng) {
        Ok(callback) => {
            let mut redirect = response(StatusCode::SEE_OTHER, TEXT, String::new());
            redirect.headers_mut().extend(HeaderValue::try_from(callback).map(|callback| (LOCATION, callback)));
            redirect
        }
        Err(error) => page(StatusCode::NOT_FOUND, &format!("<p>{}</p>", encode_text(&error.to_string()))),
    }
}

fn ask(gateway: &Gateway, request_token: &str) -> Response {
    let Some(consumer_key) = gateway.awaiting_consent(request_token) else {
        return page(StatusCode::NOT_FOUND, "<p>This link has been used before, or is wrong.</p>");
    };
    let buttons: String = gateway
        .users()
        .map(|user| {
            let name = encode_double_quoted_attribute(&user.name);
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
            token = encode_double_quoted_attribute(request_token),
        ),
    )
}

fn page(status: StatusCode, content: &str) -> Response {
    let page =
        format!("<!doctype html>\n<meta charset=\"utf-8\">\n<title>Authorize</title>\n<h1>Authorize</h1>\n{content}\n");
    response(status, HTML, page)
}
