//! Requests out, responses in: hyper over rustls, with a limit to everything.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ibkr_oauth::Request;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use crate::limits::Limits;

/// Shorter than servers keep connections, so that seldom one is used that is being closed.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// Why no response came.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransportError {
    /// There was no connection, and nothing went out.
    #[error("no connection: {0}")]
    Connect(String),
    /// The response did not begin in time.
    #[error("no response within {0:?}")]
    HeadTimeout(Duration),
    /// The response began, and did not end in time.
    #[error("the response is incomplete after {0:?}")]
    BodyTimeout(Duration),
    /// The response is larger than is read.
    #[error("the response is longer than {0} bytes")]
    BodyTooLarge(usize),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The time that the request had was up.
    #[error("the request's time was up")]
    Deadline,
    /// The client was shut down before the response came.
    #[error("the client was shut down")]
    ShutDown,
    /// The request cannot be written as HTTP: its URL is too long.
    #[error("the request cannot be sent: {0}")]
    Unsendable(String),
}

impl TransportError {
    /// Returns whether it is certain that the server has not seen the request.
    pub fn nothing_went_out(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Unsendable(_))
    }
}

/// A connection, plain or over TLS.
pub(crate) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Sends requests over connections that are kept for the next.
#[derive(Clone)]
pub(crate) struct Transport {
    http: Client<Connector, Full<Bytes>>,
    connector: Connector,
    limits: Limits,
}

impl Transport {
    pub(crate) fn new(tls: ClientConfig, limits: Limits) -> Self {
        let connector = Connector::new(tls, limits.connect);
        // What is sent again on a new connection has not begun to be written to the old one: no server sees it twice.
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .retry_canceled_requests(true)
            .build(connector.clone());
        Self { http, connector, limits }
    }

    /// Sends `request` once, as it is, and follows no redirect.
    pub(crate) async fn send(&self, request: Request) -> Result<http::Response<Bytes>, TransportError> {
        let request = http::Request::try_from(request).map_err(|error| TransportError::Unsendable(in_full(&error)))?;
        let request = request.map(|body| Full::from(Bytes::from(body)));
        let Limits { head, body: body_time, body_size, .. } = self.limits;
        let response =
            timeout(head, self.http.request(request)).await.map_err(|_| TransportError::HeadTimeout(head))?;
        let (head, body) = response.map_err(failure)?.into_parts();
        let body = timeout(body_time, Limited::new(body, body_size).collect()).await;
        let body = body.map_err(|_| TransportError::BodyTimeout(body_time))?.map_err(|error| {
            if error.is::<LengthLimitError>() {
                TransportError::BodyTooLarge(body_size)
            } else {
                TransportError::Broken(in_full(&*error))
            }
        })?;
        Ok(http::Response::from_parts(head, body.to_bytes()))
    }

    /// Opens a connection of its own to the host of `uri`, an `http` or `https` URL.
    pub(crate) async fn connect(&self, uri: Uri) -> Result<Stream, TransportError> {
        self.connector.clone().call(uri).await.map_err(|error| TransportError::Connect(in_full(&*error)))
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }
}

fn failure(error: hyper_util::client::legacy::Error) -> TransportError {
    match error.is_connect() {
        // The causes say more than "client error (Connect)".
        true => TransportError::Connect(error.source().map_or_else(|| error.to_string(), in_full)),
        false => TransportError::Broken(in_full(&error)),
    }
}

/// An error with all its causes, each said once.
pub(crate) fn in_full(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

/// Trusts whom browsers trust.
pub(crate) fn default_tls() -> Result<ClientConfig, rustls::Error> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Connects over TCP, and TLS where the URL wants it, within a time.
#[derive(Clone)]
struct Connector {
    https: HttpsConnector<HttpConnector>,
    patience: Duration,
}

impl Connector {
    fn new(mut tls: ClientConfig, patience: Duration) -> Self {
        // Only HTTP/1.1 is spoken; `HttpsConnector` says so itself.
        tls.alpn_protocols.clear();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        Self { https: HttpsConnector::from((tcp, tls)), patience }
    }
}

type Failure = Box<dyn Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Failure>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connection, patience) = (self.https.call(uri), self.patience);
        Box::pin(async move {
            let late = |_| Failure::from(format!("none within {patience:?}"));
            timeout(patience, connection).await.map_err(late)?
        })
    }
}
