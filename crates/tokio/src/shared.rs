//! The client, and who waits for it: what the driver and all handles share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ibkr_oauth::{ApiRequest, Client, ClientExchange, Outcome, Output, RequestTicket, Response, UnixTime};
use tokio::sync::{Notify, broadcast, oneshot, watch};

use crate::event::{Event, KEPT};
use crate::request::{NotSent, Rejection, RequestError};
use crate::status::{Activity, Ended, Status, WebSockets};
use crate::store::Login;
use crate::surroundings::{now, rng};
use crate::transport::TransportError;

/// How a request ended.
pub(crate) type RequestResult = Result<http::Response<Bytes>, RequestError>;

pub(crate) struct Shared {
    state: Mutex<State>,
    /// There may be something to do: the driver looks.
    wake: Notify,
    /// Something may have changed: handles that wait look.
    changed: watch::Sender<()>,
    events: broadcast::Sender<Event>,
}

pub(crate) struct State {
    pub(crate) client: Client,
    pub(crate) activity: Activity,
    waiting: HashMap<RequestTicket, Waiting>,
    /// Who waits for the end of a log-out.
    farewells: Vec<oneshot::Sender<()>>,
    tickled_at: Option<UnixTime>,
    web_sockets: WebSockets,
    /// A new token is being stored: until it is, nothing goes out.
    is_storing: bool,
}

/// Somebody who waits for a response.
struct Waiting {
    reply: oneshot::Sender<RequestResult>,
    /// The latest response, with all its headers.
    response: Option<http::Response<Bytes>>,
    failure: Option<TransportError>,
}

impl Shared {
    pub(crate) fn new(client: Client) -> Self {
        let state = State {
            client,
            activity: Activity::Running,
            waiting: HashMap::new(),
            farewells: Vec::new(),
            tickled_at: None,
            web_sockets: WebSockets::default(),
            is_storing: false,
        };
        Self {
            state: Mutex::new(state),
            wake: Notify::new(),
            changed: watch::Sender::new(()),
            events: broadcast::Sender::new(KEPT),
        }
    }

    pub(crate) fn look<T>(&self, sees: impl FnOnce(&State) -> T) -> T {
        sees(&self.lock())
    }

