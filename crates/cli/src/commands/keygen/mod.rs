//! `ibkr-oauth keygen`

mod safe_prime;

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ibkr_oauth::doctor::{Credentials, Report, Severity, examine};
use serde_json::json;
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};
use crate::files::{Readers, fresh_folder, is_there, write_new};
use crate::keys::{
    DHPARAM, ENCRYPTION, Keys, PUBLIC_ENCRYPTION, PUBLIC_SIGNATURE, SIGNATURE, dhparam_pem, group_14, private_pem,
    public_pem,
};
use crate::output::{self, ForMachines, note};
use crate::progress;
use crate::surroundings::rng;

/// What is kept, and what is uploaded.
const PRIVATE: [&str; 2] = [SIGNATURE, ENCRYPTION];
const PUBLIC: [&str; 3] = [PUBLIC_SIGNATURE, PUBLIC_ENCRYPTION, DHPARAM];

/// Make what IBKR's self-service portal asks for: two RSA keys and Diffie-Hellman parameters
///
/// The folder receives private_signature.pem and private_encryption.pem, which only you may read, and, to upload,
/// public_signature.pem, public_encryption.pem and dhparam.pem. If one of them is there, nothing is made.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ibkr-oauth keygen --dir my-keys
  ibkr-oauth keygen --dir my-keys --group rfc3526-14")]
pub struct Keygen {
    /// The folder for the files, which is made [default: a fresh temporary one]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Where the Diffie-Hellman prime comes from: a search of half a minute or more, or the well-known one of RFC 3526, which
    /// is as good
    #[arg(long, value_enum, default_value_t, value_name = "GROUP")]
    group: Group,
    #[command(flatten)]
    pub output: ForMachines,
}

#[derive(Clone, Copy, Default, ValueEnum)]
pub enum Group {
    #[default]
    Own,
    #[value(name = "rfc3526-14")]
    Rfc3526,
}

impl Group {
    fn prime(self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Own => safe_prime::search(),
            Self::Rfc3526 => group_14(),
        }
    }
}

/// Makes keys in `folder`, for setup.
pub async fn make_in(folder: PathBuf, group: Group) -> Result<Exit, Failure> {
    Keygen { dir: Some(folder), group, output: ForMachines { json: false } }.run().await
}

impl Keygen {
    pub async fn run(self) -> Result<Exit, Failure> {
        let made = tokio::task::spawn_blocking(move || self.make()).await;
        made.map_err(|error| Failure::file("no keys were made", &error))?
    }

    fn make(&self) -> Result<Exit, Failure> {
        let folder = self.dir.clone().map_or_else(temporary_folder, Ok)?;
        refuse_to_overwrite(&folder)?;
        let bar = progress::spinner("making RSA keys");
        let keys = Keys::generate()?;
        bar.finish_and_clear();
        let files = Files::new(&keys, &self.group.prime()?)?;
        let report = files.examine()?;
        files.write(&folder)?;
        match self.output.json {
            true => output::line(in_json(&folder, &report))?,
            false => output::line(in_words(&folder, &report))?,
        }
        Ok(Exit::Done)
    }
}

fn temporary_folder() -> Result<PathBuf, Failure> {
    let folder = fresh_folder("ibkr-keys").map_err(|error| Failure::file("cannot make a temporary folder", &error))?;
    note(format!("No --dir: the files go to {}. Move them before your system cleans up there.", folder.display()));
    Ok(folder)
}

fn refuse_to_overwrite(folder: &Path) -> Result<(), Failure> {
    let mut paths = PRIVATE.into_iter().chain(PUBLIC).map(|name| folder.join(name));
    match paths.find(|path| is_there(path)) {
        Some(path) => {
            let cause = format!("no keys were made: {} is there already, and is never overwritten", path.display());
            Err(Failure::new(Exit::File, cause))
        }
        None => Ok(()),
    }
}

/// The contents of the five files.
struct Files {
    private: [Zeroizing<String>; 2],
    public: [String; 3],
}

impl Files {
    fn new(keys: &Keys, prime: &[u8]) -> Result<Self, Failure> {
        Ok(Self {
            private: [private_pem(&keys.signature)?, private_pem(&keys.encryption)?],
            public: [public_pem(&keys.signature)?, public_pem(&keys.encryption)?, dhparam_pem(prime)?],
        })
    }

    fn write(&self, folder: &Path) -> Result<(), Failure> {
        let cannot = |path: &Path, error| Failure::file(format!("cannot write {}", path.display()), &error);
        fs::create_dir_all(folder).map_err(|error| cannot(folder, error))?;
        let private = PRIVATE.iter().zip(self.private.iter().map(|pem| (Readers::Owner, pem.as_str())));
        let public = PUBLIC.iter().zip(self.public.iter().map(|pem| (Readers::Anybody, pem.as_str())));
        for (name, (readers, pem)) in private.chain(public) {
            let path = folder.join(name);
            write_new(&path, readers, pem).map_err(|error| cannot(&path, error))?;
        }
        Ok(())
    }

    /// The doctor has the last word on what is to be written.
    fn examine(&self) -> Result<Report, Failure> {
        let [signature_key, encryption_key] = self.private.each_ref().map(|pem| Some(pem.as_str()));
        let [.., dh_params] = self.public.each_ref().map(|pem| Some(pem.as_str()));
        let made = Credentials { signature_key, encryption_key, dh_params, ..Credentials::default() };
        let report = examine(&made, &mut rng());
        match report.findings().iter().find(|finding| finding.severity() == Severity::Error) {
            Some(error) => Err(Failure::new(Exit::File, format!("no keys were made: {}", error.cause()))),
            None => Ok(report),
        }
    }
}

fn in_json(folder: &Path, report: &Report) -> serde_json::Value {
    let paths = |names: &[&str]| names.iter().map(|name| folder.join(name).display().to_string()).collect::<Vec<_>>();
    let fingerprints = report.fingerprints().iter();
    let fingerprints = fingerprints.map(|made| json!({ "credential": made.credential.name(), "sha256": made.sha256 }));
    json!({
        "private": paths(&PRIVATE),
        "to_upload": paths(&PUBLIC),
        "fingerprints": fingerprints.collect::<Vec<_>>(),
    })
}

fn in_words(folder: &Path, report: &Report) -> String {
    let paths =
        |names: &[&str]| names.iter().map(|name| format!("  {}\n", folder.join(name).display())).collect::<String>();
    let fingerprints = report.fingerprints().iter();
    let fingerprints: String = fingerprints.map(|made| format!("  {}: {}\n", made.subject(), made.sha256)).collect();
    format!(
        "To keep to yourself:\n{}To upload:\n{}\nTheir SHA-256 fingerprints, to compare with at any time (`ibkr-oauth doctor` \
         shows them too):\n{fingerprints}\n{}",
        paths(&PRIVATE),
        paths(&PUBLIC),
        what_to_do(folder),
    )
}

/// Protocol section 9.
fn what_to_do(folder: &Path) -> String {
    format!(
        "\
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
  ibkr-oauth doctor --dir {}
A third party does not upload: IBKR's integration team asks for the three files.",
        folder.display()
    )
}
