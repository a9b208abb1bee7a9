//! The handle to a running client.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use ibkr_oauth::{AccessToken, ApiRequest, Client};
use tokio::task::AbortHandle;

use crate::builder::Builder;
use crate::event::Events;
use crate::request::RequestError;
use crate::shared::Shared;
use crate::signer::Signer;
use crate::status::{Activity, Ended, Status};
use crate::transport::Transport;
use crate::web_socket::WebSocket;

/// Interactive Brokers' Web API: a client that logs in, stays logged in and sends requests, in a task of its own.
///
/// Cheap to clone, and to be used from any number of tasks. When the last clone is dropped, the task ends; it does not log
/// out, so that a session that was stored can be resumed.
#[derive(Clone)]
pub struct WebApi(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    transport: Transport,
    task: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl WebApi {
    /// Returns what starts `client`, which may be at any stage.
    pub fn builder(client: Client) -> Builder {
        Builder::new(client)
    }

    pub(crate) fn new(shared: Arc<Shared>, transport: Transport, task: AbortHandle) -> Self {
        Self(Arc::new(Inner { shared, transport, task }))
    }

    /// Puts a request into the queue, at once, and returns the future of its response. It goes out when there is a live session
    /// (for `/iserver` also a brokerage session) and the request limits allow it; it is signed only then. If it is known that
    /// this will be too late ([`Client::beyond_deadline`]), it ends at once, with
    /// [`NotSent::Deadline`](crate::NotSent::Deadline).
    ///
    /// A future that is dropped takes the request back if it has not gone out. If it has, the response is discarded; nothing is
    /// repeated. An order is sent once at most, whatever happens.
    ///
    /// ```
    /// # async fn run(api: ibkr_oauth_tokio::WebApi) -> Result<(), ibkr_oauth_tokio::RequestError> {
    /// use ibkr_oauth_tokio::ibkr_oauth::ApiRequest;
    ///
    /// let accounts = api.request(&ApiRequest::get("/portfolio/accounts")).await?;
    /// let order = br#"{"orders":[{"conid":265598,"orderType":"MKT","side":"BUY","tif":"DAY","quantity":1}]}"#;
    /// let placed = api.request(&ApiRequest::post("/iserver/account/DU1234567/orders").json(order)).await?;
    /// println!("{}", String::from_utf8_lossy(placed.body()));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`RequestError`] says whether the request can have had an effect.
    pub fn request(
        &self,
        request: &ApiRequest<'_>,
    ) -> impl Future<Output = Result<http::Response<Bytes>, RequestError>> + Send + use<> {
        let pending = self.0.shared.begin(request);
        async move { pending.map_err(RequestError::NotSent)?.result().await }
    }

    /// Returns all events from now on.
    pub fn events(&self) -> Events {
        Events(self.0.shared.events())
    }

    /// Returns how things stand.
    pub fn status(&self) -> Status {
        self.0.shared.status()
    }

    /// Waits until things stand as `is_so` wants them, and returns how.
    ///
    /// ```
    /// # async fn run(api: ibkr_oauth_tokio::WebApi) -> Result<(), ibkr_oauth_tokio::Ended> {
    /// use ibkr_oauth_tokio::Status;
    ///
    /// api.wait_until(Status::is_ready).await?; // orders work from here on
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Ended`] if the client is shut down before.
    pub async fn wait_until(&self, is_so: impl Fn(&Status) -> bool) -> Result<Status, Ended> {
        let now = crate::surroundings::now;
        self.0.shared.find(|state| Some(state.status(now())).filter(&is_so)).await
    }

    /// Returns a signer for requests that an HTTP client of your own sends.
    pub fn signer(&self) -> Signer {
        Signer::new(Arc::clone(&self.0.shared))
    }

    /// Opens a WebSocket, which is opened again whenever it is lost. There may be several.
    pub fn web_socket(&self) -> WebSocket {
        WebSocket::open(Arc::clone(&self.0.shared), self.0.transport.clone())
    }

    /// Doubts that all is well: the network is back, the machine woke up, or somebody else said that the session is gone. The
    /// client asks, once in five seconds at most.
    pub fn doubt(&self) {
        self.0.shared.change(|state| state.client.doubt());
    }

    /// Logs in again after a log-out or a stop, and asks for a brokerage session; if another one competes, that is logged
    /// out this once.
    pub fn open(&self) {
        self.0.shared.change(|state| {
            state.run();
            state.client.open();
        });
    }

    /// Logs out: requests that have not gone out end, and the server is told. Returns when it has responded, after 30 seconds
    /// at most, or when [`open`](Self::open) is called meanwhile.
    ///
    /// All that share the session are logged out with it. To end a program whose session is stored, for the next to go on
    /// with it, take [`shut_down`](Self::shut_down).
    pub async fn log_out(&self) {
        let said = self.0.shared.change(crate::shared::State::log_out);
        // Whoever would say it is gone when it has been said.
        let _ = said.await;
    }

    /// Ends the client, without a log-out: nothing more is sent, and all requests end with an error that says whether they
    /// have gone out. Returns when the task is over.
    pub async fn shut_down(&self) {
        self.0.task.abort();
        let is_over = |status: &Status| status.activity == Activity::ShutDown;
        // It ends either way.
        let _ = self.wait_until(is_over).await;
    }

    /// Returns the access token, from the moment there is one: a third party stores it and asks for consent only once.
    pub fn access_token(&self) -> Option<AccessToken> {
        self.0.shared.look(|state| state.client.access_token().cloned())
    }

    /// Takes the URL that the user's browser was redirected to after consent.
    ///
    /// # Errors
    /// Those of [`Client::handle_callback`]; the client goes on waiting.
    pub fn handle_callback(&self, url: &str) -> Result<(), ibkr_oauth::Error> {
        self.0.shared.change(|state| state.client.handle_callback(url))
    }

    /// Takes the verifier alone.
    ///
    /// # Errors
    /// Those of [`Client::handle_verifier`]; the client goes on waiting.
    pub fn handle_verifier(&self, verifier: &str) -> Result<(), ibkr_oauth::Error> {
        self.0.shared.change(|state| state.client.handle_verifier(verifier))
    }

    /// Starts over: forgets every token, and asks for the user's consent again.
    pub fn reauthorize(&self) {
        self.0.shared.change(|state| {
            state.run();
            state.client.reauthorize();
        });
    }
}

impl std::fmt::Debug for WebApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebApi").field("status", &self.status()).finish_non_exhaustive()
    }
}
