//! A member of a fleet: it holds a lease, watches the others', and owns its share of the shards.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::id::MemberId;
use crate::store::{Answer, Entry, Operation};
use crate::table::Table;
use crate::timing::Timing;
use crate::watch::Watch;

/// A member of a fleet, without IO: it says what to read, what to write under which condition, and when to come back.
///
/// The users of a fleet are divided into shards ([`shard_of`]); with one user there is one shard. By the store's reckoning
/// each shard has one owner at most, who alone logs in, refreshes and tickles for its users. All members run this same
/// machine; there is no coordinator.
///
/// # The contract
/// ```
/// # use std::time::Duration;
/// # use ibkr_oauth_fleet::{Answer, Event, Member, Operation, Output};
/// # fn perform(_: &Operation) -> Answer { Answer::Unknown }
/// # fn elapsed() -> Duration { Duration::from_secs(1) }
/// # fn sleep_until(_: Duration) {}
/// # let random = 1;
/// let mut member = Member::new("fleet", 64, Duration::from_secs(30), random);
/// loop {
///     match member.poll(elapsed()) {
///         Output::Store { operation, exchange } => {
///             let answer = perform(&operation);
///             member.handle_answer(exchange, answer, elapsed());
///         }
///         Output::Event(Event::Gained { shards, fence }) => { /* resume the logins of these shards' users */ }
///         Output::Event(Event::Lost { shards }) => { /* stop them, before you poll again */ }
///         Output::Event(_) => {}
///         Output::Wait(until) => sleep_until(until),
///     }
/// #   break;
/// }
/// ```
/// `now` is the time that has passed since any moment of this process, by a clock that is never set and never goes back:
/// `std::time::Instant::elapsed`. Clocks of different members are never compared.
///
/// # How it is safe
/// - Each member renews a record of its own. It counts its lease from the moment when it *sent* the renewal.
/// - Who has seen no change of a record for a lease of its own time deletes it, on the condition that it is still the version
///   that was seen. That is the fence: the member whose record it was cannot renew it any more, whenever it wakes up, and comes
///   back under another id.
/// - One table says who owns which shard. It is replaced as a whole, on the condition that nobody else has replaced it. The
///   shards of a member are taken only after its record is gone.
///
/// A program that is stopped between [`owns`](Self::owns) and sending a request sends it late. No store can prevent that: it
/// costs at most one login too many, which the new owner recognises ([`Keeper`](crate::Keeper)).
pub struct Member {
    id: MemberId,
    /// In front of all keys.
    prefix: String,
    timing: Timing,
    lease: Lease,
    /// Without members, and of the terms that this member was given.
    blank: Table,
    /// As last read or written, with its version.
    table: Option<(Option<u64>, Table)>,
    /// The version of the table with which there was nothing to do, as long as nobody is gone.
    settled: Option<u64>,
    /// This member's shards in that table, without those that it is letting go.
    mine: BTreeSet<usize>,
    watch: Watch,
    /// Shards that are to be let go, and are not used any more.
    releasing: BTreeSet<usize>,
    /// What is to be done next.
    next: Next,
    look_at: Duration,
    conflicts: u32,
    /// The version on which a change of the table was tried whose answer never came: until the table has another version, it
    /// may still arrive.
    uncertain: Option<Option<u64>>,
    in_flight: Option<InFlight>,
    exchanges: u64,
    is_unusable: bool,
    told: Told,
    stage: Stage,
}

/// The operation that is awaited.
struct InFlight {
    number: u64,
    deadline: Duration,
    /// What may still be done if no answer comes.
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Of the member's own record.
    Creation,
    /// Of the table.
    Change,
    Other,
}

/// What the caller was told last, so that events tell changes.
#[derive(Default)]
struct Told {
    shards: BTreeSet<usize>,
    is_unusable: bool,
    has_left: bool,
}

/// The member's own record.
#[derive(Default)]
struct Lease {
    version: Option<u64>,
    held_until: Option<Duration>,
    renew_at: Duration,
    /// Whether the record must be read, because somebody else has changed it, or a write of our own arrived unseen.
    is_doubtful: bool,
}

/// What follows from the last look.
enum Next {
    Nothing,
    Watch(Vec<MemberId>),
    Fence { member: MemberId, version: u64 },
    Change(Table),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Member,
    Leaving,
    /// The table is without this member; its record remains.
    Absent,
    Left,
}

