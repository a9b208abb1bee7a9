//! The caller's own requests: a bounded queue, paced, each with a deadline.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::exchange::OwnExchange;
use super::output::{NotSent, Outcome};
use super::request_ticket::RequestTicket;
use crate::advice::diagnosis::Diagnosis;
use crate::agreement::live_session_token::TokenId;
use crate::error::Error;
use crate::signing::policy::QueryPolicy;
use crate::ticket::{Awaited, Ticket};
use crate::time::UnixTime;
use crate::wire::api_request::{ApiRequest, Body, Query};
use crate::wire::method::Method;
use crate::wire::receipt::Receipt;
use crate::wire::response::Response;

/// An [`ApiRequest`] that owns its texts.
pub(super) struct OwnedRequest {
    method: Method,
    path: String,
    query: OwnedQuery,
    body: OwnedBody,
}

type OwnedPairs = Vec<(String, String)>;

enum OwnedQuery {
    Pairs(OwnedPairs),
    Raw(String),
    Verbatim(String),
}

enum OwnedBody {
    None,
    Form(OwnedPairs),
    Json(Vec<u8>),
    Typed { content_type: String, bytes: Vec<u8> },
}

fn owned(pairs: &[(&str, &str)]) -> OwnedPairs {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn borrowed(pairs: &OwnedPairs) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

impl OwnedRequest {
    pub(super) fn new(request: &ApiRequest<'_>) -> Self {
        Self {
            method: request.method(),
            path: request.path().to_string(),
            query: match request.query {
                Query::Pairs(pairs) => OwnedQuery::Pairs(owned(pairs)),
                Query::Raw(query) => OwnedQuery::Raw(query.to_string()),
                Query::Verbatim(query) => OwnedQuery::Verbatim(query.to_string()),
            },
            body: match request.body {
                Body::None => OwnedBody::None,
                Body::Form(pairs) => OwnedBody::Form(owned(pairs)),
                Body::Json(json) => OwnedBody::Json(json.to_vec()),
                Body::Typed { content_type, bytes } => {
                    OwnedBody::Typed { content_type: content_type.to_string(), bytes: bytes.to_vec() }
                }
            },
        }
    }

    /// Calls `use_request` with the request as it was handed over.
    pub(super) fn with_borrowed<T>(&self, use_request: impl FnOnce(&ApiRequest<'_>) -> T) -> T {
        let request = ApiRequest::new(self.method, &self.path);
        let pairs;
        let request = match &self.query {
            OwnedQuery::Pairs(query) => {
                pairs = borrowed(query);
                request.query(&pairs)
            }
            OwnedQuery::Raw(query) => request.raw_query(query),
            OwnedQuery::Verbatim(query) => request.verbatim_query(query),
        };
        match &self.body {
            OwnedBody::None => use_request(&request),
            OwnedBody::Form(form) => use_request(&request.form(&borrowed(form))),
            OwnedBody::Json(json) => use_request(&request.json(json)),
            OwnedBody::Typed { content_type, bytes } => use_request(&request.body(content_type, bytes)),
        }
    }

    /// Whether it changes nothing at the server: a GET.
    pub(super) fn is_safe(&self) -> bool {
        self.method == Method::Get
    }

    pub(super) fn has_query(&self) -> bool {
        match &self.query {
            OwnedQuery::Pairs(pairs) => !pairs.is_empty(),
            OwnedQuery::Raw(query) | OwnedQuery::Verbatim(query) => !query.is_empty(),
        }
    }

    pub(super) fn needs_brokerage_session(&self) -> bool {
        needs_brokerage_session(&self.path)
    }
}

/// Whether a brokerage session is needed for a path: `/iserver`, but for what opens one.
pub(super) fn needs_brokerage_session(path: &str) -> bool {
    path.starts_with("/iserver/") && !path.starts_with("/iserver/auth/")
}

/// One of the caller's own requests, from the queue to its outcome.
pub(super) struct OwnRequest {
    pub(super) ticket: RequestTicket,
    pub(super) request: OwnedRequest,
    deadline: UnixTime,
    pub(super) state: State,
    /// Whether it may be sent a second time: a GET once, and nothing after a log-out.
    pub(super) may_repeat: bool,
    /// How the first attempt was rejected.
    rejection: Option<Rejection>,
    /// The policy to sign with, where it is tried out; else the session's.
    pub(super) trial: Option<QueryPolicy>,
}

pub(super) enum State {
    Queued,
    InFlight(Awaited),
    /// Rejected, and repeated after this.
    AwaitsRepair(Repair),
}

/// What must be repaired before a rejected GET is repeated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repair {
    /// First it must be known whether the live session token still counts: a tickle asked for after this moment tells.
    Verdict { rejected_at: UnixTime, token: TokenId, policy: QueryPolicy },
    /// A new live session token.
    Login,
    /// A brokerage session.
    BrokerageSession { rejected_at: UnixTime },
}

pub(super) struct Rejection {
    pub(super) error: Error,
    pub(super) response: Response<'static>,
}

impl From<Rejection> for Outcome {
    fn from(Rejection { error, response }: Rejection) -> Self {
        Self::Rejected { error, response }
    }
}

/// All of them, in the order in which they were handed over.
pub(super) struct OwnRequests {
    requests: VecDeque<OwnRequest>,
    next_ticket: u64,
    limit: usize,
    patience: Duration,
}

/// Most requests at once, and how long each may take, unless set otherwise.
const LIMIT: usize = 256;
const PATIENCE: Duration = Duration::from_secs(60);

impl Default for OwnRequests {
    fn default() -> Self {
        Self { requests: VecDeque::new(), next_ticket: 0, limit: LIMIT, patience: PATIENCE }
    }
}

impl OwnRequests {
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The deadline of a request that is handed over at `now`.
    pub(super) fn deadline(&self, now: UnixTime) -> UnixTime {
        now.saturating_add(self.patience)
    }

    /// Puts a request that was checked into the queue.
    pub(super) fn push(&mut self, request: &ApiRequest<'_>, now: UnixTime) -> Result<RequestTicket, Error> {
        if self.requests.len() >= self.limit {
            return Err(Error::QueueFull { limit: self.limit });
        }
        let ticket = RequestTicket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.requests.push_back(OwnRequest {
            ticket,
            request: OwnedRequest::new(request),
            deadline: self.deadline(now),
            state: State::Queued,
            may_repeat: request.method() == Method::Get,
            rejection: None,
            trial: None,
        });
        Ok(ticket)
    }

    /// Takes a request back that has not gone out.
    pub(super) fn cancel(&mut self, ticket: RequestTicket) -> bool {
        let waits = |own: &OwnRequest| own.ticket == ticket && !matches!(own.state, State::InFlight(_));
        let position = self.requests.iter().position(waits);
        position.is_some_and(|position| self.requests.remove(position).is_some())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut OwnRequest> {
        self.requests.iter_mut()
    }

    /// Whether any request is on its way.
    pub(super) fn are_in_flight(&self) -> bool {
        self.requests.iter().any(|own| matches!(&own.state, State::InFlight(awaited) if awaited.deadline().is_some()))
    }

    /// The request that is in flight with `exchange`.
    pub(super) fn in_flight(&mut self, exchange: &OwnExchange) -> Option<&mut OwnRequest> {
        let is_it =
            |own: &&mut OwnRequest| matches!(&own.state, State::InFlight(awaited) if awaited.is(&exchange.ticket));
        self.requests.iter_mut().find(is_it)
    }

    /// Ends the request of `ticket` and returns it.
    pub(super) fn remove(&mut self, ticket: RequestTicket) -> Option<OwnRequest> {
        let position = self.requests.iter().position(|own| own.ticket == ticket)?;
        self.requests.remove(position)
    }

    /// Ends what is over at `now`: past its deadline, or in flight with an exchange that was dropped.
    pub(super) fn take_overdue(&mut self, now: UnixTime) -> VecDeque<OwnRequest> {
        if !self.requests.iter().any(|own| own.is_over(now)) {
            return VecDeque::new();
        }
        let (overdue, kept) = self.requests.drain(..).partition(|own| own.is_over(now));
        self.requests = kept;
        overdue
    }

    /// Ends all that is not in flight, and what is in flight goes out no second time.
    pub(super) fn take_unsent(&mut self) -> Vec<(RequestTicket, Outcome)> {
        let (mut in_flight, unsent): (VecDeque<OwnRequest>, VecDeque<OwnRequest>) =
            self.requests.drain(..).partition(|own| matches!(own.state, State::InFlight(_)));
        in_flight.iter_mut().for_each(|own| own.may_repeat = false);
        self.requests = in_flight;
        unsent.into_iter().map(|own| (own.ticket, own.outcome(NotSent::LoggedOut))).collect()
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<UnixTime> {
        self.requests.iter().map(|own| own.deadline).min()
    }

    /// Moves the deadlines along with a clock that went back.
    pub(super) fn set_back(&mut self, by: Duration) {
        for own in &mut self.requests {
            own.deadline = own.deadline.saturating_sub(by);
            if let State::AwaitsRepair(repair) = &mut own.state
                && let Repair::Verdict { rejected_at, .. } | Repair::BrokerageSession { rejected_at } = repair
            {
                *rejected_at = rejected_at.saturating_sub(by);
            }
        }
    }
}

impl OwnRequest {
    /// Goes out now, signed with the token of `receipt`.
    pub(super) fn send(&mut self, receipt: Receipt, now: UnixTime) -> OwnExchange {
        let mut awaited = Awaited::default();
        let ticket: Ticket = awaited.issue(self.deadline.saturating_since(now), now);
        self.state = State::InFlight(awaited);
        OwnExchange { request: self.ticket, ticket, receipt }
    }

    /// Stays after a rejection, for the only repetition.
    pub(super) fn put_off(&mut self, rejection: Rejection, state: State) {
        self.may_repeat = false;
        self.rejection = Some(rejection);
        self.state = state;
    }

    /// Goes back into the queue: what was wrong is repaired.
    pub(super) fn repeat(&mut self) {
        self.state = State::Queued;
    }

    /// Takes note that only this request was rejected, and not the token that signed it.
    pub(super) fn note_request_rejected(&mut self) {
        if let Some(Rejection { error: Error::Rejected(rejected), .. }) = &mut self.rejection {
            rejected.diagnosis = Diagnosis::RequestRejected;
        }
    }

    fn is_over(&self, now: UnixTime) -> bool {
        let was_dropped = matches!(&self.state, State::InFlight(awaited) if awaited.deadline().is_none());
        was_dropped || now >= self.deadline
    }

    /// The outcome of a request that ends here; `reason` is used if it was never sent.
    pub(super) fn outcome(self, reason: NotSent) -> Outcome {
        match (self.state, self.rejection) {
            (State::InFlight(_), _) => Outcome::NoResponse,
            (_, Some(rejection)) => rejection.into(),
            (_, None) => Outcome::NotSent(reason),
        }
    }
}
