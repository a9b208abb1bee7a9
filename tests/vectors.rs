//! Every published value, stage by stage: base string, signature, header, live session token.

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ibkr_oauth::{ApiRequest, BaseString, Method, OAuthSession, ParameterEncoding, Phase, Response};
use rsa::pkcs8::DecodePublicKey;
use serde_json::Value;
use sha1::Sha1;
use sha2::Sha256;
use support::vectors::{IBKR, RFC5849, vector, vectors};
use support::{NOW, WorkedLogin, header, parameter};

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn object(value: &Value) -> Vec<(&str, &str)> {
    value.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), text(value))).collect()
}

fn list(value: &Value) -> Vec<(&str, &str)> {
    value.as_array().unwrap().iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

fn method(value: &Value) -> Method {
    if value == "GET" { Method::Get } else { Method::Post }
}

fn single(method: Method, url: &str, parameters: &[(&str, &str)]) -> String {
    BaseString::new(method, url, parameters, ParameterEncoding::Single).text().expose().clone()
}

fn verifies(public_key: &Value, message: &str, signature: &Value) -> bool {
    let key = rsa::PublicKey::from_public_key_pem(text(public_key)).unwrap();
    key.pkcs1v15_verify::<Sha256>(message.as_bytes(), &STANDARD.decode(text(signature)).unwrap()).is_ok()
}

fn hmac_sha256(key: &[u8], message: &str) -> String {
    STANDARD.encode(Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(message).finalize().into_bytes())
}

fn hmac_sha1(consumer_secret: &str, token_secret: &str, message: &str) -> String {
    let key = format!("{consumer_secret}&{token_secret}");
    STANDARD.encode(Hmac::<Sha1>::new_from_slice(key.as_bytes()).unwrap().chain_update(message).finalize().into_bytes())
}

#[test]
fn ibkrs_published_signatures_fit_our_base_strings() {
    for id in ["pdf-request-token", "guide2020-request-token", "guide2020-access-token"] {
        let vector = vector(IBKR, id);
        let inputs = &vector["inputs"];
        let base = single(method(&inputs["method"]), text(&inputs["url"]), &object(&inputs["oauth_params"]));
        assert_eq!(base, text(&vector["outputs"]["base_string"]), "{id}");
        assert!(verifies(&inputs["signing_public_key_pem"], &base, &vector["outputs"]["oauth_signature"]), "{id}");
    }
}

#[test]
fn ibkrs_token_request_is_signed_in_single_encoding_behind_the_prepend() {
    let vector = vector(IBKR, "guide2020-live-session-token");
    let inputs = &vector["inputs"];
    let base_string = |encoding| {
        let base = BaseString::new(Method::Post, text(&inputs["url"]), &object(&inputs["params"]), encoding);
        format!("{}{}", text(&inputs["prepend_hex"]), base.text().expose())
    };
    let verifies =
        |base: &str| verifies(&inputs["signing_public_key_pem"], base, &vector["outputs"]["oauth_signature"]);
    let single = base_string(ParameterEncoding::Single);
    assert_eq!(single, text(&vector["outputs"]["base_string"]));
    assert!(verifies(&single));
    assert!(!verifies(&base_string(ParameterEncoding::Rfc5849)), "IBKR does not encode twice");
}

#[test]
fn ibkrs_worked_api_request_has_its_query_in_the_base_string() {
    let vector = vector(IBKR, "pdf-7.5-protected-get-query-folded");
    let inputs = &vector["inputs"];
    let (url, query) = text(&inputs["request_url"]).split_once('?').unwrap();
    let mut parameters = object(&inputs["oauth_params"]);
    parameters.push(query.split_once('=').unwrap());
    let base = single(Method::Get, url, &parameters);
    assert_eq!(base, text(&vector["outputs"]["base_string"]));
    let token = STANDARD.decode(text(&inputs["live_session_token"])).unwrap();
    assert_eq!(hmac_sha256(&token, &base), text(&vector["outputs"]["oauth_signature"]));
}

#[test]
fn another_implementations_base_string_and_encoding_are_ours() {
    let whole = vector(IBKR, "ibkrdotnet-base-string");
    let inputs = &whole["inputs"];
    let base = single(method(&inputs["method"]), text(&inputs["url"]), &object(&inputs["params"]));
    assert_eq!(base, text(&whole["outputs"]["base_string"]));

    for (set, id) in [(IBKR, "ibkrdotnet-percent-encoding"), (RFC5849, "oauth-testcases-percent-encoding")] {
        for (plain, encoded) in object(&vector(set, id)["outputs"]) {
            assert_eq!(single(Method::Get, "", &[(plain, "")]), format!("GET&&{encoded}%3D"));
        }
    }
}

/// RFC 5849 section 1.2, OAuth Core appendix A, Twitter's worked example: names and values encoded twice.
#[test]
fn the_double_encoding_mode_is_rfc_5849s() {
    let mut checked = 0;
    for vector in vectors(RFC5849) {
        let inputs = &vector["inputs"];
        let parameters = match (&inputs["params"], &inputs["decoded_params"]) {
            (Value::Array(_), _) => list(&inputs["params"]),
            (_, Value::Array(_)) => list(&inputs["decoded_params"]),
            _ => continue,
        };
        let url = text(&inputs["url"]).split('?').next().unwrap();
        let base = BaseString::new(method(&inputs["method"]), url, &parameters, ParameterEncoding::Rfc5849);
        assert_eq!(base.text().expose(), text(&vector["outputs"]["base_string"]), "{}", vector["id"]);
        let signature =
            hmac_sha1(text(&inputs["consumer_secret"]), text(&inputs["token_secret"]), base.text().expose());
        assert_eq!(signature, text(&vector["outputs"]["oauth_signature"]), "{}", vector["id"]);
        checked += 1;
    }
    assert_eq!(checked, 6);
}

/// The wiki's normalisation cases, in which a name may be without value and names may repeat.
#[test]
fn parameters_sort_as_the_oauth_wiki_has_it() {
    for (query, normalized) in object(&vector(RFC5849, "oauth-testcases-normalize")["outputs"]) {
        let pairs: Vec<_> = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
        // The wiki's cases are decoded as forms are.
        let decoded: Vec<(&str, String)> = pairs.iter().map(|(name, value)| (*name, value.replace('+', " "))).collect();
        let borrowed: Vec<(&str, &str)> = decoded.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let base = BaseString::new(Method::Get, "", &borrowed, ParameterEncoding::Rfc5849);
        let once = normalized.replace('%', "%25").replace('&', "%26").replace('=', "%3D");
        assert_eq!(base.text().expose(), &format!("GET&&{once}"), "{query}");
    }
}

#[test]
fn the_wikis_rsa_signature_fits_our_base_string() {
    let vector = vector(RFC5849, "oauth-testcases-rsa-sha1");
    let parameters = [
        ("file", "vacaction.jpg"),
        ("size", "original"),
        ("oauth_consumer_key", "dpf43f3p2l4k3l03"),
        ("oauth_nonce", "13917289812797014437"),
        ("oauth_signature_method", "RSA-SHA1"),
        ("oauth_timestamp", "1196666512"),
        ("oauth_version", "1.0"),
    ];
    let base =
        BaseString::new(Method::Get, "http://photos.example.net/photos", &parameters, ParameterEncoding::Rfc5849);
    assert_eq!(base.text().expose(), text(&vector["inputs"]["base_string"]));
    let key = rsa::PublicKey::from_public_key_pem(text(&vector["inputs"]["public_key_pem"])).unwrap();
    let signature = STANDARD.decode(text(&vector["outputs"]["oauth_signature"])).unwrap();
    assert_eq!(key.pkcs1v15_verify::<Sha1>(base.text().expose().as_bytes(), &signature), Ok(()));
}

/// The wiki's HMAC cases check the key `consumer secret & token secret` with which the cases above are judged.
#[test]
fn the_wikis_hmac_signatures_are_reproduced() {
    for id in ["oauth-testcases-hmac-empty", "oauth-testcases-hmac-ts"] {
        let vector = vector(RFC5849, id);
        let inputs = &vector["inputs"];
        let signature =
            hmac_sha1(text(&inputs["consumer_secret"]), text(&inputs["token_secret"]), text(&inputs["base_string"]));
        assert_eq!(signature, text(&vector["outputs"]["oauth_signature"]), "{id}");
    }
}

/// Secrets of 2048 bits (with a sign byte), 2047, 2041, 2040 (with one), 2039, 2033 and 2032 (with one).
#[test]
fn every_worked_key_agreement_ends_in_its_live_session_token() {
    let logins = WorkedLogin::all();
    assert_eq!(logins.len(), 7);
    for login in logins {
        let mut session = login.session();
        let outbound = login.poll(&mut session, NOW).unwrap();
        assert_eq!(parameter(&outbound.request, "diffie_hellman_challenge"), Some(&*login.challenge), "{}", login.id);
        let body = login.body(None);
        let phase = session.handle_response(outbound.exchange, &Response::new(200, body.as_bytes()), NOW);
        assert_eq!(phase, Ok(Phase::LiveSession), "{}", login.id);
        assert_eq!(signature_of_an_api_request(&session), expected_signature(&session, &login), "{}", login.id);
    }
}

const API_REQUEST: ApiRequest<'_> = ApiRequest::get("/portfolio/accounts");

fn signature_of_an_api_request(session: &OAuthSession) -> String {
    let request = session.live(NOW).unwrap().sign(&API_REQUEST, &mut support::rng(1), NOW).unwrap();
    parameter(&request, "oauth_signature").unwrap().to_string()
}

/// The same signature from the published live session token, with plain string handling.
fn expected_signature(session: &OAuthSession, login: &WorkedLogin) -> String {
    let request = session.live(NOW).unwrap().sign(&API_REQUEST, &mut support::rng(1), NOW).unwrap();
    let parameters: String = header(&request, "Authorization")
        .unwrap()
        .split(", ")
        .filter(|pair| !pair.starts_with("oauth_signature=") && pair.starts_with("oauth_"))
        .map(|pair| pair.replace('"', "").replace('=', "%3D"))
        .collect::<Vec<_>>()
        .join("%26");
    let base = format!("GET&https%3A%2F%2Fapi.ibkr.com%2Fv1%2Fapi%2Fportfolio%2Faccounts&{parameters}");
    let token = STANDARD.decode(&login.token).unwrap();
    hmac_sha256(&token, &base).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}
