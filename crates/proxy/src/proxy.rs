//! The proxy: bound, served, stopped.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ibkr_oauth_tokio::WebApi;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::certificate::acceptor;
use crate::connections::Connections;
use crate::listener::{Listener, Stream};
use crate::metrics::Metrics;
use crate::options::{Listen, Options, Tls};
use crate::service::Service;
use crate::session::Session;

/// How long the proxy waits when it cannot accept a connection. With too many open files, one that is idle is closed.
const PAUSE: Duration = Duration::from_millis(5);

/// Why a proxy does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// Whoever can reach the address could trade.
    #[error("beyond loopback the proxy needs a bearer token: whoever can reach it could trade")]
    NeedsToken,
    /// Whoever can listen to the network could read the token.
    #[error("beyond loopback the proxy needs TLS, its own or that of a server in front of it")]
    NeedsTls,
    /// The certificate cannot be read or made.
    #[error("no TLS: {0}")]
    Certificate(io::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        error: io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot listen at {}: {error}", .path.display())]
    Socket {
        /// Where it should be.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
}

/// A proxy that listens, and serves nobody yet.
pub struct Proxy {
    listener: Listener,
    tls: Option<TlsAcceptor>,
    options: Options,
}

/// Binds a [`Proxy`] and serves `api` until `shutdown` is over.
///
/// # Errors
/// Those of [`Proxy::bind`].
pub async fn serve(api: WebApi, options: Options, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
    Proxy::bind(options).await?.serve(api, shutdown).await;
    Ok(())
}

impl Proxy {
    /// Listens as `options` say.
    ///
    /// # Errors
    /// [`StartError`], also for an address beyond loopback without a token or without TLS.
    pub async fn bind(options: Options) -> Result<Self, StartError> {
        let (listener, tls) = match &options.listen {
            Listen::Tcp { address, tls } => {
                if !address.ip().to_canonical().is_loopback() {
                    check_beyond_loopback(&options, tls)?;
                }
                let tls = acceptor(tls).map_err(StartError::Certificate)?;
                (
                    Listener::Tcp(
                        TcpListener::bind(address)
                            .await
                            .map_err(|error| StartError::Listen { address: *address, error })?,
                    ),
                    tls,
                )
            }
            #[cfg(unix)]
            Listen::Unix(path) => (
                crate::listener::bind_unix(path)
                    .await
                    .map_err(|error| StartError::Socket { path: path.clone(), error })?,
                None,
            ),
        };
        Ok(Self { listener, tls, options })
    }

    /// Returns the address that the proxy listens on; `None` for a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.address()
    }

    /// Serves `api` until `shutdown` is over; then requests under way are answered, within
    /// [`closing_time`](crate::Limits::closing_time). Log `api` out afterwards, or shut it down, as you like.
    pub async fn serve(self, api: WebApi, shutdown: impl Future<Output = ()>) {
        let Self { listener, tls, options } = self;
        let closing_time = options.limits.closing_time;
        let (stopping, stop) = watch::channel(());
        let (session, metrics, connections) = (Session::default(), Metrics::default(), Connections::default());
        let service = Arc::new(Service { api, options, tls, session, metrics, connections, stop });
        let mut tasks = JoinSet::new();
        tokio::select! {
            () = shutdown => {}
            () = accept(&listener, &service, &mut tasks) => {}
        }
        drop(listener);
        drop(stopping);
        // What is not done by then is aborted.
        let _ = timeout(closing_time, async { while tasks.join_next().await.is_some() {} }).await;
    }
}

fn check_beyond_loopback(options: &Options, tls: &Tls) -> Result<(), StartError> {
    if options.bearer_token.is_none() {
        return Err(StartError::NeedsToken);
    }
    if matches!(tls, Tls::Plain) { Err(StartError::NeedsTls) } else { Ok(()) }
}

/// Accepts connections, for ever.
async fn accept(listener: &Listener, service: &Arc<Service>, tasks: &mut JoinSet<()>) {
    loop {
        tokio::select! {
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept(&service.options.peers) => match accepted {
                Ok(Some(stream)) => admit(stream, service, tasks),
                Ok(None) => service.metrics.note_turned_away(),
                Err(_) => {
                    service.connections.make_room();
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

fn admit(stream: Stream, service: &Arc<Service>, tasks: &mut JoinSet<()>) {
    match service.connections.enter(service.options.limits.connections) {
        Some(place) => {
            tasks.spawn(Arc::clone(service).serve(stream, place));
        }
        None => service.metrics.note_turned_away(),
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("options", &self.options).finish_non_exhaustive()
    }
}
