//! The stored login of one user: read before anybody logs in, written after.

use std::fmt;
use std::time::Duration;

use crate::store::{Answer, Entry, Operation};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long an answer of the store is awaited.
const PATIENCE: Duration = Duration::from_secs(3);
/// The form that is written and read.
const FORM: u8 = 1;

/// Keeps the login of one user in the store, without IO. Each owner of the user's shard makes one.
///
/// Its rules are those that keep logins at the minimum:
/// - What is stored is resumed, not replaced.
/// - Nobody logs in without having read the entry just before. If somebody else has written it, that login is resumed instead;
///   while the store is down, nobody logs in.
/// - What is written replaces only what was read. Who finds an owner with a higher fence there has been superseded.
///
/// `now` is elapsed time, as for a [`Member`](crate::Member).
#[derive(Debug)]
pub struct Keeper {
    key: String,
    fence: u64,
    /// As last read or written; `None` if there is no entry.
    version: Option<u64>,
    wish: Wish,
    /// What to write, until it is written.
    unwritten: Option<Login>,
    /// How often something was given to be kept.
    revision: u64,
    events: Vec<KeeperEvent>,
    in_flight: Option<(u64, Duration)>,
    exchanges: u64,
    retry_at: Duration,
    pause: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Nothing,
    /// To know what is stored.
    Find,
    /// To log in.
    LogIn,
    /// To know who has written what could not be replaced.
    Compare,
    /// Nothing any more.
    Superseded,
}

/// What is stored of a login: for its owner, and for those who only sign. To the store, both are bytes.
#[derive(Clone, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_structs, reason = "written as a literal by whoever encrypts it")]
pub struct Login {
    /// For the next owner: a snapshot of the client, sealed.
    pub private: Vec<u8>,
    /// For followers: what the client shares, sealed under another key.
    pub public: Vec<u8>,
}

/// An operation that a keeper waits for. If it is dropped, the keeper goes on after a while.
#[derive(Debug)]
pub struct KeeperExchange {
    number: u64,
    is_write: bool,
    revision: u64,
}

/// What [`Keeper::poll`] returns.
#[derive(Debug)]
#[must_use = "a keeper does nothing by itself"]
#[allow(clippy::exhaustive_enums, reason = "a driver that ignores one kind of output stands still")]
pub enum KeeperOutput {
    /// Have the store do this, once, and hand its answer in together with the exchange.
    Store {
        /// What to do.
        operation: Operation,
        /// Hand this back together with the answer.
        exchange: KeeperExchange,
    },
    /// Something happened. There may be more to do: poll again.
    Event(KeeperEvent),
    /// There is nothing to do before this moment; with `None`, before a call of yours.
    Wait(Option<Duration>),
}

/// What a keeper tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeeperEvent {
    /// This is stored: resume it. With `None`, there is nothing yet. Comes once, first.
    Found(Option<Login>),
    /// You may log in now: nobody else has since you last knew.
    MayLogIn,
    /// Do not log in: this was stored by somebody else meanwhile. Resume it; if it is refused too, ask again.
    Resume(Login),
    /// What you gave is stored.
    Kept,
    /// Another owner has followed. Stop, and drop this keeper: it does nothing any more.
    Superseded,
}

impl Keeper {
    /// Returns a keeper of the entry `key` for an owner with this fence ([`Event::Gained`](crate::Event::Gained)).
    pub fn new(key: &str, fence: u64) -> Self {
        Self {
            key: key.to_string(),
            fence,
            version: None,
            wish: Wish::Find,
            unwritten: None,
            revision: 0,
            events: Vec::new(),
            in_flight: None,
            exchanges: 0,
            retry_at: Duration::ZERO,
            pause: FIRST_PAUSE,
        }
    }

    /// Asks whether to log in. [`KeeperEvent::MayLogIn`] or [`KeeperEvent::Resume`] answers.
    pub fn ask_to_log_in(&mut self) {
        if self.wish == Wish::Nothing {
            self.wish = Wish::LogIn;
        }
    }

    /// Stores `login` in place of what was stored: after a login, and whenever something in it has changed.
    pub fn keep(&mut self, login: Login) {
        self.unwritten = Some(login);
        self.revision = self.revision.saturating_add(1);
    }

