//! One thread, one loop, as many sessions as you like: mio's readiness, rustls over non-blocking sockets, the feature
//! `http1` for the bytes in between. No async runtime, no HTTP client.
//!
//! ```text
//! cargo run --example event_loop -- [--credentials FILE [--base-url URL]]
//! ```

pub(crate) mod support;

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ibkr_oauth::http1::{self, Decoder};
use ibkr_oauth::{ApiRequest, Exchange, OAuthSession, Outbound, Request, Response, UnixTime};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use support::accounts::Accounts;
use support::driver::{account_ids, now, rng};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A session, and what it waits for.
struct Client {
    session: OAuthSession,
    in_flight: Option<InFlight>,
    /// Once they are known, all is done.
    accounts: Option<Vec<String>>,
}

/// A request on its way.
struct InFlight {
    purpose: Purpose,
    call: Call,
    deadline: UnixTime,
}

/// A connection for one request and its answer.
pub struct Call {
    stream: Box<dyn Stream>,
    unsent: Vec<u8>,
    decoder: Decoder,
}

enum Purpose {
    LogIn(Exchange),
    ListAccounts,
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn main() -> ExitCode {
    support::exit_code(log_in())
}

fn log_in() -> Result<(), Box<dyn Error>> {
    let accounts = Accounts::from_arguments(&["FIRSTUSER", "OTHERUSER"])?;
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    let tls = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    for accounts in run(accounts.sessions()?, &tls)? {
        println!("logged in: {}", accounts.join(", "));
    }
    Ok(())
}

/// Logs all of them in, and asks each for its accounts. A program that stays would go on in the same loop: it wakes up
/// when a session is due to be refreshed.
pub fn run(sessions: Vec<OAuthSession>, tls: &Arc<ClientConfig>) -> Result<Vec<Vec<String>>, Box<dyn Error>> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(64);
    let client = |session| Client { session, in_flight: None, accounts: None };
    let mut clients: Vec<_> = sessions.into_iter().map(client).collect();
    while clients.iter().any(|client| client.accounts.is_none()) {
        for (index, client) in clients.iter_mut().enumerate() {
            client.send_what_is_due(poll.registry(), Token(index), tls)?;
        }
        let next = clients.iter().filter_map(Client::next_timeout).min();
        wait(&mut poll, &mut events, next.map(|time| time.saturating_since(now())))?;
        for event in &events {
            clients[event.token().0].handle_readiness()?;
        }
        clients.iter_mut().try_for_each(Client::handle_time)?;
    }
    Ok(clients.into_iter().filter_map(|client| client.accounts).collect())
}

/// Until something is ready or the time is over; an interruption is neither, and ends it too.
pub fn wait(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
        outcome => outcome,
    }
}

impl Client {
    fn send_what_is_due(
        &mut self,
        registry: &Registry,
        token: Token,
        tls: &Arc<ClientConfig>,
    ) -> Result<(), Box<dyn Error>> {
        if self.in_flight.is_none()
            && let Some((request, purpose)) = self.next_request()?
        {
            let call = Call::start(&request, registry, token, tls)?;
            self.in_flight = Some(InFlight { purpose, call, deadline: now().saturating_add(PATIENCE) });
        }
        Ok(())
    }

    /// The session comes first: its token may have to be refreshed.
    fn next_request(&mut self) -> Result<Option<(Request, Purpose)>, Box<dyn Error>> {
        if let Some(Outbound { request, exchange }) = self.session.poll_request(&mut rng(), now())? {
            return Ok(Some((request, Purpose::LogIn(exchange))));
        }
        match (&self.accounts, self.session.live(now())) {
            (None, Some(live)) => {
                let request = live.sign(&ApiRequest::get("/portfolio/accounts"), &mut rng(), now())?;
                Ok(Some((request, Purpose::ListAccounts)))
            }
            _ => Ok(None),
        }
    }

    /// When there is something to do even if no socket is ready.
    fn next_timeout(&self) -> Option<UnixTime> {
        match &self.in_flight {
            Some(in_flight) => Some(in_flight.deadline),
            None => self.session.poll_timeout(),
        }
    }

    fn handle_readiness(&mut self) -> Result<(), Box<dyn Error>> {
        let Some(in_flight) = &mut self.in_flight else { return Ok(()) };
        let Some(response) = in_flight.call.advance()? else { return Ok(()) };
        match self.in_flight.take().map(|in_flight| in_flight.purpose) {
            Some(Purpose::LogIn(exchange)) => drop(self.session.handle_response(exchange, response, now())?),
            _ => self.accounts = Some(account_ids(&response)?),
        }
        Ok(())
    }

    /// Another program would try again: with the exchange dropped, the session offers a fresh request.
    fn handle_time(&mut self) -> Result<(), Box<dyn Error>> {
        match &self.in_flight {
            Some(in_flight) if in_flight.deadline <= now() => Err("the answer takes too long".into()),
            _ => Ok(()),
        }
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
