//! Signing, decryption, PEM and the key agreement against the OpenSSL command line, with keys made on the spot.
//!
//! Where there is no `openssl`, these tests say so and pass.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ibkr_oauth::{Consumer, ConsumerKeys, DhParams, KeyError, RsaKeys, RsaPrivateKey};
use support::rng;

/// A folder of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ibkr-oauth-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, file: &str) -> String {
        self.0.join(file).to_str().unwrap().to_string()
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.join(file)).unwrap()
    }

    fn write(&self, file: &str, bytes: &[u8]) -> String {
        std::fs::write(self.0.join(file), bytes).unwrap();
        self.path(file)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn openssl_is_missing() -> bool {
    let missing = Command::new("openssl").arg("version").output().is_err();
    if missing {
        eprintln!("no openssl on this machine: nothing compared");
    }
    missing
}

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn make_key(folder: &Folder, name: &str, bits: &str) -> (String, RsaPrivateKey) {
    let path = folder.path(name);
    openssl(&["genrsa", "-out", &path, bits]);
    (path, RsaPrivateKey::from_pem(&folder.read(name)).unwrap())
}

#[test]
fn openssl_verifies_our_signatures_and_we_decrypt_what_it_encrypts() {
    if openssl_is_missing() {
        return;
    }
    let folder = Folder::new("rsa");
    for bits in ["2048", "4096"] {
        let (path, key) = make_key(&folder, &format!("{bits}.pem"), bits);
        let public = folder.path("public.pem");
        openssl(&["rsa", "-in", &path, "-pubout", "-out", &public]);
        let keys = RsaKeys::new(key.clone(), key);

        let message = folder.write("message", b"POST&https%3A%2F%2Fapi.ibkr.com");
        let signature = keys.sign_rsa_sha256(b"POST&https%3A%2F%2Fapi.ibkr.com", &mut rng(1)).unwrap();
        let signature = folder.write("signature", &signature);
        openssl(&["dgst", "-sha256", "-verify", &public, "-signature", &signature, &message]);

        let secret = folder.write("secret", &[0x90; 32]);
        let encrypted = openssl(&["pkeyutl", "-encrypt", "-pubin", "-inkey", &public, "-in", &secret]);
        let decrypted = keys.decrypt_pkcs1v15(&encrypted, &mut rng(1)).unwrap();
        assert_eq!(decrypted.expose(), &[0x90; 32]);
    }
}

#[test]
fn every_form_in_which_openssl_writes_a_private_key_is_read() {
    if openssl_is_missing() {
        return;
    }
    let folder = Folder::new("pem");
    let (path, _) = make_key(&folder, "pkcs8.pem", "2048");
    let traditional = folder.path("pkcs1.pem");
    openssl(&["rsa", "-in", &path, "-traditional", "-out", &traditional]);
    assert!(folder.read("pkcs1.pem").contains("BEGIN RSA PRIVATE KEY"));
    assert!(RsaPrivateKey::from_pem(&folder.read("pkcs1.pem")).is_ok());

    let der = folder.path("pkcs1.der");
    openssl(&["rsa", "-in", &path, "-traditional", "-outform", "DER", "-out", &der]);
    assert!(RsaPrivateKey::from_der(&std::fs::read(der).unwrap()).is_ok());
    let der = folder.path("pkcs8.der");
    openssl(&["pkcs8", "-topk8", "-nocrypt", "-in", &path, "-outform", "DER", "-out", &der]);
    assert!(RsaPrivateKey::from_der(&std::fs::read(der).unwrap()).is_ok());

    let legacy = folder.path("legacy.pem");
    openssl(&["rsa", "-in", &path, "-traditional", "-aes128", "-passout", "pass:x", "-out", &legacy]);
    assert_eq!(RsaPrivateKey::from_pem(&folder.read("legacy.pem")).unwrap_err(), KeyError::LegacyEncryption);
    let short = folder.path("short.pem");
    openssl(&["genrsa", "-out", &short, "1024"]);
    assert_eq!(RsaPrivateKey::from_pem(&folder.read("short.pem")).unwrap_err(), KeyError::RsaSize { bits: 1024 });
}

#[cfg(feature = "encrypted-keys")]
#[test]
fn every_passphrase_scheme_that_openssl_offers_today_is_opened() {
    if openssl_is_missing() {
        return;
    }
    let folder = Folder::new("passphrase");
    let (path, _) = make_key(&folder, "plain.pem", "2048");
    for scheme in [&["-v2", "aes-256-cbc"][..], &["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA256"], &["-scrypt"]] {
        let encrypted = folder.path("encrypted.pem");
        let arguments = ["pkcs8", "-topk8", "-in", &path, "-out", &encrypted, "-passout", "pass:secret"];
        openssl(&[&arguments[..], scheme].concat());
        let pem = folder.read("encrypted.pem");
        assert!(RsaPrivateKey::from_encrypted_pem(&pem, b"secret").is_ok(), "{scheme:?}");
        assert_eq!(RsaPrivateKey::from_encrypted_pem(&pem, b"").unwrap_err(), KeyError::WrongPassphrase);
    }
}

/// OpenSSL plays the server: it makes its own key pair in our group and derives the secret and the token.
#[test]
fn openssl_and_we_agree_on_a_live_session_token() {
    if openssl_is_missing() {
        return;
    }
    let folder = Folder::new("dh");
    let dhparam = folder.write("dhparam.pem", support::DHPARAM_PEM.as_bytes());
    let server = folder.path("server.pem");
    openssl(&["genpkey", "-paramfile", &dhparam, "-out", &server]);

    let mut login = support::WorkedLogin::any();
    login.consumer = Consumer::builder("TESTCONS", login.keys.clone(), support::dh()).build().unwrap();
    for attempt in 0..8 {
        let mut session = login.session();
        let outbound = session.poll_request(&mut rng(attempt), support::NOW).unwrap().unwrap();
        let challenge = support::parameter(&outbound.request, "diffie_hellman_challenge").unwrap();
        let peer = public_key(&folder, &dhparam, challenge);
        let mut secret = openssl(&["pkeyutl", "-derive", "-inkey", &server, "-peerkey", &peer]);
        secret.drain(..secret.iter().take_while(|byte| **byte == 0).count());
        if secret[0] >= 0x80 {
            secret.insert(0, 0);
        }
        let token = hmac_sha1(&folder, &secret, &login.keys.prepend);
        let proof = hmac_sha1(&folder, &token, b"TESTCONS");
        let body = serde_json::json!({
            "diffie_hellman_response": public_value(&server),
            "live_session_token_signature": base16(&proof),
        });
        let phase = support::answer(&mut session, outbound.exchange, &body.to_string());
        assert_eq!(phase, Ok(ibkr_oauth::Phase::LiveSession));
    }
}

/// Our challenge as a public key file that OpenSSL reads.
fn public_key(folder: &Folder, dhparam: &str, challenge: &str) -> String {
    let parameters = openssl(&["dhparam", "-in", dhparam, "-outform", "DER"]);
    let oid = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x03, 0x01];
    let algorithm = tlv(0x30, &[&oid[..], &parameters].concat());
    let value = support::hex(&format!("{challenge:0>514}"));
    let first = value.iter().position(|byte| *byte != 0).unwrap();
    let first = if value[first] >= 0x80 { first - 1 } else { first };
    let bits = tlv(0x03, &[&[0][..], &tlv(0x02, &value[first..])].concat());
    folder.write("peer.der", &tlv(0x30, &[algorithm, bits].concat()));
    let pem = folder.path("peer.pem");
    openssl(&["pkey", "-pubin", "-inform", "DER", "-in", &folder.path("peer.der"), "-out", &pem]);
    pem
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82, length[0], length[1]][..], content].concat()
}

