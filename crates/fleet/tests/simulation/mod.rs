//! A fleet on a virtual clock: members that crash, pause, are cut off; a store that fails, and answers late or never; clocks
//! that run fast and slow and began at different times; users whose live session tokens end after a day, or when a newer one is
//! made.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use ibkr_oauth_fleet::{
    Answer, Entry, Event, Exchange, Keeper, KeeperEvent, KeeperExchange, KeeperOutput, Login, Member, Operation,
    Output, shard_of,
};

pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);
pub const DAY: Duration = Duration::from_secs(24 * 3600);
const MARGIN: Duration = Duration::from_secs(600);
/// From the request for a token to the answer.
pub const LOGIN: Duration = SECOND;
/// Each user has a follower that signs a request so often, and so finds a dead token.
pub const FOLLOWER: Duration = Duration::from_secs(2);

/// What happens in a simulation.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub users: usize,
    pub workers: usize,
    pub shards: usize,
    pub takeover: Duration,
    pub length: Duration,
    /// Of each worker, in a day.
    pub crashes: f64,
    pub pauses: f64,
    pub partitions: f64,
    /// When the store is down, and for how long.
    pub outages: Vec<(Duration, Duration)>,
    /// Of a thousand operations, how many are answered never, or done late.
    pub losses: u64,
}

#[derive(Debug, Default, Clone)]
pub struct Figures {
    pub crashes: usize,
    pub pauses: usize,
    pub partitions: usize,
    pub takeovers: usize,
    /// Records of members that others have deleted.
    pub fenced: usize,
    pub operations: usize,
    pub logins: usize,
    /// Logins of somebody who was no owner any more when they arrived.
    pub late_logins: usize,
    /// Shards that two members thought theirs at one moment.
    pub double_owners: usize,
    /// Owners whose fence was not above that of the owner before.
    pub bad_fences: usize,
    pub longest_without_owner: Duration,
    pub longest_without_session: Duration,
    /// The same without the time that the store was down.
    pub longest_excess: Duration,
    pub user_days: f64,
    pub largest_share: usize,
    pub smallest_share: usize,
}

impl Figures {
    pub fn logins_per_user_and_day(&self) -> f64 {
        self.logins as f64 / self.user_days
    }

    /// With a margin of ten minutes before a day's end.
    pub fn fewest_possible() -> f64 {
        DAY.as_secs_f64() / (DAY - MARGIN).as_secs_f64()
    }
}

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn upto(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.below(most.as_micros() as u64 + 1))
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

struct Worker {
    member: Member,
    life: u64,
    born: Duration,
    /// What its clock showed then.
    origin: Duration,
    /// How fast its clock runs, in millionths.
    rate: u64,
    paused_until: Duration,
    cut_off_until: Duration,
    wakes_at: Duration,
    users: BTreeMap<usize, Owned>,
}

impl Worker {
    fn clock(&self, now: Duration) -> Duration {
        let passed = (now - self.born).as_nanos() * u128::from(self.rate) / 1_000_000;
        self.origin + Duration::from_nanos(passed as u64)
    }

    /// When its clock will show `local`.
    fn moment(&self, local: Duration) -> Duration {
        let passed = local.saturating_sub(self.origin).as_nanos() * 1_000_000 / u128::from(self.rate);
        self.born + Duration::from_nanos(passed as u64 + 1000)
    }
}

/// What an owner knows of a user.
struct Owned {
    keeper: Keeper,
    token: Option<Token>,
    is_logging_in: bool,
    wakes_at: Duration,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Token {
    id: u64,
    expires_at: Duration,
}

impl Token {
    fn login(self) -> Login {
        let public = [self.id.to_be_bytes(), (self.expires_at.as_millis() as u64).to_be_bytes()].concat();
        Login { private: b"sealed".to_vec(), public }
    }

