//! A follower: signs with a live session that another process owns, and cannot log in.

pub(crate) mod owner_questions;
pub(crate) mod question;
pub(crate) mod shared_session;

use core::fmt;

use crate::advice::penalty::Penalty;
use crate::client::signer::Signer;
use crate::credentials::error::ConfigError;
use crate::credentials::identity::{Identity, IdentitySettings};
use crate::live_session::{Life, LiveSession};
use crate::signing::policy::ParameterEncoding;
use crate::snapshot::SnapshotError;
use crate::time::UnixTime;
use owner_questions::OwnerQuestions;
use question::Question;
use shared_session::SharedSession;

/// A signer with the live session of an owner in another process or on another machine: without private keys, and without a
/// way to log in.
///
/// Only one process may log in with an access token, because each new live session token ends the one before. That process,
/// the owner, runs a [`Client`](crate::Client) and shares what [`Client::shared`](crate::Client::shared) gives, by whatever
/// way you have: a file, a database, a socket. All others follow.
///
/// # The contract
/// ```no_run
/// # use ibkr_oauth::{ApiRequest, Follower, FollowerOutput, Question, Request, Response, SharedSession, UnixTime};
/// # fn send(_: &Request) -> Response<'static> { unimplemented!() }
/// # fn now() -> UnixTime { unimplemented!() }
/// # fn sleep_until(_: UnixTime) {}
/// # fn ask_owner(_: Question) -> Option<SharedSession> { unimplemented!() }
/// # fn drive(mut rng: impl rand_core::CryptoRng) -> Result<(), Box<dyn core::error::Error>> {
/// let mut follower = Follower::builder("MYCONSKEY").build()?;
/// let signer = follower.signer(); // for any number of threads
/// loop {
///     match follower.poll(now()) {
///         // The owner hands the question to `Client::handle_question`, and sends back what `Client::shared` gives.
///         FollowerOutput::Ask(question) => match ask_owner(question) {
///             Some(shared) => {
///                 follower.follow(&shared, now())?;
///             }
///             None => follower.handle_no_session(),
///         },
///         FollowerOutput::Wait(until) => sleep_until(until),
///     }
/// #   break;
/// }
/// let request = signer.sign(&ApiRequest::get("/portfolio/accounts"), &mut rng, now())?;
/// let response = send(&request);
/// signer.handle_response(request.receipt(), &response, now())?;
/// # Ok(()) }
/// ```
/// Poll until it says [`FollowerOutput::Wait`], again when that moment has come, and after a rejected request. If the owner
/// sends nothing back, or is late, the follower asks again, after pauses that grow from a second to a minute. What the owner
/// shares unasked is followed as well.
///
/// # What it does by itself
/// - It checks the server's proof of each token, and that the session is of its own consumer key, realm and base URL. It
///   trusts no token for longer than 24 hours from the first sight of it.
/// - It asks for the next generation when the owner's refresh margin begins, and signs with the old one meanwhile.
/// - A rejected request is a question to the owner: "is this generation still it?". A generation that is older than the one
///   held is stale, unless that one was rejected or has ended.
/// - It has a clock and a series of timestamps of its own: a wrong clock costs one rejection, which
///   [explains itself](crate::Diagnosis::ClockOff), and nobody's token.
pub struct Follower {
    identity: Identity,
    signer: Signer,
    held: Option<Held>,
    questions: OwnerQuestions,
}

/// The generation to sign with.
struct Held {
    generation: u64,
    /// What signs, its life on the clock of this machine.
    live: LiveSession,
    /// On the server's clock, as shared.
    life: Life,
    refresh_at: UnixTime,
    /// By how many seconds the server's clock was ahead when `live` was made.
    skew: i32,
    /// When the token was first seen, on the clock of this machine.
    seen_at: UnixTime,
}

/// What became of what the owner shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a driver asks again, or waits, or goes on, by which it is")]
pub enum Followed {
    /// It is another token than before: the signers have it.
    New,
    /// It is the token that the follower has already.
    Same,
    /// It is older than the one that the follower has, or it has ended: nothing has changed.
    Stale,
}

/// What a follower wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "a follower does nothing by itself"]
#[allow(clippy::exhaustive_enums, reason = "a driver that ignores one kind of output stands still")]
pub enum FollowerOutput {
    /// Ask the owner, or look where it stores what it shares, and hand what you get to [`Follower::follow`].
    Ask(Question),
    /// There is nothing to do before this moment, unless a request is rejected. It is later than `now`, by a minute at most.
    Wait(UnixTime),
}

impl Follower {
    /// Begins with the consumer key; everything else has the default of a [`Consumer`](crate::Consumer).
    pub fn builder(consumer_key: &str) -> FollowerBuilder {
        FollowerBuilder { settings: IdentitySettings::new(consumer_key), penalty: Penalty::default() }
    }

    /// Returns a handle that signs with whatever generation is current. What it is told of responses reaches the follower at
    /// its next poll.
    pub fn signer(&self) -> Signer {
        self.signer.clone()
    }

    /// Returns which generation signs, if there is one.
    pub fn generation(&self) -> Option<u64> {
        self.held.as_ref().map(|held| held.generation)
    }

    /// Returns when the current generation stops signing, on the clock of this machine, as far as that is known to differ from
    /// the server's. The next one is looked for before.
    pub fn ends_at(&self) -> Option<UnixTime> {
        self.held.as_ref().map(|held| held.live.expires_at())
    }

    /// Returns the seconds by which the server's clock is ahead of this machine's, as far as known.
    pub fn clock_skew(&self) -> i32 {
        self.identity.clock().skew()
    }

