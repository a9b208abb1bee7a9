//! A lock in the store, for equals of whom one at a time may log in.

use std::fmt;
use std::time::Duration;

use crate::store::{Answer, Entry, Operation};

/// How long an answer of the store is awaited.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two attempts while the store fails.
const RETRY: Duration = Duration::from_secs(1);
/// How often who waits looks whether the lock is free.
const LOOK: Duration = Duration::from_millis(200);
/// Whom a free lock belongs to.
const NOBODY: u128 = 0;
/// Who has written what cannot be read.
const SOMEBODY: u128 = u128::MAX;

/// Lets one of all who make a lock of the same key do something at a time, without IO. Who holds it renews it; who dies
/// while holding it is replaced after the takeover time.
///
/// `now` is elapsed time, of any beginning; no clocks are compared. A holder counts from the moment when it asked the store to
/// write, who waits from the moment when it first read that write: so the holder's time is over first. Who was stopped longer
/// than the takeover time finds out only when it runs again; so write what was done under the lock on the condition that
/// nobody else has written meanwhile.
///
/// While the store is down, nobody gets the lock, and who holds it loses it.
pub struct Lock {
    key: String,
    holder: u128,
    takeover: Duration,
    wish: Wish,
    held_until: Option<Duration>,
    /// As last read or written; `None` if there is no entry.
    version: Option<u64>,
    must_read: bool,
    /// Which version of another holder's is waited for, since when.
    watched: Option<(Option<u64>, Duration)>,
    due_at: Duration,
    in_flight: Option<(u64, Duration)>,
    exchanges: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Nothing,
    Hold,
    Release,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Read,
    Take,
    Free,
}

/// An operation that a lock waits for. If it is dropped, the lock goes on after a while.
#[derive(Debug)]
pub struct LockExchange {
    number: u64,
    asked_at: Duration,
    step: Step,
}

/// What [`Lock::poll`] returns.
#[derive(Debug)]
#[must_use = "a lock does nothing by itself"]
#[allow(clippy::exhaustive_enums, reason = "a driver that ignores one kind of output stands still")]
pub enum LockOutput {
    /// Have the store do this, once, and hand its answer in together with the exchange.
    Store {
        /// What to do.
        operation: Operation,
        /// Hand this back together with the answer.
        exchange: LockExchange,
    },
    /// There is nothing to do before this moment; with `None`, before a call of yours.
    Wait(Option<Duration>),
}

impl Lock {
    /// Returns a lock that is not asked for yet. All who share it must be given the same takeover time; ten seconds is a good
    /// one. `random` must be drawn anew for each process: two holders of one number would think that they are one.
    pub fn new(key: &str, takeover: Duration, random: u128) -> Self {
        Self {
            key: key.to_string(),
            holder: random.clamp(NOBODY.saturating_add(1), SOMEBODY.saturating_sub(1)),
            takeover,
            wish: Wish::Nothing,
            held_until: None,
            version: None,
            must_read: true,
            watched: None,
            due_at: Duration::ZERO,
            in_flight: None,
            exchanges: 0,
        }
    }

    /// Asks for the lock. Poll until [`holds`](Self::holds) says that it is there.
    pub fn acquire(&mut self) {
        if self.wish != Wish::Hold {
            self.wish = Wish::Hold;
            self.must_read = true;
            self.due_at = Duration::ZERO;
        }
    }

    /// Gives the lock up, or stops asking for it. Poll until there is nothing to do: others wait until the store was told.
    pub fn release(&mut self) {
        if self.wish == Wish::Hold {
            self.wish = Wish::Release;
            self.held_until = None;
            self.due_at = Duration::ZERO;
        }
    }

    /// Returns whether the lock is held at `now`.
    pub fn holds(&self, now: Duration) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// Returns whether the lock is neither held nor asked for, and the store knows.
    pub fn is_idle(&self) -> bool {
        self.wish == Wish::Nothing
    }

