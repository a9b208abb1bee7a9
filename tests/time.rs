//! Moments as people read them, and as the system's clock gives them.
#![cfg(feature = "std")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ibkr_oauth::UnixTime;
use proptest::prelude::*;

const END_OF_9999: u64 = 253_402_300_799_999;

#[test]
fn moments_are_written_as_rfc_3339_has_them() {
    for (millis, written) in [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (68_169_599_999, "1972-02-28T23:59:59.999Z"),
        (68_169_600_000, "1972-02-29T00:00:00Z"),
        (784_111_777_000, "1994-11-06T08:49:37Z"),
        (951_868_799_000, "2000-02-29T23:59:59Z"),
        (951_868_800_000, "2000-03-01T00:00:00Z"),
        (1_714_669_716_258, "2024-05-02T17:08:36.258Z"),
        (1_735_689_599_000, "2024-12-31T23:59:59Z"),
        (4_107_542_399_000, "2100-02-28T23:59:59Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        (END_OF_9999, "9999-12-31T23:59:59.999Z"),
        (END_OF_9999 + 1, "+10000-01-01T00:00:00Z"),
        (u64::MAX, "+584556019-04-03T14:25:51.615Z"),
    ] {
        assert_eq!(UnixTime::from_millis(millis).to_string(), written);
    }
}

/// Of the form `Sun, 06 Nov 1994 08:49:37 GMT`.
fn as_in_a_date_header(time: UnixTime) -> String {
    let text = time.to_string();
    let (date, clock) = text.trim_end_matches('Z').split_once('T').unwrap();
    let [year, month, day] = date.split('-').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months[month.parse::<usize>().unwrap() - 1];
    format!("{day} {month} {year} {clock} GMT")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn another_writer_of_dates_agrees(seconds in 0..=END_OF_9999 / 1000) {
        let header = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
        let (_weekday, header) = header.split_once(", ").unwrap();
        prop_assert_eq!(as_in_a_date_header(UnixTime::from_secs(seconds)), header);
    }

    #[test]
    fn later_moments_are_never_written_as_the_same_text(millis in any::<u64>(), ahead in 1..=u64::MAX) {
        let (earlier, later) = (UnixTime::from_millis(millis), UnixTime::from_millis(millis.saturating_add(ahead)));
        prop_assert_eq!(earlier == later, earlier.to_string() == later.to_string());
    }

    #[test]
    fn the_systems_clock_converts_there_and_back(millis in 0..=END_OF_9999) {
        let time = UnixTime::from_millis(millis);
        prop_assert_eq!(SystemTime::from(time), UNIX_EPOCH + Duration::from_millis(millis));
        prop_assert_eq!(UnixTime::from(SystemTime::from(time)), time);
    }
}

#[test]
fn what_no_clock_shows_becomes_the_nearest_that_one_does() {
    let end = UNIX_EPOCH + Duration::from_millis(END_OF_9999);
    for beyond in [END_OF_9999 + 1, u64::MAX] {
        assert_eq!(SystemTime::from(UnixTime::from_millis(beyond)), end);
    }
    assert_eq!(UnixTime::from(UNIX_EPOCH - Duration::from_secs(1)), UnixTime::default());
}
