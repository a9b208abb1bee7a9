//! A budget on tokio.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::performed;
use crate::budget::{Budget, BudgetExchange, BudgetOutput};
use crate::store::Answer;
use crate::stores::Store;

/// Runs a [`Budget`] over a store, for any number of tasks, which are served in the order in which they ask.
pub struct BudgetDriver<S> {
    store: Arc<S>,
    begin: Instant,
    counter: Mutex<Counter>,
}

struct Counter {
    budget: Budget,
    under_way: JoinSet<(BudgetExchange, Answer)>,
}

impl<S: Store + Send + Sync + 'static> BudgetDriver<S> {
    /// Returns a driver of `budget`, of which nothing was taken yet.
    pub fn new(budget: Budget, store: Arc<S>) -> Self {
        let counter = Mutex::new(Counter { budget, under_way: JoinSet::new() });
        Self { store, begin: Instant::now(), counter }
    }

    /// Waits until a request may be sent, and returns true: send it at once. False if the store does not answer:
    /// [`Budget::is_cut_off`] says what to do then.
    pub async fn pay(&self) -> bool {
        let mut counter = self.counter.lock().await;
        let Counter { budget, under_way } = &mut *counter;
        let mut has_failed = false;
        loop {
            if budget.pay(self.begin.elapsed()) {
                return true;
            }
            if has_failed {
                return false;
            }
            match budget.poll(self.begin.elapsed()) {
                BudgetOutput::Store { operation, exchange } => {
                    let answer = performed(&self.store, operation);
                    under_way.spawn(async move { (exchange, answer.await) });
                }
                BudgetOutput::Wait(until) => {
                    let until = until.and_then(|until| self.begin.checked_add(until)).unwrap_or_else(Instant::now);
                    tokio::select! {
                        () = sleep_until(until) => {}
                        Some(Ok((exchange, answer))) = under_way.join_next() => {
                            budget.handle_answer(exchange, answer, self.begin.elapsed());
                            has_failed = budget.is_cut_off();
                        }
                    }
                }
            }
        }
    }
}

impl<S> fmt::Debug for BudgetDriver<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetDriver").finish_non_exhaustive()
    }
}
