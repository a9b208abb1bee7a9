//! `Client::poll`: which request is due now, and when the next one will be.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;
use rand_core::CryptoRng;

use super::exchange::{ClientExchange, Inner};
use super::output::{Event, NotSent, Outcome, Output};
use super::own_requests::State;
use super::request_ticket::RequestTicket;
use super::{Client, Goal, Permit, Probe};
use crate::advice::backoff::Jitter;
use crate::advice::diagnosis::Retry;
use crate::brokerage::event::BrokeragePhase;
use crate::brokerage::exchange::BrokerageOutbound;
use crate::error::Error;
use crate::exchange::Outbound;
use crate::live_session::LiveSession;
use crate::time::UnixTime;
use crate::wire::api_request::ApiRequest;
use crate::wire::request::Request;

/// No wait is longer, so that a machine that slept, or a clock that was set, is noticed.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What should have happened already is looked at again after this.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// How long a refresh waits for own requests under way.
const HOLD: Duration = Duration::from_secs(30);
/// Between two tickles that a rejected request causes.
const PROBE_PAUSE: Duration = Duration::from_secs(10);

impl Client {
    /// Returns what to do next: send a request, take note of an event, or wait.
    pub fn poll(&mut self, rng: &mut dyn CryptoRng, now: UnixTime) -> Output {
        self.catch_up(now);
        if let Some(event) = self.next_event() {
            return Output::Event(event);
        }
        if self.pacing.penalty().ends_at(now).is_none()
            && let Some((request, exchange)) = self.next_request(rng, now)
        {
            return Output::Send { request, exchange: ClientExchange(exchange) };
        }
        match self.next_event() {
            Some(event) => Output::Event(event),
            None => Output::Wait(self.wait_until(now)),
        }
    }

