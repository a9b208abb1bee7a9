//! A lock on tokio.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::performed;
use crate::lock::{Lock, LockExchange, LockOutput};
use crate::store::Answer;
use crate::stores::Store;

/// How long the store is told that a lock is free. If it does not hear, others wait for the takeover time.
const FAREWELL: Duration = Duration::from_secs(5);

/// Runs a [`Lock`] over a store, for any number of tasks of this process too.
pub(crate) struct LockDriver<S> {
    lock: Arc<Mutex<Lock>>,
    store: Arc<S>,
    begin: Instant,
}

/// While it is there the lock is held, and renewed; when it is dropped, the lock is given up.
#[derive(Debug)]
pub(crate) struct Held {
    _end: oneshot::Sender<()>,
}

impl<S: Store + Send + Sync + 'static> LockDriver<S> {
    /// Returns a driver of `lock`, which was not asked for yet.
    pub(crate) fn new(lock: Lock, store: Arc<S>) -> Self {
        Self { lock: Arc::new(Mutex::new(lock)), store, begin: Instant::now() }
    }

    /// Waits for the lock; `None` if it is not there after so long, because others have it or the store does not answer.
    pub(crate) async fn acquire(&self, patience: Duration) -> Option<Held> {
        let (granted, grant) = oneshot::channel();
        let lock = Arc::clone(&self.lock).lock_owned();
        let (store, begin) = (Arc::clone(&self.store), self.begin);
        // Apart from who waits: what is on its way to the store is not forgotten when nobody waits any more.
        tokio::spawn(
            async move { Tenant { lock: lock.await, store, begin, under_way: JoinSet::new() }.run(granted).await },
        );
        timeout(patience, grant).await.ok()?.ok()
    }
}

/// The one in this process that may have the lock.
struct Tenant<S> {
    lock: OwnedMutexGuard<Lock>,
    store: Arc<S>,
    begin: Instant,
    under_way: JoinSet<(LockExchange, Answer)>,
}

impl<S: Store + Send + Sync + 'static> Tenant<S> {
    /// Gets the lock, keeps it as long as it is wanted, and gives it up.
    async fn run(mut self, mut granted: oneshot::Sender<Held>) {
        if granted.is_closed() {
            return;
        }
        self.lock.acquire();
        let is_granted = tokio::select! {
            () = self.drive(Lock::holds) => true,
            () = granted.closed() => false,
        };
        let (end, ended) = oneshot::channel();
        if is_granted && granted.send(Held { _end: end }).is_ok() {
            tokio::select! {
                () = self.drive(|_, _| false) => {}
                _ = ended => {}
            }
        }
        self.lock.release();
        // What is not told by then is left to the takeover time.
        let _ = timeout(FAREWELL, self.drive(|lock, _| lock.is_idle())).await;
    }

    /// Does what the lock wants until it is as it should be. May be dropped: what is under way goes on.
    async fn drive(&mut self, is_so: impl Fn(&Lock, Duration) -> bool) {
        loop {
            let output = self.lock.poll(self.begin.elapsed());
            if is_so(&self.lock, self.begin.elapsed()) {
                return;
            }
            match output {
                LockOutput::Store { operation, exchange } => {
                    let answer = performed(&self.store, operation);
                    self.under_way.spawn(async move { (exchange, answer.await) });
                }
                LockOutput::Wait(until) => match until.and_then(|until| self.begin.checked_add(until)) {
                    Some(until) => self.wait(sleep_until(until)).await,
                    None => self.wait(std::future::pending()).await,
                },
            }
        }
    }

    async fn wait(&mut self, timer: impl Future<Output = ()>) {
        tokio::select! {
            () = timer => {}
            Some(Ok((exchange, answer))) = self.under_way.join_next() => {
                self.lock.handle_answer(exchange, answer, self.begin.elapsed());
            }
        }
    }
}
