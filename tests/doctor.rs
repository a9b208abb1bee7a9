//! The doctor: every finding, what looks like it and is not, the words, and the silence about secrets.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::process::Command;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use crypto_bigint::BoxedUint;
use crypto_primes::{Flavor, random_prime};
use ibkr_oauth::doctor::{Clocks, Credentials, Finding, Kind, Piece, Report, ServerTime, Severity, examine};
use ibkr_oauth::{AccessToken, Consumer, DhParams, OAuthSession, RsaKeys, RsaPrivateKey, UnixTime};
use proptest::prelude::*;
use rsa::PrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use support::{DHPARAM_PEM, ENCRYPTION_PEM, NOW, SIGNATURE_PEM, rng};

const PUBLIC_PEM: &str = include_str!("keys/public_signature.pem");
const ENCRYPTED_PEM: &str = include_str!("keys/private_signature.encrypted.pem");
const PASSPHRASE: &str = "for the tests only";
const TOKEN: &str = "a1b2c3d4e5f6a7b8c9d0";
/// What the secret decrypts to.
const PREPEND: &[u8; 32] = b"SENTINEL of thirty-two bytes ...";
const MESSAGES: &str = "tests/doctor/messages.txt";

/// A set of credentials that a test may spoil.
#[derive(Clone)]
struct Set {
    consumer_key: Option<String>,
    realm: Option<String>,
    token: Option<String>,
    secret: Option<String>,
    signature: Option<String>,
    encryption: Option<String>,
    passphrase: Option<String>,
    dh: Option<String>,
    generator: Option<u32>,
    base_url: Option<String>,
    server: Option<ServerTime<'static>>,
}

impl Set {
    fn healthy() -> Self {
        let text = |text: &str| Some(text.to_string());
        Self {
            consumer_key: text("MYCONSKEY"),
            realm: text("limited_poa"),
            token: text(TOKEN),
            secret: text(secret()),
            signature: text(SIGNATURE_PEM),
            encryption: text(ENCRYPTION_PEM),
            passphrase: None,
            dh: text(DHPARAM_PEM),
            generator: None,
            base_url: text("https://api.ibkr.com/v1/api"),
            server: Some(ServerTime::At(NOW)),
        }
    }

    fn credentials(&self) -> Credentials<'_> {
        Credentials {
            consumer_key: self.consumer_key.as_deref(),
            realm: self.realm.as_deref(),
            access_token: self.token.as_deref(),
            access_token_secret: self.secret.as_deref(),
            signature_key: self.signature.as_deref(),
            encryption_key: self.encryption.as_deref(),
            signature_passphrase: self.passphrase.as_deref(),
            encryption_passphrase: None,
            dh_params: self.dh.as_deref(),
            dh_generator: self.generator,
            base_url: self.base_url.as_deref(),
            clocks: self.server.map(|server| Clocks { own: NOW, server }),
        }
    }

    fn examine(&self) -> Report {
        examine(&self.credentials(), &mut rng(1))
    }

    /// Whether the rest of the crate refuses any of it, up to the first request.
    fn is_refused(&self) -> bool {
        let keys = [&self.signature, &self.encryption].map(|pem| pem.as_deref().map(|pem| self.key(pem)));
        let dh = self.dh.as_deref().map(|text| {
            let generator = self.generator.unwrap_or(2);
            DhParams::from_pem(text).or_else(|_| DhParams::from_hex(text, generator)).map_err(drop)
        });
        let access = self.token.as_ref().zip(self.secret.as_ref());
        let access = access.map(|(token, secret)| AccessToken::new(token, secret).map_err(drop));
        let [signature, encryption] = keys;
        let refused = [signature.as_ref().map(Result::is_err), encryption.as_ref().map(Result::is_err)];
        let refused = refused.into_iter().flatten().any(|refused| refused);
        if refused || dh.as_ref().is_some_and(Result::is_err) || access.as_ref().is_some_and(Result::is_err) {
            return true;
        }
        let keys = RsaKeys::new(
            signature.unwrap_or_else(|| self.key(SIGNATURE_PEM)).unwrap(),
            encryption.unwrap_or_else(|| self.key(ENCRYPTION_PEM)).unwrap(),
        );
        let dh = dh.unwrap_or_else(|| Ok(support::dh())).unwrap();
        let mut consumer = Consumer::builder(self.consumer_key.as_deref().unwrap_or("MYCONSKEY"), keys, dh);
        if let Some(realm) = &self.realm {
            consumer = consumer.realm(realm);
        }
        if let Some(url) = &self.base_url {
            consumer = consumer.base_url(url);
        }
        let Ok(consumer) = consumer.build() else { return true };
        let Some(access) = access else { return false };
        OAuthSession::with_access_token(consumer, access.unwrap()).poll_request(&mut rng(1), NOW).is_err()
    }

    fn key(&self, pem: &str) -> Result<RsaPrivateKey, ()> {
        let plain = RsaPrivateKey::from_pem(pem);
        #[cfg(feature = "encrypted-keys")]
        if let (Err(_), Some(passphrase)) = (&plain, &self.passphrase) {
            return RsaPrivateKey::from_encrypted_pem(pem, passphrase.as_bytes()).map_err(drop);
        }
        plain.map_err(drop)
    }

    /// Texts that nobody may ever see in a report, in pieces long enough to be told from chance.
    fn secrets(&self) -> Vec<String> {
        let pems = [&self.signature, &self.encryption, &self.dh];
        let lines = pems.into_iter().flatten().flat_map(|pem| pem.lines());
        let texts = [&self.token, &self.secret, &self.passphrase].into_iter().flatten().map(String::as_str);
        let is_label = |word: &&str| {
            ["PRIVATE", "PUBLIC", "PARAMETERS", "CERTIFICATE", "Proc-Type", "ENCRYPTED"]
                .iter()
                .any(|part| word.contains(part))
        };
        let words = lines.chain(texts).flat_map(str::split_whitespace).filter(|word| !is_label(word));
        let prepend = String::from_utf8_lossy(PREPEND).to_string();
        let prepend_hex: String = PREPEND.iter().map(|byte| format!("{byte:02x}")).collect();
        words.map(str::to_string).chain([prepend, prepend_hex]).collect()
    }
}