    /// Changes the state, and lets the driver see what follows.
    pub(crate) fn change<T>(&self, changes: impl FnOnce(&mut State) -> T) -> T {
        let result = changes(&mut self.lock());
        self.wake.notify_one();
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the client wants done; `None` while a token is being stored.
    pub(crate) fn poll(&self) -> Option<Output> {
        let mut state = self.lock();
        (!state.is_storing).then(|| state.client.poll(&mut rng(), now()))
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn tell(&self, event: Event) {
        // Nobody has to listen.
        let _ = self.events.send(event);
        self.changed.send_replace(());
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub(crate) fn status(&self) -> Status {
        self.lock().status(now())
    }

    /// Waits until `finds` finds something, looking again whenever something has changed.
    pub(crate) async fn find<T>(&self, mut finds: impl FnMut(&State) -> Option<T>) -> Result<T, Ended> {
        let mut changes = self.changed.subscribe();
        loop {
            changes.mark_unchanged();
            let (found, activity) = self.look(|state| (finds(state), state.activity));
            match found {
                Some(found) => return Ok(found),
                None if activity == Activity::ShutDown => return Err(Ended),
                None => changes.changed().await.map_err(|_| Ended)?,
            }
        }
    }

    /// Puts a request into the client's queue.
    pub(crate) fn begin(self: &Arc<Self>, request: &ApiRequest<'_>) -> Result<Pending, NotSent> {
        let (reply, result) = oneshot::channel();
        let ticket = self.change(|state| match state.activity {
            Activity::ShutDown => Err(NotSent::ShutDown),
            Activity::LoggingOut | Activity::LoggedOut => Err(NotSent::LoggedOut),
            Activity::Running | Activity::Stopped => {
                let now = now();
                let ticket = state.client.request(request, now).map_err(NotSent::Refused)?;
                if let Some(at) = state.client.beyond_deadline(request, now) {
                    state.client.cancel(ticket);
                    return Err(NotSent::Deadline { status: state.status(now), retry_at: Some(at) });
                }
                state.waiting.insert(ticket, Waiting { reply, response: None, failure: None });
                Ok(ticket)
            }
        })?;
        Ok(Pending { shared: Arc::clone(self), ticket, result })
    }

    /// Hands the client the response to a request, or the news that none will come.
    pub(crate) fn finish_exchange(
        &self,
        exchange: ClientExchange,
        response: Result<http::Response<Bytes>, TransportError>,
    ) {
        let is_own = exchange.request().is_some();
        let failure = self.change(|state| state.finish_exchange(exchange, response));
        match failure {
            Some(error) => self.tell(Event::NoResponse(error)),
            // A session id may be new, which is no event.
            None if !is_own => self.changed.send_replace(()),
            None => {}
        }
    }

    pub(crate) fn count_web_sockets(&self, counts: impl FnOnce(&mut WebSockets)) {
        counts(&mut self.lock().web_sockets);
        self.changed.send_replace(());
    }

    pub(crate) fn farewell_said(&self) {
        self.lock().farewells.clear();
    }

    pub(crate) fn note(&self, event: &ibkr_oauth::Event) {
        self.lock().note(event);
    }

    pub(crate) fn finish(&self, ticket: RequestTicket, outcome: Outcome) {
        self.lock().finish(ticket, outcome);
    }

    /// Nothing more will be done: who waits is told.
    pub(crate) fn end(&self) {
        self.lock().end();
        self.changed.send_replace(());
    }
}

impl State {
    pub(crate) fn status(&self, now: UnixTime) -> Status {
        Status {
            activity: self.activity,
            login: self.client.phase(now),
            brokerage: self.client.brokerage_phase(now),
            expires_at: self.client.live(now).map(ibkr_oauth::LiveSession::expires_at),
            clock_skew: self.client.clock_skew(),
            penalty_ends_at: self.client.penalty_ends_at(now),
            tickled_at: self.tickled_at,
            web_sockets: self.web_sockets,
        }
    }

    /// What there is to store.
    pub(crate) fn login(&self) -> Login {
        Login { snapshot: self.client.snapshot(), shared: self.client.shared(now()) }
    }

    pub(crate) fn note_tickled(&mut self) {
        self.tickled_at = Some(now());
    }

    pub(crate) fn set_storing(&mut self, is_storing: bool) {
        self.is_storing = is_storing;
    }

    /// Logs out, and returns what comes when that has happened, or will not happen any more.
    pub(crate) fn log_out(&mut self) -> oneshot::Receiver<()> {
        let (farewell, said) = oneshot::channel();
        if matches!(self.activity, Activity::Running | Activity::Stopped) {
            self.activity = Activity::LoggingOut;
            self.client.log_out(now());
        }
        if self.activity == Activity::LoggingOut {
            self.farewells.push(farewell);
        }
        said
    }

    /// Takes note of what an event means for what the client is about. It may be old: whoever logged out may have called
    /// `open` since.
    fn note(&mut self, event: &ibkr_oauth::Event) {
        self.activity = match (event, self.activity) {
            (ibkr_oauth::Event::LoggedOut, Activity::LoggingOut) => Activity::LoggedOut,
            (ibkr_oauth::Event::Stopped { .. }, Activity::Running) => Activity::Stopped,
            (ibkr_oauth::Event::LoggedIn { .. }, Activity::Stopped) => Activity::Running,
            (_, activity) => activity,
        };
    }

    /// Goes on, or begins again.
    pub(crate) fn run(&mut self) {
        if self.activity != Activity::ShutDown {
            self.activity = Activity::Running;
        }
        self.farewells.clear();
    }

    /// Returns why no response came, if nobody else is told.
    pub(crate) fn finish_exchange(
        &mut self,
        exchange: ClientExchange,
        response: Result<http::Response<Bytes>, TransportError>,
    ) -> Option<TransportError> {
        let ticket = exchange.request();
        match response {
            Ok(response) => {
                // A response that is not awaited any more changes nothing.
                let is_taken = self.client.handle_response(exchange, &Response::from(&response), now()).is_ok();
                if let Some(ticket) = ticket.filter(|_| is_taken) {
                    self.keep_for(ticket, |waiting| waiting.response = Some(response));
                }
                None
            }
            Err(error) => {
                self.client.handle_no_response(exchange, now());
                let Some(ticket) = ticket else { return Some(error) };
                self.keep_for(ticket, |waiting| waiting.failure = Some(error));
                None
            }
        }
    }

    /// A request that nobody waits for any more is not repeated, either.
    fn keep_for(&mut self, ticket: RequestTicket, keep: impl FnOnce(&mut Waiting)) {
        match self.waiting.get_mut(&ticket) {
            Some(waiting) => keep(waiting),
            None => {
                self.client.cancel(ticket);
            }
        }
    }

    fn finish(&mut self, ticket: RequestTicket, outcome: Outcome) {
        if let Some(Waiting { reply, response, failure }) = self.waiting.remove(&ticket) {
            // Whoever waited may be gone by now.
            let _ = reply.send(result_of(outcome, response, failure, || self.status(now())));
        }
    }

    fn give_up(&mut self, ticket: RequestTicket) {
        if self.waiting.remove(&ticket).is_some() {
            self.client.cancel(ticket);
        }
    }

    fn end(&mut self) {
        self.activity = Activity::ShutDown;
        self.farewells.clear();
        for (ticket, waiting) in std::mem::take(&mut self.waiting) {
            let error = match self.client.cancel(ticket) {
                true => RequestError::NotSent(NotSent::ShutDown),
                false => RequestError::NoResponse(TransportError::ShutDown),
            };
            let _ = waiting.reply.send(Err(error));
        }
    }
}

/// An outcome of the client's, with all headers of the response that it stands for.
fn result_of(
    outcome: Outcome,
    with_headers: Option<http::Response<Bytes>>,
    failure: Option<TransportError>,
    status: impl FnOnce() -> Status,
) -> RequestResult {
    let whole = |response: Response<'static>| with_headers.unwrap_or_else(|| without_headers(&response));
    match outcome {
        Outcome::Responded(response) => Ok(whole(response)),
        Outcome::Rejected { error, response } => {
            Err(RequestError::Rejected(Box::new(Rejection { error, response: whole(response) })))
        }
        Outcome::NotSent(reason) => Err(RequestError::NotSent(match reason {
            ibkr_oauth::NotSent::LoggedOut => NotSent::LoggedOut,
            ibkr_oauth::NotSent::Unsignable(error) => NotSent::Refused(error),
            ibkr_oauth::NotSent::Deadline { retry_at } => NotSent::Deadline { status: status(), retry_at },
            _ => NotSent::Deadline { status: status(), retry_at: None },
        })),
        _ => Err(match failure {
            Some(error) if error.nothing_went_out() => RequestError::NotSent(NotSent::NotConnected(error)),
            error => RequestError::NoResponse(error.unwrap_or(TransportError::Deadline)),
        }),
    }
}

fn without_headers(response: &Response<'_>) -> http::Response<Bytes> {
    let mut bare = http::Response::new(Bytes::copy_from_slice(response.body()));
    if let Ok(status) = http::StatusCode::from_u16(response.status()) {
        *bare.status_mut() = status;
    }
    bare
}

/// A request that is waiting, or under way. Dropping it takes it back if it has not gone out.
pub(crate) struct Pending {
    shared: Arc<Shared>,
    ticket: RequestTicket,
    result: oneshot::Receiver<RequestResult>,
}

impl Pending {
    pub(crate) async fn result(mut self) -> RequestResult {
        let ended = |_| Err(RequestError::NoResponse(TransportError::ShutDown));
        (&mut self.result).await.unwrap_or_else(ended)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.shared.change(|state| state.give_up(self.ticket));
    }
}
