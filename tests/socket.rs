//! One connection, without an HTTP client: a login and the requests after it.
#![cfg(all(feature = "http", feature = "http1"))]

#[path = "support/credentials.rs"]
mod credentials;
#[path = "support/driver.rs"]
mod driver;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use credentials::Credentials;
use driver::{now, rng};
use ibkr_oauth::http1::{Decoder, encode};
use ibkr_oauth::{ApiRequest, Outbound, Phase, Request, Response};
use ibkr_oauth_gateway::Server;

/// The example of the module's documentation, on one connection for as many requests as the server takes.
struct Connection(TcpStream);

impl Connection {
    fn send(&mut self, request: &Request) -> Response<'static> {
        self.0.write_all(&encode(request)).unwrap();
        let mut decoder = Decoder::new();
        let mut buffer = [0; 7];
        loop {
            let count = self.0.read(&mut buffer).unwrap();
            if let Some(response) = decoder.handle_bytes(&buffer[..count]).unwrap() {
                assert!(decoder.keep_alive());
                return response;
            }
        }
    }
}

#[test]
fn a_login_and_a_signed_request_share_a_socket() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let mut session = Credentials::first_party(&mut server.gateway(), "SOCKETCON").session();
    let mut connection = Connection(TcpStream::connect(server.address()).unwrap());
    while let Some(Outbound { request, exchange }) = session.poll_request(&mut rng(), now()).unwrap() {
        let response = connection.send(&request);
        session.handle_response(exchange, &response, now()).unwrap();
    }
    assert_eq!(session.phase(now()), Phase::LiveSession);
    let live = session.live(now()).unwrap();
    for (call, status) in [
        (ApiRequest::get("/portfolio/accounts"), 200),
        (ApiRequest::post("/iserver/auth/ssodh/init").json(br#"{"publish":true,"compete":true}"#), 200),
        (ApiRequest::get("/iserver/marketdata/snapshot").query(&[("conids", "8314"), ("fields", "31")]), 200),
        (ApiRequest::get("/nowhere"), 404),
        (ApiRequest::post("/tickle"), 200),
    ] {
        let response = connection.send(&live.sign(&call, &mut rng(), now()).unwrap());
        assert_eq!(response.status(), status, "{call:?}");
    }
}
