//! Checks of the access token secret: its copy is whole, and the encryption key decrypts it
//! ([protocol section 4](crate::protocol#section-4)).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base64::Engine;
use core::cmp::Ordering;
use core::ops::RangeInclusive;
use crypto_bigint::BoxedUint;
use rand_core::CryptoRng;
use rsa::hazmat::rsa_decrypt;
use rsa::traits::PublicKeyParts;
use zeroize::Zeroizing;

use super::consumer::{token_and_secret_are_swapped, unquoted};
use super::keys::Keys;
use super::{Credential, Credentials, FindingKind, Report};
use crate::credentials::keys::RsaPrivateKey;
use crate::credentials::token::MAX_SECRET_LENGTH;
use crate::encoding::{BASE64, decode_hex};
use crate::secret;
use crate::secret::Secret;
use crate::signing::percent_encoding;

const CREDENTIAL: Credential = Credential::AccessTokenSecret;
/// Bytes of a secret for a key of the usual 2048 bits.
const USUAL_LENGTH: usize = 256;
/// Hexadecimal digits of a decrypted secret: IBKR's have 64, those of other implementers' examples 40
/// ([protocol section 4](crate::protocol#section-4)).
const DECRYPTED_DIGITS: RangeInclusive<usize> = 40..=128;

pub(super) fn examine(credentials: &Credentials<'_>, keys: &Keys, rng: &mut dyn CryptoRng, report: &mut Report) {
    let Some(text) = given(credentials, report) else {
        return;
    };
    let expected = keys.encryption.as_ref().map_or(USUAL_LENGTH, |key| key.0.size());
    let restored = Restored::new(text, expected);
    if let Some((kind, evidence)) = restored.damage {
        report.add(kind, CREDENTIAL, evidence);
    }
    let copy = Copy { base64: restored.base64, expected };
    let Some(ciphertext) = copy.decode(report) else {
        return;
    };
    copy.check_padding(ciphertext.expose().len(), report);
    let is_whole = ciphertext.expose().len() == expected;
    if is_whole {
        let base64 = Secret::new(BASE64.encode(ciphertext.expose()));
        if restored.damage.is_some() || *base64.expose() != *copy.base64 {
            report.add_repaired(CREDENTIAL, base64);
        }
    }
    match Decryption::attempt(ciphertext.expose(), keys, rng) {
        Decryption::Encryption { length } => {
            report.add(FindingKind::SecretDecrypts, CREDENTIAL, format!("{length} bytes come out"))
        }
        Decryption::Signature { length } => {
            report.add(FindingKind::KeysSwapped, CREDENTIAL, format!("{length} bytes come out with the signature key"));
        }
        Decryption::Neither if !is_whole => copy.report_length(report),
        Decryption::Neither => report.add(FindingKind::SecretDoesNotDecrypt, CREDENTIAL, tried(keys)),
        Decryption::Untried => {}
    }
}

/// The text of the secret, unless something else stands there.
fn given<'a>(credentials: &Credentials<'a>, report: &mut Report) -> Option<&'a str> {
    let Some(text) = credentials.access_token_secret else {
        if credentials.access_token.is_some() {
            report.add(FindingKind::Missing, CREDENTIAL, "an access token without its secret");
        }
        return None;
    };
    if token_and_secret_are_swapped(credentials) {
        return None;
    }
    let text = unquoted(text.trim(), CREDENTIAL, report);
    let Some((kind, evidence)) = unusable(text) else {
        return Some(text);
    };
    report.add(kind, CREDENTIAL, evidence);
    None
}

/// Why it is no use to look further.
fn unusable(text: &str) -> Option<(FindingKind, String)> {
    let length = text.len();
    if length == 0 {
        return Some((FindingKind::Empty, "0 characters".into()));
    }
    if length > MAX_SECRET_LENGTH {
        return Some((FindingKind::TooLong, format!("{length} characters; a 2048-bit key needs 344")));
    }
    is_decrypted(text).then(|| (FindingKind::SecretDecrypted, format!("{length} hexadecimal digits and nothing else")))
}

