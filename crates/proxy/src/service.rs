//! One connection, from its start to its end: requests and answers, then perhaps a WebSocket.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use http::header::{CONTENT_TYPE, UPGRADE};
use http::request::Parts;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ibkr_oauth_tokio::WebApi;
use ibkr_oauth_tokio::ibkr_oauth::{Method, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

use crate::admission::{admit, only};
use crate::answer::{Answer, Fate, failed, refused, text};
use crate::body;
use crate::connections::{Connections, Place};
use crate::forward::Forwarded;
use crate::listener::Stream;
use crate::metrics::{Metrics, health};
use crate::options::Options;
use crate::read_only;
use crate::session::{Action, Session, wake};
use crate::target::below_api;
use crate::web_socket::Opening;

/// What all connections of a proxy have in common.
pub(crate) struct Service {
    pub(crate) api: WebApi,
    pub(crate) options: Options,
    /// None for plain HTTP.
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) session: Session,
    pub(crate) metrics: Metrics,
    pub(crate) connections: Connections,
    /// Changes when the proxy stops.
    pub(crate) stop: watch::Receiver<()>,
}

/// What one connection has of its own.
struct Connection {
    service: Arc<Service>,
    place: Place,
    /// The address that a client of TCP has connected to.
    connected_to: Option<SocketAddr>,
    /// What goes on as a WebSocket.
    opening: Mutex<Option<Opening>>,
}

impl Service {
    /// Serves a connection. Whatever goes wrong with it is its own end only.
    pub(crate) async fn serve(self: Arc<Self>, stream: Stream, place: Place) {
        let connected_to = match &stream {
            Stream::Tcp(_, address) => Some(*address),
            #[cfg(unix)]
            Stream::Unix(_) => None,
        };
        let connection = Connection { service: self, place, connected_to, opening: Mutex::default() };
        tokio::select! {
            () = connection.place.is_lost() => {}
            _ = connection.converse(stream) => {}
        }
    }
}

impl Connection {
    async fn converse(&self, stream: Stream) -> io::Result<()> {
        match stream {
            Stream::Tcp(stream, _) => match &self.service.tls {
                None => self.speak(self.patient(stream)).await,
                Some(acceptor) => {
                    let handshake = acceptor.accept(self.patient(stream));
                    let limits = &self.service.options.limits;
                    self.speak(timeout(limits.handshake_time, handshake).await??).await
                }
            },
            #[cfg(unix)]
            Stream::Unix(stream) => self.speak(self.patient(stream)).await,
        }
    }

    /// Bears no client that does not read.
    fn patient<S: AsyncRead + AsyncWrite>(&self, stream: S) -> std::pin::Pin<Box<TimeoutStream<S>>> {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.service.options.limits.write_time));
        Box::pin(stream)
    }

    async fn speak(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<()> {
        self.speak_http(stream).await.map_err(io::Error::other)?;
        let opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(opening) = opening else { return Ok(()) };
        let Some(_busy) = self.place.begin() else { return Ok(()) };
        let Service { api, options, metrics, stop, .. } = &*self.service;
        opening.converse(api, options, metrics, &mut stop.clone()).await
    }

    /// Answers requests until the connection ends, or goes on as a WebSocket.
    async fn speak_http(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> hyper::Result<()> {
        let limits = &self.service.options.limits;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.head_time);
        http.max_headers(limits.headers).max_buf_size(limits.head.max(8 << 10));
        let service = service_fn(|request| self.respond(request));
        let mut connection = Box::pin(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
        let mut stop = self.service.stop.clone();
        tokio::select! {
            ended = connection.as_mut() => return ended,
            _ = stop.changed() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }

    async fn respond(&self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = self.answer(request).await.unwrap_or_else(|refusal| refusal);
        self.service.metrics.note_answer(&answer);
        tracing::debug!(%method, path, status = answer.status().as_u16(), "answered");
        Ok(answer)
    }

    /// Returns the answer, or the refusal.
    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Answer> {
        let Service { api, options, metrics, session, .. } = &*self.service;
        let (head, body) = request.into_parts();
        admit(&head, options, self.connected_to)?;
        if let Some(answer) = self.own_page(&head) {
            return Ok(answer);
        }
        let (method, path) = self.allowed(&head)?;
        if path == "/ws" && head.headers.contains_key(UPGRADE) {
            return self.open_web_socket(Request::from_parts(head, body));
        }
        let query = head.uri.query().map(str::to_owned);
        let content_type = only(&head.headers, CONTENT_TYPE).map(str::to_owned);
        let body = body::receive(body, &options.limits).await?;
        let busy = self.place.begin();
        let _busy = busy.ok_or_else(|| refused(StatusCode::SERVICE_UNAVAILABLE, "there are too many connections"))?;
        if let Some(action) = Action::of(&path) {
            return Ok(session.act(action, api, options.compete, metrics).await);
        }
        wake(api);
        Ok(Forwarded { method, path, query, content_type, body }.send(api, metrics).await)
    }

    /// What of the API is asked, if that is allowed.
    #[expect(clippy::result_large_err, reason = "a refusal is an answer, and moved once")]
    fn allowed(&self, head: &Parts) -> Result<(Method, String), Answer> {
        let path = below_api(head.uri.path())?;
        let Ok(method) = head.method.as_str().parse() else {
            return Err(refused(StatusCode::METHOD_NOT_ALLOWED, "IBKR's API has no such method"));
        };
        if self.service.options.read_only && !read_only::allows(method, path) {
            return Err(refused(StatusCode::FORBIDDEN, "the proxy only reads: this may change something"));
        }
        if Action::of(path).is_some() && !matches!(method, Method::Get | Method::Post) {
            return Err(refused(StatusCode::METHOD_NOT_ALLOWED, "what concerns the session is asked with GET or POST"));
        }
        Ok((method, path.to_owned()))
    }

    /// Pages of the proxy itself.
    fn own_page(&self, head: &Parts) -> Option<Answer> {
        if head.method != http::Method::GET {
            return None;
        }
        let Service { api, metrics, connections, .. } = &*self.service;
        match head.uri.path() {
            "/healthz" => Some(health(&api.status())),
            "/metrics" => {
                let now = UnixTime::from(SystemTime::now());
                let page = metrics.write(&api.status(), connections.count(), now);
                let content_type = "text/plain; version=0.0.4; charset=utf-8";
                Some(page.map_or_else(
                    |_| failed(StatusCode::INTERNAL_SERVER_ERROR, Fate::Answered, "the metrics cannot be written"),
                    |page| text(StatusCode::OK, Fate::Answered, content_type, page),
                ))
            }
            _ => None,
        }
    }

    #[expect(clippy::result_large_err, reason = "a refusal is an answer, and moved once")]
    fn open_web_socket(&self, mut request: Request<Incoming>) -> Result<Answer, Answer> {
        let (answer, opening) = Opening::new(&mut request)?;
        *self.opening.lock().unwrap_or_else(PoisonError::into_inner) = Some(opening);
        Ok(answer)
    }
}
