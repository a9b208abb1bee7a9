//! Time as the protocol writes it: milliseconds since 1970, handed in by the caller.

use core::fmt;
use core::time::Duration;

/// A moment, in milliseconds since 1970-01-01 00:00:00 UTC.
///
/// The crate reads no clock: every method that needs the time takes it as its last argument, named `now`.
/// With feature `std` (on by default) the system clock converts: `UnixTime::from(SystemTime::now())`, and back.
///
/// `Display` writes the date and time in UTC as RFC 3339 has it, with milliseconds unless they are zero. Years after
/// 9999, which RFC 3339 does not know, get a `+` and as many digits as they need (ISO 8601).
///
/// ```
/// use ibkr_oauth::UnixTime;
/// let now = UnixTime::from_secs(1_714_669_716);
/// assert_eq!(now.as_millis(), 1_714_669_716_000);
/// assert_eq!(now.to_string(), "2024-05-02T17:08:36Z");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct UnixTime(u64);

impl UnixTime {
    /// Makes a time of milliseconds since 1970, the unit of `live_session_token_expiration`.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Makes a time of seconds since 1970, the unit of `oauth_timestamp`; stays at the largest moment where it would
    /// overflow.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Returns milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns whole seconds since 1970.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Returns this moment plus `duration`; stays at the largest moment where it would overflow.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// Returns this moment minus `duration`; stays at 1970 where it would fall before it.
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// This moment on a clock that is ahead by so many seconds, or behind if negative.
    pub(crate) fn shifted(self, seconds: i32) -> Self {
        Self(self.0.saturating_add_signed(i64::from(seconds).saturating_mul(1000)))
    }

    /// Returns the time from `earlier` to this moment; zero if `earlier` is the later one.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Moves this moment, the latest that was seen, to `now`, and returns by how much the clock was set back.
    pub(crate) fn follow(&mut self, now: Self) -> Duration {
        let back = self.saturating_since(now);
        if back <= WOBBLE {
            *self = now.max(*self);
            return Duration::ZERO;
        }
        *self = now;
        back
    }
}

/// A smaller step back of a clock is a difference between two threads: the clock was not set.
const WOBBLE: Duration = Duration::from_secs(1);

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.as_secs();
        let (year, month, day) = date(seconds / SECONDS_A_DAY);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let sign = if year > 9999 { "+" } else { "" };
        write!(f, "{sign}{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match self.0 % 1000 {
            0 => f.write_str("Z"),
            millis => write!(f, ".{millis:03}Z"),
        }
    }
}

const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// Year, month and day of the month (both from 1) of a day counted from 1970-01-01, by the Gregorian calendar. No more of
/// a calendar is needed, so that nobody has to build a crate for dates.
fn date(days: u64) -> (u64, u64, u64) {
    // The calendar repeats itself every 400 years.
    const DAYS_IN_400_YEARS: u64 = 146_097;
    let mut year = (days / DAYS_IN_400_YEARS).saturating_mul(400).saturating_add(1970);
    let mut day = days % DAYS_IN_400_YEARS;
    while let Some(rest) = day.checked_sub(if is_leap(year) { 366 } else { 365 }) {
        (year, day) = (year.saturating_add(1), rest);
    }
    let mut month = 1_u64;
    while let Some(rest) = day.checked_sub(days_in(month, year)) {
        (month, day) = (month.saturating_add(1), rest);
    }
    (year, month, day.saturating_add(1))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(month: u64, year: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A moment before 1970 becomes 1970.
#[cfg(feature = "std")]
impl From<std::time::SystemTime> for UnixTime {
    fn from(time: std::time::SystemTime) -> Self {
        let since_epoch = time.duration_since(std::time::UNIX_EPOCH);
        Self(since_epoch.map_or(0, millis))
    }
}

/// A moment after the year 9999 becomes its end: not every system's clock goes much further.
#[cfg(feature = "std")]
impl From<UnixTime> for std::time::SystemTime {
    fn from(time: UnixTime) -> Self {
        const END_OF_9999: u64 = 253_402_300_799_999;
        let since_epoch = Duration::from_millis(time.as_millis().min(END_OF_9999));
        Self::UNIX_EPOCH.checked_add(since_epoch).unwrap_or(Self::UNIX_EPOCH)
    }
}
