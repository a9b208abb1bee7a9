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
//! On tokio, `Store` of the package `ibkr-oauth-tokio` does all of this.
//!
//! Without credentials: four jobs as processes of their own, three of them at once, against a gateway of our own.

mod support;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use clap::Parser;
use fd_lock::RwLock;
use ibkr_oauth::{AccessToken, OAuthSession, Phase, Snapshot};
use ibkr_oauth_gateway::{Server, TestKeys};
use serde::de::IgnoredAny;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use support::{Account, Credentials, accounts, agent, drive, enroll, now};

/// How often a waiting job looks whether it is its turn.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of a stored session, at most.
const SNAPSHOT_LENGTH: usize = 64 * 1024;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    account: Account,
    /// Where the session is kept; beside the credentials if not given
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// How long to wait for other jobs: each of them may wait 30 seconds for a response
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    patience: u64,
}

fn main() -> ExitCode {
    support::exit_code(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (Some(credentials), Some(file)) = (arguments.account.read()?, &arguments.account.credentials) else {
        return demonstrate();
    };
    let path = arguments.store.clone().unwrap_or_else(|| with_suffix(file, ".session"));
    job(&credentials, &Store { path, patience: Duration::from_secs(arguments.patience) })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
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
        let path = with_suffix(&self.path, ".lock");
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
        let fresh = credentials.session()?;
        if let Some(snapshot) = self.read()? {
            match OAuthSession::resume(fresh.consumer().clone(), &snapshot, now()) {
                Ok(session) if differs(session.access_token(), fresh.access_token()) => {
                    println!("The stored session is not used: it has another access token than the credentials.");
                }
                Ok(session) => return Ok(session),
                Err(error) => println!("The stored session is not used: {error}."),
            }
        }
        Ok(fresh)
    }

    /// None if there is no file, or an empty one. What is no stored session may be something else, and is kept.
    fn read(&self) -> Result<Option<Snapshot>, String> {
        let problem = match fs::read(&self.path).map(Zeroizing::new) {
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

    fn keep(&self, session: &OAuthSession) -> Result<(), Box<dyn Error>> {
        // One buffer, large enough from the start: one that grows leaves copies behind.
        let mut json = Zeroizing::new(Vec::with_capacity(SNAPSHOT_LENGTH));
        serde_json::to_writer(&mut *json, session.snapshot().expose())?;
        let unstored = |error| format!("the session is not stored in {}: {error}", self.path.display());
        Ok(replace(&self.path, &json).map_err(unstored)?)
    }
}

/// Puts a file for its owner only in the place of another, whole or not at all.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// What is wrong with others is not said: it may quote a secret.
fn stored_session(json: &[u8]) -> Option<Snapshot> {
    let fields: BTreeMap<String, IgnoredAny> = serde_json::from_slice(json).ok()?;
    // Many files have a version. A session also has one of these, depending on its form.
    let is_session = fields.contains_key("signs_query") || fields.contains_key("latest_timestamp");
    is_session.then(|| serde_json::from_slice(json).ok())?
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
    let (keys, server) = (TestKeys::generate()?, Server::bind("127.0.0.1:0")?);
    let file = dir.join("credentials.json");
    serde_json::to_writer(private_file(&file)?, &enroll(&mut server.gateway(), &keys, "SHAREDJOB")?)?;

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
