//! An owner on tokio.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a driver reads the time of day")]

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ibkr_oauth::rand_core::CryptoRng;
use ibkr_oauth::{ClientExchange, Request, Response, UnixTime};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::member::Tenure;
use super::performed;
use crate::keeper::KeeperExchange;
use crate::owner::{Owner, OwnerEvent, OwnerOutput};
use crate::store::Answer;
use crate::stores::Store;

/// Runs an [`Owner`] over a store and an HTTP client of yours, while its member owns the shard: nothing is sent after that, but
/// a login that is under way is still stored, for the next owner.
pub struct OwnerDriver<S, F, R> {
    owner: Owner,
    tenure: Tenure,
    store: Arc<S>,
    send: F,
    rng: R,
    begin: Instant,
    under_way: JoinSet<Done>,
    is_superseded: bool,
}

enum Done {
    Stored(KeeperExchange, Answer),
    Sent(ClientExchange, Option<Response<'static>>),
}

impl<S, F, A, R> OwnerDriver<S, F, R>
where
    S: Store + Send + Sync + 'static,
    F: Fn(Request) -> A,
    A: Future<Output = Option<Response<'static>>> + Send + 'static,
    R: CryptoRng,
{
    /// Returns a driver of `owner`, which has not been polled yet. `send` sends a request once, without following redirects,
    /// and returns the response, or `None` if there was none. `tenure` is that of the user's shard.
    pub fn new(owner: Owner, tenure: Tenure, store: Arc<S>, send: F, rng: R) -> Self {
        Self { owner, tenure, store, send, rng, begin: Instant::now(), under_way: JoinSet::new(), is_superseded: false }
    }

    /// Returns the owner: for requests of your own through its client, for its signers, for followers' questions.
    pub fn owner(&mut self) -> &mut Owner {
        &mut self.owner
    }

    /// Returns what happens next; `None` when the tenure has ended, or another owner has followed, and nothing is under way.
    pub async fn next(&mut self) -> Option<OwnerEvent> {
        loop {
            match self.owner.poll(&mut self.rng, now(), self.begin.elapsed()) {
                OwnerOutput::Event(event) => {
                    self.is_superseded |= event == OwnerEvent::Superseded;
                    return Some(event);
                }
                OwnerOutput::Send { request, exchange } => self.send(request, exchange),
                OwnerOutput::Store { operation, exchange } => {
                    let answer = performed(&self.store, operation);
                    self.under_way.spawn(async move { Done::Stored(exchange, answer.await) });
                }
                OwnerOutput::Wait(_) if self.is_over() => return None,
                OwnerOutput::Wait(pause) => self.wait(pause).await,
            }
        }
    }

    fn is_over(&self) -> bool {
        self.under_way.is_empty() && (self.is_superseded || self.tenure.has_ended())
    }

    async fn wait(&mut self, pause: Duration) {
        let had_ended = self.tenure.has_ended();
        tokio::select! {
            () = sleep(pause) => {}
            () = self.tenure.end(), if !had_ended => {}
            Some(Ok(done)) = self.under_way.join_next() => self.take(done),
        }
    }

    fn send(&mut self, request: Request, exchange: ClientExchange) {
        if self.tenure.holds() {
            let response = (self.send)(request);
            self.under_way.spawn(async move { Done::Sent(exchange, response.await) });
        } else {
            self.owner.handle_no_response(exchange, now());
        }
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Stored(exchange, answer) => self.owner.handle_answer(exchange, answer, self.begin.elapsed()),
            // A response that is not awaited any more changes nothing.
            Done::Sent(exchange, Some(response)) => drop(self.owner.handle_response(exchange, &response, now())),
            Done::Sent(exchange, None) => self.owner.handle_no_response(exchange, now()),
        }
    }
}

fn now() -> UnixTime {
    UnixTime::from(SystemTime::now())
}

impl<S, F, R> fmt::Debug for OwnerDriver<S, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnerDriver").field(&self.owner).finish()
    }
}
