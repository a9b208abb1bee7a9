//! Who owns which shard: one entry of the store, replaced as a whole.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use crate::id::MemberId;

/// The members of a fleet and the owner of each shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Table {
    /// What all members must agree on: see [`Timing`](crate::timing::Timing).
    takeover: u64,
    members: Vec<MemberId>,
    /// For each shard, its owner's place in `members`; `None` if it is free.
    owners: Vec<Option<usize>>,
}

impl Table {
    /// Without members. `takeover` in milliseconds.
    pub(crate) fn empty(shards: usize, takeover: u64) -> Self {
        Self { takeover, members: Vec::new(), owners: vec![None; shards] }
    }

    /// A table of the same terms as `this`; one without members is of any terms, so that terms can be changed when all have
    /// left. Whatever else is stored is none.
    pub(crate) fn read(bytes: &[u8], this: &Self) -> Option<Self> {
        let table: Self = serde_json::from_slice(bytes).ok()?;
        if table.members.is_empty() {
            return Some(Self::empty(this.owners.len(), this.takeover));
        }
        let is_known = |owner: &Option<usize>| owner.is_none_or(|place| place < table.members.len());
        let distinct: BTreeSet<_> = table.members.iter().collect();
        let agrees = table.owners.len() == this.owners.len() && table.takeover == this.takeover;
        (agrees && distinct.len() == table.members.len() && table.owners.iter().all(is_known)).then_some(table)
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(crate) fn members(&self) -> &[MemberId] {
        &self.members
    }

    /// The shards of a member, in ascending order.
    pub(crate) fn shards_of(&self, member: &MemberId) -> BTreeSet<usize> {
        let place = self.place(member);
        let shards = self.owners.iter().enumerate();
        shards.filter(|(_, owner)| place.is_some() && **owner == place).map(|(shard, _)| shard).collect()
    }

    /// The same without the members that are `gone`; their shards are free.
    pub(crate) fn without(&self, gone: &BTreeSet<MemberId>) -> Self {
        let members: Vec<_> = self.members.iter().filter(|member| !gone.contains(*member)).cloned().collect();
        let moved = |owner: &Option<usize>| {
            let member = owner.and_then(|place| self.members.get(place))?;
            members.iter().position(|kept| kept == member)
        };
        Self { owners: self.owners.iter().map(moved).collect(), members, ..*self }
    }

    /// The same with this member, if it was not among them.
    pub(crate) fn with(&self, member: &MemberId) -> Self {
        let mut table = self.clone();
        if table.place(member).is_none() {
            table.members.push(member.clone());
        }
        table
    }

    /// Which shards this member should let go, so that it keeps its fair share: those of the highest numbers.
    pub(crate) fn surplus(&self, member: &MemberId) -> BTreeSet<usize> {
        let shards = self.shards_of(member);
        shards.iter().copied().skip(self.fair_share(member)).collect()
    }

    /// The same with `shards` free, if this member owns them.
    pub(crate) fn released(&self, member: &MemberId, shards: &BTreeSet<usize>) -> Self {
        let place = self.place(member);
        let is_let_go = |shard: &usize, owner: &Option<usize>| *owner == place && shards.contains(shard);
        let owners = self.owners.iter().enumerate();
        let owners = owners.map(|(shard, owner)| if is_let_go(&shard, owner) { None } else { *owner }).collect();
        Self { owners, members: self.members.clone(), ..*self }
    }

    /// The same with as many free shards taken as this member lacks.
    pub(crate) fn taken(&self, member: &MemberId) -> Self {
        let place = self.place(member);
        let lacking = self.fair_share(member).saturating_sub(self.shards_of(member).len());
        let mut table = self.clone();
        let free = table.owners.iter_mut().filter(|owner| owner.is_none());
        free.take(lacking).for_each(|owner| *owner = place);
        table
    }

    /// How many shards a member should own. If they cannot be divided evenly, those with the most have one more, so that the
    /// fewest move.
    fn fair_share(&self, member: &MemberId) -> usize {
        let count = self.members.len();
        let (Some(least), Some(one_more)) =
            (self.owners.len().checked_div(count), self.owners.len().checked_rem(count))
        else {
            return 0;
        };
        let mut owned: BTreeMap<usize, usize> = BTreeMap::new();
        for place in self.owners.iter().flatten() {
            let count = owned.entry(*place).or_default();
            *count = count.saturating_add(1);
        }
        let standing = |place: usize| (std::cmp::Reverse(owned.get(&place).copied().unwrap_or_default()), place);
        let Some(own) = self.place(member).map(standing) else { return 0 };
        let rank = (0..count).filter(|place| standing(*place) < own).count();
        if rank < one_more { least.saturating_add(1) } else { least }
    }

    fn place(&self, member: &MemberId) -> Option<usize> {
        self.members.iter().position(|known| known == member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: u128) -> Vec<MemberId> {
        (0..count).map(MemberId::new).collect()
    }

    /// Lets all members do what they want, one after the other, until nobody wants anything.
    fn settled(mut table: Table) -> (Table, usize) {
        let mut moves = 0;
        loop {
            let before = table.clone();
            for member in before.members.clone() {
                let surplus = table.surplus(&member);
                moves += surplus.len();
                table = table.released(&member, &surplus).taken(&member);
            }
            if table == before {
                return (table, moves);
            }
        }
    }

    fn counts(table: &Table) -> Vec<usize> {
        table.members.iter().map(|member| table.shards_of(member).len()).collect()
    }

    #[test]
    fn shares_differ_by_one_at_most_whoever_joins_or_goes() {
        for shards in [1, 2, 7, 64, 1024] {
            let mut table = Table::empty(shards, 30_000);
            for member in members(21) {
                let before: Vec<_> =
                    table.members.iter().map(|member| (member.clone(), table.shards_of(member))).collect();
                let (next, moves) = settled(table.with(&member));
                let (least, most) =
                    (counts(&next).into_iter().min().unwrap(), counts(&next).into_iter().max().unwrap());
                assert!(most - least <= 1 && counts(&next).iter().sum::<usize>() == shards);
                assert_eq!(
                    moves,
                    next.shards_of(&member).len() * usize::from(!before.is_empty()),
                    "only what it gets moves"
                );
                table = next;
            }
            while let Some(gone) = table.members.first().cloned() {
                let kept: Vec<_> =
                    table.members[1..].iter().map(|member| (member.clone(), table.shards_of(member))).collect();
                let (next, moves) = settled(table.without(&BTreeSet::from([gone])));
                assert_eq!(moves, 0);
                assert!(kept.iter().all(|(member, shards)| next.shards_of(member).is_superset(shards)));
                table = next;
            }
        }
    }

    #[test]
    fn what_is_no_table_is_not_read() {
        let table = settled(Table::empty(3, 30_000).with(&MemberId::new(1)).with(&MemberId::new(2))).0;
        assert_eq!(Table::read(&table.write(), &table), Some(table.clone()));
        for other in [Table::empty(4, 30_000), Table::empty(3, 60_000)] {
            assert_eq!(Table::read(&table.write(), &other), None, "of other terms");
            assert_eq!(Table::read(&Table::empty(3, 30_000).write(), &other), Some(other), "all have left");
        }
        let text = String::from_utf8(table.write()).unwrap();
        for damaged in [&text[1..], "", "{}", &text.replace("1]", "2]"), &text.replace("[0", "[-1")] {
            assert_eq!(Table::read(damaged.as_bytes(), &table), None, "{damaged}");
        }
    }
}
