//! Whom the examples log in as.

use std::error::Error;

use ibkr_oauth::OAuthSession;
use ibkr_oauth_gateway::Server;

use super::arguments::Arguments;
use super::credentials::{Credentials, Keys, Party};

/// First parties, and the gateway that they log in to if it is our own.
pub struct Accounts {
    credentials: Vec<Credentials>,
    /// Serves until it is dropped.
    own_gateway: Option<Server>,
}

impl Accounts {
    /// That of the command line, `--credentials FILE [--base-url URL]`; without it, those of
    /// [`Accounts::on_own_gateway`].
    pub fn from_arguments(consumer_keys: &[&str]) -> Result<Self, Box<dyn Error>> {
        match Arguments::parse(&["--credentials", "--base-url"])?.credentials()? {
            Some(credentials) => Ok(Self { credentials: vec![credentials], own_gateway: None }),
            None => Self::on_own_gateway(consumer_keys),
        }
    }

    /// Consumers with fresh keys, on file at a gateway on this machine.
    pub fn on_own_gateway(consumer_keys: &[&str]) -> Result<Self, Box<dyn Error>> {
        println!("No --credentials: logging in to a gateway of our own, with keys made on the spot.");
        let keys = Keys::generate(&mut |step| println!("{step} ..."))?;
        let server = Server::bind("127.0.0.1:0")?;
        let enroll =
            |consumer_key: &&str| Credentials::enroll(&mut server.gateway(), &keys, consumer_key, &Party::First);
        let credentials = consumer_keys.iter().map(enroll).collect::<Result<_, _>>()?;
        Ok(Self { credentials, own_gateway: Some(server) })
    }

    /// May they be asked for as much as we like?
    pub fn are_on_own_gateway(&self) -> bool {
        self.own_gateway.is_some()
    }

    /// A session for each of them, not logged in yet.
    pub fn sessions(&self) -> Result<Vec<OAuthSession>, Box<dyn Error>> {
        self.credentials.iter().map(session).collect()
    }
}

fn session(credentials: &Credentials) -> Result<OAuthSession, Box<dyn Error>> {
    let access_token = credentials.access_token()?.ok_or("the credentials have no access token")?;
    Ok(OAuthSession::with_access_token(credentials.consumer()?.build()?, access_token))
}
