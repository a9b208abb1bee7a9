//! `ibkr-oauth gateway`

mod folder;
mod scenario;

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use ibkr_oauth_gateway::{Certificate, Gateway as Ibkr, LiveSessionTokens, Server};
use serde_json::json;

use crate::commands::interruption::Interruption;
use crate::exit::{Exit, Failure};
use crate::files::fresh_folder;
use crate::output::{self, ForMachines, note};
use crate::progress;

use folder::Folder;
use scenario::Scenario;

/// Serve a stand-in for IBKR on this machine, with credentials to go with it: for tests, in any language
///
/// The folder receives credentials.json, the keys as PEM files, and gateway-state.json; another start takes them up again, and
/// the address with them: clients go on with their sessions, and orders are as they were. The first line on stdout says where
/// clients are served from then on. Nothing but the state is ever overwritten.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ibkr-oauth gateway --dir test-gateway
  ibkr-oauth login --credentials test-gateway/credentials.json
  ibkr-oauth gateway --dir test-gateway --scenario nightly-reset,at=30 --scenario outage,at=30,for=10

Scenarios, as NAME[,at=SECONDS][,for=SECONDS]: SECONDS after the start (0), and for so long (60):
  nightly-reset         every brokerage session ends
  competing-login       the user logs in elsewhere; for SECONDS
  outage                503 for SECONDS
  too-many-requests     429 for SECONDS
  gone                  410 until somebody logs in
  expired-tokens        every live session token ends
  clock-skew            the server's clock is ahead by two minutes from then on
  no-bridge             the brokerage session has no accounts, and /iserver answers 400, for SECONDS
  no-brokerage-session  ssodh/init answers 500 for SECONDS
  sign-bytes            the shared secret K always needs its sign byte, for SECONDS
  no-sign-bytes         the server forgets that byte: no login can be proved, for SECONDS

In these, requests have their effect, and the answer travels badly, for SECONDS; of several at a time, the latest counts:
  slow-answers          the answer comes late, by five seconds, or by=SECONDS
  trickling-answers     its body comes byte by byte, ten a second
  lost-answers          the connection is closed in its place
  cut-answers           half of its body comes, less than its Content-Length; then the connection is closed
  connection-resets     the connection is reset in its place")]
pub struct Gateway {
    /// Where to listen [default: the address of the last start, or any free port on 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The folder of credentials, which is made [default: a fresh temporary one]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// A user, with an access token and a file of credentials of its own: credentials.json for the first, and
    /// credentials-NAME.json for others; may be repeated
    #[arg(long = "user", value_name = "NAME", default_value = "demo", value_parser = folder::user_name)]
    users: Vec<String>,
    /// Make the credentials a third party's: without access token, with this callback URL
    #[arg(long, value_name = "URL")]
    callback: Option<String>,
    /// Let earlier live session tokens stay valid beside the newest
    #[arg(long)]
    several_tokens: bool,
    /// Serve over TLS, with a certificate of this start's, which follows on stdout in PEM
    #[arg(long)]
    tls: bool,
    /// What goes wrong, and when: see below; may be repeated
    #[arg(long, value_name = "SCENARIO")]
    scenario: Vec<Scenario>,
    #[command(flatten)]
    pub output: ForMachines,
}

impl Gateway {
    pub async fn run(self) -> Result<Exit, Failure> {
        let mut interruption = Interruption::new()?;
        let path = self.dir.clone().map_or_else(|| fresh_folder("ibkr-gateway"), Ok);
        let folder = Folder(path.map_err(|error| Failure::file("cannot make a temporary folder", &error))?);
        let (server, certificate) = self.start(&folder).await?;
        self.announce(&server, certificate.as_ref(), &folder)?;
        interruption.requested().await;
        let stored = folder.store_state(&server.gateway());
        drop(server);
        stored?;
        Ok(Exit::Done)
    }

