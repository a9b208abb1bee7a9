//! Sends what a client wants sent, over hyper.

use std::error::Error;
use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ibkr_oauth::{Client, Event, Output, Request, Response, UnixTime};
use rand::{rand_core::UnwrapErr, rngs::SysRng};
use tokio::time::{sleep, timeout};

use crate::failure::Failure;

/// An HTTP client, over TLS where the URL wants it.
pub(crate) type Https = HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// How long a user waits for IBKR.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const MAX_BODY: usize = 4 << 20;

/// Does what `client` has to do, one request after the other, until something happens. The user of the page waits, so an
/// IBKR that cannot be reached, a login that fails, and a pause that takes long are failures. A future that is dropped
/// loses nothing but the response to a request under way.
pub(crate) async fn next_event(client: &mut Client, https: &Https) -> Result<Event, Failure> {
    timeout(PATIENCE, drive(client, https)).await.unwrap_or_else(|_| Err(Failure::silence()))
}

async fn drive(client: &mut Client, https: &Https) -> Result<Event, Failure> {
    loop {
        match client.poll(&mut rng(), now()) {
            Output::Event(Event::LoginFailed { error, .. } | Event::Stopped { error }) => {
                return Err(Failure::at_ibkr(&error));
            }
            Output::Event(event) => return Ok(event),
            Output::Send { request, exchange } => match send(https, request).await {
                Ok(response) => _ = client.handle_response(exchange, &response, now()), // too late: no harm
                Err(_) => return Err(Failure::silence()),                               // and the exchange is dropped
            },
            Output::Wait(until) => sleep(until.saturating_since(now())).await,
        }
    }
}

/// Sends `request` once, as it is.
async fn send(https: &Https, request: Request) -> Result<Response<'static>, Box<dyn Error + Send + Sync>> {
    let request = axum::http::Request::try_from(request)?.map(Full::from);
    let (head, body) = https.request(request).await?.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await?.to_bytes();
    Ok(axum::http::Response::from_parts(head, body).into())
}

/// Trusts whom browsers trust, and follows no redirect.
pub(crate) fn https() -> Https {
    let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
    HttpClient::builder(TokioExecutor::new()).build(connector)
}

/// The operating system's randomness.
pub(crate) fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

pub(crate) fn now() -> UnixTime {
    UnixTime::from(SystemTime::now())
}
