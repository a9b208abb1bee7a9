//! The text under a signature, rebuilt from what arrived (protocol section 3).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::encoding::{Space, percent_encode};

/// A decoded parameter: name and value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// `METHOD&url&parameters`, the parameters joined first and encoded once, as a whole (protocol section 3.1).
pub(super) fn base_string(method: &str, url: &[u8], mut parameters: Vec<Pair>, space: Space) -> String {
    parameters.sort();
    let joined = parameters.into_iter().map(|(name, value)| [name, value].join(&b'='));
    let joined = joined.collect::<Vec<_>>().join(&b'&');
    format!("{method}&{}&{}", percent_encode(url, space), percent_encode(&joined, space))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::vectors;

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
                Space::PercentTwenty,
            );
            assert_eq!(rebuilt, vector["outputs"]["base_string"].as_str().unwrap(), "{id}");
        }
    }

    #[test]
    fn sorts_by_name_and_then_by_value() {
        let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let parameters = [pair("b", "1"), pair("a", "2"), pair("a", "1"), pair("a-b", "0")];
        assert_eq!(
            base_string("GET", b"http://h/p", parameters.to_vec(), Space::PercentTwenty),
            "GET&http%3A%2F%2Fh%2Fp&a%3D1%26a%3D2%26a-b%3D0%26b%3D1"
        );
    }
}
