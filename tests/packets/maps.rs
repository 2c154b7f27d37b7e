//! The model's tables as map content.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::xdp::DevMap;
use aya::maps::{Array, HashMap, MapData};
use forwarder::dataplane::bpf::servers::Servers;
use forwarder_common::peer::{PathKey, Peer};
use forwarder_common::virtual_server::service;
use forwarder_common::{
    AddressKey, Backend, Egress, Interface, PortRange, PrefixKey, Slot, SnatPool, V4, V6,
    VipAddress, VipKey, lease,
};
use forwarder_model::{Pair, Tables, wire};

/// Sizes that tests load the maps with.
pub const SIZES: &[(&str, u32)] = &[
    ("SLOTS", 65_536),
    ("EMBRYONIC4", 131_072),
    ("EMBRYONIC6", 131_072),
    ("EXCEPTIONS4", 131_072),
    ("EXCEPTIONS6", 131_072),
    ("EMBRYONIC_EXCEPTIONS4", 131_072),
    ("EMBRYONIC_EXCEPTIONS6", 131_072),
    ("FRAGMENTS4", 131_072),
    ("FRAGMENTS6", 131_072),
];

/// Writes the configuration part of `tables` into the maps; entries that are gone are removed.
pub fn fill(ebpf: &mut Ebpf, tables: &Tables) -> Result<()> {
    let mut leases: Array<_, u64> = typed(ebpf, "LEASES")?;
    for group in 0..lease::GROUPS as u8 {
        let indices = [lease::forward(group.into()), lease::answer(group.into())];
        for (index, standby) in indices.into_iter().zip(&tables.standby) {
            let until = if standby.contains(&group) {
                0
            } else {
                u64::MAX
            };
            leases.set(index, until, 0)?;
        }
    }
    if let Some(pair) = &tables.pair {
        let until = if pair.without_lease { 0 } else { u64::MAX };
        leases.set(lease::NODE, until, 0)?;
        peer(ebpf, pair)?;
    }
    interfaces(ebpf, tables)?;
    virtual_servers(ebpf, tables)?;
    let mut slots: Array<_, Slot> = typed(ebpf, "SLOTS")?;
    tables
        .slots
        .iter()
        .try_for_each(|(at, slot)| slots.set(*at, *slot, 0))?;
    let mut backends: Array<_, Backend> = typed(ebpf, "BACKENDS")?;
    tables
        .backends
        .iter()
        .try_for_each(|(at, backend)| backends.set(*at, *backend, 0))?;
    snat(ebpf, tables)?;
    prefixes(ebpf, tables)
}

fn peer(ebpf: &mut Ebpf, pair: &Pair) -> Result<()> {
    let mut peer: Array<_, Peer> = typed(ebpf, "PEER")?;
    peer.set(0, pair.peer, 0)?;
    for ends in &pair.paths {
        match *ends {
            (IpAddr::V4(own), IpAddr::V4(peer)) => {
                let (own, peer) = (wire::v4_word(own), wire::v4_word(peer));
                let mut paths: HashMap<_, PathKey<V4>, u32> = typed(ebpf, "PATHS4")?;
                paths.insert(PathKey { own, peer }, 1, 0)?;
            }
            (IpAddr::V6(own), IpAddr::V6(peer)) => {
                let (own, peer) = (wire::v6_words(own), wire::v6_words(peer));
                let mut paths: HashMap<_, PathKey<V6>, u32> = typed(ebpf, "PATHS6")?;
                paths.insert(PathKey { own, peer }, 1, 0)?;
            }
            _ => anyhow::bail!("a path has one family"),
        }
    }
    Ok(())
}

/// Fills the token buckets of the rate guard again.
pub fn fill_buckets(ebpf: &mut Ebpf, tables: &Tables) -> Result<()> {
    let mut rates: Array<_, u64> = typed(ebpf, "RATES")?;
    tables
        .virtual_servers
        .values()
        .try_for_each(|server| rates.set(server.id, 0, 0))?;
    Ok(())
}

/// A map by name as a typed one.
pub fn typed<'a, T>(ebpf: &'a mut Ebpf, name: &str) -> Result<T>
where
    T: TryFrom<&'a mut aya::maps::Map>,
    T::Error: std::error::Error + Send + Sync + 'static,
{
    let map = ebpf
        .map_mut(name)
        .with_context(|| format!("no map {name}"))?;
    T::try_from(map).with_context(|| format!("map {name} is of another type"))
}

fn interfaces(ebpf: &mut Ebpf, tables: &Tables) -> Result<()> {
    let mut map: Array<_, Interface> = typed(ebpf, "INTERFACES")?;
    tables
        .interfaces
        .iter()
        .try_for_each(|(ifindex, interface)| map.set(*ifindex, *interface, 0))?;
    // An object without the multi-buffer programs lacks their devmap.
    let maps = ["DEVICES", "DEVICES_FRAGS"]
        .into_iter()
        .filter(|name| *name == "DEVICES" || ebpf.map(name).is_some());
    for name in maps.collect::<Vec<_>>() {
        let mut devices: DevMap<_> = typed(ebpf, name)?;
        for ifindex in tables.interfaces.keys() {
            devices.set(*ifindex, *ifindex, None, 0)?;
        }
    }
    Ok(())
}

