//! The content of every map that the control plane owns.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use forwarder_common::{
    Backend, Egress, Interface, PortRange, Slot, SnatPool, VipAddress, VirtualServer,
};

use super::key::{Network, Source, Vip};
use super::op::Op;

/// What the maps hold, or are to hold. Absent array elements are zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// `INTERFACES` by interface index; `DEVICES` has the same ones.
    pub interfaces: BTreeMap<u32, Interface>,
    /// `VIPS4`, `VIPS6`.
    pub virtual_servers: BTreeMap<Vip, VirtualServer>,
    /// `VIP_ADDRESSES4`, `VIP_ADDRESSES6`.
    pub vip_addresses: BTreeMap<IpAddr, VipAddress>,
    /// `SLOTS`: regions by their first slot. Regions never overlap.
    pub slots: BTreeMap<u32, Arc<[Slot]>>,
    /// `BACKENDS` by index.
    pub backends: BTreeMap<u32, Backend>,
    /// `SNAT_POOLS` by index.
    pub snat_pools: BTreeMap<u32, SnatPool>,
    /// `SNAT_ADDRESSES` by index.
    pub snat_addresses: BTreeMap<u32, [u32; 4]>,
    /// `SNAT_RANGES4`, `SNAT_RANGES6`.
    pub snat_ranges: BTreeMap<IpAddr, PortRange>,
    /// `ADMISSION4`, `ADMISSION6`; true: allowed.
    pub admission: BTreeMap<Source, bool>,
    /// `EGRESS4`, `EGRESS6`.
    pub egress: BTreeMap<Network, Egress>,
}

impl Tables {
    /// Does to these tables what the operation does to the maps.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Interface { ifindex, entry } => set(&mut self.interfaces, *ifindex, *entry),
            Op::VirtualServer { vip, entry } => set(&mut self.virtual_servers, *vip, *entry),
            Op::VipAddress { address, entry } => set(&mut self.vip_addresses, *address, *entry),
            Op::Slots { base, slots, .. } => {
                self.slots.insert(*base, Arc::clone(slots));
            }
            Op::FreeSlots { base, .. } => {
                self.slots.remove(base);
            }
            Op::Backend { index, entry } => set(&mut self.backends, *index, *entry),
            Op::SnatPool { index, entry } => set(&mut self.snat_pools, *index, *entry),
            Op::SnatAddress { index, entry } => set(&mut self.snat_addresses, *index, *entry),
            Op::SnatRange { address, entry } => set(&mut self.snat_ranges, *address, *entry),
            Op::Admission { source, entry } => set(&mut self.admission, *source, *entry),
            Op::Egress { network, entry } => set(&mut self.egress, *network, *entry),
        }
    }
}

fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, entry: Option<V>) {
    match entry {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}
