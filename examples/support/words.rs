//! What happens to a client, in a trader's words.

use ibkr_oauth::Maintenance;
use ibkr_oauth::brokerage::BrokeragePhase;
use ibkr_oauth::{Error, Event, UnixTime};

/// What `event` means, if anything has to be told. Never a secret.
pub fn in_words(event: &Event, now: UnixTime) -> Option<String> {
    let seconds_to = |at: &UnixTime| at.saturating_since(now).as_secs();
    Some(match event {
        Event::LoggedIn { until } => format!("logged in for the next {} hours", seconds_to(until).div_ceil(3600)),
        Event::LoginFailed { error, next_attempt } => {
            format!("the login failed: {}; next attempt in {} s", cause(error), seconds_to(next_attempt))
        }
        Event::Stopped { error } => format!("no login is possible before something is changed here: {error}"),
        Event::LoginContested => "another program logs in with the same access token: the next login waits".into(),
        Event::Brokerage(phase) => phase_in_words(*phase)?.into(),
        Event::BrokerageContested => "another program takes the brokerage session back each time: waiting".into(),
        Event::BrokerageFailed { error, .. } => {
            let maintenance = Maintenance::at(now).map_or(String::new(), |known| format!(" ({known})"));
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
