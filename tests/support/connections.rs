//! The event loop example's connections: mio's readiness, rustls over non-blocking sockets, the feature `http1` in between.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use ibkr_oauth::http1::{self, Decoder};
use ibkr_oauth::{Request, Response};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// A connection for one request and its response.
pub struct Call {
    stream: Box<dyn Stream>,
    unsent: Vec<u8>,
    decoder: Decoder,
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// Until something is ready or the time is over; an interruption is neither, and ends it too.
pub fn wait(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
        outcome => outcome,
    }
}

impl Call {
    /// Connects; all else waits for the socket to be ready.
    pub fn start(
        request: &Request,
        registry: &Registry,
        token: Token,
        tls: &Arc<ClientConfig>,
    ) -> Result<Self, Box<dyn Error>> {
        let stream = connect(request, registry, token, tls)?;
        Ok(Self { stream, unsent: http1::encode(request), decoder: Decoder::new() })
    }

    /// Writes and reads as far as it goes without waiting.
    pub fn advance(&mut self) -> Result<Option<Response<'static>>, Box<dyn Error>> {
        while !self.unsent.is_empty() {
            let Some(count) = unless_it_waits(self.stream.write(&self.unsent))? else { return Ok(None) };
            self.unsent.drain(..count);
        }
        unless_it_waits(self.stream.flush())?;
        let mut buffer = [0; 4096];
        loop {
            let Some(count) = unless_it_waits(self.stream.read(&mut buffer))? else { return Ok(None) };
            let response = match count {
                0 => self.decoder.handle_eof()?,
                _ => self.decoder.handle_bytes(&buffer[..count])?,
            };
            if response.is_some() {
                return Ok(response);
            }
        }
    }
}

/// `None` for what goes on when the socket is ready.
fn unless_it_waits<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// A socket that begins to connect, under TLS if the URL wants it. Only the name is resolved on the spot.
fn connect(
    request: &Request,
    registry: &Registry,
    token: Token,
    tls: &Arc<ClientConfig>,
) -> Result<Box<dyn Stream>, Box<dyn Error>> {
    let is_https = request.url().starts_with("https://");
    let (host, port) = split_port(request.authority(), if is_https { 443 } else { 80 })?;
    let address = (host, port).to_socket_addrs()?.next().ok_or("the host has no address")?;
    let mut socket = TcpStream::connect(address)?;
    registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
    if !is_https {
        return Ok(Box::new(socket));
    }
    let session = ClientConnection::new(Arc::clone(tls), host.to_string().try_into()?)?;
    Ok(Box::new(StreamOwned::new(session, socket)))
}

fn split_port(authority: &str, default: u16) -> Result<(&str, u16), Box<dyn Error>> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse()?),
        _ => (authority, default),
    };
    Ok((host.trim_start_matches('[').trim_end_matches(']'), port))
}
