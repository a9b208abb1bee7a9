//! Whether a request of the caller's could go out in time, if it were handed over.

use super::{Client, Goal};
use crate::brokerage::event::BrokeragePhase;
use crate::time::UnixTime;
use crate::wire::api_request::ApiRequest;

impl Client {
    /// Returns when `request`, if it were handed over at `now`, could go out at the earliest, where that is not before its
    /// deadline: whoever knows better than to wait in vain need not hand it over. `None` if it may go out in time, and if
    /// that is up to others: a log-out, a stop, the user's consent, a permit.
    ///
    /// Other requests that are in the queue may delay it further; [`doubt`](Self::doubt) and [`open`](Self::open) may
    /// bring the next attempt forward.
    pub fn beyond_deadline(&mut self, request: &ApiRequest<'_>, now: UnixTime) -> Option<UnixTime> {
        self.follow_clock(now);
        self.earliest(request, now).filter(|at| *at >= self.requests.deadline(now))
    }

    /// When `request` could go out at the earliest; `None` if that is up to others.
    pub(super) fn earliest(&mut self, request: &ApiRequest<'_>, now: UnixTime) -> Option<UnixTime> {
        let session = self.session_at(super::own_requests::needs_brokerage_session(request.path()), now)?;
        let allowed = self.pacing.free_at(request, self.seen_at).unwrap_or(now);
        Some(session.max(allowed))
    }

    /// When there could be a live session, and a brokerage session where one is needed.
    fn session_at(&self, needs_brokerage_session: bool, now: UnixTime) -> Option<UnixTime> {
        if self.goal != Goal::LoggedIn {
            return None;
        }
        match self.oauth.live(now) {
            None if self.oauth.is_awaiting(now) => Some(now),
            None => self.login_due(now),
            Some(live) if needs_brokerage_session && self.wants_brokerage_session => match self.brokerage.phase(now) {
                BrokeragePhase::Ready => Some(now),
                _ => self.brokerage.next_chance(live, now),
            },
            Some(_) => Some(now),
        }
    }
}
