//! What must survive a restart of the daemon: which id belongs to what, and where the lookup tables
//! are. Flows and slots in the maps carry the ids.

use std::time::Duration;

use forwarder_common::Slot;
use serde::{Deserialize, Serialize};

use super::snat::SnatKey;
use super::state::{BackendKey, Filled, PoolTable, SnatAddresses, State};
use crate::config::model::Limits;
use crate::core::allocate::{Ids, Regions};
use crate::core::slots::NOWHERE;
use crate::core::table::Member;

/// A [`State`] without the slots, which are in their map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    backends: Vec<(BackendKey, u32)>,
    /// Freed, but flows may carry them.
    freed: Vec<u32>,
    /// By device: counters go by the slot.
    #[serde(default)]
    interfaces: Vec<(String, u32)>,
    virtual_servers: Vec<(String, u32)>,
    #[serde(default)]
    next_virtual_server: Option<u32>,
    snat_pools: Vec<(SnatKey, u32)>,
    snat_addresses: Vec<(SnatKey, SnatAddresses)>,
    pools: Vec<Pool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pool {
    name: String,
    base: u32,
    slots: u32,
    /// By the monotonic clock, which goes on as long as the maps do.
    changed: Duration,
    members: Vec<Member>,
    size: u32,
    stale: bool,
}

fn named(ids: &Ids<String>) -> Vec<(String, u32)> {
    ids.iter().map(|(name, id)| (name.clone(), id)).collect()
}

impl Snapshot {
    /// Of a state whose tables are in the maps.
    pub fn of(state: &State) -> Self {
        let owned = |(key, id): (&SnatKey, u32)| (key.clone(), id);
        Self {
            backends: state
                .backends
                .iter()
                .map(|(key, id)| (key.clone(), id))
                .collect(),
            freed: state.backends.quarantine().iter().copied().collect(),
            interfaces: named(&state.interfaces),
            virtual_servers: named(&state.virtual_servers),
            next_virtual_server: state.virtual_servers.next(),
            snat_pools: state.snat_pools.iter().map(owned).collect(),
            snat_addresses: state.snat_addresses.clone().into_iter().collect(),
            pools: state
                .pools
                .iter()
                .map(|(name, table)| Pool {
                    name: name.clone(),
                    base: table.base,
                    slots: table.slots.len() as u32,
                    changed: table.changed,
                    members: table.members.clone(),
                    size: table.size,
                    stale: table.stale,
                })
                .collect(),
        }
    }

    /// While the step from `old` to `new` is written to the maps: ids of both, so that none that a map
    /// names is unknown, and the lookup tables where they were, as the new ones are not there yet.
    pub fn between(old: &State, new: &State) -> Self {
        Self {
            pools: Self::of(old).pools,
            ..Self::of(new)
        }
    }
}

impl State {
    /// The state of a daemon that is gone. `slots` gives a part of the slot array: first slot, how
    /// many. What the limits leave no room for is forgotten.
    pub fn restore(
        snapshot: Snapshot,
        limits: &Limits,
        slots: impl Fn(u32, u32) -> Option<Vec<Slot>>,
    ) -> Self {
        let mut state = Self::new(limits);
        state.backends.restore(snapshot.backends, snapshot.freed);
        state.interfaces.restore(snapshot.interfaces, []);
        state.virtual_servers.restore(snapshot.virtual_servers, []);
        state.virtual_servers.go_on(snapshot.next_virtual_server);
        state.snat_pools.restore(snapshot.snat_pools, []);
        state.snat_addresses = snapshot.snat_addresses.into_iter().collect();
        // All, so that those that keep no flows now count as lost: the old daemon may have ended
        // before it made the data plane forget them.
        let known = state.backends.iter().map(|(_, id)| id);
        state.keeps = known.chain(state.backends.quarantine().clone()).collect();
        let mut regions = Regions::default();
        for pool in snapshot.pools {
            if !regions.is_free(pool.base, pool.slots, limits.table_slots) {
                continue;
            }
            let known = |index| index == NOWHERE || state.keeps.contains(&index);
            let Some(slots) = slots(pool.base, pool.slots).filter(|slots| {
                slots.iter().all(|slot| {
                    known(slot.current()) && (!slot.is_changed() || known(slot.previous()))
                })
            }) else {
                continue;
            };
            regions.keep(pool.base, pool.slots);
            let table = PoolTable {
                base: pool.base,
                slots: slots.into(),
                changed: pool.changed,
                members: pool.members,
                size: pool.size,
                stale: pool.stale,
                filling: Filled::default(),
            };
            state.pools.insert(pool.name, table);
        }
        state
    }
}