    fn of(login: &Login) -> Self {
        let number = |at: usize| u64::from_be_bytes(login.public[at..at + 8].try_into().unwrap());
        Self { id: number(0), expires_at: Duration::from_millis(number(8)) }
    }
}

/// A user, by IBKR's reckoning and by the store's.
struct User {
    key: String,
    shard: usize,
    newest: u64,
    stored: Option<Token>,
    dead_since: Option<Duration>,
}

enum Happening {
    Start(usize),
    Crash(usize, u64),
    Pause(usize, u64),
    CutOff(usize, u64),
    Wake(usize, u64),
    WakeKeeper(usize, u64, usize),
    Arrive(usize, u64, Operation, ReplyTo),
    Answer(usize, u64, ReplyTo, Answer),
    LoginArrives(usize, u64, usize),
    LoggedIn(usize, u64, usize, Token),
    Refresh(usize, u64, usize, u64),
    Expire(usize),
    Notice(usize),
}

enum ReplyTo {
    Member(Exchange),
    Keeper(usize, KeeperExchange),
}

pub struct World {
    plan: Plan,
    rng: Rng,
    now: Duration,
    queue: BinaryHeap<(Reverse<Duration>, Reverse<u64>, u64)>,
    happenings: BTreeMap<u64, Happening>,
    count: u64,
    workers: Vec<Option<Worker>>,
    users: Vec<User>,
    users_of: Vec<Vec<usize>>,
    by_key: BTreeMap<String, usize>,
    store: BTreeMap<String, Entry>,
    tokens: u64,
    fences: Vec<u64>,
    free_since: Vec<Option<Duration>>,
    pub figures: Figures,
}

impl World {
    pub fn run(plan: &Plan) -> Figures {
        let mut world = Self::new(plan.clone());
        while let Some((Reverse(at), _, number)) = world.queue.pop() {
            if at > plan.length {
                break;
            }
            world.now = at;
            let happening = world.happenings.remove(&number).unwrap();
            world.happen(happening);
        }
        world.now = plan.length;
        world.finish()
    }

    fn new(plan: Plan) -> Self {
        let mut rng = Rng(plan.seed);
        let mut store = BTreeMap::new();
        let mut users_of = vec![Vec::new(); plan.shards];
        let mut users = Vec::new();
        for index in 0..plan.users {
            let key = format!("login/user-{index}");
            let shard = shard_of(&key, plan.shards);
            users_of[shard].push(index);
            // As after days of work: each user's token ends at another time.
            let token = Token { id: index as u64 + 1, expires_at: MARGIN * 2 + rng.upto(DAY - MARGIN * 2) };
            let mut keeper = Keeper::new(&key, 0);
            keeper.keep(token.login());
            let value = first_write(&mut keeper);
            store.insert(key.clone(), Entry { version: 1, value });
            users.push(User { key, shard, newest: token.id, stored: Some(token), dead_since: None });
        }
        let by_key = users.iter().enumerate().map(|(index, user)| (user.key.clone(), index)).collect();
        let figures =
            Figures { user_days: plan.users as f64 * plan.length.as_secs_f64() / 86_400.0, ..Figures::default() };
        let mut world = Self {
            rng,
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            count: 0,
            workers: (0..plan.workers).map(|_| None).collect(),
            tokens: plan.users as u64 + 1,
            users,
            users_of,
            by_key,
            store,
            fences: vec![0; plan.shards],
            free_since: vec![Some(Duration::ZERO); plan.shards],
            figures,
            plan,
        };
        for worker in 0..world.plan.workers {
            let at = world.rng.upto(SECOND);
            world.plan_for(at, Happening::Start(worker));
        }
        for user in 0..world.users.len() {
            let expiry = world.users[user].stored.unwrap().expires_at;
            world.plan_for(expiry, Happening::Expire(user));
        }
        world
    }

    fn plan_for(&mut self, at: Duration, happening: Happening) {
        self.count += 1;
        self.queue.push((Reverse(at.max(self.now)), Reverse(self.count), self.count));
        self.happenings.insert(self.count, happening);
    }

