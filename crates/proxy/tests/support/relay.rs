//! What stands between the proxy and IBKR: it sees all that goes out, and can hold answers back or cut connections.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    seen: Mutex<String>,
    holds: watch::Sender<bool>,
    /// A change ends all connections.
    cuts: watch::Sender<()>,
}

impl Relay {
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared { seen: Mutex::default(), holds: watch::Sender::new(false), cuts: watch::Sender::new(()) };
        let shared = Arc::new(shared);
        let of_task = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(upstream).await.unwrap();
                tokio::spawn(Arc::clone(&of_task).relay(client, server));
            }
        });
        Self { address, shared, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often this went out.
    pub fn count(&self, words: &str) -> usize {
        self.seen().matches(words).count()
    }

    pub fn seen(&self) -> String {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Holds answers back, or lets them go.
    pub fn hold(&self, holds: bool) {
        self.shared.holds.send_replace(holds);
    }

    /// Whether it holds answers back: to be changed while the relay is in use elsewhere.
    pub fn holds(&self) -> watch::Sender<bool> {
        self.shared.holds.clone()
    }

    pub fn cut(&self) {
        self.shared.cuts.send_replace(());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn relay(self: Arc<Self>, client: TcpStream, server: TcpStream) {
        let (mut asked, mut answers) = client.into_split();
        let (mut answered, mut questions) = server.into_split();
        let (mut holds, mut cuts) = (self.holds.subscribe(), self.cuts.subscribe());
        let out = async {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(count @ 1..) = asked.read(&mut buffer).await {
                self.seen.lock().unwrap().push_str(&unmasked(&buffer[..count]));
                questions.write_all(&buffer[..count]).await.ok()?;
            }
            Some(())
        };
        let back = async {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(count @ 1..) = answered.read(&mut buffer).await {
                holds.wait_for(|holds| !holds).await.ok()?;
                answers.write_all(&buffer[..count]).await.ok()?;
            }
            Some(())
        };
        tokio::select! {
            _ = out => {}
            _ = back => {}
            _ = cuts.changed() => {}
        }
    }
}

/// What was meant: short messages on a WebSocket are masked with four bytes that stand before each.
fn unmasked(mut bytes: &[u8]) -> String {
    let mut meant = String::new();
    while let [0x81, length @ 0x80..=0xfd, rest @ ..] = bytes {
        let (mask, rest) = rest.split_at(4);
        let (text, rest) = rest.split_at(usize::from(length - 0x80));
        let text: Vec<u8> = text.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        meant.push_str(&format!("<{}>", String::from_utf8_lossy(&text)));
        bytes = rest;
    }
    meant + &String::from_utf8_lossy(bytes)
}
