//! Results, on stdout.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};

use clap::Args;

use crate::exit::Failure;

/// For whom the output is.
#[derive(Args, Clone, Copy)]
pub struct ForMachines {
    /// Write JSON, one object a line, for machines
    #[arg(long)]
    pub json: bool,
}

/// Writes one line. Colours in it are for terminals that want them.
pub fn line(text: impl Display) -> Result<(), Failure> {
    written(writeln!(anstream::stdout().lock(), "{text}").and_then(|()| io::stdout().flush()))
}

/// Writes bytes as they are. On a terminal, what comes next begins a line of its own.
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let end: &[u8] = if stdout.is_terminal() && !bytes.ends_with(b"\n") { b"\n" } else { b"" };
    written(stdout.write_all(bytes).and_then(|()| stdout.write_all(end)).and_then(|()| stdout.flush()))
}

/// Says on stderr what is not the result.
pub fn note(text: impl Display) {
    // Whoever closed stderr does not want it.
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// A reader that has seen enough, such as `head`, is no failure.
fn written(outcome: io::Result<()>) -> Result<(), Failure> {
    match outcome {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::file("cannot write the result", &error)),
        _ => Ok(()),
    }
}
