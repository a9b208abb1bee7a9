//! What a member has seen of the others, and for how long.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::MemberId;
use crate::store::Entry;

/// When the record of each other member was last seen to change, on the observer's own clock. No clock of anybody else is
/// looked at: who waits a full lease after the last change that it saw, waits long enough.
#[derive(Default)]
pub(crate) struct Watch {
    sightings: BTreeMap<MemberId, Sighting>,
    looked_at: Option<Duration>,
}

enum Sighting {
    Alive { version: u64, since: Duration },
    Gone,
}

impl Watch {
    /// Takes in a look at `members`, which ended at `now`. Who has not looked for half a lease cannot have seen the others
    /// renew theirs, and waits anew.
    pub(crate) fn note(&mut self, members: &[MemberId], entries: Vec<Option<Entry>>, lease: Duration, now: Duration) {
        let half = lease.checked_div(2).unwrap_or_default();
        let was_blind = self.looked_at.is_none_or(|at| now.saturating_sub(at) > half);
        self.looked_at = Some(now);
        let mut sightings = BTreeMap::new();
        for (member, entry) in members.iter().zip(entries) {
            let sighting = match (entry, self.sightings.get(member)) {
                (None, _) => Sighting::Gone,
                (Some(entry), Some(Sighting::Alive { version, since })) if *version == entry.version && !was_blind => {
                    Sighting::Alive { version: *version, since: *since }
                }
                (Some(entry), _) => Sighting::Alive { version: entry.version, since: now },
            };
            sightings.insert(member.clone(), sighting);
        }
        self.sightings = sightings;
    }

    /// This member's record is deleted.
    pub(crate) fn note_gone(&mut self, member: MemberId) {
        self.sightings.insert(member, Sighting::Gone);
    }

    /// Those without a record.
    pub(crate) fn gone(&self) -> BTreeSet<MemberId> {
        let gone = self.sightings.iter().filter(|(_, sighting)| matches!(sighting, Sighting::Gone));
        gone.map(|(member, _)| member.clone()).collect()
    }

    /// A member whose record has not changed for a lease, and the version of that record.
    pub(crate) fn silent(&self, lease: Duration, now: Duration) -> Option<(MemberId, u64)> {
        self.sightings.iter().find_map(|(member, sighting)| match sighting {
            Sighting::Alive { version, since } if now.saturating_sub(*since) >= lease => {
                Some((member.clone(), *version))
            }
            _ => None,
        })
    }

    /// When the next lease ends, if it is not renewed.
    pub(crate) fn next_end(&self, lease: Duration) -> Option<Duration> {
        let ends = self.sightings.values().filter_map(|sighting| match sighting {
            Sighting::Alive { since, .. } => Some(since.saturating_add(lease)),
            Sighting::Gone => None,
        });
        ends.min()
    }
}
