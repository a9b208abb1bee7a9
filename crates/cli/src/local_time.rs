//! Moments as people read them.

use ibkr_oauth::UnixTime;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Returns date and time here, with the zone, such as `2026-11-25 14:05:00 CET`.
pub fn local(time: UnixTime) -> String {
    in_zone(time, TimeZone::system())
}

/// A moment that no calendar has is shown as the library shows it.
fn in_zone(time: UnixTime, zone: TimeZone) -> String {
    let timestamp = i64::try_from(time.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    timestamp.map_or_else(|| time.to_string(), |moment| moment.to_zoned_datetime(zone).strftime("%F %T %Z").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_with_its_zone() {
        let time = UnixTime::from_secs(1_714_669_716);
        assert_eq!(in_zone(time, TimeZone::UTC), "2024-05-02 17:08:36 UTC");
        let two_hours_ahead = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(in_zone(time, two_hours_ahead), "2024-05-02 19:08:36 +02");
        assert_eq!(
            in_zone(UnixTime::from_millis(u64::MAX), TimeZone::UTC),
            UnixTime::from_millis(u64::MAX).to_string()
        );
    }
}
