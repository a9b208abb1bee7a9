//! How a client is started.

use std::sync::Arc;

use ibkr_oauth::{Client, Snapshot};
use rustls::ClientConfig;
use tokio::task::JoinSet;

use crate::driver::{Driver, Keeper};
use crate::event::Events;
use crate::limits::Limits;
use crate::shared::Shared;
use crate::store::Store;
use crate::transport::{Transport, default_tls};
use crate::web_api::WebApi;

/// Starts a [`WebApi`]: [`WebApi::builder`] makes one.
#[must_use = "nothing runs before `start`"]
pub struct Builder {
    client: Client,
    limits: Limits,
    tls: Option<ClientConfig>,
    store: Option<Store>,
    keeper: Option<Keeper>,
}

impl Builder {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, limits: Limits::default(), tls: None, store: None, keeper: None }
    }

    /// Sets how long each part of an exchange may take, and how large a response may be.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets whom to trust. Default: whom browsers trust (Mozilla's list), whatever the system is set to.
    pub fn tls_config(mut self, config: ClientConfig) -> Self {
        self.tls = Some(config);
        self
    }

    /// Shares the session with other processes: before a login it is looked whether another process has made one, and each
    /// new token is stored before it is used. [`Store::client`] makes the client to go with it.
    pub fn store(mut self, store: Store) -> Self {
        self.store = Some(store);
        self
    }

    /// Calls `keeper` with everything that is worth keeping whenever a token is new or gone, before the next request goes
    /// out. It may block. A third party stores the access token so; who keeps the session in a file takes
    /// [`store`](Self::store).
    pub fn keep_with(mut self, keeper: impl Fn(&Snapshot) + Send + Sync + 'static) -> Self {
        self.keeper = Some(Arc::new(keeper));
        self
    }

    /// Starts the client, in a task of the current tokio runtime, and returns its handle and all events from the first on.
    ///
    /// # Errors
    /// Of `rustls`, if its provider of cryptography does not work.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as [`tokio::spawn`] does.
    pub fn start(self) -> Result<(WebApi, Events), rustls::Error> {
        let tls = self.tls.map_or_else(default_tls, Ok)?;
        let transport = Transport::new(tls, self.limits);
        let shared = Arc::new(Shared::new(self.client));
        let events = Events(shared.events());
        let driver = Driver {
            shared: Arc::clone(&shared),
            transport: transport.clone(),
            store: self.store.map(Arc::new),
            keeper: self.keeper,
            tasks: JoinSet::new(),
        };
        let task = tokio::spawn(driver.run()).abort_handle();
        Ok((WebApi::new(shared, transport, task), events))
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("client", &self.client).field("limits", &self.limits).finish_non_exhaustive()
    }
}
