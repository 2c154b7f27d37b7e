//! From what the maps hold to what they are to hold, in an order in which every prefix is safe.
//!
//! First what nothing points at yet, then what points at it, then removals the other way round.
//! So a virtual server never points at a lookup table, backend or SNAT pool that is not there.

use std::collections::BTreeMap;
use std::sync::Arc;

use forwarder_common::{Interface, Slot};

use super::op::Op;
use super::tables::Tables;

/// The changes that turn `actual` into `desired`. Empty when they are the same.
pub fn plan(actual: &Tables, desired: &Tables) -> Vec<Op> {
    let mut ops = Vec::new();
    additions(actual, desired, &mut ops);
    removals(actual, desired, &mut ops);
    ops
}

fn additions(actual: &Tables, desired: &Tables, ops: &mut Vec<Op>) {
    ops.extend(
        changed(&actual.snat_addresses, &desired.snat_addresses).map(|(&index, &entry)| {
            Op::SnatAddress {
                index,
                entry: Some(entry),
            }
        }),
    );
    ops.extend(
        changed(&actual.snat_pools, &desired.snat_pools).map(|(&index, &entry)| Op::SnatPool {
            index,
            entry: Some(entry),
        }),
    );
    ops.extend(widened(actual, desired));
    ops.extend(
        changed(&actual.backends, &desired.backends).map(|(&index, &entry)| Op::Backend {
            index,
            entry: Some(entry),
        }),
    );
    ops.extend(
        changed(&actual.slots, &desired.slots).map(|(&base, slots)| Op::Slots {
            base,
            slots: Arc::clone(slots),
            changed: differing(actual.slots.get(&base).map_or(&[], |old| old), slots),
        }),
    );
    ops.extend(
        changed(&actual.snat_ranges, &desired.snat_ranges).map(|(&address, &entry)| {
            Op::SnatRange {
                address,
                entry: Some(entry),
            }
        }),
    );
    ops.extend(
        changed(&actual.admission, &desired.admission).map(|(&source, &entry)| Op::Admission {
            source,
            entry: Some(entry),
        }),
    );
    ops.extend(
        changed(&actual.egress, &desired.egress).map(|(&network, &entry)| Op::Egress {
            network,
            entry: Some(entry),
        }),
    );
    ops.extend(
        changed(&actual.virtual_servers, &desired.virtual_servers).map(|(&vip, &entry)| {
            Op::VirtualServer {
                vip,
                entry: Some(entry),
            }
        }),
    );
    ops.extend(
        changed(&actual.vip_addresses, &desired.vip_addresses).map(|(&address, &entry)| {
            Op::VipAddress {
                address,
                entry: Some(entry),
            }
        }),
    );
}

fn removals(actual: &Tables, desired: &Tables, ops: &mut Vec<Op>) {
    ops.extend(
        gone(&actual.vip_addresses, &desired.vip_addresses).map(|(&address, _)| Op::VipAddress {
            address,
            entry: None,
        }),
    );
    ops.extend(
        gone(&actual.virtual_servers, &desired.virtual_servers)
            .map(|(&vip, _)| Op::VirtualServer { vip, entry: None }),
    );
    ops.extend(
        gone(&actual.egress, &desired.egress).map(|(&network, _)| Op::Egress {
            network,
            entry: None,
        }),
    );
    ops.extend(
        gone(&actual.admission, &desired.admission).map(|(&source, _)| Op::Admission {
            source,
            entry: None,
        }),
    );
    ops.extend(
        gone(&actual.snat_ranges, &desired.snat_ranges).map(|(&address, _)| Op::SnatRange {
            address,
            entry: None,
        }),
    );
    ops.extend(narrowed(actual, desired));
    ops.extend(
        gone(&actual.slots, &desired.slots).map(|(&base, slots)| Op::FreeSlots {
            base,
            size: slots.len() as u32,
        }),
    );
    ops.extend(
        gone(&actual.backends, &desired.backends)
            .map(|(&index, _)| Op::Backend { index, entry: None }),
    );
    ops.extend(
        gone(&actual.interfaces, &desired.interfaces).map(|(&ifindex, _)| Op::Interface {
            ifindex,
            entry: None,
        }),
    );
    ops.extend(
        gone(&actual.snat_pools, &desired.snat_pools)
            .map(|(&index, _)| Op::SnatPool { index, entry: None }),
    );
    ops.extend(
        gone(&actual.snat_addresses, &desired.snat_addresses)
            .map(|(&index, _)| Op::SnatAddress { index, entry: None }),
    );
}

