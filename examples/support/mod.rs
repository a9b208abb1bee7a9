//! What examples and tests share: credentials, and drivers to log in with.

// Each example uses a part.
#![allow(dead_code)]

pub mod accounts;
pub mod arguments;
pub mod credentials;
pub mod driver;
pub mod files;
pub mod in_process;
pub mod words;

use std::fmt::Display;
use std::process::ExitCode;

/// How a program ends: an error goes to stderr, in its own words.
pub fn exit_code<E: Display>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
