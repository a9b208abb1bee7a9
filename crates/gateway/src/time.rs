//! Time, as the caller has it, as the protocol writes it, and as the `Date` header does.

use std::time::{Duration, SystemTime};

use http::HeaderValue;

/// A moment, as the time since 1970-01-01 00:00:00 UTC.
pub(crate) type UnixTime = Duration;

/// The last second that a `Date` header can name: the year after it has five digits.
const LAST_DATE: UnixTime = Duration::from_secs(253_402_300_799);

/// Counts a moment from 1970; one before it becomes 1970.
pub(crate) fn unix_time(moment: SystemTime) -> UnixTime {
    moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// The moment so many seconds later; earlier, if negative.
pub(crate) fn shifted(moment: UnixTime, seconds: i64) -> UnixTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { moment.saturating_sub(distance) } else { moment.saturating_add(distance) }
}

/// Milliseconds since 1970, at most as many as a JSON number of the protocol holds.
pub(crate) fn millis(moment: UnixTime) -> u64 {
    u64::try_from(moment.as_millis()).unwrap_or(u64::MAX)
}

/// The value of a `Date` header, from which a client learns how far its clock is off: IMF-fixdate (RFC 9110 section
/// 5.6.7). `None` if the platform's clock does not reach so far.
pub(crate) fn http_date(now: UnixTime) -> Option<HeaderValue> {
    let moment = SystemTime::UNIX_EPOCH.checked_add(now.min(LAST_DATE))?;
    HeaderValue::try_from(httpdate::fmt_http_date(moment)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_other_programs_write_them() {
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
            (1_714_669_716, "Thu, 02 May 2024 17:08:36 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(http_date(Duration::from_secs(seconds)).unwrap(), date);
        }
    }

    #[test]
    fn a_moment_before_1970_becomes_1970() {
        let moment = SystemTime::UNIX_EPOCH.checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(unix_time(moment), Duration::ZERO);
    }
}
