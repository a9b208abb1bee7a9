//! The driver task of a client: polls it, sends what it hands out, and waits.

use std::future::Future;
use std::sync::Arc;

use ibkr_oauth::{ClientExchange, Output, Request, Snapshot};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

use crate::event::Event;
use crate::shared::{Shared, State};
use crate::store::{Locked, Store, StoreError};
use crate::surroundings::now;
use crate::transport::Transport;

/// The path below the base URL under which live session tokens are given out.
const LOGIN: &str = "/oauth/live_session_token";
const TICKLE: &str = "/tickle";

/// What is called with each new token, so that it is stored.
pub(crate) type Keeper = Arc<dyn Fn(&Snapshot) + Send + Sync>;

pub(crate) struct Driver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) transport: Transport,
    pub(crate) store: Option<Arc<Store>>,
    pub(crate) keeper: Option<Keeper>,
    /// What is under way, each in a task of its own: none waits for another. All end with the driver.
    pub(crate) tasks: JoinSet<()>,
}

impl Driver {
    /// Drives the client until it is aborted.
    pub(crate) async fn run(mut self) {
        loop {
            match self.shared.poll() {
                Some(Output::Event(event)) => self.happened(event).await,
                Some(Output::Send { request, exchange }) => {
                    let exchange = self.carry_out(request, exchange);
                    self.tasks.spawn(exchange);
                }
                Some(Output::Wait(until)) => self.wait(sleep(until.saturating_since(now()))).await,
                None => self.wait(std::future::pending()).await,
            }
        }
    }

    /// Waits until `timer` is over, or there may be something to do.
    async fn wait(&mut self, timer: impl Future<Output = ()>) {
        tokio::select! {
            () = timer => {}
            () = self.shared.woken() => {}
            Some(_) = self.tasks.join_next() => {}
        }
    }

    async fn happened(&mut self, event: ibkr_oauth::Event) {
        use ibkr_oauth::Event::{
            AccessTokenGranted, Finished, LoggedIn, LoggedOut, LoginContested, LoginFailed, QueryPolicyChanged, Stopped,
        };
        self.shared.note(&event);
        match &event {
            Finished { .. } => {}
            LoginFailed { .. } | Stopped { .. } | LoginContested => tracing::warn!(?event),
            _ => tracing::debug!(?event),
        }
        match event {
            Finished { ticket, outcome } => return self.shared.finish(ticket, outcome),
            LoggedIn { .. } | AccessTokenGranted => self.keep().await,
            QueryPolicyChanged(_) => {
                self.tasks.spawn(store_current(Arc::clone(&self.shared), self.store.clone()));
            }
            LoggedOut => {
                self.keep().await;
                let (shared, store) = (Arc::clone(&self.shared), self.store.clone());
                self.tasks.spawn(async move {
                    store_current(Arc::clone(&shared), store).await;
                    shared.farewell_said();
                });
            }
            _ => {}
        }
        self.shared.tell(Event::Client(event));
    }

    /// Lets the embedder store what there is, before anything else goes out.
    async fn keep(&self) {
        let Some(keeper) = self.keeper.clone() else { return };
        let snapshot = self.shared.look(|state| state.client.snapshot());
        if let Err(error) = spawn_blocking(move || keeper(snapshot.expose())).await {
            tracing::error!(%error, "storing the session has failed");
        }
    }

    fn carry_out(&self, request: Request, exchange: ClientExchange) -> impl Future<Output = ()> + Send + use<> {
        let (shared, transport) = (Arc::clone(&self.shared), self.transport.clone());
        let is_own = exchange.request().is_some();
        let store = self.store.clone().filter(|_| !is_own && request.url().ends_with(LOGIN));
        async move {
            match store {
                Some(store) => log_in(&shared, &transport, &store, request, exchange).await,
                None => send(&shared, &transport, request, exchange).await,
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.end();
    }
}

async fn send(shared: &Shared, transport: &Transport, request: Request, exchange: ClientExchange) {
    let is_tickle = request.url().ends_with(TICKLE);
    let response = transport.send(request).await;
    if is_tickle && response.as_ref().is_ok_and(|response| response.status().is_success()) {
        shared.change(|state| state.note_tickled());
    }
    shared.finish_exchange(exchange, response);
}

/// Asks for a live session token, unless another process has one: one process asks at a time.
async fn log_in(shared: &Shared, transport: &Transport, store: &Store, request: Request, exchange: ClientExchange) {
    let locked = match store.lock().await {
        Ok(locked) => locked,
        // The exchange is dropped: the client asks again later, when another process may be done.
        Err(error) => return shared.tell(Event::NotStored(error)),
    };
    match adopt(shared, store, &locked).await {
        Ok(true) => return,
        Ok(false) => {}
        Err(error) => {
            // What is there is somebody else's, and is not replaced.
            shared.tell(Event::NotStored(error));
            return send(shared, transport, request, exchange).await;
        }
    }
    let response = transport.send(request).await;
    // Until the token is stored nothing is done with it: a process that ends early would lose it.
    let (failure, login) = shared.change(|state| {
        state.set_storing(true);
        (state.finish_exchange(exchange, response), state.login())
    });
    let stored = Storing { shared };
    tell_failure(shared, store.keep(locked, login).await);
    drop(stored);
    if let Some(error) = failure {
        shared.tell(Event::NoResponse(error));
    }
}

/// Goes on with the token that another process has stored meanwhile; false if there is none.
async fn adopt(shared: &Shared, store: &Store, locked: &Locked) -> Result<bool, StoreError> {
    let Some(snapshot) = store.news(locked).await? else { return Ok(false) };
    let adopted = shared.change(|state| state.client.adopt(&snapshot, now()));
    Ok(adopted.unwrap_or_else(|error| {
        tracing::warn!(%error, "the stored session is not used");
        false
    }))
}

/// Stores what there is now, without a login.
async fn store_current(shared: Arc<Shared>, store: Option<Arc<Store>>) {
    let Some(store) = store else { return };
    let login = || shared.look(State::login);
    tell_failure(&shared, store.keep_unless_newer(login).await);
}

fn tell_failure(shared: &Shared, outcome: Result<(), StoreError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error);
        shared.tell(Event::NotStored(error));
    }
}

/// While it is there, nothing goes out.
struct Storing<'a> {
    shared: &'a Shared,
}

impl Drop for Storing<'_> {
    fn drop(&mut self) {
        self.shared.change(|state| state.set_storing(false));
    }
}
