//! A client that runs for the time of one command, over the session that all commands share.

use std::convert::Infallible;
use std::time::Duration;

use ibkr_oauth::brokerage::{BrokeragePhase, CompetePolicy};
use ibkr_oauth::{ApiRequest, Client, Error, Method, Pacing};
use ibkr_oauth_tokio::http::Response;
use ibkr_oauth_tokio::{Bytes, Credentials, Event, Events, RequestError, Status, WebApi};

use crate::access::Access;
use crate::exit::{Exit, Failure};
use crate::surroundings::now;

/// Whoever waits for a command does not wait longer for the next attempt to log in.
const SHORT_PAUSE: Duration = Duration::from_secs(5);

/// What a command needs of the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// `/portfolio` and the like.
    Login,
    /// `/iserver` too; of another brokerage session of the same user, this.
    BrokerageSession(CompetePolicy),
}

pub struct Session {
    pub api: WebApi,
    pub events: Events,
    credentials: Credentials,
    wanted: Wanted,
}

impl Session {
    /// Starts a client that goes on with the stored session, or logs in.
    pub async fn start(access: &Access, wanted: Wanted) -> Result<Self, Failure> {
        Self::start_paced(access, wanted, Pacing::default()).await
    }

    /// Starts one that sends no more requests than `pacing` allows.
    pub async fn start_paced(access: &Access, wanted: Wanted, pacing: Pacing) -> Result<Self, Failure> {
        let credentials = access.credentials()?;
        let session = credentials.session()?;
        if session.access_token().is_none() {
            return Err(Failure::new(Exit::Credentials, NO_ACCESS_TOKEN));
        }
        let store = access.open(&credentials, &session).await?;
        let client = wanted.set(store.client(session).await?).with_pacing(pacing);
        let started = WebApi::builder(client).store(store).start();
        let (api, events) = started.map_err(|error| Failure::file("TLS does not work", &error))?;
        Ok(Self { api, events, credentials, wanted })
    }

    /// Sends a request when the session is there. Gives up when the login fails.
    pub async fn request(&mut self, method: Method, request: ApiRequest<'_>) -> Result<Response<Bytes>, Unsuccessful> {
        let answer = self.api.request(&request);
        let failed = first_failure(&mut self.events, self.wanted);
        tokio::select! {
            biased;
            answer = answer => answer.map_err(|error| Unsuccessful {
                failure: Failure::request(method, &error),
                body: rejected_body(error),
            }),
            trouble = failed => Err(self.explain(trouble).await.into()),
        }
    }

    /// Waits for a live session. Gives up when the login fails.
    pub async fn log_in(&mut self) -> Result<(), Trouble> {
        let logged_in = self.api.wait_until(Status::is_logged_in);
        tokio::select! {
            biased;
            _ = logged_in => Ok(()),
            trouble = first_failure(&mut self.events, self.wanted) => Err(trouble),
        }
    }

    /// Waits for the brokerage session. Gives up when the login fails.
    pub async fn ready(&mut self) -> Result<(), Failure> {
        let ready = self.api.wait_until(Status::is_ready);
        let failed = first_failure(&mut self.events, self.wanted);
        tokio::select! {
            biased;
            ready = ready => ready.map(drop).map_err(|error| Failure::new(Exit::NotReady, error.to_string())),
            trouble = failed => Err(self.explain(trouble).await),
        }
    }

    pub async fn explain(&self, trouble: Trouble) -> Failure {
        explain(&self.credentials, trouble).await
    }
}

const NO_ACCESS_TOKEN: &str = "access_token is missing: a first party makes one in IBKR's self-service portal, and puts it \
                               into the file of credentials with its access_token_secret; a third party asks its user for \
                               one with: ibkr-oauth login --third-party";

/// The doctor looks at the credentials if the login is what failed.
pub async fn explain(credentials: &Credentials, trouble: Trouble) -> Failure {
    let error = match trouble {
        Trouble::Login(error) => error,
        Trouble::Other(failure) => return failure,
    };
    let credentials = credentials.clone();
    let report = tokio::task::spawn_blocking(move || credentials.examine()).await.unwrap_or_default();
    Failure::login(&error, &report)
}

impl Wanted {
    fn set(self, client: Client) -> Client {
        match self {
            Self::Login => client.without_brokerage_session(),
            Self::BrokerageSession(policy) => client.with_compete_policy(policy),
        }
    }
}

/// A request that did not succeed, and the response's body if there was one.
pub struct Unsuccessful {
    pub failure: Failure,
    pub body: Option<Bytes>,
}

impl From<Failure> for Unsuccessful {
    fn from(failure: Failure) -> Self {
        Self { failure, body: None }
    }
}

fn rejected_body(error: RequestError) -> Option<Bytes> {
    error.into_response().map(Response::into_body)
}

/// What ends a command before its response.
pub enum Trouble {
    Login(Error),
    Other(Failure),
}

/// Waits for the first event after which waiting is in vain.
async fn first_failure(events: &mut Events, wanted: Wanted) -> Trouble {
    match first(events, wanted, |_| None::<Infallible>).await {
        Ok(never) => match never {},
        Err(trouble) => trouble,
    }
}

/// Waits for the first event in which `finds` finds something. Gives up at one after which waiting is in vain.
pub async fn first<T>(events: &mut Events, wanted: Wanted, finds: impl Fn(&Event) -> Option<T>) -> Result<T, Trouble> {
    while let Some(event) = events.next().await {
        if let Some(found) = finds(&event) {
            return Ok(found);
        }
        if let Some(trouble) = trouble(event, wanted) {
            return Err(trouble);
        }
    }
    // Only the client's end ends its events, and its requests with them.
    std::future::pending().await
}

fn trouble(event: Event, wanted: Wanted) -> Option<Trouble> {
    use ibkr_oauth::Event::{Brokerage, LoginContested, LoginFailed, Stopped};
    Some(match event {
        Event::Client(LoginFailed { error, next_attempt }) if next_attempt.saturating_since(now()) > SHORT_PAUSE => {
            Trouble::Login(error)
        }
        Event::Client(Stopped { error }) => Trouble::Login(error),
        Event::Client(LoginContested) => Trouble::Other(Failure::new(Exit::NotReady, CONTESTED)),
        Event::Client(Brokerage(BrokeragePhase::Competing)) if wanted == YIELDING => {
            Trouble::Other(Failure::new(Exit::NotReady, IN_USE))
        }
        Event::NoResponse(error) => Trouble::Other(Failure::network(&error)),
        Event::NotStored(error) => Trouble::Other(error.into()),
        _ => return None,
    })
}

const YIELDING: Wanted = Wanted::BrokerageSession(CompetePolicy::Yield);
const IN_USE: &str = "the user's brokerage session is in use elsewhere (TWS, the mobile app, another program): end it there, or \
                      log it out with --take-over";
const CONTESTED: &str = "another program logs in with the same access token, and each login ends the other's: stop it, or let \
                         both share one store";
