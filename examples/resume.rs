//! Short-lived jobs that share one live session token, instead of logging in each for itself.
//!
//! ```text
//! cargo run --example resume [-- --credentials FILE [--base-url URL] [--store FILE] [--patience SECONDS]]
//! ```
//!
//! The session is kept in a file (`--store`, default: beside the credentials) that only its owner can read. It is
//! replaced whole or not at all, and locked while a job looks at it, so that of jobs which start together, or find the stored
//! session dead together, only one logs in; the others wait, `--patience` (120 seconds if not given) at most. A file that
//! is no stored session is not replaced.
//! Without credentials: four jobs as processes of their own, three of them at once, against a gateway of our own.

mod support;

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use fd_lock::RwLock;
use ibkr_oauth::{AccessToken, OAuthSession, Phase, Snapshot};
use ibkr_oauth_gateway::Server;

use support::arguments::Arguments;
use support::credentials::{Credentials, Keys, Party, json_text, object};
use support::driver::{accounts, agent, drive, now};
use support::files::{read_secret, replace};

/// How long a job waits for others: each of them may wait 30 seconds for an answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a waiting job looks whether it is its turn.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of a stored session, about.
const SNAPSHOT_LENGTH: usize = 2048;

fn main() -> ExitCode {
    let known = ["--credentials", "--base-url", "--store", "--patience"];
    support::exit_code(Arguments::parse(&known).map_err(Into::into).and_then(run))
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let Some(credentials) = arguments.credentials()? else {
        return demonstrate();
    };
    let beside = || arguments.get("--credentials").unwrap_or("ibkr").to_string() + ".session";
    let path = PathBuf::from(arguments.get("--store").map_or_else(beside, str::to_string));
    let patience = arguments.get("--patience").map(|seconds| seconds.parse().map(Duration::from_secs));
    let patience = patience.transpose().map_err(|_| "--patience needs a number of seconds")?;
    job(&credentials, &Store { path, patience: patience.unwrap_or(PATIENCE) })
}

/// What each job does: find a live session or make one, and use it.
fn job(credentials: &Credentials, store: &Store) -> Result<(), Box<dyn Error>> {
    let me = std::process::id();
    let agent = agent();
    let locked = store.lock()?;
    let mut session = store.resume(credentials)?;
    match session.phase(now()) {
        Phase::LiveSession => println!("job {me}: going on with the stored session"),
        _ => println!("job {me}: no live session stored, logging in"),
    }
    drive(&mut session, &agent)?;
    let live = session.live(now()).ok_or("the session is not live")?.clone();
    store.keep(&session)?;
    drop(locked);
    let listed = match accounts(&live, &agent) {
        Err(error) if is_dead(error.as_ref()) => {
            let _locked = store.lock()?;
            // Another job may have met the same dead token, and replaced it while this one waited.
            let mut session = store.resume(credentials)?;
            session.invalidate(&live);
            match session.phase(now()) {
                Phase::LiveSession => println!("job {me}: another job has replaced the session"),
                _ => println!("job {me}: the stored session is not accepted any more, logging in"),
            }
            drive(&mut session, &agent)?;
            store.keep(&session)?;
            accounts(session.live(now()).ok_or("the session is not live")?, &agent)
        }
        listed => listed,
    };
    println!("job {me}: accounts {}", listed?.join(", "));
    Ok(())
}

/// Whether the live session token is to blame.
fn is_dead(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref() {
        Some(ibkr_oauth::Error::Rejected(rejected)) => rejected.diagnosis.rejects_live_session(),
        _ => false,
    }
}

/// A session in a file.
struct Store {
    path: PathBuf,
    patience: Duration,
}

/// While it is there, no other job looks at the store.
struct Locked {
    _file: RwLock<File>,
}

impl Store {
    /// The lock is a file of its own, because the store itself is replaced. Nobody else may hold it open.
    fn lock(&self) -> Result<Locked, Box<dyn Error>> {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        let cannot = |error: io::Error| format!("cannot lock {}: {error}", path.display());
        let mut file = RwLock::new(private_file(&path).map_err(cannot)?);
        let deadline = Instant::now() + self.patience;
        if !try_lock(&mut file).map_err(cannot)? {
            println!("job {}: waiting for another job, which holds the lock", std::process::id());
            while !try_lock(&mut file).map_err(cannot)? {
                if Instant::now() > deadline {
                    let seconds = self.patience.as_secs();
                    return Err(format!("another job still holds {} after {seconds} seconds", path.display()).into());
                }
                thread::sleep(PAUSE);
            }
        }
        Ok(Locked { _file: file })
    }

