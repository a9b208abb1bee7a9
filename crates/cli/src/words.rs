//! The messages about the events of a client, in a trader's words.

use ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth::{Error, Maintenance};
use ibkr_oauth_tokio::Event;
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::local_time::local;
use crate::output::{self, ForMachines};
use crate::surroundings::now;

/// Writes what `event` means, if anything has to be told.
pub fn tell(event: &Event, output: ForMachines) -> Result<(), Failure> {
    match output.json {
        true => in_json(event).map_or(Ok(()), output::line),
        false => in_words(event).map_or(Ok(()), |words| output::line(format!("{}  {words}", local(now())))),
    }
}

/// What `event` means, if anything has to be told. Never a secret.
fn in_words(event: &Event) -> Option<String> {
    Some(match event {
        Event::Client(event) => client_event(event)?,
        Event::NoResponse(error) => format!("no response: {error}"),
        Event::NotStored(error) => format!("the session is not stored: {error}"),
        Event::Missed(count) => format!("{count} events were missed"),
        _ => return None,
    })
}

/// The same for machines.
fn in_json(event: &Event) -> Option<Value> {
    let message = in_words(event)?;
    Some(json!({ "time": now().to_string(), "event": name(event), "message": message }))
}

fn name(event: &Event) -> &'static str {
    use ibkr_oauth::Event as OfClient;
    match event {
        Event::Client(OfClient::LoggedIn { .. }) => "logged-in",
        Event::Client(OfClient::LoginFailed { .. }) => "login-failed",
        Event::Client(OfClient::Stopped { .. }) => "stopped",
        Event::Client(OfClient::LoginContested) => "login-contested",
        Event::Client(OfClient::Brokerage(BrokeragePhase::Ready)) => "ready",
        Event::Client(OfClient::Brokerage(_)) => "not-ready",
        Event::Client(OfClient::BrokerageContested) => "brokerage-contested",
        Event::Client(OfClient::BrokerageFailed { .. }) => "brokerage-failed",
        Event::Client(OfClient::LoggedOut) => "logged-out",
        Event::NoResponse(_) => "no-response",
        Event::NotStored(_) => "not-stored",
        _ => "other",
    }
}

fn client_event(event: &ibkr_oauth::Event) -> Option<String> {
    use ibkr_oauth::Event;
    Some(match event {
        Event::LoggedIn { until } => format!("logged in until {}", local(*until)),
        Event::LoginFailed { error, next_attempt } => {
            format!("the login failed: {}; next attempt at {}", cause(error), local(*next_attempt))
        }
        Event::Stopped { error } => format!("no login is possible before something is changed here: {error}"),
        Event::LoginContested => "another program logs in with the same access token: the next login waits".into(),
        Event::Brokerage(phase) => phase_in_words(*phase)?.into(),
        Event::BrokerageContested => "another program takes the brokerage session back each time: waiting".into(),
        Event::BrokerageFailed { error, .. } => {
            let maintenance = Maintenance::at(now()).map_or_else(String::new, |known| format!(" ({known})"));
            format!("a request failed: {}{maintenance}", cause(error))
        }
        Event::ClockOff { seconds } => {
            let direction = if *seconds > 0 { "behind" } else { "ahead of" };
            format!("our clock is {} s {direction} IBKR's: timestamps are corrected", seconds.unsigned_abs())
        }
        Event::QueryPolicyChanged(_) => "IBKR wants queries signed in the other way: done from now on".into(),
        Event::LoggedOut => "logged out".into(),
        _ => return None,
    })
}

fn phase_in_words(phase: BrokeragePhase) -> Option<&'static str> {
    match phase {
        BrokeragePhase::Missing => Some("the brokerage session is gone: opening a new one"),
        BrokeragePhase::Ready => Some("the brokerage session is ready: orders and market data work"),
        BrokeragePhase::Unconfirmed => Some("for five minutes IBKR has not said that the brokerage session is there"),
        BrokeragePhase::Competing => Some("the user logged in somewhere else and has the brokerage session"),
        _ => None,
    }
}

/// In one sentence; the whole message also has the remedy.
fn cause(error: &Error) -> String {
    match error {
        Error::Rejected(rejected) => format!("HTTP {}, {}", rejected.status, rejected.diagnosis.cause()),
        other => other.to_string(),
    }
}
