//! Who and what is on file at IBKR, and what its web pages hand out.

/// What a consumer hands over to be registered (protocol section 9).
#[derive(Clone, Debug)]
pub struct RegisteredConsumer {
    /// Upper-case letters and digits: nine of them, or `TESTCONS`. Other lengths are accepted.
    pub consumer_key: String,
    /// The public half of the signature key, as `openssl rsa -pubout` writes it (SPKI, PEM).
    pub signature_public_key_pem: String,
    /// The public half of the encryption key, in the same form.
    pub encryption_public_key_pem: String,
    /// The consumer's own Diffie-Hellman prime, as `openssl dhparam` writes it (PKCS#3, PEM).
    pub dhparam_pem: String,
    /// Where users are sent after they consented; none for a first party.
    pub callback_url: Option<String>,
}

impl RegisteredConsumer {
    /// Returns the realm to send: `test_realm` for `TESTCONS`, else `limited_poa` (protocol section 9).
    pub fn realm(&self) -> &'static str {
        if self.consumer_key == "TESTCONS" { "test_realm" } else { "limited_poa" }
    }
}

/// An IBKR username and what it gives access to.
#[derive(Clone, Debug)]
pub struct User {
    /// The username.
    pub name: String,
    /// Account numbers, such as `DU1234567`.
    pub accounts: Vec<String>,
    /// Does the user trade on paper?
    pub is_paper: bool,
}

/// What the self-service portal shows after "Generate token".
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// The access token: 20 hexadecimal digits.
    pub token: String,
    /// The access token secret: 32 bytes, encrypted to the consumer's encryption key, in base64.
    pub secret_base64: String,
}

/// A user's decision about a third party's request for access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consent {
    /// The user lets the third party in.
    Grant,
    /// The user does not.
    Deny,
}
