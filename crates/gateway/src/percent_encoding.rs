//! Percent-encoding, as the far end of the wire sees it (protocol section 3.2).

use ::percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// How a signer wrote a space: both kinds are in use (protocol section 3.2).
#[derive(Clone, Copy)]
pub(crate) enum Space {
    PercentTwenty,
    Plus,
}

/// All but `A-Z a-z 0-9 - . _ ~`.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Encodes everything but `A-Z a-z 0-9 - . _ ~`, with upper-case digits.
pub(crate) fn percent_encode(bytes: &[u8], space: Space) -> String {
    let encoded = ::percent_encoding::percent_encode(bytes, RESERVED).to_string();
    match space {
        Space::PercentTwenty => encoded,
        // A percent sign in `bytes` is `%25` by now: each `%20` is a space.
        Space::Plus => encoded.replace("%20", "+"),
    }
}

/// Undoes percent-encoding once; `None` if an escape is broken.
pub(crate) fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    // The library leaves a broken escape as it is.
    let mut after_percent_signs = text.split(|&byte| byte == b'%').skip(1);
    let is_whole =
        |after: &[u8]| matches!(after, [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
    after_percent_signs.all(is_whole).then(|| ::percent_encoding::percent_decode(text).collect())
}

/// The pairs of a query or of a form body, where `+` also means a space; `None` if an escape is broken.
pub(crate) fn form_pairs(form: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let pairs = form.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let mut sides = pair.splitn(2, |&byte| byte == b'=');
            let mut decode = || form_decode(sides.next().unwrap_or_default());
            Some((decode()?, decode()?))
        })
        .collect()
}

/// Undoes form encoding, where `+` also means a space; `None` if an escape is broken.
pub(crate) fn form_decode(text: &[u8]) -> Option<Vec<u8>> {
    let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    percent_decode(&spaced)
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_as_the_published_cases_do() {
        let cases = [
            (
                "https://api.ibkr.com/v1/api/portfolio/accounts",
                "https%3A%2F%2Fapi.ibkr.com%2Fv1%2Fapi%2Fportfolio%2Faccounts",
            ),
            ("abc+/=&123", "abc%2B%2F%3D%26123"),
            ("a-b_c.d~e", "a-b_c.d~e"),
            ("a b", "a%20b"),
            ("é", "%C3%A9"),
        ];
        for (plain, encoded) in cases {
            assert_eq!(percent_encode(plain.as_bytes(), Space::PercentTwenty), encoded);
            assert_eq!(percent_decode(encoded.as_bytes()).unwrap(), plain.as_bytes());
        }
        assert_eq!(percent_encode(b"a b", Space::Plus), "a+b");
    }

    #[test]
    fn broken_escapes_are_rejected() {
        for broken in ["%", "%4", "%zz", "a%4", "%4%41", "%%41", "%41%"] {
            assert_eq!(percent_decode(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn a_query_yields_its_pairs_in_order() {
        let pairs = form_pairs(b"b=1&a=x%20y&&c=p+q&flag&e=1=2").unwrap();
        let expected: [(&[u8], &[u8]); 5] =
            [(b"b", b"1"), (b"a", b"x y"), (b"c", b"p q"), (b"flag", b""), (b"e", b"1=2")];
        assert!(pairs.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).eq(expected));
    }
}
