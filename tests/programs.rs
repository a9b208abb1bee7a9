//! Nothing that the examples print holds a secret, whether all goes well or nothing does: neither what stands in the files
//! that they read and write, nor anything that looks like a secret of a login.
//!
//! They are run as users run them, from where `cargo test` builds them.

#[path = "support/credentials.rs"]
mod credentials;
mod support;
#[path = "support/workplace.rs"]
mod workplace;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use credentials::Credentials;
use ibkr_oauth::{ConsumerKeys, RsaKeys, RsaPrivateKey};
use ibkr_oauth_gateway::{LiveSessionTokens, Server};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use serde_json::{Map, Value, json};
use workplace::Workplace;

/// The shortest secrets are tokens of 20 digits; base64 of a live session token has 28.
const SECRET_LENGTH: usize = 20;
/// What credentials and stored sessions have that anybody may know.
const PUBLIC_FIELDS: [&str; 4] = ["consumer_key", "realm", "base_url", "dhparam_pem"];
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

impl Workplace {
    /// A gateway, and the credentials of a first party in `credentials.json`.
    fn start_gateway(&self) -> Server {
        let server = Server::bind("127.0.0.1:0").unwrap();
        Credentials::first_party(&mut server.gateway(), "EXAMPLECO").write_new(self.file("credentials.json").as_ref());
        server
    }

    /// Nothing that was printed is in the files, or looks as if it should be.
    fn is_silent(&self) {
        let mut secrets = Secrets::default();
        secrets.read_all(&self.0.join("files"));
        let printed = fs::read_dir(self.0.join("printed")).unwrap();
        let printed: String = printed.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        // Where the files are is no secret, whatever the folder is called.
        let printed = printed.replace(self.0.to_str().unwrap(), "");
        assert!(!printed.is_empty(), "nothing was printed");
        secrets.are_not_in(&printed);
        looks_harmless(&printed);
    }
}

/// What must not be printed, in every form in which it could be.
#[derive(Default)]
struct Secrets(BTreeSet<String>);

impl Secrets {
    fn read_all(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.file_name().unwrap().to_str().unwrap() {
                _ if path.is_dir() => self.read_all(&path),
                name if PUBLIC_FILES.contains(&name) => {}
                _ => self.read(&String::from_utf8_lossy(&fs::read(&path).unwrap())),
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
                _ => {}
            }
        }
    }

    /// Line by line, as it stands there and in hexadecimal.
    fn add(&mut self, text: &str) {
        let lines =
            text.split(['\n', '\r', '\\']).filter(|line| line.len() >= SECRET_LENGTH && !line.starts_with("--"));
        for line in lines {
            self.0.insert(line.to_string());
            self.0.extend(BASE64.decode(line).ok().map(|bytes| hex_text(&bytes)));
        }
    }

    /// What the access token secret decrypts to.
    fn add_prepend(&mut self, fields: &Map<String, Value>) {
        let field = |name: &str| fields.get(name).and_then(Value::as_str);
        let key = field("private_encryption_pem").and_then(|pem| RsaPrivateKey::from_pem(pem).ok());
        let secret = field("access_token_secret").and_then(|secret| BASE64.decode(secret).ok());
        if let (Some(key), Some(secret)) = (key, secret) {
            let keys = RsaKeys::new(key.clone(), key);
            // With another's key, anything may come out, nothing at all too.
            let prepend = keys.decrypt_pkcs1v15(&secret, &mut UnwrapErr(SysRng)).ok();
            let prepend = prepend.filter(|prepend| prepend.expose().len() >= SECRET_LENGTH);
            self.0.extend(
                prepend.iter().flat_map(|prepend| [hex_text(prepend.expose()), BASE64.encode(prepend.expose())]),
            );
        }
    }

    fn are_not_in(&self, printed: &str) {
        for secret in &self.0 {
            assert!(!printed.contains(secret), "{secret} is printed:\n{printed}");
        }
    }
}