/// A secret as IBKR makes them: 32 bytes encrypted to the encryption key.
fn secret() -> &'static str {
    static SECRET: OnceLock<String> = OnceLock::new();
    SECRET.get_or_init(|| secret_for(&PrivateKey::from_pkcs8_pem(ENCRYPTION_PEM).unwrap(), 7))
}

fn secret_for(key: &PrivateKey, seed: u64) -> String {
    BASE64.encode(key.to_public_key().pkcs1v15_encrypt_with_rng(&mut rng(seed), PREPEND).unwrap())
}

/// A secret with characters that transport may change, for both ways to write base64.
fn secret_with(needed: &[char]) -> String {
    let key = PrivateKey::from_pkcs8_pem(ENCRYPTION_PEM).unwrap();
    (1..).map(|seed| secret_for(&key, seed)).find(|secret| needed.iter().all(|c| secret.contains(*c))).unwrap()
}

struct OtherKeys {
    bits_1024: PrivateKey,
    bits_2048: PrivateKey,
    bits_3072: PrivateKey,
}

/// Made on the spot, always the same.
fn others() -> &'static OtherKeys {
    static KEYS: OnceLock<OtherKeys> = OnceLock::new();
    let make = |bits| PrivateKey::new_unchecked(&mut rng(1), bits).unwrap();
    KEYS.get_or_init(|| OtherKeys { bits_1024: make(1024), bits_2048: make(2048), bits_3072: make(3072) })
}

fn pkcs8(key: &PrivateKey) -> String {
    key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
}

fn pem(label: &str, der: &[u8]) -> String {
    der::pem::encode_string(label, LineEnding::LF, der).unwrap()
}

fn der(pem: &str) -> Vec<u8> {
    BASE64.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap()
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82, length[0], length[1]], content].concat()
}

/// PKCS#8 of the form that holds an elliptic-curve key.
fn elliptic_curve_pem() -> String {
    let oid = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let curve = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let algorithm = [&[0x30, 19], &oid[..], &curve].concat();
    let content = [&[0x02, 1, 0], &algorithm[..], &[0x04, 2, 0x30, 0]].concat();
    pem("PRIVATE KEY", &[&[0x30, u8::try_from(content.len()).unwrap()], &content[..]].concat())
}

fn prime_hex() -> String {
    // `SEQUENCE { INTEGER of 257 bytes, ... }`: eight bytes of headers, one of sign.
    der(DHPARAM_PEM)[9..265].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn dh_pem(prime: &[u8], generator: u8) -> String {
    pem("DH PARAMETERS", &tlv(0x30, &[tlv(0x02, prime), vec![0x02, 1, generator]].concat()))
}

fn unsafe_prime_hex() -> &'static str {
    static PRIME: OnceLock<String> = OnceLock::new();
    PRIME.get_or_init(|| {
        let prime: BoxedUint = random_prime(&mut rng(1), Flavor::Any, 2048);
        prime.to_be_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    })
}

fn without_line(text: &str, line: usize) -> String {
    text.lines().enumerate().filter(|(at, _)| *at != line).fold(String::new(), |all, (_, line)| all + line + "\n")
}

fn edit(piece: &mut Option<String>, change: impl Fn(&str) -> String) {
    *piece = piece.as_deref().map(change);
}

/// One kind of finding: what brings it about, and what looks like it and must not.
struct Case {
    kind: Kind,
    piece: Piece,
    spoil: fn(&mut Set),
    near_miss: fn(&mut Set),
}

macro_rules! cases {
    ($($kind:ident @ $piece:ident: $spoil:expr, not $near_miss:expr;)*) => {
        vec![$(Case {
            kind: Kind::$kind,
            piece: Piece::$piece,
            spoil: |set| { let spoil: fn(&mut Set) = $spoil; spoil(set) },
            near_miss: |set| { let near_miss: fn(&mut Set) = $near_miss; near_miss(set) },
        }),*]
    };
}

