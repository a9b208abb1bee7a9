//! Keys, parameters and settings: everything users have in files is read, everything else is named.

mod support;

use ibkr_oauth::{
    AccessToken, ConfigError, Consumer, ConsumerKeys, DhParams, Error, KeyError, OAuthSession, RsaKeys, RsaPrivateKey,
    TokenError, UrlError,
};
use proptest::prelude::*;
use support::{Counting, DHPARAM_PEM, ENCRYPTION_PEM, NOW, SIGNATURE_PEM, builder, dh, keys, rng};

fn key_error(pem: &str) -> KeyError {
    RsaPrivateKey::from_pem(pem).unwrap_err()
}

fn dh_error(pem: &str) -> KeyError {
    DhParams::from_pem(pem).unwrap_err()
}

#[test]
fn line_endings_and_text_around_the_block_do_not_matter() {
    let crlf = SIGNATURE_PEM.replace('\n', "\r\n");
    let described = format!("\u{feff}Bag Attributes: none\n-- hello --\n{SIGNATURE_PEM}\ntrailing words\n");
    let unwrapped = {
        let lines: Vec<_> = SIGNATURE_PEM.lines().collect();
        let body = lines[1..lines.len() - 1].concat();
        format!("{}\n{body}\n{}", lines[0], lines[lines.len() - 1])
    };
    let behind_another = format!("{DHPARAM_PEM}{SIGNATURE_PEM}");
    for pem in [SIGNATURE_PEM, &crlf, &described, &unwrapped, &behind_another] {
        assert!(RsaPrivateKey::from_pem(pem).is_ok());
    }
    let crlf = DHPARAM_PEM.replace('\n', "\r\n");
    for pem in [DHPARAM_PEM, &crlf, &format!("DH Parameters: (2048 bit)\n{DHPARAM_PEM}")] {
        assert!(DhParams::from_pem(pem).is_ok());
    }
}

#[test]
fn the_wrong_file_is_named() {
    let public = include_str!("keys/public_signature.pem");
    assert_eq!(key_error(public), KeyError::WrongPem { found: "PUBLIC KEY" });
    assert_eq!(key_error(DHPARAM_PEM), KeyError::WrongPem { found: "DH PARAMETERS" });
    assert_eq!(dh_error(SIGNATURE_PEM), KeyError::WrongPem { found: "PRIVATE KEY" });
    assert_eq!(key_error("-----BEGIN SECRET-abc-----\n"), KeyError::WrongPem { found: "something else" });
    assert_eq!(key_error(""), KeyError::NoPem);
    assert_eq!(key_error("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ"), KeyError::NoPem);
    assert_eq!(key_error(&" ".repeat(65_537)), KeyError::TooLong);
}

#[test]
fn what_is_as_long_as_can_be_is_read_and_not_one_byte_more() {
    let padded = |length: usize| format!("{SIGNATURE_PEM}{}", " ".repeat(length - SIGNATURE_PEM.len()));
    assert!(RsaPrivateKey::from_pem(&padded(65_536)).is_ok());
    assert_eq!(key_error(&padded(65_537)), KeyError::TooLong);
    assert_eq!(RsaPrivateKey::from_der(&[0x30; 8192]).unwrap_err(), KeyError::Der);
    assert_eq!(RsaPrivateKey::from_der(&[0x30; 8193]).unwrap_err(), KeyError::TooLong);

    let token = |token: usize, secret: usize| AccessToken::new(&"a".repeat(token), &"A".repeat(secret)).map(drop);
    assert_eq!(token(256, 2048), Ok(()));
    assert_eq!((token(257, 4), token(1, 2052)), (Err(TokenError::TooLong), Err(TokenError::TooLong)));

    let url = |length: usize| format!("https://h/{}", "a".repeat(length - 10));
    let build = |length: usize| builder().base_url(&url(length)).build().map(drop);
    assert_eq!(build(2048), Ok(()));
    assert_eq!(build(2049), Err(ConfigError::BaseUrl(UrlError::TooLong)));
}

