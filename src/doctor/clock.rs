//! Checks of this machine's clock against the server's.

use alloc::format;
use core::time::Duration;

use super::{Clocks, Credential, Credentials, FindingKind, Report, ServerTime};
use crate::time::UnixTime;
use crate::wire::response;

const CREDENTIAL: Credential = Credential::Clock;
/// More than a slow response explains.
const OFF: Duration = Duration::from_secs(30);
/// IBKR documents no limit; this is the one that other implementers speak of
/// ([protocol section 7](crate::protocol#section-7)).
const FAR_OFF: Duration = Duration::from_secs(5 * 60);
const UNREADABLE: &str = if cfg!(feature = "std") {
    "not a date as RFC 9110 section 5.6.7 has it"
} else {
    "this program was built without the feature `std`"
};

pub(super) fn examine(credentials: &Credentials<'_>, report: &mut Report) {
    let Some(Clocks { own, server }) = credentials.clocks else {
        return;
    };
    let server = match server {
        ServerTime::At(time) => Some(time),
        ServerTime::DateHeader(value) => response::date(value.as_bytes()),
    };
    match server {
        Some(server) => compare(own, server, report),
        None => report.add(FindingKind::DateUnreadable, CREDENTIAL, UNREADABLE),
    }
}

fn compare(own: UnixTime, server: UnixTime, report: &mut Report) {
    let (difference, direction) =
        if own < server { (server.saturating_since(own), "slow") } else { (own.saturating_since(server), "fast") };
    if difference <= OFF {
        return;
    }
    let kind = if difference > FAR_OFF { FindingKind::ClockFarOff } else { FindingKind::ClockOff };
    report.add(kind, CREDENTIAL, format!("{} seconds {direction}", difference.as_secs()));
}
