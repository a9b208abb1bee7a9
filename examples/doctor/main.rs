//! See what is wrong with your credentials, offline: nothing is sent anywhere.
//!
//! ```text
//! cargo run --example doctor -- [--credentials FILE] [--dir DIR] [--server-date DATE] [--repair DIR] [--json]
//! ```
//!
//! `FILE` is JSON with the keys that the program `login` takes; any may be missing. Also known: `dh_prime` (hexadecimal)
//! and `dh_generator` in place of `dhparam_pem`, `private_signature_passphrase` and `private_encryption_passphrase`
//! (needs `--features encrypted-keys`). `DIR` has `private_signature.pem`, `private_encryption.pem` and `dhparam.pem`;
//! what the file does not say is taken from there.
//!
//! Without both, the environment is looked at: `IBKR_CREDENTIALS` names a file as above; ibind's `IBIND_OAUTH1A_*` are
//! read as ibind reads them. Without anything, the program shows what it does on throw-away credentials.
//!
//! `--server-date` takes the `Date` header of an answer of the server, to compare this machine's clock with:
//! `curl -sI https://api.ibkr.com | grep -i '^date'`. `--repair` writes the texts that could be repaired into new files.
//! `--json` writes one JSON object instead of a report. Colours are for terminals, and not if `NO_COLOR` is set.
//!
//! Exit codes: 0 if all is fine, 1 for warnings, 2 for errors, 3 for wrong usage or a file that cannot be read or written.

mod demonstration;
mod pieces;
#[path = "../support/mod.rs"]
mod support;
mod terminal;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ibkr_oauth::doctor::{Clocks, Credential, Credentials, Report, ServerTime, Severity, examine};

use pieces::Pieces;
use support::driver::{now, rng};
use support::files::write_new;

const USAGE: &str = "usage: doctor [--credentials FILE] [--dir DIR] [--server-date DATE] [--repair DIR] [--json]";

#[derive(Default)]
struct Options {
    credentials: Option<PathBuf>,
    dir: Option<PathBuf>,
    server_date: Option<String>,
    repair: Option<PathBuf>,
    format: Format,
}

/// For whom the report is.
#[derive(Clone, Copy, Default)]
enum Format {
    #[default]
    Text,
    Json,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--credentials" => options.credentials = Some(value()?.into()),
                "--dir" => options.dir = Some(value()?.into()),
                "--server-date" => options.server_date = Some(value()?),
                "--repair" => options.repair = Some(value()?.into()),
                "--json" => options.format = Format::Json,
                _ => return Err(format!("unknown argument: {flag}")),
            }
        }
        Ok(options)
    }

    /// What the flags name, else what the environment names; None if neither names anything.
    fn pieces(&self) -> Result<Option<Pieces>, String> {
        if self.credentials.is_none() && self.dir.is_none() {
            return Pieces::from_environment();
        }
        let mut pieces = Pieces::default();
        if let Some(file) = &self.credentials {
            pieces = pieces.or(Pieces::from_file(file)?);
        }
        if let Some(dir) = &self.dir {
            pieces = pieces.or(Pieces::from_dir(dir)?);
        }
        Ok(Some(pieces))
    }
}

fn main() -> ExitCode {
    let outcome = Options::parse(std::env::args().skip(1)).map_err(|problem| format!("{problem}\n{USAGE}"));
    match outcome.and_then(|options| run(&options)) {
        Ok(worst) => exit_code(worst),
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(3)
        }
    }
}

fn exit_code(worst: Option<Severity>) -> ExitCode {
    match worst {
        None | Some(Severity::Note) => ExitCode::SUCCESS,
        Some(Severity::Warning) => ExitCode::from(1),
        Some(Severity::Error) => ExitCode::from(2),
    }
}

/// The worst that was found; nothing for the demonstration.
fn run(options: &Options) -> Result<Option<Severity>, String> {
    let Some(pieces) = options.pieces()? else {
        demonstration::run(|pieces| print(&diagnose(pieces, options), options.format))?;
        return Ok(None);
    };
    let report = diagnose(&pieces, options);
    print(&report, options.format)?;
    if let Some(dir) = &options.repair {
        write_repaired(&report, dir)?;
    }
    Ok(report.worst())
}

fn diagnose(pieces: &Pieces, options: &Options) -> Report {
    let server = options.server_date.as_deref().map(without_header_name).map(ServerTime::DateHeader);
    let clocks = server.map(|server| Clocks { own: now(), server });
    examine(&Credentials { clocks, ..pieces.credentials() }, &mut rng())
}

/// `Date: ...` as curl prints it, without the name.
fn without_header_name(date: &str) -> &str {
    let (name, value) = date.split_once(": ").unwrap_or(("", date));
    if name.eq_ignore_ascii_case("date") { value } else { date }
}

fn print(report: &Report, format: Format) -> Result<(), String> {
    let text = match format {
        Format::Text => terminal::render(report),
        Format::Json => report.to_json() + "\n",
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot write the report: {error}")),
        _ => Ok(()),
    }
}

fn write_repaired(report: &Report, dir: &Path) -> Result<(), String> {
    let cannot = |path: &Path, error: io::Error| format!("cannot write {}: {error}", path.display());
    fs::create_dir_all(dir).map_err(|error| cannot(dir, error))?;
    for credential in Credential::ALL {
        let Some(text) = report.repaired(*credential) else { continue };
        let path = dir.join(file_name(*credential));
        write_new(&path, text.expose()).map_err(|error| cannot(&path, error))?;
        eprintln!("repaired: {}", path.display());
    }
    Ok(())
}

fn file_name(credential: Credential) -> &'static str {
    match credential {
        Credential::SignatureKey => "private_signature.pem",
        Credential::EncryptionKey => "private_encryption.pem",
        Credential::DhParams => "dhparam.pem",
        _ => "access_token_secret.txt",
    }
}
