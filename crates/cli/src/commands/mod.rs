//! The commands, a file each.

mod demo;
mod doctor;
mod gateway;
mod interruption;
mod keep_alive;
mod keygen;
mod login;
mod probe;
mod proxy;
mod request;
mod setup;

use clap::Subcommand;

use crate::exit::{Exit, Failure};

#[derive(Subcommand)]
pub enum Command {
    Setup(setup::Setup),
    Login(login::Login),
    Request(request::Request),
    KeepAlive(keep_alive::KeepAlive),
    Proxy(proxy::Proxy),
    Doctor(doctor::Doctor),
    Keygen(keygen::Keygen),
    Gateway(gateway::Gateway),
    Probe(probe::Probe),
    Demo(demo::Demo),
}

impl Command {
    pub async fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Setup(command) => command.run().await,
            Self::Login(command) => command.run().await,
            Self::Request(command) => command.run().await,
            Self::KeepAlive(command) => command.run().await,
            Self::Proxy(command) => command.run().await,
            Self::Doctor(command) => command.run().await,
            Self::Keygen(command) => command.run().await,
            Self::Gateway(command) => command.run().await,
            Self::Probe(command) => command.run().await,
            Self::Demo(command) => command.run().await,
        }
    }

    /// Whether a failure is to be told in JSON.
    pub fn is_for_machines(&self) -> bool {
        match self {
            Self::Login(command) => command.output.json,
            Self::KeepAlive(command) => command.output.json,
            Self::Proxy(command) => command.output.json,
            Self::Doctor(command) => command.output.json,
            Self::Keygen(command) => command.output.json,
            Self::Gateway(command) => command.output.json,
            Self::Probe(command) => command.output.json,
            // What it writes is the server's response.
            Self::Request(_) | Self::Demo(_) | Self::Setup(_) => false,
        }
    }
}
