//! What stays from one compilation to the next: ids, table regions and slot histories.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use forwarder_common::{Slot, limits};
use serde::{Deserialize, Serialize};

use super::snat::SnatKey;
use crate::config::model::{Backend, Limits};
use crate::core::allocate::Ids;
use crate::core::slots::{self, NOWHERE};
use crate::core::table::{Filling, Member};

/// What a pool member is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BackendKey {
    /// The pool's name.
    pub pool: String,
    /// Address.
    pub address: IpAddr,
    /// Port, host order; 0: the packet's.
    pub port: u16,
}

impl BackendKey {
    /// The address, with the port if it has one of its own.
    pub fn end(&self) -> String {
        match self.port {
            0 => self.address.to_string(),
            port => SocketAddr::new(self.address, port).to_string(),
        }
    }

    /// Whether it is this backend's of its pool.
    pub fn is_of(&self, backend: &Backend) -> bool {
        let port = backend.port.map_or(0, u16::from);
        (self.address, self.port) == (backend.address, port)
    }

    /// The key of a pool's backend.
    pub fn new(pool: &str, backend: &Backend) -> Self {
        let port = backend.port.map_or(0, u16::from);
        Self {
            pool: pool.to_owned(),
            address: backend.address,
            port,
        }
    }
}

/// A pool's lookup table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolTable {
    /// First slot.
    pub base: u32,
    /// Its slots. More than `size` while histories need it.
    pub slots: Arc<[Slot]>,
    /// When a slot last changed.
    pub changed: Duration,
    /// Who is in it; with `size`, what the slots were made from.
    pub(super) members: Vec<Member>,
    pub(super) size: u32,
    /// Slots have settled; perhaps fewer of them will do.
    pub(super) stale: bool,
    /// What the next change starts from.
    pub(super) filling: Filled,
}

/// How a table was filled; `None`: not known. Members and size say all that matters of it, so any two are equal.
#[derive(Clone, Debug, Default)]
pub(super) struct Filled(pub Option<Arc<Filling>>);

impl PartialEq for Filled {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Filled {}

/// Where a SNAT pool's addresses are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SnatAddresses {
    pub first: u32,
    pub addresses: Vec<IpAddr>,
}

/// Far longer than any packet is under way.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// What stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// By device: what an interface is called may change under way.
    pub(super) interfaces: Ids<String>,
    pub(super) backends: Ids<BackendKey>,
    pub(super) virtual_servers: Ids<String>,
    pub(super) snat_pools: Ids<SnatKey>,
    pub(super) snat_addresses: BTreeMap<SnatKey, SnatAddresses>,
    pub(super) pools: BTreeMap<String, PoolTable>,
    pub(super) keeps: BTreeSet<u32>,
}

/// Ids that now belong to something else than before: what was counted for them is another's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Slots of interfaces.
    pub interfaces: BTreeSet<u32>,
    /// Ids of virtual servers and egress rules.
    pub virtual_servers: BTreeSet<u32>,
    /// Indices of backends.
    pub backends: BTreeSet<u32>,
    /// Indices of SNAT pools.
    pub snat_pools: BTreeSet<u32>,
}

impl Given {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.interfaces.is_empty()
            && self.virtual_servers.is_empty()
            && self.backends.is_empty()
            && self.snat_pools.is_empty()
    }
}

/// Ids of virtual servers (both families) and egress rules: the size of `VIRTUAL_SERVER_COUNTERS`
/// is twice this (in, out).
pub fn virtual_server_ids(limits: &Limits) -> u32 {
    limits
        .virtual_servers
        .saturating_mul(2)
        .saturating_add(2 * limits::EGRESS_PREFIXES as u32)
}

impl State {
    /// Nothing given away yet.
    pub fn new(limits: &Limits) -> Self {
        Self {
            interfaces: Ids::new(0, limits::INTERFACES as u32),
            backends: Ids::new(NOWHERE + 1, limits.backends.saturating_sub(1)),
            // Replies of flows whose virtual server is gone are still counted for its id.
            virtual_servers: Ids::in_turn(0, virtual_server_ids(limits)),
            snat_pools: Ids::new(0, limits::SNAT_POOLS as u32),
            snat_addresses: BTreeMap::new(),
            pools: BTreeMap::new(),
            keeps: BTreeSet::new(),
        }
    }

    /// Ids that no flow carries are free again once the plan that freed them is through.
    pub(super) fn release_passing(&mut self) {
        self.interfaces.release_all();
        self.virtual_servers.release_all();
        self.snat_pools.release_all();
    }

    /// Ids that were given away since `old`.
    pub fn given_since(&self, old: &Self) -> Given {
        Given {
            interfaces: self.interfaces.given_since(&old.interfaces),
            virtual_servers: self.virtual_servers.given_since(&old.virtual_servers),
            backends: self.backends.given_since(&old.backends),
            snat_pools: self.snat_pools.given_since(&old.snat_pools),
        }
    }

