//! IBKR on your own machine: a gateway that logs clients in, with credentials to go with it.
//!
//! ```text
//! cargo run --example gateway -- [--listen ADDRESS] [--dir DIR] [--callback URL] [--several-tokens] [--tls]
//! ```
//!
//! Serves until interrupted. `DIR` (a fresh temporary directory if there is no `--dir`) receives `credentials.json`,
//! and `private_signature.pem`, `private_encryption.pem` and `dhparam.pem` for clients that want files. What an earlier
//! run of this program left there is taken up again: the keys, the access token in `credentials.json`, and the address if
//! there is no `--listen`. Nothing is ever overwritten: a file from elsewhere is named, and nothing is done.
//!
//! The first line on stdout is `listening on` and the base URL: from then on, clients are served.
//!
//! With `--callback` the credentials are a third party's: they have no access token, and users consent on the page
//! that a browser finds under `/authorize?oauth_token=TOKEN`. The program `login` stores the access token in the file;
//! one that another client keeps elsewhere is void when this program starts again.
//!
//! With `--tls` a certificate for clients to trust, in PEM, follows on stdout. It is a new one with each start.
//!
//! A new live session token invalidates the one before it, unless there is `--several-tokens`: then clients that log in
//! with the same access token leave one another alone.

mod support;

use std::error::Error;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, thread};

use ibkr_oauth_gateway::{Certificate, Gateway, LiveSessionTokens, Server};

use support::credentials::{Credentials, Keys, Party};
use support::files::{fresh_dir, read_secret, write_new};

const USAGE: &str = "usage: gateway [--listen ADDRESS] [--dir DIR] [--callback URL] [--several-tokens] [--tls]";
const CONSUMER_KEY: &str = "EXAMPLECO";
const CREDENTIALS: &str = "credentials.json";
const PEM_FILES: [&str; 3] = ["private_signature.pem", "private_encryption.pem", "dhparam.pem"];

#[derive(Default)]
struct Options {
    listen: Option<String>,
    dir: Option<PathBuf>,
    callback: Option<String>,
    several_tokens: bool,
    tls: bool,
}

fn main() -> ExitCode {
    let options = match Options::parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--listen" => options.listen = Some(value()?),
                "--dir" => options.dir = Some(value()?.into()),
                "--callback" => options.callback = Some(value()?),
                "--several-tokens" => options.several_tokens = true,
                "--tls" => options.tls = true,
                _ => return Err(format!("unknown argument: {flag}")),
            }
        }
        Ok(options)
    }
}

enum Never {}

fn run(options: Options) -> Result<Never, Box<dyn Error>> {
    let dir = open_dir(options.dir)?;
    let party = match &options.callback {
        Some(callback_url) => Party::Third { callback_url },
        None => Party::First,
    };
    let scheme = if options.tls { "https" } else { "http" };
    let (mut gateway, listener) = match earlier_run(&dir)? {
        Some(credentials) => start_again(&credentials, &dir, scheme, options.listen, &party)?,
        None => start_afresh(&dir, scheme, options.listen, &party)?,
    };
    if options.several_tokens {
        gateway.set_live_session_tokens(LiveSessionTokens::Several);
    }
    let certificate = options.tls.then(Certificate::generate).transpose()?;
    let server = match &certificate {
        Some(certificate) => Server::start_tls(gateway, listener, certificate)?,
        None => Server::start(gateway, listener)?,
    };
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on {}", server.base_url())?;
    write!(stdout, "{}", certificate.as_ref().map_or("", Certificate::pem))?;
    stdout.flush()?;
    loop {
        thread::park();
    }
}