/// The server's public value in hex, out of OpenSSL's text.
fn public_value(server: &str) -> String {
    let text = String::from_utf8(openssl(&["pkey", "-in", server, "-noout", "-text"])).unwrap();
    let value = text.split("public-key:").nth(1).unwrap().split("prime:").next().unwrap();
    let value = value.split("P:").next().unwrap();
    value.chars().filter(char::is_ascii_hexdigit).collect()
}

fn hmac_sha1(folder: &Folder, key: &[u8], message: &[u8]) -> Vec<u8> {
    let message = folder.write("mac-input", message);
    let key = format!("hexkey:{}", base16(key));
    openssl(&["dgst", "-sha1", "-mac", "HMAC", "-macopt", &key, "-binary", &message])
}

fn base16(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_form_in_which_openssl_writes_diffie_hellman_parameters_is_read() {
    if openssl_is_missing() {
        return;
    }
    let folder = Folder::new("dhparam");
    let dhparam = folder.write("dhparam.pem", support::DHPARAM_PEM.as_bytes());
    let der = openssl(&["dhparam", "-in", &dhparam, "-outform", "DER"]);
    assert!(DhParams::from_der(&der).is_ok());
    let text = String::from_utf8(openssl(&["dhparam", "-in", &dhparam, "-text"])).unwrap();
    assert!(DhParams::from_pem(&text).is_ok(), "-text writes the numbers before the block");
    // A length as private value, as `SEQUENCE { p, g, length }`.
    let content = &der[4..];
    let with_length = tlv(0x30, &[content, &[0x02, 0x02, 0x00, 0xe1]].concat());
    assert!(DhParams::from_der(&with_length).is_ok());
    let pem = format!("-----BEGIN DH PARAMETERS-----\n{}\n-----END DH PARAMETERS-----", STANDARD.encode(&with_length));
    assert!(DhParams::from_pem(&pem).is_ok());
    let standard = openssl(&["genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:modp_2048"]);
    assert!(Path::new(&dhparam).exists());
    assert!(DhParams::from_pem(&String::from_utf8(standard).unwrap()).is_ok());
}
