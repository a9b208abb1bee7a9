//! Questions on a terminal, or answers from a pipe, a line each.

use std::io::{self, IsTerminal};

use console::Term;
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};

pub fn ask(question: &str) -> Result<String, Failure> {
    eprint!("{question}");
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    match read.map_err(|error| Failure::file("cannot read the answer", &error))? {
        0 => Err(Failure::new(Exit::Usage, format!("no answer to: {}", question.trim_end_matches([':', ' '])))),
        _ => Ok(answer.trim().to_owned()),
    }
}

/// Returns whether the answer is yes.
pub fn agree(question: &str) -> Result<bool, Failure> {
    Ok(ask(&format!("{question} [y/N] "))?.eq_ignore_ascii_case("y"))
}

/// Asks without showing what is typed.
pub fn ask_secretly(question: &str) -> Result<Zeroizing<String>, Failure> {
    if !io::stdin().is_terminal() {
        return ask(question).map(Zeroizing::new);
    }
    eprint!("{question}");
    let answer = Term::stderr().read_secure_line().map(Zeroizing::new);
    let answer = answer.map_err(|error| Failure::file("cannot read the answer", &error))?;
    Ok(answer.trim().to_owned().into())
}
