//! What was secret is gone from memory when it is given back: an allocator looks into every block before it is freed.
//!
//! It sees the heap only. Copies on the stack, and those that the operating system swaps out, are out of its sight.
#![allow(unsafe_code, reason = "an allocator cannot be written without")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;

use ibkr_oauth::{AccessToken, ApiRequest, Callback, OAuthSession, Response, RsaKeys, RsaPrivateKey, Secret};
use support::vectors::{IBKR, vector};
use support::{NOW, SIGNATURE_PEM, Script, WorkedLogin, hex};

/// Looks for planted bytes in whatever this thread frees.
struct Inspector;

#[derive(Default)]
struct Watch {
    planted: Vec<(&'static str, Vec<u8>)>,
    found: Vec<&'static str>,
    is_looking: bool,
}

thread_local! {
    static WATCH: RefCell<Watch> = RefCell::default();
}

#[global_allocator]
static ALLOCATOR: Inspector = Inspector;

// SAFETY: every call goes to the system's allocator unchanged; a block is only read, before it is freed, and only as far
// as it was allocated and written by safe code (zero-filled on allocation, so that all of it is initialised).
unsafe impl GlobalAlloc for Inspector {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        inspect(unsafe { std::slice::from_raw_parts(block, layout.size()) });
        unsafe { System.dealloc(block, layout) }
    }
}

fn inspect(block: &[u8]) {
    // Whatever is freed while the watch is in use, or gone with its thread, is the watch's own.
    let _ = WATCH.try_with(|watch| {
        let Ok(mut watch) = watch.try_borrow_mut() else { return };
        if !watch.is_looking {
            return;
        }
        let holds = |bytes: &[u8]| block.windows(bytes.len()).any(|window| window == bytes);
        let hits: Vec<&str> = watch.planted.iter().filter(|(_, bytes)| holds(bytes)).map(|(name, _)| *name).collect();
        watch.found.extend(hits);
    });
}

