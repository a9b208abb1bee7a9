//! The doctor: every finding, what looks like it and is not, the words, and the silence about secrets.
#![cfg(feature = "doctor")]

mod cases;
mod fixtures;
mod set;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use crypto_bigint::BoxedUint;
use ibkr_oauth::doctor::{Credential, Credentials, FindingKind, Report, Severity, examine};
use ibkr_oauth::{Error, KeyError, Mismatch, Misuse, OAuthSession, Response};
use proptest::prelude::*;
use rsa::PrivateKey;
use rsa::pkcs8::DecodePrivateKey;

use cases::Examined;
use fixtures::{TOKEN, der, dh_pem, others, pem, prime_hex, secret_for, tlv};
use set::{Set, after, edit, put};
use support::{Counting, DHPARAM_PEM, ENCRYPTION_PEM, NOW, SIGNATURE_PEM, rng};

const MESSAGES: &str = "tests/doctor/messages.txt";

#[test]
fn healthy_credentials_get_nothing_but_the_proof_that_the_secret_opens() {
    let report = Set::healthy().examine();
    let kinds: Vec<_> = report.findings().iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::SecretDecrypts]);
    assert_eq!(report.worst(), Some(Severity::Note));
    assert!(!Set::healthy().is_rejected());
}

#[test]
fn what_does_no_harm_anywhere_is_not_even_mentioned() {
    let harmless: [fn(&mut Set); 9] = [
        |set| put(&mut set.token, format!(" {TOKEN}\r\n")),
        |set| edit(&mut set.secret, |text| format!(" {}\n{}\n", &text[..64], &text[64..])),
        |set| edit(&mut set.secret, |text| format!("\u{a0}{}\u{b}{}\u{3000}", &text[..64], &text[64..])),
        |set| edit(&mut set.signature, |text| format!("\u{feff}Bag Attributes: <No Attributes>\n{text}trailing words")),
        |set| edit(&mut set.encryption, |text| text.trim_end().to_string()),
        |set| put(&mut set.dh, pem("DH PARAMETERS", &tlv(0x30, &[&der(DHPARAM_PEM)[4..], &[2, 2, 0, 225]].concat()))),
        |set| put(&mut set.dh, prime_hex().to_uppercase()),
        |set| put(&mut set.base_url, "HTTPS://API.ibkr.com:443/v1/api"),
        |set| (set.realm, set.base_url, set.server) = (None, None, None),
    ];
    for change in harmless {
        let report = after(change).examine();
        let kinds: Vec<_> = report.findings().iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, [FindingKind::SecretDecrypts], "{report}");
        assert!(Credential::ALL.iter().all(|credential| report.repaired(*credential).is_none()));
    }
}

#[test]
fn every_finding_is_made_where_it_belongs_and_not_beside_it() {
    for case in Examined::all() {
        let (kind, credential, spoilt, near_miss) = (case.kind, case.credential, &case.spoilt.1, &case.near_miss.1);
        assert!(case.finding(spoilt).is_some(), "{kind:?} of {credential:?} was not found:\n{spoilt}");
        assert!(case.finding(near_miss).is_none(), "{kind:?} of {credential:?} was found:\n{near_miss}");
    }
}

#[cfg(not(feature = "std"))]
#[test]
fn a_date_is_not_blamed_where_none_can_be_read() {
    let server = Some(ibkr_oauth::doctor::ServerTime::DateHeader("Thu, 02 May 2024 11:40:00 GMT"));
    let report = Set { server, dh: None, ..Set::healthy() }.examine();
    assert!(report.to_string().contains("this program was built without the feature `std`"), "{report}");
}

