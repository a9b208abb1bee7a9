//! A third party's way to an access token: its user consents, and what comes of that is stored.

use std::io;
use std::path::Path;

use clap::Args;
use ibkr_oauth::{AccessToken, CallbackError, Client, ConsentUrl, Error, OAuthSession};
use ibkr_oauth_tokio::{Credentials, Event, Events, WebApi};
use serde_json::json;

use crate::access::Access;
use crate::callbacks::{Callbacks, Verdict};
use crate::exit::{Exit, Failure};
use crate::output::{self, ForMachines};
use crate::progress;
use crate::session::{Trouble, Wanted, explain, first};

/// The loopback port of IBKR's example of a callback (protocol section 1).
const PORT: u16 = 20_000;

/// How a third party asks its user for consent.
#[derive(Args)]
#[command(next_help_heading = "Third parties")]
pub struct ThirdParty {
    /// Ask the user for consent if there is no access token, and put the new one into the file of credentials
    #[arg(long)]
    third_party: bool,
    /// The consent page, in place of IBKR's
    #[arg(long, value_name = "URL", requires = "third_party")]
    authorize_url: Option<String>,
    /// The loopback port at which the browser comes back, as registered in the callback URL; 0 is any free one
    #[arg(long, default_value_t = PORT, requires = "third_party")]
    port: u16,
}

impl Default for ThirdParty {
    fn default() -> Self {
        Self { third_party: false, authorize_url: None, port: PORT }
    }
}

impl ThirdParty {
    /// Sees to an access token in the file of credentials, if that is asked for and there is none.
    pub async fn authorize(&self, access: &Access, output: ForMachines) -> Result<(), Failure> {
        if !self.third_party {
            return Ok(());
        }
        let credentials = access.credentials()?;
        let session = credentials.session()?;
        if session.access_token().is_some() {
            return Ok(());
        }
        let session = self.with_consent_page(session, &credentials)?;
        let file = storable(&credentials)?;
        let mut consent = Consent::start(session, &credentials, output)?;
        consent.ask(self.port).await?;
        consent.redeem(file).await?;
        consent.api.shut_down().await;
        Ok(())
    }

    fn with_consent_page(&self, session: OAuthSession, credentials: &Credentials) -> Result<OAuthSession, Failure> {
        let Some(url) = &self.authorize_url else { return Ok(session) };
        let consumer = credentials.consumer()?.authorize_url(url).build();
        let consumer = consumer.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        Ok(OAuthSession::new(consumer))
    }
}

/// The file that the access token will be stored in. Nobody is asked for a consent that comes to nothing.
fn storable(credentials: &Credentials) -> Result<&Path, Failure> {
    let file = credentials.file().ok_or_else(|| Failure::new(Exit::Credentials, NO_FILE))?;
    let tried = Credentials::try_storing(file);
    tried.map_err(|error| Failure::file("no access token could be stored, so no consent is asked for", &error))?;
    Ok(file)
}

const NO_FILE: &str = "the credentials come from the environment, where no access token can be stored, so no consent is asked \
                       for: put them into a file, and name it with --credentials or IBKR_CREDENTIALS";

/// A client that goes as far as to an access token. The login after it belongs to the session that all commands share.
struct Consent<'a> {
    api: WebApi,
    events: Events,
    credentials: &'a Credentials,
    output: ForMachines,
}

impl<'a> Consent<'a> {
    fn start(session: OAuthSession, credentials: &'a Credentials, output: ForMachines) -> Result<Self, Failure> {
        let client = Client::new(session).without_brokerage_session().with_login_permits();
        let started = WebApi::builder(client).start();
        let (api, events) = started.map_err(|error| Failure::file("TLS does not work", &error))?;
        Ok(Self { api, events, credentials, output })
    }

    /// Shows the consent page's address, and waits until the user has agreed.
    async fn ask(&mut self, port: u16) -> Result<(), Failure> {
        let url = self.consent_url();
        let url = progress::show("asking for a request token", url).await;
        let url = match url {
            Ok(url) => url,
            Err(trouble) => return Err(explain(self.credentials, trouble).await),
        };
        let (callbacks, listening) = Callbacks::start(port).await;
        self.tell_page(&url, &listening)?;
        self.await_callback(callbacks).await
    }