/// Interfaces with everything that they do and are to do: nothing is without what it needs.
fn widened<'a>(actual: &'a Tables, desired: &'a Tables) -> impl Iterator<Item = Op> + 'a {
    changed(&actual.interfaces, &desired.interfaces).filter_map(|(&ifindex, &new)| {
        let old = actual.interfaces.get(&ifindex);
        let flags = new.flags | old.map_or(0, |old| old.flags);
        let entry = Interface { flags, ..new };
        (old != Some(&entry)).then_some(Op::Interface {
            ifindex,
            entry: Some(entry),
        })
    })
}

/// Interfaces that stop doing something, when nothing needs it any more.
fn narrowed<'a>(actual: &'a Tables, desired: &'a Tables) -> impl Iterator<Item = Op> + 'a {
    let stops = |ifindex: &u32, new: &Interface| {
        let old = actual.interfaces.get(ifindex);
        old.is_some_and(|old| old.flags & !new.flags != 0)
    };
    changed(&actual.interfaces, &desired.interfaces)
        .filter(move |(ifindex, entry)| stops(ifindex, entry))
        .map(|(&ifindex, &entry)| Op::Interface {
            ifindex,
            entry: Some(entry),
        })
}

fn changed<'a, K: Ord, V: PartialEq>(
    actual: &'a BTreeMap<K, V>,
    desired: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    // Both are in order: no element is looked up.
    let mut old = actual.iter().peekable();
    desired.iter().filter(move |(key, value)| {
        while old.next_if(|(old, _)| old < key).is_some() {}
        let same = old.next_if(|(old, _)| old == key);
        same.is_none_or(|(_, old)| old != *value)
    })
}

fn gone<'a, K: Ord, V>(
    actual: &'a BTreeMap<K, V>,
    desired: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    let mut new = desired.keys().peekable();
    actual.iter().filter(move |(key, _)| {
        while new.next_if(|new| new < key).is_some() {}
        new.next_if(|new| new == key).is_none()
    })
}

fn differing(old: &[Slot], new: &[Slot]) -> Arc<[u32]> {
    let both = (0..).zip(old.iter().zip(new));
    let differing = both.filter(|(_, (old, new))| old != new);
    let more = old.len() as u32..new.len() as u32;
    differing.map(|(at, _)| at).chain(more).collect()
}

#[cfg(test)]
mod admission_tests;

#[cfg(test)]
mod tests {
    use forwarder_common::{Backend, VirtualServer};

    use super::*;
    use crate::core::key::Vip;

    fn tables(backend: u32, base: u32) -> Tables {
        let vip = Vip {
            address: [203, 0, 113, 10].into(),
            port: 80,
            protocol: 6,
        };
        let server = VirtualServer {
            table_base: base,
            table_size: 1,
            ..VirtualServer::default()
        };
        Tables {
            virtual_servers: BTreeMap::from([(vip, server)]),
            slots: BTreeMap::from([(base, Arc::from([Slot::new(backend)]))]),
            backends: BTreeMap::from([(backend, Backend::default())]),
            ..Tables::default()
        }
    }

    fn shown(actual: &Tables, desired: &Tables) -> Vec<String> {
        plan(actual, desired)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn what_is_pointed_at_comes_first_and_goes_last() {
        assert_eq!(
            shown(&tables(1, 0), &tables(2, 8)),
            [
                "set backend 2: 0.0.0.0, no flows, next hop unknown",
                "set lookup table 8: 1 slots, 1 changed",
                "set virtual server tcp 203.0.113.10:80: id 0, l2-dsr, 1 slots from 8, SNAT pool 0",
                "remove lookup table 0",
                "remove backend 1",
            ]
        );
        assert_eq!(
            shown(&tables(1, 0), &Tables::default()),
            [
                "remove virtual server tcp 203.0.113.10:80",
                "remove lookup table 0",
                "remove backend 1"
            ]
        );
    }

    #[test]
    fn programs_read_plans_too() {
        let op = serde_json::to_string(&Op::Backend {
            index: 7,
            entry: None,
        });
        let text = r#"{"op":"remove","table":"backend","key":"7","value":null}"#;
        assert_eq!(op.expect("it serializes"), text);
    }
}
