//! What the programs do to files: nothing that a user has is ever overwritten, and what they store outlasts a full disk, a
//! kill, and the gateway that issued it.
//!
//! `KILLS=200 cargo test --all-features --test stores kill -- --nocapture` kills more often, and says what it found.
#![cfg(all(unix, feature = "http", feature = "http1", feature = "serde"))]

#[path = "support/credentials.rs"]
mod credentials;
mod support;
#[path = "support/workplace.rs"]
mod workplace;

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use credentials::{Credentials, USER};
use ibkr_oauth_gateway::{Consent, Gateway, Incident, Server};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use rand::{Rng, RngExt};
use serde_json::{Map, Value, json};
use workplace::{Running, Workplace, program_path};

/// All names under which programs write.
const NAMES: [&str; 8] = [
    "credentials.json",
    "credentials.json.session",
    "private_signature.pem",
    "private_encryption.pem",
    "public_signature.pem",
    "public_encryption.pem",
    "dhparam.pem",
    "access_token_secret.txt",
];
const NOBODY: u32 = 65534;
const CALLBACK: &str = "http://localhost:20000/";

fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

fn is_root(file: &Path) -> bool {
    fs::metadata(file).unwrap().uid() == 0
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().mode() & 0o7777
}

/// The files of a folder, and what is in them.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let entries = entries.filter(|path| path.is_file());
    entries.map(|path| (path.file_name().unwrap().to_str().unwrap().into(), fs::read(&path).unwrap())).collect()
}

