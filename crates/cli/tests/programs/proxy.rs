//! The proxy, for clients that know nothing of OAuth.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{LOGIN, Running, World};

/// What is answered to a client of the Client Portal Gateway.
pub fn get(stream: impl Read + Write, path: &str, headers: &str) -> String {
    ask(stream, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}"), "")
}

/// Asks with the beginning of a head, and returns what is answered; nothing if the connection is closed.
fn ask(mut stream: impl Read + Write, head: &str, body: &str) -> String {
    let request = format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    // Whoever is not welcome may be cut off before.
    let _ = stream.write_all(request.as_bytes());
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    String::from_utf8(response).unwrap()
}

pub fn connect(proxy: &Running<'_>) -> TcpStream {
    let said = proxy.wait_for("/v1/api");
    let (_, behind) = said.split_once("http://").unwrap();
    let (address, _) = behind.split_once("/v1/api").unwrap();
    TcpStream::connect(address).unwrap()
}

#[test]
fn a_client_of_the_gateway_trades_through_a_stored_session() {
    let world = World::new("proxy");
    world.run(&["login"]).ends_with(0);
    let proxy = world.start(&["proxy", "--plain", "--listen", "127.0.0.1:0", "--stay-logged-in"]);
    let response = get(connect(&proxy), "/v1/api/iserver/accounts", "");
    assert!(response.starts_with("HTTP/1.1 200 ") && response.contains("DU1234567"), "{response}");
    assert!(get(connect(&proxy), "/v1/api/oauth/access_token", "").starts_with("HTTP/1.1 403 "));
    world.run(&["request", "GET", "/iserver/accounts"]).ends_with(0).says("DU1234567");
    proxy.terminate().ends_with(0);
    world.run(&["login"]).ends_with(0).says("Still logged in");
    assert_eq!(world.count(LOGIN), 1);
}

#[test]
fn a_proxy_with_a_token_serves_nobody_without_it() {
    let world = World::new("proxy-token");
    world.write("token", "correct-horse-battery\n");
    let token = world.path("token");
    let proxy = world.start(&["proxy", "--plain", "--listen", "127.0.0.1:0", "--token-file", &token, "--read-only"]);
    let ask = |headers: &str| get(connect(&proxy), "/v1/api/portfolio/accounts", headers);
    let right = "Authorization: Bearer correct-horse-battery\r\n";
    assert!(ask("").starts_with("HTTP/1.1 401 "));
    assert!(ask("Authorization: Bearer correct-horse-batterz\r\n").starts_with("HTTP/1.1 401 "));
    assert!(ask(right).contains("DU1234567"));
    assert!(get(connect(&proxy), "/v1/api/iserver/what-is-new", right).starts_with("HTTP/1.1 403 "), "read only");
    proxy.terminate().ends_with(0);
    assert_eq!(world.count("POST /v1/api/logout "), 1, "what the proxy has opened it logs out");
}

#[test]
fn what_goes_through_the_proxy_is_not_logged() {
    let world = World::new("proxy-logs");
    let proxy = world.start(&["proxy", "--plain", "--listen", "127.0.0.1:0", "--log-level", "debug"]);
    let head = "POST /v1/api/iserver/account/DU1234567/orders?q=canary HTTP/1.1\r\nHost: localhost\r\nX: canary\r\n";
    assert!(ask(connect(&proxy), head, r#"{"orders":[{"cOID":"canary"}]}"#).starts_with("HTTP/1.1 400 "));
    let upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut web_socket = connect(&proxy);
    let head = format!("GET /v1/api/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n{upgrade}\r\n");
    web_socket.write_all(head.as_bytes()).unwrap();
    let opened = "\nibkr_oauth_proxy_upstream_web_sockets{state=\"open\"} 1\n";
    let begin = Instant::now();
    while !get(connect(&proxy), "/metrics", "").contains(opened) {
        assert!(begin.elapsed() < Duration::from_secs(60), "no WebSocket to the server");
        std::thread::sleep(Duration::from_millis(20));
    }
    let ran = proxy.terminate().ends_with(0).says("iserver/account/DU1234567/orders");
    assert!(!ran.stderr.contains("canary"), "{}", ran.stderr);
    assert_eq!(world.count("canary"), 2, "query and body go on, and other headers do not");
}

#[test]
fn hosts_and_peers_are_admitted_as_the_flags_say() {
    let world = World::new("proxy-admission");
    let start = |more: &[&str]| world.start(&[&["proxy", "--plain", "--listen", "127.0.0.1:0"], more].concat());
    let proxy = start(&["--allow-host", "ibkr.example", "--peer", "10.0.0.0/8", "--peer", "127.0.0.0/30"]);
    let status = |host: &str| {
        let head = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n");
        ask(connect(&proxy), &head, "").split(' ').nth(1).map(str::to_owned)
    };
    assert_eq!(status("ibkr.example:5000").as_deref(), Some("200"));
    assert_eq!(status("other.example:5000").as_deref(), Some("403"));
    let elsewhere = start(&["--peer", "10.0.0.0/8"]);
    assert_eq!(get(connect(&elsewhere), "/healthz", ""), "");
    for proxy in [proxy, elsewhere] {
        proxy.terminate().ends_with(0);
    }
    world.run(&["proxy", "--peer", "10.0.0.0/33", "--token-file", "nowhere"]).ends_with(2);
}

#[test]
fn behind_a_server_that_speaks_tls_the_proxy_speaks_plain_http() {
    let world = World::new("proxy-behind");
    let token = world.write("token", "correct-horse-battery");
    let behind = ["proxy", "--listen", "127.0.0.1:0", "--behind-tls", "--token-file", &token];
    let proxy = world.start(&behind);
    let right = "Authorization: Bearer correct-horse-battery\r\n";
    assert!(get(connect(&proxy), "/healthz", right).starts_with("HTTP/1.1 200 "));
    assert!(get(connect(&proxy), "/healthz", "").starts_with("HTTP/1.1 401 "));
    proxy.terminate().ends_with(0);
    world.run(&["proxy", "--behind-tls", "--plain", "--token-file", "nowhere"]).ends_with(2);
}

#[cfg(unix)]
#[test]
fn a_service_manager_is_told_when_the_proxy_is_logged_in() {
    use std::os::unix::net::UnixDatagram;

    let mut world = World::new("proxy-notify");
    // A path that is short enough, wherever the tests run.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let command = |world: &World| {
        let mut command = world.command(&["proxy", "--plain", "--listen", "127.0.0.1:0"]);
        command.env("NOTIFY_SOCKET", &path);
        command
    };
    let proxy = world.run_on(command(&world));
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut told = [0; 100];
    let length = socket.recv(&mut told).unwrap();
    assert_eq!(String::from_utf8_lossy(&told[..length]).trim_end(), "READY=1");
    assert_eq!(world.count(LOGIN), 1, "it is logged in by then");
    assert!(get(connect(&proxy), "/v1/api/iserver/accounts", "").starts_with("HTTP/1.1 200 "));
    proxy.terminate().ends_with(0);

    world.stop_server();
    world.run_on(command(&world)).end().ends_with(5);
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut told).is_err(), "a proxy that cannot log in is not ready");
}

