//! Checks of the Diffie-Hellman parameters: the numbers must be those that were registered
//! ([protocol section 5](crate::protocol#section-5)).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use crypto_bigint::BoxedUint;
use crypto_primes::{Flavor, is_prime};
use der::asn1::{AnyRef, UintRef};
use der::pem::LineEnding;
use der::{Decode, Encode, Reader, SliceReader, Tag, Tagged};

use super::{Credential, Credentials, FindingKind, Report, damaged_pem};
use crate::agreement::diffie_hellman::{GENERATOR, MAX_BITS, MIN_BITS, read_pkcs3};
use crate::encoding::{bits, decode_hex, trimmed};
use crate::secret::Secret;

const CREDENTIAL: Credential = Credential::DhParams;
/// What `openssl dhparam -text` writes above the numbers. For a group of an RFC, version 3 writes its name and no numbers.
const OPENSSLS_TITLE: &str = "DH Parameters:";
/// What it calls the numbers, in its versions 1 and 3.
const OPENSSLS_NAMES: [&str; 4] = ["prime:", "generator:", "P:", "G:"];

pub(super) fn examine(credentials: &Credentials<'_>, report: &mut Report) {
    let Some(text) = credentials.dh_params else {
        report.add(FindingKind::Missing, CREDENTIAL, "nothing was given");
        return;
    };
    if let Some(numbers) = read(text, credentials.dh_generator, report) {
        numbers.examine(report);
    }
}

fn read(text: &str, generator: Option<u32>, report: &mut Report) -> Option<Numbers> {
    if let Some(prime) = bare_prime(text) {
        return from_hex(text, &prime, generator, report);
    }
    if is_openssls_text(text) {
        let lines = text.lines().count();
        report.add(FindingKind::DhText, CREDENTIAL, format!("{lines} line(s) of text, and no BEGIN line"));
        return None;
    }
    if looks_like_hex(text) {
        let length = text.trim().len();
        report.add(FindingKind::DhNotHex, CREDENTIAL, format!("{length} characters, and no BEGIN line"));
        return None;
    }
    from_pem(text, report)
}

/// Prime and generator, big-endian.
struct Numbers {
    prime: Vec<u8>,
    generator: Vec<u8>,
}

fn from_hex(text: &str, prime: &str, generator: Option<u32>, report: &mut Report) -> Option<Numbers> {
    if prime != text.trim() {
        let surplus = text.trim().len().saturating_sub(prime.len());
        report.add(
            FindingKind::DhDecorated,
            CREDENTIAL,
            format!("{surplus} character(s) that are not digits of the number"),
        );
        report.add_repaired(CREDENTIAL, Secret::new(prime.into()));
    }
    let generator = generator.unwrap_or(GENERATOR.into()).to_be_bytes();
    let numbers = Numbers { prime: trimmed(&decode_hex(prime)?).to_vec(), generator: trimmed(&generator).to_vec() };
    if let Some(der) = numbers.to_der() {
        report.add_fingerprint(CREDENTIAL, &der);
    }
    Some(numbers)
}

fn from_pem(text: &str, report: &mut Report) -> Option<Numbers> {
    let block = damaged_pem::read(text, &["DH PARAMETERS"], CREDENTIAL, report)?;
    let Some(integers) = read_integers(block.der.expose()) else {
        report.add(FindingKind::DhDamaged, CREDENTIAL, "no SEQUENCE of two INTEGERs");
        return None;
    };
    let numbers = Numbers { prime: trimmed(integers.prime).to_vec(), generator: trimmed(integers.generator).to_vec() };
    if integers.prime.first().is_some_and(|first| *first >= 0x80) {
        report.add(FindingKind::DhNegative, CREDENTIAL, "the first bit of the first INTEGER is set");
        let der = numbers.to_der()?;
        report.add_fingerprint(CREDENTIAL, &der);
        report.add_repaired(CREDENTIAL, Secret::new(to_pem(&der)?));
        return Some(numbers);
    }
    if read_pkcs3(block.der.expose()).is_err() {
        report.add(FindingKind::DhDamaged, CREDENTIAL, "an INTEGER that is negative or longer than it need be");
        return None;
    }
    report.add_fingerprint(CREDENTIAL, block.der.expose());
    if let Some(repaired) = block.repaired {
        report.add_repaired(CREDENTIAL, repaired);
    }
    Some(numbers)
}

