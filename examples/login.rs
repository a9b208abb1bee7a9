//! Log in to a real account, list its accounts, and stop.
//!
//! ```text
//! cargo run --example login -- --credentials FILE [--base-url URL]
//! ```
//!
//! `FILE` is JSON with the keys `consumer_key`, `realm`, `private_signature_pem`, `private_encryption_pem`, `dhparam_pem`,
//! and `access_token` and `access_token_secret` from the self-service portal. The environment variable
//! `IBKR_CREDENTIALS` names the file if no flag does. Without either, an own gateway on this machine is logged in to.
//!
//! `--base-url` goes before the file's `base_url`, which goes before IBKR's production address.
//!
//! A third party has no access token before its user consents, and must not lose the one that comes of it:
//! `ibkr-oauth login --third-party` asks one user and puts it into the file, `examples/web_app` asks many.

mod support;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use ibkr_oauth::{OAuthSession, doctor};

use support::{Account, Credentials, accounts, agent, drive, now, rng};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    account: Account,
}

fn main() -> ExitCode {
    support::exit_code(run(&Arguments::parse().account).map_err(|error| format!("Not logged in: {error}")))
}

fn run(account: &Account) -> Result<(), Box<dyn Error>> {
    let (credentials, _own_gateway) = account.open(&["EXAMPLECO"])?;
    let credentials = &credentials[0];
    let session = credentials.session();
    let session = session.map_err(|error| format!("{error}\n{}", examination(credentials)))?;
    log_in(session).map_err(|error| with_opinion(error, credentials))
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
        access_token: Some(&credentials.access_token),
        access_token_secret: Some(&credentials.access_token_secret),
        signature_key: Some(&credentials.private_signature_pem),
        encryption_key: Some(&credentials.private_encryption_pem),
        dh_params: Some(&credentials.dhparam_pem),
        ..doctor::Credentials::default()
    };
    doctor::examine(&pieces, &mut rng())
}
