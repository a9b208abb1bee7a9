//! Log in to a real account, list its accounts, and stop.
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

mod files;
#[path = "../support/mod.rs"]
mod support;

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use clap::Parser;
use ibkr_oauth::{CallbackError, OAuthSession, Outbound, doctor};
use ureq::Agent;

use files::try_replacing;
use support::{Account, Credentials, accounts, agent, drive, now, rng, send};

/// How long the browser may take to send its request.
const BROWSER_TIME: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    account: Account,
    /// Ask the user for consent if the file has no access token
    #[arg(long)]
    third_party: bool,
    /// The consent page of a gateway that is not IBKR's
    #[arg(long, value_name = "URL")]
    authorize_url: Option<String>,
    /// The loopback port at which the browser comes back
    #[arg(long, default_value_t = 20_000)]
    port: u16,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Not logged in: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let (Some(credentials), Some(file)) = (options.account.read()?, &options.account.credentials) else {
        let (credentials, _own_gateway) = options.account.open(&["EXAMPLECO"])?;
        return log_in(credentials[0].session()?);
    };
    let is_new = credentials.access_token.is_none() && credentials.access_token_secret.is_none();
    if is_new && !options.third_party {
        return Err("the file has no access token; a third party asks for one with --third-party".into());
    }
    let session = if is_new { unauthorized(&credentials, options) } else { credentials.session() };
    let session = session.map_err(|error| format!("{error}\n{}", examination(&credentials)))?;
    let authorized = if is_new { authorize(session, file, options.port) } else { Ok(session) };
    authorized.and_then(log_in).map_err(|error| with_opinion(error, &credentials))
}

/// A session whose user has yet to consent.
fn unauthorized(credentials: &Credentials, options: &Options) -> Result<OAuthSession, Box<dyn Error>> {
    let builder = credentials.consumer()?;
    let builder = options.authorize_url.iter().fold(builder, |builder, url| builder.authorize_url(url));
    Ok(OAuthSession::new(builder.build()?))
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
    let pieces = doctor::Credentials {
        consumer_key: Some(&credentials.consumer_key),
        realm: Some(&credentials.realm),
        access_token: credentials.access_token.as_ref().map(|token| token.as_str()),
        access_token_secret: credentials.access_token_secret.as_ref().map(|secret| secret.as_str()),
        signature_key: Some(&credentials.private_signature_pem),
        encryption_key: Some(&credentials.private_encryption_pem),
        dh_params: Some(&credentials.dhparam_pem),
        ..doctor::Credentials::default()
    };
    doctor::examine(&pieces, &mut rng())
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
    try_replacing(file).map_err(|error| {
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
    if let Some(Outbound { request, exchange }) = session.poll_request(&mut rng(), now())? {
        let response = send(agent, request).inspect_err(|_| as_it_was())?;
        session.handle_response(exchange, &response, now()).inspect_err(|_| as_it_was())?;
    }
    let access_token = session.access_token().ok_or("IBKR gave no access token")?;
    files::store(file, access_token).map_err(|error| {
        let stored = Credentials::read(file).ok().and_then(|stored| stored.access_token);
        let is_stored = stored.is_some_and(|token| *token == access_token.token());
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

/// The target on the request line of a browser's GET, which is answered. A server of a library would be longer.
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
