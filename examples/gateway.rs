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
//! that a browser finds under `/authorize?oauth_token=TOKEN`. `ibkr-oauth login --third-party` stores the access
//! token in the file; one that another client keeps elsewhere is void when this program starts again.
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
use std::{fs, thread};

use base64::prelude::{BASE64_STANDARD, Engine};
use clap::Parser;
use ibkr_oauth_gateway::{Certificate, Gateway, LiveSessionTokens, Server};
use rsa::pkcs8::DecodePrivateKey;
use rsa::{Pkcs1v15Encrypt, PrivateKey};
use zeroize::Zeroizing;

use support::{Credentials, USER, enroll, make_keys};

const CONSUMER_KEY: &str = "EXAMPLECO";
const CREDENTIALS: &str = "credentials.json";
const PEM_FILES: [&str; 3] = ["private_signature.pem", "private_encryption.pem", "dhparam.pem"];

#[derive(Parser)]
struct Options {
    /// The address to serve at
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where the credentials are, or will be
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Make the credentials a third party's
    #[arg(long, value_name = "URL")]
    callback: Option<String>,
    /// Let live session tokens of one access token live side by side
    #[arg(long)]
    several_tokens: bool,
    #[arg(long)]
    tls: bool,
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

enum Never {}

fn run(options: Options) -> Result<Never, Box<dyn Error>> {
    let dir = open_dir(options.dir)?;
    let callback = options.callback.as_deref();
    let scheme = if options.tls { "https" } else { "http" };
    let (mut gateway, listener) = match earlier_run(&dir)? {
        Some(credentials) => start_again(&credentials, &dir, scheme, options.listen, callback)?,
        None => start_afresh(&dir, scheme, options.listen, callback)?,
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
        let fresh = tempfile::Builder::new().prefix("ibkr-gateway-").tempdir();
        return fresh.map(|dir| dir.keep()).map_err(|error| format!("cannot make a temporary directory: {error}"));
    };
    fs::create_dir_all(&dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    Ok(dir)
}

/// The credentials that an earlier run left in `dir`; none in a directory that has no file of ours, nor of that name.
fn earlier_run(dir: &Path) -> Result<Option<Credentials>, String> {
    match Credentials::read(&dir.join(CREDENTIALS)) {
        Ok(credentials) if credentials.consumer_key == CONSUMER_KEY => return Ok(Some(credentials)),
        _ => {}
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
    callback: Option<&str>,
) -> Result<(Gateway, TcpListener), Box<dyn Error>> {
    let (mut gateway, listener) = listen_on(scheme, &listen.unwrap_or_else(|| "127.0.0.1:0".to_owned()))?;
    eprintln!("making keys");
    let credentials = enroll(&mut gateway, &make_keys()?, CONSUMER_KEY, callback)?;
    let file = dir.join(CREDENTIALS);
    let json = serde_json::to_string_pretty(&credentials)?;
    write_new(&file, &json).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    write_pem_files(&credentials, dir)?;
    eprintln!("credentials are in {}", dir.display());
    Ok((gateway, listener))
}

fn start_again(
    credentials: &Credentials,
    dir: &Path,
    scheme: &str,
    listen: Option<String>,
    callback: Option<&str>,
) -> Result<(Gateway, TcpListener), Box<dyn Error>> {
    let file = dir.join(CREDENTIALS);
    let unusable = |problem: &str| format!("{}: {problem}", file.display());
    let access = credentials.access_token.as_ref().zip(credentials.access_token_secret.as_ref());
    if access.is_none() && callback.is_none() {
        return Err(unusable("there is no access token in it; a third party's gateway needs --callback").into());
    }
    let earlier = credentials.base_url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
    let earlier = earlier.and_then(|rest| rest.strip_suffix("/v1/api"));
    let earlier = earlier.ok_or_else(|| unusable("its base_url is not that of an earlier run"))?;
    let (mut gateway, listener) = listen_on(scheme, listen.as_deref().unwrap_or(earlier))?;
    enroll_again(&mut gateway, credentials, callback).map_err(|error| unusable(&error.to_string()))?;
    write_pem_files(credentials, dir)?;
    eprintln!("going on with the credentials in {}", dir.display());
    if gateway.base_url() != credentials.base_url {
        eprintln!("they have the earlier address: clients need --base-url {}", gateway.base_url());
    }
    Ok((gateway, listener))
}

/// Makes a gateway know what an earlier one knew. The error is that of a part that no gateway of ours has made.
fn enroll_again(
    gateway: &mut Gateway,
    credentials: &Credentials,
    callback: Option<&str>,
) -> Result<(), Box<dyn Error>> {
    let key = |pem: &str| PrivateKey::from_pkcs8_pem(pem).map_err(|_| "the private keys cannot be read");
    let keys = [key(&credentials.private_signature_pem)?, key(&credentials.private_encryption_pem)?];
    if enroll(gateway, &keys, CONSUMER_KEY, callback)?.dhparam_pem != credentials.dhparam_pem {
        return Err("its dhparam_pem is not that of an earlier run".into());
    }
    let access = credentials.access_token.as_ref().zip(credentials.access_token_secret.as_ref());
    let Some((token, secret)) = access else { return Ok(()) };
    let decrypted = keys[1].decrypt(Pkcs1v15Encrypt, &BASE64_STANDARD.decode(secret.as_bytes())?).map(Zeroizing::new);
    let secret = decrypted.ok().and_then(|secret| <[u8; 32]>::try_from(secret.as_slice()).ok());
    let secret = secret.ok_or("the access token secret is not for the encryption key")?;
    Ok(gateway.restore_access_token(CONSUMER_KEY, USER, token, secret)?)
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
                fs::read(&path).ok().filter(|found| found == pem.as_bytes()).ok_or_else(|| in_the_way(&path))?;
            }
            Err(error) => return Err(format!("cannot write {}: {error}", path.display())),
        }
    }
    Ok(())
}

/// Writes a new file that only its owner may read; there must be none of that name.
fn write_new(path: &Path, content: &str) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(content.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(())
}