    fn soon(&mut self, most: Duration) -> Duration {
        self.now + self.rng.upto(most)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Start(worker) => self.start(worker),
            Happening::Crash(worker, life) if self.lives(worker, life) => self.crash(worker),
            Happening::Pause(worker, life) if self.lives(worker, life) => {
                self.figures.pauses += 1;
                let until = self.now + SECOND + self.rng.upto(self.plan.takeover * 4);
                self.worker(worker).paused_until = until;
                self.plan_pause(worker);
            }
            Happening::CutOff(worker, life) if self.lives(worker, life) => {
                self.figures.partitions += 1;
                let until = self.now + SECOND + self.rng.upto(self.plan.takeover * 6);
                self.worker(worker).cut_off_until = until;
                self.plan_cut_off(worker);
            }
            Happening::Crash(..) | Happening::Pause(..) | Happening::CutOff(..) => {}
            Happening::Arrive(worker, life, operation, reply) => self.arrive(worker, life, operation, reply),
            Happening::LoginArrives(worker, life, user) => self.login_arrives(worker, life, user),
            Happening::Expire(user) => self.judge(user),
            Happening::Notice(user) => self.notice(user),
            Happening::Wake(worker, life)
            | Happening::WakeKeeper(worker, life, _)
            | Happening::Answer(worker, life, ..)
            | Happening::LoggedIn(worker, life, ..)
            | Happening::Refresh(worker, life, ..)
                if self.paused_until(worker, life) > self.now =>
            {
                let at = self.worker(worker).paused_until;
                self.plan_for(at, happening);
            }
            Happening::Wake(worker, life) if self.lives(worker, life) => {
                let now = self.now;
                if self.worker(worker).wakes_at <= now {
                    self.poll(worker);
                }
            }
            Happening::WakeKeeper(worker, life, user) if self.lives(worker, life) => {
                let now = self.now;
                if self.worker(worker).users.get(&user).is_some_and(|owned| owned.wakes_at <= now) {
                    self.poll_keeper(worker, user);
                }
            }
            Happening::Answer(worker, life, reply, answer) if self.lives(worker, life) => {
                self.answered(worker, reply, answer)
            }
            Happening::LoggedIn(worker, life, user, token) if self.lives(worker, life) => {
                if let Some(owned) = self.worker(worker).users.get_mut(&user) {
                    owned.is_logging_in = false;
                    owned.keeper.keep(token.login());
                    self.use_token(worker, user, token);
                    self.poll_keeper(worker, user);
                }
            }
            Happening::Refresh(worker, life, user, token) if self.lives(worker, life) => {
                let owned = self.worker(worker).users.get_mut(&user);
                if let Some(owned) = owned.filter(|owned| owned.token.is_some_and(|held| held.id == token)) {
                    owned.keeper.ask_to_log_in();
                    self.poll_keeper(worker, user);
                }
            }
            Happening::Wake(..)
            | Happening::WakeKeeper(..)
            | Happening::Answer(..)
            | Happening::LoggedIn(..)
            | Happening::Refresh(..) => {}
        }
    }

    fn lives(&self, worker: usize, life: u64) -> bool {
        self.workers[worker].as_ref().is_some_and(|worker| worker.life == life)
    }

    fn paused_until(&self, worker: usize, life: u64) -> Duration {
        let worker = self.workers[worker].as_ref().filter(|worker| worker.life == life);
        worker.map_or(Duration::ZERO, |worker| worker.paused_until)
    }

    fn worker(&mut self, worker: usize) -> &mut Worker {
        self.workers[worker].as_mut().unwrap()
    }

    fn start(&mut self, worker: usize) {
        let random = u128::from(self.rng.next()) << 64 | u128::from(self.rng.next());
        self.count += 1;
        self.workers[worker] = Some(Worker {
            member: Member::new("fleet", self.plan.shards, self.plan.takeover, random),
            life: self.count,
            born: self.now,
            origin: self.rng.upto(DAY),
            rate: 990_000 + self.rng.below(20_000),
            paused_until: Duration::ZERO,
            cut_off_until: Duration::ZERO,
            wakes_at: Duration::ZERO,
            users: BTreeMap::new(),
        });
        self.plan_pause(worker);
        self.plan_cut_off(worker);
        if let Some(at) = self.rarely(self.plan.crashes) {
            let life = self.worker(worker).life;
            self.plan_for(at, Happening::Crash(worker, life));
        }
        self.poll(worker);
    }

    /// When something next happens that happens so often in a day.
    fn rarely(&mut self, a_day: f64) -> Option<Duration> {
        let mean = DAY.as_secs_f64() / a_day;
        let unit = (self.rng.below(1 << 30) + 1) as f64 / (1_u64 << 30) as f64;
        (a_day > 0.0).then(|| self.now + Duration::from_secs_f64(-unit.ln() * mean))
    }

