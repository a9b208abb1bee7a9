//! Log in to a real account, list its accounts, and stop. The whole of the I/O is in `support/driver.rs`.
//!
//! ```text
//! cargo run --example login -- --credentials FILE [--base-url URL] [--third-party [--authorize-url URL] [--port PORT]]
//! ```
//!
//! `FILE` is JSON with the keys `consumer_key`, `realm`, `private_signature_pem`, `private_encryption_pem`,
//! `dhparam_pem`, and for a first party `access_token` and `access_token_secret` from the self-service portal. The
//! environment variable `IBKR_CREDENTIALS` names the file if no flag does. Without either, an own gateway on this
//! machine is logged in to.
//!
//! `--base-url` goes before the file's `base_url`, which goes before IBKR's production address.
//!
//! With `--third-party` and a file without access token, the consent URL is printed, and the callback is awaited: from
//! the browser, on a loopback port (`--port`, default 20000, must be the port registered as callback), or pasted. The
//! access token is stored in the file as soon as it arrives; whether that can be done is tried before the user is asked.
//! The consent page is IBKR's, unless `--authorize-url` names that of another gateway.

mod support;

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use std::{env, thread};

use ibkr_oauth::{CallbackError, Consumer, OAuthSession, doctor};
use ureq::Agent;

use support::accounts::Accounts;
use support::credentials::{Access, Credentials};
use support::driver::{accounts, agent, drive, now, rng, step};
use support::files::try_replacing;

const USAGE: &str =
    "usage: login [--credentials FILE] [--base-url URL] [--third-party [--authorize-url URL] [--port PORT]]";
/// How long the browser may take to send its request.
const BROWSER_TIME: Duration = Duration::from_secs(10);
/// Bytes that an access token and its secret add to the credentials at most.
const ROOM: usize = 4096;

#[derive(Default)]
struct Options {
    credentials: Option<PathBuf>,
    base_url: Option<String>,
    third_party: bool,
    authorize_url: Option<String>,
    port: Option<u16>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { credentials: env::var_os("IBKR_CREDENTIALS").map(PathBuf::from), ..Self::default() };
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--credentials" => options.credentials = Some(value()?.into()),
                "--base-url" => options.base_url = Some(value()?),
                "--third-party" => options.third_party = true,
                "--authorize-url" => options.authorize_url = Some(value()?),
                "--port" => options.port = Some(value()?.parse().map_err(|_| "--port needs a port number")?),
                _ => return Err(format!("unknown argument: {flag}")),
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let options = match Options::parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Not logged in: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let Some(file) = &options.credentials else {
        return log_in_to_own_gateway();
    };
    let unreadable = |error| format!("cannot read {}: {error}", file.display());
    let credentials = Credentials::read(file).map_err(unreadable)?;
    let usable = consumer(&credentials, options).and_then(|consumer| Ok((consumer, credentials.access_token()?)));
    let (consumer, access_token) = usable.map_err(|error| format!("{error}\n{}", examination(&credentials)))?;
    let outcome = match access_token {
        Some(access_token) => log_in(OAuthSession::with_access_token(consumer, access_token)),
        None if options.third_party => {
            authorize(OAuthSession::new(consumer), file, options.port.unwrap_or(20_000)).and_then(log_in)
        }
        None => Err("the file has no access token; a third party asks for one with --third-party".into()),
    };
    outcome.map_err(|error| with_opinion(error, &credentials))
}

/// Adds what the doctor says, where the error leaves the cause open.
fn with_opinion(error: Box<dyn Error>, credentials: &Credentials) -> Box<dyn Error> {
    let Some(of_session) = error.downcast_ref() else { return error };
    let report = examination(credentials);
    match report.opinion_on(of_session) {
        Some(opinion) => format!("{error}\n{report}In short: {opinion}.").into(),
        None => error,
    }
}

fn examination(credentials: &Credentials) -> doctor::Report {
    let access = credentials.access.as_ref();
    let pieces = doctor::Credentials {
        consumer_key: Some(&credentials.consumer_key),
        realm: Some(&credentials.realm),
        access_token: access.map(|access| access.token.as_str()),
        access_token_secret: access.map(|access| access.secret.as_str()),
        signature_key: Some(&credentials.private_signature_pem),
        encryption_key: Some(&credentials.private_encryption_pem),
        dh_params: Some(&credentials.dhparam_pem),
        ..doctor::Credentials::default()
    };
    doctor::examine(&pieces, &mut rng())
}

