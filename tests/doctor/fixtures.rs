//! Keys, secrets and numbers to make credentials of.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use crypto_bigint::BoxedUint;
use crypto_primes::{Flavor, random_prime};
use rsa::PrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};

use crate::support::{DHPARAM_PEM, ENCRYPTION_PEM, rng};

pub const PUBLIC_PEM: &str = include_str!("../keys/public_signature.pem");
pub const ENCRYPTED_PEM: &str = include_str!("../keys/private_signature.encrypted.pem");
pub const PASSPHRASE: &str = "for the tests only";
pub const TOKEN: &str = "a1b2c3d4e5f6a7b8c9d0";
/// What the secret decrypts to.
pub const PREPEND: &[u8; 32] = b"SENTINEL of thirty-two bytes ...";

/// A secret as IBKR makes them: 32 bytes encrypted to the encryption key.
pub fn secret() -> &'static str {
    static SECRET: OnceLock<String> = OnceLock::new();
    SECRET.get_or_init(|| secret_for(&PrivateKey::from_pkcs8_pem(ENCRYPTION_PEM).unwrap(), 7))
}

pub fn secret_for(key: &PrivateKey, seed: u64) -> String {
    BASE64.encode(key.to_public_key().pkcs1v15_encrypt_with_rng(&mut rng(seed), PREPEND).unwrap())
}

/// A secret with characters that transport may change, for both ways to write base64.
pub fn secret_with(needed: &[char]) -> String {
    let key = PrivateKey::from_pkcs8_pem(ENCRYPTION_PEM).unwrap();
    (1..).map(|seed| secret_for(&key, seed)).find(|secret| needed.iter().all(|c| secret.contains(*c))).unwrap()
}

pub struct OtherKeys {
    pub bits_1024: PrivateKey,
    pub bits_2048: PrivateKey,
    pub bits_3072: PrivateKey,
}

/// Made on the spot, always the same.
pub fn others() -> &'static OtherKeys {
    static KEYS: OnceLock<OtherKeys> = OnceLock::new();
    let make = |bits| PrivateKey::new_unchecked(&mut rng(1), bits).unwrap();
    KEYS.get_or_init(|| OtherKeys { bits_1024: make(1024), bits_2048: make(2048), bits_3072: make(3072) })
}

/// Of 8256 bits. That its factors are no primes is not looked at: its length comes first.
pub fn huge_key() -> String {
    let factor = |low: u8| {
        let bytes: Vec<u8> = (0..516).map(|at: u16| if at == 515 { low } else { 0xff - (at % 7) as u8 }).collect();
        BoxedUint::from_be_slice_vartime(&bytes)
    };
    pkcs8(&PrivateKey::from_p_q(factor(3), factor(7), BoxedUint::from(65_537_u32)).unwrap())
}

pub fn pkcs8(key: &PrivateKey) -> String {
    key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
}

pub fn pem(label: &str, der: &[u8]) -> String {
    der::pem::encode_string(label, LineEnding::LF, der).unwrap()
}

pub fn der(pem: &str) -> Vec<u8> {
    BASE64.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap()
}

pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82, length[0], length[1]], content].concat()
}

/// PKCS#8 of the form that holds an elliptic-curve key.
pub fn elliptic_curve_pem() -> String {
    let oid = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let curve = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let algorithm = [&[0x30, 19], &oid[..], &curve].concat();
    let content = [&[0x02, 1, 0], &algorithm[..], &[0x04, 2, 0x30, 0]].concat();
    pem("PRIVATE KEY", &[&[0x30, u8::try_from(content.len()).unwrap()], &content[..]].concat())
}

pub fn prime_hex() -> String {
    // `SEQUENCE { INTEGER of 257 bytes, ... }`: eight bytes of headers, one of sign.
    der(DHPARAM_PEM)[9..265].iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn dh_pem(prime: &[u8], generator: u8) -> String {
    pem("DH PARAMETERS", &tlv(0x30, &[tlv(0x02, prime), vec![0x02, 1, generator]].concat()))
}

pub fn unsafe_prime_hex() -> &'static str {
    static PRIME: OnceLock<String> = OnceLock::new();
    PRIME.get_or_init(|| {
        let prime: BoxedUint = random_prime(&mut rng(1), Flavor::Any, 2048);
        prime.to_be_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    })
}