#[test]
fn a_damaged_file_is_named() {
    let without_end = SIGNATURE_PEM.replace("-----END PRIVATE KEY-----", "");
    assert_eq!(key_error(&without_end), KeyError::PemDamaged);
    assert_eq!(key_error("-----BEGIN "), KeyError::PemDamaged);
    assert_eq!(key_error(&SIGNATURE_PEM.replace("MII", "*II")), KeyError::PemDamaged);
    let lines: Vec<_> = SIGNATURE_PEM.lines().collect();
    let short_of_a_line = [&lines[..10], &lines[11..]].concat().join("\n");
    assert_eq!(key_error(&short_of_a_line), KeyError::Der);
    assert_eq!(RsaPrivateKey::from_der(b"").unwrap_err(), KeyError::Der);
    assert_eq!(dh_error(&DHPARAM_PEM.replace("MIIB", "MIIC")), KeyError::Der);
}

#[test]
fn a_legacy_passphrase_is_named_with_its_remedy() {
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    assert_eq!(key_error(legacy), KeyError::LegacyEncryption);
    assert!(KeyError::LegacyEncryption.to_string().contains("openssl pkcs8 -topk8"));
}

#[test]
fn diffie_hellman_numbers_are_checked_before_they_are_used() {
    let group14 = support::vectors::vectors(support::vectors::IBKR)
        .iter()
        .find_map(|vector| vector["inputs"]["primeHex"].as_str().map(str::to_string))
        .unwrap();
    let hex = |prime: &str, generator| DhParams::from_hex(prime, generator).map(drop);
    assert_eq!(hex(&group14, 2), Ok(()));
    assert_eq!(hex(&format!(" 00{}\n", group14.to_uppercase()), 5), Ok(()));
    assert_eq!(hex(&group14, 0), Ok(()), "what is named as generator is not computed with");
    assert_eq!(hex("", 2), Err(KeyError::NotHex));
    assert_eq!(hex(&format!("0x{group14}"), 2), Err(KeyError::NotHex));
    // A digit lost, a digit changed, the last line missing: no longer the prime that was registered.
    assert_eq!(hex(&group14[1..], 2), Err(KeyError::PrimeSize { bits: 2044 }));
    assert_eq!(hex(&group14.replacen("c90f", "c90e", 1), 2), Err(KeyError::NotPrime));
    assert_eq!(hex(&group14.replacen("ffffffffffffffff", "fffffffffffffffe", 1), 2), Err(KeyError::NotPrime));
    assert_eq!(hex(&format!("{}0", &group14[..511]), 2), Err(KeyError::NotPrime));
    assert_eq!(hex("ff", 2), Err(KeyError::PrimeSize { bits: 8 }));
    assert_eq!(hex("0", 2), Err(KeyError::PrimeSize { bits: 0 }));
    assert_eq!(hex(&"f".repeat(2050), 2), Err(KeyError::PrimeSize { bits: 8200 }));
    assert_eq!(hex(&"f".repeat(100_000), 2), Err(KeyError::PrimeSize { bits: 400_000 }));
}

#[test]
fn a_secret_that_is_not_whole_is_named_before_anything_is_sent() {
    let secret = |text: &str| AccessToken::new("a1b2c3d4e5f6a7b8c9d0", text).map(drop);
    let whole = "A".repeat(342) + "==";
    assert_eq!(secret(&whole), Ok(()));
    assert_eq!(secret(&format!("  {}\r\n{} ", &whole[..64], &whole[64..])), Ok(()));
    assert_eq!(secret(&format!("\u{a0}{}\u{b}{}\u{3000}", &whole[..64], &whole[64..])), Ok(()), "any white space");
    assert_eq!(secret(whole.trim_end_matches('=')), Ok(()), "padding says nothing");
    assert_eq!(secret(&whole[..341]), Err(TokenError::NotBase64 { characters: 341 }));
    assert_eq!(secret(""), Err(TokenError::Empty));
    assert_eq!(secret(&"A".repeat(2052)), Err(TokenError::TooLong));
    assert_eq!(secret("coPZc%2B"), Err(TokenError::NotBase64 { characters: 8 }));

    let access_token = AccessToken::new("a1b2c3d4e5f6a7b8c9d0", &whole[..340]).unwrap();
    let mut session = OAuthSession::with_access_token(builder().build().unwrap(), access_token);
    let error = session.poll_request(&mut rng(1), NOW).unwrap_err();
    assert_eq!(error, Error::Keys(KeyError::SecretLength { expected: 256, found: 255 }));
}

