//! IBKR on your own machine: a gateway that logs clients in, with credentials to go with it.
//!
//! ```text
//! cargo run --example gateway -- [--listen ADDRESS] [--dir DIR] [--callback URL]
//! ```
//!
//! Serves until interrupted. `DIR` (a fresh temporary directory if there is no `--dir`) receives `credentials.json`,
//! and `private_signature.pem`, `private_encryption.pem` and `dhparam.pem` for clients that want files. The first line
//! on stdout is `listening on` and the base URL: from then on, clients are served.
//!
//! With `--callback` the credentials are a third party's: they have no access token, and users consent on the page
//! that a browser finds under `/authorize?oauth_token=TOKEN`.

mod support;

use std::error::Error;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, thread};

use ibkr_oauth_gateway::Gateway;

use support::credentials::{Credentials, Keys, Party};
use support::files::{fresh_dir, write_new};
use support::server::Server;

const USAGE: &str = "usage: gateway [--listen ADDRESS] [--dir DIR] [--callback URL]";

struct Options {
    listen: String,
    dir: Option<PathBuf>,
    callback: Option<String>,
}

fn main() -> ExitCode {
    let options = match Options::parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { listen: "127.0.0.1:0".to_owned(), dir: None, callback: None };
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--listen" => options.listen = value()?,
                "--dir" => options.dir = Some(value()?.into()),
                "--callback" => options.callback = Some(value()?),
                _ => return Err(format!("unknown argument: {flag}")),
            }
        }
        Ok(options)
    }
}

enum Never {}

fn run(options: Options) -> Result<Never, Box<dyn Error>> {
    let listener =
        TcpListener::bind(&options.listen).map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let dir = open_dir(options.dir)?;
    let mut gateway = Gateway::new(&format!("http://{}/v1/api", listener.local_addr()?))?;
    let keys = Keys::generate(&mut |step| eprintln!("{step}"))?;
    let party = match &options.callback {
        Some(callback_url) => Party::Third { callback_url },
        None => Party::First,
    };
    let credentials = Credentials::enroll(&mut gateway, &keys, "EXAMPLECO", &party)?;
    write_files(&credentials, &dir).map_err(|error| format!("cannot write to {}: {error}", dir.display()))?;
    eprintln!("credentials are in {}", dir.display());

    let server = Server::start(gateway, listener)?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on {}", server.base_url())?;
    stdout.flush()?;
    loop {
        thread::park();
    }
}

fn open_dir(dir: Option<PathBuf>) -> Result<PathBuf, String> {
    let Some(dir) = dir else {
        return fresh_dir("ibkr-gateway").map_err(|error| format!("cannot make a temporary directory: {error}"));
    };
    fs::create_dir_all(&dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    Ok(dir)
}

fn write_files(credentials: &Credentials, dir: &Path) -> io::Result<()> {
    write_new(&dir.join("private_signature.pem"), &credentials.private_signature_pem)?;
    write_new(&dir.join("private_encryption.pem"), &credentials.private_encryption_pem)?;
    write_new(&dir.join("dhparam.pem"), &credentials.dhparam_pem)?;
    credentials.write_new(&dir.join("credentials.json"))
}
