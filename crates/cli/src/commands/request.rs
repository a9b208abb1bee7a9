//! `ibkr-oauth request`

use std::fs;
use std::io::Read;

use clap::Args;
use ibkr_oauth::brokerage::CompetePolicy;
use ibkr_oauth::{ApiRequest, Method};

use crate::access::Access;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::progress;
use crate::session::{Session, Wanted};

/// Send one signed request and write the response's body as it is
///
/// A path below /iserver opens the brokerage session first, if there is none. A rejection's body is written too, and exit
/// code 1 tells it from a success. A request is sent once; code 6 says that it was sent and that its effect is not known.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ibkr-oauth request GET /portfolio/accounts
  ibkr-oauth request GET /iserver/marketdata/snapshot --query conids=265598 --query fields=31,84,86
  echo '{\"orders\":[{\"conid\":265598,\"orderType\":\"MKT\",\"side\":\"BUY\",\"tif\":\"DAY\",\"quantity\":1}]}' |
    ibkr-oauth request POST /iserver/account/DU1234567/orders --json -")]
pub struct Request {
    /// GET, POST, PUT or DELETE
    method: Method,
    /// What stands behind the base URL, beginning with /
    path: String,
    /// A parameter of the query, not encoded; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter)]
    query: Vec<(String, String)>,
    /// The body, JSON: - for what comes on stdin, @FILE for a file's content, else the text itself
    #[arg(long, value_name = "BODY")]
    json: Option<String>,
    /// Log out another brokerage session of the same user, such as TWS, if one is in the way
    #[arg(long)]
    take_over: bool,
    #[command(flatten)]
    access: Access,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it is not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Request {
    pub fn get(path: &str, access: Access) -> Self {
        Self { method: Method::Get, path: path.to_owned(), query: Vec::new(), json: None, take_over: false, access }
    }

    pub async fn run(self) -> Result<Exit, Failure> {
        let body = self.json.as_deref().map(body).transpose()?;
        let query: Vec<_> = self.query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut request = ApiRequest::new(self.method, &self.path).query(&query);
        if let Some(body) = &body {
            request = request.json(body);
        }
        let mut session = Session::start(&self.access, self.wanted()).await?;
        let outcome = progress::show("waiting for the response", session.request(self.method, request)).await;
        session.api.shut_down().await;
        match outcome {
            Ok(answer) => output::bytes(answer.body()).map(|()| Exit::Done),
            Err(unsuccessful) => {
                unsuccessful.body.map_or(Ok(()), |body| output::bytes(&body))?;
                Err(unsuccessful.failure)
            }
        }
    }

    fn wanted(&self) -> Wanted {
        let needs_brokerage_session = self.path.starts_with("/iserver");
        match (needs_brokerage_session, self.take_over) {
            (false, _) => Wanted::Login,
            (true, false) => Wanted::BrokerageSession(CompetePolicy::Yield),
            (true, true) => Wanted::BrokerageSession(CompetePolicy::TakeOver),
        }
    }
}

fn body(from: &str) -> Result<Vec<u8>, Failure> {
    match from.strip_prefix('@') {
        Some(file) => fs::read(file).map_err(|error| Failure::file(format!("cannot read {file}"), &error)),
        None if from == "-" => {
            let mut body = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut body);
            read.map(|_| body).map_err(|error| Failure::file("cannot read the body from stdin", &error))
        }
        None => Ok(from.as_bytes().to_vec()),
    }
}
