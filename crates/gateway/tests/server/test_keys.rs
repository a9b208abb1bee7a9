//! Keys for tests are keys that IBKR would take.

use std::collections::BTreeSet;

use base64::prelude::{BASE64_STANDARD, Engine};
use ibkr_oauth_gateway::{AccountKind, Gateway, TestKeys, User};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rsa::pkcs8::{DecodePrivateKey, EncodePublicKey, LineEnding};
use rsa::{Pkcs1v15Encrypt, PrivateKey};

#[test]
fn a_consumer_with_generated_keys_can_be_registered_and_read_its_secret() {
    let keys = TestKeys::generate().unwrap();
    let mut gateway = Gateway::new("http://127.0.0.1:4000/v1/api").unwrap();
    let registration = keys.registration("MYCONSKEY", Some("http://localhost:20000/"));
    assert_eq!(registration.callback_url.as_deref(), Some("http://localhost:20000/"));
    gateway.register_consumer(&registration).unwrap();
    gateway.add_user(User { name: "demo".into(), accounts: Vec::new(), kind: AccountKind::Paper });
    let issued = gateway.issue_access_token("MYCONSKEY", "demo", &mut StdRng::seed_from_u64(1)).unwrap();
    let [signature, encryption] =
        [&keys.private_signature_pem, &keys.private_encryption_pem].map(|pem| PrivateKey::from_pkcs8_pem(pem).unwrap());
    let secret = encryption.decrypt(Pkcs1v15Encrypt, &BASE64_STANDARD.decode(issued.secret_base64).unwrap());
    assert_eq!(secret.unwrap().len(), 32);
    let public = |key: &PrivateKey| key.to_public_key().to_public_key_pem(LineEnding::LF).unwrap();
    assert_eq!([public(&signature), public(&encryption)], [keys.public_signature_pem, keys.public_encryption_pem]);
}

#[test]
fn no_two_generated_keys_are_the_same_and_none_is_shown() {
    let [first, second] = [(); 2].map(|()| TestKeys::generate().unwrap());
    assert_eq!(format!("{first:?}"), "TestKeys { .. }");
    let keys = [first, second].map(|keys| [keys.private_signature_pem, keys.private_encryption_pem]);
    assert_eq!(keys.into_iter().flatten().collect::<BTreeSet<_>>().len(), 4);
}
