//! `BrokerageSession::handle_response`: reads the responses, and chooses the next step.

use core::time::Duration;

use super::auth_status::{self, AuthStatus};
use super::event::{BrokerageEvent, BrokeragePhase};
use super::exchange::{BrokerageExchange, Step};
use super::session::{BrokerageSession, FIRST_PAUSE, LONGEST_PAUSE};
use crate::advice::backoff::doubled;
use crate::advice::diagnosis::{Diagnosis, Retry};
use crate::advice::maintenance::Maintenance;
use crate::error::{Error, Misuse};
use crate::signing::server_clock::ClockVerdict;
use crate::time::UnixTime;
use crate::wire::response::Response;

/// "After ssodh/init always wait 2 s" ([protocol section 14.4](crate::protocol#section-14-4)).
const READY_PAUSE: Duration = Duration::from_secs(2);
/// After so many questions in vain, ask for a new session: half a minute the first time.
const MAX_CHECKS: u32 = 15;
/// The longest pause between two such questions.
const LONGEST_READY_PAUSE: Duration = Duration::from_secs(60);
/// A tickle without `authStatus` is enough while the last confirmation is younger than this.
const FRESH: Duration = Duration::from_secs(2 * 60);
/// The longest pause while IBKR is known to restart.
const MAINTENANCE_PAUSE: Duration = Duration::from_secs(60);

impl BrokerageSession {
    /// Takes the response to the request that came with `exchange`.
    ///
    /// # Errors
    /// [`Misuse::StaleExchange`] for an exchange that is not awaited; nothing has changed then.
    pub fn handle_response(
        &mut self,
        exchange: BrokerageExchange,
        response: &Response<'_>,
        now: UnixTime,
    ) -> Result<BrokerageEvent, Misuse> {
        if !self.awaits(&exchange) {
            return Err(Misuse::StaleExchange);
        }
        let identity = self.login.as_ref().map(|login| &login.identity);
        let clock =
            identity.map_or(ClockVerdict::Innocent, |known| known.learn_clock(&exchange.receipt, response, now));
        self.follow_clock(now);
        let was_unconfirmed = self.phase(now) == BrokeragePhase::Unconfirmed;
        let event = match self.event(&exchange, response, now) {
            Ok(event) => event,
            Err(error) => return Ok(self.failed(exchange.step, clock.explain(error), now)),
        };
        self.note_success(exchange.step);
        let is_ready_again = was_unconfirmed && self.phase(now) == BrokeragePhase::Ready;
        Ok(if event == BrokerageEvent::Alive && is_ready_again { BrokerageEvent::Ready } else { event })
    }

    /// Returns whether the response to the request of `exchange` is awaited.
    pub(crate) fn awaits(&self, exchange: &BrokerageExchange) -> bool {
        self.awaited.is(&exchange.ticket)
    }

    fn note_success(&mut self, step: Step) {
        if self.rejected_step == Some(step) {
            self.rejections = 0;
        }
        // Failures in between are counted on until the session is ready, or one that cannot be built is asked for without
        // end. Another session in the way counts as a failure.
        if step != Step::Tickle && self.phase != BrokeragePhase::Competing {
            self.backoff.take_back();
        }
    }

    fn event(
        &mut self,
        exchange: &BrokerageExchange,
        response: &Response<'_>,
        now: UnixTime,
    ) -> Result<BrokerageEvent, Error> {
        match exchange.step {
            Step::Init | Step::Status => {
                let status = AuthStatus::read(response)?;
                self.note_status(status, now);
                Ok(self.handle_status(exchange.step, status, now))
            }
            Step::Accounts => auth_status::has_accounts(response).map(|has_accounts| self.accounts(has_accounts, now)),
            Step::Tickle => {
                let tickle = auth_status::tickle(response)?;
                self.session_id = tickle.session_id.or_else(|| self.session_id.take());
                Ok(match tickle.status {
                    Some(status) => {
                        self.note_status(status, now);
                        self.handle_tickle_status(status, now)
                    }
                    None => self.handle_tickle_without_status(now),
                })
            }
            Step::Logout => response.object().map(|_| self.logged_out()),
        }
    }

