//! The owner of one user's login: a client whose logins go through the store.

use std::fmt;
use std::time::Duration;

use ibkr_oauth::rand_core::CryptoRng;
use ibkr_oauth::{Client, ClientExchange, Misuse, Output, Question, Request, Response, UnixTime};

use crate::keeper::{Keeper, KeeperEvent, KeeperExchange, KeeperOutput, Login};
use crate::secrecy::Secrecy;
use crate::store::{Answer, Operation};

/// A [`Client`] whose login is kept in the store, without IO: it resumes what the owner before it stored, asks the store before
/// it logs in, and stores each new login. Make one for each user of a shard when a [`Member`](crate::Member) gains it, and drop
/// it when the shard is lost.
///
/// While the store is down, nobody logs in; what is live goes on, and so do its tickles, until the member's lease ends.
///
/// Two clocks are passed in: `now` is the time of day, for the client; `elapsed` is what the member is given, for the store.
pub struct Owner {
    client: Client,
    keeper: Keeper,
    key: String,
    secrecy: Secrecy,
    /// Whether what is stored is known.
    is_ready: bool,
    /// Whether the store was asked for leave to log in.
    has_asked: bool,
    /// The generation that is in the store.
    kept: Option<u64>,
    is_superseded: bool,
}

/// What [`Owner::poll`] returns.
#[derive(Debug)]
#[must_use = "an owner does nothing by itself"]
#[allow(clippy::exhaustive_enums, reason = "a driver that ignores one kind of output stands still")]
pub enum OwnerOutput {
    /// Send this request, as [`Output::Send`] says.
    Send {
        /// What to send.
        request: Request,
        /// Hand this back together with the response.
        exchange: ClientExchange,
    },
    /// Have the store do this, once.
    Store {
        /// What to do.
        operation: Operation,
        /// Hand this back together with the answer.
        exchange: KeeperExchange,
    },
    /// Something happened. There may be more to do: poll again.
    Event(OwnerEvent),
    /// There is nothing to do for so long, unless a response, an answer or a call of yours comes first.
    Wait(Duration),
}

/// What happened to an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OwnerEvent {
    /// What the client tells.
    Client(ibkr_oauth::Event),
    /// What is stored cannot be used: it is sealed under another key, damaged, or of another consumer. The next login replaces
    /// it.
    Unreadable,
    /// Another owner has followed. This one does nothing any more: drop it.
    Superseded,
}

impl Owner {
    /// Returns an owner that keeps the login of `client` in the entry `key`. `client` is a new one;
    /// `fence` comes from [`Event::Gained`](crate::Event::Gained).
    pub fn new(client: Client, key: &str, fence: u64, secrecy: Secrecy) -> Self {
        Self {
            client: client.with_login_permits(),
            keeper: Keeper::new(key, fence),
            key: key.to_string(),
            secrecy,
            is_ready: false,
            has_asked: false,
            kept: None,
            is_superseded: false,
        }
    }

    /// Returns the client: for own requests, for its signers, for what it knows.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Takes a follower's question, as [`Client::handle_question`] does.
    pub fn handle_question(&mut self, question: &Question) -> bool {
        self.client.handle_question(question)
    }

    /// Returns what to do next.
    pub fn poll(&mut self, rng: &mut dyn CryptoRng, now: UnixTime, elapsed: Duration) -> OwnerOutput {
        loop {
            match self.keeper.poll(elapsed) {
                KeeperOutput::Wait(_) if self.is_superseded => return OwnerOutput::Wait(LONGEST_PAUSE),
                KeeperOutput::Store { operation, exchange } => return OwnerOutput::Store { operation, exchange },
                KeeperOutput::Event(event) => {
                    if let Some(event) = self.kept_event(event, now) {
                        return OwnerOutput::Event(event);
                    }
                }
                KeeperOutput::Wait(until) if !self.is_ready => return OwnerOutput::Wait(pause(until, elapsed)),
                KeeperOutput::Wait(_) if self.must_ask(now) => self.keeper.ask_to_log_in(),
                KeeperOutput::Wait(until) => match self.client.poll(rng, now) {
                    Output::Send { request, exchange } => return OwnerOutput::Send { request, exchange },
                    Output::Event(event) => {
                        self.keep(&event, rng, now);
                        return OwnerOutput::Event(OwnerEvent::Client(event));
                    }
                    // The poll itself may have found that the token is of no use.
                    Output::Wait(_) if self.must_ask(now) => self.keeper.ask_to_log_in(),
                    Output::Wait(at) => return OwnerOutput::Wait(pause(until, elapsed).min(at.saturating_since(now))),
                },
            }
        }
    }

