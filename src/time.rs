//! Time as the protocol writes it: milliseconds since 1970, handed in by the caller.

use core::fmt;
use core::time::Duration;

/// A moment, in milliseconds since 1970-01-01 00:00:00 UTC.
///
/// The crate reads no clock: every method that needs the time takes it as its last argument, named `now`.
/// With feature `std` (on by default) the system clock converts: `UnixTime::from(SystemTime::now())`.
///
/// ```
/// use ibkr_oauth::UnixTime;
/// let now = UnixTime::from_secs(1_714_669_716);
/// assert_eq!(now.as_millis(), 1_714_669_716_000);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// From milliseconds since 1970, the unit of `live_session_token_expiration`.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From seconds since 1970, the unit of `oauth_timestamp`; stays at the largest moment where it would overflow.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// This moment plus `duration`; stays at the largest moment where it would overflow.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// This moment minus `duration`; stays at 1970 where it would fall before it.
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// The time from `earlier` to this moment; zero if `earlier` is the later one.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms since 1970", self.0)
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
