//! Errors in credentials: settings, URLs, keys, tokens.

use thiserror::Error;

/// A setting that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The consumer key.
    #[error("the consumer key: {0}")]
    ConsumerKey(TokenError),
    /// The realm.
    #[error("the realm: {0}")]
    Realm(TokenError),
    /// [Protocol section 9](crate::protocol#section-9): `test_realm` goes with `TESTCONS` and with nothing else.
    #[error("`test_realm` goes with the consumer key TESTCONS, `limited_poa` with every other")]
    RealmContradictsConsumerKey,
    /// The base URL.
    #[error("the base URL: {0}")]
    BaseUrl(UrlError),
    /// The address of the consent page.
    #[error("the authorize URL: {0}")]
    AuthorizeUrl(UrlError),
    /// The callback URL.
    #[error("the callback URL: {0}")]
    CallbackUrl(UrlError),
    /// The User-Agent: it must be non-empty, of visible ASCII characters and spaces, at most 256.
    #[error("the User-Agent is empty, too long, or not printable ASCII")]
    UserAgent,
    /// The refresh margin must be shorter than 12 hours, half a token's life.
    #[error("the refresh margin is 12 hours or more")]
    RefreshMargin,
}

/// What is wrong with a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Neither `http://` nor `https://`.
    #[error("it begins with neither https:// nor http://")]
    Scheme,
    /// No host, or characters that no host has. User names and passwords are rejected too.
    #[error("the host is missing or malformed")]
    Host,
    /// Not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// Spaces, control characters, non-ASCII characters, or `%` without two hex digits.
    #[error("it holds characters that must be percent-encoded")]
    Characters,
    /// A query or fragment where none can be.
    #[error("it has a query or a fragment")]
    QueryOrFragment,
    /// A segment `.` or `..`, percent-encoded or not: HTTP clients take those out of what was signed.
    #[error("its path has a segment `.` or `..`")]
    DotSegment,
    /// Longer than 2048 bytes.
    #[error("it is longer than 2048 bytes")]
    TooLong,
}

/// Why a key, or the Diffie-Hellman parameters, cannot be read or used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// More than 64 KiB of text.
    #[error("the file is longer than any key")]
    TooLong,
    /// No `-----BEGIN ...-----` at all.
    #[error("there is no PEM block in it")]
    NoPem,
    /// A PEM block, but of something else.
    #[error("it holds {found} where another kind of PEM block belongs")]
    WrongPem {
        /// The label of the first block.
        found: &'static str,
    },
    /// The `-----END ...-----` line is missing, or what stands before it is not base64.
    #[error("the PEM block is damaged or cut off")]
    PemDamaged,
    /// The binary structure is not what it should be.
    #[error("it is not valid DER of the right kind")]
    Der,
    /// A PKCS#8 key with a passphrase: use `RsaPrivateKey::from_encrypted_pem` (feature `encrypted-keys`).
    #[error("it is protected by a passphrase")]
    Encrypted,
    /// OpenSSL's old passphrase scheme (`Proc-Type: 4,ENCRYPTED`). `openssl pkcs8 -topk8 -in OLD -out NEW` converts it.
    #[error("it is protected by OpenSSL's old passphrase scheme; convert it with `openssl pkcs8 -topk8`")]
    LegacyEncryption,
    /// The passphrase does not decrypt the key, or the key uses a scheme that is not supported.
    #[error("the passphrase does not decrypt it")]
    WrongPassphrase,
    /// An RSA modulus outside 2048 to 8192 bits.
    #[error("it has {bits} bits; RSA keys must have 2048 to 8192")]
    RsaSize {
        /// Bits of the modulus.
        bits: u32,
    },
    /// A Diffie-Hellman prime outside 2048 to 8192 bits.
    #[error("the Diffie-Hellman prime has {bits} bits; it must have 2048 to 8192")]
    PrimeSize {
        /// Bits of the number given as prime.
        bits: u32,
    },
    /// The Diffie-Hellman prime is not a prime.
    #[error("the Diffie-Hellman prime is not a prime: was it copied whole?")]
    NotPrime,
    /// Bare Diffie-Hellman numbers must be hexadecimal digits, without `0x` and colons.
    #[error("it is not hexadecimal")]
    NotHex,
    /// The access token secret is as long as the modulus of the key it was encrypted to.
    #[error(
        "the access token secret has {found} bytes, a secret for this encryption key has {expected}: was it copied whole?"
    )]
    SecretLength {
        /// Bytes of the modulus.
        expected: usize,
        /// Bytes of the secret, after base64.
        found: usize,
    },
    /// The access token secret does not decrypt.
    #[error("the encryption key does not decrypt the access token secret")]
    Decrypt,
    /// A power that [`ConsumerKeys::diffie_hellman_power`](crate::ConsumerKeys::diffie_hellman_power) computed is not in
    /// 2..=p-2.
    #[error("the Diffie-Hellman power that the keys computed is out of range")]
    Power,
    /// Signing failed. With keys of this crate that means the key is inconsistent.
    #[error("the signature key does not sign")]
    Sign,
}

/// Why a token, secret, consumer key or realm cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// More than 256 characters; more than 2048 of a secret. IBKR's tokens have 20, its secrets 344.
    #[error("it is too long")]
    TooLong,
    /// Something that could change the meaning of a header: a space, line break, quote, backslash, comma, control or
    /// non-ASCII character.
    #[error("it holds a character that cannot stand in a header (space, line break, quote, comma, non-ASCII)")]
    Character,
    /// The access token secret is base64 of an RSA block: 344 characters for a 2048-bit key
    /// ([protocol section 4](crate::protocol#section-4)).
    #[error("it is not base64 ({characters} characters; 344 for a 2048-bit key): was it copied whole?")]
    NotBase64 {
        /// Characters found, without white space.
        characters: usize,
    },
}
