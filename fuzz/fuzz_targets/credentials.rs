//! Any bytes as PEM, DER, hex, base64, URL and header text. Invariants: no panic, bounded time; a value that is accepted
//! can be used: it signs, and what it is sent as stays on one line.
#![no_main]

use arbitrary::Arbitrary;
use ibkr_oauth::{AccessToken, Consumer, DhParams, OAuthSession, RsaPrivateKey};
use ibkr_oauth_fuzz::{FakeKeys, START, authorization, dh};
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;

#[derive(Arbitrary, Debug)]
enum Input {
    Pem(String),
    Der(Vec<u8>),
    Wrapped { label: u8, der: Vec<u8> },
    DhHex { prime: String, generator: u32 },
    Settings { key: String, realm: Option<String>, base_url: Option<String>, callback: Option<String>, agent: Option<String> },
    Token { token: String, secret: String },
}

fuzz_target!(|input: Input| match input {
    Input::Pem(text) => {
        let _ = RsaPrivateKey::from_pem(&text);
        let _ = RsaPrivateKey::from_encrypted_pem(&text, b"x");
        let _ = DhParams::from_pem(&text);
    }
    Input::Der(der) => {
        let _ = RsaPrivateKey::from_der(&der);
        let _ = DhParams::from_der(&der);
    }
    Input::Wrapped { label, der } => {
        use base64::Engine;
        let labels = ["PRIVATE KEY", "RSA PRIVATE KEY", "DH PARAMETERS", "PUBLIC KEY"];
        let label = labels[usize::from(label) % labels.len()];
        let body = base64::prelude::BASE64_STANDARD.encode(der);
        let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        let _ = RsaPrivateKey::from_pem(&pem);
        let _ = DhParams::from_pem(&pem);
    }
    Input::DhHex { prime, generator } => drop(DhParams::from_hex(&prime, generator)),
    Input::Settings { key, realm, base_url, callback, agent } => {
        let mut builder = Consumer::builder(&key, FakeKeys, dh());
        builder = realm.iter().fold(builder, |builder, realm| builder.realm(realm));
        builder = base_url.iter().fold(builder, |builder, url| builder.base_url(url));
        builder = callback.iter().fold(builder, |builder, url| builder.callback_url(url));
        builder = agent.iter().fold(builder, |builder, agent| builder.user_agent(agent));
        if let Ok(consumer) = builder.build() {
            let mut session = OAuthSession::new(consumer);
            let request = session.poll_request(&mut StdRng::seed_from_u64(1), START).unwrap().unwrap().request;
            assert!(request.headers().all(|(_, value)| value.bytes().all(|byte| (b' '..=b'~').contains(&byte))));
            assert!(request.url().bytes().all(|byte| byte.is_ascii_graphic()) && request.path().starts_with('/'));
            // Realm and six parameters, each in its quotes.
            assert_eq!(authorization(&request).matches('"').count(), 14, "{}", authorization(&request));
        }
    }
    Input::Token { token, secret } => {
        if let Ok(access_token) = AccessToken::new(&token, &secret) {
            let again = AccessToken::new(access_token.token(), access_token.secret().expose());
            assert_eq!(again.as_ref(), Ok(&access_token), "what is stored can be read");
        }
    }
});
