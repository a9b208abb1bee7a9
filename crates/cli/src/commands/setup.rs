//! `ibkr-oauth setup`

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ibkr_oauth::doctor::Severity;
use ibkr_oauth::{ActivationWait, UnixTime};
use ibkr_oauth_tokio::Credentials;
use zeroize::Zeroizing;

use crate::access::{Access, Source};
use crate::commands::doctor;
use crate::commands::keygen::{self, Group};
use crate::commands::login::Login;
use crate::exit::{Exit, Failure};
use crate::files::{Readers, is_there, write_new};
use crate::keys::{DHPARAM, ENCRYPTION, SIGNATURE};
use crate::output::{self, note};
use crate::progress;
use crate::prompt::{ask, ask_secretly};
use crate::session::{Session, Trouble, Wanted};
use crate::surroundings::now;

const CREDENTIALS: &str = "credentials.toml";

/// Go from nothing to the first login: keys, portal, credentials, doctor
///
/// Started again, it goes on where it stopped: keys and credentials that are in the folder are kept.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ibkr-oauth setup
  ibkr-oauth setup --dir ibkr --wait")]
pub struct Setup {
    /// The folder for keys and credentials.toml, which is made
    #[arg(long, value_name = "FOLDER", default_value = "ibkr-oauth")]
    dir: PathBuf,
    /// Where the Diffie-Hellman prime comes from, as for keygen
    #[arg(long, value_enum, default_value_t, value_name = "GROUP")]
    group: Group,
    /// Wait until IBKR has activated the consumer key, for two weeks at most
    #[arg(long)]
    wait: bool,
    /// Seconds between two attempts while it waits; more than twelve in an hour are not made [default: 900]
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    every: Option<u64>,
    /// The server, in place of IBKR's
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// The folder of stored sessions, which all commands share [default: ~/.local/state/ibkr-oauth]
    #[arg(long, value_name = "FOLDER", env = "IBKR_OAUTH_STORE")]
    store: Option<PathBuf>,
}

impl Setup {
    pub async fn run(self) -> Result<Exit, Failure> {
        if !is_there(&self.dir.join(SIGNATURE)) {
            keygen::make_in(self.dir.clone(), self.group).await?;
        }
        let file = self.dir.join(CREDENTIALS);
        if !is_there(&file) {
            let given = Given::ask()?;
            let written = write_new(&file, Readers::Owner, &given.to_toml(self.base_url.as_deref()));
            written.map_err(|error| Failure::file(format!("cannot write {}", file.display()), &error))?;
            note(format!("Written: {}. Should something in it be wrong, change it there.", file.display()));
        }
        let credentials = Source::of(file.clone()).credentials()?;
        examine(credentials).await?;
        self.log_in(&file).await
    }

    async fn log_in(self, file: &Path) -> Result<Exit, Failure> {
        let access = || Access::of(file.to_owned(), self.store.clone());
        let waiting = ActivationWait::since(now());
        loop {
            let mut session = Session::start(&access(), Wanted::Login).await?;
            let outcome = progress::show("logging in", session.log_in()).await;
            session.api.shut_down().await;
            match outcome {
                Ok(()) => return Login::with(access()).run().await,
                Err(trouble) => match self.next_attempt(&trouble, &waiting)? {
                    Some(at) => tokio::time::sleep(at.saturating_since(now()).max(Duration::from_secs(1))).await,
                    None => return Err(session.explain(trouble).await),
                },
            }
        }
    }

    /// When to try again, if what is rejected is a key that may not be active yet, and waiting was asked for.
    fn next_attempt(&self, trouble: &Trouble, waiting: &ActivationWait) -> Result<Option<UnixTime>, Failure> {
        let Trouble::Login(error) = trouble else { return Ok(None) };
        let activation = waiting.explain(error, now()).filter(|activation| now() < activation.at_worst);
        let Some(activation) = activation.filter(|_| self.wait) else { return Ok(None) };
        output::line(activation)?;
        let every = self.every.map(|seconds| now().saturating_add(Duration::from_secs(seconds)));
        Ok(Some(every.unwrap_or(activation.next_attempt)))
    }
}

/// Lets the doctor look at the credentials; errors end the setup.
async fn examine(credentials: Credentials) -> Result<(), Failure> {
    let examined = tokio::task::spawn_blocking(move || credentials.examine());
    let report = progress::show("examining", examined).await;
    let report = report.map_err(|error| Failure::file("the doctor has failed", &error))?;
    output::line(doctor::in_words(&report))?;
    match report.worst() {
        Some(Severity::Error) => Err(Failure::new(Exit::Credentials, "mend the credentials, and start setup again")),
        _ => Ok(()),
    }
}

/// What the portal shows, and nobody else knows.
struct Given {
    consumer_key: String,
    access_token: Zeroizing<String>,
    access_token_secret: Zeroizing<String>,
}

impl Given {
    fn ask() -> Result<Self, Failure> {
        note("\nWhen the portal has shown the tokens (steps 1 to 5 above), enter them here.");
        Ok(Self {
            consumer_key: ask("Consumer key (nine letters): ")?.to_uppercase(),
            access_token: ask_secretly("Access token: ")?,
            access_token_secret: ask_secretly("Access token secret: ")?,
        })
    }

    fn to_toml(&self, base_url: Option<&str>) -> Zeroizing<String> {
        let values = [
            ("consumer_key", self.consumer_key.as_str()),
            ("access_token", &self.access_token),
            ("access_token_secret", &self.access_token_secret),
            ("private_signature_pem_file", SIGNATURE),
            ("private_encryption_pem_file", ENCRYPTION),
            ("dhparam_pem_file", DHPARAM),
        ];
        let base_url = base_url.map(|url| ("base_url", url));
        // JSON's strings are TOML's too.
        let line = |(name, value): (&str, &str)| format!("{name} = {}\n", serde_json::Value::from(value));
        values.into_iter().chain(base_url).map(line).collect::<String>().into()
    }
}
