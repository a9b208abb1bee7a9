//! Damaged PEM files: what the damage is, and the file as it should be where that is certain.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use der::Decode;
use der::pem::LineEnding;
use rsa::{pkcs1, pkcs8};

use super::{Credential, Finding, FindingKind, Report};
use crate::agreement::diffie_hellman::read_pkcs3;
use crate::credentials::pem;
use crate::credentials::pem::{KNOWN_LABELS, MAX_TEXT};
use crate::secret::Secret;

/// Hyphens, and what word processors make of them.
const DASHES: [char; 6] = ['-', '\u{2010}', '\u{2011}', '\u{2013}', '\u{2014}', '\u{2212}'];

/// A wanted PEM block, whole.
pub(super) struct Block {
    pub(super) label: &'static str,
    pub(super) der: Secret<Vec<u8>>,
    /// The block as OpenSSL would write it, if the text has it otherwise.
    pub(super) repaired: Option<Secret<String>>,
}

/// The first block of `text` that is one of `wanted`. Reports what is wrong with it, and what stands there instead.
pub(super) fn read(text: &str, wanted: &[&'static str], credential: Credential, report: &mut Report) -> Option<Block> {
    let block = reject(text, credential).and_then(|()| Reading { wanted, credential, report }.read(text));
    block.map_err(|finding| report.push(finding)).ok()
}

/// What cannot be a PEM file at all.
fn reject(text: &str, credential: Credential) -> Result<(), Finding> {
    let unusable = |kind, evidence: String| Err(Finding::new(kind, credential, evidence));
    let length = text.len();
    if length > MAX_TEXT {
        return unusable(FindingKind::TooLong, format!("{length} bytes; at most {MAX_TEXT} make sense"));
    }
    if text.trim().is_empty() {
        return unusable(FindingKind::Empty, format!("{length} characters, all of them space"));
    }
    if text.contains(['\0', char::REPLACEMENT_CHARACTER]) {
        return unusable(FindingKind::NotText, "bytes that no text file has".into());
    }
    Ok(())
}

/// One text being read for one credential.
struct Reading<'a> {
    wanted: &'a [&'static str],
    credential: Credential,
    report: &'a mut Report,
}

impl Reading<'_> {
    fn read(&mut self, text: &str) -> Result<Block, Finding> {
        let plain = unescape(text);
        self.note_company(&plain);
        let damage_before = self.report.findings().len();
        if matches!(plain, Cow::Owned(_)) {
            self.report.add(
                FindingKind::EscapedLineBreaks,
                self.credential,
                format!("{} line(s) of text", text.lines().count()),
            );
        }
        let (label, der) = self.decode(&plain)?;
        let der = self.whole(der)?;
        let written = der::pem::encode_string(label, LineEnding::LF, der.expose());
        let canonical = Secret::new(written.map_err(|_| self.finding(FindingKind::KeyDamaged, "no PEM can hold it"))?);
        self.note_layout(&plain, canonical.expose());
        let is_damaged = self.report.findings().len() > damage_before;
        Ok(Block { label, der, repaired: is_damaged.then_some(canonical) })
    }

    fn note_company(&mut self, text: &str) {
        let labels: Vec<_> = Armored::all(text).map(|armored| armored.label).collect();
        let wanted: Vec<_> = labels.into_iter().filter(|label| self.wanted.contains(label)).collect();
        if wanted.len() > 1 {
            self.report.add(
                FindingKind::Several,
                self.credential,
                format!("{} blocks: {}", wanted.len(), wanted.join(", ")),
            );
        }
    }

    /// The label and the content of the block.
    fn decode(&mut self, text: &str) -> Result<(&'static str, Secret<Vec<u8>>), Finding> {
        match Armored::find(text, self.wanted) {
            None => self.decode_bare(text),
            Some(armored) if self.wanted.contains(&armored.label) => self.decode_armored(text, &armored),
            Some(other) => Err(self.misplaced(other.label)),
        }
    }

    fn decode_armored(
        &mut self,
        text: &str,
        armored: &Armored<'_>,
    ) -> Result<(&'static str, Secret<Vec<u8>>), Finding> {
        if armored.body.contains("Proc-Type:") {
            return Err(self.finding(FindingKind::LegacyEncryption, "a line with Proc-Type and ENCRYPTED"));
        }
        let der = self.decode_base64(undashed(armored.body))?;
        if !armored.has_end {
            self.report.add(FindingKind::EndMissing, self.credential, format!("no END line for {}", armored.label));
        } else if pem::find(text, self.wanted).is_err() {
            let evidence = format!("the words BEGIN and END {}, not between five hyphens each", armored.label);
            self.report.add(FindingKind::Dashes, self.credential, evidence);
        }
        Ok((armored.label, der))
    }

    /// Text without a BEGIN line: base64 all the same?
    fn decode_bare(&mut self, text: &str) -> Result<(&'static str, Secret<Vec<u8>>), Finding> {
        if text.contains("-----BEGIN ") {
            return Err(self.finding(FindingKind::UnknownPem, "a BEGIN line with a label of no use here"));
        }
        let der = pem::decode_base64(undashed(text)).map(|der| (label_of(der.expose()), der));
        match der {
            Some((Some(label), der)) if self.wanted.contains(&label) => {
                self.report.add(
                    FindingKind::HeaderMissing,
                    self.credential,
                    format!("base64 of a {label}, without a BEGIN line"),
                );
                Ok((label, der))
            }
            Some((Some(label), _)) => Err(self.misplaced(label)),
            _ => {
                let evidence = format!("{} characters without a BEGIN line", text.trim().chars().count());
                Err(self.finding(FindingKind::NotPem, evidence))
            }
        }
    }

    fn decode_base64(&self, body: &str) -> Result<Secret<Vec<u8>>, Finding> {
        let is_foreign = |c: char| !(c.is_ascii_whitespace() || c.is_ascii_alphanumeric() || "+/=".contains(c));
        if let Some((before, _)) = body.split_once(is_foreign) {
            let line = before.matches('\n').count().saturating_add(1);
            return Err(self.finding(FindingKind::NotBase64, format!("line {line} of the block holds it")));
        }
        pem::decode_base64(body).ok_or_else(|| {
            let characters = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).count();
            self.finding(
                FindingKind::CutOff,
                format!("{characters} characters of base64, which make no whole number of bytes"),
            )
        })
    }

    /// Compares the length with the one that DER itself announces.
    fn whole(&self, der: Secret<Vec<u8>>) -> Result<Secret<Vec<u8>>, Finding> {
        let found = der.expose().len();
        match announced_length(der.expose()) {
            Some(announced) if announced > found => {
                let missing = announced.saturating_sub(found);
                let lines = missing.div_ceil(48);
                let evidence =
                    format!("{found} of {announced} bytes are there; {missing} are missing ({lines} line(s))");
                Err(self.finding(FindingKind::CutOff, evidence))
            }
            _ => Ok(der),
        }
    }

    fn note_layout(&mut self, text: &str, canonical: &str) {
        if text.contains("\r\n") {
            let kind =
                if self.credential == Credential::DhParams { FindingKind::UploadCrLf } else { FindingKind::CrLf };
            self.report.add(kind, self.credential, format!("{} line(s) end in CR LF", text.matches("\r\n").count()));
        }
        let unix = Secret::new(text.replace("\r\n", "\n"));
        let is_readable = pem::find(text, self.wanted).is_ok();
        if is_readable && !unix.expose().contains(canonical.trim_end()) {
            self.report.add(FindingKind::Layout, self.credential, format!("{} line(s) of text", text.lines().count()));
        }
    }

    fn misplaced(&self, label: &'static str) -> Finding {
        let kind = match (label, self.credential) {
            ("PUBLIC KEY" | "RSA PUBLIC KEY", _) => FindingKind::PublicKey,
            ("CERTIFICATE", _) => FindingKind::Certificate,
            ("CERTIFICATE REQUEST", _) => FindingKind::CertificateRequest,
            ("OPENSSH PRIVATE KEY", _) => FindingKind::OpenSshKey,
            ("X9.42 DH PARAMETERS", Credential::DhParams) => FindingKind::X942,
            ("DH PARAMETERS" | "X9.42 DH PARAMETERS", _) => FindingKind::DhParams,
            (_, Credential::DhParams) => FindingKind::PrivateKey,
            ("EC PRIVATE KEY", _) => FindingKind::NotRsa,
            _ => FindingKind::UnknownPem,
        };
        self.finding(kind, format!("the label {label}"))
    }

    fn finding(&self, kind: FindingKind, evidence: impl Into<String>) -> Finding {
        Finding::new(kind, self.credential, evidence)
    }
}