/// What is found of `planted` in the blocks that `work` gives back.
fn left_behind(planted: Vec<(&'static str, Vec<u8>)>, work: impl FnOnce()) -> Vec<&'static str> {
    WATCH.with_borrow_mut(|watch| *watch = Watch { planted, found: Vec::new(), is_looking: true });
    work();
    WATCH.with_borrow_mut(|watch| {
        watch.is_looking = false;
        let mut found = std::mem::take(&mut watch.found);
        found.dedup();
        found
    })
}

/// "an encrypted secret of this test", as IBKR would hand it out.
const ENCRYPTED_SECRET: &str = "YW4gZW5jcnlwdGVkIHNlY3JldCBvZiB0aGlzIHRlc3Q=";

fn limbs(big_endian: &[u8]) -> Vec<u8> {
    let mut little_endian = big_endian.to_vec();
    little_endian.reverse();
    little_endian
}

#[test]
fn the_inspector_sees_what_is_not_wiped() {
    let planted = || vec![("needle", b"a needle in the heap".to_vec())];
    let plain = b"a needle in the heap".to_vec();
    assert_eq!(left_behind(planted(), move || drop(plain)), ["needle"]);
    let secret = Secret::new(b"a needle in the heap".to_vec());
    assert!(left_behind(planted(), move || drop(secret)).is_empty());
}

#[test]
fn a_login_and_its_end_leave_no_secret_behind() {
    let vector = vector(IBKR, "ibkrdotnet-dh-signBitPadded");
    let login = WorkedLogin::read(&vector);
    let shared_secret = hex(vector["outputs"]["sharedSecretBytesHex"].as_str().unwrap());
    let exponent = hex(vector["inputs"]["clientPrivateHex"].as_str().unwrap());
    let token = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.decode(&login.token).unwrap()
    };
    let prepend = login.keys.prepend.clone();
    let prepend_text: String = prepend.iter().map(|byte| format!("{byte:02x}")).collect();
    let planted = vec![
        ("the live session token", token),
        ("the live session token as text", login.token.clone().into_bytes()),
        ("the exponent", exponent.clone()),
        ("the exponent's limbs", limbs(&exponent)),
        ("the Diffie-Hellman secret", shared_secret[1..].to_vec()),
        ("the Diffie-Hellman secret's limbs", limbs(&shared_secret[1..])),
        ("the prepend", prepend),
        ("the prepend as text", prepend_text.into_bytes()),
        ("the encrypted access token secret", b"an encrypted secret of this test".to_vec()),
        ("the encrypted access token secret as text", ENCRYPTED_SECRET.into()),
    ];

    let body = login.body(None).into_bytes();
    let mut random = Script(login.random.clone());
    let consumer = login.consumer.clone();
    let found = left_behind(planted, move || {
        let access_token = AccessToken::new("a1b2c3", ENCRYPTED_SECRET).unwrap();
        let mut session = OAuthSession::with_access_token(consumer, access_token);
        let outbound = session.poll_request(&mut random, NOW).unwrap().unwrap();
        // The script's own copy of the exponent is the test's, not the session's.
        std::mem::forget(random);
        drop(outbound.request);
        session.handle_response(outbound.exchange, &Response::new(200, &body), NOW).unwrap();
        let live = session.live(NOW).unwrap().clone();
        live.sign(&ApiRequest::get("/x"), &mut support::rng(1), NOW).unwrap();
        #[cfg(feature = "serde")]
        drop(session.snapshot());
        drop(session);
        drop(live);
    });
    assert!(found.is_empty(), "left in freed memory: {found:?}");
}

/// The URL itself is the caller's to wipe.
#[test]
fn a_callback_that_was_read_leaves_no_verifier_behind() {
    let planted = vec![
        ("the verifier", b"0ffb93ab9aa0d2177cc2".to_vec()),
        ("the verifier, encoded", b"0ffb93ab9a%610d2177cc2".to_vec()),
    ];
    let url = "/?oauth_token=b9082d68cfef06b030de&oauth_verifier=0ffb93ab9a%610d2177cc2";
    let found = left_behind(planted, || drop(Callback::parse(url).unwrap()));
    assert!(found.is_empty(), "left in freed memory: {found:?}");
}

/// A piece from two lines, so that it stands nowhere in the PEM itself.
fn key_text() -> Vec<u8> {
    let base64: String = SIGNATURE_PEM.lines().filter(|line| !line.starts_with('-')).collect();
    base64[32..96].into()
}

fn key_binary() -> Vec<u8> {
    use base64::Engine;
    let base64: String = SIGNATURE_PEM.lines().filter(|line| !line.starts_with('-')).collect();
    base64::engine::general_purpose::STANDARD.decode(base64).unwrap()
}

#[test]
fn a_key_that_was_read_leaves_no_text_behind() {
    // Where one number ends and the next begins, so that it is no copy of a number.
    let binary = key_binary()[..40].to_vec();
    let planted = vec![("the private key as text", key_text()), ("the private key in binary", binary)];
    let found = left_behind(planted, || drop(RsaPrivateKey::from_pem(SIGNATURE_PEM).unwrap()));
    assert!(found.is_empty(), "left in freed memory: {found:?}");
}

#[cfg(feature = "doctor")]
#[test]
fn the_doctor_leaves_no_text_behind() {
    use ibkr_oauth::doctor::{Credentials, examine};
    for secret in [ENCRYPTED_SECRET, &format!("-_ {ENCRYPTED_SECRET}")] {
        let planted = vec![
            ("the private key as text", key_text()),
            ("the start of the access token secret", ENCRYPTED_SECRET[..24].into()),
        ];
        let credentials = Credentials {
            signature_key: Some(SIGNATURE_PEM),
            access_token_secret: Some(secret),
            ..Credentials::default()
        };
        let found = left_behind(planted, || drop(examine(&credentials, &mut support::rng(1))));
        assert!(found.is_empty(), "left in freed memory: {found:?}");
    }
}

/// As a job does that goes on where another stopped. The text itself is the caller's to wipe.
#[cfg(feature = "serde")]
#[test]
fn a_stored_session_that_was_read_leaves_no_secret_behind() {
    let login = WorkedLogin::any();
    let stored = serde_json::to_string(login.live_session(NOW).snapshot().expose()).unwrap();
    let planted = vec![
        ("the live session token as text", login.token.clone().into_bytes()),
        ("the encrypted access token secret as text", b"c2VjcmV0".to_vec()),
    ];
    let found = left_behind(planted, || drop(serde_json::from_str::<ibkr_oauth::Snapshot>(&stored).unwrap()));
    assert!(found.is_empty(), "left in freed memory: {found:?}");
}

/// The libraries behind the keys leave both primes, as the threat model in SECURITY.md says; and no more than that.
#[test]
fn of_a_key_nothing_but_its_primes_is_left_behind() {
    use ibkr_oauth::ConsumerKeys;
    use rsa::pkcs8::DecodePrivateKey;
    use rsa::traits::PrivateKeyParts;
    let key = rsa::PrivateKey::from_pkcs8_pem(SIGNATURE_PEM).unwrap();
    let exponents = [key.d(), key.dp().unwrap(), key.dq().unwrap()].map(|number| number.to_be_bytes().to_vec());
    let planted: Vec<_> =
        exponents.into_iter().flat_map(|number| [("an exponent", limbs(&number)), ("an exponent", number)]).collect();
    let secret = key.to_public_key().encrypt(&mut support::rng(2), rsa::Pkcs1v15Encrypt, &[7; 32]).unwrap();
    let found = left_behind(planted, || {
        let key = RsaPrivateKey::from_pem(SIGNATURE_PEM).unwrap();
        let keys = RsaKeys::new(key.clone(), key);
        keys.sign_rsa_sha256(b"message", &mut support::rng(1)).unwrap();
        keys.decrypt_pkcs1v15(&secret, &mut support::rng(1)).unwrap();
    });
    assert!(found.is_empty(), "left in freed memory: {found:?}");
}

/// The access token stands in what the requests of a live session share, and may be longer than IBKR makes them.
#[test]
fn a_live_session_and_its_end_leave_no_access_token_behind() {
    let login = WorkedLogin::any();
    // None is longer than 256 characters. Each `|` is three of the text.
    let short = (20..200).step_by(20).map(|length| ("x", length));
    for (filler, length) in short.chain((200..=256).flat_map(|length| [("x", length), ("|", length)])) {
        let token = format!("a1b2c3d4e5f6a7b8c9d0{}", filler.repeat(length - 20));
        let access_token = AccessToken::new(&token, ENCRYPTED_SECRET).unwrap();
        let mut session = OAuthSession::with_access_token(login.consumer.clone(), access_token);
        let outbound = login.poll(&mut session, NOW).unwrap();
        // The request, which holds the token, is the caller's.
        let _request = outbound.request;
        let body = login.body(None).into_bytes();
        let found = left_behind(vec![("the access token", token[..20].into())], || {
            session.handle_response(outbound.exchange, &Response::new(200, &body), NOW).unwrap();
            drop(session);
        });
        assert!(found.is_empty(), "left in freed memory: {found:?} of {length} characters");
    }
}

/// Much is derived in search of a reason, and all of it is as secret as the token.
#[test]
fn a_mismatch_leaves_no_secret_behind() {
    let vector = vector(IBKR, "ibkrdotnet-dh-signBitPadded");
    let login = WorkedLogin::read(&vector);
    let shared_secret = hex(vector["outputs"]["sharedSecretBytesHex"].as_str().unwrap());
    let text = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes();
    let planted = vec![
        ("the Diffie-Hellman secret", shared_secret[1..].to_vec()),
        ("the Diffie-Hellman secret as text", text(&shared_secret[1..])),
        ("the prepend", login.keys.prepend.clone()),
        ("the prepend as text", text(&login.keys.prepend)),
    ];
    let mut session = login.session();
    let outbound = login.poll(&mut session, NOW).unwrap();
    let body = login.body(None).replace(&login.proof, &"0".repeat(40)).into_bytes();
    let found = left_behind(planted, || {
        assert!(session.handle_response(outbound.exchange, &Response::new(200, &body), NOW).is_err());
    });
    assert!(found.is_empty(), "left in freed memory: {found:?}");
}

#[test]
fn a_decrypted_secret_is_gone_when_it_is_given_back() {
    use ibkr_oauth::ConsumerKeys;
    use rsa::pkcs8::DecodePrivateKey;
    let plaintext = b"an access token secret, decrypted";
    let key = rsa::PrivateKey::from_pkcs8_pem(support::ENCRYPTION_PEM).unwrap().to_public_key();
    let encrypted = key.pkcs1v15_encrypt_with_rng(&mut support::rng(1), plaintext).unwrap();
    let (keys, mut rng) = (support::keys(), support::rng(2));
    let found = left_behind(vec![("the decrypted secret", plaintext.to_vec())], || {
        drop(keys.decrypt_pkcs1v15(&encrypted, &mut rng).unwrap());
    });
    assert!(found.is_empty(), "left in freed memory: {found:?}");
}

/// Stored in the middle of a consent, and at its end.
#[cfg(feature = "serde")]
#[test]
fn no_token_of_a_stored_session_is_left_behind_when_it_is_resumed() {
    use base64::Engine;
    use ibkr_oauth::Snapshot;
    const REQUEST_TOKEN: &str = "b9082d68cfef06b030de";
    const VERIFIER: &str = "0ffb93ab9aa0d2177cc2";
    let login = WorkedLogin::any();
    let mut consenting = OAuthSession::new(login.consumer.clone());
    let exchange = support::poll(&mut consenting).exchange;
    support::answer(&mut consenting, exchange, &format!(r#"{{"oauth_token":"{REQUEST_TOKEN}"}}"#)).unwrap();
    consenting.handle_verifier(VERIFIER).unwrap();
    for session in [consenting, login.live_session(NOW)] {
        let stored = serde_json::to_string(session.snapshot().expose()).unwrap();
        let consumer = login.consumer.clone();
        let planted = vec![
            ("the request token", REQUEST_TOKEN.into()),
            ("the verifier", VERIFIER.into()),
            ("the access token", session.access_token().map_or(VERIFIER.into(), |token| token.token().into())),
            ("the proof", login.proof.clone().into_bytes()),
            ("the live session token", base64::engine::general_purpose::STANDARD.decode(&login.token).unwrap()),
        ];
        let found = left_behind(planted, || {
            let snapshot: Snapshot = serde_json::from_str(&stored).unwrap();
            let resumed = OAuthSession::resume(consumer, &snapshot, NOW).unwrap();
            drop(resumed.snapshot());
        });
        assert!(found.is_empty(), "left in freed memory: {found:?}");
    }
}

#[cfg(feature = "doctor")]
#[test]
fn the_doctor_leaves_nothing_of_a_secret_that_it_opened() {
    use base64::Engine;
    use ibkr_oauth::doctor::{Credentials, FindingKind, examine};
    use rsa::pkcs8::DecodePrivateKey;
    let plaintext = b"an access token secret, decrypted";
    let key = rsa::PrivateKey::from_pkcs8_pem(support::ENCRYPTION_PEM).unwrap().to_public_key();
    let encrypted = key.pkcs1v15_encrypt_with_rng(&mut support::rng(1), plaintext).unwrap();
    let encrypted = base64::engine::general_purpose::STANDARD.encode(encrypted);
    let credentials = Credentials {
        access_token: Some("a1b2c3d4e5f6a7b8c9d0"),
        access_token_secret: Some(&encrypted),
        encryption_key: Some(support::ENCRYPTION_PEM),
        ..Credentials::default()
    };
    let planted = vec![
        ("the decrypted secret", plaintext.to_vec()),
        ("the decrypted secret's limbs", limbs(plaintext)),
        ("the encrypted secret", encrypted[..24].into()),
    ];
    let mut rng = support::rng(2);
    let found = left_behind(planted, || assert!(examine(&credentials, &mut rng).has(FindingKind::SecretDecrypts)));
    assert!(found.is_empty(), "left in freed memory: {found:?}");
}
