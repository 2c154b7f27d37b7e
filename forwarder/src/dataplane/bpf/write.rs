//! One change of one map.

use std::io;
use std::net::IpAddr;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::xdp::XdpMapError;
use aya::maps::{Array, DevMap, HashMap, MapError};
use aya::{Ebpf, Pod};
use forwarder_common::interface::admission;
use forwarder_common::{AddressKey, Egress, Interface, V4, V6};

use super::load::LoadError;
use super::map_mut;
use super::servers::Servers;
use super::slots::Slots;
use crate::core::key::{Family, word, words};
use crate::core::op::Op;

pub fn apply(
    ebpf: &mut Ebpf,
    slots: &Slots,
    servers: &mut Servers,
    op: &Op,
) -> Result<(), LoadError> {
    match op {
        Op::Interface { ifindex, entry } => interface(ebpf, *ifindex, *entry),
        Op::VirtualServer { vip, entry } => match vip.to_abi() {
            Family::V4(key) => servers.set4(ebpf, key, *entry),
            Family::V6(key) => servers.set6(ebpf, key, *entry),
        },
        Op::VipAddress { address, entry } => match address_key(*address) {
            Family::V4(key) => hash(ebpf, "VIP_ADDRESSES4", key, *entry),
            Family::V6(key) => hash(ebpf, "VIP_ADDRESSES6", key, *entry),
        },
        Op::Slots {
            base,
            slots: table,
            changed,
        } => {
            for at in changed.iter().map(|at| *at as usize) {
                let slot = table.get(at);
                if !slot.is_some_and(|slot| slots.store(*base as usize + at, *slot)) {
                    return Err(MapError::OutOfBounds {
                        index: *base,
                        max_entries: 0,
                    }
                    .into());
                }
            }
            Ok(())
        }
        Op::FreeSlots { .. } => Ok(()),
        Op::Backend { index, entry } => array(ebpf, "BACKENDS", *index, *entry),
        Op::SnatPool { index, entry } => array(ebpf, "SNAT_POOLS", *index, *entry),
        Op::SnatAddress { index, entry } => array(ebpf, "SNAT_ADDRESSES", *index, *entry),
        Op::SnatRange { address, entry } => match address_key(*address) {
            Family::V4(key) => hash(ebpf, "SNAT_RANGES4", key, *entry),
            Family::V6(key) => hash(ebpf, "SNAT_RANGES6", key, *entry),
        },
        Op::Admission { source, entry } => {
            let entry = entry.map(|allow| {
                if allow {
                    admission::ALLOW
                } else {
                    admission::DENY
                }
            });
            match source.to_abi() {
                (length, Family::V4(key)) => trie(ebpf, "ADMISSION4", Key::new(length, key), entry),
                (length, Family::V6(key)) => trie(ebpf, "ADMISSION6", Key::new(length, key), entry),
            }
        }
        Op::Egress { network, entry } => {
            let length = u32::from(network.length);
            match address_key(network.address) {
                Family::V4(key) => {
                    trie::<_, Egress>(ebpf, "EGRESS4", Key::new(length, key), *entry)
                }
                Family::V6(key) => {
                    trie::<_, Egress>(ebpf, "EGRESS6", Key::new(length, key), *entry)
                }
            }
        }
    }
}

/// The device maps go first: an active interface can be redirected to. The kernel ties a device map
/// to programs with or without frags, so each kind has its own.
fn interface(ebpf: &mut Ebpf, ifindex: u32, entry: Option<Interface>) -> Result<(), LoadError> {
    for devices in ["DEVICES", "DEVICES_FRAGS"]
        .into_iter()
        .filter(|_| entry.is_some())
    {
        let mut devices: DevMap<_> = map_mut(ebpf, devices)?.try_into()?;
        devices
            .set(ifindex, ifindex, None, 0)
            .map_err(|error| match error {
                XdpMapError::MapError(error) => error,
                other => MapError::IoError(io::Error::other(other)),
            })?;
    }
    array(ebpf, "INTERFACES", ifindex, entry)
}

pub(super) fn array<V: Pod + Default>(
    ebpf: &mut Ebpf,
    name: &str,
    index: u32,
    entry: Option<V>,
) -> Result<(), LoadError> {
    let mut array: Array<_, V> = map_mut(ebpf, name)?.try_into()?;
    Ok(array.set(index, entry.unwrap_or_default(), 0)?)
}

pub(super) fn hash<K: Pod, V: Pod>(
    ebpf: &mut Ebpf,
    name: &str,
    key: K,
    entry: Option<V>,
) -> Result<(), LoadError> {
    let mut map: HashMap<_, K, V> = map_mut(ebpf, name)?.try_into()?;
    match entry {
        Some(value) => Ok(map.insert(key, value, 0)?),
        None => absent(map.remove(&key)),
    }
}

pub(super) fn trie<K: Pod, V: Pod>(
    ebpf: &mut Ebpf,
    name: &str,
    key: Key<K>,
    entry: Option<V>,
) -> Result<(), LoadError> {
    let mut map: LpmTrie<_, K, V> = map_mut(ebpf, name)?.try_into()?;
    match entry {
        Some(value) => Ok(map.insert(&key, value, 0)?),
        None => absent(map.remove(&key)),
    }
}

/// Removing what is not there is a removal.
pub(super) fn absent(result: Result<(), MapError>) -> Result<(), LoadError> {
    match result {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) fn address_key(address: IpAddr) -> Family<AddressKey<V4>, AddressKey<V6>> {
    match address {
        IpAddr::V4(address) => Family::V4(AddressKey {
            address: word(address),
        }),
        IpAddr::V6(address) => Family::V6(AddressKey {
            address: words(address),
        }),
    }
}
