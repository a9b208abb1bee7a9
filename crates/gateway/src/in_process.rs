//! Both halves in one process, with nothing between them: for tests.

use alloc::vec::Vec;

use rand_core::CryptoRng;

use super::{Gateway, RawRequest, RawResponse};
use crate::{Request, Response, UnixTime};

impl Gateway {
    /// Answers a request of the client half, as if it had come over a socket.
    ///
    /// ```
    /// # use ibkr_oauth::{OAuthSession, Outbound, UnixTime, gateway::Gateway, rand_core::CryptoRng};
    /// # fn log_in(session: &mut OAuthSession, gateway: &mut Gateway, rng: &mut dyn CryptoRng, now: UnixTime)
    /// # -> Result<(), ibkr_oauth::Error> {
    /// while let Some(Outbound { request, exchange }) = session.poll_request(rng, now)? {
    ///     let answer = gateway.answer_to(&request, rng, now);
    ///     session.handle_response(exchange, answer.into(), now)?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn answer_to(&mut self, request: &Request, rng: &mut dyn CryptoRng, now: UnixTime) -> RawResponse {
        let headers: Vec<_> = request.headers().map(|(name, value)| (name, value.as_bytes())).collect();
        let raw = RawRequest {
            method: request.method().as_str(),
            target: request.path(),
            headers: &headers,
            body: request.body(),
        };
        self.handle(&raw, rng, now)
    }
}

/// Status, all headers, and the body.
impl From<RawResponse> for Response<'static> {
    fn from(raw: RawResponse) -> Self {
        let response = Self::new(raw.status, raw.body);
        raw.headers.iter().fold(response, |response, (name, value)| response.with_header(name, value.as_bytes()))
    }
}
