//! What the tests share: IBKR behind a relay that sees everything, a proxy in front, and a client that says what it likes.

pub mod enrolled;
pub mod relay;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use enrolled::Enrolled;
use ibkr_oauth_gateway::{Gateway, Server};
use ibkr_oauth_proxy::ibkr_oauth_tokio::ibkr_oauth::Client;
use ibkr_oauth_proxy::ibkr_oauth_tokio::{Status, WebApi};
use ibkr_oauth_proxy::{Listen, Options, Proxy, Tls};
use relay::Relay;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Nothing that a test waits for takes so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    pub server: Server,
    pub relay: Relay,
    pub api: WebApi,
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// On a free port of loopback, in plain HTTP.
pub fn plain() -> Options {
    Options::new(Listen::Tcp { address: ([127, 0, 0, 1], 0).into(), tls: Tls::Plain })
}

impl World {
    pub async fn start() -> Self {
        Self::with(plain(), |client| client).await
    }

    /// With a client that has a brokerage session.
    pub async fn with(options: Options, adapt: impl FnOnce(Client) -> Client) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Relay::start(listener.local_addr().unwrap()).await;
        let gateway = Gateway::new(&format!("http://{}/v1/api", relay.address())).unwrap();
        let server = Server::start(gateway, listener).unwrap();
        let enrolled = Enrolled::at(&mut server.gateway());
        let (api, _) = WebApi::builder(adapt(enrolled.client())).start().unwrap();
        soon(api.wait_until(Status::is_ready)).await.unwrap();
        let proxy = Proxy::bind(options).await.unwrap();
        let address = proxy.address().unwrap_or(([127, 0, 0, 1], 0).into());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(proxy.serve(api.clone(), async {
            let _ = stopped.await;
        }));
        Self { server, relay, api, address, stop: Some(stop), task }
    }

    /// Stops the proxy, and returns when it has ended.
    pub async fn stop(&mut self) {
        self.stop.take();
        soon(&mut self.task).await.unwrap();
    }

    /// Waits until the metrics say all this, each as `NAME VALUE`.
    pub async fn told(&self, metrics: impl AsRef<[&str]>) {
        soon(async {
            loop {
                let page = self.get("/metrics").await.body;
                let says = |metric: &&str| page.contains(&format!("\nibkr_oauth_proxy_{metric}\n"));
                if metrics.as_ref().iter().all(says) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        self.say(&request(method, path, headers, body)).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], "").await
    }

    pub async fn post(&self, path: &str, json: &str) -> Reply {
        self.ask("POST", path, &[("Content-Type", "application/json")], json).await
    }

    /// Says this, whatever it is, and returns what is answered until the connection ends.
    pub async fn say(&self, words: &str) -> Reply {
        converse(self.connect().await, words).await
    }
}

/// A request that ends its connection. `Host` is a good one, unless there is another.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request.push_str("Host: localhost:5000\r\n");
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if method != "GET" || !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request + "\r\n" + body
}

pub async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, words: &str) -> Reply {
    // A server that has heard enough may close early.
    let _ = stream.write_all(words.as_bytes()).await;
    let mut bytes = Vec::new();
    let _ = soon(stream.read_to_end(&mut bytes)).await;
    Reply::read(&String::from_utf8_lossy(&bytes))
}

/// An answer; status 0 if there was none.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Reply {
    pub fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// What the proxy says of an answer of its own.
    pub fn mark(&self) -> Option<&str> {
        self.header("ibkr-oauth-proxy")
    }
}

/// Fails a test that would hang.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Waits until it is so.
pub async fn until(mut is_so: impl FnMut() -> bool) {
    soon(async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