#[test]
fn every_kind_has_a_case() {
    let covered: BTreeSet<FindingKind> = Examined::all().iter().map(|case| case.kind).collect();
    let needs_a_feature =
        |kind: &&FindingKind| **kind == FindingKind::WrongPassphrase && cfg!(not(feature = "encrypted-keys"));
    let missing: Vec<_> =
        FindingKind::ALL.iter().filter(|kind| !covered.contains(kind) && !needs_a_feature(kind)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_the_crate_rejects_is_an_error() {
    for case in Examined::all() {
        for (set, report) in [&case.spoilt, &case.near_miss] {
            if set.is_rejected() {
                assert_eq!(report.worst(), Some(Severity::Error), "{:?}:\n{report}", case.kind);
            }
        }
    }
}

#[test]
fn what_is_repaired_is_what_it_was() {
    let healthy = Set::healthy();
    for case in Examined::all() {
        let report = &case.spoilt.1;
        for (credential, text) in [
            (Credential::SignatureKey, &healthy.signature),
            (Credential::EncryptionKey, &healthy.encryption),
            (Credential::DhParams, &healthy.dh),
        ] {
            let Some(repaired) = report.repaired(credential) else { continue };
            let is_other_key = repaired.expose().starts_with("-----BEGIN RSA PRIVATE");
            let is_bare_prime = *repaired.expose() == prime_hex() || *repaired.expose() == format!("00{}", prime_hex());
            assert!(is_other_key || is_bare_prime || Some(repaired.expose()) == text.as_ref(), "{:?}", case.kind);
        }
        if let Some(secret) = report.repaired(Credential::AccessTokenSecret) {
            let repaired = Set { secret: Some(secret.expose().clone()), ..healthy.clone() };
            let kinds: Vec<_> = repaired.examine().findings().iter().map(|finding| finding.kind).collect();
            assert_eq!(kinds, [FindingKind::SecretDecrypts], "{:?}", case.kind);
        }
    }
}

#[test]
fn damage_that_can_be_undone_is_undone() {
    let undone = [
        FindingKind::HeaderMissing,
        FindingKind::EndMissing,
        FindingKind::Dashes,
        FindingKind::EscapedLineBreaks,
        FindingKind::Layout,
        FindingKind::CrLf,
        FindingKind::UploadCrLf,
        FindingKind::SecretPadding,
        FindingKind::SecretExcessPadding,
        FindingKind::SecretPercentEncoded,
        FindingKind::SecretHex,
        FindingKind::SecretUrlSafe,
        FindingKind::SecretPlusLost,
        FindingKind::DhDecorated,
        FindingKind::DhNegative,
    ];
    for case in Examined::all().iter().filter(|case| undone.contains(&case.kind)) {
        assert!(case.spoilt.1.repaired(case.credential).is_some(), "{:?}", case.kind);
    }
    let report = Set::healthy().examine();
    assert!(Credential::ALL.iter().all(|credential| report.repaired(*credential).is_none()));
}

/// `INSTA_UPDATE=always cargo test --all-features --test doctor` writes the file anew, as that of `tests/words.rs`. The
/// comparison is our own: without `std` the file holds a section more than is said, and what is said must still be in it.
#[test]
fn texts_match_the_snapshot() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(MESSAGES);
    let messages = messages();
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        let text = messages.iter().fold(String::new(), |all, (kind, message)| all + &section(kind, message));
        return std::fs::write(path, text).unwrap();
    }
    let agreed = std::fs::read_to_string(path).unwrap();
    for (kind, message) in messages {
        let section = section(&kind, &message);
        assert!(agreed.contains(&section), "{MESSAGES} does not have this (see INSTA_UPDATE above):\n{section}");
    }
}

fn section(kind: &str, message: &str) -> String {
    format!("== {kind}\n{message}\n")
}

/// What the first case of each kind says.
fn messages() -> BTreeMap<String, String> {
    let mut messages = BTreeMap::new();
    // Without `std` dates are unreadable for another reason.
    let is_agreed_on = |case: &&Examined| cfg!(feature = "std") || case.kind != FindingKind::DateUnreadable;
    for case in Examined::all().iter().filter(is_agreed_on) {
        let mut message = String::new();
        writeln!(message, "{}", case.finding(&case.spoilt.1).unwrap()).unwrap();
        messages.entry(format!("{:?}", case.kind)).or_insert(message);
    }
    messages
}

