//! The server, by clients on sockets: it goes on serving, whoever else is connected.

#[allow(dead_code, reason = "the tests without a socket use the rest")]
#[path = "../gateway/client.rs"]
mod client;
mod consent;
mod delivery;
mod rude_clients;
mod test_keys;
mod tls;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use ibkr_oauth_gateway::{Gateway, Server};

/// A server, as a client on this machine sees it.
struct Service {
    server: Server,
}

impl Service {
    fn start() -> Self {
        Self { server: Server::bind("127.0.0.1:0").unwrap() }
    }

    /// Whatever the gateway believes to be its address.
    fn start_with(gateway: Gateway) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { server: Server::start(gateway, listener).unwrap() }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// All that comes back until the server hangs up.
    fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        read_all(&mut stream)
    }
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        // The server may hang up on what it has not read.
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8_lossy(&answer).into_owned()
}