    /// Returns what to do next.
    pub fn poll(&mut self, now: Duration) -> KeeperOutput {
        if !self.events.is_empty() {
            return KeeperOutput::Event(self.events.remove(0));
        }
        if let Some((_, deadline)) = self.in_flight {
            if now < deadline {
                return KeeperOutput::Wait(Some(deadline));
            }
            self.failed(now);
        }
        let Some(operation) = self.next_operation() else { return KeeperOutput::Wait(None) };
        if now < self.retry_at {
            return KeeperOutput::Wait(Some(self.retry_at));
        }
        self.exchanges = self.exchanges.saturating_add(1);
        self.in_flight = Some((self.exchanges, now.saturating_add(PATIENCE)));
        let is_write = matches!(operation, Operation::Write { .. });
        KeeperOutput::Store {
            operation,
            exchange: KeeperExchange { number: self.exchanges, is_write, revision: self.revision },
        }
    }

    /// Takes the store's answer to the operation of `exchange`. An answer that comes too late changes nothing.
    pub fn handle_answer(&mut self, exchange: KeeperExchange, answer: Answer, now: Duration) {
        if self.in_flight.is_none_or(|(number, deadline)| number != exchange.number || now >= deadline) {
            return;
        }
        self.in_flight = None;
        match answer {
            Answer::Written(version) if exchange.is_write => self.written(version, exchange.revision),
            Answer::Conflict if exchange.is_write => self.wish = Wish::Compare,
            Answer::Entries(entries) if !exchange.is_write => self.read(entries.into_iter().next().flatten()),
            _ => return self.failed(now),
        }
        self.pause = FIRST_PAUSE;
    }

    /// What was written is there before anything is asked.
    fn next_operation(&self) -> Option<Operation> {
        match (self.wish, &self.unwritten) {
            (Wish::Superseded, _) | (Wish::Nothing, None) => None,
            (Wish::Nothing | Wish::LogIn, Some(login)) => Some(Operation::Write {
                key: self.key.clone(),
                expected: self.version,
                value: login.written(self.fence, &self.key),
            }),
            (Wish::Find | Wish::Compare | Wish::LogIn, _) => Some(Operation::Read(vec![self.key.clone()])),
        }
    }

    fn failed(&mut self, now: Duration) {
        self.in_flight = None;
        self.retry_at = now.saturating_add(self.pause);
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
    }

    fn written(&mut self, version: u64, revision: u64) {
        self.version = Some(version);
        if revision == self.revision {
            self.unwritten = None;
            self.events.push(KeeperEvent::Kept);
        }
    }

    fn read(&mut self, entry: Option<Entry>) {
        let known = std::mem::replace(&mut self.version, entry.as_ref().map(|entry| entry.version));
        let has_changed = known != self.version;
        let stored = entry.and_then(|entry| read(&entry.value, &self.key));
        if stored.as_ref().is_some_and(|(fence, _)| *fence > self.fence) {
            self.wish = Wish::Superseded;
            self.unwritten = None;
            self.events.push(KeeperEvent::Superseded);
            return;
        }
        let login = stored.map(|(_, login)| login);
        match (std::mem::replace(&mut self.wish, Wish::Nothing), login) {
            (Wish::Find, login) => self.events.push(KeeperEvent::Found(login)),
            (Wish::LogIn, Some(login)) if has_changed => self.events.push(KeeperEvent::Resume(login)),
            (Wish::LogIn, _) => self.events.push(KeeperEvent::MayLogIn),
            // An answer was lost: it is written.
            (Wish::Compare, Some(login)) if self.unwritten.as_ref() == Some(&login) => {
                self.unwritten = None;
                self.events.push(KeeperEvent::Kept);
            }
            // The present owner's word stands: the next write replaces what an earlier owner has written late.
            (Wish::Compare | Wish::Nothing | Wish::Superseded, _) => {}
        }
    }
}

impl Login {
    /// Reads what a [`Keeper`] has written to the entry `key`, for a follower.
    pub fn read(key: &str, entry: &Entry) -> Option<Self> {
        read(&entry.value, key).map(|(_, login)| login)
    }

    /// The key is written as well: what lies under another user's key is not taken for this user's.
    pub(crate) fn written(&self, fence: u64, key: &str) -> Vec<u8> {
        let mut value = vec![FORM];
        value.extend(fence.to_be_bytes());
        for part in [key.as_bytes(), &self.private, &self.public] {
            value.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            value.extend(part);
        }
        value
    }
}

/// What was written under this key, with its writer's fence. Whatever else is stored is as good as nothing.
fn read(value: &[u8], key: &str) -> Option<(u64, Login)> {
    let (form, rest) = value.split_first()?;
    let (fence, rest) = rest.split_first_chunk()?;
    let (of, rest) = part(rest)?;
    let (private, rest) = part(rest)?;
    let (public, rest) = part(rest)?;
    let is_whole = *form == FORM && of == key.as_bytes() && rest.is_empty();
    let login = Login { private: private.to_vec(), public: public.to_vec() };
    is_whole.then_some((u64::from_be_bytes(*fence), login))
}

/// What stands behind its length, and the rest.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