    /// Counts the confirmation from when the request was sent, or from `now` if the clock has gone back since. Any other
    /// status clears it.
    fn note_status(&mut self, status: AuthStatus, now: UnixTime) {
        if status == AuthStatus::Ready {
            self.schedule.confirmed = self.schedule.confirmed.max(self.schedule.sent.map(|sent| sent.min(now)));
            self.contest.note_ours(now);
        } else {
            self.schedule.confirmed = None;
        }
    }

    fn handle_status(&mut self, step: Step, status: AuthStatus, now: UnixTime) -> BrokerageEvent {
        // The first tickle brings the session id for the WebSocket.
        self.schedule.tickle = self.schedule.tickle.or(Some(now));
        match status {
            AuthStatus::Ready if step == Step::Init => self.opening(READY_PAUSE, now),
            AuthStatus::Ready if self.phase == BrokeragePhase::Ready => self.ready(),
            AuthStatus::Ready => self.opening(Duration::ZERO, now),
            AuthStatus::Competing => self.competing(now),
            AuthStatus::NotReady if self.phase == BrokeragePhase::Ready => self.lost(now),
            AuthStatus::NotReady => self.not_ready_yet(now),
        }
    }

    /// A tickle changes the phase only in `Ready` and `Competing`.
    fn handle_tickle_status(&mut self, status: AuthStatus, now: UnixTime) -> BrokerageEvent {
        match (self.phase, status) {
            (BrokeragePhase::Ready, AuthStatus::Ready) => self.ready(),
            (BrokeragePhase::Ready, AuthStatus::NotReady) => self.lost(now),
            (BrokeragePhase::Ready, AuthStatus::Competing) => self.competing(now),
            (BrokeragePhase::Competing, AuthStatus::NotReady | AuthStatus::Ready) => self.competitor_gone(now),
            _ => BrokerageEvent::Alive,
        }
    }

    /// Some tickles carry no `authStatus` ([protocol section 8](crate::protocol#section-8)): then status is the
    /// witness.
    fn handle_tickle_without_status(&mut self, now: UnixTime) -> BrokerageEvent {
        let is_fresh = self.schedule.confirmed.is_some_and(|confirmed| now < confirmed.saturating_add(FRESH));
        if self.phase == BrokeragePhase::Ready && !is_fresh {
            self.is_doubted = true;
            self.schedule.step = self.schedule.after_doubt();
        }
        BrokerageEvent::Alive
    }

    fn opening(&mut self, pause: Duration, now: UnixTime) -> BrokerageEvent {
        self.checks = 0;
        self.phase = BrokeragePhase::Opening;
        self.schedule.step = now.saturating_add(pause);
        BrokerageEvent::Opening
    }

    fn not_ready_yet(&mut self, now: UnixTime) -> BrokerageEvent {
        let checks_in_vain = if self.phase == BrokeragePhase::Opening { self.checks.saturating_add(1) } else { 0 };
        self.opening(self.ready_pause(), now);
        self.checks = checks_in_vain;
        if checks_in_vain >= MAX_CHECKS {
            self.phase = BrokeragePhase::Missing;
            self.vain_openings = self.vain_openings.saturating_add(1);
        }
        BrokerageEvent::Opening
    }

    /// Twice as long after each session that never got ready: one that takes longer must be given the time, because
    /// another one begins anew.
    fn ready_pause(&self) -> Duration {
        doubled(READY_PAUSE, self.vain_openings, LONGEST_READY_PAUSE)
    }

    fn accounts(&mut self, has_accounts: bool, now: UnixTime) -> BrokerageEvent {
        // The witness may have become too old while the accounts were on their way.
        if !has_accounts || !self.is_confirmed(now) {
            return self.not_ready_yet(now);
        }
        self.phase = BrokeragePhase::Ready;
        self.ready();
        BrokerageEvent::Ready
    }

    fn ready(&mut self) -> BrokerageEvent {
        self.backoff.reset();
        self.unavailable = 0;
        self.vain_openings = 0;
        self.takes_over_once = false;
        self.is_doubted = false;
        BrokerageEvent::Alive
    }

    fn competing(&mut self, now: UnixTime) -> BrokerageEvent {
        self.phase = BrokeragePhase::Competing;
        let contest = self.contest.note_taken(now);
        self.schedule.step = now.saturating_add(contest.unwrap_or(self.pause));
        if contest.is_some() && self.takes_over() { BrokerageEvent::Contested } else { BrokerageEvent::Competing }
    }

