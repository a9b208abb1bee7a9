//! A gateway behind a relay that sees what is asked, and a folder in which the program runs.
//!
//! Not `assert_cmd`: it runs a program to its end and then looks at what came out. Here the program goes on running while a
//! test talks to it, is stopped and killed, and everything that it says is searched for secrets.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ibkr_oauth_gateway::{AccountKind, Gateway, Incident, RegisteredConsumer, Server, TestKeys, User};
use serde_json::{Map, Value, json};

use crate::secrets::{Secrets, looks_harmless};

/// Nothing that a test waits for takes so long.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);
pub const CONSUMER_KEY: &str = "EXAMPLECO";
/// Who uses it.
pub const USER: &str = "demo";
pub const LOGIN: &str = "POST /v1/api/oauth/live_session_token ";

/// Made once for all tests.
fn keys() -> &'static TestKeys {
    static KEYS: OnceLock<TestKeys> = OnceLock::new();
    KEYS.get_or_init(|| TestKeys::generate().unwrap())
}

/// A place where the program runs. At its end, nothing that the program has said may hold a secret.
pub struct World {
    folder: PathBuf,
    server: Option<Server>,
    relay: Relay,
    /// All that the program has said.
    said: Mutex<Vec<u8>>,
}

impl World {
    pub fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut gateway = Gateway::new(&format!("http://{address}/v1/api")).unwrap();
        let credentials = enroll(&mut gateway);
        let server = Server::start(gateway, TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let relay = Relay::start(listener, server.address());
        let world = Self { folder, server: Some(server), relay, said: Mutex::default() };
        world.write("credentials.json", &Value::Object(credentials).to_string());
        world
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Lets something happen at the server, now: it has been due since 1970, so that no clock that steps back puts it off.
    pub fn happens(&self, incident: Incident) {
        self.server().gateway().schedule(SystemTime::UNIX_EPOCH, incident);
    }

    /// Nobody answers any more.
    pub fn stop_server(&mut self) {
        self.server = None;
    }

    /// Whoever asks something from now on gets no answer.
    pub fn hang_up(&self, hangs_up: bool) {
        self.relay.hangs_up.store(hangs_up, Ordering::Relaxed);
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    pub fn write(&self, name: &str, content: &str) -> String {
        std::fs::write(self.file(name), content).unwrap();
        self.path(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    pub fn credentials(&self) -> Map<String, Value> {
        serde_json::from_str(&self.read("credentials.json")).unwrap()
    }

    /// A file of credentials that differ from the right ones.
    pub fn damaged(&self, name: &str, changes: &[(&str, Value)]) -> String {
        let mut fields = self.credentials();
        for (field, value) in changes {
            fields.insert((*field).to_owned(), value.clone());
        }
        self.write(name, &Value::Object(fields).to_string())
    }

    /// What the portal does when the public keys of a folder are uploaded as NEWCONSKW's: an access token and its secret.
    pub fn issue_access_token(&self, folder: &str) -> (String, String) {
        let read = |name: &str| self.read(&format!("{folder}/{name}"));
        let consumer = RegisteredConsumer {
            consumer_key: "NEWCONSKW".to_owned(),
            signature_public_key_pem: read("public_signature.pem"),
            encryption_public_key_pem: read("public_encryption.pem"),
            dhparam_pem: read("dhparam.pem"),
            callback_url: None,
        };
        let mut gateway = self.server().gateway();
        gateway.register_consumer(&consumer).unwrap();
        let issued = gateway.issue_access_token("NEWCONSKW", USER, &mut UnwrapErr(SysRng)).unwrap();
        (issued.token, issued.secret_base64)
    }

    /// Makes the consumer a third party, whose users come back to this URL.
    pub fn register_callback(&self, url: &str) {
        let consumer = keys().registration(CONSUMER_KEY, Some(url));
        self.server().gateway().register_consumer(&consumer).unwrap();
    }

    /// The stored session.
    pub fn session_file(&self) -> PathBuf {
        let entries = std::fs::read_dir(self.file("store")).unwrap().map(|entry| entry.unwrap().path());
        entries.into_iter().find(|path| path.extension().is_some_and(|end| end == "session")).unwrap()
    }

    /// Calls `watch` with whatever the program sends from now on, before it is passed on.
    pub fn watch(&self, watch: impl FnMut(&str) + Send + 'static) {
        *self.relay.watch.lock().unwrap() = Box::new(watch);
    }

    /// How often this has been asked.
    pub fn count(&self, request: &str) -> usize {
        self.relay.count(request)
    }

    /// The program, with nothing in its environment but the credentials and the store.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ibkr-oauth"));
        command.args(arguments).env_clear().current_dir(&self.folder).env("TMPDIR", &self.folder);
        command.env("IBKR_CREDENTIALS", self.file("credentials.json")).env("IBKR_OAUTH_STORE", self.file("store"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.start(arguments).end()
    }

    pub fn run_with_stdin(&self, arguments: &[&str], stdin: &str) -> Ran {
        let mut running = self.start_with_keyboard(arguments);
        running.child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        running.end()
    }

    pub fn start(&self, arguments: &[&str]) -> Running<'_> {
        self.run_on(self.command(arguments))
    }

    /// Starts it with somebody at the keyboard.
    pub fn start_with_keyboard(&self, arguments: &[&str]) -> Running<'_> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        self.run_on(command)
    }

    pub fn run_on(&self, mut command: Command) -> Running<'_> {
        let mut child = command.spawn().unwrap();
        let stdout = Ear::listen(child.stdout.take().unwrap());
        let stderr = Ear::listen(child.stderr.take().unwrap());
        Running { world: self, child, stdout, stderr }
    }

    fn hears(&self, ran: &Ran) {
        self.said.lock().unwrap().extend([ran.stdout.as_bytes(), ran.stderr.as_bytes(), b"\n"].concat());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !thread::panicking() {
            let said = String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned();
            // Where the files are is no secret, whatever the folder is called.
            let said = said.replace(self.folder.to_str().unwrap(), "");
            let mut secrets = Secrets::default();
            secrets.read_all(&self.folder);
            assert!(secrets.len() > 5, "there is nothing to compare with");
            secrets.are_not_in(&said);
            looks_harmless(&without_consent_pages(&said));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The files of a folder, and what is in them.
pub fn contents(folder: impl AsRef<Path>) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    files.map(|path| (path.file_name().unwrap().to_str().unwrap().into(), std::fs::read(&path).unwrap())).collect()
}

/// The page that a user must open says for which request token: it is good for this one consent, and only with the user's
/// password.
fn without_consent_pages(said: &str) -> String {
    let mut parts = said.split("/authorize?oauth_token=");
    let before = parts.next().unwrap_or_default();
    let behind = parts.map(|part| part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    [before].into_iter().chain(behind).collect()
}

/// How the program has ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    pub fn says(self, words: &str) -> Self {
        assert!(self.stdout.contains(words) || self.stderr.contains(words), "not said: {words}: {self:#?}");
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:#?}"))
    }
}

/// The program while it runs. It is killed if nobody waits for its end.
pub struct Running<'a> {
    world: &'a World,
    child: Child,
    stdout: Ear,
    stderr: Ear,
}

/// What the program says on one side.
struct Ear {
    heard: Arc<Mutex<Vec<u8>>>,
    /// Until the program has said its last word.
    hearing: JoinHandle<()>,
}

impl Ear {
    fn listen(side: impl Read + Send + 'static) -> Self {
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let hears = Arc::clone(&heard);
        let hearing = thread::spawn(move || copy(side, |bytes| hears.lock().unwrap().extend_from_slice(bytes)));
        Self { heard, hearing }
    }

    fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap().clone()
    }
}

impl Running<'_> {
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.stdout.heard()).into_owned()
    }

    pub fn wait_for(&self, words: &str) -> String {
        self.wait_for_times(words, 1)
    }

    /// Waits until it has said this so often.
    pub fn wait_for_times(&self, words: &str, times: usize) -> String {
        let deadline = Instant::now() + PATIENCE;
        while self.said().matches(words).count() < times {
            assert!(Instant::now() < deadline, "not said: {words}: {}", self.said());
            thread::sleep(PAUSE);
        }
        self.said()
    }

    pub fn types(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Asks it to end, as a service manager does, and returns how it did.
    pub fn terminate(self) -> Ran {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.end()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
            && self.stdout.hearing.is_finished()
            && self.stderr.hearing.is_finished()
    }

    /// Waits until it ends by itself, though whoever sits at the keyboard stays there.
    pub fn end(mut self) -> Ran {
        let deadline = Instant::now() + PATIENCE;
        while !self.has_ended() {
            assert!(Instant::now() < deadline, "it does not end: {}", self.said());
            thread::sleep(PAUSE);
        }
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        let [stdout, stderr] = [&self.stdout, &self.stderr].map(|ear| String::from_utf8(ear.heard()).unwrap());
        let ran = Ran { code, stdout, stderr };
        self.world.hears(&ran);
        ran
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts a consumer and its user on file, and returns the fields of their file of credentials.
fn enroll(gateway: &mut Gateway) -> Map<String, Value> {
    gateway.register_consumer(&keys().registration(CONSUMER_KEY, None)).unwrap();
    gateway.add_user(User { name: USER.into(), accounts: vec!["DU1234567".into()], kind: AccountKind::Paper });
    let issued = gateway.issue_access_token(CONSUMER_KEY, USER, &mut UnwrapErr(SysRng)).unwrap();
    let fields = json!({
        "consumer_key": CONSUMER_KEY,
        "realm": "limited_poa",
        "access_token": issued.token,
        "access_token_secret": issued.secret_base64,
        "private_signature_pem": keys().private_signature_pem,
        "private_encryption_pem": keys().private_encryption_pem,
        "dhparam_pem": keys().dhparam_pem,
        "base_url": gateway.base_url(),
    });
    fields.as_object().unwrap().clone()
}

/// What stands between the program and the gateway, and sees what is asked.
struct Relay {
    /// What each client has sent.
    seen: Arc<Mutex<BTreeMap<SocketAddr, Vec<u8>>>>,
    /// Whether it hangs up on whoever says something.
    hangs_up: Arc<AtomicBool>,
    /// Called with what a client sends, before that is passed on.
    watch: Watch,
}

type Watch = Arc<Mutex<Box<dyn FnMut(&str) + Send>>>;

impl Relay {
    fn start(listener: TcpListener, to: SocketAddr) -> Self {
        let watch: Watch = Arc::new(Mutex::new(Box::new(|_| {})));
        let relay = Self { seen: Arc::default(), hangs_up: Arc::default(), watch: Arc::clone(&watch) };
        let (record, hangs_up) = (Arc::clone(&relay.seen), Arc::clone(&relay.hangs_up));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(to) else { continue };
                let (peer, record, hangs_up, watch) =
                    (client.peer_addr().unwrap(), Arc::clone(&record), Arc::clone(&hangs_up), Arc::clone(&watch));
                let (from_client, mut to_client) = (client.try_clone().unwrap(), client);
                let (from_server, mut to_server) = (server.try_clone().unwrap(), server);
                thread::spawn(move || {
                    copy(from_client, |bytes| {
                        record.lock().unwrap().entry(peer).or_default().extend_from_slice(bytes);
                        watch.lock().unwrap()(&String::from_utf8_lossy(bytes));
                        let _ = match hangs_up.load(Ordering::Relaxed) {
                            true => to_server.shutdown(Shutdown::Both),
                            false => to_server.write_all(bytes),
                        };
                    });
                    let _ = to_server.shutdown(Shutdown::Both);
                });
                thread::spawn(move || {
                    copy(from_server, |bytes| drop(to_client.write_all(bytes)));
                    let _ = to_client.shutdown(Shutdown::Both);
                });
            }
        });
        relay
    }

    fn count(&self, words: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.values().map(|bytes| String::from_utf8_lossy(bytes).matches(words).count()).sum()
    }
}

fn copy(mut from: impl Read, mut to: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        to(&buffer[..length]);
    }
}
