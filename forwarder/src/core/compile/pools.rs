//! Lookup tables.

use std::sync::Arc;

use super::state::PoolTable;
use super::{BackendKey, Compilation, Note};
use crate::config::model::Pool;
use crate::core::allocate::Regions;
use crate::core::slots::transition;
use crate::core::table::{self, Member};

impl Compilation<'_> {
    pub(super) fn pools(&mut self) {
        let model = self.model();
        let sizes = model
            .pools
            .iter()
            .map(|pool| table::size(pool.backends.len()));
        let shift = table::shift(sizes, model.limits.table_slots);
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
            match self.pool_table(old.remove(&pool.name), members, size, &mut regions) {
                Some(table) if table.slots.is_empty() => {}
                Some(table) => {
                    self.tables
                        .slots
                        .insert(table.base, Arc::clone(&table.slots));
                    self.state.pools.insert(pool.name.clone(), table);
                }
                None => {
                    let name = pool.name.clone();
                    let limit = "raise limits.table_slots";
                    self.notes.push(Note::NoRoom {
                        what: "lookup table of pool",
                        name,
                        limit,
                    });
                }
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
                self.takes_flows(&key, backend).then_some(Member {
                    address: key.address,
                    port: key.port,
                    weight: backend.weight,
                    backend: index,
                })
            })
            .collect();
        members.sort_unstable();
        members
    }

    /// The pool's table; `None`: there is no room for it.
    fn pool_table(
        &self,
        old: Option<PoolTable>,
        members: Vec<Member>,
        size: u32,
        regions: &mut Regions,
    ) -> Option<PoolTable> {
        if let Some(old) = &old
            && old.size == size
            && old.members.as_ref() == Some(&members)
        {
            return Some(old.clone());
        }
        let keeps = |backend| self.state.keeps.contains(&backend);
        let built = table::build(&members, size);
        let before = old.as_ref().map_or(&[][..], |old| &old.slots);
        let slots = if built.is_empty() && !self.any_keeps(before) {
            before.to_vec()
        } else {
            transition(before, &built, keeps)
        };
        let changed = old
            .as_ref()
            .filter(|old| *old.slots == *slots)
            .map_or(self.input.now, |old| old.changed);
        let in_place = old
            .filter(|old| old.slots.len() == slots.len())
            .map(|old| old.base);
        let length = slots.len() as u32;
        let end = self.model().limits.table_slots;
        let base = in_place.or_else(|| regions.take(length, end))?;
        Some(PoolTable {
            base,
            slots: slots.into(),
            changed,
            members: Some(members),
            size,
        })
    }

    /// Whether some backend still keeps flows of these slots.
    pub(super) fn any_keeps(&self, slots: &[forwarder_common::Slot]) -> bool {
        slots.iter().any(|slot| {
            self.state.keeps.contains(&slot.current())
                || slot.is_changed() && self.state.keeps.contains(&slot.previous())
        })
    }
}
