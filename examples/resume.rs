//! Short-lived jobs that share one live session token, instead of logging in each for itself.
//!
//! ```text
//! cargo run --example resume [-- --credentials FILE [--base-url URL] [--store FILE]]
//! ```
//!
//! The session is kept in a file (`--store`, default: beside the credentials) that only its owner can read. It is
//! replaced whole or not at all, and locked while a job looks at it, so that of jobs which start together only one logs
//! in. Without credentials: four jobs as processes of their own, three of them at once, against a gateway of our own.

mod support;

use std::env;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use fd_lock::RwLock;
use ibkr_oauth::{OAuthSession, Phase, Snapshot};
use ibkr_oauth_gateway::Gateway;

use support::arguments::Arguments;
use support::credentials::{Credentials, Keys, Party, json_text};
use support::driver::{accounts, agent, drive, now};
use support::files::{read_secret, replace};
use support::server::Server;

/// Bytes of a stored session, about.
const SNAPSHOT_LENGTH: usize = 2048;

fn main() -> ExitCode {
    let outcome: Result<(), Box<dyn Error>> =
        Arguments::parse(&["--credentials", "--base-url", "--store"]).map_err(Into::into).and_then(run);
    support::exit_code(outcome)
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let Some(credentials) = arguments.credentials()? else {
        return demonstrate();
    };
    let beside = || arguments.get("--credentials").unwrap_or("ibkr").to_string() + ".session";
    let store = Store(PathBuf::from(arguments.get("--store").map_or_else(beside, str::to_string)));
    job(&credentials, &store)
}

/// What each job does: find a live session or make one, and use it.
fn job(credentials: &Credentials, store: &Store) -> Result<(), Box<dyn Error>> {
    let me = std::process::id();
    let agent = agent();
    let mut lock = store.lock_file()?;
    let locked = lock.write()?;
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
            println!("job {me}: the stored session is not accepted any more, logging in");
            let _locked = lock.write()?;
            session.invalidate(&live);
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
        Some(ibkr_oauth::Error::Rejected(rejected)) => rejected.diagnosis.refuses_live_session(),
        _ => false,
    }
}

/// A session in a file.
struct Store(PathBuf);

impl Store {
    /// The lock is a file of its own, because the store itself is replaced.
    fn lock_file(&self) -> io::Result<RwLock<File>> {
        let path = self.0.with_extension("lock");
        Ok(RwLock::new(OpenOptions::new().create(true).truncate(false).write(true).open(path)?))
    }

    /// The stored session; a new one where there is none, or none that can be used.
    fn resume(&self, credentials: &Credentials) -> Result<OAuthSession, Box<dyn Error>> {
        let consumer = credentials.consumer()?.build()?;
        match self.read() {
            Ok(Some(snapshot)) => match OAuthSession::resume(consumer.clone(), &snapshot, now()) {
                Ok(session) => return Ok(session),
                Err(error) => println!("The stored session is not used: {error}."),
            },
            Ok(None) => {}
            Err(error) => println!("The stored session cannot be read: {error}."),
        }
        let access_token = credentials.access_token()?.ok_or("there is no access token: run `login` first")?;
        Ok(OAuthSession::with_access_token(consumer, access_token))
    }

    fn read(&self) -> Result<Option<Snapshot>, Box<dyn Error>> {
        match read_secret(&self.0) {
            Ok(json) => Ok(Some(serde_json::from_slice(&json)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn keep(&self, session: &OAuthSession) -> Result<(), Box<dyn Error>> {
        let json = json_text(SNAPSHOT_LENGTH, |out| serde_json::to_writer(out, session.snapshot().expose()));
        Ok(replace(&self.0, json.as_bytes())?)
    }
}

fn demonstrate() -> Result<(), Box<dyn Error>> {
    println!("Four jobs, against a gateway of our own. Making keys ...");
    run_jobs(tempfile::tempdir()?.path())
}

fn run_jobs(dir: &Path) -> Result<(), Box<dyn Error>> {
    let keys = Keys::generate(&mut |_| {})?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut gateway = Gateway::new(&format!("http://{}/v1/api", listener.local_addr()?))?;
    let file = dir.join("credentials.json");
    Credentials::enroll(&mut gateway, &keys, "SHAREDJOB", &Party::First)?.write_new(&file)?;
    let _server = Server::start(gateway, listener)?;

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
