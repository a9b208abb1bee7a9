//! Mistakes in setting a gateway up, or in acting as its user.

/// A mistake in setting a gateway up, or in acting as its user.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The base URL is not `http` or `https`, a host, and at most a path.
    #[error("the base URL is not http(s)://host[:port][/path]")]
    BaseUrl,
    /// The consumer key is empty, or not of upper-case letters and digits.
    #[error("the consumer key is not of upper-case letters and digits")]
    ConsumerKey,
    /// The signature key is not a public RSA key of 1024 to 8192 bits in SPKI PEM.
    #[error("the signature key is not a public RSA key as `openssl rsa -pubout` writes it")]
    SignatureKey,
    /// The encryption key is not a public RSA key of 1024 to 8192 bits in SPKI PEM.
    #[error("the encryption key is not a public RSA key as `openssl rsa -pubout` writes it")]
    EncryptionKey,
    /// The Diffie-Hellman parameters are not an odd prime of 512 to 8192 bits in PKCS#3 PEM.
    #[error("the Diffie-Hellman parameters are not as `openssl dhparam` writes them")]
    DhParams,
    /// The callback URL is not absolute, or has characters that no URL has.
    #[error("the callback URL is not an absolute URL")]
    CallbackUrl,
    /// No consumer is registered under this key.
    #[error("no such consumer is registered")]
    UnknownConsumer,
    /// No user of this name was added.
    #[error("no such user was added")]
    UnknownUser,
    /// No flow waits for consent under this request token.
    #[error("no flow waits for consent under this request token")]
    UnknownRequestToken,
}
