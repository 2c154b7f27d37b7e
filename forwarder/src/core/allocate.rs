//! Ids and regions that stay with what they were given to.

use std::collections::{BTreeMap, BTreeSet};

/// Ids by name. What stays keeps its id; a freed id is not given away until it is released, since
/// flows may still carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids<K> {
    first: u32,
    end: u32,
    /// Where to look for a free id; `None`: always from the first.
    next: Option<u32>,
    given: BTreeMap<K, u32>,
    quarantine: BTreeSet<u32>,
}

impl<K: Ord + Clone> Ids<K> {
    /// Ids from `first`, `count` of them.
    pub fn new(first: u32, count: u32) -> Self {
        Self {
            first,
            end: first.saturating_add(count),
            next: None,
            given: BTreeMap::new(),
            quarantine: BTreeSet::new(),
        }
    }

    /// The same, but every other id is given away before a freed one is again.
    pub fn in_turn(first: u32, count: u32) -> Self {
        Self {
            next: Some(first),
            ..Self::new(first, count)
        }
    }

    /// Which id is looked at first; ids that are given always from the first have none.
    pub fn next(&self) -> Option<u32> {
        self.next
    }

    /// Goes on where another left off.
    pub fn go_on(&mut self, next: Option<u32>) {
        if let (Some(own), Some(next)) = (&mut self.next, next)
            && (self.first..self.end).contains(&next)
        {
            *own = next;
        }
    }

    /// Ids that `old` did not give to the same keys.
    pub fn given_since(&self, old: &Self) -> BTreeSet<u32> {
        let mut before = old.given.iter().peekable();
        let new = self.given.iter().filter(|(key, id)| {
            while before.next_if(|(old, _)| old < key).is_some() {}
            before.next_if(|(old, _)| old == key) != Some((key, id))
        });
        new.map(|(_, id)| *id).collect()
    }

    /// The same range, with ids that were given away before. What does not fit is left out.
    pub fn restore(
        &mut self,
        given: impl IntoIterator<Item = (K, u32)>,
        freed: impl IntoIterator<Item = u32>,
    ) {
        let fits = self.first..self.end;
        let mut taken = BTreeSet::new();
        for (key, id) in given {
            if fits.contains(&id) && taken.insert(id) {
                self.given.insert(key, id);
            }
        }
        let freed = freed.into_iter();
        self.quarantine
            .extend(freed.filter(|id| fits.contains(id) && !taken.contains(id)));
    }

    /// The id of a key.
    pub fn get(&self, key: &K) -> Option<u32> {
        self.given.get(key).copied()
    }

    /// Keys and ids.
    pub fn iter(&self) -> impl Iterator<Item = (&K, u32)> {
        self.given.iter().map(|(key, id)| (key, *id))
    }

    /// Ids that were freed and not released.
    pub fn quarantine(&self) -> &BTreeSet<u32> {
        &self.quarantine
    }

    /// Gives every key an id and frees those of all others. Returns the keys there was no id for.
    pub fn assign<'a>(&mut self, keys: impl IntoIterator<Item = &'a K>) -> Vec<K>
    where
        K: 'a,
    {
        let wanted: BTreeSet<&K> = keys.into_iter().collect();
        if self.given.keys().eq(wanted.iter().copied()) {
            return Vec::new();
        }
        let quarantine = &mut self.quarantine;
        self.given.retain(|key, id| {
            let stays = wanted.contains(key);
            if !stays {
                quarantine.insert(*id);
            }
            stays
        });
        let used: BTreeSet<u32> = self
            .given
            .values()
            .chain(&self.quarantine)
            .copied()
            .collect();
        let from = self.next.unwrap_or(self.first);
        let in_turn = (from..self.end).chain(self.first..from);
        let mut free = in_turn.filter(|id| !used.contains(id));
        let mut left_out = Vec::new();
        for key in wanted {
            if !self.given.contains_key(key) {
                match free.next() {
                    Some(id) => {
                        self.given.insert(key.clone(), id);
                        self.next = self.next.map(|_| id + 1);
                    }
                    None => left_out.push(key.clone()),
                }
            }
        }
        left_out
    }

    /// Makes every freed id available.
    pub fn release_all(&mut self) {
        self.quarantine.clear();
    }

    /// Makes a freed id available: nothing carries it any more.
    pub fn release(&mut self, id: u32) {
        self.quarantine.remove(&id);
    }
}

