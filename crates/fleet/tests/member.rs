//! Single members, and a store that answers late, or not at all.

use std::collections::BTreeMap;
use std::time::Duration;

use ibkr_oauth_fleet::{Answer, Entry, Event, Member, Operation, Output};

const TAKEOVER: Duration = Duration::from_secs(32);
/// Those who watch a member wait so long after the last change of its record.
const LEASE: Duration = Duration::from_secs(20);
/// How long a member waits for an answer.
const PATIENCE: Duration = Duration::from_secs(4);

#[derive(Default)]
struct Store(BTreeMap<String, Entry>);

impl Store {
    fn perform(&mut self, operation: Operation) -> Answer {
        let version = |key: &String| self.0.get(key).map(|entry| entry.version);
        match operation {
            Operation::Read(keys) => Answer::Entries(keys.iter().map(|key| self.0.get(key).cloned()).collect()),
            Operation::Write { key, expected, value } if version(&key) == expected => {
                let version = expected.unwrap_or_default() + 1;
                self.0.insert(key, Entry { version, value });
                Answer::Written(version)
            }
            Operation::Write { .. } | Operation::Delete { .. } => Answer::Conflict,
        }
    }
}

/// A member, and what its clock shows.
struct Machine {
    member: Member,
    now: Duration,
}

impl Machine {
    fn new(shards: usize, random: u128) -> Self {
        Self { member: Member::new("fleet", shards, TAKEOVER, random), now: Duration::ZERO }
    }

    /// Runs for so long, or until the member wants to do what `is_held` holds back.
    fn run(&mut self, store: &mut Store, lasts: Duration, is_held: impl Fn(&Operation) -> bool) -> Option<Operation> {
        let end = self.now + lasts;
        while self.now < end {
            match self.member.poll(self.now) {
                Output::Store { operation, .. } if is_held(&operation) => return Some(operation),
                Output::Store { operation, exchange } => {
                    self.member.handle_answer(exchange, store.perform(operation), self.now);
                }
                Output::Event(_) => {}
                Output::Wait(until) => self.now = until,
            }
        }
        None
    }

    fn owned(&self) -> Vec<usize> {
        (0..9).filter(|shard| self.member.owns(*shard, self.now)).collect()
    }
}

fn is_write(operation: &Operation, part: &str) -> bool {
    matches!(operation, Operation::Write { key, .. } if key.contains(part))
}

#[test]
fn a_lease_counts_from_the_moment_when_its_renewal_was_sent() {
    let (mut store, mut machine) = (Store::default(), Machine::new(1, 1));
    machine.run(&mut store, TAKEOVER, |_| false);
    assert_eq!(machine.owned(), [0]);
    machine.run(&mut store, TAKEOVER, |operation| is_write(operation, "/member/"));
    // That renewal has no answer. The next is answered just in time, and nothing after it.
    machine.now += PATIENCE;
    let Output::Store { operation, exchange } = machine.member.poll(machine.now) else { panic!("no renewal") };
    assert!(is_write(&operation, "/member/"));
    let renewed_at = machine.now;
    machine.now += PATIENCE - Duration::from_millis(1);
    machine.member.handle_answer(exchange, store.perform(operation), machine.now);
    assert!(machine.member.owns(0, renewed_at + LEASE / 2), "it is not given up without need");
    assert!(!machine.member.owns(0, renewed_at + LEASE), "somebody else may have taken over");
    loop {
        match machine.member.poll(machine.now) {
            Output::Event(Event::Lost { .. }) => break,
            Output::Store { .. } | Output::Event(_) => {}
            Output::Wait(until) => machine.now = until,
        }
        assert!(machine.now <= renewed_at + LEASE, "it is told in time");
    }
}

/// A record that others have deleted is not brought back by the creation that had no answer, so that nobody takes it for a
/// lease.
#[test]
fn no_record_is_created_twice_under_one_name() {
    for is_lost in [true, false] {
        let (mut store, mut machine) = (Store::default(), Machine::new(1, 1));
        let Output::Store { operation: late, exchange } = machine.member.poll(machine.now) else { panic!("no record") };
        if is_lost {
            machine.now += PATIENCE;
        } else {
            machine.member.handle_answer(exchange, Answer::Unknown, machine.now);
        }
        machine.run(&mut store, TAKEOVER, |_| false);
        assert_eq!(machine.owned(), [0]);
        let own_key = format!("fleet/member/{}", machine.member.id());
        store.0.remove(&own_key);
        assert!(matches!(store.perform(late), Answer::Written(1)), "it arrives after all");
        assert!(!store.0.contains_key(&own_key));
    }
}

/// A change that had no answer may still arrive: what it gives away is not used, whatever has happened since.
#[test]
fn shards_that_a_late_change_would_free_are_not_used() {
    let (mut store, mut first, mut second) = (Store::default(), Machine::new(2, 1), Machine::new(2, 2));
    first.run(&mut store, TAKEOVER, |_| false);
    assert_eq!(first.owned(), [0, 1]);
    second.run(&mut store, TAKEOVER / 8, |_| false);
    let late =
        first.run(&mut store, TAKEOVER, |operation| is_write(operation, "/table")).expect("a share for the second");
    assert_eq!(first.owned(), [0]);

    // The second goes, and so does the cause of that change.
    store.0.retain(|key, _| !key.contains(&second.member.id().to_string()));
    first.now += PATIENCE;
    let retried = first.run(&mut store, TAKEOVER, |operation| is_write(operation, "/table")).expect("another change");
    assert_eq!(first.owned(), [0]);
    assert!(matches!(store.perform(late), Answer::Written(_)), "it arrives after all");
    assert_eq!(store.perform(retried), Answer::Conflict);
    first.now += PATIENCE;
    first.run(&mut store, TAKEOVER, |_| false);
    assert_eq!(first.owned(), [0, 1]);
}