/// An operation that a member waits for. Hand it back with the answer; if it is dropped, the member goes on after a while.
#[derive(Debug)]
pub struct Exchange {
    number: u64,
    asked_at: Duration,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Renew,
    Recover,
    Look,
    Watch(Vec<MemberId>),
    Fence(MemberId),
    Change(Table),
    Withdraw,
}

/// What [`Member::poll`] returns.
#[derive(Debug)]
#[must_use = "a member does nothing by itself"]
#[allow(clippy::exhaustive_enums, reason = "a driver that ignores one kind of output stands still")]
pub enum Output {
    /// Have the store do this, once, and hand its answer in together with the exchange.
    Store {
        /// What to do.
        operation: Operation,
        /// Hand this back together with the answer.
        exchange: Exchange,
    },
    /// Something happened. There may be more to do: poll again.
    Event(Event),
    /// There is nothing to do before this moment, which is later than `now`.
    Wait(Duration),
}

/// What happened to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// These shards are this member's from now on.
    Gained {
        /// Which.
        shards: BTreeSet<usize>,
        /// Higher than that of any owner before: give it to the [`Keeper`](crate::Keeper)s of the shards' users.
        fence: u64,
    },
    /// These shards are not this member's any more: stop what you do for their users before you poll again. Their live session
    /// tokens stay valid, and who follows goes on signing.
    Lost {
        /// Which.
        shards: BTreeSet<usize>,
    },
    /// What is stored is not a table of as many shards and of the same takeover time as this member was given: it owns nothing,
    /// until the members of that table have left.
    Unusable,
    /// The member has left: all its shards are free, and there is nothing more to do.
    Left,
}

impl Member {
    /// Returns a member of the fleet whose keys in the store begin with `prefix`.
    ///
    /// All members must be given the same number of `shards` (1 for a single login; some 50 for each member that there will
    /// ever be, at most 4096) and the same `takeover`: the time within which another takes over from a member that dies. Thirty
    /// seconds are enough; a live session outlives far longer ones. To change either, let all members
    /// [leave](Self::leave) first. `random` must be drawn anew for each process.
    pub fn new(prefix: &str, shards: usize, takeover: Duration, random: u128) -> Self {
        let millis = u64::try_from(takeover.as_millis()).unwrap_or(u64::MAX);
        Self {
            id: MemberId::new(random),
            prefix: prefix.to_string(),
            timing: Timing::within(takeover),
            lease: Lease::default(),
            blank: Table::empty(shards.clamp(1, MOST_SHARDS), millis),
            table: None,
            settled: None,
            mine: BTreeSet::new(),
            watch: Watch::default(),
            releasing: BTreeSet::new(),
            next: Next::Nothing,
            look_at: Duration::ZERO,
            conflicts: 0,
            uncertain: None,
            in_flight: None,
            exchanges: 0,
            is_unusable: false,
            told: Told::default(),
            stage: Stage::Member,
        }
    }

    /// Returns the name under which this member is known to the others now.
    pub fn id(&self) -> &MemberId {
        &self.id
    }

    /// Returns whether the shard is this member's at `now`. Ask before each request that only an owner may send.
    pub fn owns(&self, shard: usize, now: Duration) -> bool {
        self.told.shards.contains(&shard) && self.mine.contains(&shard) && self.may_own(now)
    }

    /// Returns what to do next.
    pub fn poll(&mut self, now: Duration) -> Output {
        if let Some(event) = self.next_event(now) {
            return Output::Event(event);
        }
        if let Some(deadline) = self.in_flight.as_ref().map(|awaited| awaited.deadline) {
            if now < deadline {
                return Output::Wait(deadline.min(self.next_loss(now).unwrap_or(deadline)));
            }
            self.give_up();
        }
        match self.next_operation(now) {
            Some((operation, step)) => self.send(operation, step, now),
            None => Output::Wait(self.wait_until(now)),
        }
    }

    /// Leaves the fleet: all shards are lost at once and become free for the others, who need not wait for the lease to end.
    /// Poll until [`Event::Left`].
    pub fn leave(&mut self) {
        if self.stage == Stage::Member {
            self.stage = Stage::Leaving;
            self.look_at = Duration::ZERO;
            self.next = Next::Nothing;
        }
    }