/// Contiguous parts of an array, by their first element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Regions {
    used: BTreeMap<u32, u32>,
}

impl Regions {
    /// Takes `size` elements where they first fit below `end`. Neighbouring free parts are one.
    pub fn take(&mut self, size: u32, end: u32) -> Option<u32> {
        let mut base = 0;
        for (&start, &length) in &self.used {
            if start - base >= size {
                break;
            }
            base = start + length;
        }
        if base.checked_add(size)? > end {
            return None;
        }
        if size > 0 {
            self.used.insert(base, size);
        }
        Some(base)
    }

    /// Whether a region lies below `end` and overlaps no other.
    pub fn is_free(&self, base: u32, size: u32, end: u32) -> bool {
        let Some(top) = base.checked_add(size).filter(|top| *top <= end) else {
            return false;
        };
        let before = self.used.range(..top).next_back();
        before.is_none_or(|(start, length)| start + length <= base)
    }

    /// Marks a region as in use.
    pub fn keep(&mut self, base: u32, size: u32) {
        if size > 0 {
            self.used.insert(base, size);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_stay_and_are_not_reused_until_released() {
        let mut ids = Ids::new(1, 3);
        assert!(ids.assign(&["a", "b", "c"]).is_empty());
        assert_eq!(ids.assign(&["b", "d"]), ["d"]);
        assert_eq!(ids.get(&"b"), Some(2));
        assert_eq!(ids.quarantine(), &BTreeSet::from([1, 3]));
        ids.release(3);
        assert!(ids.assign(&["b", "d"]).is_empty());
        assert_eq!(ids.get(&"d"), Some(3));
    }

    #[test]
    fn ids_in_turn_come_round_only_when_all_were_given() {
        let mut ids = Ids::in_turn(0, 3);
        assert!(ids.assign(&["a"]).is_empty());
        for (key, id) in [("b", 1), ("c", 2), ("d", 0), ("e", 1)] {
            let before = ids.clone();
            assert!(ids.assign(&[key]).is_empty());
            assert_eq!(ids.get(&key), Some(id));
            assert_eq!(ids.given_since(&before), BTreeSet::from([id]));
            assert!(ids.given_since(&ids).is_empty());
            ids.release_all();
        }
        let mut other = Ids::in_turn(0, 3);
        other.go_on(ids.next());
        other.assign(&["f"]);
        assert_eq!(other.get(&"f"), Some(2));
    }

    #[test]
    fn ids_survive_a_restart() {
        let mut ids = Ids::new(1, 3);
        ids.restore([("a", 2), ("twice", 2), ("beyond", 4)], [3, 2, 9]);
        assert_eq!((ids.get(&"a"), ids.get(&"beyond")), (Some(2), None));
        assert_eq!(ids.quarantine(), &BTreeSet::from([3]));
        assert_eq!(ids.assign(&["a", "b", "c"]), ["c"]);
        assert_eq!(ids.get(&"b"), Some(1));
    }

    #[test]
    fn regions_fill_gaps() {
        let mut regions = Regions::default();
        regions.keep(4, 4);
        assert_eq!(regions.take(4, 16), Some(0));
        assert_eq!(regions.take(9, 16), None);
        assert_eq!(regions.take(8, 16), Some(8));
        assert_eq!(regions.take(1, 16), None);
    }

    proptest! {
        #[test]
        fn regions_never_overlap(sizes in proptest::collection::vec(1u32..20, 1..40), keep in any::<u64>()) {
            let mut regions = Regions::default();
            let mut taken: Vec<(u32, u32)> = Vec::new();
            for round in 0..2 {
                for size in &sizes {
                    if let Some(base) = regions.take(*size, 400) {
                        prop_assert!(base + size <= 400);
                        let apart = |other: &(u32, u32)| base + size <= other.0 || other.0 + other.1 <= base;
                        prop_assert!(taken.iter().all(apart));
                        taken.push((base, *size));
                    }
                }
                if round == 0 {
                    let mut bits = keep;
                    taken.retain(|_| { bits = bits.rotate_left(1); bits & 1 == 1 });
                    regions = Regions::default();
                    for (base, size) in &taken {
                        regions.keep(*base, *size);
                    }
                }
            }
        }
    }
}
