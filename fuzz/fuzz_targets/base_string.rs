//! Any URL and parameters, against an encoder that is too simple to be wrong. Invariants: the same text in both
//! encodings; the order of the parameters does not matter; the alphabet is unreserved characters, `%XX` and `&`.
#![no_main]

use arbitrary::Arbitrary;
use ibkr_oauth::{BaseString, Method, ParameterEncoding};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    post: bool,
    url: String,
    parameters: Vec<(String, String)>,
}

fuzz_target!(|input: Input| {
    let method = if input.post { Method::Post } else { Method::Get };
    let mut pairs: Vec<(&str, &str)> = input.parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    for encoding in [ParameterEncoding::Single, ParameterEncoding::Rfc5849] {
        let text = BaseString::new(method, &input.url, &pairs, encoding);
        assert_eq!(text.expose().expose(), &naive(method, &input.url, &pairs, encoding));
        pairs.reverse();
        assert_eq!(BaseString::new(method, &input.url, &pairs, encoding), text);
        assert!(text.expose().expose().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%&".contains(&byte)));
    }
});

fn naive(method: Method, url: &str, pairs: &[(&str, &str)], encoding: ParameterEncoding) -> String {
    let mut pairs: Vec<(String, String, String)> =
        pairs.iter().map(|(name, value)| (encode(name), encode(value), format!("{name}={value}"))).collect();
    pairs.sort();
    let joined: Vec<String> = pairs
        .into_iter()
        .map(|(name, value, plain)| match encoding {
            ParameterEncoding::Single => encode(&plain),
            ParameterEncoding::Rfc5849 => encode(&format!("{name}={value}")),
        })
        .collect();
    format!("{}&{}&{}", method.as_str(), encode(url), joined.join("%26"))
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => (byte as char).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