#[test]
fn no_secret_is_ever_shown() {
    for case in Examined::all() {
        for (set, report) in [&case.spoilt, &case.near_miss] {
            assert_silent(report, [Set::healthy().secrets(), set.secrets()].concat());
            let credentials = format!("{:?}", set.credentials());
            assert_eq!(credentials, "Credentials { .. }");
        }
    }
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown_either() {
    let sentinel = "S3NTINELs3ntinelS3NTINEL";
    let places: [fn(&mut Set, &str); 12] = [
        |set, text| put(&mut set.consumer_key, text),
        |set, text| put(&mut set.realm, text),
        |set, text| put(&mut set.token, text),
        |set, text| put(&mut set.secret, text),
        |set, text| put(&mut set.signature, text),
        |set, text| put(&mut set.signature, format!("-----BEGIN {text}-----\n")),
        |set, text| {
            put(&mut set.encryption, format!("-----BEGIN PRIVATE KEY-----\n{text}!\n-----END PRIVATE KEY-----\n"))
        },
        |set, text| put(&mut set.dh, text),
        |set, text| put(&mut set.base_url, text),
        |set, text| put(&mut set.base_url, format!("https://user:{text}@api.ibkr.com/v1/api")),
        |set, text| put(&mut set.base_url, format!("https://api.ibkr.com/{text}")),
        |set, text| put(&mut set.passphrase, text),
    ];
    for place in places {
        let mut set = Set::healthy();
        place(&mut set, sentinel);
        assert_silent(&set.examine(), vec![sentinel.to_string()]);
    }
}

fn assert_silent(report: &Report, secrets: Vec<String>) {
    let renderings = format!("{report}{report:?}{report:#?}{}", report.to_json());
    let windows: BTreeSet<&[u8]> = renderings.as_bytes().windows(8).collect();
    for secret in secrets {
        assert!(!secret.as_bytes().windows(8).any(|part| windows.contains(part)), "{secret:?} shows in {renderings}");
    }
}

#[test]
fn json_holds_what_the_report_holds() {
    let report = after(|set| edit(&mut set.signature, |text| text.replace('\n', "\\n"))).examine();
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["worst"], "error");
    assert_eq!(json["repaired"], serde_json::json!(["private_signature_pem"]));
    let finding = &json["findings"][0];
    assert_eq!(finding["kind"], "EscapedLineBreaks");
    assert_eq!(finding["severity"], "error");
    assert_eq!(finding["credential"], "private_signature_pem");
    for text in ["cause", "evidence", "remedy"] {
        assert!(finding[text].as_str().is_some_and(|text| !text.is_empty()));
    }
    assert_eq!(json["fingerprints"].as_array().unwrap().len(), 3);
}

/// A refusal as a session reports it.
fn rejection(reason: &str) -> Error {
    let mut session = OAuthSession::new(support::builder().build().unwrap());
    let exchange = support::poll(&mut session).exchange;
    session.handle_response(exchange, &Response::new(401, reason.as_bytes()), NOW).unwrap_err()
}

#[test]
fn invalid_consumer_with_good_credentials_means_wait_with_bad_ones_not() {
    let opinion = |set: &Set| set.examine().opinion_on(&rejection("invalid consumer")).unwrap();
    let wait = opinion(&Set::healthy());
    assert!(wait.contains("the offline checks pass") && wait.contains("do not make new keys"), "{wait}");
    let doubtful = opinion(&after(|set| put(&mut set.consumer_key, "myconskey")));
    assert!(doubtful.contains("see to the warnings"), "{doubtful}");
    let wrong = opinion(&after(|set| put(&mut set.consumer_key, "MY KEY")));
    assert!(wrong.contains("mend them first"), "{wrong}");
}

#[test]
fn a_mismatch_and_a_key_that_fails_get_an_opinion_and_nothing_else_does() {
    let mismatch = Error::LiveSessionMismatch(Mismatch::Unexplained);
    let (sound, broken) =
        (Set::healthy().examine(), after(|set| put(&mut set.secret, secret_for(&others().bits_2048, 1))).examine());
    for error in [&mismatch, &Error::Keys(KeyError::Decrypt)] {
        assert!(broken.opinion_on(error).unwrap().contains("mend them first"), "{error}");
        assert!(sound.opinion_on(error).unwrap().contains("the offline checks pass"), "{error}");
    }
    assert!(sound.opinion_on(&mismatch).unwrap().contains("the fingerprint of the Diffie-Hellman parameters"));
    for error in [rejection("invalid token"), Error::Expired { at: NOW }, Error::Misuse(Misuse::StaleExchange)] {
        assert_eq!(broken.opinion_on(&error), None, "{error}");
    }
}

