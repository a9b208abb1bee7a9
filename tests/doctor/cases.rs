//! One case or more for every kind of finding.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ibkr_oauth::UnixTime;
use ibkr_oauth::doctor::{Credential, Finding, FindingKind, Report, ServerTime};
use rsa::pkcs1::EncodeRsaPrivateKey;

use crate::fixtures::*;
use crate::set::{Set, after, edit, put};
use crate::support::{DHPARAM_PEM, ENCRYPTION_PEM, NOW, SIGNATURE_PEM};

/// One kind of finding: what brings it about, and what looks like it and must not.
struct Case {
    kind: FindingKind,
    credential: Credential,
    spoil: fn(&mut Set),
    near_miss: fn(&mut Set),
}

macro_rules! cases {
    ($($kind:ident @ $credential:ident: $spoil:expr, not $near_miss:expr;)*) => {
        vec![$(Case {
            kind: FindingKind::$kind,
            credential: Credential::$credential,
            spoil: |set| { let spoil: fn(&mut Set) = $spoil; spoil(set) },
            near_miss: |set| { let near_miss: fn(&mut Set) = $near_miss; near_miss(set) },
        }),*]
    };
}

fn cases() -> Vec<Case> {
    let mut cases = common_cases();
    if cfg!(feature = "encrypted-keys") {
        cases.extend(cases! {
            WrongPassphrase @ SignatureKey: |s| { put(&mut s.signature, ENCRYPTED_PEM); put(&mut s.passphrase, "w0rng s3ntinel") },
                not |s| { put(&mut s.signature, ENCRYPTED_PEM); put(&mut s.passphrase, PASSPHRASE) };
        });
    }
    cases.extend(date_cases());
    cases
}

#[cfg(feature = "std")]
fn date_cases() -> Vec<Case> {
    cases! {
        ClockOff @ Clock: |s| s.server = Some(ServerTime::DateHeader("Thu, 02 May 2024 11:44:30 GMT")), not |s| s.server = Some(ServerTime::DateHeader("Thu, 02 May 2024 11:40:00 GMT"));
        ClockFarOff @ Clock: |s| s.server = Some(ServerTime::DateHeader("Thu, 02 May 2024 11:45:01 GMT")), not |s| s.server = Some(ServerTime::DateHeader("Thu, 02 May 2024 11:45:00 GMT"));
        DateUnreadable @ Clock: |s| s.server = Some(ServerTime::DateHeader("2024-05-02 11:40:00")), not |s| s.server = Some(ServerTime::DateHeader(" Thursday, 02-May-24 11:40:00 GMT"));
    }
}

