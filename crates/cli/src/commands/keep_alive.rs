//! `ibkr-oauth keep-alive`

use clap::Args;
use ibkr_oauth::brokerage::CompetePolicy;
use ibkr_oauth_tokio::Event;

use crate::access::Access;
use crate::commands::interruption::Interruption;
use crate::exit::{Exit, Failure};
use crate::output::ForMachines;
use crate::session::{Session, Trouble, Wanted};
use crate::words::tell;

/// Stay logged in, and tell what happens, until interrupted
///
/// The session is renewed before it expires, and opened again after the nightly reset, a competing login or an outage. Other
/// commands use it meanwhile.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ibkr-oauth keep-alive
  ibkr-oauth keep-alive --take-over --json >> session.log
  ibkr-oauth keep-alive --without-brokerage-session")]
pub struct KeepAlive {
    /// Log out another brokerage session of the same user, such as TWS, whenever one is in the way
    #[arg(long)]
    take_over: bool,
    /// Stay logged in only: no brokerage session, no tickles
    #[arg(long, conflicts_with = "take_over")]
    without_brokerage_session: bool,
    /// Log out at the end, and all who share the session with it
    #[arg(long)]
    log_out: bool,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    pub output: ForMachines,
}

impl KeepAlive {
    pub async fn run(self) -> Result<Exit, Failure> {
        let mut interruption = Interruption::new()?;
        let mut session = Session::start(&self.access, self.wanted()).await?;
        loop {
            let event = tokio::select! {
                event = session.events.next() => event,
                () = interruption.requested() => break,
            };
            let Some(event) = event else { break };
            tell(&event, self.output)?;
            // Nothing but a change on this machine helps.
            if let Event::Client(ibkr_oauth::Event::Stopped { error }) = event {
                return Err(session.explain(Trouble::Login(error)).await);
            }
        }
        if self.log_out {
            session.api.log_out().await;
        }
        session.api.shut_down().await;
        Ok(Exit::Done)
    }

    fn wanted(&self) -> Wanted {
        match (self.without_brokerage_session, self.take_over) {
            (true, _) => Wanted::Login,
            (false, true) => Wanted::BrokerageSession(CompetePolicy::TakeOver),
            (false, false) => Wanted::BrokerageSession(CompetePolicy::Yield),
        }
    }
}
