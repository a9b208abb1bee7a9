//! `Client::handle_response`: reads the responses, and begins every recovery.

use super::exchange::{ClientExchange, Inner, OwnExchange};
use super::output::{Event, NotSent, Outcome};
use super::own_requests::{Rejection, Repair, State};
use super::token_health::TokenEvidence;
use super::{Client, Goal};
use crate::advice::diagnosis::Diagnosis;
use crate::agreement::live_session_token::TokenId;
use crate::brokerage::event::{BrokerageEvent, BrokeragePhase};
use crate::brokerage::exchange::BrokerageExchange;
use crate::error::{Error, Misuse};
use crate::exchange::Exchange;
use crate::live_session::LiveSession;
use crate::session::Phase;
use crate::time::UnixTime;
use crate::wire::response::Response;

impl Client {
    /// Takes the response to the request that came with `exchange`: status, all headers, body. What follows from it comes
    /// with the next polls.
    ///
    /// # Errors
    /// [`Misuse::StaleExchange`] for an exchange that is not awaited any more: its deadline has passed, the client was
    /// logged out, or the exchange is another client's. Nothing has changed then.
    pub fn handle_response(
        &mut self,
        exchange: ClientExchange,
        response: &Response<'_>,
        now: UnixTime,
    ) -> Result<(), Misuse> {
        self.follow_clock(now);
        if response.status() == 429 {
            self.pacing.handle_too_many_requests(now, response.retry_after());
        }
        match exchange.0 {
            Inner::Login(exchange) => self.handle_login_response(exchange, response, now),
            Inner::Brokerage(exchange) => self.handle_brokerage_response(exchange, response, now),
            Inner::Own(exchange) => self.handle_own_response(exchange, response, now),
        }
    }

    /// Takes note that no response to the request of `exchange` will come: the connection failed, or the caller's patience
    /// ended. Dropping the exchange says the same.
    pub fn handle_no_response(&mut self, exchange: ClientExchange, now: UnixTime) {
        self.follow_clock(now);
        let ended = match &exchange.0 {
            Inner::Own(own) => self.requests.in_flight(own).map(|own| own.ticket),
            Inner::Login(_) | Inner::Brokerage(_) => None,
        };
        drop(exchange);
        if let Some(ticket) = ended {
            self.requests.remove(ticket);
            self.finish(ticket, Outcome::NoResponse);
        }
    }

    fn handle_login_response(
        &mut self,
        exchange: Exchange,
        response: &Response<'_>,
        now: UnixTime,
    ) -> Result<(), Misuse> {
        match self.oauth.handle_response(exchange, response, now) {
            Err(Error::Misuse(misuse)) => return Err(misuse),
            Err(error) => self.login_failed(error, now),
            Ok(phase) => {
                self.logins.note_succeeded(now);
                self.note_phase(phase, now);
            }
        }
        Ok(())
    }

    pub(super) fn note_phase(&mut self, phase: Phase, now: UnixTime) {
        match phase {
            Phase::Unauthorized => {}
            Phase::RequestToken => {
                let url = self.oauth.consent_url().map(super::ConsentUrl);
                self.events.extend(url.map(|url| Event::ConsentNeeded { url }));
            }
            Phase::AccessToken if self.token().is_none() => self.events.push_back(Event::AccessTokenGranted),
            // The caller logged out while the response was on its way.
            Phase::AccessToken | Phase::LiveSession if self.goal == Goal::LoggedOut => self.forget_token(),
            // Back at the access token: the live session token took a day on its way and has expired.
            Phase::AccessToken | Phase::LiveSession => {
                self.health.note_born(now);
                self.publish();
                let until = self.oauth.live(now).map(LiveSession::expires_at);
                self.events.extend(until.map(|until| Event::LoggedIn { until }));
                // Whatever was rejected was signed with the token before.
                self.note_repaired(|repair| matches!(repair, Repair::Login | Repair::Verdict { .. }));
            }
        }
    }

