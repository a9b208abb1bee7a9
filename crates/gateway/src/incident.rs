//! What goes wrong at IBKR, on schedule: for testing how a client lives through it.

use std::time::{Duration, SystemTime};

use crate::Gateway;
use crate::refusal::Refusal;
use crate::time::{UnixTime, unix_time};

/// Something that happens at IBKR. [`Gateway::schedule`] says when.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Incident {
    /// The nightly reset: every brokerage session ends (protocol section 7).
    NightlyReset,
    /// The user logs in somewhere else and takes the brokerage session along (protocol section 8).
    CompetingLogin {
        /// The username.
        user: String,
    },
    /// The user logs out there.
    CompetitorLeaves {
        /// The username.
        user: String,
    },
    /// Every request is answered with 503 and an HTML page.
    Outage {
        /// For so long.
        lasts: Duration,
    },
    /// Every request is answered with 429.
    TooManyRequests {
        /// For so long.
        lasts: Duration,
    },
    /// `/iserver/auth/ssodh/init` is answered with 500, `failed to generate sso dh token`.
    NoBrokerageSessions {
        /// For so long.
        lasts: Duration,
    },
    /// Every live session token is forgotten: API requests are answered with 401.
    LiveSessionsEnd,
    /// API requests are answered with 410 until somebody fetches a live session token.
    Gone,
    /// From now on the server's clock is ahead of the caller's by so many seconds; behind, if negative.
    ClockSkew {
        /// Seconds.
        seconds: i64,
    },
}

/// Incidents to come, and those that last.
#[derive(Default)]
pub(crate) struct Schedule {
    /// The caller's clock, by which everything is scheduled.
    now: UnixTime,
    pending: Vec<(UnixTime, Incident)>,
    outage_until: Option<UnixTime>,
    too_many_requests_until: Option<UnixTime>,
    no_brokerage_sessions_until: Option<UnixTime>,
    gone: bool,
    clock_skew: i64,
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
        let skew = Duration::from_secs(self.schedule.clock_skew.unsigned_abs());
        if self.schedule.clock_skew < 0 { now.saturating_sub(skew) } else { now.saturating_add(skew) }
    }

    fn happen(&mut self, incident: Incident, at: UnixTime) {
        match incident {
            Incident::NightlyReset => self.brokerage.close_all(),
            // Nobody's access token is empty.
            Incident::CompetingLogin { user } => self.brokerage.open(&user, "", true, Duration::MAX),
            Incident::CompetitorLeaves { user } => self.brokerage.close(&user, ""),
            Incident::Outage { lasts } => self.schedule.outage_until = Some(at.saturating_add(lasts)),
            Incident::TooManyRequests { lasts } => {
                self.schedule.too_many_requests_until = Some(at.saturating_add(lasts));
            }
            Incident::NoBrokerageSessions { lasts } => {
                self.schedule.no_brokerage_sessions_until = Some(at.saturating_add(lasts));
            }
            Incident::LiveSessionsEnd => self.registry.close_all_live_sessions(),
            Incident::Gone => self.schedule.gone = true,
            Incident::ClockSkew { seconds } => self.schedule.clock_skew = seconds,
        }
    }
}

impl Schedule {
    /// The caller's clock.
    pub(crate) fn now(&self) -> UnixTime {
        self.now
    }

    /// Somebody has a new live session token.
    pub(crate) fn live_session_made(&mut self) {
        self.gone = false;
    }

    pub(crate) fn admit(&self) -> Result<(), Refusal> {
        refuse_if(self.lasts(self.outage_until), Refusal::Unavailable)?;
        refuse_if(self.lasts(self.too_many_requests_until), Refusal::TooManyRequests)
    }

    pub(crate) fn admit_to_api(&self) -> Result<(), Refusal> {
        refuse_if(self.gone, Refusal::Gone)
    }

    pub(crate) fn admit_to_brokerage(&self) -> Result<(), Refusal> {
        let refusal = Refusal::NoBrokerageSession("scheduled: no brokerage sessions");
        refuse_if(self.lasts(self.no_brokerage_sessions_until), refusal)
    }

    fn lasts(&self, until: Option<UnixTime>) -> bool {
        until.is_some_and(|until| self.now < until)
    }
}

fn refuse_if(condition: bool, refusal: Refusal) -> Result<(), Refusal> {
    if condition { Err(refusal) } else { Ok(()) }
}
