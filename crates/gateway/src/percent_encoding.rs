//! Percent-encoding, as the far end of the wire sees it (protocol section 3.2).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

/// How a signer wrote a space: both kinds are in use (protocol section 3.2).
#[derive(Clone, Copy)]
pub(super) enum Space {
    PercentTwenty,
    Plus,
}

/// Encodes everything but `A-Z a-z 0-9 - . _ ~`, with upper-case digits.
pub(super) fn percent_encode(bytes: &[u8], space: Space) -> String {
    let mut encoded = String::new();
    for &byte in bytes {
        match (byte, space) {
            (b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~', _) => encoded.push(char::from(byte)),
            (b' ', Space::Plus) => encoded.push('+'),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// Undoes percent-encoding once; `None` if an escape is broken.
pub(super) fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        decoded.push(match byte {
            b'%' => hex_digit(rest.next())? << 4 | hex_digit(rest.next())?,
            _ => byte,
        });
    }
    Some(decoded)
}

/// The pairs of a query or of a form body, where `+` also means a space; `None` if an escape is broken.
pub(super) fn form_pairs(form: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
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
pub(super) fn form_decode(text: &[u8]) -> Option<Vec<u8>> {
    let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    percent_decode(&spaced)
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

fn hex_digit(byte: Option<&u8>) -> Option<u8> {
    let digit = char::from(*byte?).to_digit(16)?;
    u8::try_from(digit).ok()
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
    fn broken_escapes_are_refused() {
        for broken in ["%", "%4", "%zz", "a%4"] {
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
