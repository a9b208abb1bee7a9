//! What goes wrong at a gateway, and when.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use ibkr_oauth_gateway::{Delivery, Gateway, Incident};

/// By how much a clock is off.
const SKEW: i64 = 120;
const DEFAULT_LENGTH: Duration = Duration::from_secs(60);
/// How late an answer is.
const DEFAULT_DELAY: Duration = Duration::from_secs(5);
/// Between the bytes of an answer that trickles.
const PAUSE: Duration = Duration::from_millis(100);

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    kind: Kind,
    after: Duration,
    lasts: Duration,
    /// For answers that are late.
    by: Duration,
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
    SlowAnswers,
    TricklingAnswers,
    LostAnswers,
    CutAnswers,
    ConnectionResets,
}

const KINDS: [(&str, Kind); 16] = [
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
    ("slow-answers", Kind::SlowAnswers),
    ("trickling-answers", Kind::TricklingAnswers),
    ("lost-answers", Kind::LostAnswers),
    ("cut-answers", Kind::CutAnswers),
    ("connection-resets", Kind::ConnectionResets),
];

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        let known = KINDS.iter().find(|(known, _)| *known == name);
        let (_, kind) = known.ok_or_else(|| format!("there is no scenario {name}: see --help"))?;
        let mut scenario = Self { kind: *kind, after: Duration::ZERO, lasts: DEFAULT_LENGTH, by: DEFAULT_DELAY };
        for part in parts {
            match part.split_once('=') {
                Some(("at", value)) => scenario.after = seconds(value)?,
                Some(("for", value)) => scenario.lasts = seconds(value)?,
                Some(("by", value)) if *kind == Kind::SlowAnswers => scenario.by = seconds(value)?,
                _ => return Err(format!("{part} is nothing that {name} has: see --help")),
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
            Kind::SlowAnswers => Incident::BadDelivery { delivery: Delivery::Late(self.by), lasts },
            Kind::TricklingAnswers => Incident::BadDelivery { delivery: Delivery::Trickling(PAUSE), lasts },
            Kind::LostAnswers => Incident::BadDelivery { delivery: Delivery::Lost, lasts },
            Kind::CutAnswers => Incident::BadDelivery { delivery: Delivery::Cut, lasts },
            Kind::ConnectionResets => Incident::BadDelivery { delivery: Delivery::Reset, lasts },
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
        let scenario = |kind, after, lasts, by| {
            let [after, lasts, by] = [after, lasts, by].map(Duration::from_secs);
            Ok(Scenario { kind, after, lasts, by })
        };
        assert_eq!("outage".parse(), scenario(Kind::Outage, 0, 60, 5));
        assert_eq!("competing-login,at=30,for=5".parse(), scenario(Kind::CompetingLogin, 30, 5, 5));
        assert_eq!("slow-answers,by=9".parse(), scenario(Kind::SlowAnswers, 0, 60, 9));
        for wrong in
            ["", "outrage", "outage,30", "outage,at=", "outage,at=-1", "outage,until=5", "outage,at=1,", "outage,by=5"]
        {
            assert!(wrong.parse::<Scenario>().is_err(), "{wrong}");
        }
    }
}
