//! A gateway on a socket, for clients in any language.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a server has a socket, a thread and a clock")]

mod body;
mod certificate;
mod connection;
mod consent_page;
mod delivery;
mod host;
mod test_keys;
mod web_socket;
mod wire;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::MutexGuard;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::Gateway;
pub use certificate::Certificate;
use host::Host;
pub use test_keys::TestKeys;

/// More connections than this at once are turned away.
const MAX_CONNECTIONS: usize = 256;

/// How long the server waits when it cannot accept a connection, as with too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// How long connections may take to close when the server stops. Then they are aborted.
const CLOSING_TIME: Duration = Duration::from_millis(500);

/// A [`Gateway`] on a socket: HTTP/1.1 and WebSockets, plain or over TLS, on a thread of its own. Dropping the server stops
/// it and closes its connections, which takes half a second at most.
///
/// Time is the system's clock, and randomness the operating system's.
///
/// # Consent page
/// The origin of the base URL also has a page for the users of third parties. A browser gets a form with buttons from
/// `/authorize?oauth_token=TOKEN`. A test adds `&approve=NAME` or `&deny=NAME` (a user's name, or nothing for the first
/// user) and is redirected to the callback URL at once.
///
/// # Bad delivery
/// Responses of the API travel as [`Incident::BadDelivery`](crate::Incident::BadDelivery) says. The consent page and WebSockets
/// are spared.
///
/// # Limits
/// A client that breaks a limit is rejected or disconnected; the others are served as before.
///
/// | what | limit |
/// |---|---|
/// | connections at once | 256 |
/// | head of a request | 64 KiB, 100 headers, 60 seconds after the connection or the response before it |
/// | body of a request | 1 MiB, 10 seconds; the gateway itself rejects more than 64 KiB |
/// | TLS handshake | 10 seconds |
/// | message of a WebSocket | 64 KiB, 5 minutes after the one before |
/// | response that the client does not read | 5 seconds |
///
/// # Examples
/// ```
/// use std::time::SystemTime;
///
/// use ibkr_oauth_gateway::{AccountKind, Incident, Server, User};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::bind("127.0.0.1:0")?;
/// let user = User { name: "demo".into(), accounts: vec!["DU1234567".into()], kind: AccountKind::Paper };
/// server.gateway().add_user(user);
/// println!("clients log in under {}", server.base_url());
///
/// // While the client under test is at work:
/// server.gateway().schedule(SystemTime::now(), Incident::LiveSessionsEnd);
/// # Ok(())
/// # }
/// ```
pub struct Server {
    host: Host,
    base_url: String,
    address: SocketAddr,
    /// Dropped, it stops the thread.
    running: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves a new gateway, which knows nobody yet, on `address`. Port 0 stands for a free one; with `127.0.0.1`, only
    /// programs on this machine can connect.
    ///
    /// # Errors
    /// Those of the operating system, as when the address is in use.
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        let (gateway, listener) = new_gateway("http", address)?;
        Self::start(gateway, listener)
    }

    /// Serves a new gateway, as [`bind`](Self::bind) does, over TLS.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn bind_tls(address: impl ToSocketAddrs, certificate: &Certificate) -> io::Result<Self> {
        let (gateway, listener) = new_gateway("https", address)?;
        Self::start_tls(gateway, listener, certificate)
    }

    /// Serves `gateway`, whatever its base URL, to all who connect to `listener`.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn start(gateway: Gateway, listener: TcpListener) -> io::Result<Self> {
        Self::spawn(gateway, listener, None)
    }

    /// Serves `gateway`, as [`start`](Self::start) does, over TLS.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn start_tls(gateway: Gateway, listener: TcpListener, certificate: &Certificate) -> io::Result<Self> {
        Self::spawn(gateway, listener, Some(certificate.acceptor()))
    }

    fn spawn(gateway: Gateway, listener: TcpListener, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let (base_url, address) = (gateway.base_url(), listener.local_addr()?);
        let host = Host::new(gateway);
        let (running, stop) = watch::channel(());
        let service = Service { host: host.clone(), tls, stop: Stop(stop) };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        listener.set_nonblocking(true)?;
        let thread = thread::Builder::new().name("gateway".into());
        let thread = thread.spawn(move || run(&runtime, listener, &service))?;
        Ok(Self { host, base_url, address, running: Some(running), thread: Some(thread) })
    }

    /// Returns the base URL for clients, such as `http://127.0.0.1:4000/v1/api`.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Returns the address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Locks the gateway, to register consumers, to schedule incidents and the like. Requests wait until the guard is
    /// dropped.
    pub fn gateway(&self) -> MutexGuard<'_, Gateway> {
        self.host.lock()
    }

    /// Lets `observer` see the gateway, now and after each request that changed its [state](Gateway::state), in place of an
    /// earlier observer.
    ///
    /// Clients get their responses when it has returned: whatever a client was told, the observer has seen. So a gateway
    /// that is killed loses nothing of what its observer has stored. What is done through [`gateway`](Self::gateway) is seen
    /// with the next request.
    ///
    /// ```
    /// # use ibkr_oauth_gateway::Server;
    /// # fn keep(server: &Server, file: std::path::PathBuf) {
    /// server.on_change(move |gateway| {
    ///     let state = serde_json::to_vec(&gateway.state()).expect("a state can be written as JSON");
    ///     std::fs::write(&file, state).expect("the file can be written");
    /// });
    /// # }
    /// ```
    pub fn on_change(&self, observer: impl FnMut(&Gateway) + Send + 'static) {
        self.host.observe(Box::new(observer));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running = None;
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has stopped, too.
            let _ = thread.join();
        }
    }
}

/// Shows the base URL and the address only.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { base_url, address, .. } = self;
        f.debug_struct("Server").field("base_url", base_url).field("address", address).finish_non_exhaustive()
    }
}

/// What the connections of a server have in common.
#[derive(Clone)]
struct Service {
    host: Host,
    /// None for plain TCP.
    tls: Option<TlsAcceptor>,
    stop: Stop,
}

/// Whether the server stops: a receiver of nothing, whose sender is dropped then.
#[derive(Clone)]
struct Stop(watch::Receiver<()>);

impl Stop {
    /// Returns when the server stops.
    async fn requested(&mut self) {
        let _ = self.0.changed().await;
    }
}

fn new_gateway(scheme: &str, address: impl ToSocketAddrs) -> io::Result<(Gateway, TcpListener)> {
    let listener = TcpListener::bind(address)?;
    let gateway = Gateway::new(&format!("{scheme}://{}/v1/api", listener.local_addr()?));
    Ok((gateway.map_err(io::Error::other)?, listener))
}

/// Returns when the server stops and all connections are closed.
fn run(runtime: &Runtime, listener: TcpListener, service: &Service) {
    runtime.block_on(async {
        let mut connections = JoinSet::new();
        if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
            accept(&listener, service, &mut connections).await;
        }
        let _ = timeout(CLOSING_TIME, async { while connections.join_next().await.is_some() {} }).await;
    });
}

/// Accepts connections until the server stops.
async fn accept(listener: &tokio::net::TcpListener, service: &Service, connections: &mut JoinSet<()>) {
    let mut stop = service.stop.clone();
    loop {
        tokio::select! {
            () = stop.requested() => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn(serve(service.clone(), stream));
                }
                Ok(_) => {}
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
}

async fn serve(service: Service, stream: TcpStream) {
    // Whatever goes wrong with a connection is the end of that connection only.
    let _ = service.serve(stream).await;
}
