//! A gateway behind a wire on which answers suffer. The wire knows what the gateway has said and what of it arrives.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::Request;
use ibkr_oauth::UnixTime;
use ibkr_oauth_gateway::{AccountKind, Gateway, IssuedToken, User};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::http::{encode, receive};
use crate::support::NOW;
use crate::support::pair::{Answer as Said, CONSUMER, system_time};

/// The longest that an answer is held back, in milliseconds: twice as long as a client waits.
const LONGEST_DELAY: u64 = 60_000;
/// How long a connection stays open after its answer.
const LINGERING: Duration = Duration::from_secs(60);
/// How often the server looks whether to stop while a request comes in.
const PAUSE: Duration = Duration::from_millis(50);

/// What may happen to an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// The connection is closed without it.
    Dropped,
    /// The connection is closed before its end.
    Truncated,
    Delayed,
    /// One bit of it is another, anywhere.
    Corrupted,
}

impl Fault {
    pub const ALL: [Self; 4] = [Self::Dropped, Self::Truncated, Self::Delayed, Self::Corrupted];

    /// One in a hundred is each of them.
    fn draw(rng: &mut StdRng) -> Option<Self> {
        Self::ALL.get(rng.random_range(0..100)).copied()
    }
}

/// What both ends share: the clock, and the connections with their answers.
pub struct Wire {
    address: SocketAddr,
    now: AtomicU64,
    answered: AtomicUsize,
    answers: Mutex<Vec<Answer>>,
    stopping: AtomicBool,
}

/// An answer on its connection.
struct Answer {
    stream: TcpStream,
    unsent: Vec<u8>,
    due: UnixTime,
    hang_up_at: UnixTime,
}

impl Wire {
    pub fn new(listener: &TcpListener) -> Self {
        Self {
            address: listener.local_addr().unwrap(),
            now: AtomicU64::new(NOW.as_millis()),
            answered: AtomicUsize::new(0),
            answers: Mutex::default(),
            stopping: AtomicBool::new(false),
        }
    }

    pub fn now(&self) -> UnixTime {
        UnixTime::from_millis(self.now.load(Ordering::SeqCst))
    }

    /// How many requests the gateway has answered, whatever became of the answers.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    /// When the next of the delayed answers arrives.
    pub fn next_arrival(&self) -> Option<UnixTime> {
        let answers = self.answers.lock().unwrap();
        answers.iter().filter(|answer| !answer.unsent.is_empty()).map(|answer| answer.due).min()
    }

    /// Sets the clock, sends what is due by then, and hangs up where all was said long ago.
    pub fn advance_to(&self, now: UnixTime) {
        self.now.store(now.as_millis(), Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        answers.iter_mut().filter(|answer| answer.due <= now).for_each(Answer::send);
        answers.retain(|answer| now < answer.hang_up_at);
    }

    fn carry(&self, answer: Answer) {
        self.answers.lock().unwrap().push(answer);
        self.advance_to(self.now());
        self.answered.fetch_add(1, Ordering::SeqCst);
    }

    /// Ends [`Server::serve`].
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        // It waits for a connection: here is one.
        drop(TcpStream::connect(self.address));
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

impl Answer {
    fn send(&mut self) {
        // The client may have gone.
        let _ = self.stream.write_all(&std::mem::take(&mut self.unsent));
    }
}

/// The gateway, which answers one request after the other.
pub struct Server {
    gateway: Gateway,
    /// By access token.
    lines: HashMap<String, Line>,
    log: Log,
}

impl Server {
    pub fn new(gateway: Gateway) -> Self {
        Self { gateway, lines: HashMap::new(), log: Log::default() }
    }

    /// Expects a client with an access token for this user.
    pub fn expect(&mut self, user: &str, mut rng: StdRng) -> IssuedToken {
        self.gateway.add_user(User { name: user.to_owned(), accounts: Vec::new(), kind: AccountKind::Paper });
        let issued = self.gateway.issue_access_token(CONSUMER, user, &mut rng).unwrap();
        self.lines.insert(issued.token.clone(), Line { rng, proved: false, sessions: BTreeSet::new() });
        issued
    }

    /// Returns when the wire is stopped.
    pub fn serve(mut self, listener: &TcpListener, wire: &Wire) -> Log {
        while let Some(mut stream) = next_connection(listener, wire) {
            if let Some(request) = receive(&mut stream, &|| !wire.stopping()) {
                wire.carry(self.answer(&request, stream, wire.now()));
            }
        }
        self.log
    }

    fn answer(&mut self, request: &Request<Vec<u8>>, stream: TcpStream, now: UnixTime) -> Answer {
        let line = self.lines.get_mut(access_token(request)).expect("only clients with an access token ask");
        let response = self.gateway.handle(request, &mut line.rng, system_time(now));
        let fault = Fault::draw(&mut line.rng);
        let unsent = encode(&response);
        let answer = line.carry(Answer { stream, unsent, due: now, hang_up_at: now.saturating_add(LINGERING) }, fault);
        self.log.count(fault);
        if request.uri().path().ends_with("/oauth/live_session_token") {
            line.proved = proof_arrives(&response, &answer.unsent);
            let corrupted = fault == Some(Fault::Corrupted) && response.status() == 200;
            self.log.damaged_proofs += usize::from(corrupted && !line.proved);
        } else {
            self.log.unproved_signatures += usize::from(!line.may_have_signed(&response));
        }
        answer
    }
}

fn next_connection(listener: &TcpListener, wire: &Wire) -> Option<TcpStream> {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PAUSE)).unwrap();
    (!wire.stopping()).then_some(stream)
}