#[cfg(unix)]
#[test]
fn a_unix_socket_is_for_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    let world = World::new("proxy-unix");
    // A path that is short enough, wherever the tests run.
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("ibkr");
    let proxy = world.start(&["proxy", "--unix", socket.to_str().unwrap(), "--json"]);
    proxy.wait_for("listening");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let response = get(UnixStream::connect(&socket).unwrap(), "/v1/api/portfolio/accounts", "");
    assert!(response.contains("DU1234567"), "{response}");
    proxy.terminate().ends_with(0);
    // A socket has no peers to choose from.
    world.run(&["proxy", "--unix", "nowhere/ibkr", "--peer", "10.0.0.0/8"]).ends_with(2);
}

#[test]
fn a_proxy_that_anybody_could_trade_through_does_not_start() {
    let world = World::new("proxy-open");
    world.run(&["proxy", "--listen", "0.0.0.0:0"]).ends_with(2).says("bearer token");
    let token = world.write("token", "correct-horse-battery");
    world.run(&["proxy", "--listen", "0.0.0.0:0", "--plain", "--token-file", &token]).ends_with(2).says("TLS");
    world.write("token", "short");
    world.run(&["proxy", "--token-file", &token]).ends_with(2).says("16 characters");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    world.run(&["proxy", "--plain", "--listen", &address]).ends_with(5).says(&format!("cannot listen on {address}"));
    world.run(&["proxy", "--unix", "nowhere/socket"]).ends_with(8).says("cannot listen at nowhere/socket");
    world.run(&["gateway", "--dir", "new", "--listen", &address]).ends_with(5).says("cannot listen");
    world.run(&["gateway", "--dir", "new", "--listen", "nonsense"]).ends_with(2).says("cannot listen");
    assert_eq!(world.count(LOGIN), 0);
}

#[test]
fn a_proxy_that_cannot_log_in_says_why() {
    let mut world = World::new("proxy-dead");
    world.stop_server();
    world.run(&["proxy", "--plain", "--listen", "127.0.0.1:0"]).ends_with(5).says("does not answer");
}

#[test]
fn a_proxy_sends_fifty_requests_a_second_only_if_it_is_told_to() {
    // So many share the limits that a proxy's turn comes once in 5,000 seconds, or once in 1,000: the login has taken it.
    let pause = |name: &str, options: &[&str]| {
        let world = World::new(name);
        let arguments = ["proxy", "--plain", "--listen", "127.0.0.1:0", "--replicas", "50000"];
        let proxy = world.start(&[&arguments, options].concat());
        let refused = get(connect(&proxy), "/v1/api/portfolio/DU1234567/positions/0", "").to_ascii_lowercase();
        proxy.terminate().ends_with(0);
        assert!(refused.starts_with("http/1.1 429 ") && refused.contains("request limits"), "{refused}");
        let (_, behind) = refused.split_once("retry-after: ").unwrap();
        behind.lines().next().unwrap().parse::<u64>().unwrap()
    };
    assert!((4_000..=5_001).contains(&pause("proxy-ten", &[])));
    assert!((60..=1_001).contains(&pause("proxy-fifty", &["--fifty-a-second"])));
}
