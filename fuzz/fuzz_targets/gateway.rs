//! Hostile clients against the gateway. Invariants: no panic; every answer has a status from 200 to 599; nothing unsigned
//! is answered with 200.
#![no_main]

use arbitrary::Arbitrary;
use ibkr_oauth::gateway::{Gateway, RawRequest};
use ibkr_oauth_fuzz::START;
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;

#[derive(Arbitrary, Debug)]
struct Input {
    requests: Vec<Request>,
}

#[derive(Arbitrary, Debug)]
struct Request {
    method: Method,
    target: Target,
    authorization: Option<Vec<Part>>,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Method {
    Get,
    Post,
    Other(String),
}

#[derive(Arbitrary, Debug)]
enum Target {
    RequestToken,
    AccessToken,
    LiveSessionToken,
    Api(String),
    Other(String),
}

#[derive(Arbitrary, Debug)]
enum Part {
    Known(u8, String),
    Nearly(u8),
    Raw(Vec<u8>),
}

const NAMES: [&str; 10] = [
    "realm",
    "oauth_consumer_key",
    "oauth_nonce",
    "oauth_timestamp",
    "oauth_signature_method",
    "oauth_signature",
    "oauth_token",
    "oauth_verifier",
    "oauth_callback",
    "diffie_hellman_challenge",
];
const VALUES: [&str; 10] =
    ["limited_poa", "MYCONSKEY", "n1", "1714650000", "RSA-SHA256", "AAAA", "a1b2", "c3", "oob", "2"];

fuzz_target!(|input: Input| {
    let mut gateway = Gateway::new("http://127.0.0.1:4000/v1/api").unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    for request in input.requests.iter().take(8) {
        let mut headers: Vec<(&str, &[u8])> = vec![("User-Agent", b"fuzz"), ("Content-Length", b"0")];
        headers.extend(request.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
        let authorization = request.authorization.as_deref().map(authorization);
        headers.extend(authorization.as_deref().map(|value| ("Authorization", value)));
        let raw = RawRequest {
            method: match &request.method {
                Method::Get => "GET",
                Method::Post => "POST",
                Method::Other(method) => method,
            },
            target: &match &request.target {
                Target::RequestToken => "/v1/api/oauth/request_token".to_string(),
                Target::AccessToken => "/v1/api/oauth/access_token".to_string(),
                Target::LiveSessionToken => "/v1/api/oauth/live_session_token".to_string(),
                Target::Api(rest) => format!("/v1/api/{rest}"),
                Target::Other(target) => target.clone(),
            },
            headers: &headers,
            body: &request.body,
        };
        let response = gateway.handle(&raw, &mut rng, START);
        assert!((300..600).contains(&response.status), "nobody is registered, and somebody was let in");
        assert!(gateway.open_web_socket(&raw, START).is_err(), "nobody has a login, and somebody was let in");
    }
});

fn authorization(parts: &[Part]) -> Vec<u8> {
    let mut header = b"OAuth ".to_vec();
    for part in parts {
        match part {
            Part::Known(name, value) => header.extend(format!("{}=\"{value}\", ", name_of(*name)).bytes()),
            Part::Nearly(name) => {
                let value = VALUES[usize::from(*name) % VALUES.len()];
                header.extend(format!("{}={value},", name_of(*name)).bytes());
            }
            Part::Raw(bytes) => header.extend(bytes),
        }
    }
    header
}

fn name_of(index: u8) -> &'static str {
    NAMES[usize::from(index) % NAMES.len()]
}
