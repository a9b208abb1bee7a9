//! Waiting for a new consumer key to become active.

use core::fmt;
use core::num::NonZeroU64;
use core::time::Duration;

use crate::advice::diagnosis::Diagnosis;
use crate::error::Error;
use crate::time::UnixTime;

const DAY: NonZeroU64 = NonZeroU64::new(24 * 60 * 60).unwrap();
const WEEK: NonZeroU64 = NonZeroU64::new(7 * DAY.get()).unwrap();
/// The longest wait reported ([protocol section 7](crate::protocol#section-7)).
const LONGEST: Duration = Duration::from_secs(14 * DAY.get());
/// Between attempts: a key becomes active at a restart, not in between.
const PAUSE: Duration = Duration::from_secs(15 * 60);
/// Midnight in New York is 4:00 or 5:00 UTC.
const RESTART_SECOND: u64 = 5 * 60 * 60;
/// The restart of each weekend, as seconds of a week that begins on Thursday: Sunday, 5:00 UTC.
const WEEKEND_SECOND: u64 = 3 * DAY.get() + RESTART_SECOND;

/// The wait for a consumer key to become active: tells "not active yet" from "wrong", as far as that can be told, and says
/// when to ask again.
///
/// A key that was registered is rejected with `invalid consumer` until it becomes active. IBKR's documentation says:
/// after midnight in New York, Zug or Hong Kong; its e-mails: after the restart of each weekend; users report up to two
/// weeks ([protocol section 7](crate::protocol#section-7)).
///
/// ```
/// use ibkr_oauth::{ActivationWait, Error, UnixTime};
/// # fn login() -> Result<(), Error> { Ok(()) }
/// # let now = UnixTime::from_secs(1_714_650_000);
/// let wait = ActivationWait::since(now); // when the key was registered
/// if let Err(error) = login() {
///     match wait.explain(&error, now) {
///         Some(activation) => println!("{activation}"), // and try again at activation.next_attempt
///         None => println!("{error}"),
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct ActivationWait {
    registered_at: UnixTime,
}

/// How far a key that is becoming active has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ActivationStage {
    /// The consumer key is not known yet: no live session token.
    ConsumerKey,
    /// A live session token is there, but no brokerage session.
    BrokerageSession,
}

/// How far the activation of a consumer key has come, by a rejection that fits, and what to expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Activation {
    /// What the server still rejects.
    pub stage: ActivationStage,
    /// How long the wait has been.
    pub waited: Duration,
    /// When this was said.
    pub seen_at: UnixTime,
    /// When to ask again.
    pub next_attempt: UnixTime,
    /// The earliest moment by IBKR's documentation: the first midnight in New York after the registration.
    pub first_restart: UnixTime,
    /// By its e-mails: the first weekend's restart after the registration.
    pub weekend_restart: UnixTime,
    /// The longest wait that users report, two weeks; after it, something else is wrong.
    pub at_worst: UnixTime,
}

impl ActivationWait {
    /// Waits for a key that was registered at this moment.
    pub const fn since(registered_at: UnixTime) -> Self {
        Self { registered_at }
    }

    /// Returns what `error`, seen at `now`, says about the activation. `None` if it has nothing to do with it.
    pub fn explain(&self, error: &Error, now: UnixTime) -> Option<Activation> {
        let Error::Rejected(rejected) = error else {
            return None;
        };
        let stage = match rejected.diagnosis {
            Diagnosis::InvalidConsumer => ActivationStage::ConsumerKey,
            Diagnosis::BrokerageSessionUnavailable | Diagnosis::NoBridge => ActivationStage::BrokerageSession,
            _ => return None,
        };
        Some(Activation {
            stage,
            waited: now.saturating_since(self.registered_at),
            seen_at: now,
            next_attempt: now.saturating_add(PAUSE),
            first_restart: next(DAY, RESTART_SECOND, self.registered_at),
            weekend_restart: next(WEEK, WEEKEND_SECOND, self.registered_at),
            at_worst: self.registered_at.saturating_add(LONGEST),
        })
    }
}

/// The first moment after `now` that is `offset` seconds into a period of `period` seconds.
fn next(period: NonZeroU64, offset: u64, now: UnixTime) -> UnixTime {
    let into_period = now.as_secs() % period;
    let ahead = if into_period < offset { offset } else { offset.saturating_add(period.get()) };
    let seconds = now.as_secs().saturating_sub(into_period).saturating_add(ahead);
    UnixTime::from_secs(seconds)
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.stage {
            ActivationStage::ConsumerKey => "the consumer key is not active yet, or the credentials are wrong",
            ActivationStage::BrokerageSession => "the consumer key works, the brokerage session does not yet",
        };
        let hours = |duration: Duration| duration.as_secs() / 3600;
        write!(f, "{what}; waited {} h", hours(self.waited))?;
        for (authority, moment) in [
            ("by IBKR's documentation", self.first_restart),
            ("by IBKR's e-mails", self.weekend_restart),
            ("at worst", self.at_worst),
        ] {
            match hours(moment.saturating_since(self.seen_at)) {
                0 if moment <= self.seen_at => write!(f, "; {authority} it should work by now")?,
                left => write!(f, "; {authority} it works in {left} h")?,
            }
        }
        if self.at_worst <= self.seen_at {
            f.write_str(": something else is wrong")?;
        }
        Ok(())
    }
}
