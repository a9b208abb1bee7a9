//! IBKR on a socket: a gateway behind a blocking HTTP/1.1 server with WebSockets, a thread for each connection.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use http::{Request, Response};
use ibkr_oauth_gateway::{Gateway, WebSocket};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::consent_page;
use super::http::{Connection, Trouble};
use super::tls::Certificate;
use super::web_socket;

/// More connections than this at once are turned away.
const MAX_CONNECTIONS: usize = 256;
/// How often a waiting connection looks whether the server stops.
const PAUSE: Duration = Duration::from_millis(50);
const WRITE_TIME: Duration = Duration::from_secs(5);

/// A running server. Dropping it stops it, and returns when its last thread has ended.
pub struct Server {
    shared: Arc<Shared>,
    base_url: String,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    gateway: Mutex<Gateway>,
    /// None for plain TCP.
    tls: Option<Arc<ServerConfig>>,
    connections: AtomicUsize,
    stopping: AtomicBool,
}

/// A WebSocket that the gateway allows: the answer to its upgrade, and what to say first.
struct Opening {
    response: tungstenite::handshake::server::Response,
    web_socket: WebSocket,
    greeting: Vec<String>,
}

impl Server {
    /// Serves `gateway` to whoever connects to `listener`.
    pub fn start(gateway: Gateway, listener: TcpListener) -> io::Result<Self> {
        Self::spawn(gateway, listener, None)
    }

    /// The same over TLS.
    pub fn start_tls(gateway: Gateway, listener: TcpListener, certificate: &Certificate) -> io::Result<Self> {
        Self::spawn(gateway, listener, Some(certificate.server_config()))
    }

    fn spawn(gateway: Gateway, listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let (base_url, address) = (gateway.base_url(), listener.local_addr()?);
        let shared = Arc::new(Shared {
            gateway: Mutex::new(gateway),
            tls,
            connections: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        });
        let for_acceptor = Arc::clone(&shared);
        let acceptor = thread::Builder::new().name("acceptor".into());
        let acceptor = acceptor.spawn(move || for_acceptor.accept(&listener))?;
        Ok(Self { shared, base_url, address, acceptor: Some(acceptor) })
    }

    /// The base URL for a client.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The gateway behind the server, which waits as long as this is held.
    pub fn gateway(&self) -> MutexGuard<'_, Gateway> {
        self.shared.gateway()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // The acceptor waits for a connection: here is one.
        let loopback: IpAddr = match self.address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let host = if self.address.ip().is_unspecified() { loopback } else { self.address.ip() };
        let woken = TcpStream::connect_timeout(&(host, self.address.port()).into(), WRITE_TIME);
        if let (Some(acceptor), Ok(_)) = (self.acceptor.take(), woken) {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn gateway(&self) -> MutexGuard<'_, Gateway> {
        self.gateway.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Returns when the server stops and all connections are closed.
    fn accept(&self, listener: &TcpListener) {
        thread::scope(|scope| {
            while !self.stopping() {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(PAUSE);
                    continue;
                };
                if self.connections.load(Ordering::SeqCst) >= MAX_CONNECTIONS {
                    continue;
                }
                self.connections.fetch_add(1, Ordering::SeqCst);
                let connection = thread::Builder::new().name("connection".into());
                let connection = connection.spawn_scoped(scope, || {
                    // Whatever goes wrong with a connection is the end of that connection only.
                    let _ = self.serve(stream);
                    self.connections.fetch_sub(1, Ordering::SeqCst);
                });
                if connection.is_err() {
                    self.connections.fetch_sub(1, Ordering::SeqCst);
                }
            }
        });
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PAUSE))?;
        stream.set_write_timeout(Some(WRITE_TIME))?;
        match &self.tls {
            None => self.converse(stream),
            Some(config) => {
                let tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
                self.converse(StreamOwned::new(tls, stream))
            }
        }
    }

    fn converse(&self, stream: impl Read + Write) -> io::Result<()> {
        let stopping = || self.stopping();
        let mut connection = Connection::new(stream, &stopping);
        loop {
            let request = match connection.receive() {
                Ok(request) => request,
                Err(Trouble::Over) => return Ok(()),
                Err(Trouble::Refused(status, why)) => {
                    return connection.refuse(status, why);
                }
            };
            let answer = if request.is_web_socket_upgrade() {
                match self.open_web_socket(&request.message) {
                    Ok(open) => return self.serve_web_socket(connection, open, &stopping),
                    Err(refusal) => refusal,
                }
            } else {
                self.answer(&request.message)
            };
            connection.send(&answer, &request)?;
            if !request.keep_alive {
                return Ok(());
            }
        }
    }

    fn answer(&self, request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
        let mut rng = UnwrapErr(SysRng);
        let mut gateway = self.gateway();
        let consent = consent_page::answer(&mut gateway, request, &mut rng);
        consent.unwrap_or_else(|| gateway.handle(request, &mut rng, SystemTime::now()))
    }

    #[expect(clippy::result_large_err, reason = "a refusal is a response, and moved once")]
    fn open_web_socket(&self, request: &Request<Vec<u8>>) -> Result<Opening, Response<Vec<u8>>> {
        let (web_socket, greeting) = self.gateway().open_web_socket(request, SystemTime::now())?;
        Ok(Opening { response: web_socket::handshake(request)?, web_socket, greeting })
    }

    fn serve_web_socket(
        &self,
        connection: Connection<'_, impl Read + Write>,
        Opening { response, mut web_socket, greeting }: Opening,
        stopping: &dyn Fn() -> bool,
    ) -> io::Result<()> {
        let answer = |message: &str| self.gateway().handle_message(&mut web_socket, message, SystemTime::now());
        web_socket::converse(connection, &response, greeting, stopping, answer).map_err(io::Error::other)
    }
}