    fn plan_pause(&mut self, worker: usize) {
        if let Some(at) = self.rarely(self.plan.pauses) {
            let life = self.worker(worker).life;
            self.plan_for(at, Happening::Pause(worker, life));
        }
    }

    fn plan_cut_off(&mut self, worker: usize) {
        if let Some(at) = self.rarely(self.plan.partitions) {
            let life = self.worker(worker).life;
            self.plan_for(at, Happening::CutOff(worker, life));
        }
    }

    fn crash(&mut self, worker: usize) {
        self.figures.crashes += 1;
        let now = self.now;
        let dead = self.workers[worker].take().unwrap();
        for shard in (0..self.plan.shards).filter(|shard| dead.member.owns(*shard, dead.clock(now))) {
            self.free_since[shard] = Some(now);
        }
        let at = self.now + SECOND + self.rng.upto(self.plan.takeover * 4);
        self.plan_for(at, Happening::Start(worker));
    }

    fn poll(&mut self, index: usize) {
        loop {
            let now = self.now;
            let worker = self.worker(index);
            let (clock, life) = (worker.clock(now), worker.life);
            match worker.member.poll(clock) {
                Output::Store { operation, exchange } => self.submit(index, life, operation, ReplyTo::Member(exchange)),
                Output::Event(Event::Gained { shards, fence }) => self.gained(index, &shards, fence),
                Output::Event(Event::Lost { shards }) => self.lost(index, &shards),
                Output::Event(event) => panic!("{event:?}"),
                Output::Wait(until) => {
                    assert!(until > clock, "a wait for the past");
                    let at = worker.moment(until);
                    worker.wakes_at = at;
                    return self.plan_for(at, Happening::Wake(index, life));
                }
            }
        }
    }

    fn gained(&mut self, index: usize, shards: &BTreeSet<usize>, fence: u64) {
        let now = self.now;
        for shard in shards {
            let owners = self.workers.iter().flatten().filter(|worker| worker.member.owns(*shard, worker.clock(now)));
            self.figures.double_owners += usize::from(owners.count() != 1);
            self.figures.bad_fences += usize::from(fence < self.fences[*shard]);
            self.figures.takeovers += usize::from(fence != self.fences[*shard]);
            self.fences[*shard] = fence;
            if let Some(since) = self.free_since[*shard].take() {
                let without = self.without_outages(since, now);
                self.figures.longest_without_owner = self.figures.longest_without_owner.max(without);
            }
            for user in self.users_of[*shard].clone() {
                let keeper = Keeper::new(&self.users[user].key, fence);
                let owned = Owned { keeper, token: None, is_logging_in: false, wakes_at: Duration::ZERO };
                self.worker(index).users.insert(user, owned);
                self.poll_keeper(index, user);
            }
        }
    }

    fn lost(&mut self, index: usize, shards: &BTreeSet<usize>) {
        for shard in shards {
            self.note_free(*shard);
            for user in self.users_of[*shard].clone() {
                self.worker(index).users.remove(&user);
            }
        }
    }

    /// Somebody who owned this shard until now, or some time ago, does not any more.
    fn note_free(&mut self, shard: usize) {
        let now = self.now;
        let is_owned = self.workers.iter().flatten().any(|worker| worker.member.owns(shard, worker.clock(now)));
        if !is_owned && self.free_since[shard].is_none() {
            self.free_since[shard] = Some(now);
        }
    }