    /// Takes what the owner shares, asked for or not.
    ///
    /// # Errors
    /// [`SnapshotError`] says what is wrong with it; nothing has changed then.
    pub fn follow(&mut self, shared: &SharedSession, now: UnixTime) -> Result<Followed, SnapshotError> {
        self.take_signer_reports(now);
        let skew = self.clock_skew();
        let live = shared.proved(&self.identity)?;
        if let Some(held) = self.held.as_mut().filter(|held| held.live.id() == live.id()) {
            held.generation = shared.generation();
            return Ok(Followed::Same);
        }
        let (generation, life) = (shared.generation(), live.life());
        let refresh_at = shared.refresh_at().min(life.expires_at);
        let held = Held { generation, live, life, refresh_at, skew, seen_at: now }.on_clock(skew);
        if now >= held.live.expires_at() || !self.may_replace(generation, now) {
            return Ok(Followed::Stale);
        }
        self.signer.publish(Some(held.live.clone()));
        self.held = Some(held);
        self.questions = OwnerQuestions::default();
        Ok(Followed::New)
    }

    fn may_replace(&self, generation: u64, now: UnixTime) -> bool {
        let Some(held) = &self.held else { return true };
        generation > held.generation || self.questions.is_in_doubt() || now >= held.live.expires_at()
    }

    /// Takes note that the owner has no live session now: it is logged out, or logging in. Nothing is signed until it shares
    /// one again.
    pub fn handle_no_session(&mut self) {
        self.held = None;
        self.signer.publish(None);
    }

    /// Returns what to do next: ask the owner, or wait.
    pub fn poll(&mut self, now: UnixTime) -> FollowerOutput {
        self.take_signer_reports(now);
        let due = match &self.held {
            Some(held) if !self.questions.is_open() => held.next_due_at(),
            Some(_) | None => now,
        };
        match self.questions.next(due, now) {
            Some(until) => FollowerOutput::Wait(until),
            None => FollowerOutput::Ask(self.questions.ask(self.generation().unwrap_or(Question::NO_GENERATION), now)),
        }
    }

    /// Takes in what the responses have said of the token, and of the server's clock.
    fn take_signer_reports(&mut self, now: UnixTime) {
        let (report, skew) = (self.signer.take_report(), self.clock_skew());
        let Some(held) = self.held.take() else { return };
        let (token, was_skew) = (Some(held.live.id()), held.skew);
        let held = if skew == was_skew { held } else { held.on_clock(skew) };
        if skew != was_skew {
            self.signer.publish(Some(held.live.clone()));
        }
        self.held = Some(held);
        if report.rejected == token {
            self.questions.doubt(now);
        } else if report.accepted == token {
            self.questions.trust();
        }
        if report.has_no_bridge {
            self.questions.note_no_bridge(now);
        }
    }
}

impl Held {
    /// When the next generation is to be looked for, on the clock of this machine.
    fn next_due_at(&self) -> UnixTime {
        self.refresh_at.shifted(self.skew.saturating_neg()).min(self.live.expires_at())
    }

    /// The same, seen from a machine behind whose clock the server's is ahead by `skew` seconds.
    fn on_clock(self, skew: i32) -> Self {
        let life = self.life.shifted(skew.saturating_neg()).bounded(self.seen_at);
        let live = self.live.with_life(life);
        Self { live, skew, ..self }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("generation", &self.generation()).finish_non_exhaustive()
    }
}

/// Settings on their way to a [`Follower`].
#[must_use = "nothing is set before `build`"]
pub struct FollowerBuilder {
    settings: IdentitySettings,
    penalty: Penalty,
}

impl FollowerBuilder {
    /// Sets the realm. Default: `test_realm` for `TESTCONS`, `limited_poa` for every other consumer key.
    pub fn realm(mut self, realm: &str) -> Self {
        self.settings.realm = realm.into();
        self
    }

    /// Sets the base URL. Default: `https://api.ibkr.com/v1/api`. No session of another base URL is followed.
    pub fn base_url(mut self, url: &str) -> Self {
        self.settings.base_url = Some(url.into());
        self
    }

    /// Sets the `User-Agent` header. Default: `ibkr-oauth/VERSION`.
    pub fn user_agent(mut self, user_agent: &str) -> Self {
        self.settings.user_agent = user_agent.into();
        self
    }

    /// Sets how parameters are encoded. Default: [`ParameterEncoding::Single`]. No session of an owner with another is
    /// followed.
    pub fn parameter_encoding(mut self, encoding: ParameterEncoding) -> Self {
        self.settings.parameter_encoding = encoding;
        self
    }

    /// Sends the caller's time as it is, as
    /// [`ConsumerBuilder::without_clock_correction`](crate::ConsumerBuilder::without_clock_correction) does.
    pub fn without_clock_correction(mut self) -> Self {
        self.settings.corrects_clock = false;
        self
    }

    /// Tells `penalty` of each 429 that the signers meet: give it to the [`Pacing`](crate::Pacing) that you ask before you
    /// send.
    pub fn penalty(mut self, penalty: Penalty) -> Self {
        self.penalty = penalty;
        self
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting and what is wrong with it.
    pub fn build(self) -> Result<Follower, ConfigError> {
        let (identity, signer) = (self.settings.build()?, Signer::new(self.penalty));
        Ok(Follower { identity, signer, held: None, questions: OwnerQuestions::default() })
    }
}

impl fmt::Debug for FollowerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowerBuilder").field("consumer_key", &self.settings.consumer_key).finish_non_exhaustive()
    }
}
