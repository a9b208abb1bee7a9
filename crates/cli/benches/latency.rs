//! What the proxy costs: `cargo bench --package ibkr-oauth-cli --bench latency [-- REQUESTS]`, 2000 if not given. It prints
//! figures and judges nothing; it needs Linux.
//!
//! The program's gateway and its proxy run as processes of their own. One client asks both by turns for the same, on one
//! connection each: the gateway with a request that the client signs, and the proxy with one that the proxy signs. Before the
//! next pair it waits, so that neither has a queue. The memory is that of the proxy, and of the client, which has logged in too.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ibkr_oauth::http1::{Decoder, encode};
use ibkr_oauth::{ApiRequest, LiveSession, Response, UnixTime};
use ibkr_oauth_tokio::Credentials;

const REQUESTS: usize = 2000;
/// At 40 pairs a second, the proxy never waits for its limit of fifty requests.
const PAUSE: Duration = Duration::from_millis(25);
/// It has no limit of its own.
const ACCOUNTS: ApiRequest<'_> = ApiRequest::get("/iserver/accounts");

fn main() {
    let requests = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(REQUESTS);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (gateway, store) = (path("gateway"), path("store"));
    let (_gateway, _) = Program::start(&["gateway", "--several-tokens", "--dir", &gateway], "listening on http://");
    let credentials = Path::new(&gateway).join("credentials.json");
    let mut direct = Direct::log_in(&Credentials::from_file(&credentials).unwrap());
    let listen = ["proxy", "--plain", "--listen", "127.0.0.1:0", "--fifty-a-second"];
    let files = ["--credentials", credentials.to_str().unwrap(), "--store", &store];
    let (proxy, address) = Program::start(&[&listen[..], &files].concat(), "send their requests to http://");
    let mut proxied = Proxied::connect(&address);

    let mut times = [Vec::new(), Vec::new()];
    let idle = [Memory::of("self"), proxy.memory()];
    for turn in 0..requests {
        sleep(PAUSE);
        // Whoever comes first finds caches cold.
        for path in [turn % 2, 1 - turn % 2] {
            let begin = Instant::now();
            let response = if path == 0 { direct.ask() } else { proxied.ask() };
            times[path].push(begin.elapsed());
            assert_eq!(response.status(), 200, "{response:?}");
        }
    }
    let [direct_times, proxied_times] = times.map(Percentiles::of);
    println!("{requests} requests each, by turns, on one connection each");
    println!("latency             {:>8} {:>8} {:>8}", "least", "median", "99 %");
    println!("signed by the client{direct_times}");
    println!("through the proxy   {proxied_times}");
    println!("difference          {}", proxied_times.less(&direct_times));
    println!("memory in KiB               resident    most");
    for (who, memory) in [
        ("client, logged in", idle[0]),
        ("client, at the end", Memory::of("self")),
        ("proxy, logged in", idle[1]),
        ("proxy, at the end", proxy.memory()),
    ] {
        println!("{who:<27} {:>8} {:>7}", memory.resident, memory.most);
    }
}

/// A program of ours, which ends with this.
struct Program(Child);

impl Program {
    /// Returns what it has said behind `words`, up to the path.
    fn start(arguments: &[&str], words: &str) -> (Self, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ibkr-oauth"));
        let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let said = child.stdout.take().unwrap();
        let program = Self(child);
        let address = heard(said, words);
        (program, address)
    }

    fn memory(&self) -> Memory {
        Memory::of(&self.0.id().to_string())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn heard(said: ChildStdout, words: &str) -> String {
    let mut said = BufReader::new(said).lines().map(Result::unwrap);
    let line = said.find(|line| line.contains(words)).expect("the program does not start");
    // It may have more to say.
    std::thread::spawn(move || said.for_each(drop));
    let (_, behind) = line.split_once(words).unwrap();
    behind.split_once('/').map_or(behind, |(address, _)| address).to_owned()
}

/// A connection on which one request follows the other.
struct Connection(TcpStream);

impl Connection {
    fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    fn exchange(&mut self, request: &[u8]) -> Response<'static> {
        self.0.write_all(request).unwrap();
        let (mut decoder, mut buffer) = (Decoder::new(), [0; 4096]);
        loop {
            let count = self.0.read(&mut buffer).unwrap();
            assert!(count > 0, "the connection was closed");
            if let Some(response) = decoder.handle_bytes(&buffer[..count]).unwrap() {
                assert!(decoder.keep_alive());
                return response;
            }
        }
    }
}

/// Asks the gateway, with a signature.
struct Direct {
    connection: Connection,
    live: LiveSession,
}

impl Direct {
    fn log_in(credentials: &Credentials) -> Self {
        let mut session = credentials.session().unwrap();
        let address = credentials.base_url().unwrap().split('/').nth(2).unwrap().to_owned();
        let mut connection = Connection::open(&address);
        let outbound = session.poll_request(&mut UnwrapErr(SysRng), now()).unwrap().unwrap();
        let response = connection.exchange(&encode(&outbound.request));
        session.handle_response(outbound.exchange, &response, now()).unwrap();
        let live = session.live(now()).unwrap().clone();
        Self { connection, live }
    }

    fn ask(&mut self) -> Response<'static> {
        let request = self.live.sign(&ACCOUNTS, &mut UnwrapErr(SysRng), now()).unwrap();
        self.connection.exchange(&encode(&request))
    }
}

/// Asks the proxy, without one.
struct Proxied {
    connection: Connection,
    request: String,
}

impl Proxied {
    fn connect(address: &str) -> Self {
        let request = format!("GET /v1/api/iserver/accounts HTTP/1.1\r\nHost: {address}\r\n\r\n");
        Self { connection: Connection::open(address), request }
    }

    fn ask(&mut self) -> Response<'static> {
        self.connection.exchange(self.request.as_bytes())
    }
}

fn now() -> UnixTime {
    SystemTime::now().into()
}

/// Microseconds.
struct Percentiles([i128; 3]);

impl Percentiles {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros().try_into().unwrap();
        Self([0, 50, 99].map(at))
    }

    fn less(&self, other: &Self) -> Self {
        Self([0, 1, 2].map(|index| self.0[index] - other.0[index]))
    }
}

impl std::fmt::Display for Percentiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|micros| write!(f, " {micros:>5} µs"))
    }
}

/// KiB.
#[derive(Clone, Copy)]
struct Memory {
    resident: u64,
    most: u64,
}

impl Memory {
    fn of(process: &str) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let kib = |name: &str| {
            let (_, behind) = status.split_once(name).unwrap();
            behind.split_whitespace().next().unwrap().parse().unwrap()
        };
        Self { resident: kib("VmRSS:"), most: kib("VmHWM:") }
    }
}