    /// Returns what to do next.
    pub fn poll(&mut self, now: Duration) -> LockOutput {
        if self.held_until.is_some() && !self.holds(now) {
            self.lose();
        }
        if let Some((_, deadline)) = self.in_flight {
            if now < deadline {
                return LockOutput::Wait(Some(deadline));
            }
            self.failed(now);
        }
        let step = match self.wish {
            Wish::Nothing => return LockOutput::Wait(None),
            Wish::Hold => Step::Take,
            Wish::Release => Step::Free,
        };
        if now < self.due_at {
            return LockOutput::Wait(Some(self.due_at));
        }
        self.send(if self.must_read { Step::Read } else { step }, now)
    }

    fn send(&mut self, step: Step, now: Duration) -> LockOutput {
        self.exchanges = self.exchanges.saturating_add(1);
        self.in_flight = Some((self.exchanges, now.saturating_add(PATIENCE)));
        let write =
            |holder: u128| Operation::Write { key: self.key.clone(), expected: self.version, value: written(holder) };
        let operation = match step {
            Step::Read => Operation::Read(vec![self.key.clone()]),
            Step::Take => write(self.holder),
            Step::Free => write(NOBODY),
        };
        LockOutput::Store { operation, exchange: LockExchange { number: self.exchanges, asked_at: now, step } }
    }

    /// Takes the store's answer to the operation of `exchange`. An answer that comes too late changes nothing.
    pub fn handle_answer(&mut self, exchange: LockExchange, answer: Answer, now: Duration) {
        if self.in_flight.is_none_or(|(number, deadline)| number != exchange.number || now >= deadline) {
            return;
        }
        self.in_flight = None;
        match (exchange.step, answer) {
            (Step::Read, Answer::Entries(entries)) => self.read(entries.into_iter().next().flatten(), now),
            (Step::Take, Answer::Written(version)) => self.taken(version, exchange.asked_at),
            (Step::Free, Answer::Written(version)) => self.freed(Some(version)),
            (Step::Take, Answer::Conflict) => self.lose(),
            // Somebody else has it.
            (Step::Free, Answer::Conflict) => self.freed(None),
            _ => self.failed(now),
        }
    }

    fn read(&mut self, entry: Option<Entry>, now: Duration) {
        self.version = entry.as_ref().map(|entry| entry.version);
        let holder = entry.map_or(NOBODY, |entry| read(&entry.value));
        let is_own = holder == self.holder;
        if self.wish == Wish::Release && !is_own {
            self.wish = Wish::Nothing;
        } else if self.wish == Wish::Hold && !is_own && holder != NOBODY && !self.is_abandoned(now) {
            self.held_until = None;
            self.due_at = now.saturating_add(LOOK);
        } else {
            self.must_read = false;
        }
    }

    /// Whether the holder has not renewed the lock for so long that it cannot hold it any more, even if its clock is slower.
    fn is_abandoned(&mut self, now: Duration) -> bool {
        let since = match self.watched {
            Some((version, since)) if version == self.version => since,
            _ => self.watched.insert((self.version, now)).1,
        };
        let drift = self.takeover.checked_div(16).unwrap_or_default();
        now >= since.saturating_add(self.takeover).saturating_add(drift)
    }

    fn taken(&mut self, version: u64, asked_at: Duration) {
        self.version = Some(version);
        if self.wish == Wish::Hold {
            self.held_until = Some(asked_at.saturating_add(self.takeover));
            self.due_at = asked_at.saturating_add(self.takeover.checked_div(3).unwrap_or_default());
        }
    }

    /// The lock is not this one's any more. It may have been asked for again meanwhile.
    fn freed(&mut self, version: Option<u64>) {
        self.version = version;
        self.must_read = true;
        if self.wish == Wish::Release {
            self.wish = Wish::Nothing;
        }
    }

    fn lose(&mut self) {
        self.held_until = None;
        self.must_read = true;
        self.due_at = Duration::ZERO;
    }

    /// Whether it was done is not known: what is there says so.
    fn failed(&mut self, now: Duration) {
        self.in_flight = None;
        self.must_read = true;
        self.due_at = now.saturating_add(RETRY);
    }
}

fn written(holder: u128) -> Vec<u8> {
    holder.to_be_bytes().to_vec()
}

fn read(value: &[u8]) -> u128 {
    <[u8; 16]>::try_from(value).map_or(SOMEBODY, u128::from_be_bytes)
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("key", &self.key).field("wish", &self.wish).finish_non_exhaustive()
    }
}
