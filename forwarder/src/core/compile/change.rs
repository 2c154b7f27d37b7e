//! One backend changes and nothing else: what compiling everything would come to, without doing so.

use std::sync::Arc;
use std::time::Duration;

use super::backends::{KEPT, kept, takes_flows};
use super::{BackendKey, State};
use crate::config::model::{Backend, Pool};
use crate::core::op::Op;
use crate::core::slots::{change, forget};
use crate::core::table::Member;
use crate::core::tables::Tables;

/// What a backend of a pool is from now on: as in the model, or otherwise in weight or state, or in whether it is up.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Its pool.
    pub pool: &'a Pool,
    /// The backend.
    pub backend: &'a Backend,
    /// Whether health checks have found it to be down.
    pub is_down: bool,
    /// The time, from any fixed point.
    pub now: Duration,
}

/// What is to be done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Changes of the maps, in an order in which every prefix is safe.
    pub ops: Vec<Op>,
    /// The backend's index, if it no longer keeps flows: as [`super::Compiled::lost`].
    pub lost: Option<u32>,
}

impl State {
    /// Changes a backend. `tables` are those that this state was compiled with; of them and of the state only what has to do
    /// with the backend is looked at. They are without the pool's lookup table afterwards, until the changes are applied to them.
    ///
    /// `None`: there is more to it, and nothing was changed; compile everything.
    pub fn change(&mut self, tables: &mut Tables, wanted: Change<'_>) -> Option<Changed> {
        let Change { pool, backend, .. } = wanted;
        let key = BackendKey::new(&pool.name, backend);
        let index = self.backends.get(&key)?;
        let before = *tables.backends.get(&index)?;
        let table = self.pools.get_mut(&pool.name)?;
        let size = table.size;
        let known = table.filling.0.as_mut();
        let filling = known.filter(|filling| filling.is_of(size, &table.members))?;
        let is_usual = pool.slow_start.is_none()
            && !table.stale
            && table.slots.len() as u32 == size
            && tables.slots.get(&table.base) == Some(&table.slots);
        let takes_flows = takes_flows(backend, wanted.is_down);
        let member = takes_flows.then_some(Member {
            address: key.address,
            port: key.port,
            weight: u16::from(backend.weight),
            backend: index,
        });
        let place = table.members.iter().position(|each| each.backend == index);
        let others = table.members.len() - usize::from(place.is_some());
        if !is_usual || others == 0 {
            return None;
        }
        let mut done = Changed::default();
        let kept = kept(pool, backend, wanted.is_down);
        let mut entry = before;
        entry.flags = before.flags & !KEPT | kept;
        if entry != before {
            let entry = Some(entry);
            done.ops.push(Op::Backend { index, entry });
        }
        let is_lost = kept == 0 && self.keeps.remove(&index);
        if kept != 0 {
            self.keeps.insert(index);
        }
        done.lost = is_lost.then_some(index);
        let same = place.map(|place| table.members[place]) == member;
        if same && !is_lost {
            return Some(done);
        }
        // Else the table would be copied, as it is in both.
        tables.slots.remove(&table.base);
        let slots = Arc::make_mut(&mut table.slots);
        let keeps = |backend| self.keeps.contains(&backend);
        let mut changed = Vec::new();
        if !same {
            if let Some(place) = place {
                table.members.remove(place);
            }
            if let Some(member) = member {
                let at = table.members.partition_point(|each| *each < member);
                table.members.insert(at, member);
            }
            let changes = Arc::make_mut(filling).set(&table.members);
            changed = change(slots, &changes, keeps);
            table.changed = wanted.now;
        }
        if is_lost {
            changed.extend(forget(slots, keeps));
            changed.sort_unstable();
            changed.dedup();
        }
        let (base, slots) = (table.base, Arc::clone(&table.slots));
        if changed.is_empty() {
            tables.slots.insert(base, slots);
        } else {
            let changed = changed.into();
            done.ops.push(Op::Slots {
                base,
                slots,
                changed,
            });
        }
        Some(done)
    }
}
