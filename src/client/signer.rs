//! Signing beside the client, with whatever live session token is current.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use rand_core::CryptoRng;

use super::token_health::TokenEvidence;
use crate::advice::diagnosis::Diagnosis;
use crate::advice::penalty::Penalty;
use crate::agreement::live_session_token::TokenId;
use crate::error::Error;
use crate::live_session::{LiveSession, PreparedRequest};
use crate::lock::Lock;
use crate::time::UnixTime;
use crate::wire::api_request::ApiRequest;
use crate::wire::receipt::Receipt;
use crate::wire::request::Request;
use crate::wire::response::Response;

/// A handle that signs API requests with the current live session token of a [`Client`](crate::Client), or of a `Follower`:
/// it follows every refresh, new login and log-out, where a clone of a [`LiveSession`] ends with its token.
///
/// Cheap to clone, `Send` and `Sync`: hand clones to as many threads and tasks as you like. Signing waits for nothing and
/// allocates nothing beyond what [`LiveSession`] allocates. A token that was replaced is wiped when the last signature in
/// progress ends.
///
/// Requests signed here are neither paced nor repeated, and a refresh does not wait for them; hand them to
/// [`Client::request`](crate::Client::request) for that. What their responses say about the token, the brokerage session and
/// the request limits reaches the client at its next poll.
///
/// ```
/// # use ibkr_oauth::{ApiRequest, Error, Request, Response, Signer, UnixTime};
/// # fn send(_: &Request) -> Response<'static> { unimplemented!() }
/// # fn ask(signer: &Signer, mut rng: impl rand_core::CryptoRng, now: impl Fn() -> UnixTime) -> Result<(), Error> {
/// let request = signer.sign(&ApiRequest::get("/portfolio/accounts"), &mut rng, now())?;
/// let response = send(&request);
/// signer.handle_response(request.receipt(), &response, now())?; // a rejection explains itself
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Signer(Arc<Shared>);

/// What a client and its signers share.
pub(super) struct Shared {
    live: Lock<Option<LiveSession>>,
    report: Lock<SignerReport>,
    penalty: Penalty,
}

/// What the responses to requests signed beside the client have said since the client last looked.
#[derive(Default)]
pub(crate) struct SignerReport {
    /// The token that was accepted last.
    pub(crate) accepted: Option<TokenId>,
    /// The token with which the server did not do what was asked, last.
    pub(super) not_served: Option<TokenId>,
    /// The token that was rejected last.
    pub(crate) rejected: Option<TokenId>,
    pub(crate) has_no_bridge: bool,
}

impl Signer {
    pub(crate) fn new(penalty: Penalty) -> Self {
        Self(Arc::new(Shared { live: Lock::new(None), report: Lock::new(SignerReport::default()), penalty }))
    }

    /// Hands the signers the live session to sign with from now on.
    pub(crate) fn publish(&self, live: Option<LiveSession>) {
        self.0.live.write(|current| *current = live);
    }

    /// Takes what the signers have to tell.
    pub(crate) fn take_report(&self) -> SignerReport {
        self.0.report.write(core::mem::take)
    }

    /// Returns the current live session; `None` while there is none.
    pub fn live(&self) -> Option<LiveSession> {
        self.0.live.read(Clone::clone)
    }

    /// Signs `request` with the current live session token, as [`LiveSession::sign`] does.
    ///
    /// # Errors
    /// [`Error::NoLiveSession`] while there is no live session; else those of [`LiveSession::sign`].
    pub fn sign(&self, request: &ApiRequest<'_>, rng: &mut dyn CryptoRng, now: UnixTime) -> Result<Request, Error> {
        self.live().ok_or(Error::NoLiveSession)?.sign(request, rng, now)
    }

    /// Appends the `Authorization` value for `request` to `out`, as [`LiveSession::authorization_into`] does.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn authorization_into(
        &self,
        out: &mut String,
        request: &ApiRequest<'_>,
        rng: &mut dyn CryptoRng,
        now: UnixTime,
    ) -> Result<Receipt, Error> {
        self.live().ok_or(Error::NoLiveSession)?.authorization_into(out, request, rng, now)
    }

    /// Appends the `Authorization` value for a request that was prepared to `out`, as
    /// [`LiveSession::prepared_authorization_into`] does. After a refresh, the first signature keeps anew what the later
    /// ones share.
    ///
    /// # Errors
    /// [`Error::NoLiveSession`] while there is no live session; else those of
    /// [`LiveSession::prepared_authorization_into`].
    pub fn prepared_authorization_into(
        &self,
        out: &mut String,
        prepared: &mut PreparedRequest,
        rng: &mut dyn CryptoRng,
        now: UnixTime,
    ) -> Result<Receipt, Error> {
        self.live().ok_or(Error::NoLiveSession)?.prepared_authorization_into(out, prepared, rng, now)
    }

    /// Takes the response to a request that was signed here, before you read it: a rejection becomes an error that explains
    /// itself, and the client learns what follows from it.
    ///
    /// # Errors
    /// [`Error::Rejected`] for every status but 2xx.
    pub fn handle_response(&self, receipt: Receipt, response: &Response<'_>, now: UnixTime) -> Result<(), Error> {
        let outcome = match self.live() {
            Some(live) => live.handle_response(receipt, response, now),
            None if response.is_success() => Ok(()),
            None => Err(response.rejected()),
        };
        let diagnosis = outcome.as_ref().err().and_then(Error::diagnosis);
        if diagnosis == Some(Diagnosis::TooManyRequests) {
            self.0.penalty.handle_too_many_requests(now, response.retry_after());
        }
        self.0.report.write(|report| report.note(receipt, TokenEvidence::of(response), diagnosis));
        outcome
    }
}

impl SignerReport {
    fn note(&mut self, receipt: Receipt, evidence: TokenEvidence, diagnosis: Option<Diagnosis>) {
        match evidence {
            TokenEvidence::Accepted => self.accepted = receipt.token(),
            TokenEvidence::NotServed => self.not_served = receipt.token(),
            TokenEvidence::Inconclusive => {}
        }
        if diagnosis.is_some_and(Diagnosis::rejects_live_session) {
            self.rejected = receipt.token();
        }
        self.has_no_bridge |= diagnosis == Some(Diagnosis::NoBridge);
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("live", &self.live()).finish()
    }
}
