//! What can be registered: material that is sound, under names that can be.

use ibkr_oauth::gateway::{Gateway, GatewayError, RegisteredConsumer};

const SIGNATURE: &str = include_str!("../keys/public_signature.pem");
const ENCRYPTION: &str = include_str!("../keys/public_encryption.pem");
const DHPARAM: &str = include_str!("../keys/dhparam.pem");

/// A change to a registration that was fine.
type Spoil = fn(&mut RegisteredConsumer);

fn register(spoil: Spoil) -> Result<(), GatewayError> {
    let mut consumer = RegisteredConsumer {
        consumer_key: "TRADINGCO".into(),
        signature_public_key_pem: SIGNATURE.into(),
        encryption_public_key_pem: ENCRYPTION.into(),
        dhparam_pem: DHPARAM.into(),
        callback_url: Some("https://trader.example/back".into()),
    };
    spoil(&mut consumer);
    Gateway::new("http://h/v1/api").unwrap().register_consumer(&consumer)
}

/// `SEQUENCE { INTEGER 13 or 12, INTEGER 2 }`: small, and one of them even.
fn tiny_group(prime: u8) -> String {
    let der = [0x30, 6, 2, 1, prime, 2, 1, 2];
    der::pem::encode_string("DH PARAMETERS", der::pem::LineEnding::LF, &der).unwrap()
}

#[test]
fn unsound_material_is_refused_by_name() {
    let cases: [(Spoil, GatewayError); 9] = [
        (|c| c.consumer_key.clear(), GatewayError::ConsumerKey),
        (|c| c.consumer_key = "tradingco".into(), GatewayError::ConsumerKey),
        (|c| c.callback_url = Some("localhost".into()), GatewayError::CallbackUrl),
        (|c| c.callback_url = Some("https://a b".into()), GatewayError::CallbackUrl),
        (|c| c.signature_public_key_pem = DHPARAM.into(), GatewayError::SignatureKey),
        (|c| c.encryption_public_key_pem = SIGNATURE[..200].into(), GatewayError::EncryptionKey),
        (|c| c.dhparam_pem = SIGNATURE.into(), GatewayError::DhParameters),
        (|c| c.dhparam_pem = tiny_group(13), GatewayError::DhParameters),
        (|c| c.dhparam_pem = tiny_group(12), GatewayError::DhParameters),
    ];
    for (spoil, error) in cases {
        assert_eq!(register(spoil), Err(error));
    }
    assert_eq!(register(|_| ()), Ok(()));
    assert_eq!(register(|c| c.callback_url = None), Ok(()));
}
