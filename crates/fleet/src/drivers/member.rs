//! A member on tokio.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::performed;
use crate::member::{Event, Exchange, Member, Output};
use crate::store::Answer;
use crate::stores::Store;

/// Runs a [`Member`] over a store. Call [`next`](Self::next) again and again: the lease is renewed only while somebody does.
pub struct MemberDriver<S> {
    shared: Arc<Shared>,
    store: Arc<S>,
    under_way: JoinSet<(Exchange, Answer)>,
    /// For each shard that is this member's. Dropped when it is lost, which all its tenures see.
    terms: BTreeMap<usize, watch::Sender<()>>,
}

struct Shared {
    member: Mutex<Member>,
    begin: Instant,
}

/// The time during which a shard is a member's, from one [`Event::Gained`] to the next [`Event::Lost`]. Cheap to clone; asked
/// at any time and from any task.
#[derive(Clone)]
pub struct Tenure {
    shared: Arc<Shared>,
    shard: usize,
    term: watch::Receiver<()>,
}

impl<S: Store + Send + Sync + 'static> MemberDriver<S> {
    /// Returns a driver of `member`, which has not been polled yet.
    pub fn new(member: Member, store: Arc<S>) -> Self {
        let shared = Arc::new(Shared { member: Mutex::new(member), begin: Instant::now() });
        Self { shared, store, under_way: JoinSet::new(), terms: BTreeMap::new() }
    }

    /// Returns what happens next. Act on [`Event::Lost`] before you call this again; an [`OwnerDriver`](super::OwnerDriver) ends
    /// by itself. Nothing follows [`Event::Left`].
    pub async fn next(&mut self) -> Event {
        loop {
            let output = self.shared.member().poll(self.shared.begin.elapsed());
            match output {
                Output::Event(event) => {
                    self.note(&event);
                    return event;
                }
                Output::Store { operation, exchange } => {
                    let answer = performed(&self.store, operation);
                    self.under_way.spawn(async move { (exchange, answer.await) });
                }
                // `None`: after so long that no clock reaches it.
                Output::Wait(until) => match self.shared.begin.checked_add(until) {
                    Some(until) => self.wait(sleep_until(until)).await,
                    None => self.wait(std::future::pending()).await,
                },
            }
        }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Gained { shards, .. } => {
                self.terms.extend(shards.iter().map(|shard| (*shard, watch::Sender::new(()))))
            }
            Event::Lost { shards } => self.terms.retain(|shard, _| !shards.contains(shard)),
            _ => {}
        }
    }

    async fn wait(&mut self, timer: impl Future<Output = ()>) {
        tokio::select! {
            () = timer => {}
            Some(Ok((exchange, answer))) = self.under_way.join_next() => {
                self.shared.member().handle_answer(exchange, answer, self.shared.begin.elapsed());
            }
        }
    }

    /// Leaves the fleet, as [`Member::leave`] does. Call [`next`](Self::next) until [`Event::Left`].
    pub fn leave(&mut self) {
        self.shared.member().leave();
    }

    /// Returns the tenure of a shard that has just been gained. That of any other shard has ended.
    pub fn tenure(&self, shard: usize) -> Tenure {
        let term = self.terms.get(&shard).map_or_else(|| watch::Sender::new(()).subscribe(), watch::Sender::subscribe);
        Tenure { shared: Arc::clone(&self.shared), shard, term }
    }
}

impl Tenure {
    /// Returns whether the shard is the member's now, as [`Member::owns`] does, and has been since it was gained.
    pub fn holds(&self) -> bool {
        !self.has_ended() && self.shared.member().owns(self.shard, self.shared.begin.elapsed())
    }

    /// Returns whether the member was told that the shard is lost.
    pub fn has_ended(&self) -> bool {
        self.term.has_changed().is_err()
    }

    /// Waits until that is so.
    pub async fn end(&mut self) {
        // Nothing is ever sent: what is received is the end.
        while self.term.changed().await.is_ok() {}
    }
}

impl Shared {
    fn member(&self) -> MutexGuard<'_, Member> {
        self.member.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> fmt::Debug for MemberDriver<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemberDriver").field(&self.shared.member()).finish()
    }
}

impl fmt::Debug for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenure").field("shard", &self.shard).finish_non_exhaustive()
    }
}