/// For secrets that are in no file: no value of the protocol's, and nothing as long as a token that has digits in it, but
/// fingerprints and the server's address.
fn looks_harmless(printed: &str) {
    for name in SECRET_NAMES {
        assert!(!printed.contains(name), "{name} is printed:\n{printed}");
    }
    let mut place = 0;
    for run in printed.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c))) {
        let word = run.trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c)));
        let before = printed[..place].trim_end();
        let is_fingerprint = word.len() == 64 && FINGERPRINT_LABELS.iter().any(|label| before.ends_with(label));
        let is_address = word.contains("/api/");
        let is_suspicious = word.len() >= SECRET_LENGTH && word.contains(|c: char| c.is_ascii_digit()) && !is_address;
        assert!(!is_suspicious || is_fingerprint, "{word} is printed:\n{printed}");
        place += run.len();
    }
}

fn hex_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_would_be_a_secret_is_found() {
    let mut secrets = Secrets::default();
    secrets.read(r#"{"consumer_key":"EXAMPLECONSUMERKEY20","access_token":"a1b2c3d4e5f6a7b8c9d0"}"#);
    secrets.read("-----BEGIN PRIVATE KEY-----\nTUlJRXZnSUJBREFOQmdrcWhraUc5dzBCQVE=\n-----END PRIVATE KEY-----\n");
    let is_found = |shown: &str| std::panic::catch_unwind(|| secrets.are_not_in(shown)).is_err();
    assert!(is_found("token a1b2c3d4e5f6a7b8c9d0!") && is_found(&hex_text(b"MIIEvgIBADANBgkqhkiG9w0BAQ")));
    assert!(!is_found("-----BEGIN PRIVATE KEY-----") && !is_found("EXAMPLECONSUMERKEY20"));
    let fingerprint = "b57cf781ec61e75d8a733c583f31afc229458d7f01e4e7207ea86bfa1a8ff5fd";
    for shown in [
        "a live session token: FyGuRn3pYBTgoUbmDUQ3LgGPnHg=",
        "a token: a1b2c3d4e5f6a7b8c9d0",
        "OAuth oauth_signature=",
        "?oauth_token=1",
        &format!("the prepend: {fingerprint}"),
    ] {
        assert!(std::panic::catch_unwind(|| looks_harmless(shown)).is_err(), "{shown}");
    }
    looks_harmless(&format!(
        "SHA-256 of the Diffie-Hellman parameters:\n  {fingerprint}\nhttps://h/v1/api/oauth/live_session_token"
    ));
}

#[test]
fn programs_on_their_own_print_no_secret() {
    let workplace = Workplace::new("own");
    for (program, arguments, words) in [
        ("quickstart", &[][..], "Both logins are live"),
        ("login", &[], "DU1234567"),
        ("async", &[], "at the same time: 50"),
        ("event_loop", &[], "DU1234567"),
        ("websocket", &[], "contract 265598: last"),
        ("keep_alive", &[], "Three days, and still logged in"),
        ("resume", &[], "One login served four jobs"),
        ("many_sessions", &["--sessions", "3", "--minutes", "2"], "3 sessions are live"),
    ] {
        let printed = workplace.run(program, arguments);
        assert!(printed.contains(words), "{program} {arguments:?}: {printed}");
    }
    workplace.is_silent();
}

#[test]
fn programs_with_credentials_print_nothing_of_them() {
    let workplace = Workplace::new("credentials");
    let server = workplace.start_gateway();
    server.gateway().set_live_session_tokens(LiveSessionTokens::Several);
    let (credentials, base_url) = (workplace.file("credentials.json"), server.base_url());
    let own = ["--credentials", &credentials, "--base-url", base_url];
    let endless = ["websocket", "keep_alive"].map(|program| workplace.start(program, &own));
    for (program, words) in [("login", "DU1234567"), ("async", "at the same time: 1"), ("event_loop", "DU1234567")] {
        let printed = workplace.run(program, &own);
        assert!(printed.contains(words), "{program}: {printed}");
    }
    for stored in ["no live session stored", "going on with the stored session"] {
        assert!(workplace.run("resume", &own).contains(stored));
    }
    assert!(workplace.read("credentials.json.session").contains("live_session"));
    endless[0].wait_for("contract 265598: last");
    endless[1].wait_for("the brokerage session is ready");
    workplace.is_silent();
}

#[test]
fn a_thousand_sessions_share_one_thread_and_one_timer_queue() {
    let workplace = Workplace::new("many");
    let printed = workplace.run("many_sessions", &[]);
    assert!(printed.contains("1000 sessions are live") && printed.contains("10 minutes later: 1000 are"), "{printed}");
    let bytes = printed.split_once("Memory: ").and_then(|(_, rest)| rest.split_once(" bytes for a session"));
    let bytes: usize = bytes.unwrap().0.parse().unwrap();
    assert!(bytes < 2500, "{bytes} bytes for a session");
    workplace.is_silent();
}

#[test]
fn what_is_missing_in_credentials_is_named() {
    let workplace = Workplace::new("missing");
    let names =
        ["consumer_key", "realm", "private_signature_pem", "private_encryption_pem", "dhparam_pem", "access_token"];
    let half: Map<String, Value> = names.map(|name| (name.to_owned(), json!("x"))).into_iter().collect();
    for (json, said) in [
        (&*Value::Object(half).to_string(), "credentials.json: missing field `access_token_secret`"),
        (r#"{"realm":"r"}"#, "credentials.json: missing field `consumer_key`"),
        (
            r#"{"consumer_key":"a1b2c3d4e5f6a7b8c9d0","realm":1}"#,
            "credentials.json is no JSON object of texts: see line 1",
        ),
        (r#""a1b2c3d4e5f6a7b8c9d0""#, "credentials.json is no JSON object of texts: see line 1"),
    ] {
        let file = workplace.write("credentials.json", json);
        let printed = workplace.run("login", &["--credentials", &file]);
        assert!(printed.contains(said), "{json}: {printed}");
    }
    workplace.is_silent();
}

#[test]
fn what_goes_wrong_is_told_without_secrets() {
    let workplace = Workplace::new("wrong");
    let _server = workplace.start_gateway();
    let whole: Value = serde_json::from_str(&workplace.read("credentials.json")).unwrap();
    let text = |name: &str| whole[name].as_str().unwrap().to_string();
    let half = |name: &str| text(name)[..text(name).len() / 2].to_string();
    let damaged = |name: &str, changes: &[(&str, String)]| {
        let mut credentials = whole.clone();
        changes.iter().for_each(|(field, value)| credentials[*field] = json!(value));
        workplace.write(name, &credentials.to_string())
    };
    let (signature, encryption) = ("private_signature_pem", "private_encryption_pem");
    let files = [
        damaged("swapped.json", &[(signature, text(encryption)), (encryption, text(signature))]),
        damaged("exchanged.json", &[("access_token", text("access_token_secret")), ("realm", text("access_token"))]),
        damaged("key.json", &[("consumer_key", text(signature))]),
        damaged("url.json", &[("base_url", text("access_token_secret"))]),
        damaged("escaped.json", &[(signature, text(signature).replace('\n', "\\n"))]),
        damaged("old.json", &[("access_token", "0".repeat(20))]),
        damaged("half-secret.json", &[("access_token_secret", half("access_token_secret"))]),
        damaged("half-key.json", &[(encryption, half(encryption))]),
        workplace.write("half.json", &workplace.read("credentials.json")[..2000]),
        workplace.write("private_signature.pem", whole["private_signature_pem"].as_str().unwrap()),
    ];
    let mut failures = 0;
    for file in &files {
        failures += usize::from(workplace.run("login", &["--credentials", file]).contains("Not logged in"));
    }
    assert_eq!(failures, files.len());
    let half_secret = workplace.run("login", &["--credentials", &files[6]]);
    assert!(half_secret.contains("error SecretTruncated") && half_secret.contains("mend them first"), "{half_secret}");
    let half_key = workplace.run("login", &["--credentials", &files[7]]);
    assert!(half_key.contains("error CutOff"), "{half_key}");
    workplace.run("login", &["--credentials", &workplace.file("credentials.json"), "--base-url", "http://127.0.0.1:1"]);
    workplace.run("login", &["--nonsense"]);
    workplace.write("damaged.session", r#"{"version":1,"access_token":{"token":""#);
    let stored = ["--credentials", &workplace.file("credentials.json"), "--store", &workplace.file("damaged.session")];
    assert!(workplace.run("resume", &stored).contains("cannot be read"));
    workplace.is_silent();
}
