//! `ibkr-oauth proxy`

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::Args;
use ibkr_oauth::Pacing;
use ibkr_oauth::brokerage::CompetePolicy;
use ibkr_oauth_proxy::ipnet::IpNet;
use ibkr_oauth_proxy::{BearerToken, Listen, Options, Proxy as Listening, StartError, Tls};
use ibkr_oauth_tokio::Events;
use zeroize::Zeroizing;

use crate::access::Access;
use crate::commands::interruption::Interruption;
use crate::exit::{Exit, Failure};
use crate::output::{self, ForMachines};
use crate::progress;
use crate::session::{Session, Wanted};
use crate::words::tell;

/// Serve what IBKR's Client Portal Gateway serves, without Java and without a browser
///
/// Clients in any language send their requests to https://127.0.0.1:5000/v1/api as before; they are signed here. Any user and
/// any program of this machine can trade through it, unless it listens on a Unix socket or asks for a token.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ibkr-oauth proxy
  ibkr-oauth proxy --read-only --plain --listen 127.0.0.1:5001
  ibkr-oauth proxy --unix /run/ibkr/proxy.socket
  ibkr-oauth proxy --listen 0.0.0.0:5000 --token-file token --certificate cert.pem --key key.pem --peer 10.0.0.0/8")]
pub struct Proxy {
    /// Where to listen; beyond loopback a token and TLS are asked for
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// Listen on a Unix socket, which its owner alone can use
    #[cfg(unix)]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["listen", "plain", "behind_tls", "certificate", "peer"])]
    unix: Option<PathBuf>,
    /// Speak HTTP without TLS: on loopback only
    #[arg(long)]
    plain: bool,
    /// Speak HTTP without TLS, because a server in front speaks TLS with the clients
    #[arg(long, conflicts_with = "plain")]
    behind_tls: bool,
    /// Your own certificate, in PEM, in place of a self-signed one
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with_all = ["plain", "behind_tls"])]
    certificate: Option<PathBuf>,
    /// The private key of that certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// A file with the bearer token that every request must bring
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A name by which clients may call this machine, besides those of loopback; more than once for several
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,
    /// A network whose connections are accepted, as in 10.0.0.0/8; more than once for several; without it, all are
    #[arg(long, value_name = "NETWORK")]
    peer: Vec<IpNet>,
    /// Forward nothing but what is known to change nothing
    #[arg(long)]
    read_only: bool,
    /// Send up to fifty requests a second, as an older page of IBKR's allows; newer ones allow ten, and more risks a pause of
    /// minutes
    #[arg(long)]
    fifty_a_second: bool,
    /// Log out another brokerage session of the same user, such as TWS, whenever one is in the way
    #[arg(long)]
    take_over: bool,
    /// How many proxies send for this user, each with the same `--store`: they divide the request limits, and leave the
    /// session to the others at the end
    #[arg(long, value_name = "N", default_value = "1")]
    replicas: NonZeroU32,
    /// Leave the session to other commands at the end; otherwise it is logged out, for all who share it
    #[arg(long)]
    stay_logged_in: bool,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    pub output: ForMachines,
}

impl Proxy {
    pub async fn run(self) -> Result<Exit, Failure> {
        let mut interruption = Interruption::new()?;
        let options = self.options()?;
        // Before the login: an address in use costs none.
        let listening = Listening::bind(options).await?;
        let mut session =
            Session::start_paced(&self.access, Wanted::BrokerageSession(self.compete()), self.pacing()).await?;
        tokio::select! {
            ready = progress::show("logging in", session.ready()) => ready?,
            () = interruption.requested() => return Ok(Exit::Done),
        }
        self.say_where(&listening)?;
        // A service manager that is not there, or no more, is not told.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tokio::select! {
            () = listening.serve(session.api.clone(), interruption.requested()) => {}
            told = tell_all(&mut session.events, self.output) => told?,
        }
        if self.stay_logged_in || self.replicas > NonZeroU32::MIN {
            session.api.shut_down().await;
        } else {
            session.api.log_out().await;
        }
        Ok(Exit::Done)
    }

    fn options(&self) -> Result<Options, Failure> {
        let mut options = Options::new(self.place()?);
        options.bearer_token = self.token_file.as_deref().map(read_token).transpose()?;
        options.allowed_hosts.clone_from(&self.allow_host);
        options.peers.clone_from(&self.peer);
        options.read_only = self.read_only;
        options.compete = self.compete();
        Ok(options)
    }

    fn place(&self) -> Result<Listen, Failure> {
        #[cfg(unix)]
        if let Some(path) = &self.unix {
            return Ok(Listen::Unix(path.clone()));
        }
        Ok(Listen::Tcp { address: self.listen, tls: self.tls()? })
    }

    fn tls(&self) -> Result<Tls, Failure> {
        if let (Some(certificates), Some(key)) = (&self.certificate, &self.key) {
            return Ok(Tls::Own { certificates: certificates.clone(), key: key.clone() });
        }
        Ok(match (self.plain, self.behind_tls) {
            (true, _) => Tls::Plain,
            (_, true) => Tls::InFront,
            _ => Tls::SelfSigned(self.access.folder()?),
        })
    }

    fn compete(&self) -> CompetePolicy {
        if self.take_over { CompetePolicy::TakeOver } else { CompetePolicy::Yield }
    }

    fn pacing(&self) -> Pacing {
        let pacing = if self.fifty_a_second { Pacing::fifty_a_second() } else { Pacing::default() };
        pacing.shared_by(self.replicas)
    }

    fn say_where(&self, listening: &Listening) -> Result<(), Failure> {
        let is_plain = self.plain || self.behind_tls;
        let place = match listening.address() {
            Some(address) if is_plain => format!("http://{address}"),
            Some(address) => format!("https://{address}"),
            None => "the Unix socket".to_owned(),
        };
        match self.output.json {
            true => output::line(serde_json::json!({ "event": "listening", "address": place })),
            false => output::line(format!("logged in; clients send their requests to {place}/v1/api")),
        }
    }
}

/// Tells what happens, for as long as something can.
async fn tell_all(events: &mut Events, output: ForMachines) -> Result<(), Failure> {
    while let Some(event) = events.next().await {
        tell(&event, output)?;
    }
    std::future::pending().await
}

fn read_token(file: &Path) -> Result<BearerToken, Failure> {
    let text = std::fs::read_to_string(file).map(Zeroizing::new);
    let text = text.map_err(|error| Failure::file(format_args!("the token in {}", file.display()), &error))?;
    let token = BearerToken::new(text.trim());
    token.map_err(|error| Failure::new(Exit::Usage, format!("the token in {}: {error}", file.display())))
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let exit = match error {
            StartError::NeedsToken | StartError::NeedsTls => Exit::Usage,
            StartError::Listen { .. } => Exit::Network,
            _ => Exit::File,
        };
        Self::new(exit, error.to_string())
    }
}
