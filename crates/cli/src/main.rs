#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used,
    )
)]

mod access;
mod callbacks;
mod commands;
mod consent;
mod exit;
mod files;
mod keys;
mod local_time;
mod logging;
mod output;
mod progress;
mod prompt;
mod session;
mod store;
mod surroundings;
mod words;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Command;
use crate::exit::{EXIT_CODES, Failure};
use crate::logging::Logging;

/// Interactive Brokers' Web API on the command line, logged in with OAuth 1.0a.
///
/// All commands of a day share one login: whoever needs a session takes the stored one.
#[derive(Parser)]
#[command(name = "ibkr-oauth", version, after_help = EXIT_CODES, max_term_width = 100)]
struct CommandLine {
    #[command(flatten)]
    logging: Logging,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    // A mistake in the arguments ends the program here, with exit code 2.
    let CommandLine { logging, command } = CommandLine::parse();
    logging.start();
    let for_machines = command.is_for_machines();
    match run(command) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(for_machines),
    }
}

fn run(command: Command) -> Result<exit::Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::file("cannot start", &error))?;
    runtime.block_on(command.run())
}