    async fn start(&self, folder: &Folder) -> Result<(Server, Option<Certificate>), Failure> {
        folder.make()?;
        let scheme = if self.tls { "https" } else { "http" };
        let earlier = folder.earlier_address(scheme)?;
        let state = folder.earlier_state()?;
        let address = self.listen.clone().or(earlier.clone()).unwrap_or_else(|| "127.0.0.1:0".to_owned());
        let (mut gateway, listener) = listen(scheme, &address)?;
        if earlier.is_some_and(|earlier| !gateway.base_url().starts_with(&format!("{scheme}://{earlier}/"))) {
            note(format!("The credentials name the earlier address: clients need --base-url {}", gateway.base_url()));
        }
        let keys = folder.keys();
        let keys = progress::show("making keys", keys).await?;
        state.into_iter().for_each(|state| gateway.restore(state));
        folder.enroll(&mut gateway, &keys, &self.users, self.callback.as_deref())?;
        if self.several_tokens {
            gateway.set_live_session_tokens(LiveSessionTokens::Several);
        }
        let start = SystemTime::now();
        self.scenario.iter().for_each(|scenario| scenario.schedule(&mut gateway, start, &self.users));
        let certificate = self.tls.then(Certificate::generate).transpose();
        let certificate = certificate.map_err(|error| Failure::file("cannot make a certificate", &error))?;
        let server = match &certificate {
            Some(certificate) => Server::start_tls(gateway, listener, certificate),
            None => Server::start(gateway, listener),
        };
        let server = server.map_err(|error| Failure::file("cannot serve", &error))?;
        store_changes(&server, folder.clone());
        Ok((server, certificate))
    }

    fn announce(&self, server: &Server, certificate: Option<&Certificate>, folder: &Folder) -> Result<(), Failure> {
        let credentials = folder.credentials_of(&self.users, self.users.first().map_or("", String::as_str));
        let pem = certificate.map(Certificate::pem);
        if self.output.json {
            let (base_url, credentials) = (server.base_url(), credentials.display().to_string());
            return output::line(json!({ "base_url": base_url, "credentials": credentials, "certificate": pem }));
        }
        output::line(format!("listening on {}", server.base_url()))?;
        if let Some(pem) = pem {
            output::line(pem.trim_end())?;
        }
        note(format!("Credentials are in {}. Stop with Ctrl-C.", credentials.display()));
        Ok(())
    }
}

/// Starts a gateway for a demonstration, with credentials in `folder`.
pub async fn for_demonstration(folder: PathBuf) -> Result<(Server, PathBuf), Failure> {
    let (gateway, folder) = (Gateway::plain(), Folder(folder));
    let (server, _) = gateway.start(&folder).await?;
    Ok((server, folder.credentials_of(&gateway.users, "demo")))
}

/// Puts credentials as IBKR's portal would make them into `folder`, and returns their file.
pub async fn credentials_for_demonstration(folder: PathBuf) -> Result<PathBuf, Failure> {
    let (folder, users) = (Folder(folder), ["demo".to_owned()]);
    let gateway = Ibkr::new("https://api.ibkr.com/v1/api");
    let mut gateway = gateway.map_err(|error| Failure::file("cannot play IBKR", &error))?;
    let keys = folder.keys().await?;
    folder.enroll(&mut gateway, &keys, &users, None)?;
    Ok(folder.credentials_of(&users, "demo"))
}

impl Gateway {
    fn plain() -> Self {
        Self {
            listen: None,
            dir: None,
            users: vec!["demo".to_owned()],
            callback: None,
            several_tokens: false,
            tls: false,
            scenario: Vec::new(),
            output: ForMachines { json: false },
        }
    }
}

/// Stores the state now, and whenever it has changed: before the client that changed it is told.
fn store_changes(server: &Server, folder: Folder) {
    server.on_change(move |gateway| {
        if let Err(failure) = folder.store_state(gateway) {
            note(format!("The gateway goes on, but another start will not know of it: {failure}"));
        }
    });
}

fn listen(scheme: &str, address: &str) -> Result<(Ibkr, TcpListener), Failure> {
    let unusable = |error: io::Error| {
        let exit = if error.kind() == ErrorKind::InvalidInput { Exit::Usage } else { Exit::Network };
        Failure::new(exit, format!("cannot listen on {address}: {error}"))
    };
    let listener = TcpListener::bind(address).map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    let gateway = Ibkr::new(&format!("{scheme}://{address}/v1/api"));
    Ok((gateway.map_err(|error| Failure::file("cannot serve", &error))?, listener))
}