fn put(piece: &mut Option<String>, text: impl Into<String>) {
    *piece = Some(text.into());
}

fn cases() -> Vec<Case> {
    let mut cases = common_cases();
    if cfg!(feature = "encrypted-keys") {
        cases.extend(cases! {
            WrongPassphrase @ SignatureKey: |s| { put(&mut s.signature, ENCRYPTED_PEM); put(&mut s.passphrase, "w0rng s3ntinel") },
                not |s| { put(&mut s.signature, ENCRYPTED_PEM); put(&mut s.passphrase, PASSPHRASE) };
        });
    }
    cases
}

#[rustfmt::skip]
fn common_cases() -> Vec<Case> {
    cases! {
        Missing @ ConsumerKey: |s| s.consumer_key = None, not |s| s.realm = None;
        Missing @ SignatureKey: |s| s.signature = None, not |s| s.base_url = None;
        Missing @ EncryptionKey: |s| s.encryption = None, not |s| s.server = None;
        Missing @ DhParams: |s| s.dh = None, not |s| s.generator = None;
        Missing @ AccessToken: |s| s.token = None, not |s| { s.token = None; s.secret = None };
        Missing @ AccessTokenSecret: |s| s.secret = None, not |s| { s.token = None; s.secret = None };
        Empty @ ConsumerKey: |s| put(&mut s.consumer_key, ""), not |s| put(&mut s.consumer_key, "A");
        Empty @ AccessTokenSecret: |s| put(&mut s.secret, " \n"), not |s| put(&mut s.secret, "A");
        Empty @ SignatureKey: |s| put(&mut s.signature, "\n"), not |s| put(&mut s.signature, "A");
        Empty @ BaseUrl: |s| put(&mut s.base_url, ""), not |s| put(&mut s.base_url, "A");
        TooLong @ ConsumerKey: |s| put(&mut s.consumer_key, "A".repeat(257)), not |s| put(&mut s.consumer_key, "A".repeat(256));
        TooLong @ AccessTokenSecret: |s| put(&mut s.secret, "A".repeat(2049)), not |s| put(&mut s.secret, "A".repeat(2048));
        TooLong @ DhParams: |s| edit(&mut s.dh, |t| t.to_string() + &" ".repeat(65_536)), not |s| edit(&mut s.dh, |t| t.to_string() + &" ".repeat(60_000));
        Quoted @ ConsumerKey: |s| put(&mut s.consumer_key, "'MYCONSKEY'"), not |s| put(&mut s.consumer_key, "MYCONSKEY'");
        Quoted @ AccessTokenSecret: |s| edit(&mut s.secret, |t| format!("\"{t}\"")), not |s| edit(&mut s.secret, |t| format!("\"{t}"));
        SurroundingSpace @ ConsumerKey: |s| put(&mut s.consumer_key, "MYCONSKEY\n"), not |s| put(&mut s.token, format!("{TOKEN}\n"));
        SurroundingSpace @ BaseUrl: |s| edit(&mut s.base_url, |t| format!(" {t}")), not |s| edit(&mut s.secret, |t| format!(" {t}"));
        HeaderCharacter @ ConsumerKey: |s| put(&mut s.consumer_key, "MYCONSKE\u{ff39}"), not |s| put(&mut s.consumer_key, "MYCONSKE;");
        HeaderCharacter @ Realm: |s| put(&mut s.realm, "limited,poa"), not |s| put(&mut s.realm, "limited.poa");
        HeaderCharacter @ AccessToken: |s| put(&mut s.token, "a1b2c3d4e5\r\nX-Evil: 1"), not |s| put(&mut s.token, "a1b2c3d4e5");

        ConsumerKeyLowerCase @ ConsumerKey: |s| put(&mut s.consumer_key, "MYCONSkey"), not |s| put(&mut s.consumer_key, "MYCONSKE1");
        ConsumerKeyLength @ ConsumerKey: |s| put(&mut s.consumer_key, "MYCONSKE"), not |s| { put(&mut s.consumer_key, "TESTCONS"); put(&mut s.realm, "test_realm") };
        ConsumerKeyHex @ ConsumerKey: |s| put(&mut s.consumer_key, "0123456789abcdef012345678"), not |s| put(&mut s.consumer_key, "0123456789abcdef01234567x");
        ConsumerKeyAlphabet @ ConsumerKey: |s| put(&mut s.consumer_key, "MYC0NSKEY"), not |s| put(&mut s.consumer_key, "MYCoNSKEY");
        TestConsumer @ ConsumerKey: |s| { put(&mut s.consumer_key, "TESTCONS"); put(&mut s.realm, "test_realm") }, not |s| put(&mut s.consumer_key, "TESTCONSX");
        RealmContradiction @ Realm: |s| put(&mut s.realm, "test_realm"), not |s| { put(&mut s.consumer_key, "TESTCONS"); put(&mut s.realm, "test_realm") };
        RealmContradiction @ Realm: |s| put(&mut s.consumer_key, "TESTCONS"), not |s| { put(&mut s.consumer_key, "TESTCONS"); s.realm = None };
        RealmUnknown @ Realm: |s| put(&mut s.realm, "LIMITED_POA"), not |s| s.realm = None;
        NoAccessToken @ AccessToken: |s| { s.token = None; s.secret = None }, not |s| s.secret = None;
        AccessTokenForm @ AccessToken: |s| put(&mut s.token, TOKEN.to_uppercase()), not |s| put(&mut s.token, format!(" {TOKEN}\n"));
        AccessTokenForm @ AccessToken: |s| put(&mut s.token, &TOKEN[1..]), not |s| put(&mut s.token, "00000000000000000000");
        TokenAndSecretSwapped @ AccessToken: |s| std::mem::swap(&mut s.token, &mut s.secret), not |s| put(&mut s.token, secret());

        NotText @ SignatureKey: |s| put(&mut s.signature, String::from_utf8_lossy(&der(SIGNATURE_PEM))), not |s| edit(&mut s.signature, |t| format!("\u{feff}{t}"));
        NotText @ EncryptionKey: |s| edit(&mut s.encryption, |t| t.chars().flat_map(|c| [c, '\0']).collect()), not |s| edit(&mut s.encryption, |t| format!("K\u{e9}y\n{t}"));
        NotPem @ EncryptionKey: |s| put(&mut s.encryption, "see vault"), not |s| edit(&mut s.encryption, |t| format!("see vault\n{t}"));
        HeaderMissing @ SignatureKey: |s| edit(&mut s.signature, |t| without_line(t, 0)), not |s| edit(&mut s.signature, |t| without_line(t, 1));
        HeaderMissing @ DhParams: |s| put(&mut s.dh, BASE64.encode(der(DHPARAM_PEM))), not |s| put(&mut s.dh, prime_hex());
        HeaderMissing @ EncryptionKey: |s| put(&mut s.encryption, BASE64.encode(others().bits_2048.to_pkcs1_der().unwrap().as_bytes())), not |s| put(&mut s.encryption, BASE64.encode(der(PUBLIC_PEM)));
        EndMissing @ SignatureKey: |s| edit(&mut s.signature, |t| t.lines().take(27).fold(String::new(), |all, line| all + line + "\n")), not |s| edit(&mut s.signature, |t| t.trim_end().to_string());
        EndMissing @ DhParams: |s| edit(&mut s.dh, |t| t.replace("END DH", "END X9.42 DH")), not |s| edit(&mut s.dh, |t| format!("{t}-----END NOTHING-----\n"));
        Dashes @ SignatureKey: |s| edit(&mut s.signature, |t| t.replacen("-----", "----", 1)), not |s| edit(&mut s.signature, |t| t.replacen("-----", "------", 1));
        Dashes @ DhParams: |s| edit(&mut s.dh, |t| t.replace("-----", "\u{2014}\u{2014}-")), not |s| edit(&mut s.dh, |t| format!("---\n{t}---\n"));
        EscapedLineBreaks @ SignatureKey: |s| edit(&mut s.signature, |t| t.replace('\n', "\\n")), not |s| edit(&mut s.signature, |t| t.replace('\n', " "));
        EscapedLineBreaks @ DhParams: |s| edit(&mut s.dh, |t| format!("\"{}\"", t.replace('\n', "\\r\\n"))), not |s| edit(&mut s.dh, |t| format!("\"{t}\""));
        NotBase64 @ SignatureKey: |s| edit(&mut s.signature, |t| t.replacen("MII", "M*I", 1)), not |s| edit(&mut s.signature, |t| t.replacen("MII", "M II", 1));
        CutOff @ SignatureKey: |s| edit(&mut s.signature, |t| without_line(t, 9)), not |s| edit(&mut s.signature, |t| without_line(t, 27));
        CutOff @ EncryptionKey: |s| edit(&mut s.encryption, |t| t[..1000].to_string()), not |s| edit(&mut s.encryption, |t| t.trim_end().to_string());
        CutOff @ DhParams: |s| edit(&mut s.dh, |t| without_line(t, 2)), not |s| edit(&mut s.dh, |t| t.replace('\n', "\n\n"));
        Layout @ SignatureKey: |s| edit(&mut s.signature, |t| t.replace('\n', " ")), not |s| edit(&mut s.signature, |t| format!("a\nb\n{t}c\n"));
        Layout @ EncryptionKey: |s| edit(&mut s.encryption, |t| format!("  {}", t.replace('\n', "\n  "))), not |s| edit(&mut s.encryption, |t| t.replace('\n', "\r\n"));
        CrLf @ SignatureKey: |s| edit(&mut s.signature, |t| t.replace('\n', "\r\n")), not |s| edit(&mut s.signature, |t| t.replace('\n', "\n\n"));
        UploadCrLf @ DhParams: |s| edit(&mut s.dh, |t| t.replace('\n', "\r\n")), not |s| edit(&mut s.encryption, |t| t.replace('\n', "\r\n"));

        PublicKey @ SignatureKey: |s| put(&mut s.signature, PUBLIC_PEM), not |s| edit(&mut s.signature, |t| format!("{PUBLIC_PEM}{t}"));
        PublicKey @ DhParams: |s| put(&mut s.dh, PUBLIC_PEM), not |s| edit(&mut s.dh, |t| format!("{PUBLIC_PEM}{t}"));
        Certificate @ SignatureKey: |s| put(&mut s.signature, pem("CERTIFICATE", &[0; 99])), not |s| edit(&mut s.signature, |t| t.to_string() + &pem("CERTIFICATE", &[0; 99]));
        CertificateRequest @ EncryptionKey: |s| put(&mut s.encryption, pem("CERTIFICATE REQUEST", &[0; 99])), not |s| put(&mut s.encryption, pem("CERTIFICATE", &[0; 99]));
        DhParameters @ EncryptionKey: |s| put(&mut s.encryption, DHPARAM_PEM), not |s| edit(&mut s.encryption, |t| format!("{DHPARAM_PEM}{t}"));
        PrivateKey @ DhParams: |s| put(&mut s.dh, SIGNATURE_PEM), not |s| edit(&mut s.dh, |t| format!("{SIGNATURE_PEM}{t}"));
        OpenSshKey @ SignatureKey: |s| put(&mut s.signature, pem("OPENSSH PRIVATE KEY", &[0; 99])), not |s| put(&mut s.signature, pem("PRIVATE KEY", &[0; 99]));
        NotRsa @ SignatureKey: |s| put(&mut s.signature, elliptic_curve_pem()), not |s| put(&mut s.signature, pkcs8(&others().bits_3072));
        NotRsa @ EncryptionKey: |s| put(&mut s.encryption, pem("EC PRIVATE KEY", &[0; 99])), not |s| put(&mut s.dh, pem("EC PRIVATE KEY", &[0; 99]));
        X942 @ DhParams: |s| put(&mut s.dh, pem("X9.42 DH PARAMETERS", &[0; 99])), not |s| put(&mut s.signature, pem("X9.42 DH PARAMETERS", &[0; 99]));
        UnknownPem @ SignatureKey: |s| put(&mut s.signature, pem("PGP MESSAGE", &[0; 99])), not |s| edit(&mut s.signature, |t| pem("PGP MESSAGE", &[0; 99]) + t);

        Encrypted @ SignatureKey: |s| put(&mut s.signature, ENCRYPTED_PEM), not |s| put(&mut s.passphrase, PASSPHRASE);
        LegacyEncryption @ EncryptionKey: |s| put(&mut s.encryption, "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"),
            not |s| edit(&mut s.encryption, |t| format!("Proc-Type: none\n{t}"));
        PassphraseUnneeded @ SignatureKey: |s| put(&mut s.passphrase, PASSPHRASE), not |s| put(&mut s.passphrase, "");
        KeyDamaged @ SignatureKey: |s| { let mut key = der(SIGNATURE_PEM); key[600] ^= 1; put(&mut s.signature, pem("PRIVATE KEY", &key)) }, not |s| put(&mut s.signature, pem("RSA PRIVATE KEY", others().bits_2048.to_pkcs1_der().unwrap().as_bytes()));
        KeyTooSmall @ SignatureKey: |s| put(&mut s.signature, pkcs8(&others().bits_1024)), not |s| put(&mut s.signature, pkcs8(&others().bits_2048));
        KeyTooLarge @ SignatureKey: |s| put(&mut s.signature, pem("PRIVATE KEY", &tlv(0x30, &[0; 9000]))), not |s| put(&mut s.signature, pem("PRIVATE KEY", &tlv(0x30, &[0; 8000])));
        KeySize @ SignatureKey: |s| put(&mut s.signature, pkcs8(&others().bits_3072)), not |s| put(&mut s.signature, pkcs8(&others().bits_2048));
        SameKey @ EncryptionKey: |s| put(&mut s.signature, ENCRYPTION_PEM), not |s| put(&mut s.signature, pkcs8(&others().bits_2048));

        SecretTruncated @ AccessTokenSecret: |s| edit(&mut s.secret, |t| t[..341].to_string()), not |s| edit(&mut s.secret, |t| t[..343].to_string());
        SecretTruncated @ AccessTokenSecret: |s| edit(&mut s.secret, |t| t[..340].to_string()), not |s| edit(&mut s.secret, |t| format!("{}\r\n{}", &t[..76], &t[76..]));
        SecretTruncated @ AccessTokenSecret: |s| put(&mut s.encryption, pkcs8(&others().bits_3072)), not |s| { put(&mut s.encryption, pkcs8(&others().bits_3072)); put(&mut s.secret, secret_for(&others().bits_3072, 1)) };
        SecretOverlong @ AccessTokenSecret: |s| edit(&mut s.secret, |t| format!("AAAA{t}")), not |s| edit(&mut s.secret, |t| format!("\t{t}\t"));
        SecretPadding @ AccessTokenSecret: |s| edit(&mut s.secret, |t| t[..343].to_string()), not |s| edit(&mut s.secret, |t| t[..341].to_string());
        SecretExcessPadding @ AccessTokenSecret: |s| edit(&mut s.secret, |t| format!("{t}=")), not |s| edit(&mut s.secret, |t| format!("{t} "));
        SecretPercentEncoded @ AccessTokenSecret: |s| edit(&mut s.secret, |t| t.replace('+', "%2B").replace('/', "%2f").replace('=', "%3D")), not |s| edit(&mut s.secret, |t| format!("{t}%"));
        SecretHex @ AccessTokenSecret: |s| edit(&mut s.secret, |t| BASE64.decode(t).unwrap().iter().map(|byte| format!("{byte:02X}")).collect()), not |s| put(&mut s.secret, "ab".repeat(255));
        SecretUrlSafe @ AccessTokenSecret: |s| put(&mut s.secret, secret_with(&['+', '/']).replace('+', "-").replace('/', "_")), not |s| put(&mut s.secret, secret_with(&['+', '/']).replace('+', "-"));
        SecretPlusLost @ AccessTokenSecret: |s| put(&mut s.secret, secret_with(&['+']).replace('+', " ")), not |s| edit(&mut s.secret, |t| format!("{} {} {}", &t[..9], &t[9..99], &t[99..]));
        SecretNotBase64 @ AccessTokenSecret: |s| edit(&mut s.secret, |t| t.replacen('A', "\u{410}", 1)), not |s| edit(&mut s.secret, |t| t.replacen('A', " A", 1));
        SecretNotBase64 @ AccessTokenSecret: |s| edit(&mut s.secret, |t| format!("{}B==", &t[..341])), not |s| edit(&mut s.secret, |t| format!("{}A==", &t[..341]));
        SecretOpens @ AccessTokenSecret: |_| {}, not |s| { s.token = None; s.secret = None };
        KeysSwapped @ AccessTokenSecret: |s| std::mem::swap(&mut s.signature, &mut s.encryption), not |s| put(&mut s.encryption, SIGNATURE_PEM);
        KeysSwapped @ AccessTokenSecret: |s| { put(&mut s.signature, ENCRYPTION_PEM); put(&mut s.encryption, PUBLIC_PEM) }, not |s| { put(&mut s.signature, ENCRYPTION_PEM) };
        KeysSwapped @ AccessTokenSecret: |s| { put(&mut s.signature, ENCRYPTION_PEM); put(&mut s.encryption, pkcs8(&others().bits_3072)) }, not |s| put(&mut s.signature, pkcs8(&others().bits_3072));
        SecretDoesNotOpen @ AccessTokenSecret: |s| put(&mut s.secret, secret_for(&others().bits_2048, 1)), not |s| { put(&mut s.encryption, pkcs8(&others().bits_2048)); put(&mut s.secret, secret_for(&others().bits_2048, 1)) };
        SecretDoesNotOpen @ AccessTokenSecret: |s| { s.signature = None; put(&mut s.encryption, SIGNATURE_PEM) }, not |s| s.encryption = None;
        SecretDoesNotOpen @ AccessTokenSecret: |s| put(&mut s.secret, "/".repeat(341) + "w=="), not |s| put(&mut s.secret, "/".repeat(341));

        DhNotHex @ DhParams: |s| put(&mut s.dh, prime_hex().replacen('b', "x", 1)), not |s| put(&mut s.dh, prime_hex().to_uppercase());
        DhDecorated @ DhParams: |s| put(&mut s.dh, format!("0x{}", prime_hex())), not |s| put(&mut s.dh, format!(" {}\n", prime_hex()));
        DhDecorated @ DhParams: |s| put(&mut s.dh, format!("00:{}", prime_hex())), not |s| put(&mut s.dh, format!("00{}", prime_hex()));
        DhDamaged @ DhParams: |s| put(&mut s.dh, pem("DH PARAMETERS", &tlv(0x30, &[0x05, 0, 0x05, 0]))), not |s| put(&mut s.dh, pem("DH PARAMETERS", &tlv(0x30, &[&der(DHPARAM_PEM)[4..], &[2, 2, 0, 225]].concat())));
        DhNegative @ DhParams: |s| put(&mut s.dh, dh_pem(&der(DHPARAM_PEM)[9..265], 2)), not |s| put(&mut s.dh, dh_pem(&der(DHPARAM_PEM)[8..265], 2));
        DhEven @ DhParams: |s| put(&mut s.dh, format!("{}e", &prime_hex()[..511])), not |s| put(&mut s.dh, format!("{}d", &prime_hex()[..511]));
        DhComposite @ DhParams: |s| put(&mut s.dh, format!("{}d", &prime_hex()[..511])), not |s| put(&mut s.dh, unsafe_prime_hex());
        DhNotSafe @ DhParams: |s| put(&mut s.dh, unsafe_prime_hex()), not |s| put(&mut s.dh, prime_hex());
        DhTooSmall @ DhParams: |s| put(&mut s.dh, &prime_hex()[1..]), not |s| put(&mut s.dh, &prime_hex()[..]);
        DhTooLarge @ DhParams: |s| put(&mut s.dh, "f".repeat(2049)), not |s| put(&mut s.dh, "f".repeat(520));
        DhGenerator @ DhParams: |s| { put(&mut s.dh, prime_hex()); s.generator = Some(5) }, not |s| { put(&mut s.dh, prime_hex()); s.generator = Some(2) };
        DhGenerator @ DhParams: |s| put(&mut s.dh, dh_pem(&der(DHPARAM_PEM)[8..265], 3)), not |s| put(&mut s.dh, dh_pem(&der(DHPARAM_PEM)[8..265], 2));

        UrlInvalid @ BaseUrl: |s| put(&mut s.base_url, "api.ibkr.com/v1/api"), not |s| put(&mut s.base_url, "HTTPS://API.IBKR.COM:443/v1/api");
        UrlPlain @ BaseUrl: |s| put(&mut s.base_url, "http://api.ibkr.com/v1/api"), not |s| put(&mut s.base_url, "http://127.0.0.1:8080/v1/api");
        UrlPath @ BaseUrl: |s| put(&mut s.base_url, "https://api.ibkr.com"), not |s| put(&mut s.base_url, "https://api.ibkr.com/alpha/api");
        UrlTrailingSlash @ BaseUrl: |s| put(&mut s.base_url, "https://api.ibkr.com/v1/api/"), not |s| put(&mut s.base_url, "https://1.api.ibkr.com/v1/api");
        UrlHost @ BaseUrl: |s| put(&mut s.base_url, "https://api.ibkr.com.example/v1/api"), not |s| put(&mut s.base_url, "https://API.ibkr.com/v1/api");
        UrlLoopback @ BaseUrl: |s| put(&mut s.base_url, "http://[::1]:8080/v1/api"), not |s| put(&mut s.base_url, "https://localhost.example/v1/api");

        ClockOff @ Clock: |s| s.server = Some(ServerTime::At(UnixTime::from_millis(NOW.as_millis() - 31_000))), not |s| s.server = Some(ServerTime::At(UnixTime::from_millis(NOW.as_millis() - 30_000)));
        ClockOff @ Clock: |s| s.server = Some(ServerTime::DateHeader("Thu, 02 May 2024 11:44:30 GMT")), not |s| s.server = Some(ServerTime::DateHeader("Thu, 02 May 2024 11:40:00 GMT"));
        ClockFarOff @ Clock: |s| s.server = Some(ServerTime::DateHeader("Thu, 02 May 2024 11:45:01 GMT")), not |s| s.server = Some(ServerTime::DateHeader("Thu, 02 May 2024 11:45:00 GMT"));
        DateUnreadable @ Clock: |s| s.server = Some(ServerTime::DateHeader("2024-05-02 11:40:00")), not |s| s.server = Some(ServerTime::DateHeader(" Thursday, 02-May-24 11:40:00 GMT"));
    }
}

