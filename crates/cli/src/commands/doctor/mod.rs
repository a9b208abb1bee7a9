//! `ibkr-oauth doctor`

mod demonstration;
mod folder;
mod report;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use ibkr_oauth::doctor::{Clocks, Credential, Credentials, Report, ServerTime, Severity, examine};

use crate::access::Source;
use crate::exit::{Exit, Failure};
use crate::files::{Readers, write_new};
use crate::keys::{DHPARAM, ENCRYPTION, SIGNATURE};
use crate::output::{self, ForMachines, note};
use crate::progress;
use crate::surroundings::{now, rng};

use folder::Folder;
pub use report::in_words;

/// Check credentials, without sending anything: what is wrong, how it shows, and what to do about it
///
/// Any part may be missing or damaged. Ends with exit code 1 for warnings, and 3 for errors.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ibkr-oauth doctor --credentials credentials.toml
  ibkr-oauth doctor --dir my-keys
  ibkr-oauth doctor --server-date \"$(curl -sI https://api.ibkr.com | grep -i '^date')\"
  ibkr-oauth doctor --demo")]
pub struct Doctor {
    #[command(flatten)]
    source: Source,
    /// A folder with private_signature.pem, private_encryption.pem and dhparam.pem, for what the credentials do not have
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// The Date header of a response of the server, to compare this machine's clock with
    #[arg(long, value_name = "DATE")]
    server_date: Option<String>,
    /// A folder for texts that were damaged and could be repaired for certain, as new files
    #[arg(long, value_name = "FOLDER")]
    repair: Option<PathBuf>,
    /// Show what it does, on throw-away credentials
    #[arg(long, exclusive = true)]
    demo: bool,
    #[command(flatten)]
    pub output: ForMachines,
}

impl Doctor {
    pub async fn run(self) -> Result<Exit, Failure> {
        if self.demo {
            return demonstration::run().await;
        }
        let examined = tokio::task::spawn_blocking(|| self.examine());
        let examined = progress::show("examining", examined).await;
        let (report, command) = examined.map_err(|error| Failure::file("the doctor has failed", &error))??;
        match command.output.json {
            true => output::line(report.to_json())?,
            false => output::line(in_words(&report))?,
        }
        if let Some(folder) = &command.repair {
            write_repaired(&report, folder)?;
        }
        Ok(exit(report.worst()))
    }

    fn examine(self) -> Result<(Report, Self), Failure> {
        let folder = self.dir.as_deref().map(Folder::read).transpose()?.unwrap_or_default();
        // A folder alone is looked at alone.
        let source = (self.source.is_named() || self.dir.is_none()).then(|| self.source.credentials()).transpose()?;
        let credentials = source.as_ref().map(ibkr_oauth_tokio::Credentials::for_doctor).unwrap_or_default();
        let server = self.server_date.as_deref().map(without_header_name).map(ServerTime::DateHeader);
        let clocks = server.map(|server| Clocks { own: now(), server });
        let report = examine(&folder.complete(Credentials { clocks, ..credentials }), &mut rng());
        Ok((report, self))
    }
}

fn exit(worst: Option<Severity>) -> Exit {
    match worst {
        None | Some(Severity::Note) => Exit::Done,
        Some(Severity::Warning) => Exit::Rejected,
        Some(Severity::Error) => Exit::Credentials,
    }
}

/// `Date: ...` as curl prints it, without the name.
fn without_header_name(date: &str) -> &str {
    let (name, value) = date.split_once(": ").unwrap_or(("", date));
    if name.eq_ignore_ascii_case("date") { value } else { date }
}

fn write_repaired(report: &Report, folder: &Path) -> Result<(), Failure> {
    let cannot = |path: &Path, error| Failure::file(format!("cannot write {}", path.display()), &error);
    fs::create_dir_all(folder).map_err(|error| cannot(folder, error))?;
    for credential in Credential::ALL {
        let Some(text) = report.repaired(*credential) else { continue };
        let path = folder.join(file_name(*credential));
        write_new(&path, Readers::Owner, text.expose()).map_err(|error| cannot(&path, error))?;
        note(format!("repaired: {}", path.display()));
    }
    Ok(())
}

fn file_name(credential: Credential) -> &'static str {
    match credential {
        Credential::SignatureKey => SIGNATURE,
        Credential::EncryptionKey => ENCRYPTION,
        Credential::DhParams => DHPARAM,
        _ => "access_token_secret.txt",
    }
}
