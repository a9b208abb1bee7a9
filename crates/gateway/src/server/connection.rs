//! One connection, from its start to its end: requests and responses, then perhaps a WebSocket.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;

use super::delivery::{Body, HangUp, deliver};
use super::web_socket::Opening;
use super::wire::Wire;
use super::{Service, body, consent_page};
use crate::response::Response;

const MAX_HEADERS: usize = 100;
/// Longest head of a request, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// How long a connection may be without a whole head, whether the client is slow or has nothing to ask.
const HEAD_TIME: Duration = Duration::from_secs(60);
/// How long a client may leave unread what is written to it.
const WRITE_TIME: Duration = Duration::from_secs(5);
/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

impl Service {
    pub(crate) async fn serve(self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_TIME));
        let stream = Box::pin(stream);
        match self.tls.clone() {
            None => self.converse(stream).await,
            Some(acceptor) => self.converse(timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await??).await,
        }
    }

    async fn converse(mut self, stream: impl Wire) -> io::Result<()> {
        match self.speak_http(stream).await? {
            Some(opening) => opening.converse(&self.host, &mut self.stop).await,
            None => Ok(()),
        }
    }

    /// Answers requests until the connection ends, or goes on as a WebSocket.
    async fn speak_http(&self, stream: impl Wire) -> io::Result<Option<Opening>> {
        let opening = Mutex::new(None);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD);
        let service = service_fn(|request| self.respond(request, &opening));
        let mut connection = Box::pin(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
        let mut stop = self.stop.clone();
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.requested() => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
        };
        let parts = Pin::into_inner(connection).into_parts();
        if let Err(error) = ended {
            if asks_for_reset(&error) {
                parts.map_or(Ok(()), |parts| parts.io.into_inner().reset())?;
            }
            return Err(io::Error::other(error));
        }
        Ok(opening.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers one request. If it opens a WebSocket, that is put into `opening`.
    async fn respond(
        &self,
        mut request: Request<Incoming>,
        opening: &Mutex<Option<Opening>>,
    ) -> Result<http::Response<Body>, HangUp> {
        let upgrade = is_web_socket_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
        let response = match (body::receive(request).await, upgrade) {
            (Err(rejection), _) => rejection,
            (Ok(request), None) => self.handle(&request),
            (Ok(request), Some(upgrade)) => {
                let now = SystemTime::now();
                let (response, opened) = self.host.serve(|gateway| Opening::new(gateway, &request, upgrade, now));
                *opening.lock().unwrap_or_else(PoisonError::into_inner) = opened;
                response
            }
        };
        deliver(response).await
    }

    fn handle(&self, request: &Request<Vec<u8>>) -> Response {
        let mut rng = UnwrapErr(SysRng);
        self.host.serve(|gateway| {
            let consent = consent_page::handle(gateway, request, &mut rng);
            consent.unwrap_or_else(|| gateway.handle(request, &mut rng, SystemTime::now()))
        })
    }
}

fn asks_for_reset(error: &hyper::Error) -> bool {
    error.source().and_then(<dyn Error>::downcast_ref).is_some_and(|cause| matches!(cause, HangUp::Reset))
}

fn is_web_socket_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, CONNECTION, "upgrade") && has_token(headers, UPGRADE, "websocket")
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        let value = String::from_utf8_lossy(value.as_bytes());
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token))
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::watch;
    use tokio::time::{Instant, sleep};

    use super::super::Stop;
    use super::super::host::Host;
    use super::*;
    use crate::Gateway;

    impl Wire for DuplexStream {
        fn reset(self) -> io::Result<()> {
            Ok(())
        }
    }

    fn service(stop: watch::Receiver<()>) -> Service {
        let gateway = Gateway::new("http://127.0.0.1:4000/v1/api").unwrap();
        Service { host: Host::new(gateway), tls: None, stop: Stop(stop) }
    }

    /// How long the server bears with a client that says `first`, then an `x` every three seconds, and what it answers.
    /// The clock stands still but for what is waited for.
    async fn patience_with(first: &str) -> (Duration, String) {
        let (_running, stop) = watch::channel(());
        let service = service(stop);
        let (client, server) = duplex(64 * 1024);
        let (mut received, sent) = tokio::io::split(client);
        tokio::spawn(drip(sent, first.to_owned()));
        let begin = Instant::now();
        let _ = service.converse(server).await;
        let patience = begin.elapsed();
        let mut answer = String::new();
        received.read_to_string(&mut answer).await.unwrap();
        (patience, answer)
    }

    async fn drip(mut client: tokio::io::WriteHalf<DuplexStream>, first: String) {
        let mut sent = client.write_all(first.as_bytes()).await;
        while sent.is_ok() {
            sleep(Duration::from_secs(3)).await;
            sent = client.write_all(b"x").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_byte_by_byte_is_not_waited_for() {
        let (patience, answer) = patience_with("GET / HTTP/1.1\r\nX: ").await;
        assert_eq!((patience.as_secs(), answer.as_str()), (60, ""));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_byte_by_byte_is_not_waited_for() {
        let (patience, answer) = patience_with("POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n").await;
        assert_eq!(patience.as_secs(), 10);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_another_request_is_closed() {
        let (patience, answer) = patience_with("GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(patience.as_secs(), 60);
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stops_closes_idle_connections_at_once() {
        let (running, stop) = watch::channel(());
        let (_client, server) = duplex(64 * 1024);
        let idle = tokio::spawn(service(stop).converse(server));
        sleep(Duration::from_secs(1)).await;
        let begin = Instant::now();
        drop(running);
        idle.await.unwrap().unwrap();
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