#[test]
fn tokens_and_settings_cannot_break_out_of_the_header() {
    for bad in ["a\r\nX-Evil: 1", "a\"b", "a\\b", "a,b", "a b", "a\u{e9}", "a\0"] {
        assert_eq!(AccessToken::new(bad, "AAAA").unwrap_err(), TokenError::Character, "{bad:?}");
        assert_eq!(builder().realm(bad).build().unwrap_err(), ConfigError::Realm(TokenError::Character));
        let consumer = Consumer::builder(bad, keys(), dh()).build();
        assert_eq!(consumer.unwrap_err(), ConfigError::ConsumerKey(TokenError::Character));
    }
    for bad in ["", " ", "a\r\nX-Evil: 1", "\u{e9}", &"a".repeat(257)] {
        assert_eq!(builder().user_agent(bad).build().unwrap_err(), ConfigError::UserAgent, "{bad:?}");
    }
    assert_eq!(Consumer::builder("", keys(), dh()).build().unwrap_err(), ConfigError::ConsumerKey(TokenError::Empty));
}

#[test]
fn the_realm_follows_the_consumer_key_and_cannot_contradict_it() {
    let consumer = |key: &str| Consumer::builder(key, keys(), dh());
    assert_eq!(consumer("TESTCONS").build().unwrap().realm(), "test_realm");
    assert_eq!(consumer("MYCONSKEY").build().unwrap().realm(), "limited_poa");
    for contradiction in [consumer("TESTCONS").realm("limited_poa"), consumer("MYCONSKEY").realm("test_realm")] {
        assert_eq!(contradiction.build().unwrap_err(), ConfigError::RealmContradictsConsumerKey);
    }
    assert_eq!(consumer("MYCONSKEY").realm("some_new_realm").build().unwrap().realm(), "some_new_realm");
}

#[test]
fn urls_are_checked_before_anything_is_sent_there() {
    assert_eq!(builder().base_url("api.ibkr.com").build().unwrap_err(), ConfigError::BaseUrl(UrlError::Scheme));
    assert_eq!(
        builder().authorize_url("https://h/authorize?x=1").build().unwrap_err(),
        ConfigError::AuthorizeUrl(UrlError::QueryOrFragment)
    );
    let climbing = builder().base_url("https://h/v1/x/../api").build().unwrap_err();
    assert_eq!(climbing, ConfigError::BaseUrl(UrlError::DotSegment));
    for (callback, problem) in [("localhost:5002", UrlError::Scheme), ("https://h/\r\nX: y", UrlError::Characters)] {
        let error = builder().callback_url(callback).build().unwrap_err();
        assert_eq!(error, ConfigError::CallbackUrl(problem));
    }
    let consumer = builder().base_url("HTTPS://API.IBKR.COM:443/v1/api/").build().unwrap();
    assert_eq!(consumer.base_url(), "https://api.ibkr.com/v1/api");
}

#[test]
fn swapped_keys_are_not_taken_for_the_right_ones() {
    let swapped =
        RsaKeys::new(RsaPrivateKey::from_pem(ENCRYPTION_PEM).unwrap(), RsaPrivateKey::from_pem(SIGNATURE_PEM).unwrap());
    let right = first_signature(keys());
    assert_ne!(right, first_signature(swapped));
    assert_eq!(right, first_signature(keys()), "blinding does not change a signature");
}

fn first_signature(keys: RsaKeys) -> String {
    let consumer = Consumer::builder("TESTCONS", keys, dh()).build().unwrap();
    let outbound = support::poll(&mut OAuthSession::new(consumer));
    support::parameter(&outbound.request, "oauth_signature").unwrap().to_string()
}

#[cfg(feature = "encrypted-keys")]
#[test]
fn a_passphrase_opens_a_key_and_a_wrong_one_says_so() {
    let pem = include_str!("keys/private_signature.encrypted.pem");
    assert_eq!(key_error(pem), KeyError::Encrypted);
    assert!(RsaPrivateKey::from_encrypted_pem(pem, b"for the tests only").is_ok());
    let wrong = RsaPrivateKey::from_encrypted_pem(pem, b"wrong");
    assert_eq!(wrong.unwrap_err(), KeyError::WrongPassphrase);
    let plain = RsaPrivateKey::from_encrypted_pem(SIGNATURE_PEM, b"");
    assert_eq!(plain.unwrap_err(), KeyError::WrongPem { found: "PRIVATE KEY" });
}

