//! The `Authorization` header ([protocol section 2](crate::protocol#section-2)).

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
/// once ([protocol section 2.2](crate::protocol#section-2-2)). The signature is a gap at its place among them.
pub(crate) fn header<'a>(realm: &str, sorted: impl IntoIterator<Item = Slot<'a>> + Clone) -> Template {
    let before = sorted.clone().into_iter().take_while(|(name, _)| *name < "oauth_signature");
    let after = sorted.into_iter().skip_while(|(name, _)| *name < "oauth_signature");
    let mut header = Template::default();
    header.plain("OAuth realm=\"");
    header.plain(realm);
    for (name, value) in before.chain([("oauth_signature", None)]).chain(after) {
        header.plain("\", ");
        header.plain(name);
        header.plain("=\"");
        match value {
            Some(value) => header.encode(value, &ONCE),
            None => header.gap(),
        }
    }
    header.plain("\"");
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::percent_encoding::encode;
    use alloc::collections::BTreeMap;
    use alloc::string::String;
    use alloc::vec::Vec;

    /// IBKR's published header has the realm last, ours first: [protocol section 2.2](crate::protocol#section-2-2)
    /// finds both accepted.
    #[test]
    fn ibkrs_published_header_is_ours_but_for_the_place_of_the_realm() {
        let parameters: BTreeMap<&str, &str> =
            serde_json::from_str(published!("ibkr/pdf-request-token/inputs/oauth_params.json")).unwrap();
        let parameters: Vec<_> = parameters.into_iter().map(|(name, value)| (name, Some(value))).collect();
        let mut written = String::new();
        let signature = encode(published!("ibkr/pdf-request-token/outputs/oauth_signature.txt"));
        header("test_realm", parameters).fill(&[&signature], |text| written.push_str(text));
        let realm_first =
            published!("ibkr/pdf-request-token/outputs/authorization_header.txt").replace(", realm=\"test_realm\"", "");
        let realm_first = realm_first.replace("OAuth ", "OAuth realm=\"test_realm\", ");
        assert_eq!(written, realm_first);
    }
}
