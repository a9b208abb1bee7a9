//! Any bytes as a file of keys: PEM, DER and hex; the doctor looks at them too. Invariants: no panic, bounded time; a key
//! that is accepted signs, and does not show itself; what is refused, the doctor calls an error; no more memory than
//! 128 KiB and 64 bytes for each byte of the input.
#![no_main]

use ibkr_oauth::doctor::{Credential, Credentials, Report, Severity, examine};
use ibkr_oauth::{ConsumerKeys, DhParams, RsaKeys, RsaPrivateKey};
use ibkr_oauth_fuzz::MemoryBound;
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Of the encrypted key among the seeds.
const PASSPHRASE: &str = "for the tests only";

fuzz_target!(|bytes: &[u8]| {
    let _bound = MemoryBound::bytes(128 * 1024 + 64 * bytes.len());
    let _ = RsaPrivateKey::from_der(bytes).map(|key| assert_usable(&key));
    let _ = DhParams::from_der(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let key = RsaPrivateKey::from_pem(text).or_else(|_| RsaPrivateKey::from_encrypted_pem(text, PASSPHRASE.as_bytes()));
    let _ = key.as_ref().map(assert_usable);
    let credentials = Credentials {
        signature_key: Some(text),
        signature_passphrase: Some(PASSPHRASE),
        dh_params: Some(text),
        ..Credentials::default()
    };
    let report = examine(&credentials, &mut StdRng::seed_from_u64(1));
    assert!(key.is_ok() || has_error(&report, Credential::SignatureKey), "{key:?} {report:?}");
    let dh = DhParams::from_pem(text).or_else(|_| DhParams::from_hex(text, 2));
    assert!(dh.is_ok() || has_error(&report, Credential::DhParams), "{dh:?} {report:?}");
});

fn assert_usable(key: &RsaPrivateKey) {
    let keys = RsaKeys::new(key.clone(), key.clone());
    let signature = keys.sign_rsa_sha256(b"message", &mut StdRng::seed_from_u64(1)).expect("an accepted key signs");
    assert!(signature.len() >= 256 && format!("{keys:?}").len() < 200);
}

fn has_error(report: &Report, credential: Credential) -> bool {
    report.findings().iter().any(|finding| finding.credential == credential && finding.severity() == Severity::Error)
}
