//! How many embryonic entries newer ones pushed out. An LRU map does not say: it follows from what was
//! made, what was removed, and what is there.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use forwarder_common::Churn;

use super::super::batch::for_each_per_cpu;

/// What was made and removed in the embryonic maps: IPv4, IPv6.
#[derive(Debug)]
pub struct Churned {
    counters: OwnedFd,
    cpus: usize,
    /// Removed by the control plane.
    removed: [AtomicU64; 2],
}

impl Churned {
    /// With a duplicate of the counters' descriptor.
    pub fn new(counters: BorrowedFd<'_>, cpus: usize) -> io::Result<Self> {
        Ok(Self {
            counters: counters.try_clone_to_owned()?,
            cpus,
            removed: Default::default(),
        })
    }

    /// Takes in what the control plane has removed.
    pub fn removed(&self, family: usize, entries: u64) {
        self.removed[family].fetch_add(entries, Ordering::Relaxed);
    }

    /// Both families as they are now.
    pub(super) fn read(&self) -> io::Result<[Churn; 2]> {
        let mut churn = [Churn::default(); 2];
        for_each_per_cpu(
            self.counters.as_fd(),
            self.cpus,
            2,
            |index, values: &[Churn]| {
                if let Some(of_family) = churn.get_mut(index as usize) {
                    of_family.made = values.iter().map(|each| each.made).sum();
                    of_family.removed = values.iter().map(|each| each.removed).sum();
                }
            },
        )?;
        for (churn, removed) in churn.iter_mut().zip(&self.removed) {
            churn.removed += removed.load(Ordering::Relaxed);
        }
        Ok(churn)
    }
}

/// Evictions from one map. Packets go on while it is walked, so each walk only bounds their number: it is
/// counted from the upper bound of the first walk to the lower bounds of later ones, and never falls.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evictions {
    base: Option<i128>,
    count: u64,
}

impl Evictions {
    /// Takes in a walk: what had been made and removed before and after it, and the entries that it has seen.
    pub fn note(&mut self, before: Churn, after: Churn, entries: u64) {
        let missing =
            |made: u64, removed: u64| i128::from(made) - i128::from(removed) - i128::from(entries);
        let most = missing(after.made, before.removed);
        let least = missing(before.made, after.removed);
        // What lies in a map that was taken over may have been made before anybody counted.
        let base = *self.base.get_or_insert(most);
        let count = u64::try_from(least - base).unwrap_or(0);
        self.count = self.count.max(count);
    }

    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn churn(made: u64, removed: u64) -> Churn {
        Churn { made, removed }
    }

    #[test]
    fn what_is_missing_was_pushed_out() {
        let mut evictions = Evictions::default();
        for (made, removed, entries, count) in [
            (0, 0, 0, 0),
            (100, 0, 100, 0),
            (100, 60, 40, 0),
            (300, 60, 100, 140),
            (300, 160, 0, 140),
            (400, 160, 100, 140),
            (500, 160, 100, 240),
        ] {
            let now = churn(made, removed);
            evictions.note(now, now, entries);
            assert_eq!(evictions.count(), count, "{made} {removed} {entries}");
        }
    }

    #[test]
    fn what_happens_during_a_walk_is_no_eviction() {
        let mut evictions = Evictions::default();
        // Taken over: 1000 entries that nobody counted, and 50 made meanwhile, not all of them seen.
        evictions.note(churn(0, 0), churn(50, 0), 1_020);
        assert_eq!(evictions.count(), 0);
        evictions.note(churn(50, 0), churn(90, 10), 1_060);
        assert_eq!(evictions.count(), 0);
        evictions.note(churn(90, 10), churn(90, 10), 1_080);
        assert_eq!(evictions.count(), 0);
        evictions.note(churn(290, 10), churn(290, 10), 1_080);
        assert!((170..=200).contains(&evictions.count()), "{evictions:?}");
    }
}
