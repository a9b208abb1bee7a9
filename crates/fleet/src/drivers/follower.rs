//! A follower on tokio.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a driver reads the time of day")]

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use ibkr_oauth::{Followed, Follower, FollowerOutput, Question, Signer, SnapshotError, UnixTime};
use tokio::time::sleep;

use super::performed;
use crate::secrecy::Secrecy;
use crate::store::{Answer, Operation};
use crate::stores::Store;

/// Runs a [`Follower`] that looks into a store for what the user's owner keeps there. While the store does not answer, its
/// signers go on with what they have.
pub struct FollowerDriver<S> {
    follower: Follower,
    store: Arc<S>,
    key: String,
    secrecy: Secrecy,
}

/// What happened to a follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FollowerEvent {
    /// The signers have another token than before.
    Followed,
    /// The owner has logged out, or nothing is stored: nothing is signed.
    NoSession,
    /// What is stored is not of this follower's consumer, or damaged: nothing has changed.
    Refused(SnapshotError),
    /// The store has no other token than the one that was refused. Hand the question to
    /// [`Owner::handle_question`](crate::Owner::handle_question) if you have a way there; without one, the owner finds out by
    /// its next tickle, within a minute.
    Asked(Question),
}

impl<S: Store + Send + Sync + 'static> FollowerDriver<S> {
    /// Returns a driver that looks under `key`: that of the user's [`Owner`](crate::Owner).
    pub fn new(follower: Follower, store: Arc<S>, key: &str, secrecy: Secrecy) -> Self {
        Self { follower, store, key: key.to_string(), secrecy }
    }

    /// Returns a handle that signs, as [`Follower::signer`] does.
    pub fn signer(&self) -> Signer {
        self.follower.signer()
    }

    /// Returns what happens next. Call it anew after a refused request: else that is seen within a minute.
    pub async fn next(&mut self) -> FollowerEvent {
        loop {
            match self.follower.poll(now()) {
                FollowerOutput::Wait(until) => sleep(until.saturating_since(now())).await,
                FollowerOutput::Ask(question) => {
                    let answer = performed(&self.store, Operation::Read(vec![self.key.clone()])).await;
                    if let Some(event) = self.answered(question, answer) {
                        return event;
                    }
                }
            }
        }
    }

    fn answered(&mut self, question: Question, answer: Answer) -> Option<FollowerEvent> {
        let Answer::Entries(entries) = answer else { return None };
        let entry = entries.into_iter().next().flatten();
        let Some(shared) = entry.and_then(|entry| self.secrecy.shared(&self.key, &entry)) else {
            let had_one = self.follower.generation().is_some();
            self.follower.handle_no_session();
            return had_one.then_some(FollowerEvent::NoSession);
        };
        match self.follower.follow(&shared, now()) {
            Ok(Followed::New) => Some(FollowerEvent::Followed),
            Ok(Followed::Same | Followed::Stale) => question.is_rejected().then_some(FollowerEvent::Asked(question)),
            Err(error) => Some(FollowerEvent::Refused(error)),
        }
    }
}

fn now() -> UnixTime {
    UnixTime::from(SystemTime::now())
}

impl<S> fmt::Debug for FollowerDriver<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowerDriver")
            .field("key", &self.key)
            .field("follower", &self.follower)
            .finish_non_exhaustive()
    }
}
