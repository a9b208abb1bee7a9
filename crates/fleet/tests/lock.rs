//! However many ask for a lock, and whatever the store, the network and their clocks do, one holds it at a time, and whoever
//! waits gets it once a holder has given it up or died.

use std::time::Duration;

use ibkr_oauth_fleet::{Answer, Entry, Lock, LockExchange, LockOutput, Operation};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const MILLISECOND: Duration = Duration::from_millis(1);
/// Of the lock, in milliseconds.
const TAKEOVER: u32 = 4_000;

/// A process that takes the lock now and then, works for a while, and gives it up.
struct Process {
    lock: Lock,
    /// How fast its clock runs, in percent, and what it shows at first.
    rate: u32,
    origin: Duration,
    /// Until when it does nothing, and for how long it works under the lock.
    stopped_until: u32,
    dies_at: u32,
    work: u32,
    held_since: Option<u32>,
    asked_at: Option<u32>,
    under_way: Vec<(u32, bool, Operation, LockExchange)>,
}

impl Process {
    fn new(number: u32, rate: u32, work: u32) -> Self {
        Self {
            lock: Lock::new("lock/alice", MILLISECOND * TAKEOVER, number.into()),
            rate,
            origin: MILLISECOND * rate * 7919,
            stopped_until: 0,
            dies_at: u32::MAX,
            work,
            held_since: None,
            asked_at: None,
            under_way: Vec::new(),
        }
    }

    fn clock(&self, millis: u32) -> Duration {
        self.origin + MILLISECOND * millis * self.rate / 100
    }

    fn step(&mut self, now: u32) {
        let holds = self.lock.holds(self.clock(now));
        self.held_since = holds.then(|| self.held_since.unwrap_or(now));
        match self.held_since {
            Some(since) if now >= since + self.work => {
                self.lock.release();
                (self.held_since, self.asked_at) = (None, None);
            }
            Some(_) => self.asked_at = Some(now),
            None => {}
        }
    }
}

#[derive(Default)]
struct Faults {
    delay: u32,
    losses: u32,
    /// How many in ten thousand milliseconds stop a process, and for how long.
    stops: u32,
    stop: u32,
}

#[derive(Default, Debug)]
struct Figures {
    /// Moments at which more than one held the lock.
    double: usize,
    /// How often the lock was got, and the longest time that nobody had it although somebody asked.
    got: usize,
    longest_vacancy: u32,
}

fn run(mut processes: Vec<Process>, millis: u32, faults: &Faults) -> Figures {
    let (mut entry, mut figures, mut random) = (None::<Entry>, Figures::default(), 1_u32);
    let mut draw = |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) % below.max(1)
    };
    let mut vacant_since = 0;
    for now in 0..millis {
        for process in &mut processes {
            if now == process.dies_at {
                process.stopped_until = u32::MAX;
            }
            if draw(10_000) < faults.stops {
                process.stopped_until = now + draw(faults.stop);
            }
            // What is on its way arrives, whatever its sender does.
            let arrived = process.under_way.iter().position(|(at, ..)| *at <= now);
            if let Some((_, is_answered, operation, exchange)) = arrived.map(|at| process.under_way.swap_remove(at)) {
                let answer = perform(&mut entry, operation);
                if is_answered && now >= process.stopped_until {
                    process.lock.handle_answer(exchange, answer, process.clock(now));
                }
            }
            if now < process.stopped_until {
                continue;
            }
            if process.asked_at.is_none() && draw(1000) < 5 {
                process.lock.acquire();
                process.asked_at = Some(now);
            }
            let had = process.held_since.is_some();
            process.step(now);
            figures.got += usize::from(!had && process.held_since.is_some());
            if let LockOutput::Store { operation, exchange } = process.lock.poll(process.clock(now)) {
                process.under_way.push((now + draw(faults.delay), draw(1000) >= faults.losses, operation, exchange));
            }
        }
        let holders = processes.iter().filter(|process| process.lock.holds(process.clock(now))).count();
        figures.double += usize::from(holders > 1);
        let is_wanted = processes.iter().any(|process| process.asked_at.is_some() && now >= process.stopped_until);
        if holders > 0 || !is_wanted {
            vacant_since = now;
        }
        figures.longest_vacancy = figures.longest_vacancy.max(now - vacant_since);
    }
    figures
}

fn perform(stored: &mut Option<Entry>, operation: Operation) -> Answer {
    let version = stored.as_ref().map(|entry| entry.version);
    match operation {
        Operation::Read(_) => Answer::Entries(vec![stored.clone()]),
        Operation::Write { expected, value, .. } if expected == version => {
            let version = version.unwrap_or_default() + 1;
            *stored = Some(Entry { version, value });
            Answer::Written(version)
        }
        _ => Answer::Conflict,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn one_holds_the_lock_at_a_time(
        processes in prop::collection::vec((97_u32..=103, 1_u32..9000), 2..6),
        (delay, losses) in (1_u32..1500, 0_u32..200),
        (stops, stop) in (0_u32..10, 1_u32..12_000),
    ) {
        let faults = Faults { delay, losses, stops, stop };
        let processes = (1..).zip(processes).map(|(number, (rate, work))| Process::new(number, rate, work)).collect();
        let figures = run(processes, 60_000, &faults);
        prop_assert!(figures.double == 0 && figures.got > 0, "{figures:?}");
    }
}

#[test]
fn a_lock_that_nobody_is_stopped_with_goes_on_at_once() {
    let processes = (1..=4).map(|number| Process::new(number, 98 + number, 300)).collect();
    let figures = run(processes, 60_000, &Faults { delay: 10, ..Faults::default() });
    assert!(figures.double == 0 && figures.got > 100 && figures.longest_vacancy < 500, "{figures:?}");
}

#[test]
fn a_holder_that_dies_is_replaced_within_the_takeover_time_and_a_little() {
    let mut dying = Process::new(1, 100, 60_000);
    dying.lock.acquire();
    dying.asked_at = Some(0);
    dying.dies_at = 6_000;
    let figures = run(vec![dying, Process::new(2, 100, 300)], 20_000, &Faults { delay: 10, ..Faults::default() });
    assert!(figures.double == 0 && figures.got > 10, "{figures:?}");
    // Its time is over before anybody else's begins.
    assert!((1..TAKEOVER / 6).contains(&figures.longest_vacancy), "{figures:?}");
}

#[test]
fn what_nobody_can_have_written_is_replaced_after_the_takeover_time() {
    let mut lock = Lock::new("lock/alice", MILLISECOND * TAKEOVER, 0);
    let mut stored = Some(Entry { version: 7, value: b"something else".to_vec() });
    lock.acquire();
    let mut now = Duration::ZERO;
    while !lock.holds(now) && now < MILLISECOND * TAKEOVER * 2 {
        match lock.poll(now) {
            LockOutput::Store { operation, exchange } => {
                lock.handle_answer(exchange, perform(&mut stored, operation), now)
            }
            LockOutput::Wait(until) => now = until.unwrap_or(Duration::MAX),
        }
    }
    assert!(now > MILLISECOND * TAKEOVER && lock.holds(now), "{now:?}");
}
