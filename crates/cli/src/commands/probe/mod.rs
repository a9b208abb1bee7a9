//! `ibkr-oauth probe`

mod answers;
mod questions;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::access::Source;
use crate::exit::{Exit, Failure};
use crate::files::{Readers, write_new};
use crate::output::{self, ForMachines, note};
use crate::prompt::agree;

use answers::Answers;
use questions::Questions;
use wire::Wire;

/// Find out, with an account, what nobody has documented of the server, without changing anything there
///
/// One request at a time, at most ten that are rejected, and none after a 429. Logs in anew, which it asks about first. The
/// report holds nothing of the account.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ibkr-oauth probe --credentials credentials.toml --report probe.json")]
pub struct Probe {
    #[command(flatten)]
    source: Source,
    /// A new file for the report, in JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Take all steps, also those that could disturb another program, without asking
    #[arg(long)]
    yes: bool,
    /// Seconds between requests
    #[arg(long, value_name = "SECONDS", default_value_t = 6)]
    pause: u64,
    #[command(flatten)]
    pub output: ForMachines,
}

impl Probe {
    pub async fn run(self) -> Result<Exit, Failure> {
        let probed = tokio::task::spawn_blocking(move || self.probe()).await;
        probed.map_err(|error| Failure::file("the probe has failed", &error))?
    }

    fn probe(&self) -> Result<Exit, Failure> {
        let credentials = self.source.credentials()?;
        if !self.allows("The probe logs in anew: other programs with the same access token may have to do so too.")? {
            return Ok(Exit::Done);
        }
        let wire = Wire::new(Duration::from_secs(self.pause));
        let mut questions = Questions::new(&credentials, wire, Answers::default())?;
        let asked = self.ask_all(&mut questions);
        let (wire, answers) = questions.end();
        if !answers.is_empty() {
            self.tell(&answers, &wire)?;
        }
        asked.map(|()| Exit::Done)
    }

    fn ask_all(&self, questions: &mut Questions) -> Result<(), Failure> {
        questions.log_in()?;
        questions.is_the_signature_verified()?;
        questions.is_the_query_signed()?;
        questions.is_a_plus_a_space()?;
        if self.allows("It logs in once more, to see whether the earlier token survives.")? {
            questions.does_an_older_token_survive()?;
        }
        if self.allows("It sends timestamps ahead of time: the server may reject other programs for some minutes.")? {
            questions.how_far_may_timestamps_be_ahead()?;
        }
        Ok(())
    }

    fn allows(&self, step: &str) -> Result<bool, Failure> {
        if self.yes { Ok(true) } else { agree(&format!("{step} Go on?")) }
    }

    fn tell(&self, answers: &Answers, wire: &Wire) -> Result<(), Failure> {
        let json = answers.to_json(wire.sent(), wire.rejected());
        if let Some(path) = &self.report {
            let written = write_new(path, Readers::Owner, &format!("{json:#}\n"));
            written.map_err(|error| Failure::file(format!("cannot write {}", path.display()), &error))?;
            note(format!("Written: {}. It holds nothing of the account and can be posted.", path.display()));
        }
        match self.output.json {
            true => output::line(json),
            false => output::line(answers),
        }
    }
}
