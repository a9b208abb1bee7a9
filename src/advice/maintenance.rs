//! When IBKR restarts and maintains (protocol sections [7](crate::protocol#section-7) and
//! [8](crate::protocol#section-8)): knowledge that shapes advice, no timers.

use core::fmt;

use crate::time::UnixTime;

/// A reason why the brokerage session may be away for a while without anything being wrong.
///
/// The times are rough: IBKR says "around midnight" and "Saturday evening", and which region serves an account is not
/// told. Daylight saving is allowed for by windows that hold both times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Maintenance {
    /// The nightly reset and the maintenance of `/iserver` about an hour after it: around midnight in New York (3:45 to
    /// 6:30 UTC), in Zug (21:45 to 0:30 UTC) or in Hong Kong (15:45 to 17:30 UTC).
    NightlyReset,
    /// Saturday evening in New York: Saturday 22:00 UTC to Sunday 8:00 UTC.
    Weekend,
}

const MINUTES_PER_DAY: u64 = 24 * 60;
const MINUTES_PER_WEEK: u64 = 7 * MINUTES_PER_DAY;

/// From one time of day (UTC) to another, in minutes; past midnight where the end is smaller.
const NIGHTLY: [(u64, u64); 3] = [(3 * 60 + 45, 6 * 60 + 30), (21 * 60 + 45, 30), (15 * 60 + 45, 17 * 60 + 30)];

/// Minutes of the week, which begins on Thursday as the Unix epoch did: Saturday 22:00 to Sunday 8:00.
const WEEKEND: (u64, u64) = (2 * MINUTES_PER_DAY + 22 * 60, 3 * MINUTES_PER_DAY + 8 * 60);

impl Maintenance {
    /// Returns what may be going on at `now`.
    pub fn at(now: UnixTime) -> Option<Self> {
        let minute = now.as_secs() / 60;
        let of_day = minute % MINUTES_PER_DAY;
        let of_week = minute % MINUTES_PER_WEEK;
        if (WEEKEND.0..WEEKEND.1).contains(&of_week) {
            Some(Self::Weekend)
        } else if NIGHTLY.iter().any(|window| holds(*window, of_day)) {
            Some(Self::NightlyReset)
        } else {
            None
        }
    }
}

fn holds((start, end): (u64, u64), minute: u64) -> bool {
    if start < end { (start..end).contains(&minute) } else { minute >= start || minute < end }
}

impl fmt::Display for Maintenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NightlyReset => "IBKR resets brokerage sessions around midnight in New York, Zug and Hong Kong",
            Self::Weekend => "IBKR maintains its systems on Saturday evening",
        })
    }
}
