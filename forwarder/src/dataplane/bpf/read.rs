//! Reads back what the control plane has written.

use std::net::IpAddr;
use std::sync::Arc;

use aya::maps::{DevMap, MapError};
use aya::{Ebpf, Pod};
use forwarder_common::interface::admission;
use forwarder_common::{AddressKey, Egress, V4, V6};

use super::batch::for_each_chunk;
use super::load::LoadError;
use super::servers::Servers;
use super::slots::Slots;
use super::{fd, map};
use crate::core::key::{Network, Source, from_word, from_words};
use crate::core::tables::Tables;

/// The maps' content. `expected` tells which parts of the slot array are in use; parts that are as
/// expected are shared with it.
pub fn read(
    ebpf: &Ebpf,
    slots: &Slots,
    servers: &mut Servers,
    expected: &Tables,
) -> Result<Tables, LoadError> {
    let mut tables = Tables::default();
    array(ebpf, "INTERFACES", |index, entry| {
        tables.interfaces.insert(index, entry);
    })?;
    let mut lost = Vec::new();
    for devices in ["DEVICES", "DEVICES_FRAGS"] {
        let devices: DevMap<_> = map(ebpf, devices)?.try_into()?;
        let there = |index| {
            devices
                .get(index, 0)
                .is_ok_and(|device| device.if_index == index)
        };
        lost.extend(
            tables
                .interfaces
                .keys()
                .copied()
                .filter(|index| !there(*index)),
        );
    }
    // An interface without its device is not whole: it has to be written again.
    tables.interfaces.retain(|index, _| !lost.contains(index));
    array(ebpf, "BACKENDS", |index, entry| {
        tables.backends.insert(index, entry);
    })?;
    array(ebpf, "SNAT_POOLS", |index, entry| {
        tables.snat_pools.insert(index, entry);
    })?;
    array(ebpf, "SNAT_ADDRESSES", |index, entry| {
        tables.snat_addresses.insert(index, entry);
    })?;
    servers.reopen(ebpf)?;
    let found = servers.all4().map(|(key, entry)| (key.into(), entry));
    tables.virtual_servers.extend(found);
    let found = servers.all6().map(|(key, entry)| (key.into(), entry));
    tables.virtual_servers.extend(found);
    each(ebpf, "VIP_ADDRESSES4", |key, entry| {
        tables.vip_addresses.insert(v4(key), entry);
    })?;
    each(ebpf, "VIP_ADDRESSES6", |key, entry| {
        tables.vip_addresses.insert(v6(key), entry);
    })?;
    each(ebpf, "SNAT_RANGES4", |key, entry| {
        tables.snat_ranges.insert(v4(key), entry);
    })?;
    each(ebpf, "SNAT_RANGES6", |key, entry| {
        tables.snat_ranges.insert(v6(key), entry);
    })?;
    each(
        ebpf,
        "ADMISSION4",
        |[bits, scope, address]: [u32; 3], entry: u32| {
            let source = source(bits, scope, from_word(address).into());
            tables.admission.insert(source, entry == admission::ALLOW);
        },
    )?;
    each(
        ebpf,
        "ADMISSION6",
        |[bits, scope, a, b, c, d]: [u32; 6], entry: u32| {
            let source = source(bits, scope, from_words([a, b, c, d]).into());
            tables.admission.insert(source, entry == admission::ALLOW);
        },
    )?;
    each(
        ebpf,
        "EGRESS4",
        |[bits, address]: [u32; 2], entry: Egress| {
            tables
                .egress
                .insert(network(bits, from_word(address).into()), entry);
        },
    )?;
    each(
        ebpf,
        "EGRESS6",
        |[bits, a, b, c, d]: [u32; 5], entry: Egress| {
            let address = from_words([a, b, c, d]).into();
            tables.egress.insert(network(bits, address), entry);
        },
    )?;
    for (base, table) in &expected.slots {
        let found = || (*base as usize..).map_while(|index| slots.load(index));
        let table = if found().take(table.len()).eq(table.iter().copied()) {
            Arc::clone(table)
        } else {
            found().take(table.len()).collect()
        };
        tables.slots.insert(*base, table);
    }
    Ok(tables)
}

fn source(bits: u32, scope: u32, address: IpAddr) -> Source {
    Source {
        virtual_server: u32::from_be(scope),
        address,
        length: bits.saturating_sub(32) as u8,
    }
}

fn network(bits: u32, address: IpAddr) -> Network {
    Network {
        address,
        length: bits as u8,
    }
}

fn v4(key: AddressKey<V4>) -> IpAddr {
    from_word(key.address).into()
}

fn v6(key: AddressKey<V6>) -> IpAddr {
    from_words(key.address).into()
}

/// Elements that are not zero.
fn array<V: Pod + Default + PartialEq>(
    ebpf: &Ebpf,
    name: &str,
    mut take: impl FnMut(u32, V),
) -> Result<(), LoadError> {
    let zero = V::default();
    each(ebpf, name, |index: u32, entry: V| {
        if entry != zero {
            take(index, entry);
        }
    })
}

fn each<K: Pod + Default, V: Pod + Default>(
    ebpf: &Ebpf,
    name: &str,
    mut take: impl FnMut(K, V),
) -> Result<(), LoadError> {
    for_each_chunk(fd(ebpf, name)?, |keys: &[K], values: &[V]| {
        keys.iter()
            .zip(values)
            .for_each(|(key, value)| take(*key, *value));
    })
    .map_err(|error| LoadError::Stages(MapError::IoError(error)))
}
