//! Any URL and parameters, against an encoder that is too simple to be wrong. The input is `METHOD URL`, then a parameter
//! `NAME=VALUE` on each line. Invariants: the same text in both encodings; the order of the parameters does not matter;
//! the alphabet is unreserved characters, `%XX` and `&`; memory in proportion to the input.
#![no_main]

use ibkr_oauth::{BaseString, Method, ParameterEncoding};
use ibkr_oauth_fuzz::MemoryBound;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    // A parameter of one byte has some 300 bytes of bookkeeping in the simple encoder.
    let _bound = MemoryBound::bytes(16 * 1024 + 512 * input.len());
    let (first, lines) = input.split_once('\n').unwrap_or((input, ""));
    let (method, url) = first.split_once(' ').unwrap_or(("GET", first));
    let method = [Method::Post, Method::Put, Method::Delete].into_iter().find(|known| known.as_str() == method);
    let method = method.unwrap_or(Method::Get);
    let mut pairs: Vec<_> = lines.lines().map(|line| line.split_once('=').unwrap_or((line, ""))).collect();
    for encoding in [ParameterEncoding::Single, ParameterEncoding::Rfc5849] {
        let text = BaseString::new(method, url, &pairs, encoding);
        assert_eq!(text.text().expose(), &naive(method, url, &pairs, encoding));
        pairs.reverse();
        assert_eq!(BaseString::new(method, url, &pairs, encoding), text);
        assert!(text.text().expose().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%&".contains(&byte)));
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
