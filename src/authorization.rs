//! The `Authorization` header (protocol section 2).

use alloc::string::String;
use alloc::vec::Vec;
use base64::Engine;

use crate::base_string::BaseString;
use crate::percent_encoding::encode_into;
use crate::stamp::Stamp;
use crate::token::BASE64;
use crate::{Consumer, Method};

/// The protocol parameters of one request, before and after signing.
pub(crate) struct Authorization<'a> {
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Authorization<'a> {
    /// The parameters that every request has (protocol section 2.1). No `oauth_version`: no IBKR source sends it.
    pub(crate) fn new(consumer: &'a Consumer, signature_method: &'a str, stamp: &'a Stamp) -> Self {
        Self {
            parameters: Vec::from([
                ("oauth_consumer_key", consumer.consumer_key()),
                ("oauth_nonce", stamp.nonce()),
                ("oauth_signature_method", signature_method),
                ("oauth_timestamp", stamp.timestamp()),
            ]),
        }
    }

    pub(crate) fn with(mut self, name: &'a str, value: &'a str) -> Self {
        self.parameters.push((name, value));
        self
    }

    /// The base string over these parameters and `request_parameters`: the query or form fields.
    pub(crate) fn base_string(
        &self,
        consumer: &Consumer,
        method: Method,
        url: &str,
        request_parameters: &[(&str, &str)],
    ) -> BaseString {
        let all = [self.parameters.as_slice(), request_parameters].concat();
        BaseString::new(method, url, &all, consumer.parameter_encoding())
    }

    /// The header: realm first and never signed, then the sorted rest, quoted, the signature percent-encoded once
    /// (protocol section 2.2).
    pub(crate) fn header(self, realm: &str, signature: &[u8]) -> String {
        let signature = BASE64.encode(signature);
        let mut parameters: Vec<(&str, &str)> = self.parameters;
        parameters.push(("oauth_signature", &signature));
        parameters.sort_unstable();
        let mut header = String::from("OAuth realm=\"");
        header.push_str(realm);
        header.push('"');
        for (name, value) in parameters {
            header.push_str(", ");
            header.push_str(name);
            header.push_str("=\"");
            encode_into(&mut header, value);
            header.push('"');
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use serde_json::Value;

    /// IBKR's published header has the realm last, ours first: protocol section 2.2 finds both accepted.
    #[test]
    fn ibkrs_published_header_is_ours_but_for_the_place_of_the_realm() {
        let vectors: Value = serde_json::from_str(include_str!("../tests/vectors/ibkr.json")).unwrap();
        let vectors = vectors["vectors"].as_array().unwrap();
        let vector = vectors.iter().find(|vector| vector["id"] == "pdf-request-token").unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_string();
        let parameters = vector["inputs"]["oauth_params"].as_object().unwrap();
        let authorization = Authorization {
            parameters: parameters.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect(),
        };
        let signature = BASE64.decode(text(&vector["outputs"]["oauth_signature"])).unwrap();
        let published = text(&vector["outputs"]["authorization_header"]);
        let realm_first = published.replace(", realm=\"test_realm\"", "");
        let realm_first = realm_first.replace("OAuth ", "OAuth realm=\"test_realm\", ");
        assert_eq!(authorization.header("test_realm", &signature), realm_first);
    }
}