fn virtual_servers(ebpf: &mut Ebpf, tables: &Tables) -> Result<()> {
    let mut servers = Servers::open(ebpf)?;
    let (mut four, mut six) = (BTreeMap::new(), BTreeMap::new());
    for ((address, port, protocol), server) in &tables.virtual_servers {
        let service = service(port.to_be(), *protocol);
        match address {
            IpAddr::V4(address) => {
                let address = wire::v4_word(*address);
                four.insert(VipKey { address, service }, *server);
            }
            IpAddr::V6(address) => {
                let address = wire::v6_words(*address);
                six.insert(VipKey { address, service }, *server);
            }
        }
    }
    let there: Vec<_> = servers.all4().collect();
    for (key, _) in there.iter().filter(|(key, _)| !four.contains_key(key)) {
        servers.set4(ebpf, *key, None)?;
    }
    for entry in four.into_iter().filter(|entry| !there.contains(entry)) {
        servers.set4(ebpf, entry.0, Some(entry.1))?;
    }
    let there: Vec<_> = servers.all6().collect();
    for (key, _) in there.iter().filter(|(key, _)| !six.contains_key(key)) {
        servers.set6(ebpf, *key, None)?;
    }
    for entry in six.into_iter().filter(|entry| !there.contains(entry)) {
        servers.set6(ebpf, entry.0, Some(entry.1))?;
    }
    let (four, six) = by_family(&tables.vips);
    replace::<AddressKey<V4>, VipAddress>(ebpf, "VIP_ADDRESSES4", four)?;
    replace::<AddressKey<V6>, VipAddress>(ebpf, "VIP_ADDRESSES6", six)
}

fn snat(ebpf: &mut Ebpf, tables: &Tables) -> Result<()> {
    let mut pools: Array<_, SnatPool> = typed(ebpf, "SNAT_POOLS")?;
    tables
        .snat_pools
        .iter()
        .try_for_each(|(at, pool)| pools.set(*at, *pool, 0))?;
    let mut addresses: Array<_, [u32; 4]> = typed(ebpf, "SNAT_ADDRESSES")?;
    for (at, address) in &tables.snat_addresses {
        addresses.set(*at, wire::any_words(*address), 0)?;
    }
    let (four, six) = by_family(&tables.snat_ranges);
    replace::<AddressKey<V4>, PortRange>(ebpf, "SNAT_RANGES4", four)?;
    replace::<AddressKey<V6>, PortRange>(ebpf, "SNAT_RANGES6", six)
}

type Keyed<A, V> = Vec<(AddressKey<A>, V)>;

fn by_family<V: Copy>(entries: &BTreeMap<IpAddr, V>) -> (Keyed<V4, V>, Keyed<V6, V>) {
    let (mut four, mut six) = (Vec::new(), Vec::new());
    for (address, value) in entries {
        match address {
            IpAddr::V4(address) => four.push((
                AddressKey {
                    address: wire::v4_word(*address),
                },
                *value,
            )),
            IpAddr::V6(address) => six.push((
                AddressKey {
                    address: wire::v6_words(*address),
                },
                *value,
            )),
        }
    }
    (four, six)
}

fn replace<K: aya::Pod + PartialEq, V: aya::Pod>(
    ebpf: &mut Ebpf,
    name: &str,
    entries: impl IntoIterator<Item = (K, V)>,
) -> Result<()> {
    let mut map: HashMap<&mut MapData, K, V> = typed(ebpf, name)?;
    let entries: Vec<_> = entries.into_iter().collect();
    let present: Vec<K> = map.keys().collect::<std::result::Result<_, _>>()?;
    for key in present
        .iter()
        .filter(|key| !entries.iter().any(|(wanted, _)| wanted == *key))
    {
        map.remove(key)?;
    }
    entries
        .iter()
        .try_for_each(|(key, value)| map.insert(key, value, 0))?;
    Ok(())
}

fn prefixes(ebpf: &mut Ebpf, tables: &Tables) -> Result<()> {
    let mut four: LpmTrie<_, PrefixKey<V4>, u32> = typed(ebpf, "ADMISSION4")?;
    for ((id, address, length), value) in &tables.admission {
        if let IpAddr::V4(address) = address {
            let key = PrefixKey {
                scope: id.to_be(),
                address: wire::v4_word(*address),
            };
            four.insert(&Key::new(length + 32, key), value, 0)?;
        }
    }
    let mut six: LpmTrie<_, PrefixKey<V6>, u32> = typed(ebpf, "ADMISSION6")?;
    for ((id, address, length), value) in &tables.admission {
        if let IpAddr::V6(address) = address {
            let key = PrefixKey {
                scope: id.to_be(),
                address: wire::v6_words(*address),
            };
            six.insert(&Key::new(length + 32, key), value, 0)?;
        }
    }
    let mut four: LpmTrie<_, AddressKey<V4>, Egress> = typed(ebpf, "EGRESS4")?;
    for ((address, length), rule) in &tables.egress {
        if let IpAddr::V4(address) = address {
            four.insert(
                &Key::new(
                    *length,
                    AddressKey {
                        address: wire::v4_word(*address),
                    },
                ),
                rule,
                0,
            )?;
        }
    }
    let mut six: LpmTrie<_, AddressKey<V6>, Egress> = typed(ebpf, "EGRESS6")?;
    for ((address, length), rule) in &tables.egress {
        if let IpAddr::V6(address) = address {
            six.insert(
                &Key::new(
                    *length,
                    AddressKey {
                        address: wire::v6_words(*address),
                    },
                ),
                rule,
                0,
            )?;
        }
    }
    Ok(())
}
