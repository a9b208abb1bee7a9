//! HMAC (RFC 2104), written out: the client takes the `hmac` crate's word, so this side must not.

use sha1::Digest;
use sha1::digest::Output;

/// The block length of both SHA-1 and SHA-256, in bytes.
const BLOCK: usize = 64;

/// The code that `key` puts on `message`.
pub(super) fn hmac<D: Digest>(key: &[u8], message: &[u8]) -> Output<D> {
    let hashed = D::digest(key);
    let key = if key.len() > BLOCK { hashed.as_slice() } else { key };
    let mut block = [0_u8; BLOCK];
    for (byte, key_byte) in block.iter_mut().zip(key) {
        *byte = *key_byte;
    }
    let inner = D::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    D::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base16ct::HexDisplay;
    use sha1::Sha1;
    use sha2::Sha256;
    use std::format;

    #[test]
    fn agrees_with_the_rfc_examples() {
        let short = hmac::<Sha1>(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(format!("{:x}", HexDisplay(&short)), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        let long = hmac::<Sha256>(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        let expected = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        assert_eq!(format!("{:x}", HexDisplay(&long)), expected);
    }

    #[test]
    fn agrees_with_the_client_s_library_for_keys_around_a_block() {
        use ::hmac::{Hmac, KeyInit, Mac};
        for length in BLOCK - 1..=BLOCK + 1 {
            let key = [0x5a; BLOCK + 1];
            let library = Hmac::<Sha256>::new_from_slice(&key[..length]).unwrap().chain_update(b"message");
            assert_eq!(hmac::<Sha256>(&key[..length], b"message"), library.finalize().into_bytes());
        }
    }
}