    fn poll_keeper(&mut self, index: usize, user: usize) {
        loop {
            let now = self.now;
            let shard = self.users[user].shard;
            let worker = self.worker(index);
            let (clock, life) = (worker.clock(now), worker.life);
            let owns = worker.member.owns(shard, clock);
            let Some(owned) = worker.users.get_mut(&user) else { return };
            match owned.keeper.poll(clock) {
                KeeperOutput::Store { operation, exchange } => {
                    self.submit(index, life, operation, ReplyTo::Keeper(user, exchange));
                }
                KeeperOutput::Event(KeeperEvent::Found(Some(login)) | KeeperEvent::Resume(login)) => {
                    self.use_token(index, user, Token::of(&login));
                }
                KeeperOutput::Event(KeeperEvent::Found(None)) => owned.keeper.ask_to_log_in(),
                KeeperOutput::Event(KeeperEvent::MayLogIn) if owns && !owned.is_logging_in => {
                    owned.is_logging_in = true;
                    // Now and then the process stops between the look at the lease and the request.
                    let is_stopped = self.plan.pauses > 0.0 && self.rng.one_in(2000);
                    let late = if is_stopped { self.plan.takeover * 3 } else { Duration::ZERO };
                    let worker = self.worker(index);
                    worker.paused_until = worker.paused_until.max(now + late);
                    self.plan_for(now + late + LOGIN / 2, Happening::LoginArrives(index, life, user));
                }
                KeeperOutput::Event(KeeperEvent::Superseded) => {
                    worker.users.remove(&user);
                    return;
                }
                KeeperOutput::Event(_) => {}
                KeeperOutput::Wait(None) => return,
                KeeperOutput::Wait(Some(until)) => {
                    let at = worker.moment(until);
                    worker.users.get_mut(&user).unwrap().wakes_at = at;
                    return self.plan_for(at, Happening::WakeKeeper(index, life, user));
                }
            }
        }
    }

    /// A resumed token is tried at once, a fresh one refreshed in time.
    fn use_token(&mut self, index: usize, user: usize, token: Token) {
        let (now, is_newest) = (self.now, self.users[user].newest == token.id);
        let life = self.worker(index).life;
        let Some(owned) = self.worker(index).users.get_mut(&user) else { return };
        owned.token = Some(token);
        if is_newest && now < token.expires_at - MARGIN {
            self.plan_for(token.expires_at - MARGIN, Happening::Refresh(index, life, user, token.id));
        } else {
            owned.keeper.ask_to_log_in();
        }
    }

    fn answered(&mut self, worker: usize, reply: ReplyTo, answer: Answer) {
        let now = self.now;
        let it = self.worker(worker);
        let clock = it.clock(now);
        match reply {
            ReplyTo::Member(exchange) => {
                it.member.handle_answer(exchange, answer, clock);
                self.poll(worker);
            }
            ReplyTo::Keeper(user, exchange) => {
                if let Some(owned) = it.users.get_mut(&user) {
                    owned.keeper.handle_answer(exchange, answer, clock);
                    self.poll_keeper(worker, user);
                }
            }
        }
    }

    fn submit(&mut self, worker: usize, life: u64, operation: Operation, reply: ReplyTo) {
        self.figures.operations += 1;
        let now = self.now;
        if self.worker(worker).cut_off_until > now && self.rng.one_in(2) {
            return;
        }
        let is_late = self.plan.losses > 0 && self.rng.below(1000) < self.plan.losses;
        let delay = if is_late { self.plan.takeover * 2 } else { Duration::from_millis(10) };
        let at = self.soon(delay);
        self.plan_for(at, Happening::Arrive(worker, life, operation, reply));
    }

    fn arrive(&mut self, worker: usize, life: u64, operation: Operation, reply: ReplyTo) {
        if self.is_down(self.now) {
            return;
        }
        let answer = self.perform(operation);
        let is_cut_off = self.workers[worker].as_ref().is_some_and(|it| it.life == life && it.cut_off_until > self.now);
        if is_cut_off || self.rng.below(1000) < self.plan.losses {
            return;
        }
        let at = self.soon(Duration::from_millis(10));
        self.plan_for(at, Happening::Answer(worker, life, reply, answer));
    }

    fn perform(&mut self, operation: Operation) -> Answer {
        match operation {
            Operation::Read(keys) => Answer::Entries(keys.iter().map(|key| self.store.get(key).cloned()).collect()),
            Operation::Write { key, expected, value } if self.version(&key) == expected => {
                let version = expected.unwrap_or_default() + 1;
                if let Some(user) = self.by_key.get(&key).copied() {
                    let entry = Entry { version, value: value.clone() };
                    let token = Token::of(&Login::read(&key, &entry).unwrap());
                    self.users[user].stored = Some(token);
                    self.plan_for(token.expires_at, Happening::Expire(user));
                    self.judge(user);
                }
                self.store.insert(key, Entry { version, value });
                Answer::Written(version)
            }
            Operation::Delete { key, expected } if self.version(&key) == Some(expected) => {
                self.store.remove(&key);
                self.figures.fenced += 1;
                Answer::Deleted
            }
            Operation::Write { .. } | Operation::Delete { .. } => Answer::Conflict,
        }
    }