    fn handle_brokerage_response(
        &mut self,
        exchange: BrokerageExchange,
        response: &Response<'_>,
        now: UnixTime,
    ) -> Result<(), Misuse> {
        if !self.brokerage.awaits(&exchange) {
            return Err(Misuse::StaleExchange);
        }
        let receipt = exchange.receipt;
        let is_old_token = receipt.token() != self.token();
        if is_old_token && !response.is_success() {
            // The token that signed is replaced already.
            return Ok(());
        }
        let is_tickle = exchange.is_tickle();
        let evidence = TokenEvidence::of(response);
        match self.brokerage.handle_response(exchange, response, now)? {
            BrokerageEvent::LiveSessionRejected => self.token_died(now),
            BrokerageEvent::Failed { error, next_attempt, .. } => {
                let is_unusable = error.diagnosis().is_none_or(|what| what == Diagnosis::TickleFailed);
                self.health.note(if is_unusable { TokenEvidence::NotServed } else { evidence }, now);
                self.events.push_back(Event::BrokerageFailed { error, next_attempt });
            }
            BrokerageEvent::LoggedOut if self.goal != Goal::LoggedIn => self.logged_out(),
            event => {
                if event == BrokerageEvent::Contested {
                    self.events.push_back(Event::BrokerageContested);
                }
                if is_tickle && let Some(token) = receipt.token() {
                    self.token_is_accepted(token, receipt.asked_at());
                }
                self.note_brokerage_success(receipt.asked_at(), now);
            }
        }
        Ok(())
    }

    /// Takes note that a request of the brokerage session, asked for at `asked_at`, succeeded.
    fn note_brokerage_success(&mut self, asked_at: UnixTime, now: UnixTime) {
        self.health.note(TokenEvidence::Accepted, now);
        if self.brokerage.phase(now) == BrokeragePhase::Ready {
            self.note_repaired(|repair| match repair {
                Repair::BrokerageSession { rejected_at } => *rejected_at <= asked_at,
                _ => false,
            });
        }
    }

    fn handle_own_response(
        &mut self,
        exchange: OwnExchange,
        response: &Response<'_>,
        now: UnixTime,
    ) -> Result<(), Misuse> {
        let own = self.requests.in_flight(&exchange).ok_or(Misuse::StaleExchange)?;
        let (ticket, trial) = (own.ticket, own.trial);
        let clock = self.oauth.consumer().identity().learn_clock(&exchange.receipt, response, now);
        self.health.note(TokenEvidence::of(response), now);
        if response.is_success() {
            self.requests.remove(ticket);
            if let Some(policy) = trial {
                self.has_tried_other_policy = true;
                self.oauth.set_query_policy(policy);
                self.publish();
                self.events.push_back(Event::QueryPolicyChanged(policy));
            }
            self.finish(ticket, Outcome::Responded(response.to_static()));
            return Ok(());
        }
        let error = clock.explain(response.rejected());
        self.own_rejected(&exchange, Rejection { error, response: response.to_static() }, now);
        Ok(())
    }

    /// A GET is repeated once, after what caused the rejection was repaired; everything else is reported.
    fn own_rejected(&mut self, exchange: &OwnExchange, rejection: Rejection, now: UnixTime) {
        let diagnosis = rejection.error.diagnosis().unwrap_or(Diagnosis::Unknown);
        let state = self.begin_repair(exchange, diagnosis, now);
        let Some(own) = self.requests.in_flight(exchange) else { return };
        let ticket = own.ticket;
        self.has_tried_other_policy |= own.trial.is_some() && diagnosis.rejects_live_session();
        match state.filter(|_| own.may_repeat) {
            Some(state) => own.put_off(rejection, state),
            None => {
                self.requests.remove(ticket);
                self.finish(ticket, rejection.into());
            }
        }
    }

    /// Begins to repair what caused a rejection, and returns the state in which a GET waits until it is repeated. `None` if
    /// nothing can be repaired.
    fn begin_repair(&mut self, exchange: &OwnExchange, diagnosis: Diagnosis, now: UnixTime) -> Option<State> {
        let token = exchange.receipt.token()?;
        match diagnosis {
            // Repaired already: the clock has learned from this very response.
            Diagnosis::ClockOff => Some(State::Queued),
            Diagnosis::NoBridge if self.wants_brokerage_session => {
                self.brokerage.doubt();
                Some(State::AwaitsRepair(Repair::BrokerageSession { rejected_at: now }))
            }
            other => other.rejects_live_session().then(|| self.suspect_token(token, now)),
        }
    }