    /// SNAT pools, each with its index and addresses.
    pub fn snat_pools(&self) -> impl Iterator<Item = (&SnatKey, u32, &[IpAddr])> {
        self.snat_pools.iter().map(|(key, id)| {
            let place = self.snat_addresses.get(key);
            (key, id, place.map_or(&[][..], |place| &place.addresses))
        })
    }

    /// The slot of a device. It stays as long as the device is one of the interfaces.
    pub fn interface(&self, device: &str) -> Option<u32> {
        self.interfaces.get(&device.to_owned())
    }

    /// The index of a backend.
    pub fn backend(&self, key: &BackendKey) -> Option<u32> {
        self.backends.get(key)
    }

    /// Every backend and its index.
    pub fn backends(&self) -> impl Iterator<Item = (&BackendKey, u32)> {
        self.backends.iter()
    }

    /// The id of a virtual server (by name) or egress rule (see [`egress_name`]).
    pub fn virtual_server(&self, name: &str) -> Option<u32> {
        self.virtual_servers.get(&name.to_owned())
    }

    /// Every virtual server and egress rule, and its id.
    pub fn virtual_servers(&self) -> impl Iterator<Item = (&str, u32)> {
        let given = self.virtual_servers.iter();
        given.map(|(name, id)| (name.as_str(), id))
    }

    /// The lookup table of a pool.
    pub fn pool(&self, name: &str) -> Option<&PoolTable> {
        self.pools.get(name)
    }

    /// Every pool that has a lookup table.
    pub fn pools(&self) -> impl Iterator<Item = (&str, &PoolTable)> {
        let pools = self.pools.iter();
        pools.map(|(name, table)| (name.as_str(), table))
    }

    /// Every lookup table by its first slot.
    pub fn tables(&self) -> BTreeMap<u32, Arc<[Slot]>> {
        let tables = self.pools.values();
        tables
            .map(|table| (table.base, Arc::clone(&table.slots)))
            .collect()
    }

    /// Lets a backend's index be given away again: the data plane has forgotten it.
    pub fn release(&mut self, index: u32) {
        self.backends.release(index);
    }

    /// Whether a backend keeps flows.
    pub fn keeps_flows(&self, index: u32) -> bool {
        self.keeps.contains(&index)
    }

    /// Counts a backend among those that keep flows, so that the next compilation finds out that it does not.
    pub fn keep_again(&mut self, index: u32) {
        self.keeps.insert(index);
    }

    /// Ends UDP's grace in tables that last changed `grace` or longer ago. The next compilation has
    /// the outcome in its tables.
    pub fn end_grace(&mut self, now: Duration, grace: Duration) {
        for pool in self
            .pools
            .values_mut()
            .filter(|pool| now >= pool.changed + grace)
        {
            if pool.slots.iter().any(|slot| slot.in_grace()) {
                slots::end_grace(Arc::make_mut(&mut pool.slots));
            }
        }
    }

    /// Makes slots plain again that need no memory: see [`slots::settle`]. `idle`: how long a flow
    /// may be quiet. `excepted` is asked by the index in `SLOTS`; what it says must have been looked up
    /// no earlier than `now`.
    pub fn settle(&mut self, now: Duration, idle: Duration, excepted: impl Fn(usize) -> bool) {
        for pool in self.pools.values_mut() {
            // A packet that was under way while its slot changed may be written down a little later.
            let fresh = now < pool.changed + UNDER_WAY;
            if fresh || !pool.slots.iter().any(|slot| slot.is_changed()) {
                continue;
            }
            let base = pool.base as usize;
            let keeps = |backend| self.keeps.contains(&backend);
            let quiet = now >= pool.changed + idle;
            let slots = Arc::make_mut(&mut pool.slots);
            if slots::settle(slots, quiet, keeps, |at| excepted(base + at)) {
                pool.stale = true;
            }
        }
    }

    /// Lets slots consult their exceptions: see [`slots::consult`]. `excepted` is asked by the index in
    /// `SLOTS`.
    pub fn consult(&mut self, now: Duration, excepted: impl Fn(usize) -> bool) {
        for pool in self.pools.values_mut() {
            let base = pool.base as usize;
            let plain = |(at, slot): (usize, &Slot)| !slot.is_changed() && excepted(base + at);
            if pool.slots.iter().enumerate().any(plain) {
                slots::consult(Arc::make_mut(&mut pool.slots), |at| excepted(base + at));
                pool.changed = now;
            }
        }
    }

    /// When [`Self::end_grace`] has something to do next.
    pub fn grace_ends(&self, grace: Duration) -> Option<Duration> {
        let pools = self.pools.values();
        let waiting = pools.filter(|pool| pool.slots.iter().any(|slot| slot.in_grace()));
        waiting.map(|pool| pool.changed + grace).min()
    }
}

/// The name that an egress rule's counters go by.
pub fn egress_name(source: impl std::fmt::Display, interface: &str) -> String {
    format!("egress {source} {interface}")
}
