//! What may be the callback that a user's consent leads to: from the browser, at a loopback port, or pasted.

use std::io;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use httparse::{EMPTY_HEADER, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long a browser may take to send its request, and to take the answer.
const BROWSER_TIME: Duration = Duration::from_secs(10);
/// Before the next attempt to accept a connection, when the system has no room for it.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes and lines of the largest request that is read.
const MAX_LENGTH: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;

/// All that may be the callback, from both sides, until this is dropped.
pub struct Callbacks {
    received: Receiver<Callback>,
    _listening: JoinSet<()>,
}

/// What may be the callback.
pub struct Callback {
    /// The address that the browser was sent to, or a part of it.
    pub address: String,
    browser: Option<TcpStream>,
}

/// What a browser is told of its callback.
#[derive(Clone, Copy)]
pub enum Verdict {
    Consented,
    Refused,
    Foreign,
}

impl Callbacks {
    /// Takes what is pasted from here on, and listens, unless the port cannot be used.
    ///
    /// Returns the port that is listened at, which for 0 is any free one.
    pub async fn start(port: u16) -> (Self, io::Result<u16>) {
        let (sender, received) = channel(1);
        let mut listening = JoinSet::new();
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let bound = bound.and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
        let bound = bound.map(|(port, listener)| {
            listening.spawn(listen(listener, sender.clone()));
            port
        });
        // Not a task: the program does not wait for the end of a thread, and this one may wait for the keyboard for ever.
        thread::spawn(move || read_lines(&sender));
        (Self { received, _listening: listening }, bound)
    }

    /// Waits for the next; `None` if none can come any more.
    pub async fn next(&mut self) -> Option<Callback> {
        self.received.recv().await
    }
}

impl Callback {
    /// Lets the browser that has brought it say what became of it.
    pub async fn answer(self, verdict: Verdict) {
        let Some(browser) = self.browser else { return };
        let (status, page) = match verdict {
            Verdict::Consented => ("200 OK", "Thank you. You can close this page."),
            Verdict::Refused => ("200 OK", "You have not agreed, so nothing is done. You can close this page."),
            Verdict::Foreign => ("400 Bad Request", "This is not the answer that is waited for. Is it an old page?"),
        };
        respond(browser, status, page).await;
    }
}

fn read_lines(callbacks: &Sender<Callback>) {
    for address in io::stdin().lines().map_while(Result::ok).filter(|line| !line.trim().is_empty()) {
        if callbacks.blocking_send(Callback { address, browser: None }).is_err() {
            return;
        }
    }
}

/// A browser that says nothing keeps no other waiting.
async fn listen(listener: TcpListener, callbacks: Sender<Callback>) {
    let mut browsers = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((browser, _)) => drop(browsers.spawn(receive(browser, callbacks.clone()))),
            Err(_) => sleep(PAUSE).await,
        }
        while browsers.try_join_next().is_some() {}
    }
}

async fn receive(mut browser: TcpStream, callbacks: Sender<Callback>) {
    match timeout(BROWSER_TIME, target_of_get(&mut browser)).await {
        Ok(Some(target)) if is_callback(&target) => {
            // Nobody may be waiting any more.
            let _ = callbacks.send(Callback { address: target, browser: Some(browser) }).await;
        }
        // Browsers also ask for an icon.
        Ok(Some(_)) => respond(browser, "404 Not Found", "There is nothing here.").await,
        Ok(None) => respond(browser, "400 Bad Request", "That was no request for a page.").await,
        Err(_) => {}
    }
}

/// Reads the whole head of a request: what is left unread would take the answer away from the browser.
async fn target_of_get(browser: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while head.len() < MAX_LENGTH && browser.read_buf(&mut head).await.ok()? > 0 {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        if let Status::Complete(_) = request.parse(&head).ok()? {
            return request.path.filter(|_| request.method == Some("GET")).map(str::to_owned);
        }
    }
    None
}

/// Which path was registered as callback is not known here; which query comes with it is (protocol section 1).
fn is_callback(target: &str) -> bool {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    query.split('&').any(|parameter| parameter.starts_with("oauth_token="))
}

async fn respond(mut browser: TcpStream, status: &str, page: &str) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}", page.len());
    let response = format!("{head}\r\nConnection: close\r\n\r\n{page}");
    // Whoever has closed the page does not want it.
    let _ = timeout(BROWSER_TIME, browser.write_all(response.as_bytes())).await;
}