    /// Events are rare: between them, they take no room.
    fn next_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
        event
    }

    /// Login and tickle go first.
    fn next_request(&mut self, rng: &mut dyn CryptoRng, now: UnixTime) -> Option<(Request, Inner)> {
        self.next_login(rng, now).or_else(|| self.next_of_brokerage(rng, now)).or_else(|| self.next_own(rng, now))
    }

    fn next_login(&mut self, rng: &mut dyn CryptoRng, now: UnixTime) -> Option<(Request, Inner)> {
        if self.login_at(now).is_none_or(|at| now < at) {
            return None;
        }
        let asks_for_token = self.asks_for_token();
        match self.oauth.poll_request(rng, now) {
            Ok(None) => None,
            Ok(Some(Outbound { request, exchange })) => {
                self.logins.note_sent(asks_for_token, Jitter::draw(rng), now);
                if asks_for_token && self.permit == Permit::Given {
                    self.permit = Permit::Awaited;
                }
                self.pacing.note_sent(&ApiRequest::post(exchange.endpoint()), self.seen_at);
                Some((request, Inner::Login(exchange)))
            }
            Err(error) => {
                self.logins.note_sent(false, Jitter::draw(rng), now);
                self.login_failed(error, now);
                None
            }
        }
    }

    /// When the next login request goes out: a refresh waits for own requests under way, which it might kill.
    fn login_at(&self, now: UnixTime) -> Option<UnixTime> {
        let due = self.login_due(now)?;
        let refresh_at = self.oauth.live(now).map(LiveSession::refresh_at);
        let held = refresh_at.filter(|at| due >= *at && self.requests.are_in_flight());
        Some(held.map_or(due, |at| due.max(at.saturating_add(HOLD))))
    }

    /// When the next login request is due; `None` if none is, or it needs a permit.
    pub(super) fn login_due(&self, now: UnixTime) -> Option<UnixTime> {
        self.login_wanted(now).filter(|_| self.permit != Permit::Awaited || !self.asks_for_token())
    }

    /// When the next login request is due, permitted or not.
    pub(super) fn login_wanted(&self, now: UnixTime) -> Option<UnixTime> {
        if self.goal != Goal::LoggedIn || self.is_stopped {
            return None;
        }
        let due = match self.oauth.deadline() {
            Some(deadline) => self.logins.after_silence(deadline),
            None => self.oauth.due_at(now)?,
        };
        Some(due.max(self.logins.free_at(self.asks_for_token())))
    }

    pub(super) fn asks_for_token(&self) -> bool {
        self.oauth.access_token().is_some()
    }

    /// Whether the live session token is being replaced: what may not be repeated waits for the new one, for as long as
    /// the response may take.
    fn is_refreshing(&self, now: UnixTime) -> bool {
        self.oauth.is_awaiting(now) || self.login_due(now).is_some_and(|at| at <= now)
    }

    fn next_of_brokerage(&mut self, rng: &mut dyn CryptoRng, now: UnixTime) -> Option<(Request, Inner)> {
        if !self.uses_brokerage() {
            return None;
        }
        let live = self.oauth.live(now)?.clone();
        match self.brokerage.poll_request(&live, rng, now) {
            Ok(Some(BrokerageOutbound { request, exchange })) => {
                self.pacing.note_sent(&exchange.api_request(), self.seen_at);
                Some((request, Inner::Brokerage(exchange)))
            }
            // Only a clock or a random source that does not work; the login says so when its turn comes.
            Ok(None) | Err(_) => None,
        }
    }

    fn uses_brokerage(&self) -> bool {
        self.goal != Goal::LoggedOut
    }

    fn next_own(&mut self, rng: &mut dyn CryptoRng, now: UnixTime) -> Option<(Request, Inner)> {
        if self.goal != Goal::LoggedIn || !self.is_clock_set(now) {
            return None;
        }
        let live = self.oauth.live(now)?.clone();
        let paced_at = self.seen_at;
        let has_brokerage_session = !self.wants_brokerage_session || self.brokerage.phase(now) == BrokeragePhase::Ready;
        let is_refreshing = self.is_refreshing(now);
        let pacing = &mut self.pacing;
        let own = self.requests.iter_mut().find(|own| {
            let must_wait = own.request.needs_brokerage_session() && !has_brokerage_session
                || is_refreshing && !own.request.is_safe();
            let is_free = matches!(own.state, State::Queued) && !must_wait;
            is_free && own.request.with_borrowed(|request| pacing.try_send(request, paced_at)).is_ok()
        })?;
        let live = own.trial.map_or_else(|| live.clone(), |policy| live.with_query_policy(policy));
        match own.request.with_borrowed(|request| live.sign(request, rng, now)) {
            Ok(request) => {
                let exchange = own.send(request.receipt(), now);
                Some((request, Inner::Own(exchange)))
            }
            Err(error) => {
                let ticket = own.ticket;
                self.requests.remove(ticket);
                self.finish(ticket, Outcome::NotSent(NotSent::Unsignable(error)));
                None
            }
        }
    }

    /// Nothing can be signed by a clock that has not been set yet.
    fn is_clock_set(&self, now: UnixTime) -> bool {
        self.oauth.consumer().identity().clock().next_second(now).is_ok()
    }

    /// Takes note of the time, and of what happened elsewhere since the last poll.
    fn catch_up(&mut self, now: UnixTime) {
        self.follow_clock(now);
        self.health.begin(now);
        self.take_signer_reports(now);
        for own in self.requests.take_overdue(now) {
            let retry_at = own.request.with_borrowed(|request| self.earliest(request, now));
            self.finish(own.ticket, own.outcome(NotSent::Deadline { retry_at }));
        }
        if let Goal::LoggingOut { until } = self.goal
            && (now >= until || self.oauth.live(now).is_none())
        {
            self.logged_out();
        }
        if self.health.replace_at().is_some_and(|at| now >= at) && self.oauth.live(now).is_some() {
            self.health.note_replaced();
            self.forget_token();
        }
        if self.probe.is_wanted && now >= self.probe.not_before {
            self.probe = Probe { is_wanted: false, not_before: now.saturating_add(PROBE_PAUSE) };
            self.brokerage.hasten_tickle();
        }
        self.report_changes(now);
    }

    pub(super) fn follow_clock(&mut self, now: UnixTime) {
        // Also while there is nothing to ask them for: each must know the latest time to notice that the clock went back.
        self.oauth.follow_clock(now);
        self.brokerage.follow_clock(now);
        let back = self.seen_at.follow(now);
        if back.is_zero() {
            return;
        }
        self.logins.set_back(back);
        self.health.set_back(back);
        self.requests.set_back(back);
        self.probe.not_before = self.probe.not_before.saturating_sub(back);
        if let Goal::LoggingOut { until } = &mut self.goal {
            *until = until.saturating_sub(back);
        }
    }

    fn report_changes(&mut self, now: UnixTime) {
        let phase = self.brokerage.phase(now);
        if self.wants_brokerage_session && self.last_reported.brokerage.replace(phase) != Some(phase) {
            self.events.push_back(Event::Brokerage(phase));
        }
        let skew = self.oauth.clock_skew();
        if core::mem::replace(&mut self.last_reported.skew, skew) != skew {
            self.events.push_back(Event::ClockOff { seconds: skew });
        }
    }

    /// Later than `now`, by a minute at most.
    fn wait_until(&mut self, now: UnixTime) -> UnixTime {
        let latest = now.saturating_add(LONGEST_WAIT);
        let soonest = now.saturating_add(SHORTEST_WAIT);
        let due = self.due_times(now).into_iter().flatten();
        due.map(|at| if at > now { at } else { soonest }).fold(latest, UnixTime::min)
    }

    fn due_times(&mut self, now: UnixTime) -> Vec<Option<UnixTime>> {
        let mut times = Vec::from([self.requests.next_deadline()]);
        if let Goal::LoggingOut { until } = self.goal {
            times.push(Some(until));
        }
        if let Some(penalty) = self.pacing.penalty().ends_at(now) {
            times.push(Some(penalty));
            return times;
        }
        times.push(self.login_at(now));
        times.push(self.login_wanted(now).filter(|at| *at > now));
        if !self.is_clock_set(now) {
            return times;
        }
        // What waits for a refresh waits no longer than this.
        times.push(self.oauth.deadline().filter(|at| *at > now));
        if self.oauth.live(now).is_some() {
            times.push(self.health.replace_at());
            times.push(Some(self.probe.not_before).filter(|_| self.probe.is_wanted));
            times.push(self.brokerage.poll_timeout().filter(|_| self.uses_brokerage()));
            times.push(self.next_own_at(now));
        }
        times
    }

    /// When the request limits let the next of the caller's own requests through.
    fn next_own_at(&mut self, now: UnixTime) -> Option<UnixTime> {
        let (pacing, now) = (&mut self.pacing, self.seen_at.max(now));
        let queued = self.requests.iter_mut().filter(|own| matches!(own.state, State::Queued));
        queued.filter_map(|own| own.request.with_borrowed(|request| pacing.free_at(request, now))).min()
    }

    pub(super) fn finish(&mut self, ticket: RequestTicket, outcome: Outcome) {
        self.events.push_back(Event::Finished { ticket, outcome });
    }

    pub(super) fn end_unsent(&mut self) {
        for (ticket, outcome) in self.requests.take_unsent() {
            self.finish(ticket, outcome);
        }
    }

    /// Hands the signers what there is to sign with.
    pub(super) fn publish(&self) {
        self.signer.publish(self.oauth.stored_live().cloned());
    }

    pub(super) fn login_failed(&mut self, error: Error, now: UnixTime) {
        match error.retry(now) {
            Retry::Never => {
                self.is_stopped = true;
                self.events.push_back(Event::Stopped { error });
                return;
            }
            Retry::Again => self.logins.note_clock_off(now),
            Retry::Later(at) => self.logins.note_failed(at, now),
            Retry::LogIn | Retry::OpenBrokerageSession | Retry::Reauthorize => self.logins.note_failed(now, now),
        }
        let next_attempt = self.logins.free_at(self.asks_for_token());
        self.events.push_back(Event::LoginFailed { error, next_attempt });
    }
}
