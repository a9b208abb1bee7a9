//! A gateway behind hyper that records its requests, and can be made to misbehave.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ibkr_oauth_gateway::Gateway;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::Enrolled;

/// How requests to a path are treated, other than well.
#[derive(Clone, Copy)]
pub enum Manners {
    /// No answer.
    Silent,
    /// An answer once manners are good again.
    Late,
    /// The gateway's answer is thrown away after it was made.
    Forgetful,
    /// A head, the beginning of a body, and no more.
    Stalling,
    /// A body of two megabytes.
    Verbose,
}

pub struct Server {
    shared: Arc<Shared>,
    pub enrolled: Enrolled,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    task: Option<JoinHandle<()>>,
}

struct Shared {
    gateway: Mutex<Gateway>,
    /// Method and path of all requests, and all messages of WebSockets.
    seen: Arc<Mutex<Vec<String>>>,
    manners: Mutex<HashMap<&'static str, Manners>>,
    /// A change closes all WebSockets.
    kicks: watch::Sender<()>,
    connections: Mutex<usize>,
}

type Body = BoxBody<Bytes, Infallible>;

impl Server {
    pub async fn start() -> Self {
        Self::start_on("http", None).await
    }

    /// Over TLS; and what a client needs to trust it.
    pub async fn start_tls() -> (Self, ClientConfig) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let certificate: CertificateDer<'static> = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots).with_no_client_auth();
        (Self::start_on("https", Some(TlsAcceptor::from(Arc::new(config)))).await, client)
    }

    async fn start_on(scheme: &str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut gateway = Gateway::new(&format!("{scheme}://{address}/v1/api")).unwrap();
        let enrolled = Enrolled::at(&mut gateway);
        let shared = Arc::new(Shared {
            gateway: Mutex::new(gateway),
            seen: Arc::default(),
            manners: Mutex::default(),
            kicks: watch::Sender::new(()),
            connections: Mutex::default(),
        });
        let mut server = Self { shared, enrolled, address, tls, task: None };
        server.serve(listener);
        server
    }

    fn serve(&mut self, listener: TcpListener) {
        let (shared, tls) = (Arc::clone(&self.shared), self.tls.clone());
        self.task = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                *shared.connections.lock().unwrap() += 1;
                connections.spawn(async move {
                    match tls {
                        None => shared.serve(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                shared.serve(stream).await;
                            }
                        }
                    }
                });
            }
        }));
    }

    /// Closes all connections and refuses new ones. The gateway keeps what it knows.
    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    pub async fn restart(&mut self) {
        self.serve(TcpListener::bind(self.address).await.unwrap());
    }

    pub fn gateway(&self) -> std::sync::MutexGuard<'_, Gateway> {
        self.shared.gateway.lock().unwrap()
    }

    pub fn spoil(&self, path: &'static str, manners: Manners) {
        self.shared.manners.lock().unwrap().insert(path, manners);
    }

    pub fn behave(&self) {
        self.shared.manners.lock().unwrap().clear();
    }

    pub fn kick_web_sockets(&self) {
        self.shared.kicks.send_replace(());
    }

    /// How often this was asked: `METHOD /path`, or a message of a WebSocket.
    pub fn count(&self, line: &str) -> usize {
        self.seen().iter().filter(|seen| *seen == line).count()
    }

    pub fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// All that it was asked, as it goes on.
    pub fn record(&self) -> Arc<Mutex<Vec<String>>> {
        Arc::clone(&self.shared.seen)
    }

    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }

    /// Waits until this was asked so often.
    pub async fn has_seen(&self, line: &str, times: usize) {
        while self.count(line) < times {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = service_fn(move |request| Arc::clone(&self).answer(request));
        // Whatever goes wrong with a connection is the end of that connection only.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let path = request.uri().path().trim_start_matches("/v1/api").to_owned();
        self.seen.lock().unwrap().push(format!("{} {path}", request.method()));
        if path == "/ws" {
            return Ok(self.open_web_socket(request));
        }
        let manners = self.manners_at(&path);
        if let Some(Manners::Silent) = manners {
            std::future::pending::<()>().await;
        }
        while let Some(Manners::Late) = self.manners_at(&path) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let request = Request::from_parts(head, body);
        let answer = self.gateway.lock().unwrap().handle(&request, &mut UnwrapErr(SysRng), SystemTime::now());
        match manners {
            Some(Manners::Forgetful) => std::future::pending().await,
            Some(Manners::Stalling) => Ok(answer.map(|_| Stalled.boxed())),
            Some(Manners::Verbose) => Ok(answer.map(|_| whole(vec![b' '; 2 << 20]))),
            Some(Manners::Silent | Manners::Late) | None => Ok(answer.map(whole)),
        }
    }

    fn manners_at(&self, path: &str) -> Option<Manners> {
        self.manners.lock().unwrap().get(path).copied()
    }

    fn open_web_socket(self: Arc<Self>, mut request: Request<Incoming>) -> Response<Body> {
        let head = Request::builder().uri(request.uri()).version(request.version()).body(()).unwrap();
        let (mut parts, ()) = head.into_parts();
        parts.headers = request.headers().clone();
        let head = Request::from_parts(parts, Bytes::new());
        let opened = self.gateway.lock().unwrap().open_web_socket(&head, SystemTime::now());
        let (mut web_socket, greeting) = match opened {
            Ok(opened) => opened,
            Err(refusal) => return refusal.map(whole),
        };
        let response = create_response_with_body(&head, || whole(Vec::new())).unwrap();
        let mut kicks = self.kicks.subscribe();
        tokio::spawn(async move {
            let Ok(upgraded) = hyper::upgrade::on(&mut request).await else { return };
            let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            let mut answers = greeting;
            loop {
                for answer in answers.drain(..) {
                    if socket.send(Message::text(answer)).await.is_err() {
                        return;
                    }
                }
                let message = tokio::select! {
                    message = socket.next() => message,
                    _ = kicks.changed() => return,
                };
                let Some(Ok(message)) = message else { return };
                let Ok(text) = message.to_text() else { continue };
                self.seen.lock().unwrap().push(text.to_owned());
                answers = self.gateway.lock().unwrap().handle_message(&mut web_socket, text, SystemTime::now());
            }
        });
        response
    }
}

fn whole(body: Vec<u8>) -> Body {
    Full::from(body).boxed()
}

/// A body that begins, and goes no further.
struct Stalled;

impl hyper::body::Body for Stalled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Pending
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(100)
    }
}
