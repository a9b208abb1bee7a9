//! One OAuth request in flight.

use alloc::vec::Vec;
use core::fmt;

use crate::agreement::diffie_hellman::Exponent;
use crate::secret::Secret;
use crate::ticket::Ticket;
use crate::wire::receipt::Receipt;
use crate::wire::request::Request;

/// A request to send, and the [`Exchange`] to hand back with the response.
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
#[allow(clippy::exhaustive_structs, reason = "taken apart by every driver")]
pub struct Outbound {
    /// What to send.
    pub request: Request,
    /// Hand this back together with the response.
    pub exchange: Exchange,
}

/// A request in flight, as a value that the caller owns.
///
/// Hand it back with the response, or drop it when no response will come (a transport error, a cancelled future): the
/// session then offers a fresh request. It cannot be used twice, and while it exists the session offers nothing else
/// until its deadline passes ([`ConsumerBuilder::oauth_deadline`](crate::ConsumerBuilder::oauth_deadline)).
/// It holds the secrets of this attempt and wipes them on drop; no snapshot ever has them.
#[must_use = "hand it back to `OAuthSession::handle_response` with the response"]
pub struct Exchange {
    pub(crate) ticket: Ticket,
    pub(crate) receipt: Receipt,
    pub(crate) step: Step,
}

/// What was asked for, and what is needed to read the response.
#[allow(clippy::enum_variant_names, reason = "the protocol's own words")]
pub(crate) enum Step {
    RequestToken,
    AccessToken,
    LiveSessionToken { exponent: Exponent, prepend: Secret<Vec<u8>> },
}

impl Exchange {
    /// Returns the endpoint behind the base URL, for progress messages.
    pub fn endpoint(&self) -> &'static str {
        self.step.endpoint()
    }
}

impl Step {
    /// The decrypted access token secret, where the step needs one ([protocol section 4](crate::protocol#section-4)).
    pub(crate) fn prepend(&self) -> &[u8] {
        match self {
            Self::RequestToken | Self::AccessToken => &[],
            Self::LiveSessionToken { prepend, .. } => prepend.expose(),
        }
    }

    /// [Protocol section 1](crate::protocol#section-1).
    pub(crate) fn endpoint(&self) -> &'static str {
        match self {
            Self::RequestToken => "/oauth/request_token",
            Self::AccessToken => "/oauth/access_token",
            Self::LiveSessionToken { .. } => "/oauth/live_session_token",
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exchange({})", self.endpoint())
    }
}
