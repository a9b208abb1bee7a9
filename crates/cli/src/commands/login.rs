//! `ibkr-oauth login`

use clap::Args;
use ibkr_oauth::{ApiRequest, Method};
use serde_json::{Value, json};

use crate::access::Access;
use crate::consent::ThirdParty;
use crate::exit::{Exit, Failure};
use crate::local_time::local;
use crate::output::{self, ForMachines};
use crate::progress;
use crate::session::{Session, Wanted};

/// Log in, unless a stored session is still good, and list the accounts
///
/// A third party's user is asked for consent if --third-party says so and there is no access token yet. The one that comes of
/// it is put into the file of credentials as soon as it is there: no consent is needed again.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ibkr-oauth login --credentials credentials.toml
  IBKR_CREDENTIALS=/run/secrets/ibkr ibkr-oauth login --json
  ibkr-oauth login --credentials credentials.toml --third-party")]
pub struct Login {
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    third_party: ThirdParty,
    #[command(flatten)]
    pub output: ForMachines,
}

impl Login {
    pub fn with(access: Access) -> Self {
        Self { access, third_party: ThirdParty::default(), output: ForMachines { json: false } }
    }

    pub async fn run(self) -> Result<Exit, Failure> {
        self.third_party.authorize(&self.access, self.output).await?;
        let mut session = Session::start(&self.access, Wanted::Login).await?;
        let stored = session.api.status().expires_at;
        // A stored session is believed when the server has answered a request with it.
        let answer = session.request(Method::Get, ApiRequest::get("/portfolio/accounts"));
        let answer = progress::show("logging in", answer).await.map_err(|unsuccessful| unsuccessful.failure)?;
        let accounts = accounts(answer.body());
        let expiry = session.api.status().expires_at;
        session.api.shut_down().await;
        let (until, was_stored) = (expiry.unwrap_or_default(), expiry == stored);
        if self.output.json {
            output::line(json!({ "until": until.to_string(), "stored": was_stored, "accounts": accounts }))?;
        } else {
            let how = if was_stored { "Still logged in" } else { "Logged in" };
            output::line(format!("{how} until {}.", local(until)))?;
            output::line(format!("Accounts: {}", accounts.join(", ")))?;
        }
        Ok(Exit::Done)
    }
}

/// The account numbers in the answer to `/portfolio/accounts`.
fn accounts(body: &[u8]) -> Vec<String> {
    let accounts: Vec<Value> = serde_json::from_slice(body).unwrap_or_default();
    let id = |account: &Value| account.get("accountId")?.as_str().map(str::to_owned);
    accounts.iter().filter_map(id).collect()
}