#[test]
fn a_report_reads_like_a_letter() {
    let report = after(|set| put(&mut set.base_url, "https://api.ibkr.com/v1/api/")).examine();
    assert!(report.has(FindingKind::UrlTrailingSlash) && !report.has(FindingKind::UrlPath));
    let findings = report.findings().iter().map(|finding| format!("{finding}\n"));
    let subjects = ["the public signature key", "the public encryption key", "the Diffie-Hellman parameters"];
    let fingerprints = report.fingerprints().iter().zip(subjects).map(|(fingerprint, subject)| {
        assert_eq!(fingerprint.subject(), subject);
        format!("SHA-256 of {subject}: {}\n", fingerprint.sha256)
    });
    assert_eq!(report.to_string(), findings.chain(fingerprints).collect::<String>());
    assert_eq!(report.to_string().lines().filter(|line| line.starts_with("SHA-256")).count(), 3);
}

/// Found by fuzzing: without the encryption key, nothing else tells that such a secret is refused.
#[test]
fn the_padding_is_looked_at_whatever_the_length() {
    for (secret, is_padded_wrongly) in [("AAAA=", true), ("AAAA====", true), ("AAAA", false), ("AAA=", false)] {
        let report = Set { secret: Some(secret.into()), encryption: None, ..Set::healthy() }.examine();
        assert_eq!(report.has(FindingKind::SecretExcessPadding), is_padded_wrongly, "{secret}");
    }
}

#[test]
fn what_is_left_of_a_cut_off_key_is_counted() {
    let text = SIGNATURE_PEM.lines().take(1).collect::<String>() + "\nAAAA\nAAAAA\n";
    let report = Set { signature: Some(text), ..Set::healthy() }.examine();
    let cut_off = report.findings().iter().find(|finding| finding.kind == FindingKind::CutOff).unwrap();
    assert!(cut_off.evidence.starts_with("9 characters of base64"), "{cut_off}");
}

#[test]
fn findings_come_worst_first() {
    let report = after(|set| {
        put(&mut set.consumer_key, "myconskey");
        put(&mut set.base_url, "https://api.ibkr.com/v1/api/");
        put(&mut set.dh, "ff");
    })
    .examine();
    let severities: Vec<_> = report.findings().iter().map(|finding| finding.severity()).collect();
    assert!(severities.is_sorted_by(|left, right| left >= right), "{severities:?}");
    assert_eq!(report.worst(), Some(Severity::Error));
}

#[test]
fn the_same_parameters_have_the_same_fingerprint_in_every_form() {
    let of = |dh: &str| {
        let credentials = Credentials { dh_params: Some(dh), ..Credentials::default() };
        let report = examine(&credentials, &mut rng(1));
        report.fingerprints().first().unwrap().sha256.clone()
    };
    let pem = of(DHPARAM_PEM);
    assert_eq!(pem, of(&prime_hex()));
    assert_eq!(pem, of(&DHPARAM_PEM.replace('\n', "\r\n")));
    assert_eq!(pem, of(&dh_pem(&der(DHPARAM_PEM)[9..265], 2)), "as it should have been");
}

