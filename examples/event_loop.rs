//! One thread, one loop, as many clients as you like: mio's readiness, rustls over non-blocking sockets, the feature
//! `http1` for the bytes in between. No async runtime, no HTTP client.
//!
//! ```text
//! cargo run --example event_loop -- [--credentials FILE [--base-url URL]] [--patience SECONDS]
//! ```

mod support;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use ibkr_oauth::http1::{self, Decoder};
use ibkr_oauth::{ApiRequest, Client, ClientExchange, Event, Outcome, Output, Request, Response, UnixTime};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use support::{Account, Credentials, account_ids, now, rng};

/// No connection is kept for longer: the client has asked again by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// All clients, and the requests that they have in flight.
struct EventLoop {
    poll: Poll,
    tls: Arc<ClientConfig>,
    clients: Vec<Client>,
    calls: BTreeMap<Token, InFlight>,
    /// Of each client, once they are known.
    accounts: Vec<Option<Vec<String>>>,
    next_token: usize,
    /// What went wrong last.
    failure: Option<Box<dyn Error>>,
}

/// A request on its way.
struct InFlight {
    client: usize,
    exchange: ClientExchange,
    call: Call,
    since: UnixTime,
}

/// A connection for one request and its response.
pub struct Call {
    stream: Box<dyn Stream>,
    unsent: Vec<u8>,
    decoder: Decoder,
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    account: Account,
    /// How long the login and the accounts may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
}

fn main() -> ExitCode {
    support::exit_code(log_in(&Arguments::parse()))
}

fn log_in(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (credentials, _own_gateway) = arguments.account.open(&["FIRSTUSER", "OTHERUSER"])?;
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    let tls = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    // Listing accounts takes no brokerage session; trading does.
    let client = |credentials: &Credentials| {
        let client = Client::new(credentials.session()?).without_brokerage_session();
        Ok(client.with_request_deadline(Duration::from_secs(arguments.patience)))
    };
    for accounts in run(credentials.iter().map(client).collect::<Result<_, Box<dyn Error>>>()?, &tls)? {
        println!("logged in: {}", accounts.join(", "));
    }
    Ok(())
}

/// Logs all of them in, and asks each for its accounts. A program that stays would go on in the same loop, and stay logged
/// in.
pub fn run(mut clients: Vec<Client>, tls: &Arc<ClientConfig>) -> Result<Vec<Vec<String>>, Box<dyn Error>> {
    for client in &mut clients {
        client.request(&ApiRequest::get("/portfolio/accounts"), now())?;
    }
    let mut all = EventLoop {
        poll: Poll::new()?,
        tls: Arc::clone(tls),
        accounts: vec![None; clients.len()],
        clients,
        calls: BTreeMap::new(),
        next_token: 0,
        failure: None,
    };
    let mut events = Events::with_capacity(64);
    loop {
        let next = (0..all.clients.len()).map(|client| all.serve(client)).collect::<Result<Vec<_>, _>>()?;
        if !all.accounts.contains(&None) {
            return Ok(all.accounts.into_iter().flatten().collect());
        }
        wait(&mut all.poll, &mut events, next.into_iter().min().map(|time| time.saturating_since(now())))?;
        events.iter().for_each(|event| all.handle_readiness(event.token()));
        all.calls.retain(|_, call| now() < call.since.saturating_add(PATIENCE));
    }
}

/// Until something is ready or the time is over; an interruption is neither, and ends it too.
pub fn wait(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
        outcome => outcome,
    }
}

impl EventLoop {
    /// Does what this client has to do now; returns when it has more to do.
    fn serve(&mut self, client: usize) -> Result<UnixTime, Box<dyn Error>> {
        loop {
            match self.clients[client].poll(&mut rng(), now()) {
                Output::Wait(until) => return Ok(until),
                Output::Send { request, exchange } => self.send(client, &request, exchange),
                Output::Event(Event::Finished { outcome: Outcome::Responded(response), .. }) => {
                    self.accounts[client] = Some(account_ids(&response)?);
                }
                Output::Event(Event::Finished { outcome: Outcome::Rejected { error, .. }, .. }) => {
                    return Err(error.into());
                }
                Output::Event(Event::Finished { .. }) => {
                    return Err(self.failure.take().unwrap_or_else(|| "the accounts did not come in time".into()));
                }
                Output::Event(Event::LoginFailed { error, .. }) => self.failure = Some(error.into()),
                Output::Event(_) => {}
            }
        }
    }

    fn send(&mut self, client: usize, request: &Request, exchange: ClientExchange) {
        let token = Token(self.next_token);
        self.next_token += 1;
        match Call::start(request, self.poll.registry(), token, &self.tls) {
            Ok(call) => drop(self.calls.insert(token, InFlight { client, exchange, call, since: now() })),
            Err(error) => self.failure = Some(error),
        }
    }

    fn handle_readiness(&mut self, token: Token) {
        let advance = |in_flight: &mut InFlight| in_flight.call.advance().transpose();
        let Some(outcome) = self.calls.get_mut(&token).and_then(advance) else { return };
        let Some(InFlight { client, exchange, .. }) = self.calls.remove(&token) else { return };
        match outcome {
            Ok(response) => _ = self.clients[client].handle_response(exchange, &response, now()), // too late: no harm
            Err(error) => self.failure = Some(error),
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
