//! A third party's web application: many users, each of whom connects an IBKR account. This file is the application;
//! `store.rs` is its database, `driver.rs` sends what a client wants sent, `failure.rs` is the page for what went wrong.

mod credentials;
mod driver;
mod failure;
mod own_gateway;
mod store;
mod user;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::{get, post};
use axum_extra::extract::CookieJar;
use ibkr_oauth::{ApiRequest, Callback, Client, Consumer, Event, OAuthSession, Outcome, Pacing, Penalty};
use maud::{DOCTYPE, Markup, html};
use tokio::sync::Mutex as AsyncMutex;

pub use credentials::Credentials;
use driver::{Https, next_event, now};
use failure::Failure;
pub use own_gateway::OwnGateway;
pub use store::Store;
use user::User;

/// What all requests share.
pub struct App {
    consumer: Consumer,
    store: Store,
    https: Https,
    /// One of each connected user who was here since the start. Who holds the lock drives the client.
    clients: Mutex<HashMap<User, Arc<AsyncMutex<Option<Client>>>>>,
    /// All clients leave from one IP address, so a 429 for one is a pause for all.
    penalty: Penalty,
    /// Whether browsers come over TLS.
    is_secure: bool,
}

impl App {
    /// Returns the application that browsers reach at `public_url`.
    pub fn new(consumer: Consumer, store: Store, public_url: &str) -> Arc<Self> {
        let is_secure = public_url.starts_with("https://");
        let (clients, penalty) = (Mutex::default(), Penalty::default());
        Arc::new(Self { consumer, store, https: driver::https(), clients, penalty, is_secure })
    }

    /// Returns the pages. What changes something is a POST: `SameSite=Lax` keeps the cookie out of those of other sites.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/", get(home))
            .route("/connect", post(connect))
            .route("/callback", get(callback))
            .route("/accounts", get(accounts))
            .route("/disconnect", post(disconnect))
            .with_state(self)
    }

    /// Completes a client: listing accounts takes no brokerage session; trading does.
    fn set_up(&self, client: Client) -> Client {
        let client = client.without_brokerage_session().with_request_deadline(driver::PATIENCE);
        client.with_pacing(Pacing::default().with_penalty(self.penalty.clone()))
    }

    fn resume(&self, snapshot: &str) -> Result<Client, Failure> {
        Ok(self.set_up(Client::resume(self.consumer.clone(), &serde_json::from_str(snapshot)?, now())?))
    }

    fn place_of(&self, user: &User) -> Arc<AsyncMutex<Option<Client>>> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(clients.entry(user.clone()).or_default())
    }

    fn save(&self, user: &User, client: &Client) -> Result<(), Failure> {
        Ok(self.store.connect(user.as_str(), &snapshot(client)?)?)
    }
}

/// Shows what a user can do, and gives a new browser its cookie.
async fn home(State(app): State<Arc<App>>, jar: CookieJar) -> Result<(CookieJar, Markup), Failure> {
    let (jar, user) = User::of_browser(jar, app.is_secure);
    let is_connected = app.store.connected(user.as_str())?.is_some();
    let content = html! {
        @if is_connected {
            p { a href="/accounts" { "Your accounts" } }
            form method="post" action="/disconnect" { button { "Disconnect" } }
        }
        form method="post" action="/connect" { button { @if is_connected { "Connect again" } @else { "Connect to IBKR" } } }
    };
    Ok((jar, page("Your account at IBKR", &content)))
}

/// Asks for a request token, and sends the user to the consent page. An account that is connected already stays so until
/// the new consent has come.
async fn connect(State(app): State<Arc<App>>, user: User) -> Result<Redirect, Failure> {
    let mut client = app.set_up(Client::new(OAuthSession::new(app.consumer.clone())));
    let url = loop {
        if let Event::ConsentNeeded { url } = next_event(&mut client, &app.https).await? {
            break url;
        }
    };
    app.store.begin(user.as_str(), client.request_token().unwrap_or_default(), &snapshot(&client)?)?;
    Ok(Redirect::to(url.as_str()))
}

