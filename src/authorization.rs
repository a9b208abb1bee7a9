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