fn open_dir(dir: Option<PathBuf>) -> Result<PathBuf, String> {
    let Some(dir) = dir else {
        return fresh_dir("ibkr-gateway").map_err(|error| format!("cannot make a temporary directory: {error}"));
    };
    fs::create_dir_all(&dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    Ok(dir)
}

/// The credentials that an earlier run left in `dir`; none in a directory that has no file of ours, nor of that name.
fn earlier_run(dir: &Path) -> Result<Option<Credentials>, String> {
    let file = dir.join(CREDENTIALS);
    match Credentials::read(&file) {
        Ok(credentials) if credentials.consumer_key == CONSUMER_KEY => return Ok(Some(credentials)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        _ => return Err(in_the_way(&file)),
    }
    // A dangling link is in the way too.
    let is_there = |path: &PathBuf| path.symlink_metadata().is_ok();
    let names = PEM_FILES.into_iter().chain([CREDENTIALS]);
    match names.map(|name| dir.join(name)).find(is_there) {
        Some(path) => Err(in_the_way(&path)),
        None => Ok(None),
    }
}

fn in_the_way(path: &Path) -> String {
    format!("{} is there already, not from an earlier run of this program: nothing is overwritten", path.display())
}

fn start_afresh(
    dir: &Path,
    scheme: &str,
    listen: Option<String>,
    party: &Party<'_>,
) -> Result<(Gateway, TcpListener), Box<dyn Error>> {
    let (mut gateway, listener) = listen_on(scheme, &listen.unwrap_or_else(|| "127.0.0.1:0".to_owned()))?;
    let keys = Keys::generate(&mut |step| eprintln!("{step}"))?;
    let credentials = Credentials::enroll(&mut gateway, &keys, CONSUMER_KEY, party)?;
    let file = dir.join(CREDENTIALS);
    credentials.write_new(&file).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    write_pem_files(&credentials, dir)?;
    eprintln!("credentials are in {}", dir.display());
    Ok((gateway, listener))
}

fn start_again(
    credentials: &Credentials,
    dir: &Path,
    scheme: &str,
    listen: Option<String>,
    party: &Party<'_>,
) -> Result<(Gateway, TcpListener), Box<dyn Error>> {
    let file = dir.join(CREDENTIALS);
    let unusable = |problem: &str| format!("{}: {problem}", file.display());
    if credentials.access.is_none() && matches!(party, Party::First) {
        return Err(unusable("there is no access token in it; a third party's gateway needs --callback").into());
    }
    let earlier = credentials.base_url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
    let earlier = earlier.and_then(|rest| rest.strip_suffix("/v1/api"));
    let earlier = earlier.ok_or_else(|| unusable("its base_url is not that of an earlier run"))?;
    let (mut gateway, listener) = listen_on(scheme, listen.as_deref().unwrap_or(earlier))?;
    credentials.enroll_again(&mut gateway, party).map_err(|problem| unusable(&problem))?;
    write_pem_files(credentials, dir)?;
    eprintln!("going on with the credentials in {}", dir.display());
    if gateway.base_url() != credentials.base_url {
        eprintln!("they have the earlier address: clients need --base-url {}", gateway.base_url());
    }
    Ok((gateway, listener))
}

fn listen_on(scheme: &str, address: &str) -> Result<(Gateway, TcpListener), Box<dyn Error>> {
    let listener = TcpListener::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let gateway = Gateway::new(&format!("{scheme}://{}/v1/api", listener.local_addr()?))?;
    Ok((gateway, listener))
}

/// Writes those that are missing. The others must have what they would be written with.
fn write_pem_files(credentials: &Credentials, dir: &Path) -> Result<(), String> {
    let pems: [&str; 3] =
        [&credentials.private_signature_pem, &credentials.private_encryption_pem, &credentials.dhparam_pem];
    for (name, pem) in PEM_FILES.iter().zip(pems) {
        let path = dir.join(name);
        match write_new(&path, pem) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                read_secret(&path).ok().filter(|found| **found == pem.as_bytes()).ok_or_else(|| in_the_way(&path))?;
            }
            Err(error) => return Err(format!("cannot write {}: {error}", path.display())),
        }
    }
    Ok(())
}