/// `\n` and `\r` written out become line breaks.
fn unescape(text: &str) -> Cow<'_, str> {
    if text.contains("\\n") {
        Cow::Owned(text.replace("\\r\\n", "\n").replace("\\n", "\n").replace("\\r", ""))
    } else {
        Cow::Borrowed(text)
    }
}

/// What stands between the words BEGIN and END, whatever is around them.
struct Armored<'a> {
    label: &'static str,
    body: &'a str,
    has_end: bool,
}

impl<'a> Armored<'a> {
    /// The first that is wanted, else the first of a known kind.
    fn find(text: &'a str, wanted: &[&'static str]) -> Option<Self> {
        let mut all: Vec<Self> = Self::all(text).collect();
        let first_wanted = all.iter().position(|armored| wanted.contains(&armored.label)).unwrap_or(0);
        (first_wanted < all.len()).then(|| all.swap_remove(first_wanted))
    }

    /// All of a known kind.
    fn all(text: &'a str) -> impl Iterator<Item = Self> {
        text.split("BEGIN ").skip(1).filter_map(Self::at)
    }

    fn at(after_begin: &'a str) -> Option<Self> {
        let known = KNOWN_LABELS.into_iter().filter(|known| after_begin.starts_with(known));
        let label = known.max_by_key(|known| known.len())?;
        let after_label = after_begin.strip_prefix(label)?;
        let (body, has_end) = match after_label.split_once(&format!("END {label}")) {
            Some((body, _)) => (body, true),
            None => (after_label, false),
        };
        Some(Self { label, body, has_end })
    }
}

/// Without the dashes at the start, and without whatever follows those at the end.
fn undashed(text: &str) -> &str {
    text.trim_start_matches(DASHES).split(DASHES).next().unwrap_or(text)
}

/// Which PEM block would hold this.
fn label_of(der: &[u8]) -> Option<&'static str> {
    if pkcs8::PrivateKeyInfoRef::from_der(der).is_ok() {
        Some("PRIVATE KEY")
    } else if pkcs1::RsaPrivateKeyRef::from_der(der).is_ok() {
        Some("RSA PRIVATE KEY")
    } else if pkcs8::SubjectPublicKeyInfoRef::from_der(der).is_ok() {
        Some("PUBLIC KEY")
    } else if read_pkcs3(der).is_ok() {
        Some("DH PARAMETERS")
    } else {
        None
    }
}

/// The length of the outermost SEQUENCE, its header included.
fn announced_length(der: &[u8]) -> Option<usize> {
    let (header, content) = match *der {
        [0x30, length @ ..=0x7f, ..] => (2, usize::from(length)),
        [0x30, 0x81, length, ..] => (3, usize::from(length)),
        [0x30, 0x82, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        _ => return None,
    };
    Some(content.saturating_add(header))
}
