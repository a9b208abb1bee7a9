//! What goes wrong at a gateway, and when.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use ibkr_oauth_gateway::{Gateway, Incident};

/// By how much a clock is off.
const SKEW: i64 = 120;
const DEFAULT_LENGTH: Duration = Duration::from_secs(60);

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    kind: Kind,
    after: Duration,
    lasts: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    NightlyReset,
    CompetingLogin,
    Outage,
    TooManyRequests,
    Gone,
    ExpiredTokens,
    ClockSkew,
    NoBridge,
    NoBrokerageSession,
    SignBytes,
    NoSignBytes,
}

const KINDS: [(&str, Kind); 11] = [
    ("nightly-reset", Kind::NightlyReset),
    ("competing-login", Kind::CompetingLogin),
    ("outage", Kind::Outage),
    ("too-many-requests", Kind::TooManyRequests),
    ("gone", Kind::Gone),
    ("expired-tokens", Kind::ExpiredTokens),
    ("clock-skew", Kind::ClockSkew),
    ("no-bridge", Kind::NoBridge),
    ("no-brokerage-session", Kind::NoBrokerageSession),
    ("sign-bytes", Kind::SignBytes),
    ("no-sign-bytes", Kind::NoSignBytes),
];

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        let known = KINDS.iter().find(|(known, _)| *known == name);
        let (_, kind) = known.ok_or_else(|| format!("there is no scenario {name}: see --help"))?;
        let mut scenario = Self { kind: *kind, after: Duration::ZERO, lasts: DEFAULT_LENGTH };
        for part in parts {
            match part.split_once('=') {
                Some(("at", value)) => scenario.after = seconds(value)?,
                Some(("for", value)) => scenario.lasts = seconds(value)?,
                _ => return Err(format!("{part} is neither at=SECONDS nor for=SECONDS")),
            }
        }
        Ok(scenario)
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| format!("{text} is no number of seconds"))
}

impl Scenario {
    /// Plans it for a gateway that starts at `start`.
    pub fn schedule(&self, gateway: &mut Gateway, start: SystemTime, users: &[String]) {
        let at = later(start, self.after);
        for user in users {
            if self.kind == Kind::CompetingLogin {
                let (here, there) = (user.clone(), user.clone());
                gateway.schedule(at, Incident::CompetingLogin { user: here });
                gateway.schedule(later(at, self.lasts), Incident::CompetitorLeaves { user: there });
            }
        }
        if let Some(incident) = self.incident() {
            gateway.schedule(at, incident);
        }
    }

    /// What happens to all users at once.
    fn incident(&self) -> Option<Incident> {
        let lasts = self.lasts;
        Some(match self.kind {
            Kind::CompetingLogin => return None,
            Kind::NightlyReset => Incident::NightlyReset,
            Kind::Outage => Incident::Outage { lasts },
            Kind::TooManyRequests => Incident::TooManyRequests { lasts },
            Kind::Gone => Incident::Gone,
            Kind::ExpiredTokens => Incident::LiveSessionsEnd,
            Kind::ClockSkew => Incident::ClockSkew { seconds: SKEW },
            Kind::NoBridge => Incident::EmptyAccounts { lasts },
            Kind::NoBrokerageSession => Incident::NoBrokerageSessions { lasts },
            Kind::SignBytes => Incident::SignBytes { lasts },
            Kind::NoSignBytes => Incident::NoSignBytes { lasts },
        })
    }
}

/// A moment that no clock has is never.
fn later(time: SystemTime, by: Duration) -> SystemTime {
    const CENTURY: Duration = Duration::from_secs(100 * 366 * 86_400);
    time.checked_add(by.min(CENTURY)).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_says_what_when_and_how_long() {
        let scenario = |kind, after, lasts| {
            let [after, lasts] = [after, lasts].map(Duration::from_secs);
            Ok(Scenario { kind, after, lasts })
        };
        assert_eq!("outage".parse(), scenario(Kind::Outage, 0, 60));
        assert_eq!("competing-login,at=30,for=5".parse(), scenario(Kind::CompetingLogin, 30, 5));
        for wrong in ["", "outrage", "outage,30", "outage,at=", "outage,at=-1", "outage,until=5", "outage,at=1,"] {
            assert!(wrong.parse::<Scenario>().is_err(), "{wrong}");
        }
    }
}