fn consumer(credentials: &Credentials, options: &Options) -> Result<Consumer, Box<dyn Error>> {
    let base_url = options.base_url.as_ref().unwrap_or(&credentials.base_url);
    let mut builder = credentials.consumer()?.base_url(base_url);
    if let Some(url) = &options.authorize_url {
        builder = builder.authorize_url(url);
    }
    Ok(builder.build()?)
}

fn log_in_to_own_gateway() -> Result<(), Box<dyn Error>> {
    let accounts = Accounts::on_own_gateway(&["EXAMPLECO"])?;
    accounts.sessions()?.into_iter().try_for_each(log_in)
}

fn log_in(mut session: OAuthSession) -> Result<(), Box<dyn Error>> {
    println!("Logging in to {} as {}.", session.consumer().base_url(), session.consumer().consumer_key());
    let agent = agent();
    drive(&mut session, &agent)?;
    let live = session.live(now()).ok_or("the session is not live")?;
    let minutes = live.expires_at().saturating_since(now()).as_secs() / 60;
    println!("Live until {}: {} h {} min.", live.expires_at(), minutes / 60, minutes % 60);
    println!("Accounts:");
    for account in accounts(live, &agent)? {
        println!("  {account}");
    }
    Ok(())
}

/// Gets the user's consent, trades it for an access token, and stores that.
fn authorize(mut session: OAuthSession, file: &Path, port: u16) -> Result<OAuthSession, Box<dyn Error>> {
    try_replacing(file, ROOM).map_err(|error| {
        format!(
            "{} cannot be replaced, so no access token could be stored, and none is asked for: {error}",
            file.display()
        )
    })?;
    let agent = agent();
    drive(&mut session, &agent)?;
    let consent_url = session.consent_url().ok_or("IBKR gave no request token")?;
    println!("Open this page, log in, and agree:\n\n  {consent_url}\n");
    println!("Waiting for the browser to come back to port {port}. If it ends up on an error page instead,");
    println!("paste the address of that page here, and press Enter.");
    await_callback(&mut session, port)?;
    redeem(&mut session, &agent, file)?;
    Ok(session)
}

/// Only this one step: the access token must not be lost if the live session token that follows is refused.
fn redeem(session: &mut OAuthSession, agent: &Agent, file: &Path) -> Result<(), Box<dyn Error>> {
    let as_it_was = || println!("No access token has arrived: {} is as it was.", file.display());
    step(session, agent).inspect_err(|_| as_it_was())?;
    let access_token = session.access_token().ok_or("IBKR gave no access token")?;
    let access = Access::of(access_token);
    access.store(file).map_err(|error| {
        let is_stored = Credentials::read(file).is_ok_and(|stored| stored.access.as_ref() == Some(&access));
        let outcome = if is_stored { "is stored, but may not outlast a power failure" } else { "is NOT stored" };
        format!("the access token {outcome} in {}: {error}", file.display())
    })?;
    println!("The access token is stored in {}: the user need not be asked again.", file.display());
    Ok(())
}

/// Takes callbacks from both sides until one fits: a wrong one, from an old tab or cut off, costs nothing.
fn await_callback(session: &mut OAuthSession, port: u16) -> Result<(), Box<dyn Error>> {
    let (callbacks, received) = channel();
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(listener) => listen(listener, callbacks.clone()),
        Err(error) => println!("(Port {port} cannot be used: {error}. Paste the address.)"),
    }
    read_lines(callbacks);
    for callback in received {
        match session.handle_callback(&callback) {
            Ok(()) => return Ok(()),
            // The request token is ours, so this is the answer: no.
            Err(ibkr_oauth::Error::Callback(CallbackError::Missing { name: "oauth_verifier" })) => {
                return Err("the user did not consent (or the address was cut off before oauth_verifier)".into());
            }
            Err(error) => println!("That was not it: {error}."),
        }
    }
    Err("no callback came".into())
}

fn read_lines(callbacks: Sender<String>) {
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok).filter(|line| !line.trim().is_empty()) {
            if callbacks.send(line).is_err() {
                return;
            }
        }
    });
}

fn listen(listener: TcpListener, callbacks: Sender<String>) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Some(target) = request_target(&stream) else { continue };
            // Browsers also ask for an icon.
            if target.contains('?') && callbacks.send(target).is_err() {
                return;
            }
        }
    });
}

/// The target on the request line of a browser's GET, which is answered.
fn request_target(mut stream: &TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(BROWSER_TIME)).ok()?;
    let mut line = String::new();
    BufReader::new(io::Read::take(stream, 16 * 1024)).read_line(&mut line).ok()?;
    let target = line.strip_prefix("GET ")?.split(' ').next()?.to_string();
    let page = "Thank you. You can close this page.";
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}", page.len());
    let _ = stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n{page}").as_bytes());
    Some(target)
}