    fn version(&self, key: &str) -> Option<u64> {
        self.store.get(key).map(|entry| entry.version)
    }

    fn login_arrives(&mut self, worker: usize, life: u64, user: usize) {
        self.figures.logins += 1;
        self.tokens += 1;
        let now = self.now;
        let token = Token { id: self.tokens, expires_at: now + DAY };
        self.users[user].newest = token.id;
        self.judge(user);
        let is_owner = self.lives(worker, life) && {
            let shard = self.users[user].shard;
            let worker = self.worker(worker);
            worker.member.owns(shard, worker.clock(now)) && worker.users.contains_key(&user)
        };
        self.figures.late_logins += usize::from(!is_owner);
        self.plan_for(now + LOGIN / 2, Happening::LoggedIn(worker, life, user, token));
        let at = self.now + LOGIN + self.rng.upto(FOLLOWER);
        self.plan_for(at, Happening::Notice(user));
    }

    /// A follower's request has been refused: whoever owns the user hears of it.
    fn notice(&mut self, user: usize) {
        let (now, newest) = (self.now, self.users[user].newest);
        let holders = (0..self.workers.len()).filter(|index| {
            let worker = self.workers[*index].as_ref();
            worker.is_some_and(|worker| worker.users.contains_key(&user) && worker.paused_until <= now)
        });
        for index in holders.collect::<Vec<_>>() {
            let owned = self.worker(index).users.get_mut(&user).unwrap();
            if owned.token.is_some_and(|held| held.id != newest) && !owned.is_logging_in {
                owned.keeper.ask_to_log_in();
                self.poll_keeper(index, user);
            }
        }
        if self.users[user].dead_since.is_some() {
            self.plan_for(now + FOLLOWER, Happening::Notice(user));
        }
    }

    /// Whether the stored token is one that IBKR accepts.
    fn judge(&mut self, index: usize) {
        let now = self.now;
        let user = &mut self.users[index];
        let is_live = user.stored.is_some_and(|token| token.id == user.newest && now < token.expires_at);
        match (is_live, user.dead_since) {
            (false, None) => user.dead_since = Some(now),
            (true, Some(since)) => {
                user.dead_since = None;
                self.note_death(since, now);
            }
            _ => {}
        }
    }

    fn note_death(&mut self, since: Duration, now: Duration) {
        let excess = self.without_outages(since, now);
        self.figures.longest_without_session = self.figures.longest_without_session.max(now - since);
        self.figures.longest_excess = self.figures.longest_excess.max(excess);
    }

    fn is_down(&self, now: Duration) -> bool {
        self.plan.outages.iter().any(|(from, lasts)| (*from..*from + *lasts).contains(&now))
    }

    /// How much of this time the store was up.
    fn without_outages(&self, since: Duration, now: Duration) -> Duration {
        let down =
            self.plan.outages.iter().map(|(from, lasts)| now.min(*from + *lasts).saturating_sub(since.max(*from)));
        (now - since).saturating_sub(down.sum())
    }

    fn finish(mut self) -> Figures {
        let now = self.now;
        for user in 0..self.users.len() {
            if let Some(since) = self.users[user].dead_since {
                self.note_death(since, now);
            }
        }
        let shares = self.workers.iter().flatten().map(|worker| worker.users.len());
        self.figures.largest_share = shares.clone().max().unwrap_or_default();
        self.figures.smallest_share = shares.min().unwrap_or_default();
        self.figures
    }
}

/// What a keeper writes first, without having read.
fn first_write(keeper: &mut Keeper) -> Vec<u8> {
    let KeeperOutput::Store { exchange, .. } = keeper.poll(Duration::ZERO) else { panic!("no read") };
    keeper.handle_answer(exchange, Answer::Entries(vec![None]), Duration::ZERO);
    loop {
        match keeper.poll(Duration::ZERO) {
            KeeperOutput::Store { operation: Operation::Write { value, .. }, .. } => return value,
            KeeperOutput::Event(_) => {}
            other => panic!("{other:?}"),
        }
    }
}