    async fn consent_url(&mut self) -> Result<ConsentUrl, Trouble> {
        first(&mut self.events, Wanted::Login, |event| match event {
            Event::Client(ibkr_oauth::Event::ConsentNeeded { url }) => Some(url.clone()),
            _ => None,
        })
        .await
    }

    /// Takes callbacks from both sides until one fits: a wrong one, from an old page or cut off, costs nothing.
    async fn await_callback(&self, mut callbacks: Callbacks) -> Result<(), Failure> {
        while let Some(callback) = callbacks.next().await {
            match self.api.handle_callback(&callback.address) {
                Ok(()) => {
                    callback.answer(Verdict::Consented).await;
                    return Ok(());
                }
                // The request token is ours, so this is the answer: no.
                Err(Error::Callback(CallbackError::Missing { name: "oauth_verifier" })) => {
                    callback.answer(Verdict::Refused).await;
                    return Err(Failure::new(Exit::Login, REFUSED));
                }
                Err(error) => {
                    callback.answer(Verdict::Foreign).await;
                    self.tell_foreign(&error)?;
                }
            }
        }
        Err(Failure::new(Exit::Usage, "no callback came, and none can come any more"))
    }

    /// Trades the consent for an access token, and stores that before anything else is asked.
    async fn redeem(&mut self, file: &Path) -> Result<(), Failure> {
        let granted = first(&mut self.events, Wanted::Login, |event| {
            matches!(event, Event::Client(ibkr_oauth::Event::AccessTokenGranted)).then_some(())
        });
        if let Err(trouble) = progress::show("asking for the access token", granted).await {
            let failure = explain(self.credentials, trouble).await;
            return Err(failure.with(&format!("No access token has arrived: {} is as it was.", file.display())));
        }
        let access_token = self.api.access_token();
        let access_token = access_token.ok_or_else(|| Failure::new(Exit::Login, "there is no access token"))?;
        store(file, &access_token)?;
        self.tell_stored(file)
    }

    fn tell_page(&self, url: &ConsentUrl, listening: &io::Result<u16>) -> Result<(), Failure> {
        if self.output.json {
            let port = listening.as_ref().ok();
            return output::line(json!({ "event": "consent-needed", "consent_url": url.as_str(), "port": port }));
        }
        output::line(format!("Open this page, log in, and agree:\n\n  {url}\n"))?;
        match listening {
            Ok(port) => output::line(format!(
                "Waiting for the browser to come back to port {port}. If it ends up on an error page instead,\n\
                 paste the address of that page here, and press Enter."
            )),
            Err(error) => output::line(format!(
                "The port for the browser to come back to cannot be used: {error}. It ends up on an error page:\n\
                 paste the address of that page here, and press Enter."
            )),
        }
    }

    fn tell_foreign(&self, error: &Error) -> Result<(), Failure> {
        match self.output.json {
            true => output::line(json!({ "event": "callback-not-used", "message": error.to_string() })),
            false => output::line(format!("That was not it: {error}.")),
        }
    }

    fn tell_stored(&self, file: &Path) -> Result<(), Failure> {
        match self.output.json {
            true => output::line(json!({ "event": "access-token-stored", "file": file.display().to_string() })),
            false => output::line(format!(
                "The access token is stored in {}: the user need not be asked again.",
                file.display()
            )),
        }
    }
}

const REFUSED: &str = "the user did not consent (or the address was cut off before oauth_verifier)";

/// Stores the access token, and says for certain where it is if that goes wrong.
fn store(file: &Path, access_token: &AccessToken) -> Result<(), Failure> {
    Credentials::store_access_token(file, access_token).map_err(|error| {
        let stored = Credentials::from_file(file).and_then(|credentials| credentials.access_token());
        let is_stored = matches!(stored, Ok(Some(stored)) if stored.token() == access_token.token());
        let outcome = if is_stored { "is stored, but may not outlast a power failure" } else { "is NOT stored" };
        Failure::file(format!("the access token {outcome} in {}", file.display()), &error)
    })
}
