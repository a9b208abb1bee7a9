//! To and from the types of the `http` crate.

use alloc::vec::Vec;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use crate::wire::request::Request;
use crate::wire::response::Response;

/// Everything that is to be sent, as it is. The `Authorization` value is marked as sensitive, so that no client logs
/// it.
///
/// A GET has no body and no `Content-Length`. A client that counts the bytes of an empty body, as `ureq` does, adds one:
/// hand such a client the request without its body, `request.map(drop)`.
///
/// Fails for a URL of more than 65,534 bytes, which the `http` crate cannot hold, and for no other request.
///
/// ```no_run
/// # fn send(_: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, http::Error> { unimplemented!() }
/// # use ibkr_oauth::{OAuthSession, Outbound, UnixTime, rand_core::CryptoRng};
/// # fn drive(mut session: OAuthSession, mut rng: impl CryptoRng) -> Result<(), Box<dyn core::error::Error>> {
/// # let now = || UnixTime::from(std::time::SystemTime::now());
/// while let Some(Outbound { request, exchange }) = session.poll_request(&mut rng, now())? {
///     let response: http::Response<Vec<u8>> = send(request.try_into()?)?;
///     session.handle_response(exchange, &response.into(), now())?;
/// }
/// # Ok(()) }
/// ```
impl TryFrom<Request> for http::Request<Vec<u8>> {
    type Error = http::Error;

    fn try_from(request: Request) -> Result<Self, Self::Error> {
        let builder = http::Request::builder().method(request.method().as_str()).uri(request.url());
        let builder = request.headers().fold(builder, |builder, (name, value)| builder.header(name, value));
        let mut converted = builder.body(request.into_body())?;
        if let Some(authorization) = converted.headers_mut().get_mut(AUTHORIZATION) {
            HeaderValue::set_sensitive(authorization, true);
        }
        Ok(converted)
    }
}

/// Status, all headers, and the body, which is borrowed.
impl<'a, B: AsRef<[u8]>> From<&'a http::Response<B>> for Response<'a> {
    fn from(response: &'a http::Response<B>) -> Self {
        Self::new(response.status().as_u16(), response.body().as_ref()).headers(response.headers())
    }
}

/// Status, all headers, and the body, which is taken over.
impl<B: Into<Vec<u8>>> From<http::Response<B>> for Response<'static> {
    fn from(response: http::Response<B>) -> Self {
        let (head, body) = response.into_parts();
        Self::new(head.status.as_u16(), body.into()).headers(&head.headers)
    }
}

impl Response<'_> {
    fn headers(self, headers: &HeaderMap) -> Self {
        headers.iter().fold(self, |response, (name, value)| response.with_header(name.as_str(), value.as_bytes()))
    }
}
