//! The clients, on one thread and one virtual clock. They do as the crate advises and nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ibkr_oauth::{
    ApiRequest, Backoff, Error, Exchange, LiveSession, OAuthSession, Outbound, Receipt, Request, Response, Retry,
    UnixTime,
};
use mio::{Events, Poll, Token};
use rand::rngs::StdRng;
use rustls::{ClientConfig, RootCertStore};

use crate::connections::{Call, wait};
use crate::support::NOW;
use crate::wire::Wire;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// From one request to the API to the next.
const REST: Duration = Duration::from_secs(8 * 60 * 60);
/// So many start together; the next ones a minute later.
const COHORT: usize = 50;
/// What a client waits for that has given up.
const NEVER: UnixTime = UnixTime::from_millis(u64::MAX);
/// In real time: how long nothing must happen before it is clear that nothing will.
const SILENCE: Duration = Duration::from_millis(5);
/// In real time: how long all may take.
const TIME_LIMIT: Duration = Duration::from_secs(600);

pub struct Fleet<'w> {
    wire: &'w Wire,
    clients: Vec<Client>,
    poll: Poll,
    /// Not used: the wire is plain.
    tls: Arc<ClientConfig>,
    sent: usize,
}

struct Client {
    session: OAuthSession,
    rng: StdRng,
    backoff: Backoff,
    in_flight: Option<InFlight>,
    /// Not before this does it ask anything.
    pause_until: UnixTime,
    tickle_at: UnixTime,
    /// Those that were accepted.
    tickles: u64,
    last_error: Option<Error>,
}

struct InFlight {
    purpose: Purpose,
    call: Call,
    deadline: UnixTime,
}

enum Purpose {
    LogIn(Exchange),
    Tickle(LiveSession, Receipt),
}

impl<'w> Fleet<'w> {
    pub fn new(sessions: Vec<(OAuthSession, StdRng)>, wire: &'w Wire) -> Self {
        let start = |index: usize| {
            let minutes = u32::try_from(index / COHORT).unwrap();
            wire.now().saturating_add(Duration::from_secs(60) * minutes)
        };
        let client = |(index, (session, rng))| Client::new(session, rng, start(index));
        let clients = sessions.into_iter().enumerate().map(client).collect();
        let tls = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        Self { wire, clients, poll: Poll::new().unwrap(), tls: Arc::new(tls), sent: 0 }
    }

    /// Returns what is wrong with the clients that are not live then, or have had fewer API requests accepted than
    /// there was time for.
    pub fn live_until(mut self, end: UnixTime) -> Vec<String> {
        let started = Instant::now();
        while self.wire.now() < end {
            assert!(started.elapsed() < TIME_LIMIT, "it does not end");
            self.do_what_is_due();
            if !self.take_answers() && self.wire.answered() == self.sent {
                self.wire.advance_to(self.next_moment().min(end));
            }
        }
        self.complaints(end)
    }

    fn complaints(&self, now: UnixTime) -> Vec<String> {
        let due = now.saturating_since(NOW).as_secs() / REST.as_secs();
        let unwell = |client: &&Client| client.session.live(now).is_none() || client.tickles <= due;
        self.clients.iter().filter(unwell).map(|client| client.complaint(now)).collect()
    }

    fn do_what_is_due(&mut self) {
        let now = self.wire.now();
        for (index, client) in self.clients.iter_mut().enumerate().filter(|(_, client)| client.next_moment() <= now) {
            if client.in_flight.is_some() {
                client.conclude(None, now);
            } else if let Some((request, purpose)) = client.next_request(now) {
                let call = Call::start(&request, self.poll.registry(), Token(index), &self.tls).unwrap();
                client.in_flight = Some(InFlight { purpose, call, deadline: now.saturating_add(PATIENCE) });
                self.sent += 1;
            }
        }
    }

    /// Whether there was anything to do.
    fn take_answers(&mut self) -> bool {
        if self.clients.iter().all(|client| client.in_flight.is_none()) {
            return false;
        }
        let mut events = Events::with_capacity(COHORT);
        wait(&mut self.poll, &mut events, Some(SILENCE)).unwrap();
        for event in &events {
            self.clients[event.token().0].handle_readiness(self.wire.now());
        }
        !events.is_empty()
    }

    fn next_moment(&self) -> UnixTime {
        let clients = self.clients.iter().map(Client::next_moment);
        clients.chain(self.wire.next_arrival()).min().unwrap()
    }
}

/// With nobody left to be served, the server stops.
impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        self.wire.stop();
    }
}

impl Client {
    fn new(session: OAuthSession, rng: StdRng, start: UnixTime) -> Self {
        Self {
            session,
            rng,
            backoff: Backoff::default(),
            in_flight: None,
            pause_until: start,
            tickle_at: start,
            tickles: 0,
            last_error: None,
        }
    }

    fn next_moment(&self) -> UnixTime {
        match &self.in_flight {
            Some(in_flight) => in_flight.deadline,
            None => self.session.poll_timeout().into_iter().fold(self.tickle_at, UnixTime::min).max(self.pause_until),
        }
    }

    /// The session comes first: its token may have to be refreshed.
    fn next_request(&mut self, now: UnixTime) -> Option<(Request, Purpose)> {
        if let Some(Outbound { request, exchange }) = self.session.poll_request(&mut self.rng, now).unwrap() {
            return Some((request, Purpose::LogIn(exchange)));
        }
        let live = self.session.live(now).filter(|_| self.tickle_at <= now)?;
        let request = live.sign(&ApiRequest::post("/tickle"), &mut self.rng, now).unwrap();
        let receipt = request.receipt();
        Some((request, Purpose::Tickle(live.clone(), receipt)))
    }

    fn handle_readiness(&mut self, now: UnixTime) {
        let Some(in_flight) = &mut self.in_flight else { return };
        match in_flight.call.advance() {
            Ok(None) => {}
            Ok(Some(response)) => self.conclude(Some(response), now),
            Err(_) => self.conclude(None, now),
        }
    }

    /// With the answer, if one came.
    fn conclude(&mut self, response: Option<Response<'static>>, now: UnixTime) {
        let Some(InFlight { purpose, .. }) = self.in_flight.take() else { return };
        let retry = match response.map(|response| self.take(purpose, response, now)) {
            Some(Ok(())) => return self.backoff.reset(),
            Some(Err(error)) => {
                let retry = error.retry(now);
                self.last_error = Some(error);
                retry
            }
            None => Retry::Again,
        };
        self.pause_until = self.backoff.next_attempt(retry, &mut self.rng, now).unwrap_or(NEVER);
    }

    fn take(&mut self, purpose: Purpose, response: Response<'static>, now: UnixTime) -> Result<(), Error> {
        match purpose {
            Purpose::LogIn(exchange) => self.session.handle_response(exchange, &response, now).map(drop),
            Purpose::Tickle(live, receipt) => {
                let outcome = live.handle_response(receipt, &response, now);
                match &outcome {
                    Ok(()) => {
                        self.tickles += 1;
                        self.tickle_at = now.saturating_add(REST);
                    }
                    Err(Error::Rejected(rejected)) if rejected.diagnosis.rejects_live_session() => {
                        self.session.invalidate(&live);
                    }
                    Err(_) => {}
                }
                outcome
            }
        }
    }

    fn complaint(&self, now: UnixTime) -> String {
        let (phase, tickles) = (self.session.phase(now), self.tickles);
        let last_error = self.last_error.as_ref().map(Error::to_string).unwrap_or_default();
        format!("{phase:?} after {tickles} tickles: {last_error}")
    }
}
