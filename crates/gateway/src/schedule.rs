//! Incidents to come, and those that last.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use crate::rejection::Rejection;
use crate::response::{HTML, JSON, Response, TEXT, response};
use crate::time::{UnixTime, shifted, unix_time};
use crate::{Delivery, Gateway, Incident};

/// The body of [`Incident::ErrorObject`].
const ERROR_OBJECT: &str = r#"{"error":{"code":1,"message":"scheduled: an error object"}}"#;

/// Something that is the case for a while.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    Outage,
    TooManyRequests,
    NoBrokerageSessions,
    EmptyAccounts,
    TicklesWithoutStatus,
    AuthenticatedAndCompeting,
    EmptyDiffieHellmanResponses,
    SignBytes,
    NoSignBytes,
}

/// Incidents to come, and those that last.
#[derive(Default)]
pub(crate) struct Schedule {
    /// The caller's clock, by which everything is scheduled.
    now: UnixTime,
    pending: Vec<(UnixTime, Incident)>,
    /// When each ends.
    troubles: BTreeMap<Trouble, UnixTime>,
    /// By endpoint.
    odd_responses: BTreeMap<String, OddResponse>,
    damaged_dates: DamagedDates,
    /// Until when responses travel how.
    bad_delivery: Option<(UnixTime, Delivery)>,
    gone: bool,
    clock_skew: i64,
}

struct OddResponse {
    until: UnixTime,
    status: StatusCode,
    body: String,
}

#[derive(Default)]
struct DamagedDates {
    /// Zero for none.
    every: u32,
    seconds: i64,
    /// Responses since the last damaged one.
    since: u32,
}

impl Gateway {
    /// Lets `incident` happen with the first request at or after `at`, on the caller's clock.
    ///
    /// ```
    /// # use std::time::{Duration, SystemTime};
    /// # use ibkr_oauth_gateway::{Gateway, Incident};
    /// # fn night(gateway: &mut Gateway, midnight: SystemTime) {
    /// gateway.schedule(midnight, Incident::NightlyReset);
    /// gateway.schedule(midnight, Incident::Outage { lasts: Duration::from_secs(300) });
    /// # }
    /// ```
    pub fn schedule(&mut self, at: SystemTime, incident: Incident) {
        self.schedule.pending.push((unix_time(at), incident));
    }

    /// Lets everything happen that is due, and returns the server's own time.
    pub(crate) fn catch_up(&mut self, now: SystemTime) -> UnixTime {
        let now = unix_time(now);
        self.schedule.now = now;
        let (due, later) = self.schedule.pending.drain(..).partition(|(at, _)| *at <= now);
        self.schedule.pending = later;
        let mut due: Vec<(UnixTime, Incident)> = due;
        due.sort_by_key(|(at, _)| *at);
        for (at, incident) in due {
            self.happen(incident, at);
        }
        shifted(now, self.schedule.clock_skew)
    }

