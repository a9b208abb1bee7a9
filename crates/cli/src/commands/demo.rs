//! `ibkr-oauth demo`

use clap::Args;

use crate::access::Access;
use crate::commands::gateway::for_demonstration;
use crate::commands::login::Login;
use crate::commands::request::Request;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::progress;

/// Show a login and a request against a stand-in for IBKR on this machine: no account, nothing left behind
#[derive(Args)]
pub struct Demo {}

impl Demo {
    pub async fn run(self) -> Result<Exit, Failure> {
        let place = tempfile::Builder::new().prefix("ibkr-demo-").tempdir();
        let place = place.map_err(|error| Failure::file("cannot make a temporary folder", &error))?;
        output::line("A gateway of our own plays IBKR; keys and credentials are made up, which takes a moment.")?;
        let started = for_demonstration(place.path().join("gateway"));
        let (_server, credentials) = progress::show("making keys", started).await?;
        let access = || Access::of(credentials.clone(), Some(place.path().join("store")));
        output::line("\n$ ibkr-oauth login")?;
        Login::with(access()).run().await?;
        output::line("\n$ ibkr-oauth request GET /iserver/accounts      (the same login)")?;
        Request::get("/iserver/accounts", access()).run().await?;
        output::line("\n\nFor your own account: ibkr-oauth keygen, then ibkr-oauth doctor, then ibkr-oauth login.")?;
        Ok(Exit::Done)
    }
}
