//! The signature base string, rebuilt from the request that arrived (protocol section 3).

use crate::percent_encoding::{Space, percent_encode};

/// A decoded parameter: name and value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// How a signer sorted the parameters. The two differ only where a name has characters that must be escaped; which of
/// them IBKR means is not known (protocol section 3.6).
#[derive(Clone, Copy)]
pub(crate) enum Order {
    /// By the names as they are meant, as clients do that sort a dictionary.
    Plain,
    /// By the names as they are escaped (RFC 5849 section 3.4.1.3.2).
    Escaped,
}

/// `METHOD&url&parameters`, the parameters joined first and encoded once, as a whole (protocol section 3.1).
pub(crate) fn base_string(method: &str, url: &[u8], mut parameters: Vec<Pair>, order: Order, space: Space) -> String {
    match order {
        Order::Plain => parameters.sort(),
        Order::Escaped => parameters.sort_by_cached_key(|(name, value)| {
            (percent_encode(name, Space::PercentTwenty), percent_encode(value, Space::PercentTwenty))
        }),
    }
    let joined = parameters.into_iter().map(|(name, value)| [name, value].join(&b'='));
    let joined = joined.collect::<Vec<_>>().join(&b'&');
    format!("{method}&{}&{}", percent_encode(url, space), percent_encode(&joined, space))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    #[test]
    fn rebuilds_the_published_strings() {
        for id in ["pdf-request-token", "guide2020-request-token", "guide2020-access-token", "ibkrdotnet-base-string"] {
            let vector = vectors::ibkr(id);
            let inputs = &vector["inputs"];
            let parameters = inputs.get("oauth_params").unwrap_or(&inputs["params"]);
            let rebuilt = base_string(
                inputs["method"].as_str().unwrap(),
                inputs["url"].as_str().unwrap().as_bytes(),
                vectors::pairs(parameters),
                Order::Plain,
                Space::PercentTwenty,
            );
            assert_eq!(rebuilt, vector["outputs"]["base_string"].as_str().unwrap(), "{id}");
        }
    }

    #[test]
    fn sorts_by_name_and_then_by_value() {
        let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let parameters = [pair("b", "1"), pair("a", "2"), pair("a", "1"), pair("a|", "0"), pair("a-b", "0")];
        let sorted = |order| base_string("GET", b"http://h/p", parameters.to_vec(), order, Space::PercentTwenty);
        let url = "GET&http%3A%2F%2Fh%2Fp";
        assert_eq!(sorted(Order::Plain), format!("{url}&a%3D1%26a%3D2%26a-b%3D0%26a%7C%3D0%26b%3D1"));
        assert_eq!(sorted(Order::Escaped), format!("{url}&a%3D1%26a%3D2%26a%7C%3D0%26a-b%3D0%26b%3D1"));
    }
}
