//! A request limit that several processes share through the store, taken in chunks.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::store::{Answer, Entry, Operation};

/// How long an answer of the store is awaited.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two attempts while the store fails.
const RETRY: Duration = Duration::from_secs(1);

/// A limit of so many requests in any period, shared by all processes that make one for the same key, without IO: IBKR counts
/// requests by user name, whoever sends them.
///
/// Requests are paid for from a chunk at hand; a new chunk takes one operation of the store, not one a request. What is not
/// used within a quarter of the period is lost, so that the limit holds whenever the requests are sent; in exchange, at least
/// three quarters of it can be used.
///
/// No clock is compared. The entry counts all that was ever taken. Who knows from its own reading what the count was a period
/// ago, by its own clock, may raise it to the limit above that, and not further. So a process that is new waits for a period
/// before its first chunk, unless there is no entry.
///
/// While the store is down, nothing can be taken. [`is_cut_off`](Self::is_cut_off) says so: then divide the limit by the number
/// of your processes, and let a [`Pacing`](ibkr_oauth::Pacing) pace each.
pub struct Budget {
    key: String,
    count: u64,
    /// How old a reading must be, by a clock that may be fast.
    period: Duration,
    chunk: u64,
    at_hand: u64,
    expires_at: Duration,
    lifetime: Duration,
    version: Option<u64>,
    /// What was counted when; oldest first. The first may be older than a period, the others are younger.
    readings: VecDeque<(Duration, u64)>,
    in_flight: Option<(u64, Duration)>,
    exchanges: u64,
    retry_at: Duration,
    must_read: bool,
    is_wanted: bool,
    has_failed: bool,
}

/// An operation that a budget waits for. If it is dropped, the budget goes on after a while.
#[derive(Debug)]
pub struct BudgetExchange {
    number: u64,
    asked_at: Duration,
    /// What the count will be; `None` for a reading.
    counted: Option<u64>,
}

/// What [`Budget::poll`] returns.
#[derive(Debug)]
#[must_use = "a budget does nothing by itself"]
#[allow(clippy::exhaustive_enums, reason = "a driver that ignores one kind of output stands still")]
pub enum BudgetOutput {
    /// Have the store do this, once, and hand its answer in together with the exchange.
    Store {
        /// What to do.
        operation: Operation,
        /// Hand this back together with the answer.
        exchange: BudgetExchange,
    },
    /// There is nothing to do before this moment; with `None`, before a call of yours.
    Wait(Option<Duration>),
}

impl Budget {
    /// Returns a budget of `count` requests in any `period`, of which `chunk` are taken at once. All who share it must be given
    /// the same count and period. For IBKR's ten a second: 10, one second, 3.
    pub fn new(key: &str, count: u32, period: Duration, chunk: u32) -> Self {
        let lifetime = period.checked_div(4).unwrap_or_default();
        let drift = period.checked_div(16).unwrap_or_default();
        Self {
            key: key.to_string(),
            count: count.max(1).into(),
            period: period.saturating_add(lifetime).saturating_add(drift),
            chunk: chunk.clamp(1, count.max(1)).into(),
            at_hand: 0,
            expires_at: Duration::ZERO,
            lifetime,
            version: None,
            readings: VecDeque::new(),
            in_flight: None,
            exchanges: 0,
            retry_at: Duration::ZERO,
            must_read: true,
            is_wanted: false,
            has_failed: false,
        }
    }

    /// Pays for one request that is sent now, and returns whether there was something to pay with. If not, poll, and try again
    /// when that brought an answer.
    #[must_use]
    pub fn pay(&mut self, now: Duration) -> bool {
        self.is_wanted = true;
        let is_paid = now < self.expires_at && self.at_hand > 0;
        if is_paid {
            self.at_hand = self.at_hand.saturating_sub(1);
        }
        is_paid
    }

    /// Returns whether the store did not answer when it was last asked.
    pub fn is_cut_off(&self) -> bool {
        self.has_failed
    }