/// The content of the two INTEGERs, signs included.
struct Integers<'a> {
    prime: &'a [u8],
    generator: &'a [u8],
}

fn read_integers(der: &[u8]) -> Option<Integers<'_>> {
    let sequence = AnyRef::from_der(der).ok()?;
    let integers = sequence.sequence(|reader: &mut SliceReader<'_>| {
        let prime: AnyRef<'_> = reader.decode()?;
        let generator: AnyRef<'_> = reader.decode()?;
        if !reader.is_finished() {
            let _length: AnyRef<'_> = reader.decode()?;
        }
        Ok::<_, der::Error>((prime, generator))
    });
    let (prime, generator) = integers.ok()?;
    let are_integers = prime.tag() == Tag::Integer && generator.tag() == Tag::Integer;
    are_integers.then(|| Integers { prime: prime.value(), generator: generator.value() })
}

impl Numbers {
    fn examine(&self, report: &mut Report) {
        self.examine_prime(report);
        if self.generator != [GENERATOR] {
            report.add(
                FindingKind::DhGenerator,
                CREDENTIAL,
                format!("a number of {} bits other than 2", bits(&self.generator)),
            );
        }
    }

    /// Stops at the first failed check; the slow primality tests come last.
    fn examine_prime(&self, report: &mut Report) {
        let size = bits(&self.prime);
        if size < MIN_BITS {
            return report.add(FindingKind::DhTooSmall, CREDENTIAL, format!("{size} bits; the least is {MIN_BITS}"));
        }
        if size > MAX_BITS {
            return report.add(FindingKind::DhTooLarge, CREDENTIAL, format!("{size} bits; the most is {MAX_BITS}"));
        }
        let prime = BoxedUint::from_be_slice_vartime(&self.prime);
        if self.prime.last().is_none_or(|last| last % 2 == 0) {
            return report.add(FindingKind::DhEven, CREDENTIAL, format!("{size} bits, the last of them 0"));
        }
        if !is_prime(Flavor::Any, &prime) {
            return report.add(
                FindingKind::DhComposite,
                CREDENTIAL,
                format!("{size} bits; a primality test refutes it"),
            );
        }
        if prime.shr_vartime(1).is_none_or(|half| !is_prime(Flavor::Any, &half)) {
            report.add(FindingKind::DhNotSafe, CREDENTIAL, format!("{size} bits; a primality test refutes half of it"));
        }
    }

    /// PKCS#3, as OpenSSL writes it.
    fn to_der(&self) -> Option<Vec<u8>> {
        let prime = UintRef::new(&self.prime).ok()?;
        let generator = UintRef::new(&self.generator).ok()?;
        Vec::from([prime, generator]).to_der().ok()
    }
}

fn to_pem(der: &[u8]) -> Option<String> {
    der::pem::encode_string("DH PARAMETERS", LineEnding::LF, der).ok()
}

/// The digits of a bare prime, without what other programs write between and before them.
fn bare_prime(text: &str) -> Option<String> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let digits: String =
        digits.chars().filter(|c| !(c.is_ascii_whitespace() || matches!(c, ':' | '"' | '\''))).collect();
    let is_hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then_some(digits)
}

/// Whether the text is what `openssl dhparam -text` writes above the PEM block, or most of it: digits in pairs, with colons
/// between them.
fn is_openssls_text(text: &str) -> bool {
    let has_digits = text.matches(':').count() > 100;
    let has_name = OPENSSLS_NAMES.iter().any(|name| text.contains(name));
    !text.contains("BEGIN ") && (text.contains(OPENSSLS_TITLE) || has_digits && has_name)
}

/// Whether most of the text is hexadecimal digits: chance would have a third of base64 be.
fn looks_like_hex(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    digits.saturating_mul(4) > text.len().saturating_mul(3)
}
