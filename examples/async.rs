//! On an async runtime: tokio and hyper. A wait is abandoned in mid-flight, which does no harm; then fifty tasks sign and
//! send at once beside the client (one, where it counts).
//!
//! ```text
//! cargo run --example async -- [--credentials FILE [--base-url URL]]
//! ```

mod support;

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ibkr_oauth::{ApiRequest, Client, ClientExchange, Event, Outcome, Output, Request, Response, Signer};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use support::{Account, account_ids, now, rng};

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

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    account: Account,
}

#[tokio::main]
async fn main() -> ExitCode {
    support::exit_code(run(&Arguments::parse().account).await)
}

async fn run(account: &Account) -> Result<(), Error> {
    let (credentials, own_gateway) = account.open(&["EXAMPLECO"]).map_err(|error| error.to_string())?;
    let session = credentials[0].session().map_err(|error| error.to_string())?;
    // Listing accounts takes no brokerage session; trading does.
    let mut client = Client::new(session).without_brokerage_session();
    let (https, mut sends) = (https(), Sends::new());

    let list = client.request(&ApiRequest::get("/portfolio/accounts"), now())?;
    if timeout(Duration::from_millis(1), next_event(&mut client, &https, &mut sends)).await.is_err() {
        println!("Abandoned a wait in mid-flight; the login goes on.");
    }
    let ids = loop {
        match next_event(&mut client, &https, &mut sends).await {
            Event::Finished { ticket, outcome: Outcome::Responded(response) } if ticket == list => {
                break account_ids(&response)?;
            }
            Event::Finished { outcome, .. } => return Err(format!("no accounts: {outcome:?}").into()),
            event => tell(event)?,
        }
    };
    println!("Accounts: {}.", ids.join(", "));

    // IBKR takes one of these a second, and shuts out who sends more.
    let count = if own_gateway.is_some() { 50 } else { 1 };
    let mut tickles = JoinSet::new();
    for _ in 0..count {
        tickles.spawn(tickle(client.signer(), https.clone()));
    }
    loop {
        tokio::select! {
            event = next_event(&mut client, &https, &mut sends) => tell(event)?,
            outcome = tickles.join_next() => match outcome {
                Some(outcome) => outcome??,
                None => break,
            },
        }
    }
    println!("Requests with their responses, in flight at the same time: {count}.");
    Ok(())
}

fn tell(event: Event) -> Result<(), Error> {
    if let Event::Stopped { error } = event {
        return Err(error.into());
    }
    println!("{event:?}");
    Ok(())
}

/// Signed beside the client, by a handle that follows its logins.
async fn tickle(signer: Signer, https: Https) -> Result<(), Error> {
    let request = signer.sign(&ApiRequest::post("/tickle"), &mut rng(), now())?;
    let receipt = request.receipt();
    Ok(signer.handle_response(receipt, &send(https, request).await?, now())?)
}

/// Trusts whom browsers trust, and follows no redirect.
pub fn https() -> Https {
    let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
    HttpClient::builder(TokioExecutor::new()).build(connector)
}

/// Sends `request` once, as it is.
pub async fn send(https: Https, request: Request) -> Result<Response<'static>, Error> {
    let request = http::Request::try_from(request)?.map(Full::from);
    let (head, body) = https.request(request).await?.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await?.to_bytes();
    Ok(http::Response::from_parts(head, body).into())
}