proptest! {
    /// Any text and any bytes give a key or a typed error, never a panic.
    #[test]
    fn any_credentials_give_a_response(
        text in "(-----BEGIN (RSA |ENCRYPTED )?(PRIVATE KEY|DH PARAMETERS)-----)?[A-Za-z0-9+/=\n -]{0,200}(-----END (RSA )?PRIVATE KEY-----)?",
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        at in 0_usize..1200,
        flip in 1_u8..=255,
    ) {
        let _ = RsaPrivateKey::from_pem(&text);
        let _ = DhParams::from_pem(&text);
        let _ = DhParams::from_hex(&text, 2);
        let _ = AccessToken::new(&text, &text);
        let _ = RsaPrivateKey::from_der(&bytes);
        let _ = DhParams::from_der(&bytes);
        let mut der = der_of_the_signature_key();
        let at = at % der.len();
        der[at] ^= flip;
        let _ = RsaPrivateKey::from_der(&der);
        let _ = RsaPrivateKey::from_der(&der[..at]);
    }
}

fn der_of_the_signature_key() -> Vec<u8> {
    use base64::Engine;
    let body: String = SIGNATURE_PEM.lines().filter(|line| !line.starts_with('-')).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

/// What comes of an operation, whoever's randomness is used; and used it is.
fn blinded(operate: impl Fn(&mut Counting) -> Vec<u8>) -> Vec<u8> {
    let [first, second] = [1, 2].map(|seed| {
        let mut random = Counting::new(seed);
        let outcome = operate(&mut random);
        assert!(random.drawn >= 256, "{} bytes drawn", random.drawn);
        outcome
    });
    assert_eq!(first, second, "blinding changes no outcome");
    first
}

/// Without a random factor as long as the modulus, the time an operation takes tells of the key.
#[test]
fn private_keys_are_blinded_by_the_callers_randomness_each_time() {
    use rsa::pkcs8::DecodePrivateKey;
    let encryption = rsa::PrivateKey::from_pkcs8_pem(ENCRYPTION_PEM).unwrap();
    let secret = encryption.to_public_key().pkcs1v15_encrypt_with_rng(&mut rng(1), b"a secret").unwrap();
    let keys = keys();
    blinded(|random| keys.sign_rsa_sha256(b"a message", random).unwrap());
    assert_eq!(blinded(|random| keys.decrypt_pkcs1v15(&secret, random).unwrap().expose().clone()), b"a secret");
}

#[test]
fn a_callback_is_a_url_or_the_very_word_oob() {
    assert!(builder().callback_url("oob").build().is_ok());
    assert!(builder().callback_url("http://localhost:5002/back?user=7").build().is_ok());
    for (callback, problem) in [
        ("OOB", UrlError::Scheme),
        ("oobs", UrlError::Scheme),
        ("", UrlError::Scheme),
        ("oob ", UrlError::Characters),
        ("https:///back", UrlError::Host),
        ("https://?user=7", UrlError::Host),
        ("https://user@h/back", UrlError::Host),
        ("https://h:0/back", UrlError::Port),
        ("https://h:port?user=7", UrlError::Port),
    ] {
        let error = builder().callback_url(callback).build().unwrap_err();
        assert_eq!(error, ConfigError::CallbackUrl(problem), "{callback:?}");
    }
}

#[test]
fn a_pem_block_is_known_by_its_whole_label_at_both_ends() {
    let relabelled = |begin: &str, end: &str| {
        let begun = SIGNATURE_PEM.replace("BEGIN PRIVATE KEY", &format!("BEGIN {begin}"));
        key_error(&begun.replace("END PRIVATE KEY", &format!("END {end}")))
    };
    for label in ["private key", "PRIVATE KEY 2", "A PRIVATE KEY", "PRIVATE"] {
        assert_eq!(relabelled(label, label), KeyError::WrongPem { found: "something else" }, "{label}");
    }
    for end in ["PUBLIC KEY", "RSA PRIVATE KEY", "PRIVATE KEY 2", "private key"] {
        assert_eq!(relabelled("PRIVATE KEY", end), KeyError::PemDamaged, "{end}");
    }
    let two_others = format!("{DHPARAM_PEM}{}", include_str!("keys/public_signature.pem"));
    assert_eq!(key_error(&two_others), KeyError::WrongPem { found: "DH PARAMETERS" }, "the first is named");
}
