//! The keys of a consumer, made here.

use der::Encode;
use der::asn1::UintRef;
use der::pem::{self, LineEnding};
use rsa::PrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey};
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};
use crate::surroundings::rng;

pub const SIGNATURE: &str = "private_signature.pem";
pub const ENCRYPTION: &str = "private_encryption.pem";
pub const PUBLIC_SIGNATURE: &str = "public_signature.pem";
pub const PUBLIC_ENCRYPTION: &str = "public_encryption.pem";
pub const DHPARAM: &str = "dhparam.pem";

/// What the self-service portal asks for.
const BITS: usize = 2048;

/// The 2048-bit MODP group (RFC 3526, group 14): a prime that need not be searched for.
const GROUP_14: &str = "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd\
    ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed\
    ee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f\
    83655d23dca3ad961c62f356208552bb9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3b\
    e39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf6955817183995497cea956ae515d2261898fa0510\
    15728e5a8aacaa68ffffffffffffffff";

/// A consumer's two private keys.
pub struct Keys {
    pub signature: PrivateKey,
    pub encryption: PrivateKey,
}

impl Keys {
    /// Two fresh RSA keys. Takes seconds.
    pub fn generate() -> Result<Self, Failure> {
        let key = || PrivateKey::new(&mut rng(), BITS).map_err(|error| Failure::file("cannot make an RSA key", &error));
        Ok(Self { signature: key()?, encryption: key()? })
    }

    /// `None` if one of them is no private key.
    pub fn from_pem(signature: &str, encryption: &str) -> Option<Self> {
        let key = |pem| PrivateKey::from_pkcs8_pem(pem).ok();
        Some(Self { signature: key(signature)?, encryption: key(encryption)? })
    }
}

/// PKCS#8, as OpenSSL 3 writes private keys.
pub fn private_pem(key: &PrivateKey) -> Result<Zeroizing<String>, Failure> {
    key.to_pkcs8_pem(LineEnding::LF).map_err(|error| unwritable(&error))
}

/// What `openssl rsa -pubout` would write.
pub fn public_pem(key: &PrivateKey) -> Result<String, Failure> {
    key.to_public_key().to_public_key_pem(LineEnding::LF).map_err(|error| unwritable(&error))
}

/// What `openssl dhparam` would write: `SEQUENCE { prime, generator }`, the generator being 2.
pub fn dhparam_pem(prime: &[u8]) -> Result<String, Failure> {
    let encoded = || {
        let parameters = [UintRef::new(prime)?, UintRef::new(&[2])?];
        pem::encode_string("DH PARAMETERS", LineEnding::LF, &parameters.to_vec().to_der()?).map_err(der::Error::from)
    };
    encoded().map_err(|error| unwritable(&error))
}

/// The prime of the 2048-bit MODP group, big-endian.
pub fn group_14() -> Result<Vec<u8>, Failure> {
    base16ct::lower::decode_vec(GROUP_14).map_err(|error| unwritable(&error))
}

fn unwritable(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::File, format!("a key cannot be written as PEM: {error}"))
}
