//! The driver for tokio of the documentation.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ibkr_oauth::{Client, ClientExchange, Event, Output, Request, Response, UnixTime};
use rand::{rand_core::UnwrapErr, rngs::SysRng};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// An HTTP client, over TLS where the URL wants it.
pub type Https = HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>;
/// Whatever goes wrong, on any thread.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// How long a response may take. The client has asked again by then.
const PATIENCE: Duration = Duration::from_secs(60);
const MAX_BODY: usize = 4 << 20;

/// Requests in flight, each in a task of its own: none waits for another.
pub type Sends = JoinSet<(ClientExchange, Result<Response<'static>, Error>)>;

/// Does what `client` has to do, until something happens. A future that is dropped before that loses nothing.
pub async fn next_event(client: &mut Client, https: &Https, sends: &mut Sends) -> Event {
    loop {
        match client.poll(&mut rng(), now()) {
            Output::Event(event) => return event,
            Output::Send { request, exchange } => {
                let response = timeout(PATIENCE, send(https.clone(), request));
                sends.spawn(async move { (exchange, response.await.unwrap_or_else(|late| Err(late.into()))) });
            }
            Output::Wait(until) => tokio::select! {
                () = sleep(until.saturating_since(now())) => {}
                Some(Ok((exchange, outcome))) = sends.join_next() => match outcome {
                    Ok(response) => _ = client.handle_response(exchange, &response, now()), // too late: no harm
                    Err(error) => println!("No response: {error}."), // and the exchange is dropped
                },
            },
        }
    }
}

/// Sends `request` once, as it is.
pub async fn send(https: Https, request: Request) -> Result<Response<'static>, Error> {
    let request = http::Request::try_from(request)?.map(Full::from);
    let (head, body) = https.request(request).await?.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await?.to_bytes();
    Ok(http::Response::from_parts(head, body).into())
}

/// Trusts whom browsers trust, and follows no redirect.
pub fn https() -> Https {
    let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
    HttpClient::builder(TokioExecutor::new()).build(connector)
}

/// The operating system's randomness.
pub fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

pub fn now() -> UnixTime {
    UnixTime::from(SystemTime::now())
}
