//! Clients that do not speak HTTP, or do not finish, or do not listen.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Service, read_all};

const UNSIGNED: &[u8] = b"GET /v1/api/tickle HTTP/1.1\r\nHost: x\r\nUser-Agent: t\r\nConnection: close\r\n\r\n";

#[test]
fn a_valid_request_without_signature_gets_a_401() {
    let service = Service::start();
    assert_eq!(service.server.base_url(), format!("http://{}/v1/api", service.server.address()));
    let answer = service.exchange(UNSIGNED);
    assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
    assert!(answer.contains("\r\ndate: ") && answer.ends_with("\r\n\r\nUnauthorized"), "{answer}");
}

#[test]
fn malformed_requests_get_an_error_and_the_server_goes_on() {
    let service = Service::start();
    let long_header = [b"GET / HTTP/1.1\r\nX: ", "x".repeat(70_000).as_bytes()].concat();
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(101));
    let body = "x".repeat(8 * 1024 * 1024);
    let long_body = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let long_chunk = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}", body.len());
    for (rude, status) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], "400"),
        (b"GET\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n", "400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n", "413"),
        (long_body.as_bytes(), "413"),
        (long_chunk.as_bytes(), "413"),
        (&long_header, "431"),
        (many_headers.as_bytes(), "431"),
    ] {
        let answer = service.exchange(rude);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{:?}: {answer}", String::from_utf8_lossy(rude));
    }
    let mut half_said = service.connect();
    half_said.write_all(b"POST /v1/api/tickle HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
    half_said.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(&mut half_said).starts_with("HTTP/1.1 400 "));
    let _silent = service.connect();
    drop(service.connect());
    assert!(service.exchange(UNSIGNED).starts_with("HTTP/1.1 401 "), "and others are still served");
}

/// It is in chunks, and nothing that follows is taken for a request (RFC 9112 section 6.3).
#[test]
fn a_body_with_two_lengths_ends_the_connection() {
    let service = Service::start();
    for headers in
        ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5"]
    {
        let next = String::from_utf8_lossy(UNSIGNED);
        let answer = service.exchange(format!("POST / HTTP/1.1\r\n{headers}\r\n\r\n0\r\n\r\n{next}").as_bytes());
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let service = Service::start();
    let half = b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf";
    let no_chunk = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n";
    let streams = [&half[..], no_chunk].map(|request| {
        let mut stream = service.connect();
        stream.write_all(request).unwrap();
        stream
    });
    for mut stream in streams {
        let answer = read_all(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}

#[test]
fn a_client_that_never_reads_is_hung_up_on() {
    let service = Service::start();
    let mut stream = service.connect();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    let requests = b"GET / HTTP/1.1\r\n\r\n".repeat(1000);
    let mut write = || stream.write_all(&requests);
    let error = std::iter::from_fn(|| Some(write())).find_map(Result::err).unwrap();
    assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
}

#[test]
fn only_so_many_are_connected_at_once() {
    let service = Service::start();
    let mut silent: Vec<_> = (0..256).map(|_| service.connect()).collect();
    assert_eq!(read_all(&mut service.connect()), "");
    silent.pop();
    let is_served = || service.exchange(UNSIGNED).starts_with("HTTP/1.1 401 ");
    assert!((0..200).any(|_| is_served() || {
        thread::sleep(Duration::from_millis(50));
        false
    }));
}

#[test]
fn a_connection_serves_many_requests_however_they_arrive() {
    let service = Service::start();
    let mut stream = service.connect();
    let keep = b"POST /v1/api/tickle HTTP/1.1\r\nUser-Agent: t\r\nContent-Length: 2\r\n\r\n{}";
    let chunked = b"POST /v1/api/tickle HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    for piece in [&keep[..], chunked, keep].concat().chunks(7) {
        stream.write_all(piece).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    stream.write_all(UNSIGNED).unwrap();
    let answers = read_all(&mut stream);
    let statuses: Vec<_> = answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["401", "403", "401", "401"], "{answers}");
}

#[test]
fn a_client_that_waits_for_100_is_told_to_go_on() {
    let service = Service::start();
    let mut stream = service.connect();
    let head = b"POST /v1/api/tickle HTTP/1.1\r\nUser-Agent: t\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\
        Connection: close\r\n\r\n";
    stream.write_all(head).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{}").unwrap();
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 401 "));
}

#[test]
fn a_stopped_server_is_gone_at_once_with_all_its_connections() {
    let service = Service::start();
    let mut idle = service.connect();
    let mut busy = service.connect();
    busy.write_all(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
    let begin = Instant::now();
    let address = service.server.address();
    drop(service);
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_eq!(read_all(&mut idle) + &read_all(&mut busy), "");
    assert!(TcpStream::connect(address).is_err());
}
