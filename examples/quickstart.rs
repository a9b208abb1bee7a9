//! Both ways to log in, against IBKR's half of the protocol on this machine. No credentials, no flags:
//!
//! ```text
//! cargo run --example quickstart
//! ```

mod support;

use std::error::Error;

use ibkr_oauth::{Consumer, OAuthSession};
use ibkr_oauth_gateway::{Server, TestKeys};
use ureq::Agent;

use support::{Credentials, USER, accounts, agent, drive, enroll, now};

/// Where the third party's users come back to. Nobody listens there: the address in the redirect is all we need.
const CALLBACK: &str = "https://localhost:20000/";

fn main() -> Result<(), Box<dyn Error>> {
    println!("Making throw-away keys, two RSA keys of 2048 bits ...");
    let (keys, server) = (TestKeys::generate()?, Server::bind("127.0.0.1:0")?);
    let first = enroll(&mut server.gateway(), &keys, "FIRSTPRTY")?;
    server.gateway().register_consumer(&keys.registration("THIRDPRTY", Some(CALLBACK)))?;
    let third = Credentials { consumer_key: "THIRDPRTY".to_owned(), ..first.clone() }.consumer()?;
    let third = third.authorize_url(&server.base_url().replace("/v1/api", "/authorize")).build()?;
    println!("IBKR's half of the protocol listens on {}", server.base_url());

    let agent = agent();
    third_party(third, &agent)?;
    first_party(&first, &agent)?;
    println!("\nBoth logins are live. To log in to your own account, see \"Your own account\" in README.md.");
    Ok(())
}

/// A platform that trades for others: each user consents in a browser, once.
fn third_party(consumer: Consumer, agent: &Agent) -> Result<(), Box<dyn Error>> {
    println!("\nThird party {}:", consumer.consumer_key());
    let mut session = OAuthSession::new(consumer);
    drive(&mut session, agent)?;
    let consent_url = session.consent_url().ok_or("the gateway gave no request token")?;
    println!("  the user's browser opens the consent page, and the user agrees");
    let callback = consent(agent, &consent_url)?;
    session.handle_callback(&callback)?;
    println!("  the browser comes back with the verifier");
    // Where it matters, the access token is stored before anything else is sent: see `examples/web_app`.
    drive(&mut session, agent)?;
    list_accounts(&session, agent)
}

/// A trader's own program: the access token comes from the self-service portal.
fn first_party(credentials: &Credentials, agent: &Agent) -> Result<(), Box<dyn Error>> {
    println!("\nFirst party {}:", credentials.consumer_key);
    let mut session = credentials.session()?;
    drive(&mut session, agent)?;
    list_accounts(&session, agent)
}

fn list_accounts(session: &OAuthSession, agent: &Agent) -> Result<(), Box<dyn Error>> {
    let live = session.live(now()).ok_or("the session is not live")?;
    let hours = live.expires_at().saturating_since(now()).as_secs().div_ceil(3600);
    println!("  live for {hours} hours; the API, asked with a signed request, lists the accounts:");
    for account in accounts(live, agent)? {
        println!("    {account}");
    }
    Ok(())
}

/// What the user does in the browser; returns the address to which the consent page redirects it.
fn consent(agent: &Agent, consent_url: &str) -> Result<String, Box<dyn Error>> {
    let answer = agent.get(format!("{consent_url}&approve={USER}")).call()?;
    let location = answer.headers().get("Location").ok_or("the consent page redirects nowhere")?;
    Ok(location.to_str()?.to_string())
}