    fn happen(&mut self, incident: Incident, at: UnixTime) {
        self.note_change();
        let schedule = &mut self.schedule;
        match incident {
            Incident::NightlyReset => self.brokerage.close_all(),
            // Nobody's access token is empty.
            Incident::CompetingLogin { user } => self.brokerage.open(&user, "", true, Duration::MAX),
            Incident::CompetitorLeaves { user } => self.brokerage.close(&user, ""),
            Incident::Outage { lasts } => schedule.begin(Trouble::Outage, at, lasts),
            Incident::TooManyRequests { lasts } => schedule.begin(Trouble::TooManyRequests, at, lasts),
            Incident::NoBrokerageSessions { lasts } => schedule.begin(Trouble::NoBrokerageSessions, at, lasts),
            Incident::LiveSessionsEnd => self.registry.close_all_live_sessions(),
            Incident::Gone => schedule.gone = true,
            Incident::ClockSkew { seconds } => schedule.clock_skew = seconds,
            Incident::EmptyAccounts { lasts } => schedule.begin(Trouble::EmptyAccounts, at, lasts),
            Incident::TicklesWithoutStatus { lasts } => schedule.begin(Trouble::TicklesWithoutStatus, at, lasts),
            Incident::AuthenticatedAndCompeting { lasts } => {
                schedule.begin(Trouble::AuthenticatedAndCompeting, at, lasts);
            }
            Incident::DamagedDates { every, seconds } => {
                schedule.damaged_dates = DamagedDates { every, seconds, since: 0 };
            }
            Incident::EmptyDiffieHellmanResponses { lasts } => {
                schedule.begin(Trouble::EmptyDiffieHellmanResponses, at, lasts);
            }
            Incident::SignBytes { lasts } => schedule.begin(Trouble::SignBytes, at, lasts),
            Incident::NoSignBytes { lasts } => schedule.begin(Trouble::NoSignBytes, at, lasts),
            Incident::ErrorObject { endpoint, lasts } => {
                let until = at.saturating_add(lasts);
                schedule
                    .answer_oddly(endpoint, OddResponse { until, status: StatusCode::OK, body: ERROR_OBJECT.into() });
            }
            Incident::OddResponse { endpoint, status, body, lasts } => {
                let status = Some(status).filter(|status| (200..600).contains(status));
                let status = status.and_then(|status| StatusCode::from_u16(status).ok());
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                schedule.answer_oddly(endpoint, OddResponse { until: at.saturating_add(lasts), status, body });
            }
            Incident::BadDelivery { delivery, lasts } => {
                schedule.bad_delivery = Some((at.saturating_add(lasts), delivery));
            }
        }
    }
}

impl Schedule {
    /// The caller's clock.
    pub(crate) fn now(&self) -> UnixTime {
        self.now
    }

    /// Is it the case just now?
    pub(crate) fn suffers(&self, trouble: Trouble) -> bool {
        self.troubles.get(&trouble).is_some_and(|until| self.now < *until)
    }

    /// Somebody has a new live session token.
    pub(crate) fn live_session_made(&mut self) {
        self.gone = false;
    }

    pub(crate) fn admit(&self) -> Result<(), Rejection> {
        reject_if(self.suffers(Trouble::Outage), Rejection::Unavailable)?;
        reject_if(self.suffers(Trouble::TooManyRequests), Rejection::TooManyRequests)
    }

    pub(crate) fn admit_to_api(&self) -> Result<(), Rejection> {
        reject_if(self.gone, Rejection::Gone)
    }

    pub(crate) fn admit_to_brokerage(&self) -> Result<(), Rejection> {
        let rejection = Rejection::NoBrokerageSession("scheduled: no brokerage sessions");
        reject_if(self.suffers(Trouble::NoBrokerageSessions), rejection)
    }

    /// The response that is scheduled for this endpoint, if any.
    pub(crate) fn odd_response(&self, endpoint: &str) -> Option<Response> {
        let odd = self.odd_responses.get(endpoint).filter(|odd| self.now < odd.until)?;
        let content_type = match odd.body.as_bytes() {
            [b'{' | b'[', ..] => JSON,
            [b'<', ..] => HTML,
            _ => TEXT,
        };
        Some(response(odd.status, content_type, odd.body.clone()))
    }

    /// How the next response travels, if badly.
    pub(crate) fn delivery(&self) -> Option<Delivery> {
        self.bad_delivery.filter(|(until, _)| self.now < *until).map(|(_, delivery)| delivery)
    }

    /// The time to write into the `Date` of the next response.
    pub(crate) fn date(&mut self, now: UnixTime) -> UnixTime {
        let damaged = &mut self.damaged_dates;
        damaged.since = damaged.since.saturating_add(1);
        if damaged.every == 0 || damaged.since < damaged.every {
            return now;
        }
        damaged.since = 0;
        shifted(now, damaged.seconds)
    }

    fn begin(&mut self, trouble: Trouble, at: UnixTime, lasts: Duration) {
        self.troubles.insert(trouble, at.saturating_add(lasts));
    }

    fn answer_oddly(&mut self, endpoint: String, odd: OddResponse) {
        self.odd_responses.insert(endpoint, odd);
    }
}

fn reject_if(condition: bool, rejection: Rejection) -> Result<(), Rejection> {
    if condition { Err(rejection) } else { Ok(()) }
}