fn after(change: fn(&mut Set)) -> Set {
    let mut set = Set::healthy();
    change(&mut set);
    set
}

/// A case with what the doctor said about it.
struct Examined {
    kind: Kind,
    piece: Piece,
    spoilt: (Set, Report),
    near_miss: (Set, Report),
}

impl Examined {
    fn all() -> &'static [Self] {
        static ALL: OnceLock<Vec<Examined>> = OnceLock::new();
        ALL.get_or_init(|| cases().into_iter().map(Self::new).collect())
    }

    fn new(case: Case) -> Self {
        let examined = |change| {
            let set = after(change);
            let report = set.examine();
            (set, report)
        };
        let (spoilt, near_miss) = (examined(case.spoil), examined(case.near_miss));
        Self { kind: case.kind, piece: case.piece, spoilt, near_miss }
    }

    fn finding<'a>(&self, report: &'a Report) -> Option<&'a Finding> {
        report.findings().iter().find(|finding| finding.kind == self.kind && finding.piece == self.piece)
    }
}

#[test]
fn healthy_credentials_get_nothing_but_the_proof_that_the_secret_opens() {
    let report = Set::healthy().examine();
    let kinds: Vec<_> = report.findings().iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::SecretOpens]);
    assert_eq!(report.worst(), Some(Severity::Note));
    assert!(!Set::healthy().is_refused());
}