    fn competitor_gone(&mut self, now: UnixTime) -> BrokerageEvent {
        self.phase = BrokeragePhase::Missing;
        self.schedule.step = now;
        BrokerageEvent::CompetitorGone
    }

    fn lost(&mut self, now: UnixTime) -> BrokerageEvent {
        self.phase = BrokeragePhase::Missing;
        self.schedule.confirmed = None;
        self.contest.note_gone();
        self.is_doubted = false;
        self.schedule.step = now;
        BrokerageEvent::Lost
    }

    pub(super) fn logged_out(&mut self) -> BrokerageEvent {
        self.phase = BrokeragePhase::LoggedOut;
        self.session_id = None;
        self.schedule.tickle = None;
        BrokerageEvent::LoggedOut
    }

    /// [Protocol section 6.2](crate::protocol#section-6-2) says what each rejection asks for.
    fn failed(&mut self, step: Step, error: Error, now: UnixTime) -> BrokerageEvent {
        let diagnosis = error.diagnosis().unwrap_or(Diagnosis::Unknown);
        let is_gone = diagnosis.rejects_live_session() || diagnosis == Diagnosis::NoBridge;
        if step == Step::Logout && is_gone {
            return self.logged_out();
        }
        if diagnosis.rejects_live_session() {
            return self.live_session_rejected(step, now);
        }
        if diagnosis == Diagnosis::NoBridge && self.phase == BrokeragePhase::Ready {
            return self.lost(now);
        }
        if diagnosis == Diagnosis::ClockOff {
            self.repeat(step, now);
        } else {
            self.put_off(step, diagnosis, error.retry(now), now);
        }
        // Known: the response has just been taken, so nothing is in flight.
        let next_attempt = self.next_step().into_iter().chain(self.next_tickle()).min().unwrap_or(now);
        BrokerageEvent::Failed { error, next_attempt, maintenance: Maintenance::at(now) }
    }

    /// The timestamp was wrong and is right now: the same is asked again at once. The clock is not blamed twice running.
    fn repeat(&mut self, step: Step, now: UnixTime) {
        match step {
            Step::Tickle => self.schedule.tickle = Some(now),
            _ => self.schedule.step = now,
        }
    }

    /// The first new login is tried at once. If that is rejected too, logging in is not what helps, and the pauses grow.
    fn live_session_rejected(&mut self, step: Step, now: UnixTime) -> BrokerageEvent {
        self.rejected_step = Some(step);
        self.rejections = self.rejections.saturating_add(1);
        if self.rejections > 1 {
            let pause = doubled(FIRST_PAUSE, self.rejections.saturating_sub(2), LONGEST_PAUSE);
            self.schedule.step = now.saturating_add(pause);
            self.schedule.tickle = self.schedule.tickle.map(|_| self.schedule.step);
        }
        BrokerageEvent::LiveSessionRejected
    }

    /// A failed tickle changes nothing, because the next one is planned already; unless there were too many requests.
    fn put_off(&mut self, step: Step, diagnosis: Diagnosis, advice: Retry, now: UnixTime) {
        let wished = match advice {
            Retry::Later(at) => at,
            _ => now,
        };
        if diagnosis == Diagnosis::TooManyRequests {
            self.schedule.tickle = self.schedule.tickle.map(|at| at.max(wished));
            self.schedule.not_before = wished;
        }
        if step == Step::Tickle {
            return;
        }
        let is_maintenance = Maintenance::at(now).is_some();
        let pause = if is_maintenance { self.pause.min(MAINTENANCE_PAUSE) } else { self.pause };
        self.schedule.step = now.saturating_add(pause);
        match diagnosis {
            // "Tickle first", protocol section 6.2.
            Diagnosis::BrokerageSessionUnavailable => {
                self.unavailable = self.unavailable.saturating_add(1);
                self.schedule.tickle = Some(now);
            }
            Diagnosis::NoBridge => self.phase = BrokeragePhase::Missing,
            // What the server wishes, or the penalty box, goes before our own pauses.
            _ => {
                self.schedule.step = self.schedule.step.max(wished);
                self.schedule.not_before = self.schedule.not_before.max(wished);
            }
        }
    }
}
