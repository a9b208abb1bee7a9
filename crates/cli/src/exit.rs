//! Exit codes and error messages: how the program ends.

use std::fmt::{self, Display};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use ibkr_oauth_tokio::ibkr_oauth::doctor::Report;
use ibkr_oauth_tokio::ibkr_oauth::{Diagnosis, Error, Method};
use ibkr_oauth_tokio::{CredentialsError, NotSent, RequestError, StoreError, TransportError};
use serde_json::json;

use crate::output;

/// How the program ends. The number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    Rejected,
    Usage,
    Credentials,
    Login,
    Network,
    Unknown,
    NotReady,
    File,
}

/// What `--help` says of exit codes.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  rejected: the API rejected the request, or the doctor has warnings
  2  usage: the command line is wrong
  3  credentials: missing, unreadable or wrong
  4  login: the server rejected the login
  5  network: no connection, no response, or an address that cannot be listened on: nothing was done
  6  unknown: the request was sent, and whether it took effect is not known
  7  not-ready: no session now (maintenance, request limits, in use elsewhere): try later
  8  file: the store or another local file cannot be read or written";

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Rejected => 1,
            Self::Usage => 2,
            Self::Credentials => 3,
            Self::Login => 4,
            Self::Network => 5,
            Self::Unknown => 6,
            Self::NotReady => 7,
            Self::File => 8,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Rejected => "rejected",
            Self::Usage => "usage",
            Self::Credentials => "credentials",
            Self::Login => "login",
            Self::Network => "network",
            Self::Unknown => "unknown",
            Self::NotReady => "not-ready",
            Self::File => "file",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what it was asked to do: cause and remedy, and never a secret.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// The same, with what else is to be known of it.
    pub fn with(self, more: &str) -> Self {
        Self { message: format!("{}\n{more}", self.message), ..self }
    }

    /// A file that cannot be read or written, or something else of this machine.
    pub fn file(what: impl Display, cause: &dyn Display) -> Self {
        Self::new(Exit::File, format!("{what}: {cause}"))
    }

    /// A login that the server rejected, with what the doctor says of the credentials where the error leaves that open.
    pub fn login(error: &Error, report: &Report) -> Self {
        let exit = match error {
            Error::Keys(_) | Error::Misuse(_) => Exit::Credentials,
            Error::Rejected(rejected) if is_for_a_while(rejected.diagnosis) => Exit::NotReady,
            _ => Exit::Login,
        };
        let opinion =
            report.opinion_on(error).map_or_else(String::new, |opinion| format!("\n{report}In short: {opinion}"));
        Self::new(exit, format!("not logged in: {error}{opinion}"))
    }

    pub fn network(error: &TransportError) -> Self {
        let remedy = "is the base URL right, and the network there?";
        Self::new(Exit::Network, format!("the server does not answer: {error}\n{remedy}"))
    }

    pub fn request(method: Method, error: &RequestError) -> Self {
        let exit = match error {
            RequestError::Rejected(_) => Exit::Rejected,
            RequestError::NotSent(NotSent::NotConnected(_)) => Exit::Network,
            RequestError::NotSent(NotSent::Refused(Error::Misuse(_))) => Exit::Usage,
            // To ask again does no harm.
            RequestError::NoResponse(_) if method == Method::Get => Exit::Network,
            RequestError::NoResponse(_) => Exit::Unknown,
            _ => Exit::NotReady,
        };
        Self::new(exit, error.to_string())
    }

    /// Says it, to people on stderr or to machines on stdout.
    pub fn report(&self, for_machines: bool) -> ExitCode {
        if for_machines {
            let error = json!({ "kind": self.exit.name(), "exit_code": self.exit.code(), "message": self.message });
            // Whoever closed stdout does not want it.
            let _ = output::line(json!({ "error": error }));
        } else {
            let red = Style::new().fg_color(Some(AnsiColor::Red.into())).bold();
            anstream::eprintln!("{red}error{red:#}: {}", self.message);
        }
        self.exit.into()
    }
}

/// Whether the server rejects everybody, whatever the credentials are.
fn is_for_a_while(diagnosis: Diagnosis) -> bool {
    matches!(diagnosis, Diagnosis::Unavailable | Diagnosis::TooManyRequests)
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<CredentialsError> for Failure {
    fn from(error: CredentialsError) -> Self {
        let exit = match error {
            CredentialsError::Unwritable { .. } => Exit::File,
            _ => Exit::Credentials,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match error {
            StoreError::NoAccessToken => Exit::Credentials,
            _ => Exit::File,
        };
        Self::new(exit, format!("the stored session: {error}"))
    }
}