    /// Returns what to do next: nothing, as long as nobody has tried to pay.
    pub fn poll(&mut self, now: Duration) -> BudgetOutput {
        if let Some((_, deadline)) = self.in_flight {
            if now < deadline {
                return BudgetOutput::Wait(Some(deadline));
            }
            self.failed(now);
        }
        let has_some = now < self.expires_at && self.at_hand > 0;
        if !self.is_wanted || has_some {
            return BudgetOutput::Wait(None);
        }
        if now < self.retry_at {
            return BudgetOutput::Wait(Some(self.retry_at));
        }
        if self.must_read {
            return self.send(Operation::Read(vec![self.key.clone()]), None, now);
        }
        self.forget_readings(now);
        match self.free_at(now) {
            Some(at) => BudgetOutput::Wait(Some(at)),
            None => self.take(now),
        }
    }

    /// When more can be taken; `None` for now.
    fn free_at(&self, now: Duration) -> Option<Duration> {
        let (_, counted) = self.readings.back()?;
        let enough = counted.saturating_add(1).saturating_sub(self.count);
        let (read_at, _) = self.readings.iter().find(|(_, was)| *was >= enough)?;
        Some(read_at.saturating_add(self.period)).filter(|at| *at > now)
    }

    fn take(&mut self, now: Duration) -> BudgetOutput {
        let counted = self.readings.back().map_or(0, |(_, counted)| *counted);
        let floor = self.readings.iter().rfind(|(at, _)| at.saturating_add(self.period) <= now);
        // Without an entry, nothing was ever taken.
        let floor = floor.map_or(0, |(_, counted)| *counted);
        let next = counted.saturating_add(self.chunk).min(floor.saturating_add(self.count));
        let operation =
            Operation::Write { key: self.key.clone(), expected: self.version, value: next.to_be_bytes().to_vec() };
        self.send(operation, Some(next), now)
    }

    fn send(&mut self, operation: Operation, counted: Option<u64>, now: Duration) -> BudgetOutput {
        self.exchanges = self.exchanges.saturating_add(1);
        self.in_flight = Some((self.exchanges, now.saturating_add(PATIENCE)));
        BudgetOutput::Store { operation, exchange: BudgetExchange { number: self.exchanges, asked_at: now, counted } }
    }

    /// Takes the store's answer to the operation of `exchange`. An answer that comes too late changes nothing.
    pub fn handle_answer(&mut self, exchange: BudgetExchange, answer: Answer, now: Duration) {
        if self.in_flight.is_none_or(|(number, deadline)| number != exchange.number || now >= deadline) {
            return;
        }
        self.in_flight = None;
        self.has_failed = false;
        match (exchange.counted, answer) {
            (Some(counted), Answer::Written(version)) => {
                let before = self.readings.back().map_or(0, |(_, counted)| *counted);
                self.at_hand = counted.saturating_sub(before);
                // It counts from the moment when it may have been taken.
                self.expires_at = exchange.asked_at.saturating_add(self.lifetime);
                self.note(Some(version), counted, now);
                self.is_wanted = false;
            }
            (Some(_), Answer::Conflict) => self.must_read = true,
            (None, Answer::Entries(entries)) => self.read(entries.into_iter().next().flatten(), now),
            _ => self.failed(now),
        }
    }

    fn read(&mut self, entry: Option<Entry>, now: Duration) {
        self.must_read = false;
        match entry {
            None => {
                self.version = None;
                self.readings.clear();
            }
            Some(entry) => {
                let counted = entry.value.first_chunk().map_or(u64::MAX / 2, |bytes| u64::from_be_bytes(*bytes));
                self.note(Some(entry.version), counted.min(u64::MAX / 2), now);
            }
        }
    }

    /// The count at `now` was at least this: it counts from the moment when the answer came.
    fn note(&mut self, version: Option<u64>, counted: u64, now: Duration) {
        self.version = version;
        if self.readings.back().is_some_and(|(_, was)| *was > counted) {
            // The entry was made anew.
            self.readings.clear();
        }
        if self.readings.back().is_none_or(|(_, was)| *was != counted) {
            self.readings.push_back((now, counted));
        }
    }

    /// Of readings older than a period, the latest tells most.
    fn forget_readings(&mut self, now: Duration) {
        while self.readings.get(1).is_some_and(|(at, _)| at.saturating_add(self.period) <= now) {
            self.readings.pop_front();
        }
    }

    fn failed(&mut self, now: Duration) {
        self.in_flight = None;
        self.has_failed = true;
        self.must_read = true;
        self.retry_at = now.saturating_add(RETRY);
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("key", &self.key).field("at_hand", &self.at_hand).finish_non_exhaustive()
    }
}