    /// Takes the store's answer to the operation of `exchange`. An answer that comes too late changes nothing.
    pub fn handle_answer(&mut self, exchange: Exchange, answer: Answer, now: Duration) {
        let is_awaited = |awaited: &mut InFlight| awaited.number == exchange.number && now < awaited.deadline;
        let Some(awaited) = self.in_flight.take_if(is_awaited) else { return };
        if answer == Answer::Unknown {
            self.doubt(awaited.kind);
        }
        match (exchange.step, answer) {
            (Step::Renew, Answer::Written(version)) => self.renewed(version, exchange.asked_at),
            (Step::Renew, Answer::Conflict) => self.lease.is_doubtful = true,
            (Step::Recover, Answer::Entries(entries)) => self.recovered(entries.into_iter().next().flatten(), now),
            (Step::Look, Answer::Entries(entries)) => self.looked(entries.into_iter().next().flatten(), now),
            (Step::Watch(members), Answer::Entries(entries)) => {
                self.watch.note(&members, entries, self.timing.lease, now);
                self.decide(now);
            }
            (Step::Fence(member), Answer::Deleted) => {
                self.watch.note_gone(member);
                self.decide(now);
            }
            (Step::Change(table), Answer::Written(version)) => self.changed(table, version, now),
            (Step::Fence(_) | Step::Change(_), Answer::Conflict) => self.lost_a_race(now),
            (Step::Withdraw, Answer::Deleted | Answer::Conflict) => self.stage = Stage::Left,
            (Step::Renew | Step::Recover, _) => self.lease.renew_at = now.saturating_add(self.timing.retry),
            (_, _) => self.look_at = now.saturating_add(self.timing.retry),
        }
    }

    /// An operation had no answer in time.
    fn give_up(&mut self) {
        if let Some(awaited) = self.in_flight.take() {
            self.doubt(awaited.kind);
        }
    }

    /// An operation may have been done, or still be on its way.
    fn doubt(&mut self, kind: Kind) {
        match kind {
            // Each name is created once: a creation that arrives late would bring back a record that others have deleted.
            Kind::Creation => self.id = self.id.reborn(),
            Kind::Change => self.uncertain = self.table.as_ref().map(|(version, _)| *version),
            Kind::Other => {}
        }
    }

    fn next_event(&mut self, now: Duration) -> Option<Event> {
        let owned = if self.may_own(now) { &self.mine } else { &BTreeSet::new() };
        if *owned != self.told.shards {
            return Some(self.changed_ownership(owned.clone()));
        }
        if !std::mem::replace(&mut self.told.is_unusable, self.is_unusable) && self.is_unusable {
            return Some(Event::Unusable);
        }
        let has_left = self.stage == Stage::Left;
        (!std::mem::replace(&mut self.told.has_left, has_left) && has_left).then_some(Event::Left)
    }

    /// First what is lost, then what is gained.
    fn changed_ownership(&mut self, owned: BTreeSet<usize>) -> Event {
        let lost: BTreeSet<usize> = self.told.shards.difference(&owned).copied().collect();
        if !lost.is_empty() {
            self.told.shards.retain(|shard| owned.contains(shard));
            return Event::Lost { shards: lost };
        }
        let shards = owned.difference(&self.told.shards).copied().collect();
        self.told.shards = owned;
        let fence = self.table.as_ref().and_then(|(version, _)| *version).unwrap_or_default();
        Event::Gained { shards, fence }
    }

    /// Whether what is this member's by the store's reckoning is its own to use.
    fn may_own(&self, now: Duration) -> bool {
        self.holds_lease(now) && self.stage == Stage::Member
    }

    /// To be called whenever table, id, or what is being let go has changed.
    fn recount(&mut self) {
        self.mine = match &self.table {
            Some((_, table)) => table.shards_of(&self.id).difference(&self.releasing).copied().collect(),
            None => BTreeSet::new(),
        };
    }

    fn holds_lease(&self, now: Duration) -> bool {
        self.lease.held_until.is_some_and(|until| now < until)
    }

    /// When the shards will be lost if the lease is not renewed.
    fn next_loss(&self, now: Duration) -> Option<Duration> {
        self.lease.held_until.filter(|until| *until > now && !self.told.shards.is_empty())
    }

