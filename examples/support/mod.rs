//! What the examples share: an account in a file, a gateway of their own, and a blocking HTTP client.
#![allow(dead_code, reason = "each example uses its own part")]

use std::error::Error;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use ibkr_oauth::{
    AccessToken, ApiRequest, Consumer, ConsumerBuilder, DhParams, LiveSession, OAuthSession, Outbound, Request,
    Response, RsaKeys, RsaPrivateKey, UnixTime,
};
use ibkr_oauth_gateway::{AccountKind, Gateway, Server, TestKeys, User};
use rand::{rand_core::UnwrapErr, rngs::SysRng};
use serde::{Deserialize, Serialize};
use ureq::{Agent, http};
use zeroize::Zeroizing;

/// The user of our own gateway.
pub const USER: &str = "demo";

// Which account to log in to. (As documentation, it would be what each example is about.)
#[derive(clap::Args)]
pub struct Account {
    /// JSON with the fields of `Credentials`; without it, a gateway of our own is logged in to
    #[arg(long, value_name = "FILE", env = "IBKR_CREDENTIALS")]
    pub credentials: Option<PathBuf>,
    /// Goes before the one in the file
    #[arg(long, value_name = "URL", requires = "credentials")]
    pub base_url: Option<String>,
}

/// All that a client needs to log in.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    pub consumer_key: String,
    pub realm: String,
    pub access_token: Zeroizing<String>,
    pub access_token_secret: Zeroizing<String>,
    pub private_signature_pem: Zeroizing<String>,
    pub private_encryption_pem: Zeroizing<String>,
    pub dhparam_pem: String,
    #[serde(default = "production")]
    pub base_url: String,
}

fn production() -> String {
    "https://api.ibkr.com/v1/api".to_owned()
}

impl Account {
    /// The credentials in the file, if one is named.
    pub fn read(&self) -> Result<Option<Credentials>, Box<dyn Error>> {
        let Some(file) = &self.credentials else { return Ok(None) };
        let mut credentials = Credentials::read(file)?;
        credentials.base_url = self.base_url.clone().unwrap_or(credentials.base_url);
        Ok(Some(credentials))
    }

    /// The credentials in the file, or those of consumers at a gateway of our own, which serves until it is dropped.
    pub fn open(&self, consumer_keys: &[&str]) -> Result<(Vec<Credentials>, Option<Server>), Box<dyn Error>> {
        if let Some(credentials) = self.read()? {
            return Ok((vec![credentials], None));
        }
        println!("No --credentials: logging in to a gateway of our own, with keys made on the spot.");
        let (server, keys) = (Server::bind("127.0.0.1:0")?, TestKeys::generate()?);
        let enroll = |name: &&str| enroll(&mut server.gateway(), &keys, name);
        Ok((consumer_keys.iter().map(enroll).collect::<Result<_, _>>()?, Some(server)))
    }
}

impl Credentials {
    /// What the parser says of a value is not passed on: it may quote a secret.
    fn read(file: &Path) -> Result<Self, String> {
        let json = fs::read(file).map(Zeroizing::new);
        let json = json.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        serde_json::from_slice(&json).map_err(|error| match error.to_string() {
            missing if missing.starts_with("missing field") => format!("{}: {missing}", file.display()),
            _ => format!("{} is no JSON object of texts: see line {}", file.display(), error.line()),
        })
    }

    /// The error names the part that cannot be used.
    pub fn consumer(&self) -> Result<ConsumerBuilder, String> {
        let key = |name, pem: &str| RsaPrivateKey::from_pem(pem).map_err(|error| format!("{name}: {error}"));
        let signature = key("private_signature_pem", &self.private_signature_pem)?;
        let keys = RsaKeys::new(signature, key("private_encryption_pem", &self.private_encryption_pem)?);
        let dh = DhParams::from_pem(&self.dhparam_pem).map_err(|error| format!("dhparam_pem: {error}"))?;
        Ok(Consumer::builder(&self.consumer_key, keys, dh).realm(&self.realm).base_url(&self.base_url))
    }

    /// A session that is not logged in yet.
    pub fn session(&self) -> Result<OAuthSession, Box<dyn Error>> {
        let access_token = AccessToken::new(&self.access_token, &self.access_token_secret)?;
        Ok(OAuthSession::with_access_token(self.consumer()?.build()?, access_token))
    }
}

/// Registers a consumer with these keys, and issues an access token for it.
pub fn enroll(gateway: &mut Gateway, keys: &TestKeys, consumer_key: &str) -> Result<Credentials, Box<dyn Error>> {
    let consumer = keys.registration(consumer_key, None);
    gateway.register_consumer(&consumer)?;
    let accounts = vec!["DU1234567".to_owned(), "DU7654321".to_owned()];
    gateway.add_user(User { name: USER.to_owned(), accounts, kind: AccountKind::Paper });
    let issued = gateway.issue_access_token(consumer_key, USER, &mut rng())?;
    Ok(Credentials {
        realm: consumer.realm().to_owned(),
        consumer_key: consumer.consumer_key,
        access_token: issued.token.into(),
        access_token_secret: issued.secret_base64.into(),
        private_signature_pem: keys.private_signature_pem.clone().into(),
        private_encryption_pem: keys.private_encryption_pem.clone().into(),
        dhparam_pem: consumer.dhparam_pem,
        base_url: gateway.base_url(),
    })
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

/// Sends whatever `session` wants sent, until it waits for the user or is live.
pub fn drive(session: &mut OAuthSession, agent: &Agent) -> Result<(), Box<dyn Error>> {
    while let Some(Outbound { request, exchange }) = session.poll_request(&mut rng(), now())? {
        println!("  POST {}", exchange.endpoint());
        session.handle_response(exchange, &send(agent, request)?, now())?;
    }
    Ok(())
}

/// The accounts behind a live session: one signed API request.
pub fn accounts(live: &LiveSession, agent: &Agent) -> Result<Vec<String>, Box<dyn Error>> {
    let request = live.sign(&ApiRequest::get("/portfolio/accounts"), &mut rng(), now())?;
    let receipt = request.receipt();
    let response = send(agent, request)?;
    live.handle_response(receipt, &response, now())?;
    Ok(account_ids(&response)?)
}

/// What is in the response to `/portfolio/accounts`.
pub fn account_ids(response: &Response<'_>) -> serde_json::Result<Vec<String>> {
    let accounts: Vec<serde_json::Value> = serde_json::from_slice(response.body())?;
    Ok(accounts.iter().filter_map(|account| account["accountId"].as_str().map(str::to_owned)).collect())
}

/// How a program ends: an error goes to stderr, in its own words.
pub fn exit_code<E: Display>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
