//! Logs in and lists the accounts, with nothing but `ureq`:
//! ```text
//! export IBKR_CONSUMER_KEY=MYCONSKEY IBKR_ACCESS_TOKEN=...
//! cargo run --example minimal -- private_signature.pem private_encryption.pem dhparam.pem access_token_secret
//! ```
use ibkr_oauth::{AccessToken, ApiRequest, Client, Consumer, DhParams, RsaKeys, RsaPrivateKey, UnixTime};
use ibkr_oauth::{Event, OAuthSession, Outcome, Output};
use rand::{rand_core::UnwrapErr, rngs::SysRng};
use std::{env, error::Error, fs, thread, time::SystemTime};
use ureq::{Agent, http};

fn main() -> Result<(), String> {
    run().map_err(|error| error.to_string())
}

fn run() -> Result<(), Box<dyn Error>> {
    let names: Vec<String> = env::args().skip(1).collect();
    let [signature, encryption, dhparam, secret] = &*names else { return Err("it takes four file names".into()) };
    let read = |name| fs::read_to_string(name).map_err(|error| format!("{name}: {error}"));
    let keys = RsaKeys::new(RsaPrivateKey::from_pem(&read(signature)?)?, RsaPrivateKey::from_pem(&read(encryption)?)?);
    let variable = |name| env::var(name).map_err(|_| format!("{name} is not set"));
    let builder = Consumer::builder(&variable("IBKR_CONSUMER_KEY")?, keys, DhParams::from_pem(&read(dhparam)?)?);
    let base_url = variable("IBKR_BASE_URL").unwrap_or("https://api.ibkr.com/v1/api".into());
    let access_token = AccessToken::new(&variable("IBKR_ACCESS_TOKEN")?, &read(secret)?)?;
    let session = OAuthSession::with_access_token(builder.base_url(&base_url).build()?, access_token);

    let now = || UnixTime::from(SystemTime::now());
    let agent: Agent = Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
    let mut client = Client::new(session).without_brokerage_session(); // which takes no trading session from anybody
    client.request(&ApiRequest::get("/portfolio/accounts"), now())?;
    loop {
        match client.poll(&mut UnwrapErr(SysRng), now()) {
            Output::Send { request, exchange } => {
                let request = http::Request::try_from(request)?.map(drop); // neither the login nor the list has a body
                let (head, mut body) = agent.run(request)?.into_parts();
                let response = http::Response::from_parts(head, body.read_to_vec()?);
                let _ = client.handle_response(exchange, &response.into(), now()); // too late: no harm
            }
            Output::Event(Event::Finished { outcome: Outcome::Responded(response), .. }) => {
                let accounts: Vec<serde_json::Value> = serde_json::from_slice(response.body())?;
                accounts.iter().for_each(|account| println!("{}", account["accountId"].as_str().unwrap_or("?")));
                return Ok(());
            }
            Output::Event(Event::LoginFailed { error, .. } | Event::Stopped { error }) => eprintln!("{error}"),
            Output::Event(Event::Finished { outcome, .. }) => return Err(format!("no accounts: {outcome:?}").into()),
            Output::Event(_) => {}
            Output::Wait(until) => thread::sleep(until.saturating_since(now())),
        }
    }
}
