//! On an async runtime: tokio and hyper. A login is abandoned in mid-flight, which does no harm; then fifty tasks sign and
//! send at once (one, where it counts).
//!
//! ```text
//! cargo run --example async -- [--credentials FILE [--base-url URL]]
//! ```

pub(crate) mod support;

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ibkr_oauth::{ApiRequest, LiveSession, OAuthSession, Outbound, Request, Response};
use tokio::task::JoinSet;
use ureq::http;

use support::accounts::Accounts;
use support::driver::{now, rng};

/// An HTTP client, over TLS where the URL wants it.
pub type Https = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;
/// Whatever goes wrong, on any thread.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

const MAX_BODY: usize = 4 << 20;

#[tokio::main]
async fn main() -> ExitCode {
    support::exit_code(run().await)
}

async fn run() -> Result<(), Error> {
    let accounts = Accounts::from_arguments(&["EXAMPLECO"]).map_err(|error| error.to_string())?;
    let session = &mut accounts.sessions().map_err(|error| error.to_string())?.swap_remove(0);
    let client = client();

    tokio::select! {
        biased;
        outcome = log_in(session, &client) => drop(outcome?),
        () = tokio::time::sleep(Duration::from_millis(1)) => println!("Abandoned a login in mid-flight."),
    }
    let live = log_in(session, &client).await?;
    println!("Logged in.");

    // IBKR takes one of these a second, and shuts out who sends more.
    let count = if accounts.are_on_own_gateway() { 50 } else { 1 };
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        tasks.spawn(tickle(live.clone(), client.clone()));
    }
    for outcome in tasks.join_all().await {
        outcome?;
    }
    println!("Requests signed, sent and answered at the same time: {count}.");
    Ok(())
}

/// Trusts whom browsers trust, and follows no redirect.
pub fn client() -> Https {
    let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
    Client::builder(TokioExecutor::new()).build(connector)
}

/// Dropped at its only `await`, this takes the exchange with it: the session then offers a fresh one.
async fn log_in(session: &mut OAuthSession, client: &Https) -> Result<LiveSession, Error> {
    while let Some(Outbound { request, exchange }) = session.poll_request(&mut rng(), now())? {
        session.handle_response(exchange, send(client, request).await?, now())?;
    }
    Ok(session.live(now()).ok_or("the session is not live")?.clone())
}

async fn tickle(live: LiveSession, client: Https) -> Result<(), Error> {
    let answer = send(&client, live.sign(&ApiRequest::post("/tickle"), &mut rng(), now())?).await?;
    match answer.status() {
        200 => Ok(()),
        status => Err(format!("/tickle was answered with {status}").into()),
    }
}

/// Sends `request` once, as it is.
pub async fn send(client: &Https, request: Request) -> Result<Response<'static>, Error> {
    let request = http::Request::try_from(request)?.map(Full::from);
    let (head, body) = client.request(request).await?.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await?.to_bytes();
    Ok(http::Response::from_parts(head, body).into())
}
