//! An offline check of credentials: what is wrong with them, how it shows, and what to do about it.
//!
//! A login that fails says little (`invalid consumer` stands for a dozen causes,
//! [protocol section 6.2](crate::protocol#section-6-2)). Most causes can be seen in the credentials themselves, before
//! anything is sent:
//!
//! ```
//! use ibkr_oauth::doctor::{Credentials, FindingKind, examine};
//! # let mut rng = rand::rand_core::UnwrapErr(rand::rngs::SysRng);
//! let credentials = Credentials {
//!     consumer_key: Some("myconskey"),
//!     signature_key: Some("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
//!     ..Credentials::default()
//! };
//! let report = examine(&credentials, &mut rng);
//! assert!(report.has(FindingKind::ConsumerKeyLowerCase));
//! assert!(report.has(FindingKind::PublicKey));
//! for finding in report.findings() {
//!     println!("{finding}");
//! }
//! ```
//!
//! Errors are what no login can work with: whatever the rest of the crate would reject is one. Nothing of a report is
//! secret, except what [`Report::repaired`] hands out.

mod base_url;
mod clock;
mod consumer;
mod damaged_pem;
mod diffie_hellman;
mod finding;
mod finding_kind;
mod keys;
mod report;
mod secret;
mod severity;

use core::fmt;
use rand_core::CryptoRng;

use crate::time::UnixTime;
pub use finding::{Credential, Finding};
pub use finding_kind::FindingKind;
pub use report::{Fingerprint, Report};
pub use severity::Severity;

/// The credentials to examine, as they are: any may be missing, any may be broken.
#[derive(Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs, reason = "written as a literal with `..Credentials::default()`")]
pub struct Credentials<'a> {
    /// Nine upper-case letters, chosen in the portal or assigned by IBKR.
    pub consumer_key: Option<&'a str>,
    /// Follows from the consumer key if it is not there.
    pub realm: Option<&'a str>,
    /// From the portal, or from a user's consent.
    pub access_token: Option<&'a str>,
    /// Comes with the access token: base64.
    pub access_token_secret: Option<&'a str>,
    /// The text of `private_signature.pem`.
    pub signature_key: Option<&'a str>,
    /// The text of `private_encryption.pem`.
    pub encryption_key: Option<&'a str>,
    /// If the signature key is protected by one.
    pub signature_passphrase: Option<&'a str>,
    /// If the encryption key is protected by one.
    pub encryption_passphrase: Option<&'a str>,
    /// The text of `dhparam.pem`, or the bare prime in hexadecimal.
    pub dh_params: Option<&'a str>,
    /// The generator that goes with a bare prime. 2 if it is not there.
    pub dh_generator: Option<u32>,
    /// IBKR's production address is used if it is not there.
    pub base_url: Option<&'a str>,
    /// This machine's time and the server's, read at the same moment.
    pub clocks: Option<Clocks<'a>>,
}

/// This machine's time and the server's, read at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_structs, reason = "written as a literal: two moments")]
pub struct Clocks<'a> {
    /// This machine's.
    pub own: UnixTime,
    /// The server's.
    pub server: ServerTime<'a>,
}

/// What time the server says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerTime<'a> {
    /// The value of the `Date` header of any response of the server. Read with feature `std` only.
    DateHeader(&'a str),
    /// From elsewhere.
    At(UnixTime),
}

/// Examines every credential by itself, and those that must fit each other together.
///
/// Takes a second or two: primes are proved, keys are tried. `rng` blinds the private keys; nothing in the report
/// depends on it.
pub fn examine(credentials: &Credentials<'_>, rng: &mut dyn CryptoRng) -> Report {
    let mut report = Report::default();
    consumer::examine(credentials, &mut report);
    let keys = keys::examine(credentials, &mut report);
    secret::examine(credentials, &keys, rng, &mut report);
    diffie_hellman::examine(credentials, &mut report);
    base_url::examine(credentials, &mut report);
    clock::examine(credentials, &mut report);
    report.worst_first();
    report
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}