#[test]
fn what_does_no_harm_anywhere_is_not_even_mentioned() {
    let harmless: [fn(&mut Set); 8] = [
        |set| put(&mut set.token, format!(" {TOKEN}\r\n")),
        |set| edit(&mut set.secret, |text| format!(" {}\n{}\n", &text[..64], &text[64..])),
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
        assert_eq!(kinds, [Kind::SecretOpens], "{report}");
        assert!(Piece::ALL.iter().all(|piece| report.repaired(*piece).is_none()));
    }
}

#[test]
fn every_finding_is_made_where_it_belongs_and_not_beside_it() {
    for case in Examined::all() {
        let (kind, piece, spoilt, near_miss) = (case.kind, case.piece, &case.spoilt.1, &case.near_miss.1);
        assert!(case.finding(spoilt).is_some(), "{kind:?} of {piece:?} was not found:\n{spoilt}");
        assert!(case.finding(near_miss).is_none(), "{kind:?} of {piece:?} was found:\n{near_miss}");
    }
}

#[test]
fn every_kind_has_a_case() {
    let covered: BTreeSet<Kind> = Examined::all().iter().map(|case| case.kind).collect();
    let needs_a_feature = |kind: &&Kind| **kind == Kind::WrongPassphrase && cfg!(not(feature = "encrypted-keys"));
    let missing: Vec<_> = Kind::ALL.iter().filter(|kind| !covered.contains(kind) && !needs_a_feature(kind)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_the_crate_refuses_is_an_error() {
    for case in Examined::all() {
        for (set, report) in [&case.spoilt, &case.near_miss] {
            if set.is_refused() {
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
        for (piece, text) in [
            (Piece::SignatureKey, &healthy.signature),
            (Piece::EncryptionKey, &healthy.encryption),
            (Piece::DhParams, &healthy.dh),
        ] {
            let Some(repaired) = report.repaired(piece) else { continue };
            let is_other_key = repaired.expose().starts_with("-----BEGIN RSA PRIVATE");
            let is_bare_prime = *repaired.expose() == prime_hex() || *repaired.expose() == format!("00{}", prime_hex());
            assert!(is_other_key || is_bare_prime || Some(repaired.expose()) == text.as_ref(), "{:?}", case.kind);
        }
        if let Some(secret) = report.repaired(Piece::AccessTokenSecret) {
            let repaired = Set { secret: Some(secret.expose().clone()), ..healthy.clone() };
            let kinds: Vec<_> = repaired.examine().findings().iter().map(|finding| finding.kind).collect();
            assert_eq!(kinds, [Kind::SecretOpens], "{:?}", case.kind);
        }
    }
}

#[test]
fn damage_that_can_be_undone_is_undone() {
    let undone = [
        Kind::HeaderMissing,
        Kind::EndMissing,
        Kind::Dashes,
        Kind::EscapedLineBreaks,
        Kind::Layout,
        Kind::CrLf,
        Kind::UploadCrLf,
        Kind::SecretPadding,
        Kind::SecretExcessPadding,
        Kind::SecretPercentEncoded,
        Kind::SecretHex,
        Kind::SecretUrlSafe,
        Kind::SecretPlusLost,
        Kind::DhDecorated,
        Kind::DhNegative,
    ];
    for case in Examined::all().iter().filter(|case| undone.contains(&case.kind)) {
        assert!(case.spoilt.1.repaired(case.piece).is_some(), "{:?}", case.kind);
    }
    let report = Set::healthy().examine();
    assert!(Piece::ALL.iter().all(|piece| report.repaired(*piece).is_none()));
}

/// `UPDATE=1 cargo test --all-features --test doctor` writes the file anew.
#[test]
fn the_words_are_the_ones_that_were_agreed_on() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(MESSAGES);
    let messages = messages();
    if std::env::var_os("UPDATE").is_some() {
        let text = messages.iter().fold(String::new(), |all, (kind, message)| all + &section(kind, message));
        return std::fs::write(path, text).unwrap();
    }
    let agreed = std::fs::read_to_string(path).unwrap();
    for (kind, message) in messages {
        let section = section(&kind, &message);
        assert!(agreed.contains(&section), "{MESSAGES} does not have this (see UPDATE above):\n{section}");
    }
}

fn section(kind: &str, message: &str) -> String {
    format!("== {kind}\n{message}\n")
}

/// What the first case of each kind says.
fn messages() -> BTreeMap<String, String> {
    let mut messages = BTreeMap::new();
    for case in Examined::all() {
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
    assert_eq!(finding["piece"], "private_signature_pem");
    for text in ["cause", "evidence", "remedy"] {
        assert!(finding[text].as_str().is_some_and(|text| !text.is_empty()));
    }
    assert_eq!(json["fingerprints"].as_array().unwrap().len(), 3);
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
        (Kind::SecretOpens, block([0, 2], 8, 0)),
        (Kind::SecretOpens, block([0, 2], 253, 0)),
        (Kind::SecretDoesNotOpen, block([0, 2], 7, 0)),
        (Kind::SecretDoesNotOpen, block([0, 2], 8, 1)),
        (Kind::SecretDoesNotOpen, block([0, 1], 8, 0)),
        (Kind::SecretDoesNotOpen, block([1, 2], 8, 0)),
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
        assert!(set.examine().has(Kind::SecretDoesNotOpen));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However credentials are mangled: no panic, no secret, and an error wherever the crate would refuse them.
    #[test]
    fn mangled_credentials_get_an_honest_answer(
        piece in 0_usize..7,
        at in any::<prop::sample::Index>(),
        cut in 0_usize..80,
        insert in "[ -~\n\r\u{e9}]{0,3}",
    ) {
        let mut set = Set::healthy();
        let pieces = [
            &mut set.consumer_key, &mut set.realm, &mut set.token, &mut set.secret, &mut set.signature,
            &mut set.encryption, &mut set.dh,
        ];
        let text = pieces.into_iter().nth(piece).unwrap();
        let whole = text.take().unwrap();
        let start = at.index(whole.len());
        let end = (start + cut).min(whole.len());
        *text = Some([&whole[..start], &insert, &whole[end..]].concat());
        let report = set.examine();
        if set.is_refused() {
            prop_assert_eq!(report.worst(), Some(Severity::Error), "{}", report);
        }
        assert_silent(&report, Set::healthy().secrets());
    }
}
