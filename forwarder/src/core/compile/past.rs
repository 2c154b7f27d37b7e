//! What slots of lookup tables remember, in words that mean the same on both nodes of a pair: for the one
//! that was not there when they changed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use forwarder_common::Slot;
use serde::{Deserialize, Serialize};

use super::state::{BackendKey, State};

/// The slots of all pools, and what backends are called: cheap to make, and made into a [`Past`] when one is
/// wanted.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pools: Vec<(String, Arc<[Slot]>)>,
    backends: BTreeMap<u32, (IpAddr, u16)>,
}

/// What the slots remember.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    pools: Vec<Pool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pool {
    name: String,
    /// How many slots there are.
    slots: u32,
    /// Backends that slots remember: address, and port or 0.
    ends: Vec<(IpAddr, u16)>,
    /// The changed ones: how many are passed over since the one before, place in `ends` and 1 (0: there is nothing
    /// to remember but exceptions), and 1 while UDP stays there.
    changed: Vec<(u32, u16, u8)>,
}

impl Memory {
    /// Whether it is of these slots.
    pub fn is_of(&self, state: &State) -> bool {
        let mut pools = state.pools().zip(&self.pools);
        let same = pools.all(|((name, table), (known, slots))| {
            name == known && Arc::ptr_eq(&table.slots, slots)
        });
        same && self.pools.len() == state.pools.len()
    }

    /// Of a state.
    pub fn of(state: &State) -> Self {
        let (pools, backends) = (state.pools(), state.backends());
        Self {
            pools: pools
                .map(|(name, table)| (name.to_owned(), Arc::clone(&table.slots)))
                .collect(),
            backends: backends
                .map(|(key, index)| (index, (key.address, key.port)))
                .collect(),
        }
    }

    /// What the slots remember.
    pub fn past(&self) -> Past {
        let pools = self.pools.iter();
        Past {
            pools: pools.map(|(name, slots)| self.pool(name, slots)).collect(),
        }
    }

    fn pool(&self, name: &str, slots: &[Slot]) -> Pool {
        let mut pool = Pool {
            name: name.to_owned(),
            slots: slots.len() as u32,
            ends: Vec::new(),
            changed: Vec::new(),
        };
        let mut places = BTreeMap::new();
        let mut next = 0;
        for (at, slot) in (0..).zip(slots).filter(|(_, slot)| slot.is_changed()) {
            let previous = Some(slot.previous()).filter(|index| *index != slot.current());
            let end = previous.and_then(|index| self.backends.get(&index));
            let place = end.map_or(0, |end| {
                *places.entry(*end).or_insert_with(|| {
                    pool.ends.push(*end);
                    u16::try_from(pool.ends.len()).unwrap_or(0)
                })
            });
            pool.changed
                .push((at - next, place, u8::from(slot.in_grace())));
            next = at + 1;
        }
        pool
    }
}

impl State {
    /// Lets slots remember what the other node's do. The tables must be made of the same backends there and
    /// here; exceptions are to be consulted anew afterwards.
    pub fn recall(&mut self, past: &Past, now: Duration) {
        for told in &past.pools {
            let Some(table) = self.pools.get_mut(&told.name) else {
                continue;
            };
            let index = |(address, port): &(IpAddr, u16)| {
                let key = BackendKey {
                    pool: told.name.clone(),
                    address: *address,
                    port: *port,
                };
                let index = self.backends.get(&key);
                index.filter(|index| self.keeps.contains(index))
            };
            let ends: Vec<Option<u32>> = told.ends.iter().map(index).collect();
            let mut changed = BTreeMap::new();
            let mut next = 0_u32;
            for (skip, place, grace) in &told.changed {
                let at = next.saturating_add(*skip);
                let end = ends.get(usize::from(*place).wrapping_sub(1));
                changed.insert(at, (end.copied().flatten(), *grace == 1));
                next = at.saturating_add(1);
            }
            // A slot of a table is two of one twice as large.
            let (own, theirs) = (table.slots.len() as u64, u64::from(told.slots));
            let scale = |at: usize| (at as u64 * theirs / own.max(1)) as u32;
            let recalled = table.slots.iter().enumerate().map(|(at, slot)| {
                let (first, end) = (scale(at), scale(at + 1).max(scale(at) + 1));
                match changed.range(first..end).next() {
                    Some((_, (Some(previous), grace))) if *previous != slot.current() => {
                        Slot::changed(slot.current(), *previous, *grace)
                    }
                    Some((_, (_, grace))) => Slot::changed(slot.current(), slot.current(), *grace),
                    None => Slot::new(slot.current()),
                }
            });
            let recalled: Vec<Slot> = recalled.collect();
            if *recalled != *table.slots {
                table.slots = recalled.into();
                table.changed = now;
                table.stale = true;
            }
        }
    }
}