fn is_decrypted(text: &str) -> bool {
    DECRYPTED_DIGITS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Base64 as it was before something on the way changed it.
struct Restored {
    base64: Zeroizing<String>,
    damage: Option<(FindingKind, &'static str)>,
}

impl Restored {
    fn new(text: &str, expected: usize) -> Self {
        let compact = secret::without(text, char::is_whitespace);
        let with_plus = secret::without(&Zeroizing::new(text.replace(' ', "+")), char::is_whitespace);
        let (base64, damage) = if let Some(decoded) = percent_decoded(&compact) {
            (decoded, Some((FindingKind::SecretPercentEncoded, "% signs followed by two hexadecimal digits")))
        } else if let Some(bytes) = hex(&compact, expected) {
            (Zeroizing::new(BASE64.encode(&*bytes)), Some((FindingKind::SecretHex, "nothing but hexadecimal digits")))
        } else if compact.contains(['-', '_']) && !compact.contains(['+', '/']) {
            let without_minus = Zeroizing::new(compact.replace('-', "+"));
            let standard = Zeroizing::new(without_minus.replace('_', "/"));
            (standard, Some((FindingKind::SecretUrlSafe, "the characters - or _ where base64 has + and /")))
        } else if digits(&compact) < digits_for(expected) && digits(&with_plus) == digits_for(expected) {
            (
                with_plus,
                Some((FindingKind::SecretPlusLost, "with each space counted as a plus sign, the length is right")),
            )
        } else {
            (compact, None)
        };
        Self { base64, damage }
    }
}

fn percent_decoded(text: &str) -> Option<Zeroizing<String>> {
    let decoded = text.contains('%').then(|| percent_encoding::decode(text).ok());
    decoded.flatten().map(Zeroizing::new)
}

/// The bytes of hexadecimal digits, if there are as many as a secret has.
fn hex(text: &str, expected: usize) -> Option<Zeroizing<Vec<u8>>> {
    decode_hex(text).map(Zeroizing::new).filter(|bytes| bytes.len() == expected)
}

/// Digits of base64, without padding.
fn digits(base64: &str) -> usize {
    base64.trim_end_matches('=').len()
}

fn digits_for(bytes: usize) -> usize {
    bytes.saturating_mul(4).div_ceil(3)
}

fn characters_for(bytes: usize) -> usize {
    bytes.div_ceil(3).saturating_mul(4)
}

/// Base64 without white space, and the bytes that it should stand for.
struct Copy {
    base64: Zeroizing<String>,
    expected: usize,
}

impl Copy {
    fn decode(&self, report: &mut Report) -> Option<Secret<Vec<u8>>> {
        let digits = self.base64.trim_end_matches('=');
        let is_digit = |c: char| c.is_ascii_alphanumeric() || "+/".contains(c);
        if let Some(before) = digits.chars().position(|c| !is_digit(c)) {
            let position = before.saturating_add(1);
            report.add(FindingKind::SecretNotBase64, CREDENTIAL, format!("character {position}, spaces not counted"));
            return None;
        }
        let bytes = BASE64.decode(digits);
        match bytes {
            Ok(bytes) => return Some(Secret::new(bytes)),
            Err(_) if digits.len() == digits_for(self.expected) => {
                report.add(
                    FindingKind::SecretNotBase64,
                    CREDENTIAL,
                    "the last character cannot be the last of so many bytes",
                );
            }
            Err(_) => self.report_length(report),
        }
        None
    }

    /// Of the digits that are there, which stand for so many `bytes`.
    fn check_padding(&self, bytes: usize, report: &mut Report) {
        let kind = match self.base64.len().cmp(&characters_for(bytes)) {
            Ordering::Less => FindingKind::SecretPadding,
            Ordering::Equal => return,
            Ordering::Greater => FindingKind::SecretExcessPadding,
        };
        report.add(kind, CREDENTIAL, self.lengths());
    }

    fn report_length(&self, report: &mut Report) {
        let is_short = digits(&self.base64) < digits_for(self.expected);
        let kind = if is_short { FindingKind::SecretTruncated } else { FindingKind::SecretOverlong };
        report.add(kind, CREDENTIAL, self.lengths());
    }

    fn lengths(&self) -> String {
        let (found, needed) = (self.base64.len(), characters_for(self.expected));
        format!("{found} characters; a {}-bit key needs {needed}", self.expected.saturating_mul(8))
    }
}

/// Which key the secret was made for.
enum Decryption {
    Encryption {
        length: usize,
    },
    Signature {
        length: usize,
    },
    Neither,
    /// There is no encryption key to try.
    Untried,
}

impl Decryption {
    fn attempt(ciphertext: &[u8], keys: &Keys, rng: &mut dyn CryptoRng) -> Self {
        let mut try_key = |key: &Option<RsaPrivateKey>| key.as_ref().and_then(|key| decrypts(key, ciphertext, rng));
        match (try_key(&keys.encryption), try_key(&keys.signature)) {
            (Some(length), _) => Self::Encryption { length },
            (None, Some(length)) => Self::Signature { length },
            (None, None) if keys.encryption.is_some() => Self::Neither,
            (None, None) => Self::Untried,
        }
    }
}

fn tried(keys: &Keys) -> &'static str {
    match keys.signature {
        Some(_) => "neither the encryption key nor the signature key decrypts it",
        None => "the encryption key does not decrypt it",
    }
}

/// The length of the message, if `ciphertext` was made for `key`
/// ([RFC 8017 section 7.2.2](https://www.rfc-editor.org/rfc/rfc8017#section-7.2.2): `00 02`, eight bytes of padding or
/// more that are not zero, `00`, the message). A wrong key passes once in a hundred thousand times.
///
/// `RsaPrivateKey` itself never says whether the padding is right (implicit rejection), because a server that did would
/// answer questions about secrets it was sent by strangers (Bleichenbacher's attack needs very many answers). Here the
/// owner of the key asks once, about an own secret, on an own machine.
fn decrypts(key: &RsaPrivateKey, ciphertext: &[u8], rng: &mut dyn CryptoRng) -> Option<usize> {
    let key = &key.0;
    let number = BoxedUint::from_be_slice(ciphertext, key.n_bits_precision()).ok()?;
    let message = Zeroizing::new(rsa_decrypt(Some(rng), key, &number).ok()?);
    let bytes = Zeroizing::new(message.to_be_bytes());
    let block = bytes.get(bytes.len().checked_sub(key.size())?..)?;
    let [0x00, 0x02, rest @ ..] = block else {
        return None;
    };
    let padding = rest.iter().position(|byte| *byte == 0).filter(|length| *length >= 8)?;
    rest.len().checked_sub(padding)?.checked_sub(1).filter(|_| ciphertext.len() == key.size())
}
