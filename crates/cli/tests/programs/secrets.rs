//! What must not be said: everything in the files that is not public, and whatever looks like a secret of a login.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use rsa::pkcs8::DecodePrivateKey;
use rsa::{Pkcs1v15Encrypt, PrivateKey};
use serde_json::{Map, Value, json};

/// The shortest secrets are tokens of 20 digits; base64 of a live session token has 28.
const SECRET_LENGTH: usize = 20;
/// `cookie` is what a gateway says to whoever asks for it.
const PUBLIC_FIELDS: [&str; 5] = ["consumer_key", "realm", "base_url", "dhparam_pem", "cookie"];
const PUBLIC_FILES: [&str; 3] = ["public_signature.pem", "public_encryption.pem", "dhparam.pem"];
/// Names with which the protocol's secrets go over the wire: a value behind one of them is not for the eye.
const SECRET_NAMES: [&str; 8] = [
    "oauth_signature=",
    "oauth_token=",
    "oauth_verifier=",
    "diffie_hellman_",
    "live_session_token_signature",
    "Authorization:",
    "Cookie:",
    "PRIVATE KEY-----",
];
/// What stands before a fingerprint: the SHA-256 of something that is uploaded.
const FINGERPRINT_LABELS: [&str; 4] =
    ["the public signature key:", "the public encryption key:", "the Diffie-Hellman parameters:", r#""sha256":""#];
/// What stands before a value of the server's, which is said to whoever asks for it.
const ANSWER_LABELS: [&str; 2] = [r#""session":""#, r#""sessionId":""#];

/// What must not be said, in every form in which it could be.
#[derive(Default)]
pub struct Secrets(BTreeSet<String>);

impl Secrets {
    pub fn read_all(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.file_name().unwrap().to_str().unwrap() {
                _ if path.is_dir() => self.read_all(&path),
                name if PUBLIC_FILES.contains(&name) || path.is_symlink() => {}
                _ => self.read(&String::from_utf8_lossy(&std::fs::read(&path).unwrap())),
            }
        }
    }

    fn read(&mut self, text: &str) {
        match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(fields) => {
                self.add_fields(&fields);
                self.add_prepend(&fields);
            }
            Err(_) => self.add(text),
        }
    }

    fn add_fields(&mut self, fields: &Map<String, Value>) {
        for (_, value) in fields.iter().filter(|(name, _)| !PUBLIC_FIELDS.contains(&name.as_str())) {
            match value {
                Value::String(text) => self.add(text),
                Value::Object(fields) => self.add_fields(fields),
                Value::Array(values) => {
                    values.iter().filter_map(Value::as_object).for_each(|fields| self.add_fields(fields))
                }
                _ => {}
            }
        }
    }

    /// Line by line, as it stands there and in hexadecimal.
    fn add(&mut self, text: &str) {
        let lines = text.split(['\n', '\r', '\\']).filter(|line| line.len() >= SECRET_LENGTH);
        for line in lines.filter(|line| !line.starts_with("--") && !line.contains([' ', ':'])) {
            self.0.insert(line.to_owned());
            self.0.extend(BASE64.decode(line).ok().map(|bytes| hex(&bytes)));
        }
    }

    /// What the access token secret decrypts to.
    fn add_prepend(&mut self, fields: &Map<String, Value>) {
        let field = |name: &str| fields.get(name).and_then(Value::as_str);
        let key = field("private_encryption_pem").and_then(|pem| PrivateKey::from_pkcs8_pem(pem).ok());
        let secret = field("access_token_secret").and_then(|secret| BASE64.decode(secret).ok());
        if let (Some(key), Some(secret)) = (key, secret) {
            // With another's key, anything may come out, nothing at all too.
            let prepend = key.decrypt(Pkcs1v15Encrypt, &secret).ok().filter(|prepend| prepend.len() >= SECRET_LENGTH);
            self.0.extend(prepend.iter().flat_map(|prepend| [hex(prepend), BASE64.encode(prepend)]));
        }
    }

    pub fn are_not_in(&self, said: &str) {
        for secret in &self.0 {
            assert!(!said.contains(secret), "{secret} is said:\n{said}");
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// For secrets that are in no file: no value of the protocol's, and nothing as long as a token that has digits in it, but
/// fingerprints and the server's address.
pub fn looks_harmless(said: &str) {
    for name in SECRET_NAMES {
        assert!(!said.contains(name), "{name} is said:\n{said}");
    }
    let mut place = 0;
    let is_part = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    for run in said.split_inclusive(|c: char| !is_part(c)) {
        let word = run.trim_end_matches(|c: char| !is_part(c));
        let before = said[..place].trim_end();
        let is_fingerprint = word.len() == 64 && FINGERPRINT_LABELS.iter().any(|label| before.ends_with(label));
        let is_answer = ANSWER_LABELS.iter().any(|label| before.ends_with(label));
        let is_known = is_fingerprint || is_answer || word.contains("/api/") || word.contains("/iserver/");
        let is_suspicious = word.len() >= SECRET_LENGTH && word.contains(|c: char| c.is_ascii_digit());
        assert!(!is_suspicious || is_known, "{word} is said:\n{said}");
        place += run.len();
    }
}

fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

#[test]
fn what_would_be_a_secret_is_found() {
    let mut secrets = Secrets::default();
    let fields = json!({ "consumer_key": "EXAMPLECONSUMERKEY20", "access_token": "a1b2c3d4e5f6a7b8c9d0" });
    secrets.read(&fields.to_string());
    secrets.read("-----BEGIN PRIVATE KEY-----\nTUlJRXZnSUJBREFOQmdrcWhraUc5dzBCQVE=\n-----END PRIVATE KEY-----\n");
    let is_found = |shown: &str| catch_unwind(|| secrets.are_not_in(shown)).is_err();
    assert!(is_found("token a1b2c3d4e5f6a7b8c9d0!") && is_found(&hex(b"MIIEvgIBADANBgkqhkiG9w0BAQ")));
    assert!(!is_found("-----BEGIN PRIVATE KEY-----") && !is_found("EXAMPLECONSUMERKEY20"));
    let fingerprint = "b57cf781ec61e75d8a733c583f31afc229458d7f01e4e7207ea86bfa1a8ff5fd";
    for shown in [
        "a live session token: FyGuRn3pYBTgoUbmDUQ3LgGPnHg=",
        "a token: a1b2c3d4e5f6a7b8c9d0",
        "OAuth oauth_signature=",
        "?oauth_token=1",
        &format!("the prepend: {fingerprint}"),
    ] {
        assert!(catch_unwind(|| looks_harmless(shown)).is_err(), "{shown}");
    }
    looks_harmless(&format!(
        "SHA-256 of the Diffie-Hellman parameters:\n  {fingerprint}\nhttps://h/v1/api/oauth/live_session_token"
    ));
}
