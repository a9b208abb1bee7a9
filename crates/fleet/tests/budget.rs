//! However many processes share a limit, and whatever the store and their clocks do, no period has more requests than it allows.

use std::time::Duration;

use ibkr_oauth_fleet::{Answer, Budget, BudgetExchange, BudgetOutput, Entry, Operation};
use proptest::prelude::*;

const MILLISECOND: Duration = Duration::from_millis(1);

/// A process that wants to send all the time, or now and then.
struct Process {
    budget: Budget,
    /// How fast its clock runs, in percent, and what it shows at first.
    rate: u32,
    origin: Duration,
    eagerness: u32,
    /// Operations on their way: when they arrive, and whether their answer does.
    under_way: Vec<(u32, bool, Operation, BudgetExchange)>,
}

impl Process {
    fn clock(&self, millis: u32) -> Duration {
        self.origin + MILLISECOND * millis * self.rate / 100
    }
}

struct Shop {
    entry: Option<Entry>,
    operations: usize,
}

impl Shop {
    fn perform(&mut self, operation: Operation) -> Answer {
        self.operations += 1;
        let version = self.entry.as_ref().map(|entry| entry.version);
        match operation {
            Operation::Read(_) => Answer::Entries(vec![self.entry.clone()]),
            Operation::Write { expected, value, .. } if expected == version => {
                let version = version.unwrap_or_default() + 1;
                self.entry = Some(Entry { version, value });
                Answer::Written(version)
            }
            _ => Answer::Conflict,
        }
    }
}

/// The moments, in milliseconds, of all requests that were paid for, and how many operations that took.
fn sent(mut processes: Vec<Process>, millis: u32, delay: u32, losses: u32) -> (Vec<u32>, usize) {
    let (mut shop, mut sent, mut random) = (Shop { entry: None, operations: 0 }, Vec::new(), 1_u32);
    let mut draw = |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) % below.max(1)
    };
    for now in 0..millis {
        for process in &mut processes {
            let clock = process.clock(now);
            if draw(1000) < process.eagerness && process.budget.pay(clock) {
                sent.push(now);
            }
            if let BudgetOutput::Store { operation, exchange } = process.budget.poll(clock) {
                process.under_way.push((now + draw(delay), draw(1000) >= losses, operation, exchange));
            }
            let arrived = process.under_way.iter().position(|(at, ..)| *at <= now);
            if let Some((_, is_answered, operation, exchange)) = arrived.map(|at| process.under_way.swap_remove(at)) {
                let answer = shop.perform(operation);
                if is_answered {
                    process.budget.handle_answer(exchange, answer, clock);
                }
            }
        }
    }
    (sent, shop.operations)
}

fn most_in(sent: &[u32], period: u32) -> usize {
    sent.iter().map(|from| sent.iter().filter(|at| **at >= *from && **at < from + period).count()).max().unwrap_or(0)
}

fn process(count: u32, period: u32, chunk: u32, rate: u32, eagerness: u32) -> Process {
    let budget = Budget::new("pacing/alice", count, MILLISECOND * period, chunk);
    Process { budget, rate, origin: MILLISECOND * rate * 7919, eagerness, under_way: Vec::new() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_period_has_more_requests_than_the_limit(
        (count, period, chunk) in (1_u32..12, 200_u32..2000, 1_u32..6),
        clocks in prop::collection::vec((98_u32..=102, 1_u32..1000), 1..5),
        (delay, losses) in (1_u32..100, 0_u32..60),
    ) {
        let processes = clocks.iter().map(|(rate, eagerness)| process(count, period, chunk, *rate, *eagerness)).collect();
        let (sent, _) = sent(processes, 12_000, delay, losses);
        prop_assert!(most_in(&sent, period) <= count as usize, "{}", most_in(&sent, period));
    }
}

#[test]
fn ten_a_second_are_used_to_seven_tenths_and_not_by_an_operation_each() {
    let processes = (0..3).map(|at| process(10, 1000, 3, 99 + at, 1000)).collect();
    let alone = vec![process(10, 1000, 3, 100, 1000)];
    for (processes, share) in [(processes, 1), (alone, 2)] {
        let (sent, operations) = sent(processes, 60_000, 4, 0);
        println!("{} requests in a minute, {operations} operations", sent.len());
        assert!(sent.len() >= 420 && operations * share <= sent.len(), "{} {operations}", sent.len());
    }
}

#[test]
fn nothing_is_asked_as_long_as_nobody_pays() {
    let mut budget = Budget::new("pacing/alice", 10, Duration::from_secs(1), 3);
    assert!(matches!(budget.poll(Duration::ZERO), BudgetOutput::Wait(None)));
    assert!(!budget.pay(Duration::ZERO));
    let BudgetOutput::Store { exchange, .. } = budget.poll(Duration::ZERO) else { panic!("nothing asked") };
    budget.handle_answer(exchange, Answer::Unknown, Duration::ZERO);
    assert!(budget.is_cut_off() && matches!(budget.poll(Duration::ZERO), BudgetOutput::Wait(Some(_))));
}
