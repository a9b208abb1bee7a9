//! A live session token that does not match: each known mistake is named, and none of them gets a session live.

mod support;

use hmac::{Hmac, KeyInit, Mac};
use ibkr_oauth::{Consumer, DhParams, Error, Mismatch, OAuthSession, Phase, Response};
use sha1::Sha1;
use support::vectors::{IBKR, vector};
use support::{NOW, WorkedLogin, hex};

fn hmac_sha1(key: &[u8], message: &[u8]) -> Vec<u8> {
    Hmac::<Sha1>::new_from_slice(key).unwrap().chain_update(message).finalize().into_bytes().to_vec()
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The worked login whose secret needs the sign byte, or one whose secret is short.
struct Case {
    login: WorkedLogin,
    /// As Java writes it.
    secret: Vec<u8>,
}

impl Case {
    fn new(id: &str, secret: &str) -> Self {
        let vector = vector(IBKR, id);
        Self { login: WorkedLogin::read(&vector), secret: hex(vector["outputs"][secret].as_str().unwrap()) }
    }

    fn with_sign_byte() -> Self {
        Self::new("ibkrdotnet-dh-signBitPadded", "sharedSecretBytesHex")
    }

    fn short() -> Self {
        Self::new("synthetic-k-2039-bits", "sharedSecretHex")
    }

    fn prepend(&self) -> &[u8] {
        &self.login.keys.prepend
    }

    /// What the session makes of a server that has derived the token from `key` and `message` and proves it for
    /// `consumer_key`.
    fn mismatch(&self, key: &[u8], message: &[u8], consumer_key: &str) -> Mismatch {
        let proof = hmac_sha1(&hmac_sha1(key, message), consumer_key.as_bytes());
        self.mismatch_of(self.login.session(), &text(&proof))
    }

    fn mismatch_of(&self, mut session: OAuthSession, proof: &str) -> Mismatch {
        let exchange = self.login.poll(&mut session, NOW).unwrap().exchange;
        let body = format!(
            r#"{{"diffie_hellman_response":"{}","live_session_token_signature":"{proof}"}}"#,
            self.login.response
        );
        let error = session.handle_response(exchange, &Response::new(200, body.as_bytes()), NOW).unwrap_err();
        assert_eq!(session.phase(NOW), Phase::AccessToken, "an explained mismatch is a mismatch");
        match error {
            Error::LiveSessionMismatch(mismatch) => mismatch,
            other => panic!("{other}"),
        }
    }
}

#[test]
fn every_known_wrong_derivation_is_named() {
    let case = Case::with_sign_byte();
    let (key, prepend) = (case.secret.as_slice(), case.prepend());
    assert_eq!(key[0], 0);
    let (response, challenge) = (hex(&case.login.response), hex(&case.login.challenge));
    let encrypted = b"secret"; // what `support::access_token` holds, in base64
    for (mismatch, key, message) in [
        (Mismatch::SignByteLeftOut, &key[1..], prepend),
        (Mismatch::SecretAsText, text(&key[1..]).as_bytes(), prepend),
        (Mismatch::PrependAsText, key, text(prepend).as_bytes()),
        (Mismatch::SecretStillEncrypted, key, encrypted),
        (Mismatch::ResponseInPlaceOfSecret, &response, prepend),
        (Mismatch::ChallengeInPlaceOfSecret, &challenge, prepend),
    ] {
        assert_eq!(case.mismatch(key, message, "TESTCONS"), mismatch);
    }
    assert_eq!(case.mismatch(key, prepend, "testcons"), Mismatch::ConsumerKeyInLowerCase);
    assert_eq!(case.mismatch(key, prepend, "TESTCONZ"), Mismatch::Unexplained);
    assert_eq!(case.mismatch(&key[2..], prepend, "TESTCONS"), Mismatch::Unexplained);
}

#[test]
fn a_padded_secret_is_told_from_a_short_one() {
    let case = Case::short();
    let padded = [&[0; 1][..], &case.secret].concat();
    assert_eq!((case.secret.len(), padded.len()), (255, 256));
    assert_eq!(case.mismatch(&padded, case.prepend(), "TESTCONS"), Mismatch::SecretPadded);
}

#[test]
fn a_consumer_key_given_in_lower_case_is_named() {
    let mut case = Case::with_sign_byte();
    let WorkedLogin { keys, dh, .. } = case.login.clone();
    case.login.consumer = Consumer::builder("myconskey", keys, dh).build().unwrap();
    let proof = hmac_sha1(&hmac_sha1(&case.secret, case.prepend()), b"MYCONSKEY");
    let session = case.login.session();
    assert_eq!(case.mismatch_of(session, &text(&proof)), Mismatch::ConsumerKeyInUpperCase);
}

/// IBKR computes with 2 whatever the parameters name, but who else answers may compute with what they name.
#[test]
fn a_generator_other_than_2_is_named_where_nothing_else_is_known() {
    let mut case = Case::with_sign_byte();
    let prime = vector(IBKR, &case.login.id)["inputs"]["primeHex"].as_str().unwrap().to_string();
    let keys = case.login.keys.clone();
    case.login.consumer = Consumer::builder("TESTCONS", keys, DhParams::from_hex(&prime, 5).unwrap()).build().unwrap();
    let (key, prepend) = (case.secret.as_slice(), case.prepend());
    assert_eq!(case.mismatch(&key[2..], prepend, "TESTCONS"), Mismatch::OtherGenerator);
    assert_eq!(case.mismatch(&key[1..], prepend, "TESTCONS"), Mismatch::SignByteLeftOut, "what is proved goes first");
    let message = Error::LiveSessionMismatch(Mismatch::OtherGenerator).to_string();
    for part in ["another generator than 2", "nothing has to be uploaded again", "the newest one"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[test]
fn what_remains_is_said_where_nothing_is_known() {
    let message = Error::LiveSessionMismatch(Mismatch::Unexplained).to_string();
    for part in ["Diffie-Hellman parameters", "encryption key", "newest", "on their way"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}
