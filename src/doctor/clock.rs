//! This machine's clock beside the server's.

use alloc::format;
use core::time::Duration;

use super::{Clocks, Credentials, Kind, Piece, Report, ServerTime};
use crate::UnixTime;

const PIECE: Piece = Piece::Clock;
/// More than a slow answer explains.
const OFF: Duration = Duration::from_secs(30);
/// IBKR documents no limit; this is the one that other implementers speak of (protocol section 7).
const FAR_OFF: Duration = Duration::from_secs(5 * 60);

/// The months, with the days that are before them in a year that is no leap year.
const MONTHS: [(&str, u64, u64); 12] = [
    ("Jan", 0, 31),
    ("Feb", 31, 28),
    ("Mar", 59, 31),
    ("Apr", 90, 30),
    ("May", 120, 31),
    ("Jun", 151, 30),
    ("Jul", 181, 31),
    ("Aug", 212, 31),
    ("Sep", 243, 30),
    ("Oct", 273, 31),
    ("Nov", 304, 30),
    ("Dec", 334, 31),
];
/// Days from the year 1 to 1970.
const DAYS_TO_1970: u64 = 719_162;

pub(super) fn examine(credentials: &Credentials<'_>, report: &mut Report) {
    let Some(Clocks { own, server }) = credentials.clocks else {
        return;
    };
    let server = match server {
        ServerTime::At(time) => Some(time),
        ServerTime::DateHeader(text) => parse_date(text),
    };
    match server {
        Some(server) => compare(own, server, report),
        None => report.add(Kind::DateUnreadable, PIECE, "not a date as RFC 9110 section 5.6.7 has it"),
    }
}

fn compare(own: UnixTime, server: UnixTime, report: &mut Report) {
    let (difference, direction) =
        if own < server { (server.saturating_since(own), "slow") } else { (own.saturating_since(server), "fast") };
    let kind = match difference {
        difference if difference > FAR_OFF => Kind::ClockFarOff,
        difference if difference > OFF => Kind::ClockOff,
        _ => return,
    };
    report.add(kind, PIECE, format!("{} seconds {direction}", difference.as_secs()));
}

/// IMF-fixdate (RFC 9110 section 5.6.7), the only form that servers write today: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse_date(text: &str) -> Option<UnixTime> {
    let text = text.trim();
    let text = text.strip_prefix("Date:").or_else(|| text.strip_prefix("date:")).unwrap_or(text);
    let mut parts = text.split_ascii_whitespace();
    let (_weekday, day, month, year) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (time, zone) = (parts.next()?, parts.next()?);
    if zone != "GMT" || parts.next().is_some() {
        return None;
    }
    let days = days_since_1970(number(year, 1970..=9999)?, month, number(day, 1..=31)?)?;
    let mut units = time.split(':');
    let mut unit = |largest: u64| number(units.next()?, 0..=largest);
    let (hour, minute, second) = (unit(23)?, unit(59)?, unit(60)?);
    let seconds = days.saturating_mul(24).saturating_add(hour).saturating_mul(60).saturating_add(minute);
    let time = UnixTime::from_secs(seconds.saturating_mul(60).saturating_add(second));
    units.next().is_none().then_some(time)
}

fn number(digits: &str, range: core::ops::RangeInclusive<u64>) -> Option<u64> {
    digits.parse().ok().filter(|number| range.contains(number))
}

fn days_since_1970(year: u64, month: &str, day: u64) -> Option<u64> {
    let is_leap_year = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (_, before, length) = MONTHS.into_iter().find(|(name, ..)| *name == month)?;
    let leap_day = u64::from(is_leap_year);
    let length = if month == "Feb" { length.saturating_add(leap_day) } else { length };
    let before = if before > 31 { before.saturating_add(leap_day) } else { before };
    let years = year.checked_sub(1)?;
    let days_to_year =
        years.saturating_mul(365).saturating_add(years / 4).saturating_sub(years / 100).saturating_add(years / 400);
    let days = days_to_year.saturating_add(before).saturating_add(day).checked_sub(1)?.checked_sub(DAYS_TO_1970)?;
    (day <= length).then_some(days)
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
        ] {
            assert_eq!(parse_date(date), Some(UnixTime::from_secs(seconds)), "{date}");
            assert_eq!(parse_date(&std::format!("Date: {date}\r\n")), Some(UnixTime::from_secs(seconds)));
        }
    }

    #[test]
    fn what_is_no_date_is_not_taken_for_one() {
        for text in [
            "",
            "now",
            "Thu, 02 May 2024 17:08:36",
            "Thu, 02 May 2024 17:08:36 CET",
            "Thu, 02 May 2024 17:08:36 GMT GMT",
            "Thu, 02 May 2024 17:08 GMT",
            "Thu, 02 May 2024 17:08:36:1 GMT",
            "Thu, 02 May 2024 24:08:36 GMT",
            "Thu, 30 Feb 2024 17:08:36 GMT",
            "Thu, 29 Feb 2100 17:08:36 GMT",
            "Thu, 00 May 2024 17:08:36 GMT",
            "Thu, 02 Mai 2024 17:08:36 GMT",
            "Thu, 02 May 1969 17:08:36 GMT",
            "Thu, 02 May -1 17:08:36 GMT",
        ] {
            assert_eq!(parse_date(text), None, "{text:?}");
        }
    }
}