/// Takes the user back from the consent page. Only the browser that began this login may end it: else a stranger could
/// begin one, consent for an account of the stranger's, and lure a user of ours to the callback.
async fn callback(State(app): State<Arc<App>>, user: User, RawQuery(query): RawQuery) -> Result<Redirect, Failure> {
    let query = query.unwrap_or_default();
    let callback = Callback::parse(&query).map_err(|error| Failure::new(StatusCode::BAD_REQUEST, error))?;
    let begun = app.store.take_begun(user.as_str(), callback.request_token())?;
    let begun = begun.ok_or_else(|| Failure::new(StatusCode::FORBIDDEN, "This browser has not begun this login."))?;
    if !callback.has_verifier() {
        return Err(Failure::new(StatusCode::FORBIDDEN, "IBKR says that you did not agree."));
    }
    let client = app.resume(&begun)?;
    // A task of its own: a browser that hangs up does not end it, and no access token is lost.
    tokio::spawn(async move { app.redeem(&user, client, &query).await }).await??;
    Ok(Redirect::to("/accounts"))
}

impl App {
    /// Trades the consent for an access token, and stores that. The login goes on when the accounts are asked for, so
    /// no other request can come before.
    async fn redeem(&self, user: &User, mut client: Client, query: &str) -> Result<(), Failure> {
        client.handle_callback(query)?;
        let place = self.place_of(user);
        // From here on: the client of an earlier consent must not be stored after this one.
        let mut place = place.lock().await;
        while next_event(&mut client, &self.https).await? != Event::AccessTokenGranted {}
        self.save(user, &client)?;
        *place = Some(client);
        Ok(())
    }
}

/// Shows the accounts, after a login if there is no live session.
async fn accounts(State(app): State<Arc<App>>, user: User) -> Result<Markup, Failure> {
    let not_connected = || Failure::new(StatusCode::NOT_FOUND, "You are not connected.");
    // Before a place is made for the client: cookies can be made up.
    app.store.connected(user.as_str())?.ok_or_else(not_connected)?;
    let place = app.place_of(&user);
    let mut place = place.lock().await;
    // Again: another request of the user may have disconnected meanwhile.
    let stored = app.store.connected(user.as_str())?.ok_or_else(not_connected)?;
    let client = match &mut *place {
        Some(client) => client,
        empty => empty.insert(app.resume(&stored)?),
    };
    let ids = app.account_ids(&user, client).await?;
    Ok(page("Your accounts", &html! { ul { @for id in ids { li { (id) } } } p { a href="/" { "Back" } } }))
}

impl App {
    async fn account_ids(&self, user: &User, client: &mut Client) -> Result<Vec<String>, Failure> {
        #[derive(serde::Deserialize)]
        struct Account {
            id: String,
        }
        let list = client.request(&ApiRequest::get("/portfolio/accounts"), now())?;
        let outcome = loop {
            let event = next_event(client, &self.https).await;
            if event.is_err() {
                client.cancel(list);
            }
            match event? {
                Event::LoggedIn { .. } => self.save(user, client)?,
                Event::Finished { ticket, outcome } if ticket == list => break outcome,
                _ => {}
            }
        };
        match outcome {
            Outcome::Responded(response) => {
                let accounts: Vec<Account> = serde_json::from_slice(response.body())?;
                Ok(accounts.into_iter().map(|account| account.id).collect())
            }
            Outcome::Rejected { error, .. } => Err(Failure::at_ibkr(&error)),
            _ => Err(Failure::silence()),
        }
    }
}

/// Forgets the user's tokens, and logs out at IBKR.
async fn disconnect(State(app): State<Arc<App>>, user: User) -> Result<Redirect, Failure> {
    let Some(stored) = app.store.connected(user.as_str())? else { return Ok(Redirect::to("/")) };
    let place = app.place_of(&user);
    let mut place = place.lock().await;
    app.store.disconnect(user.as_str())?;
    let mut client = match place.take() {
        Some(client) => client,
        None => app.resume(&stored)?,
    };
    client.log_out(now());
    // If IBKR cannot be told, the live session ends by itself, within 24 hours.
    while next_event(&mut client, &app.https).await.is_ok_and(|event| event != Event::LoggedOut) {}
    Ok(Redirect::to("/"))
}

/// Returns what a client of the same user can go on with, secrets included.
fn snapshot(client: &Client) -> serde_json::Result<String> {
    serde_json::to_string(client.snapshot().expose())
}

fn page(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head { title { (title) } }
            body { h1 { (title) } (content) }
        }
    }
}
