//! The `Authorization` header (protocol section 2).

use alloc::string::String;

use crate::Consumer;
use crate::percent_encoding::encode_into;
use crate::stamp::Stamp;

/// A protocol parameter: name and value.
pub(crate) type Parameter<'a> = (&'a str, &'a str);

/// The parameters that every request has, sorted (protocol section 2.1). No `oauth_version`: no IBKR source sends it.
pub(crate) fn common_parameters<'a>(
    consumer: &'a Consumer,
    signature_method: &'a str,
    stamp: &'a Stamp,
) -> [Parameter<'a>; 4] {
    [
        ("oauth_consumer_key", consumer.consumer_key()),
        ("oauth_nonce", stamp.nonce()),
        ("oauth_signature_method", signature_method),
        ("oauth_timestamp", stamp.timestamp()),
    ]
}

/// Appends the header's value: realm first and never signed, then the sorted parameters with `signature` (base64) at
/// its place, quoted, every value percent-encoded once (protocol section 2.2). Allocates only where `out` is too small.
pub(crate) fn header_into(out: &mut String, realm: &str, sorted: &[Parameter<'_>], signature: &str) {
    out.push_str("OAuth realm=\"");
    out.push_str(realm);
    let (before, after) = sorted.split_at(sorted.partition_point(|(name, _)| *name < "oauth_signature"));
    let signature = [("oauth_signature", signature)];
    for (name, value) in before.iter().chain(&signature).chain(after) {
        out.push_str("\", ");
        out.push_str(name);
        out.push_str("=\"");
        encode_into(out, value);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;
    use serde_json::Value;

    /// IBKR's published header has the realm last, ours first: protocol section 2.2 finds both accepted.
    #[test]
    fn ibkrs_published_header_is_ours_but_for_the_place_of_the_realm() {
        let vectors: Value = serde_json::from_str(include_str!("../tests/vectors/ibkr.json")).unwrap();
        let vectors = vectors["vectors"].as_array().unwrap();
        let vector = vectors.iter().find(|vector| vector["id"] == "pdf-request-token").unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_string();
        let parameters = vector["inputs"]["oauth_params"].as_object().unwrap();
        let parameters: Vec<_> =
            parameters.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
        let mut header = String::new();
        header_into(&mut header, "test_realm", &parameters, &text(&vector["outputs"]["oauth_signature"]));
        let published = text(&vector["outputs"]["authorization_header"]);
        let realm_first = published.replace(", realm=\"test_realm\"", "");
        let realm_first = realm_first.replace("OAuth ", "OAuth realm=\"test_realm\", ");
        assert_eq!(header, realm_first);
    }
}
