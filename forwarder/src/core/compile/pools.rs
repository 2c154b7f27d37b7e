//! Lookup tables.

use std::sync::Arc;

use forwarder_common::Slot;

use super::backends::takes_flows;
use super::state::{Filled, PoolTable};
use super::{BackendKey, Compilation, Note};
use crate::config::model::Pool;
use crate::core::allocate::Regions;
use crate::core::health::FULL;
use crate::core::slots::{change, forget, forgettable, transition};
use crate::core::table::{self, Filling, Member};

impl Compilation<'_> {
    pub(super) fn pools(&mut self) {
        let model = self.model();
        let sizes = model
            .pools
            .iter()
            .map(|pool| table::size(pool.backends.len()));
        // Half, so that there is room to make a table anew beside the old one.
        let shift = table::shift(sizes, model.limits.table_slots / 2);
        if shift > 0 {
            self.notes.push(Note::SmallTables { shift });
        }
        // Regions in use stay in use until the plan is through.
        let mut regions = Regions::default();
        for pool in self.state.pools.values() {
            regions.keep(pool.base, pool.slots.len() as u32);
        }
        let mut old = std::mem::take(&mut self.state.pools);
        for pool in &model.pools {
            let members = self.members(pool);
            if members.is_empty() {
                self.notes.push(Note::NoBackend {
                    pool: pool.name.clone(),
                });
            }
            let size = table::scaled(table::size(pool.backends.len()), shift);
            let old = old.remove(&pool.name);
            if let Some(table) = self.pool_table(pool, old, members, size, &mut regions)
                && !table.slots.is_empty()
            {
                self.tables
                    .slots
                    .insert(table.base, Arc::clone(&table.slots));
                self.state.pools.insert(pool.name.clone(), table);
            }
        }
    }

    fn members(&self, pool: &Pool) -> Vec<Member> {
        let mut members: Vec<Member> = pool
            .backends
            .iter()
            .filter_map(|backend| {
                let key = BackendKey::new(&pool.name, backend);
                let index = self.state.backends.get(&key)?;
                takes_flows(backend, self.input.down.contains(&key)).then_some(Member {
                    address: key.address,
                    port: key.port,
                    weight: self.weight(pool, &key, backend.weight),
                    backend: index,
                })
            })
            .collect();
        members.sort_unstable();
        members
    }

    /// In a pool with slow start weights are counted in parts, in slow start or not: so nothing moves
    /// when the last backend is through.
    fn weight(&self, pool: &Pool, key: &BackendKey, weight: u8) -> u16 {
        let part = match pool.slow_start {
            None => 1,
            Some(_) => self.input.ramps.get(key).copied().unwrap_or(FULL),
        };
        u16::from(weight) * u16::from(part)
    }

    /// The pool's table, without slots if no backend takes or keeps flows; `None`: there is no room
    /// for it.
    fn pool_table(
        &mut self,
        pool: &Pool,
        old: Option<PoolTable>,
        members: Vec<Member>,
        mut size: u32,
        regions: &mut Regions,
    ) -> Option<PoolTable> {
        let keeps = |backend| self.state.keeps.contains(&backend);
        let same = old
            .as_ref()
            .is_some_and(|old| old.size == size && old.members == members);
        let mut old = old.unwrap_or_default();
        if same && !old.stale && !forgettable(&old.slots, keeps) {
            return Some(old);
        }
        let (mut slots, mut filling) = self.slots(&old, &members, size);
        if slots.len() != old.slots.len() {
            let end = self.model().limits.table_slots;
            match regions.take(slots.len() as u32, end) {
                Some(base) => old.base = base,
                // Better a table of the wrong size than none; the next compilation tries again.
                None if !old.slots.is_empty() => {
                    size = old.slots.len() as u32;
                    (slots, filling) = self.slots(&old, &members, size);
                    self.note_no_room(pool);
                }
                None => {
                    self.note_no_room(pool);
                    return None;
                }
            }
        }
        let changed = if same { old.changed } else { self.input.now };
        Some(PoolTable {
            base: old.base,
            slots,
            changed,
            members,
            size,
            stale: false,
            filling,
        })
    }

    fn slots(&self, old: &PoolTable, members: &[Member], size: u32) -> (Arc<[Slot]>, Filled) {
        let keeps = |backend| self.state.keeps.contains(&backend);
        if members.is_empty() {
            let slots = match self.any_keeps(&old.slots) {
                true => transition(&old.slots, &[], keeps),
                false => Vec::new(),
            };
            return (forgotten(slots.into(), keeps), Filled::default());
        }
        let known = old.filling.0.as_ref();
        let known = known.filter(|filling| filling.is_of(size, &old.members));
        let mut filling = known.map_or_else(|| Arc::new(Filling::new(size)), Arc::clone);
        let changes = Arc::make_mut(&mut filling).set(members);
        let mut slots = Arc::clone(&old.slots);
        if known.is_some() && slots.len() as u32 == size {
            change(Arc::make_mut(&mut slots), &changes, keeps);
        } else {
            slots = transition(&old.slots, &filling.table(), keeps).into();
        }
        (forgotten(slots, keeps), Filled(Some(filling)))
    }

    fn note_no_room(&mut self, pool: &Pool) {
        let (name, limit) = (pool.name.clone(), "raise limits.table_slots");
        self.notes.push(Note::NoRoom {
            what: "lookup table of pool",
            name,
            limit,
        });
    }

    /// Whether some backend still keeps flows of these slots.
    pub(super) fn any_keeps(&self, slots: &[Slot]) -> bool {
        slots.iter().any(|slot| {
            self.state.keeps.contains(&slot.current())
                || slot.is_changed() && self.state.keeps.contains(&slot.previous())
        })
    }
}

fn forgotten(mut slots: Arc<[Slot]>, keeps: impl Fn(u32) -> bool) -> Arc<[Slot]> {
    if forgettable(&slots, &keeps) {
        forget(Arc::make_mut(&mut slots), keeps);
    }
    slots
}
