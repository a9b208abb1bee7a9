//! The blocking driver of the documentation, and logins with it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::error::Error;
use std::thread;
use std::time::{Duration, SystemTime};

use ibkr_oauth::{ApiRequest, Client, Event, LiveSession, OAuthSession, Outbound, Output, Request, Response, UnixTime};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use ureq::{Agent, http};

/// Does what `client` has to do, until something happens; `None` if nothing has by `until`.
pub fn next_event(client: &mut Client, agent: &Agent, until: UnixTime) -> Option<Event> {
    loop {
        match client.poll(&mut rng(), now()) {
            Output::Event(event) => return Some(event),
            Output::Send { request, exchange } => match send(agent, request) {
                Ok(response) => _ = client.handle_response(exchange, &response, now()), // too late: no harm
                Err(error) => println!("No response: {error}."),                        // and the exchange is dropped
            },
            Output::Wait(_) if now() >= until => return None,
            Output::Wait(at) => thread::sleep(at.min(until).saturating_since(now())),
        }
    }
}

/// Sends `request` once, as it is.
pub fn send(agent: &Agent, request: Request) -> Result<Response<'static>, ureq::Error> {
    let request = http::Request::try_from(request)?;
    // An empty body is one to `ureq`: it would add `Content-Length: 0` to a GET.
    let response = if request.body().is_empty() { agent.run(request.map(drop)) } else { agent.run(request) };
    let (head, mut body) = response?.into_parts();
    let body = body.with_config().limit(MAX_BODY).read_to_vec()?;
    Ok(http::Response::from_parts(head, body).into())
}

/// Bytes of the largest body that is read. Responses of the API are smaller.
const MAX_BODY: u64 = 4 << 20;

/// An HTTP client that does what it is told: a rejection is a response like any other, and no redirect is followed,
/// because a signature counts once and for one URL.
pub fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .into()
}

/// The operating system's randomness.
pub fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

pub fn now() -> UnixTime {
    UnixTime::from(SystemTime::now())
}

/// Sends whatever `session` wants sent, until it is live.
pub fn drive(session: &mut OAuthSession, agent: &Agent) -> Result<(), Box<dyn Error>> {
    while let Some(Outbound { request, exchange }) = session.poll_request(&mut rng(), now())? {
        session.handle_response(exchange, &send(agent, request)?, now())?;
    }
    Ok(())
}

/// The accounts behind a live session: one signed API request.
pub fn accounts(live: &LiveSession, agent: &Agent) -> Vec<String> {
    let request = live.sign(&ApiRequest::get("/portfolio/accounts"), &mut rng(), now()).unwrap();
    let receipt = request.receipt();
    let response = send(agent, request).unwrap();
    live.handle_response(receipt, &response, now()).unwrap();
    account_ids(&response)
}

/// What is in the response to `/portfolio/accounts`.
pub fn account_ids(response: &Response<'_>) -> Vec<String> {
    let accounts: Vec<serde_json::Value> = serde_json::from_slice(response.body()).unwrap();
    accounts.iter().map(|account| account["accountId"].as_str().unwrap().to_owned()).collect()
}