    fn next_operation(&mut self, now: Duration) -> Option<(Operation, Step)> {
        match self.stage {
            Stage::Left => None,
            Stage::Absent => Some(self.withdrawal()),
            Stage::Member | Stage::Leaving if self.lease.is_doubtful => {
                Some((Operation::Read(vec![self.own_key()]), Step::Recover))
            }
            Stage::Member if now >= self.lease.renew_at => Some((self.renewal(), Step::Renew)),
            Stage::Member | Stage::Leaving => self.next_of_fleet(now),
        }
    }

    /// Looks at the table, then at the members in it, then does what follows.
    fn next_of_fleet(&mut self, now: Duration) -> Option<(Operation, Step)> {
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Watch(members) => {
                let keys = members.iter().map(|member| self.key_of(member)).collect();
                Some((Operation::Read(keys), Step::Watch(members)))
            }
            Next::Fence { member, version } => {
                let operation = Operation::Delete { key: self.key_of(&member), expected: version };
                Some((operation, Step::Fence(member)))
            }
            Next::Change(table) => {
                let expected = self.table.as_ref().and_then(|(version, _)| *version);
                Some((Operation::Write { key: self.table_key(), expected, value: table.write() }, Step::Change(table)))
            }
            Next::Nothing if now >= self.look_at => {
                self.look_at = now.saturating_add(self.timing.look);
                Some((Operation::Read(vec![self.table_key()]), Step::Look))
            }
            Next::Nothing => None,
        }
    }

    fn renewal(&self) -> Operation {
        Operation::Write { key: self.own_key(), expected: self.lease.version, value: self.id.to_string().into_bytes() }
    }

    fn withdrawal(&self) -> (Operation, Step) {
        let expected = self.lease.version.unwrap_or_default();
        (Operation::Delete { key: self.own_key(), expected }, Step::Withdraw)
    }

    fn send(&mut self, operation: Operation, step: Step, now: Duration) -> Output {
        self.exchanges = self.exchanges.saturating_add(1);
        let (number, deadline) = (self.exchanges, now.saturating_add(self.timing.patience));
        let kind = match step {
            Step::Renew if self.lease.version.is_none() => Kind::Creation,
            Step::Change(_) => Kind::Change,
            _ => Kind::Other,
        };
        self.in_flight = Some(InFlight { number, deadline, kind });
        Output::Store { operation, exchange: Exchange { number, asked_at: now, step } }
    }

    fn wait_until(&self, now: Duration) -> Duration {
        if self.stage == Stage::Left {
            return Duration::MAX;
        }
        let ends = self.watch.next_end(self.timing.lease).filter(|end| *end > now);
        let times = [Some(self.lease.renew_at), Some(self.look_at), ends, self.next_loss(now)];
        let soon = now.saturating_add(self.timing.retry);
        times.into_iter().flatten().map(|at| if at > now { at } else { soon }).min().unwrap_or(soon)
    }

    /// The lease counts from the moment when its renewal was sent: nobody can have seen the new version before.
    fn renewed(&mut self, version: u64, asked_at: Duration) {
        self.lease = Lease {
            version: Some(version),
            held_until: Some(asked_at.saturating_add(self.timing.held)),
            renew_at: asked_at.saturating_add(self.timing.renewal),
            is_doubtful: false,
        };
    }

    /// The record as it is: if it is there, an unseen write of our own has changed it; if not, somebody has deleted it.
    fn recovered(&mut self, entry: Option<Entry>, now: Duration) {
        let is_fenced = entry.is_none() && self.lease.version.is_some();
        self.lease.is_doubtful = false;
        self.lease.renew_at = now;
        self.lease.version = entry.map(|entry| entry.version);
        if is_fenced {
            self.id = self.id.reborn();
            self.lease.held_until = None;
            self.releasing.clear();
            self.look_at = now;
            self.settled = None;
            self.recount();
        }
        if is_fenced && self.stage == Stage::Leaving {
            self.stage = Stage::Left;
        }
    }

    fn looked(&mut self, entry: Option<Entry>, now: Duration) {
        let version = entry.as_ref().map(|entry| entry.version);
        let table = match (self.table.take(), entry) {
            (Some((known, table)), _) if known == version => Some(table),
            (_, None) => Some(self.blank.clone()),
            (_, Some(entry)) => Table::read(&entry.value, &self.blank),
        };
        self.is_unusable = table.is_none();
        let Some(table) = table else {
            self.stage = if self.stage == Stage::Leaving { Stage::Absent } else { self.stage };
            self.recount();
            return;
        };
        self.uncertain = self.uncertain.filter(|tried| *tried == version);
        let others: Vec<_> = table.members().iter().filter(|member| **member != self.id).cloned().collect();
        self.table = Some((version, table));
        if self.settled.is_none() || self.settled != version {
            self.settled = None;
            self.recount();
        }
        if others.is_empty() {
            self.watch.note(&[], Vec::new(), self.timing.lease, now);
            self.decide(now);
        } else {
            self.next = Next::Watch(others);
        }
    }

    /// What follows from what was seen: a fence, or another table, or nothing.
    fn decide(&mut self, now: Duration) {
        let Some((_, table)) = &self.table else { return };
        if self.stage == Stage::Leaving {
            self.next = Next::Change(table.without(&BTreeSet::from([self.id.clone()])));
            return;
        }
        if !self.holds_lease(now) {
            return;
        }
        if let Some((member, version)) = self.watch.silent(self.timing.lease, now) {
            self.next = Next::Fence { member, version };
            return;
        }
        let gone = self.watch.gone();
        if self.settled.is_none() || !gone.is_empty() {
            self.next = self.balance(&gone);
        }
        let ends = self.watch.next_end(self.timing.lease).filter(|end| *end > now);
        self.look_at = ends.map_or(self.look_at, |end| end.min(self.look_at));
    }

    /// The table without those who are gone, with this member, and with its fair share as far as there are free shards.
    fn balance(&mut self, gone: &BTreeSet<MemberId>) -> Next {
        let Some((version, table)) = &self.table else { return Next::Nothing };
        let joined = table.without(gone).with(&self.id);
        let surplus = joined.surplus(&self.id);
        if self.uncertain.is_some() {
            // What was to be let go may be free any moment.
            self.releasing.extend(surplus);
        } else {
            self.releasing = surplus;
        }
        let wanted = joined.released(&self.id, &self.releasing).taken(&self.id);
        let next = if wanted != *table || self.uncertain.is_some() { Next::Change(wanted) } else { Next::Nothing };
        self.settled = version.filter(|_| matches!(next, Next::Nothing));
        self.recount();
        next
    }

    fn changed(&mut self, table: Table, version: u64, now: Duration) {
        self.conflicts = 0;
        self.uncertain = None;
        self.releasing.clear();
        self.settled = None;
        self.table = Some((Some(version), table));
        self.recount();
        self.look_at = now.saturating_add(self.timing.look);
        if self.stage == Stage::Leaving {
            self.stage = Stage::Absent;
        }
    }

    /// Somebody else was faster: each time that happens, the next look comes a little later.
    fn lost_a_race(&mut self, now: Duration) {
        self.conflicts = self.conflicts.saturating_add(1).min(MOST_CONFLICTS);
        let pause = self.timing.retry.saturating_mul(self.conflicts).checked_div(MOST_CONFLICTS).unwrap_or_default();
        self.look_at = now.saturating_add(pause);
    }

    fn table_key(&self) -> String {
        format!("{}/table", self.prefix)
    }

    fn own_key(&self) -> String {
        self.key_of(&self.id)
    }

    fn key_of(&self, member: &MemberId) -> String {
        format!("{}/member/{member}", self.prefix)
    }
}

/// The table of more would be large to read every few seconds.
const MOST_SHARDS: usize = 4096;
const MOST_CONFLICTS: u32 = 16;

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("id", &self.id).field("shards", &self.told.shards.len()).finish_non_exhaustive()
    }
}

/// Returns which of so many shards a user belongs to: the same on every machine and for every version of this crate (FNV-1a).
pub fn shard_of(user: &str, shards: usize) -> usize {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = user.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    // The low bits of FNV are the weaker ones.
    let hash = hash ^ (hash >> 32);
    u64::try_from(shards)
        .ok()
        .and_then(|shards| hash.checked_rem(shards))
        .and_then(|at| usize::try_from(at).ok())
        .unwrap_or_default()
}
