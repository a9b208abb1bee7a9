//! Who and what is on file at IBKR, and what its web pages hand out.

/// What a consumer hands over to be registered (protocol section 9).
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "written as a literal, which needs all fields known")]
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
#[allow(clippy::exhaustive_structs, reason = "written as a literal, which needs all fields known")]
pub struct User {
    /// The username.
    pub name: String,
    /// Account numbers, such as `DU1234567`.
    pub accounts: Vec<String>,
    /// Whether the user trades with money.
    pub kind: AccountKind,
}

/// Whether an account trades with money.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(clippy::exhaustive_enums, reason = "an account is one or the other")]
pub enum AccountKind {
    /// It does.
    Live,
    /// It trades on paper.
    Paper,
}

impl User {
    /// Returns whether the user trades on paper.
    pub(crate) fn is_paper(&self) -> bool {
        self.kind == AccountKind::Paper
    }
}

/// What the self-service portal shows after "Generate token".
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "taken apart: the portal shows these two")]
pub struct IssuedToken {
    /// The access token: 20 hexadecimal digits.
    pub token: String,
    /// The access token secret: 32 bytes, encrypted to the consumer's encryption key, in base64.
    pub secret_base64: String,
}

/// A user's decision about a third party's request for access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::exhaustive_enums, reason = "a user agrees or does not")]
pub enum Consent {
    /// The user lets the third party in.
    Grant,
    /// The user does not.
    Deny,
}
