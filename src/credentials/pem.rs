//! PEM (RFC 7468), read leniently: any line endings and widths, any text before and after the block.

use alloc::format;
use alloc::vec::Vec;
use base64::Engine;

use crate::credentials::error::KeyError;
use crate::encoding::BASE64;
use crate::secret;
use crate::secret::Secret;

/// Bytes of the longest file looked at. A 8192-bit private key has 6,400.
pub(crate) const MAX_TEXT: usize = 64 * 1024;

/// Labels that an error names; any other is "something else", because a broken file may hold anything there.
pub(crate) const KNOWN_LABELS: [&str; 11] = [
    "CERTIFICATE",
    "CERTIFICATE REQUEST",
    "DH PARAMETERS",
    "EC PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
    "OPENSSH PRIVATE KEY",
    "PRIVATE KEY",
    "PUBLIC KEY",
    "RSA PRIVATE KEY",
    "RSA PUBLIC KEY",
    "X9.42 DH PARAMETERS",
];

/// One PEM block, decoded.
pub(crate) struct Block {
    pub(crate) label: &'static str,
    pub(crate) der: Secret<Vec<u8>>,
}

/// The first block whose label is one of `wanted`.
pub(crate) fn find(text: &str, wanted: &[&'static str]) -> Result<Block, KeyError> {
    if text.len() > MAX_TEXT {
        return Err(KeyError::TooLong);
    }
    let mut other = None;
    for after_begin in text.split("-----BEGIN ").skip(1) {
        let (label, body) = after_begin.split_once("-----").ok_or(KeyError::PemDamaged)?;
        match wanted.iter().find(|wanted| **wanted == label) {
            Some(label) => return Ok(Block { label, der: decode(label, body)? }),
            None => other = other.or(Some(label)),
        }
    }
    Err(other.map_or(KeyError::NoPem, |label| KeyError::WrongPem { found: name(label) }))
}

fn decode(label: &str, body: &str) -> Result<Secret<Vec<u8>>, KeyError> {
    let (base64, _) = body.split_once(&format!("-----END {label}-----")).ok_or(KeyError::PemDamaged)?;
    // RFC 1421 headers: only OpenSSL's own passphrase scheme for PKCS#1 keys uses them.
    if base64.contains("Proc-Type:") {
        return Err(KeyError::LegacyEncryption);
    }
    decode_base64(base64).ok_or(KeyError::PemDamaged)
}

/// With line breaks, as between the lines of a PEM block.
pub(crate) fn decode_base64(text: &str) -> Option<Secret<Vec<u8>>> {
    let compact = secret::without(text, |c| c.is_ascii_whitespace());
    BASE64.decode(compact.as_bytes()).ok().map(Secret::new)
}

fn name(label: &str) -> &'static str {
    KNOWN_LABELS.into_iter().find(|known| *known == label).unwrap_or("something else")
}
