//! The `Authorization` header ([protocol section 2](crate::protocol#section-2)).

use alloc::string::String;

use crate::credentials::identity::Identity;
use crate::signing::percent_tables::ONCE;
use crate::signing::template::{Slot, Template};

/// A protocol parameter: name and value.
pub(crate) type Parameter<'a> = (&'a str, &'a str);

/// The parameters that every request has, sorted ([protocol section 2.1](crate::protocol#section-2-1)). No
/// `oauth_version`: no IBKR source sends it.
pub(crate) fn common_parameters<'a, Value: From<&'a str>>(
    identity: &'a Identity,
    signature_method: &'a str,
    nonce: Value,
    timestamp: Value,
) -> [(&'static str, Value); 4] {
    [
        ("oauth_consumer_key", identity.consumer_key().into()),
        ("oauth_nonce", nonce),
        ("oauth_signature_method", signature_method.into()),
        ("oauth_timestamp", timestamp),
    ]
}

/// The header's value: realm first and never signed, then the sorted parameters, quoted, every value percent-encoded
/// once ([protocol section 2.2](crate::protocol#section-2-2)). The signature stands at its place among them.
pub(crate) struct Header {
    pub(crate) before_signature: Template,
    pub(crate) behind_signature: Template,
}

impl Header {
    pub(crate) fn new<'a>(realm: &str, sorted: impl IntoIterator<Item = Slot<'a>>) -> Self {
        let mut sorted = sorted.into_iter().peekable();
        let mut before = Template::default();
        before.plain("OAuth realm=\"");
        before.plain(realm);
        while let Some(slot) = sorted.next_if(|(name, _)| *name < "oauth_signature") {
            parameter(&mut before, slot);
        }
        before.plain("\", oauth_signature=\"");
        let mut behind = Template::default();
        sorted.for_each(|slot| parameter(&mut behind, slot));
        behind.plain("\"");
        Self { before_signature: before, behind_signature: behind }
    }

    /// Appends a header that lacks nothing but the signature.
    pub(crate) fn write(&self, out: &mut String, signature: &str) {
        self.before_signature.fill(&[], |text| out.push_str(text));
        out.push_str(signature);
        self.behind_signature.fill(&[], |text| out.push_str(text));
    }

    /// Bytes of the header, without the signature and what else is filled in.
    pub(crate) fn length(&self) -> usize {
        self.before_signature.length().saturating_add(self.behind_signature.length())
    }

    /// Returns a copy in no more memory than it needs.
    pub(crate) fn trimmed(&self) -> Self {
        let Self { before_signature, behind_signature } = self;
        Self { before_signature: before_signature.trimmed(), behind_signature: behind_signature.trimmed() }
    }
}

/// Ends the value before, and writes the next parameter up to the quotation mark that ends it.
fn parameter(header: &mut Template, (name, value): Slot<'_>) {
    header.plain("\", ");
    header.plain(name);
    header.plain("=\"");
    match value {
        Some(value) => header.encode(value, &ONCE),
        None => header.gap(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::percent_encoding::encode;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    /// IBKR's published header has the realm last, ours first: [protocol section 2.2](crate::protocol#section-2-2)
    /// finds both accepted.
    #[test]
    fn ibkrs_published_header_is_ours_but_for_the_place_of_the_realm() {
        let parameters: BTreeMap<&str, &str> =
            serde_json::from_str(published!("ibkr/pdf-request-token/inputs/oauth_params.json")).unwrap();
        let parameters: Vec<_> = parameters.into_iter().map(|(name, value)| (name, Some(value))).collect();
        let header = Header::new("test_realm", parameters);
        let mut written = String::new();
        header.write(&mut written, &encode(published!("ibkr/pdf-request-token/outputs/oauth_signature.txt")));
        let realm_first =
            published!("ibkr/pdf-request-token/outputs/authorization_header.txt").replace(", realm=\"test_realm\"", "");
        let realm_first = realm_first.replace("OAuth ", "OAuth realm=\"test_realm\", ");
        assert_eq!(written, realm_first);
    }
}
