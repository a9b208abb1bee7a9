//! Several proxies for one user, with a store that they share: Redis from Debian's packages, on a socket of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ibkr_oauth_gateway::Incident;

use crate::proxy::{connect, get};
use crate::support::{LOGIN, Running, World};

struct Redis {
    child: Child,
    folder: tempfile::TempDir,
}

impl Redis {
    /// `None` if it is not installed.
    fn start() -> Option<Self> {
        let places = ["/usr/bin/redis-server", "/usr/local/bin/redis-server"].map(PathBuf::from);
        let program = places.into_iter().find(|program| program.exists())?;
        // A path that is short enough for a socket, wherever the tests run.
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.args(["--port", "0", "--save", "", "--unixsocket"]).arg(folder.path().join("socket"));
        command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let redis = Self { child: command.spawn().unwrap(), folder };
        let begin = Instant::now();
        while !Path::new(&redis.socket()).exists() {
            assert!(begin.elapsed() < Duration::from_secs(60), "Redis does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(redis)
    }

    fn socket(&self) -> String {
        self.folder.path().join("socket").to_str().unwrap().to_owned()
    }

    fn url(&self) -> String {
        format!("unix://{}", self.socket())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn accounts(proxy: &Running<'_>) -> String {
    get(connect(proxy), "/v1/api/iserver/accounts", "")
}

#[test]
fn proxies_that_share_a_store_log_in_once_and_outlive_each_other() {
    let Some(redis) = Redis::start() else { return println!("skipped: needs redis-server") };
    let (world, store) = (World::new("replicas"), redis.url());
    let proxy = || world.start(&["proxy", "--plain", "--listen", "127.0.0.1:0", "--store", &store, "--replicas", "2"]);
    let (first, second) = (proxy(), proxy());
    for replica in [&first, &second] {
        let response = accounts(replica);
        assert!(response.starts_with("HTTP/1.1 200 ") && response.contains("DU1234567"), "{response}");
    }
    assert_eq!(world.count(LOGIN), 1);
    first.terminate().ends_with(0);
    assert!(accounts(&second).starts_with("HTTP/1.1 200 "), "who ends leaves the session to the others");
    let third = proxy();
    assert!(accounts(&third).starts_with("HTTP/1.1 200 "));
    assert_eq!(world.count(LOGIN), 1);
    world.happens(Incident::LiveSessionsEnd);
    for replica in [&second, &third] {
        assert!(accounts(replica).contains("DU1234567"));
    }
    assert_eq!(world.count(LOGIN), 2, "one of them has logged in for both");
    world.run(&["login", "--store", &store]).ends_with(0).says("Still logged in");
    second.terminate().ends_with(0);
    third.terminate().ends_with(0);
}

#[test]
fn a_store_that_cannot_be_is_refused_without_showing_its_password() {
    let world = World::new("no-store");
    world.run(&["login", "--store", "mysql://localhost/x"]).ends_with(2).says("postgres://");
    let gone = world.path("gone");
    world.run(&["login", "--store", &format!("unix://{gone}")]).ends_with(8).says("the session of all replicas");
    let ran = world.run(&["login", "--store", "postgres://trader:hush-hush@127.0.0.1:1/x"]);
    assert!(!ran.stderr.contains("hush-hush"), "{}", ran.stderr);
    ran.ends_with(8);
}