/// No date is read.
#[cfg(not(feature = "std"))]
fn date_cases() -> Vec<Case> {
    cases! {
        DateUnreadable @ Clock: |s| s.server = Some(ServerTime::DateHeader("Thu, 02 May 2024 11:40:00 GMT")), not |s| s.server = None;
    }
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
        TooLong @ DhParams: |s| edit(&mut s.dh, |t| t.to_string() + &" ".repeat(65_536)), not |s| edit(&mut s.dh, |t| t.to_string() + &" ".repeat(65_536 - t.len()));
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
        TokenAndSecretSwapped @ AccessToken: |s| { put(&mut s.token, "A".repeat(201)); put(&mut s.secret, TOKEN) }, not |s| { put(&mut s.token, "A".repeat(200)); put(&mut s.secret, TOKEN) };

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
        CutOff @ SignatureKey: |s| put(&mut s.signature, pem("PRIVATE KEY", &[0x30, 3, 5, 0])), not |s| put(&mut s.signature, pem("PRIVATE KEY", &[0x30, 2, 5, 0]));
        CutOff @ SignatureKey: |s| put(&mut s.signature, pem("PRIVATE KEY", &[0x30, 0x81, 3, 5, 0])), not |s| put(&mut s.signature, pem("PRIVATE KEY", &[0x30, 0x81, 2, 5, 0]));
        Layout @ SignatureKey: |s| edit(&mut s.signature, |t| t.replace('\n', " ")), not |s| edit(&mut s.signature, |t| format!("a\nb\n{t}c\n"));
        Layout @ EncryptionKey: |s| edit(&mut s.encryption, |t| format!("  {}", t.replace('\n', "\n  "))), not |s| edit(&mut s.encryption, |t| t.replace('\n', "\r\n"));
        CrLf @ SignatureKey: |s| edit(&mut s.signature, |t| t.replace('\n', "\r\n")), not |s| edit(&mut s.signature, |t| t.replace('\n', "\n\n"));
        UploadCrLf @ DhParams: |s| edit(&mut s.dh, |t| t.replace('\n', "\r\n")), not |s| edit(&mut s.encryption, |t| t.replace('\n', "\r\n"));
        Several @ SignatureKey: |s| edit(&mut s.signature, |t| t.to_string() + ENCRYPTION_PEM), not |s| edit(&mut s.signature, |t| t.to_string() + PUBLIC_PEM);
        Several @ EncryptionKey: |s| edit(&mut s.encryption, |t| pem("RSA PRIVATE KEY", others().bits_2048.to_pkcs1_der().unwrap().as_bytes()) + t), not |s| edit(&mut s.encryption, |t| format!("BEGIN PRIVATE\n{t}"));
        Several @ DhParams: |s| edit(&mut s.dh, |t| format!("{t}{t}")), not |s| edit(&mut s.dh, |t| format!("{SIGNATURE_PEM}{t}{ENCRYPTION_PEM}"));

        PublicKey @ SignatureKey: |s| put(&mut s.signature, PUBLIC_PEM), not |s| edit(&mut s.signature, |t| format!("{PUBLIC_PEM}{t}"));
        PublicKey @ DhParams: |s| put(&mut s.dh, PUBLIC_PEM), not |s| edit(&mut s.dh, |t| format!("{PUBLIC_PEM}{t}"));
        PublicKey @ SignatureKey: |s| put(&mut s.signature, BASE64.encode(der(PUBLIC_PEM))), not |s| put(&mut s.signature, BASE64.encode(der(SIGNATURE_PEM)));
        Certificate @ SignatureKey: |s| put(&mut s.signature, pem("CERTIFICATE", &[0; 99])), not |s| edit(&mut s.signature, |t| t.to_string() + &pem("CERTIFICATE", &[0; 99]));
        CertificateRequest @ EncryptionKey: |s| put(&mut s.encryption, pem("CERTIFICATE REQUEST", &[0; 99])), not |s| put(&mut s.encryption, pem("CERTIFICATE", &[0; 99]));
        DhParams @ EncryptionKey: |s| put(&mut s.encryption, DHPARAM_PEM), not |s| edit(&mut s.encryption, |t| format!("{DHPARAM_PEM}{t}"));
        DhParams @ SignatureKey: |s| put(&mut s.signature, pem("X9.42 DH PARAMETERS", &[0; 99])), not |s| put(&mut s.dh, pem("X9.42 DH PARAMETERS", &[0; 99]));
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
        KeyTooLarge @ SignatureKey: |s| put(&mut s.signature, huge_key()), not |s| put(&mut s.signature, pkcs8(&others().bits_1024));
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
        SecretDecrypts @ AccessTokenSecret: |_| {}, not |s| { s.token = None; s.secret = None };
        KeysSwapped @ AccessTokenSecret: |s| std::mem::swap(&mut s.signature, &mut s.encryption), not |s| put(&mut s.encryption, SIGNATURE_PEM);
        KeysSwapped @ AccessTokenSecret: |s| { put(&mut s.signature, ENCRYPTION_PEM); put(&mut s.encryption, PUBLIC_PEM) }, not |s| { put(&mut s.signature, ENCRYPTION_PEM) };
        KeysSwapped @ AccessTokenSecret: |s| { put(&mut s.signature, ENCRYPTION_PEM); put(&mut s.encryption, pkcs8(&others().bits_3072)) }, not |s| put(&mut s.signature, pkcs8(&others().bits_3072));
        SecretDoesNotDecrypt @ AccessTokenSecret: |s| put(&mut s.secret, secret_for(&others().bits_2048, 1)), not |s| { put(&mut s.encryption, pkcs8(&others().bits_2048)); put(&mut s.secret, secret_for(&others().bits_2048, 1)) };
        SecretDoesNotDecrypt @ AccessTokenSecret: |s| { s.signature = None; put(&mut s.encryption, SIGNATURE_PEM) }, not |s| s.encryption = None;
        SecretDoesNotDecrypt @ AccessTokenSecret: |s| put(&mut s.secret, "/".repeat(341) + "w=="), not |s| put(&mut s.secret, "/".repeat(341));
        SecretDoesNotDecrypt @ AccessTokenSecret: |s| edit(&mut s.secret, mistyped), not |s| edit(&mut s.secret, |t| t.trim_end_matches('=').to_string());
        SecretDecrypted @ AccessTokenSecret: |s| put(&mut s.secret, hex(PREPEND)), not |s| put(&mut s.secret, format!("{}g", &hex(PREPEND)[1..]));
        SecretDecrypted @ AccessTokenSecret: |s| put(&mut s.secret, "0AbC".repeat(10)), not |s| put(&mut s.secret, &"0AbC".repeat(10)[1..]);
        SecretDecrypted @ AccessTokenSecret: |s| put(&mut s.secret, "9f".repeat(64)), not |s| put(&mut s.secret, "9f".repeat(64) + "9");

        DhNotHex @ DhParams: |s| put(&mut s.dh, prime_hex().replacen('b', "x", 1)), not |s| put(&mut s.dh, prime_hex().to_uppercase());
        DhNotHex @ DhParams: |s| put(&mut s.dh, "aaaaaaax".repeat(64)), not |s| put(&mut s.dh, "aaax".repeat(64));
        DhText @ DhParams: |s| put(&mut s.dh, openssls_text(["    DH Parameters: (2048 bit)\n    P:   \n", "    G:    2 (0x2)\n"])), not |s| put(&mut s.dh, openssls_text(["", ""]));
        DhText @ DhParams: |s| put(&mut s.dh, "    DH Parameters: (2048 bit)\n    GROUP: modp_2048\n"), not |s| put(&mut s.dh, "GROUP: modp_2048");
        DhText @ DhParams: |s| put(&mut s.dh, openssls_text(["P:", ""])), not |s| put(&mut s.dh, format!("P: {}", prime_hex()));
        DhText @ DhParams: |s| put(&mut s.dh, openssls_text(["    PKCS#3 DH Parameters: (2048 bit)\n        prime:\n", "        generator: 2 (0x2)\n"])), not |s| edit(&mut s.dh, |t| openssls_text(["    PKCS#3 DH Parameters: (2048 bit)\n        prime:\n", "        generator: 2 (0x2)\n"]) + t);
        DhDecorated @ DhParams: |s| put(&mut s.dh, format!("0x{}", prime_hex())), not |s| put(&mut s.dh, format!(" {}\n", prime_hex()));
        DhDecorated @ DhParams: |s| put(&mut s.dh, format!("00:{}", prime_hex())), not |s| put(&mut s.dh, format!("00{}", prime_hex()));
        DhDamaged @ DhParams: |s| put(&mut s.dh, pem("DH PARAMETERS", &tlv(0x30, &[0x05, 0, 0x05, 0]))), not |s| put(&mut s.dh, pem("DH PARAMETERS", &tlv(0x30, &[&der(DHPARAM_PEM)[4..], &[2, 2, 0, 225]].concat())));
        DhDamaged @ DhParams: |s| put(&mut s.dh, pem("DH PARAMETERS", &tlv(0x30, &[&der(DHPARAM_PEM)[4..265], &[5, 0]].concat()))), not |s| put(&mut s.dh, DHPARAM_PEM);
        DhDamaged @ DhParams: |s| put(&mut s.dh, dh_pem(&der(DHPARAM_PEM)[8..265], 0x80)), not |s| put(&mut s.dh, dh_pem(&der(DHPARAM_PEM)[8..265], 0x7f));
        DhNegative @ DhParams: |s| put(&mut s.dh, dh_pem(&der(DHPARAM_PEM)[9..265], 2)), not |s| put(&mut s.dh, dh_pem(&der(DHPARAM_PEM)[8..265], 2));
        DhEven @ DhParams: |s| put(&mut s.dh, format!("{}e", &prime_hex()[..511])), not |s| put(&mut s.dh, format!("{}d", &prime_hex()[..511]));
        DhComposite @ DhParams: |s| put(&mut s.dh, format!("{}d", &prime_hex()[..511])), not |s| put(&mut s.dh, unsafe_prime_hex());
        DhNotSafe @ DhParams: |s| put(&mut s.dh, unsafe_prime_hex()), not |s| put(&mut s.dh, prime_hex());
        DhTooSmall @ DhParams: |s| put(&mut s.dh, &prime_hex()[1..]), not |s| put(&mut s.dh, &prime_hex()[..]);
        DhTooLarge @ DhParams: |s| put(&mut s.dh, "f".repeat(2049)), not |s| put(&mut s.dh, "f".repeat(2048));
        DhGenerator @ DhParams: |s| { put(&mut s.dh, prime_hex()); s.generator = Some(5) }, not |s| { put(&mut s.dh, prime_hex()); s.generator = Some(2) };
        DhGenerator @ DhParams: |s| put(&mut s.dh, include_str!("../keys/dhparam_generator_5.pem")), not |s| put(&mut s.dh, dh_pem(&der(DHPARAM_PEM)[8..265], 2));

        UrlInvalid @ BaseUrl: |s| put(&mut s.base_url, "api.ibkr.com/v1/api"), not |s| put(&mut s.base_url, "HTTPS://API.IBKR.COM:443/v1/api");
        UrlPlain @ BaseUrl: |s| put(&mut s.base_url, "http://api.ibkr.com/v1/api"), not |s| put(&mut s.base_url, "http://127.0.0.1:8080/v1/api");
        UrlPath @ BaseUrl: |s| put(&mut s.base_url, "https://api.ibkr.com"), not |s| put(&mut s.base_url, "https://api.ibkr.com/alpha/api");
        UrlTrailingSlash @ BaseUrl: |s| put(&mut s.base_url, "https://api.ibkr.com/v1/api/"), not |s| put(&mut s.base_url, "https://1.api.ibkr.com/v1/api");
        UrlHost @ BaseUrl: |s| put(&mut s.base_url, "https://api.ibkr.com.example/v1/api"), not |s| put(&mut s.base_url, "https://API.ibkr.com/v1/api");
        UrlLoopback @ BaseUrl: |s| put(&mut s.base_url, "http://[::1]:8080/v1/api"), not |s| put(&mut s.base_url, "https://localhost.example/v1/api");

        ClockOff @ Clock: |s| s.server = Some(ServerTime::At(UnixTime::from_millis(NOW.as_millis() - 31_000))), not |s| s.server = Some(ServerTime::At(UnixTime::from_millis(NOW.as_millis() - 30_000)));
        ClockFarOff @ Clock: |s| s.server = Some(ServerTime::At(UnixTime::from_millis(NOW.as_millis() + 300_750))), not |s| s.server = Some(ServerTime::At(UnixTime::from_millis(NOW.as_millis() + 300_000)));
    }
}