    /// The stored session; a new one where there is none, or none that can be used.
    fn resume(&self, credentials: &Credentials) -> Result<OAuthSession, Box<dyn Error>> {
        let consumer = credentials.consumer()?.build()?;
        let configured = credentials.access_token()?;
        if let Some(snapshot) = self.read()? {
            match OAuthSession::resume(consumer.clone(), &snapshot, now()) {
                Ok(session) if differs(session.access_token(), configured.as_ref()) => {
                    println!("The stored session is not used: it has another access token than the credentials.");
                }
                Ok(session) => return Ok(session),
                Err(error) => println!("The stored session is not used: {error}."),
            }
        }
        let access_token = configured.ok_or("there is no access token: run `login` first")?;
        Ok(OAuthSession::with_access_token(consumer, access_token))
    }

    /// None if there is no file, or an empty one. What is no stored session may be something else, and is kept.
    fn read(&self) -> Result<Option<Snapshot>, String> {
        let problem = match read_secret(&self.path) {
            Ok(json) if json.is_empty() => return Ok(None),
            Ok(json) => match stored_session(&json) {
                Some(snapshot) => return Ok(Some(snapshot)),
                None => "it is no stored session".to_string(),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => error.to_string(),
        };
        Err(format!("{} cannot be read, and is not replaced: {problem}", self.path.display()))
    }

    fn keep(&self, session: &OAuthSession) -> Result<(), String> {
        let json = json_text(SNAPSHOT_LENGTH, |out| serde_json::to_writer(out, session.snapshot().expose()));
        replace(&self.path, json.as_bytes())
            .map_err(|error| format!("the session is not stored in {}: {error}", self.path.display()))
    }
}

/// What is wrong with others is not said: it may quote a secret.
fn stored_session(json: &[u8]) -> Option<Snapshot> {
    let fields = object(std::str::from_utf8(json).ok()?).ok()?;
    // Many files have a version. A session also has one of these, depending on its form.
    fields.get("signs_query").or(fields.get("latest_timestamp"))?;
    serde_json::from_slice(json).ok()
}

/// Whether the lock is ours now: until the file is closed.
fn try_lock(file: &mut RwLock<File>) -> io::Result<bool> {
    match file.try_write() {
        Ok(guard) => {
            // The guard would unlock it.
            std::mem::forget(guard);
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens a file that is for its owner only, also if it was not before.
fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.create(true).truncate(false).write(true).open(path)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}

/// Whether the credentials have an access token, and it is not the stored one.
fn differs(stored: Option<&AccessToken>, configured: Option<&AccessToken>) -> bool {
    configured.is_some_and(|configured| {
        stored.is_none_or(|stored| stored.token() != configured.token() || stored.secret() != configured.secret())
    })
}

fn demonstrate() -> Result<(), Box<dyn Error>> {
    println!("Four jobs, against a gateway of our own. Making keys ...");
    run_jobs(tempfile::tempdir()?.path())
}

fn run_jobs(dir: &Path) -> Result<(), Box<dyn Error>> {
    let keys = Keys::generate(&mut |_| {})?;
    let server = Server::bind("127.0.0.1:0")?;
    let file = dir.join("credentials.json");
    Credentials::enroll(&mut server.gateway(), &keys, "SHAREDJOB", &Party::First)?.write_new(&file)?;

    let start = || Command::new(env::current_exe()?).arg("--credentials").arg(&file).spawn();
    println!("Three at once:");
    for job in [start()?, start()?, start()?] {
        wait(job)?;
    }
    println!("One more, later:");
    wait(start()?)?;
    println!("One login served four jobs.");
    Ok(())
}

fn wait(mut job: std::process::Child) -> Result<(), Box<dyn Error>> {
    match job.wait()? {
        status if status.success() => Ok(()),
        status => Err(format!("a job failed: {status}").into()),
    }
}