    /// The same, where the rejection may be because of the `token` that signed.
    fn suspect_token(&mut self, token: TokenId, now: UnixTime) -> State {
        let Some(current) = self.token() else {
            return State::AwaitsRepair(Repair::Login);
        };
        if current != token {
            return State::Queued;
        }
        self.probe.is_wanted = true;
        let policy = self.oauth.query_policy();
        State::AwaitsRepair(Repair::Verdict { rejected_at: now, token, policy })
    }

    /// Which live session token there is.
    pub(super) fn token(&self) -> Option<TokenId> {
        self.oauth.stored_live().map(LiveSession::id)
    }

    /// A tickle that was asked for at `asked_at` was accepted: requests that were rejected before were not rejected because
    /// of the token.
    fn token_is_accepted(&mut self, token: TokenId, asked_at: UnixTime) {
        let policy = self.oauth.query_policy();
        let is_trying = self.requests.iter_mut().any(|own| own.trial.is_some());
        let mut may_try =
            !is_trying && !self.has_tried_other_policy && self.consumer().identity().fixed_query_policy().is_none();
        let mut rejected = alloc::vec::Vec::new();
        for own in self.requests.iter_mut() {
            let State::AwaitsRepair(Repair::Verdict { rejected_at, token: of, policy: was }) = &own.state else {
                continue;
            };
            if *of != token || *rejected_at > asked_at {
                continue;
            }
            if own.request.has_query() && *was != policy {
                own.repeat();
            } else if own.request.has_query() && may_try {
                may_try = false;
                own.trial = Some(policy.other());
                own.repeat();
            } else {
                own.note_request_rejected();
                rejected.push(own.ticket);
            }
        }
        for ticket in rejected {
            if let Some(own) = self.requests.remove(ticket) {
                self.finish(ticket, own.outcome(NotSent::Deadline { retry_at: None }));
            }
        }
    }

    /// Repeats what waited for this.
    pub(super) fn note_repaired(&mut self, is_repaired: impl Fn(&Repair) -> bool) {
        for own in self.requests.iter_mut() {
            if matches!(&own.state, State::AwaitsRepair(repair) if is_repaired(repair)) {
                own.repeat();
            }
        }
    }

    /// A request of the client's own was rejected because of the token.
    fn token_died(&mut self, now: UnixTime) {
        let born = self.oauth.stored_live().map(LiveSession::obtained_at);
        if born.is_some_and(|born| self.logins.note_death(born, now)) {
            self.events.push_back(Event::LoginContested);
        }
        self.forget_token();
    }

    /// Nothing signs with the token any more.
    pub(super) fn forget_token(&mut self) {
        if let Some(token) = self.token() {
            self.oauth.forget_token(token);
        }
        self.publish();
        for own in self.requests.iter_mut() {
            if let State::AwaitsRepair(repair @ Repair::Verdict { .. }) = &mut own.state {
                *repair = Repair::Login;
            }
        }
    }

    pub(super) fn logged_out(&mut self) {
        self.goal = Goal::LoggedOut;
        self.forget_token();
        self.brokerage.end();
        self.events.push_back(Event::LoggedOut);
    }

    /// Takes in what the responses to requests signed beside the client have said.
    pub(super) fn take_signer_reports(&mut self, now: UnixTime) {
        let report = self.signer.take_report();
        let current = self.token();
        if current.is_some() && report.accepted == current {
            self.health.note(TokenEvidence::Accepted, now);
        }
        if current.is_some() && report.not_served == current {
            self.health.note(TokenEvidence::NotServed, now);
        }
        self.probe.is_wanted |= current.is_some() && report.rejected == current;
        if report.has_no_bridge {
            self.brokerage.doubt();
        }
    }
}
