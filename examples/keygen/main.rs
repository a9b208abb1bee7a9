//! Make what IBKR's self-service portal asks for: two RSA keys and Diffie-Hellman parameters.
//!
//! ```text
//! cargo run --example keygen -- [--dir DIR] [--group rfc3526-14]
//! ```
//!
//! `DIR` (a fresh temporary directory if there is no `--dir`) receives `private_signature.pem` and
//! `private_encryption.pem`, which only you may read; and, to upload, `public_signature.pem`, `public_encryption.pem` and
//! `dhparam.pem`. Nothing is ever overwritten: if one of them is there, nothing is made.
//!
//! The Diffie-Hellman prime is searched for on all processors, half a minute's work for one of them. With `--group
//! rfc3526-14` it is the well-known prime of RFC 3526, which is as good and there at once.
//!
//! Exit codes: 0 for success, 1 if something went wrong, 3 for wrong usage.

mod safe_prime;
#[path = "../support/mod.rs"]
mod support;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ibkr_oauth::doctor::{Credentials, Report, Severity, examine};
use zeroize::Zeroizing;

use support::arguments::Arguments;
use support::credentials::{Keys, dhparam_pem, group_14, private_pem, public_pem};
use support::driver::rng;
use support::files::{fresh_dir, write_new, write_new_public};

const SIGNATURE: &str = "private_signature.pem";
const ENCRYPTION: &str = "private_encryption.pem";
const PUBLIC_SIGNATURE: &str = "public_signature.pem";
const PUBLIC_ENCRYPTION: &str = "public_encryption.pem";
const DHPARAM: &str = "dhparam.pem";

/// Where the Diffie-Hellman prime comes from.
#[derive(Clone, Copy)]
enum Group {
    Own,
    Rfc3526,
}

impl Group {
    fn named(name: Option<&str>) -> Result<Self, String> {
        match name {
            None => Ok(Self::Own),
            Some("rfc3526-14") => Ok(Self::Rfc3526),
            Some(_) => Err("the only group known by name is rfc3526-14".to_string()),
        }
    }

    fn prime(self) -> Vec<u8> {
        match self {
            Self::Own => safe_prime::search(),
            Self::Rfc3526 => group_14(),
        }
    }
}

fn main() -> ExitCode {
    let options = Arguments::parse(&["--dir", "--group"]).and_then(|arguments| {
        let group = Group::named(arguments.get("--group"))?;
        Ok((arguments.get("--dir").map(PathBuf::from), group))
    });
    let outcome = match options {
        Ok((dir, group)) => dir.map_or_else(temporary_dir, Ok).and_then(|dir| run(dir, group)),
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(3);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("No keys were made: {error}");
            ExitCode::FAILURE
        }
    }
}

fn temporary_dir() -> Result<PathBuf, Box<dyn Error>> {
    let dir = fresh_dir("ibkr-keys").map_err(|error| format!("cannot make a temporary directory: {error}"))?;
    println!("No --dir: the files go to {}. Move them before your system cleans up there.", dir.display());
    Ok(dir)
}

fn run(dir: PathBuf, group: Group) -> Result<(), Box<dyn Error>> {
    refuse_to_overwrite(&dir)?;
    let keys = Keys::generate(&mut |step| println!("{step} ..."))?;
    let files = Files {
        signature: private_pem(&keys.signature),
        encryption: private_pem(&keys.encryption),
        public_signature: public_pem(&keys.signature),
        public_encryption: public_pem(&keys.encryption),
        dhparam: dhparam_pem(&group.prime()),
    };
    let report = files.examine()?;
    files.write(&dir).map_err(|error| format!("cannot write to {}: {error}", dir.display()))?;
    print_files(&dir);
    print_fingerprints(&report);
    print_what_to_do(&dir);
    Ok(())
}

fn refuse_to_overwrite(dir: &Path) -> Result<(), String> {
    let names = [SIGNATURE, ENCRYPTION, PUBLIC_SIGNATURE, PUBLIC_ENCRYPTION, DHPARAM];
    // A dangling link is in the way too.
    let there = names.map(|name| dir.join(name)).into_iter().find(|path| path.symlink_metadata().is_ok());
    match there {
        Some(path) => Err(format!("{} is there already, and keys are never overwritten", path.display())),
        None => Ok(()),
    }
}

/// The contents of the five files.
struct Files {
    signature: Zeroizing<String>,
    encryption: Zeroizing<String>,
    public_signature: String,
    public_encryption: String,
    dhparam: String,
}

impl Files {
    fn write(&self, dir: &Path) -> std::io::Result<()> {
        fs::create_dir_all(dir)?;
        write_new(&dir.join(SIGNATURE), &self.signature)?;
        write_new(&dir.join(ENCRYPTION), &self.encryption)?;
        write_new_public(&dir.join(PUBLIC_SIGNATURE), &self.public_signature)?;
        write_new_public(&dir.join(PUBLIC_ENCRYPTION), &self.public_encryption)?;
        write_new_public(&dir.join(DHPARAM), &self.dhparam)
    }

    /// The doctor has the last word on what is to be written.
    fn examine(&self) -> Result<Report, String> {
        let made = Credentials {
            signature_key: Some(&self.signature),
            encryption_key: Some(&self.encryption),
            dh_params: Some(&self.dhparam),
            ..Credentials::default()
        };
        let report = examine(&made, &mut rng());
        match report.findings().iter().find(|finding| finding.severity() == Severity::Error) {
            Some(error) => Err(error.cause()),
            None => Ok(report),
        }
    }
}

fn print_files(dir: &Path) {
    println!("\nTo keep to yourself:");
    for name in [SIGNATURE, ENCRYPTION] {
        println!("  {}", dir.join(name).display());
    }
    println!("To upload:");
    for name in [PUBLIC_SIGNATURE, PUBLIC_ENCRYPTION, DHPARAM] {
        println!("  {}", dir.join(name).display());
    }
}

fn print_fingerprints(report: &Report) {
    println!("\nTheir SHA-256 fingerprints, to compare with at any time (the program `doctor` shows them too):");
    for fingerprint in report.fingerprints() {
        println!("  {}: {}", fingerprint.subject(), fingerprint.sha256);
    }
}

/// Protocol section 9.
fn print_what_to_do(dir: &Path) {
    println!(
        "
What to do with them, for your own account:
  1. Log in, with your live user name, to the self-service portal:
     https://ndcdyn.interactivebrokers.com/sso/Login?action=OAUTH&RL=1&ip2loc=US
     (a link to another region answers an upload with \"Failed to set Key\").
  2. Choose a consumer key: nine letters, A to Z. Write it down in upper case.
  3. Upload {PUBLIC_SIGNATURE} as the public signing key, {PUBLIC_ENCRYPTION} as the public
     encryption key, {DHPARAM} as the Diffie-Hellman parameters.
  4. Generate the tokens; copy the access token and the access token secret at once and whole.
  5. Switch OAuth access on.
  6. Wait: a new consumer key works from the next night on, at the latest after two weeks. Until then
     IBKR answers `invalid consumer`.
Then see whether everything fits together:
  cargo run --example doctor -- --dir {}
A third party does not upload: IBKR's integration team asks for the three files.",
        dir.display()
    );
}