fn access_token(request: &Request<Vec<u8>>) -> &str {
    let header = request.headers()["authorization"].to_str().unwrap();
    let (_, token) = header.split_once("oauth_token=\"").unwrap();
    token.split_once('"').unwrap().0
}

fn proof_arrives(response: &Said, arrived: &[u8]) -> bool {
    let sent: Value = serde_json::from_slice(response.body()).unwrap();
    let arrived = String::from_utf8_lossy(arrived).to_ascii_lowercase();
    let arrives = |field: &str| sent[field].as_str().is_some_and(|value| arrived.contains(value));
    arrives("diffie_hellman_response") && arrives("live_session_token_signature")
}

/// What the wire knows of one client.
struct Line {
    /// Of its own, so that the same befalls each client in whatever order they are served.
    rng: StdRng,
    /// Did the latest answer to a login arrive with the gateway's half of the agreement and the proof?
    proved: bool,
    /// The live sessions that it has used, by the names that tickles give them.
    sessions: BTreeSet<String>,
}

impl Line {
    fn carry(&mut self, mut answer: Answer, fault: Option<Fault>) -> Answer {
        let length = answer.unsent.len();
        match fault {
            None => {}
            Some(Fault::Dropped) => {
                answer.unsent.clear();
                answer.hang_up_at = answer.due;
            }
            Some(Fault::Truncated) => {
                answer.unsent.truncate(self.rng.random_range(1..length));
                answer.hang_up_at = answer.due;
            }
            Some(Fault::Delayed) => {
                let delay = Duration::from_millis(self.rng.random_range(1..=LONGEST_DELAY));
                answer.due = answer.due.saturating_add(delay);
                answer.hang_up_at = answer.hang_up_at.saturating_add(delay);
            }
            Some(Fault::Corrupted) => {
                let place = self.place_in(&answer.unsent);
                answer.unsent[place] ^= 1 << self.rng.random_range(0..8);
            }
        }
        answer
    }

    /// In the status line, the headers or the body, each as often as the others.
    fn place_in(&mut self, answer: &[u8]) -> usize {
        let status_line = answer.iter().position(|&byte| byte == b'\n').unwrap();
        let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        let parts = [0..status_line, status_line..head, head..answer.len()];
        let part = parts[self.rng.random_range(0..parts.len())].clone();
        self.rng.random_range(part)
    }

    /// Was the token one that the gateway has issued, and is it an older one unless its proof arrived?
    fn may_have_signed(&mut self, response: &Said) -> bool {
        match response.status().as_u16() {
            200 => {
                let tickle: Value = serde_json::from_slice(response.body()).unwrap();
                !self.sessions.insert(tickle["session"].to_string()) || self.proved
            }
            _ => response.body() != b"Invalid signature",
        }
    }
}

/// What has passed over the wire.
#[derive(Default)]
pub struct Log {
    answers: usize,
    faults: HashMap<Fault, usize>,
    /// Answers that a live session would have come from, had they not been corrupted.
    pub damaged_proofs: usize,
    pub unproved_signatures: usize,
}

impl Log {
    fn count(&mut self, fault: Option<Fault>) {
        self.answers += 1;
        if let Some(fault) = fault {
            *self.faults.entry(fault).or_default() += 1;
        }
    }

    /// In percent of all answers.
    pub fn share_of(&self, fault: Fault) -> f64 {
        let count = self.faults.get(&fault).copied().unwrap_or_default();
        100.0 * count as f64 / self.answers as f64
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answers", self.answers)?;
        for fault in Fault::ALL {
            write!(f, ", {:.2} % {fault:?}", self.share_of(fault))?;
        }
        write!(f, "; {} damaged proofs, {} unproved signatures", self.damaged_proofs, self.unproved_signatures)
    }
}
