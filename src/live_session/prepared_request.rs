//! A request that is asked again and again: what its signatures have in common is kept.

use alloc::string::{String, ToString};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::{fmt, ptr, slice};
use zeroize::Zeroizing;

use super::{Inner, LiveSession};
use crate::error::Misuse;
use crate::signing::mac::{Mac, MacKey};
use crate::signing::percent_encoding::{BLOCK, Block, Sink};
use crate::wire::api_request::{ApiRequest, Pairs, Parameters};
use crate::wire::method::Method;

/// A request that is signed again and again: method, path and parameters are fixed, nonce and timestamp are fresh each
/// time.
///
/// The first signature with a live session keeps what is signed: what comes before the nonce hashed, the rest encoded.
/// Later ones allocate nothing, and the parameters whose names come before `oauth_` in the alphabet cost them nothing. The
/// first signature after a refresh keeps everything anew. What is kept can sign only this request; it is wiped when
/// another token takes its place, and on drop.
///
/// The result is that of [`LiveSession::authorization_into`], byte for byte. A body of JSON is not part of a signature, so
/// it may be another each time.
///
/// ```
/// # use ibkr_oauth::{ApiRequest, Error, Misuse, PreparedRequest, Receipt, Signer, UnixTime};
/// # fn send(_path_and_query: &str, _authorization: &str, _: Receipt) {}
/// # fn watch(signer: &Signer, mut rng: impl rand_core::CryptoRng, now: impl Fn() -> UnixTime) -> Result<(), Error> {
/// let query = [("conids", "265598,8314"), ("fields", "31,84,86")];
/// let request = ApiRequest::get("/iserver/marketdata/snapshot").query(&query);
/// let mut prepared = PreparedRequest::new(&request)?;
/// let mut authorization = String::with_capacity(512);
/// for _ in 0..60 {
///     authorization.clear();
///     let receipt = signer.prepared_authorization_into(&mut authorization, &mut prepared, &mut rng, now())?;
///     send(prepared.path_and_query(), &authorization, receipt);
/// }
/// # Ok(()) }
/// # let bad = [("oauth_token", "x")];
/// # assert_eq!(PreparedRequest::new(&ApiRequest::get("/x").query(&bad)).unwrap_err(), Misuse::ReservedParameter);
/// ```
pub struct PreparedRequest {
    method: Method,
    path: String,
    query: OwnedPairs,
    form: OwnedPairs,
    path_and_query: String,
    kept: Option<Kept>,
}

type OwnedPairs = Vec<(String, String)>;

/// What the signatures with one live session have in common: the base string, hashed as far as it is always the same.
pub(super) struct Kept {
    session: Weak<Inner>,
    /// The MAC of the whole blocks before the nonce.
    beginning: Mac,
    /// The base string from there on, with nonce and timestamp of the last signature, and its padding: no nonce is longer
    /// than another.
    rest: Zeroizing<Vec<Block>>,
    nonce_start: usize,
    timestamp_start: usize,
}

impl PreparedRequest {
    /// Copies what is signed and sent of `request`: method, path, query and form, not JSON.
    ///
    /// # Errors
    /// [`Misuse`] for a path or a parameter that cannot be.
    pub fn new(request: &ApiRequest<'_>) -> Result<Self, Misuse> {
        let query = request.decoded_query()?;
        let query = query.pairs();
        let parameters = request.parameters(&query)?;
        let mut path_and_query = String::new();
        request.write_target(&mut path_and_query, &parameters);
        Ok(Self {
            method: request.method(),
            path: request.path().to_string(),
            query: owned(parameters.query),
            form: owned(parameters.form),
            path_and_query,
            kept: None,
        })
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// What goes behind the base URL, with the query exactly as it is signed.
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// What is kept for `live`; what was kept for another session is dropped.
    pub(super) fn kept_for(&mut self, live: &LiveSession) -> &mut Kept {
        if self.kept.as_ref().is_some_and(|kept| !ptr::eq(kept.session.as_ptr(), &*live.0)) {
            self.kept = None;
        }
        self.kept.get_or_insert_with(|| {
            let (query, form) = (borrowed(&self.query), borrowed(&self.form));
            live.keep(self.method, &self.path, &Parameters { query: &query, form: &form })
        })
    }
}

impl Kept {
    /// `base_string` has room for nonce and timestamp at `gaps`.
    pub(super) fn new(live: &LiveSession, base_string: &str, gaps: [usize; 2]) -> Self {
        let [nonce, timestamp] = gaps;
        let padded = MacKey::padded(base_string.as_bytes());
        let mut blocks = padded.iter();
        let mut beginning = live.0.token.signer().mac();
        blocks.by_ref().take(nonce / BLOCK).for_each(|block| beginning.blocks(slice::from_ref(block)));
        let rest = Zeroizing::new(blocks.copied().collect());
        let (nonce_start, between) = (nonce % BLOCK, timestamp.saturating_sub(nonce));
        let timestamp_start = nonce_start.saturating_add(between);
        Self { session: Arc::downgrade(&live.0), beginning, rest, nonce_start, timestamp_start }
    }

    /// Writes this nonce and this timestamp into the base string.
    pub(super) fn stamp(&mut self, [nonce, timestamp]: [&str; 2]) {
        let rest = self.rest.as_flattened_mut();
        for (start, text) in [(self.nonce_start, nonce), (self.timestamp_start, timestamp)] {
            if let Some(gap) = rest.get_mut(start..).and_then(|rest| rest.get_mut(..text.len())) {
                gap.copy_from_slice(text.as_bytes());
            }
        }
    }

    /// The MAC of the base string.
    pub(super) fn mac(&self) -> Mac {
        let mut mac = self.beginning.clone();
        mac.blocks(&self.rest);
        mac
    }
}

fn owned(pairs: Pairs<'_>) -> OwnedPairs {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn borrowed(pairs: &OwnedPairs) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

impl fmt::Debug for PreparedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path_and_query, .. } = self;
        f.debug_struct("PreparedRequest")
            .field("method", method)
            .field("path_and_query", path_and_query)
            .finish_non_exhaustive()
    }
}
