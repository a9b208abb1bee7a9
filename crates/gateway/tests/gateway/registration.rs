//! What can be registered: material that is sound, under names that can be.

use ibkr_oauth_gateway::{Gateway, GatewayError, RegisteredConsumer};

use crate::client::{dhparam_pem, registration};

/// A change to a registration that was fine.
type Spoil = fn(&mut RegisteredConsumer);

fn register(spoil: Spoil) -> Result<(), GatewayError> {
    let mut consumer = registration("TRADINGCO", Some("https://trader.example/back"));
    spoil(&mut consumer);
    Gateway::new("http://h/v1/api").unwrap().register_consumer(&consumer)
}

#[test]
fn unsound_material_is_rejected_by_name() {
    let cases: [(Spoil, GatewayError); 9] = [
        (|c| c.consumer_key.clear(), GatewayError::ConsumerKey),
        (|c| c.consumer_key = "tradingco".into(), GatewayError::ConsumerKey),
        (|c| c.callback_url = Some("localhost".into()), GatewayError::CallbackUrl),
        (|c| c.callback_url = Some("https://a b".into()), GatewayError::CallbackUrl),
        (|c| c.signature_public_key_pem = c.dhparam_pem.clone(), GatewayError::SignatureKey),
        (|c| c.encryption_public_key_pem.truncate(200), GatewayError::EncryptionKey),
        (|c| c.dhparam_pem = c.signature_public_key_pem.clone(), GatewayError::DhParams),
        // Small, and one of them even.
        (|c| c.dhparam_pem = dhparam_pem(&[13], &[2]), GatewayError::DhParams),
        (|c| c.dhparam_pem = dhparam_pem(&[12], &[2]), GatewayError::DhParams),
    ];
    for (spoil, error) in cases {
        assert_eq!(register(spoil), Err(error));
    }
    assert_eq!(register(|_| ()), Ok(()));
    assert_eq!(register(|c| c.callback_url = None), Ok(()));
}