    /// Takes the response to the request that came with `exchange`, as [`Client::handle_response`] does.
    ///
    /// # Errors
    /// [`Misuse::StaleExchange`] for an exchange that is not awaited any more.
    pub fn handle_response(
        &mut self,
        exchange: ClientExchange,
        response: &Response<'_>,
        now: UnixTime,
    ) -> Result<(), Misuse> {
        self.client.handle_response(exchange, response, now)
    }

    /// Takes note that no response will come, as [`Client::handle_no_response`] does.
    pub fn handle_no_response(&mut self, exchange: ClientExchange, now: UnixTime) {
        self.client.handle_no_response(exchange, now);
    }

    /// Takes the store's answer to the operation of `exchange`.
    pub fn handle_answer(&mut self, exchange: KeeperExchange, answer: Answer, elapsed: Duration) {
        self.keeper.handle_answer(exchange, answer, elapsed);
    }

    /// Whether a login is due for which the store was not asked yet.
    fn must_ask(&mut self, now: UnixTime) -> bool {
        let must_ask = self.client.awaits_permit(now) && !self.has_asked;
        self.has_asked |= must_ask;
        must_ask
    }

    fn kept_event(&mut self, event: KeeperEvent, now: UnixTime) -> Option<OwnerEvent> {
        match event {
            KeeperEvent::Found(login) => {
                self.is_ready = true;
                login.and_then(|login| self.resume(&login, now).err())
            }
            KeeperEvent::Resume(login) => {
                self.has_asked = false;
                self.resume(&login, now).err()
            }
            KeeperEvent::MayLogIn => {
                self.has_asked = false;
                self.client.permit_login();
                None
            }
            KeeperEvent::Kept => None,
            KeeperEvent::Superseded => {
                self.is_superseded = true;
                Some(OwnerEvent::Superseded)
            }
        }
    }

    fn resume(&mut self, login: &Login, now: UnixTime) -> Result<(), OwnerEvent> {
        let snapshot = self.secrecy.snapshot(&self.key, login).ok_or(OwnerEvent::Unreadable)?;
        let is_live = self.client.adopt(&snapshot, now).map_err(|_| OwnerEvent::Unreadable)?;
        self.kept = is_live.then(|| self.client.generation());
        Ok(())
    }

    /// Stores what has changed, if `event` says that something has.
    fn keep(&mut self, event: &ibkr_oauth::Event, rng: &mut dyn CryptoRng, now: UnixTime) {
        let is_new = match event {
            ibkr_oauth::Event::LoggedIn { .. } => self.kept != Some(self.client.generation()),
            ibkr_oauth::Event::QueryPolicyChanged(_)
            | ibkr_oauth::Event::AccessTokenGranted
            | ibkr_oauth::Event::LoggedOut => true,
            _ => false,
        };
        if is_new {
            let (snapshot, shared) = (self.client.snapshot(), self.client.shared(now));
            let shared = shared.as_ref().map(ibkr_oauth::Secret::expose);
            self.keeper.keep(self.secrecy.login(&self.key, snapshot.expose(), shared, rng));
            self.kept = Some(self.client.generation());
        }
    }
}

const LONGEST_PAUSE: Duration = Duration::from_secs(60);

fn pause(until: Option<Duration>, elapsed: Duration) -> Duration {
    until.map_or(LONGEST_PAUSE, |until| until.saturating_sub(elapsed))
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("key", &self.key).finish_non_exhaustive()
    }
}