/// Runs the commands that users are told to run, as they are.
#[test]
fn openssl_computes_the_same_fingerprints() {
    if Command::new("openssl").arg("version").output().is_err() {
        return eprintln!("no openssl on this machine: nothing compared");
    }
    let folder = std::env::temp_dir().join(format!("ibkr-oauth-fingerprints-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let with_length = pem("DH PARAMETERS", &tlv(0x30, &[&der(DHPARAM_PEM)[4..], &[2, 2, 0, 225]].concat()));
    for dh in [DHPARAM_PEM, &with_length] {
        let files =
            [("private_signature.pem", SIGNATURE_PEM), ("private_encryption.pem", ENCRYPTION_PEM), ("dhparam.pem", dh)];
        for (file, text) in files {
            std::fs::write(folder.join(file), text).unwrap();
        }
        let set = Set { dh: Some(dh.to_string()), ..Set::healthy() };
        let report = set.examine();
        assert_eq!(report.fingerprints().len(), 3);
        for fingerprint in report.fingerprints() {
            let output = Command::new("sh").args(["-c", fingerprint.command()]).current_dir(&folder).output().unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            assert!(printed.trim_end().ends_with(&fingerprint.sha256), "{}: {printed}", fingerprint.command());
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// RFC 8017 section 7.2.2: `00 02`, eight or more bytes that are not zero, `00`, the message.
#[test]
fn a_secret_opens_if_its_padding_is_right_and_only_then() {
    let block = |start: [u8; 2], padding: usize, separator: u8| {
        let message = vec![0x55; 256 - 3 - padding];
        [&start[..], &vec![0xaa; padding], &[separator], &message].concat()
    };
    let key = PrivateKey::from_pkcs8_pem(ENCRYPTION_PEM).unwrap().to_public_key();
    for (kind, block) in [
        (FindingKind::SecretDecrypts, block([0, 2], 8, 0)),
        (FindingKind::SecretDecrypts, block([0, 2], 253, 0)),
        (FindingKind::SecretDoesNotDecrypt, block([0, 2], 7, 0)),
        (FindingKind::SecretDoesNotDecrypt, block([0, 2], 8, 1)),
        (FindingKind::SecretDoesNotDecrypt, block([0, 1], 8, 0)),
        (FindingKind::SecretDoesNotDecrypt, block([1, 2], 8, 0)),
    ] {
        let number = BoxedUint::from_be_slice(&block, 2048).unwrap();
        let secret = rsa::hazmat::rsa_encrypt(&key, &number).unwrap().to_be_bytes();
        let set = Set { secret: Some(BASE64.encode(&secret)), dh: None, ..Set::healthy() };
        assert!(set.examine().has(kind), "{kind:?} {:?}", &block[..16]);
    }
}

#[test]
fn a_wrong_key_opens_nothing_however_often_it_is_tried() {
    let keys = others();
    for seed in 0..40 {
        let secret = secret_for(&keys.bits_2048, seed);
        let set = Set { secret: Some(secret), dh: None, ..Set::healthy() };
        assert!(set.examine().has(FindingKind::SecretDoesNotDecrypt));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However credentials are mangled: no panic, no secret, and an error wherever the crate would refuse them.
    #[test]
    fn mangled_credentials_get_an_honest_answer(
        credential in 0_usize..7,
        at in any::<prop::sample::Index>(),
        cut in 0_usize..80,
        insert in "[ -~\n\r\u{e9}]{0,3}",
    ) {
        let mut set = Set::healthy();
        let credentials = [
            &mut set.consumer_key, &mut set.realm, &mut set.token, &mut set.secret, &mut set.signature,
            &mut set.encryption, &mut set.dh,
        ];
        let text = credentials.into_iter().nth(credential).unwrap();
        let whole = text.take().unwrap();
        let start = at.index(whole.len());
        let end = (start + cut).min(whole.len());
        *text = Some([&whole[..start], &insert, &whole[end..]].concat());
        let report = set.examine();
        if set.is_rejected() {
            prop_assert_eq!(report.worst(), Some(Severity::Error), "{}", report);
        }
        assert_silent(&report, Set::healthy().secrets());
    }
}

/// The doctor works with the same keys as a login, and must not tell more about them by the time it takes.
#[test]
fn a_key_that_is_tried_is_blinded() {
    let secret = fixtures::secret();
    let credentials = Credentials {
        access_token: Some(TOKEN),
        access_token_secret: Some(secret),
        encryption_key: Some(ENCRYPTION_PEM),
        ..Credentials::default()
    };
    let mut random = Counting::new(1);
    assert!(examine(&credentials, &mut random).has(FindingKind::SecretDecrypts));
    assert!(random.drawn >= 256, "{} bytes drawn", random.drawn);
}

#[cfg(feature = "encrypted-keys")]
#[test]
fn each_key_is_opened_with_its_own_passphrase() {
    use fixtures::{ENCRYPTED_PEM, PASSPHRASE};
    let (own, other) = (Some(PASSPHRASE), Some("another passphrase"));
    for (signature, encryption) in [(true, false), (false, true)] {
        let credentials = Credentials {
            signature_key: Some(if signature { ENCRYPTED_PEM } else { SIGNATURE_PEM }),
            signature_passphrase: if signature { own } else { other },
            encryption_key: Some(if encryption { ENCRYPTED_PEM } else { ENCRYPTION_PEM }),
            encryption_passphrase: if encryption { own } else { other },
            ..Credentials::default()
        };
        let report = examine(&credentials, &mut rng(1));
        assert_eq!(report.fingerprints().len(), 2, "{report}");
    }
}