fn fields(file: &Path) -> Map<String, Value> {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// A folder in which somebody else has files of these names.
fn foreign_folder(workplace: &Workplace, names: &[&str]) -> PathBuf {
    let folder = PathBuf::from(workplace.file(&format!("foreign-{:016x}", rng().next_u64())));
    fs::create_dir(&folder).unwrap();
    for name in names {
        fs::write(folder.join(name), format!("somebody else's {name}\n")).unwrap();
    }
    folder
}

/// Runs a program that must fail, name a file that is in its way, and leave all files of the folder alone.
fn leaves_alone(workplace: &Workplace, folder: &Path, program: &str, arguments: &[&str]) {
    let before = contents(folder);
    let mut running = workplace.start(program, arguments);
    let failed = !running.end().success();
    let said = running.finish();
    let is_named = |name: &String| said.contains(folder.join(name).to_str().unwrap());
    assert!(failed && before.keys().any(is_named), "{program} {arguments:?}: {said}");
    let after = contents(folder);
    for (name, content) in &before {
        assert!(after.get(name) == Some(content), "{program} {arguments:?} has changed {name}");
    }
}

/// A set of credentials that its user needs, with its gateway.
fn precious(workplace: &Workplace) -> (Running, String) {
    let (gateway, _) = workplace.start_gateway(&[]);
    (gateway, workplace.file("credentials.json"))
}

#[test]
fn keys_of_somebody_else_are_safe_from_the_gateway() {
    let workplace = Workplace::new("foreign-keys");
    let all = [NAMES[0], NAMES[2], NAMES[3], NAMES[6]];
    let alone = all.iter().map(std::slice::from_ref);
    for names in alone.chain([&NAMES[..]]) {
        let folder = foreign_folder(&workplace, names);
        leaves_alone(&workplace, &folder, "gateway", &["--dir", folder.to_str().unwrap()]);
        assert_eq!(contents(&folder).len(), names.len(), "nothing is written beside them");
    }
    let folder = foreign_folder(&workplace, &[]);
    symlink("nowhere", folder.join("dhparam.pem")).unwrap();
    let said = workplace.run("gateway", &["--dir", folder.to_str().unwrap()]);
    assert!(said.contains("dhparam.pem") && fs::read_dir(&folder).unwrap().count() == 1, "{said}");
}

#[test]
fn real_credentials_are_safe_from_the_gateway() {
    let workplace = Workplace::new("real");
    let mut gateway = Gateway::new("http://127.0.0.1:4000/v1/api").unwrap();
    let credentials = Credentials::first_party(&mut gateway, "MYCONSKEY");
    let folder = foreign_folder(&workplace, &[]);
    let file = folder.join("credentials.json");
    credentials.write_new(&file);
    leaves_alone(&workplace, &folder, "gateway", &["--dir", folder.to_str().unwrap()]);

    // Of the gateway's name, but with keys, or an address, that it never made.
    let own = Credentials { consumer_key: "EXAMPLECO".to_string(), ..credentials };
    let another_key = Credentials { private_encryption_pem: "somebody else's".to_string(), ..own.clone() };
    let another_place = Credentials { base_url: "https://api.ibkr.com/v1/api".to_string(), ..own };
    for credentials in [another_key, another_place] {
        fs::remove_file(&file).unwrap();
        credentials.write_new(&file);
        leaves_alone(&workplace, &folder, "gateway", &["--dir", folder.to_str().unwrap()]);
        assert_eq!(contents(&folder).len(), 1);
    }
}

#[test]
fn files_of_somebody_else_are_safe_from_login_and_resume() {
    let workplace = Workplace::new("foreign");
    let (_gateway, credentials) = precious(&workplace);
    let folder = foreign_folder(&workplace, &NAMES);
    for name in NAMES {
        let file = folder.join(name);
        let file = file.to_str().unwrap();
        leaves_alone(&workplace, &folder, "login", &["--credentials", file, "--third-party"]);
        leaves_alone(&workplace, &folder, "resume", &["--credentials", &credentials, "--store", file]);
    }
    let versioned = foreign_folder(&workplace, &["settings.json"]);
    fs::write(versioned.join("settings.json"), r#"{"version":1,"private":"key"}"#).unwrap();
    let store = versioned.join("settings.json");
    leaves_alone(
        &workplace,
        &versioned,
        "resume",
        &["--credentials", &credentials, "--store", store.to_str().unwrap()],
    );
    let own = Path::new(&credentials).parent().unwrap();
    for name in [NAMES[0], NAMES[2], NAMES[6]] {
        let store = workplace.file(name);
        leaves_alone(&workplace, own, "resume", &["--credentials", &credentials, "--store", &store]);
    }
}

/// What a gateway of an earlier run left is what a later one goes on with, whoever the party is.
#[test]
fn a_gateway_survives_a_restart() {
    let workplace = Workplace::new("restart");
    for (arguments, consents) in [(&[][..], false), (&["--callback", CALLBACK], true)] {
        let folder = foreign_folder(&workplace, &[]);
        let file = folder.join("credentials.json");
        let arguments = [&["--dir", folder.to_str().unwrap()], arguments].concat();
        let start = || {
            let gateway = workplace.start("gateway", &arguments);
            gateway.wait_for("listening on ");
            gateway
        };
        let log_in = || workplace.run("login", &["--credentials", file.to_str().unwrap()]);
        let gateway = start();
        if consents {
            let authorize_url = Credentials::read(&file).base_url.replace("/v1/api", "/authorize");
            let mut login = start_login(&workplace, &file, &["--authorize-url", &authorize_url]);
            let consent_url = login.until(consent_url);
            let callback = browse(&format!("{consent_url}&approve="));
            login.answer(&callback);
            assert!(login.finish().contains("DU1234567"));
        }
        drop(gateway);
        let before = contents(&folder);
        assert_eq!(before.len(), 4);
        assert_eq!(mode(&file), 0o600);
        fs::remove_file(folder.join("dhparam.pem")).unwrap();
        let gateway = start();
        assert!(contents(&folder) == before, "what was missing is there again, and nothing else has changed");
        let said = log_in();
        assert!(said.contains("DU1234567"), "{said}");
        drop(gateway);
        fs::write(folder.join("dhparam.pem"), "somebody else's").unwrap();
        leaves_alone(&workplace, &folder, "gateway", &arguments);
    }
}

/// A gateway for third parties behind a proxy that tells what its clients send.
struct Ibkr {
    server: Server,
    credentials: Credentials,
    /// Called with what a client sends, before it is passed on.
    watch: Watch,
}

type Watch = Arc<Mutex<Box<dyn FnMut(&str) + Send>>>;

impl Ibkr {
    fn start() -> Self {
        let [front, back] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let base_url = format!("http://{}/v1/api", front.local_addr().unwrap());
        let mut gateway = Gateway::new(&base_url).unwrap();
        let credentials = Credentials::third_party(&mut gateway, "EXAMPLECO", CALLBACK);
        let behind = back.local_addr().unwrap();
        let watch: Watch = Arc::new(Mutex::new(Box::new(|_: &str| {})));
        let watched = Arc::clone(&watch);
        thread::spawn(move || {
            for client in front.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(behind) else { return };
                let watch = Arc::clone(&watched);
                let (up, down) = ((client.try_clone(), server.try_clone()), (server, client));
                thread::spawn(move || pass_on(up.0.unwrap(), up.1.unwrap(), |sent| watch.lock().unwrap()(sent)));
                thread::spawn(move || pass_on(down.0, down.1, |_| {}));
            }
        });
        Self { server: Server::start(gateway, back).unwrap(), credentials, watch }
    }

    fn watch(&self, watch: impl FnMut(&str) + Send + 'static) {
        *self.watch.lock().unwrap() = Box::new(watch);
    }

    /// The user's decision, as a line to paste.
    fn decide(&self, consent_url: &str, decision: Consent) -> String {
        let (_, token) = consent_url.split_once("oauth_token=").unwrap();
        self.server.gateway().consent(token, USER, decision, &mut rng()).unwrap()
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, mut watch: impl FnMut(&str)) {
    let mut chunk = [0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut chunk) {
        watch(&String::from_utf8_lossy(&chunk[..length]));
        if to.write_all(&chunk[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// The `Location` that a browser is sent on to.
fn browse(url: &str) -> String {
    let (authority, target) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut browser = TcpStream::connect(authority).unwrap();
    write!(browser, "GET /{target} HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    browser.read_to_string(&mut answer).unwrap();
    let mut headers = answer.lines().filter_map(|line| line.split_once(": "));
    headers.find(|(name, _)| name.eq_ignore_ascii_case("location")).unwrap().1.to_string()
}

const THIRD_PARTY: [&str; 3] = ["--third-party", "--port", "0"];

fn start_login(workplace: &Workplace, file: &Path, more: &[&str]) -> Running {
    let arguments = [&["--credentials", file.to_str().unwrap()], &THIRD_PARTY[..], more].concat();
    workplace.start("login", &arguments)
}

/// What `login` asks the user to open, once it does.
fn consent_url(said: &str) -> Option<String> {
    let line = said.lines().find(|line| line.contains("?oauth_token="))?;
    said.contains("paste the address").then(|| line.trim().to_string())
}

impl Running {
    fn answer(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

/// Credentials of a third party that has not asked yet, in a folder of their own.
fn credentials_file(workplace: &Workplace, credentials: &Credentials) -> PathBuf {
    let file = foreign_folder(workplace, &[]).join("credentials.json");
    credentials.write_new(&file);
    file
}

#[test]
fn an_access_token_is_stored_before_anything_else_is_sent() {
    let workplace = Workplace::new("at-once");
    let ibkr = Ibkr::start();
    let file = credentials_file(&workplace, &ibkr.credentials);
    let mut login = start_login(&workplace, &file, &[]);
    let consent_url = login.until(consent_url);
    assert!(consent_url.starts_with("https://interactivebrokers.com/authorize?"), "{consent_url}");

    let stored = Arc::new(Mutex::new(None));
    let (seen, path) = (Arc::clone(&stored), file.clone());
    ibkr.watch(move |sent| {
        if sent.contains("/oauth/live_session_token ") {
            *seen.lock().unwrap() = Credentials::read(&path).access_token;
        }
    });
    login.answer(&ibkr.decide(&consent_url, Consent::Grant));
    let said = login.finish();
    assert!(said.contains("DU1234567"), "{said}");
    let stored = stored.lock().unwrap().take();
    assert!(stored.is_some() && stored == Credentials::read(&file).access_token);
}

#[test]
fn a_denied_consent_ends_the_wait() {
    let workplace = Workplace::new("denied");
    let ibkr = Ibkr::start();
    let file = credentials_file(&workplace, &ibkr.credentials);
    let before = contents(file.parent().unwrap());
    let mut login = start_login(&workplace, &file, &[]);
    let consent_url = login.until(consent_url);
    login.answer("http://localhost:20000/?oauth_token=somebody-elses");
    login.wait_for("That was not it");
    login.answer(&ibkr.decide(&consent_url, Consent::Deny));
    // The keyboard is still there.
    assert!(!login.end().success());
    assert!(login.said().contains("the user did not consent"), "{}", login.said());
    assert!(contents(file.parent().unwrap()) == before);
}

#[test]
fn storing_keeps_links_owner_mode_and_unknown_keys() {
    let workplace = Workplace::new("kept");
    let ibkr = Ibkr::start();
    let file = credentials_file(&workplace, &ibkr.credentials);
    let unknown = r#""note" : { "b": 12345678901234567890.00, "a": [ 1e400, "\u00e4" ] }, "access_token": null"#;
    let text = fs::read_to_string(&file).unwrap().replacen('{', &format!("{{ {unknown},"), 1);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    if is_root(&file) {
        chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
    } else {
        println!("skipped: only root can try another owner");
    }
    let owner = |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
    let before = (owner(&file), mode(&file));
    // Left over by a program that was killed; being written by one that runs; of somebody else.
    let folder = file.parent().unwrap();
    let [old, young, foreign] = ["aB3456789012.ibkr-oauth.tmp", "bB3456789012.ibkr-oauth.tmp", "backup.ibkr-oauth.tmp"]
        .map(|end| folder.join(format!(".credentials.json.{end}")));
    for path in [&old, &young, &foreign] {
        fs::write(path, "half").unwrap();
    }
    for path in [&old, &foreign] {
        File::open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(120)).unwrap();
    }
    let link = PathBuf::from(workplace.file("link.json"));
    symlink(&file, &link).unwrap();

    let mut login = start_login(&workplace, &link, &[]);
    let consent_url = login.until(consent_url);
    login.answer(&ibkr.decide(&consent_url, Consent::Grant));
    assert!(login.finish().contains("DU1234567"));
    assert_eq!(fs::read_link(&link).unwrap(), file);
    assert_eq!((owner(&file), mode(&file)), before);
    assert!(!old.exists() && young.exists() && foreign.exists());
    assert_eq!(contents(folder).len(), 3);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(r#"{ "b": 12345678901234567890.00, "a": [ 1e400, "\u00e4" ] }"#), "{text}");
    let stored = Credentials::read(&file);
    assert!(stored.access_token.is_some() && stored.without_access_token() == ibkr.credentials);
}

/// So that a power failure, which no test can make, finds the old file or the new one.
#[test]
fn file_and_folder_are_synced_around_the_replacement() {
    let workplace = Workplace::new("synced");
    let ibkr = Ibkr::start();
    let file = credentials_file(&workplace, &ibkr.credentials);
    let traces = foreign_folder(&workplace, &[]);
    let trace = traces.join("of-thread");
    // A file for each thread, so that no line is torn apart.
    let options = ["-ff", "-y", "-e", "trace=fsync,/^rename", "-o", trace.to_str().unwrap()];
    let tracing = [&["PATH=/usr/bin:/bin", "strace"], &options[..]].concat();
    let mut tried = workplace.command("/usr/bin/env".into(), &tracing);
    if !tried.arg("true").output().is_ok_and(|output| output.status.success()) {
        return println!("skipped: needs strace");
    }
    let mut traced = workplace.command("/usr/bin/env".into(), &tracing);
    traced.arg(program_path("login")).arg("--credentials").arg(&file).args(THIRD_PARTY);
    let mut login = workplace.spawn(traced);
    let consent_url = login.until(consent_url);
    login.answer(&ibkr.decide(&consent_url, Consent::Grant));
    assert!(login.finish().contains("DU1234567"));

    let traces: Vec<String> = contents(&traces).into_values().map(|trace| String::from_utf8(trace).unwrap()).collect();
    let trace = traces.iter().find(|trace| trace.contains("rename")).unwrap();
    let calls: Vec<&str> = trace.lines().filter(|line| line.contains("fsync(") || line.contains("rename")).collect();
    let [before, renamed, after] = calls[calls.len() - 3..] else { panic!("{trace}") };
    assert!(before.contains(".ibkr-oauth.tmp>) = 0"), "{trace}");
    assert!(renamed.contains("rename") && renamed.contains("/credentials.json\") = 0"), "{trace}");
    assert!(after.contains(&format!("<{}>) = 0", file.parent().unwrap().display())), "{trace}");
}

/// Nobody is asked for a consent that comes to nothing.
fn refuses_before_it_asks(mut login: Running, file: &Path, before: &BTreeMap<String, Vec<u8>>) {
    assert!(!login.end().success());
    let said = login.said();
    assert!(said.contains(&format!("{} cannot be replaced", file.display())), "{said}");
    assert!(!said.contains("oauth_token"), "{said}");
    assert!(contents(file.parent().unwrap()) == *before, "a file has changed, or is left over");
}

/// With a limit on the size of files in place of a disk that is full.
#[test]
fn on_a_full_disk_nobody_is_asked_for_consent() {
    let workplace = Workplace::new("full");
    let ibkr = Ibkr::start();
    let file = credentials_file(&workplace, &ibkr.credentials);
    // The file fits, and the access token would not.
    let padding = 8192 - fs::metadata(&file).unwrap().len();
    let text = fs::read_to_string(&file).unwrap() + &" ".repeat(usize::try_from(padding).unwrap());
    fs::write(&file, text).unwrap();
    let before = contents(file.parent().unwrap());
    for blocks in ["16", "4"] {
        let mut shell = workplace.command("/bin/sh".into(), &["-c"]);
        shell.arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")).arg(program_path("login"));
        shell.arg("--credentials").arg(&file).args(THIRD_PARTY);
        refuses_before_it_asks(workplace.spawn(shell), &file, &before);
    }
}

#[test]
fn in_a_folder_that_cannot_be_written_nobody_is_asked_for_consent() {
    let workplace = Workplace::new("read-only");
    let ibkr = Ibkr::start();
    // Nobody may look into the folders above the workplace.
    let folder = tempfile::tempdir().unwrap();
    let (file, program) = (folder.path().join("credentials.json"), folder.path().join("login"));
    ibkr.credentials.write_new(&file);
    fs::copy(program_path("login"), &program).unwrap();
    let is_root = is_root(&file);
    fs::set_permissions(folder.path(), Permissions::from_mode(0o555)).unwrap();
    let mut command = if is_root {
        if !Command::new("setpriv").arg("--version").output().is_ok_and(|output| output.status.success()) {
            return println!("skipped: root may write anywhere, and there is no setpriv to be somebody else");
        }
        chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        let mut command = workplace.command("/usr/bin/env".into(), &["PATH=/usr/bin:/bin", "setpriv"]);
        command.args(nobody).arg(&program);
        command
    } else {
        workplace.command(program, &[])
    };
    let before = contents(folder.path());
    command.arg("--credentials").arg(&file).args(THIRD_PARTY);
    refuses_before_it_asks(workplace.spawn(command), &file, &before);
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_access_token_that_does_not_arrive_is_said_not_to_be_stored() {
    let workplace = Workplace::new("refused");
    let ibkr = Ibkr::start();
    let file = credentials_file(&workplace, &ibkr.credentials);
    let before = contents(file.parent().unwrap());
    let mut login = start_login(&workplace, &file, &[]);
    let consent_url = login.until(consent_url);
    let callback = ibkr.decide(&consent_url, Consent::Grant);
    login.answer(&callback.replace("oauth_verifier=", "oauth_verifier=0"));
    assert!(!login.end().success());
    let said = login.said();
    assert!(said.contains(&format!("No access token has arrived: {} is as it was", file.display())), "{said}");
    assert!(contents(file.parent().unwrap()) == before);
}

#[test]
fn an_access_token_that_cannot_be_stored_is_said_to_be_lost() {
    let workplace = Workplace::new("lost");
    let ibkr = Ibkr::start();
    let file = credentials_file(&workplace, &ibkr.credentials);
    let mut login = start_login(&workplace, &file, &[]);
    let consent_url = login.until(consent_url);
    let callback = ibkr.decide(&consent_url, Consent::Grant);
    fs::rename(file.parent().unwrap(), workplace.file("elsewhere")).unwrap();
    login.answer(&callback);
    assert!(!login.end().success());
    assert!(login.said().contains(&format!("is NOT stored in {}", file.display())), "{}", login.said());
}

/// Kills `login` at random moments: half of them anywhere, half of them between the consent and the end.
#[test]
fn no_kill_loses_a_stored_token_or_damages_a_file() {
    let kills = std::env::var("KILLS").map_or(6, |kills| kills.parse().unwrap());
    let workplace = Workplace::new("kills");
    let ibkr = Ibkr::start();
    let file = credentials_file(&workplace, &ibkr.credentials);
    let folder = file.parent().unwrap().to_owned();
    let fresh = fs::read(&file).unwrap();
    let sent = Arc::new(Mutex::new(String::new()));
    let seen = Arc::clone(&sent);
    ibkr.watch(move |request| seen.lock().unwrap().push_str(request));
    let run = |kill_after_start: Option<Duration>, kill_after_consent: Option<Duration>| {
        fs::write(&file, &fresh).unwrap();
        sent.lock().unwrap().clear();
        let started = Instant::now();
        let mut login = start_login(&workplace, &file, &[]);
        let is_over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let mut deadline = kill_after_start.map(|time| started + time);
        let mut consented = None;
        while !is_over(deadline) && login.child.try_wait().unwrap().is_none() {
            if let (None, Some(url)) = (consented, consent_url(&login.said())) {
                login.answer(&ibkr.decide(&url, Consent::Grant));
                consented = Some(Instant::now());
                deadline = deadline.or(kill_after_consent.map(|time| Instant::now() + time));
            }
            thread::sleep(Duration::from_micros(500));
        }
        drop(login);
        (started.elapsed(), consented.map(|consented| consented.elapsed()))
    };
    let (whole, after_consent) = run(None, None);
    assert!(Credentials::read(&file).access_token.is_some());

    let [mut stored, mut in_between] = [0; 2];
    for number in 0..kills {
        let moment = |most: Duration| most.mul_f64(rng().random_range(0.0..1.1));
        match number % 2 {
            0 => run(Some(moment(whole)), None),
            _ => run(None, Some(moment(after_consent.unwrap()))),
        };
        let found = Credentials::read(&file);
        assert!(found.clone().without_access_token() == ibkr.credentials, "a file is damaged");
        assert_eq!(mode(&file), 0o600);
        let sent = sent.lock().unwrap().clone();
        let is_sent = |endpoint: &str| sent.contains(&format!("/oauth/{endpoint} "));
        assert!(
            found.access_token.is_some() || !is_sent("live_session_token"),
            "a token was used before it was stored"
        );
        if found.access_token.is_some() {
            stored += 1;
            let said = workplace.run("login", &["--credentials", file.to_str().unwrap()]);
            assert!(said.contains("DU1234567"), "{said}");
        } else if is_sent("access_token") {
            in_between += 1;
        }
    }
    let left_over = contents(&folder).len() - 1;
    for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        File::open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(120)).unwrap();
    }
    run(None, None);
    assert_eq!(contents(&folder).len(), 1, "what killed programs leave is cleaned up by the next");
    println!("{kills} kills: {stored} tokens stored, {in_between} on their way, {left_over} temporary files left over");
}

/// A first party's gateway, and its credentials in a file.
fn first_party(workplace: &Workplace) -> (Server, Credentials, PathBuf) {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let credentials = Credentials::first_party(&mut server.gateway(), "SHAREDJOB");
    let file = credentials_file(workplace, &credentials);
    (server, credentials, file)
}

#[test]
fn the_configured_access_token_goes_before_the_stored_one() {
    let workplace = Workplace::new("configured");
    let (server, credentials, file) = first_party(&workplace);
    let job = || workplace.run("resume", &["--credentials", file.to_str().unwrap()]);
    assert!(job().contains("logging in"));
    // The portal issues another secret, which voids the first; the token stays the same.
    let issued = server.gateway().issue_access_token("SHAREDJOB", USER, &mut rng()).unwrap();
    assert_eq!(Some(&issued.token), credentials.access_token.as_ref());
    let renewed = Credentials { access_token_secret: Some(issued.secret_base64), ..credentials };
    fs::remove_file(&file).unwrap();
    renewed.write_new(&file);
    for words in ["it has another access token than the credentials", "going on with the stored session"] {
        let said = job();
        assert!(said.contains(words) && said.contains("accounts DU1234567"), "{said}");
    }
    // Stored for another access token altogether.
    let store = file.with_extension("json.session");
    let mut stored = fields(&store);
    stored["access_token"]["token"] = json!("0".repeat(20));
    fs::write(&store, Value::Object(stored).to_string()).unwrap();
    let said = job();
    assert!(said.contains("another access token") && said.contains("accounts DU1234567"), "{said}");
}

#[test]
fn a_job_says_that_it_waits_for_another_and_waits_no_longer_than_it_may() {
    let workplace = Workplace::new("waiting");
    let (_server, _, file) = first_party(&workplace);
    let lock = file.with_extension("json.session.lock");
    let mut other = fd_lock::RwLock::new(File::create(&lock).unwrap());
    let other = other.write().unwrap();
    fs::set_permissions(&lock, Permissions::from_mode(0o666)).unwrap();
    let arguments = ["--credentials", file.to_str().unwrap()];
    let mut impatient = workplace.start("resume", &[&arguments[..], &["--patience", "1"]].concat());
    let patient = workplace.start("resume", &arguments);
    assert!(!impatient.end().success());
    let said = impatient.said();
    assert!(said.contains("waiting for another job"), "{said}");
    assert!(said.contains(&format!("another job still holds {} after 1 seconds", lock.display())), "{said}");
    patient.wait_for("waiting for another job");
    drop(other);
    let said = patient.finish();
    assert!(said.contains("accounts DU1234567"), "{said}");
    assert_eq!(mode(&lock), 0o600, "also if it was everybody's before");
}

#[test]
fn a_job_that_logs_in_keeps_others_out() {
    let workplace = Workplace::new("locked");
    let (server, _, file) = first_party(&workplace);
    let silent = server.gateway();
    let job = workplace.start("resume", &["--credentials", file.to_str().unwrap()]);
    job.wait_for("logging in");
    let lock = File::open(file.with_extension("json.session.lock")).unwrap();
    assert!(fd_lock::RwLock::new(&lock).try_write().is_err());
    drop(silent);
    assert!(job.finish().contains("accounts DU1234567"));
    assert!(fd_lock::RwLock::new(&lock).try_write().is_ok());
}

#[test]
fn jobs_that_meet_one_dead_token_log_in_once() {
    let workplace = Workplace::new("dead");
    let (server, _, file) = first_party(&workplace);
    let arguments = ["--credentials", file.to_str().unwrap()];
    assert!(workplace.run("resume", &arguments).contains("accounts DU1234567"));
    let mut silent = server.gateway();
    silent.schedule(SystemTime::now(), Incident::LiveSessionsEnd);
    let jobs: Vec<Running> = (0..4).map(|_| workplace.start("resume", &arguments)).collect();
    for job in &jobs {
        job.wait_for("going on with the stored session");
    }
    drop(silent);
    let said: Vec<String> = jobs.into_iter().map(Running::finish).collect();
    assert!(said.iter().all(|said| said.contains("accounts DU1234567")), "{said:?}");
    let count = |words: &str| said.iter().filter(|said| said.contains(words)).count();
    assert_eq!((count("logging in"), count("another job has replaced")), (1, 3), "{said:?}");
}

#[test]
fn what_resume_writes_is_its_owners_only() {
    let workplace = Workplace::new("owners");
    let (_server, _, file) = first_party(&workplace);
    let store = file.with_extension("json.session");
    let said = workplace.run("resume", &["--credentials", file.to_str().unwrap()]);
    assert!(said.contains("accounts DU1234567"), "{said}");
    for path in [&store, &file.with_extension("json.session.lock")] {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    // What a crash of the machine has emptied is as good as none.
    fs::write(&store, "").unwrap();
    let said = workplace.run("resume", &["--credentials", file.to_str().unwrap()]);
    assert!(said.contains("accounts DU1234567") && !fields(&store).is_empty(), "{said}");
}