/// A case with what the doctor said about it.
pub struct Examined {
    pub kind: FindingKind,
    pub credential: Credential,
    pub spoilt: (Set, Report),
    pub near_miss: (Set, Report),
}

impl Examined {
    pub fn all() -> &'static [Self] {
        static ALL: OnceLock<Vec<Examined>> = OnceLock::new();
        ALL.get_or_init(|| cases().into_iter().map(Self::new).collect())
    }

    fn new(case: Case) -> Self {
        let examined = |change: fn(&mut Set)| {
            let mut set = after(change);
            // Proving that a sound prime is one takes longer than all the rest.
            if case.credential != Credential::DhParams {
                set.dh = None;
            }
            let report = set.examine();
            (set, report)
        };
        let (spoilt, near_miss) = std::thread::scope(|scope| {
            let spoilt = scope.spawn(|| examined(case.spoil));
            let near_miss = examined(case.near_miss);
            (spoilt.join().unwrap(), near_miss)
        });
        Self { kind: case.kind, credential: case.credential, spoilt, near_miss }
    }

    pub fn finding<'a>(&self, report: &'a Report) -> Option<&'a Finding> {
        report.findings().iter().find(|finding| finding.kind == self.kind && finding.credential == self.credential)
    }
}

fn without_line(text: &str, line: usize) -> String {
    text.lines().enumerate().filter(|(at, _)| *at != line).fold(String::new(), |all, (_, line)| all + line + "\n")
}

/// With another letter in the middle.
fn mistyped(text: &str) -> String {
    let (start, end) = text.split_at(text.len() / 2);
    let letter = if end.starts_with('A') { "B" } else { "A" };
    [start, letter, &end[1..]].concat()
}

/// What `openssl dhparam -text -noout` prints, with these words before the prime and after it.
fn openssls_text([before, after]: [&str; 2]) -> String {
    let bytes: Vec<_> = der(DHPARAM_PEM)[8..265].iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: Vec<_> = bytes.chunks(15).map(|line| format!("        {}", line.join(":"))).collect();
    format!("{before}{}\n{after}", lines.join(":\n"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
