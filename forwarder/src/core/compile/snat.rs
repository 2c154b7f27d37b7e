//! SNAT pools, automap's among them, and the ports that belong to SNAT.

use std::collections::BTreeMap;
use std::net::IpAddr;

use forwarder_common::virtual_server::{AUTOMAP, NO_SNAT};
use forwarder_common::{PortRange, SnatPool, limits};
use serde::{Deserialize, Serialize};

use super::state::SnatAddresses;
use super::{Compilation, Note};
use crate::config::model::{SharedPorts, Snat};
use crate::core::allocate::Regions;
use crate::core::key::wide;

/// What a SNAT pool in the data plane is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SnatKey {
    /// The addresses of one family of a pool of the file.
    Pool {
        /// The pool's name.
        name: String,
        /// IPv6.
        ipv6: bool,
    },
    /// An interface's own addresses.
    Automap {
        /// The interface's name.
        interface: String,
        /// IPv6.
        ipv6: bool,
    },
}

impl Compilation<'_> {
    pub(super) fn snat(&mut self) {
        let wanted = self.snat_wanted();
        for key in self.state.snat_pools.assign(wanted.keys()) {
            self.no_room(&key);
        }
        let mut regions = Regions::default();
        let old = std::mem::take(&mut self.state.snat_addresses);
        for place in old.values() {
            regions.keep(place.first, place.addresses.len() as u32);
        }
        for (key, (addresses, ports)) in wanted {
            let Some(id) = self.state.snat_pools.get(&key) else {
                continue;
            };
            let count = addresses.len() as u32;
            // Other addresses go elsewhere, so that a pool changes in one store.
            let stays = old.get(&key).filter(|place| place.addresses == addresses);
            let first = stays
                .map(|place| place.first)
                .or_else(|| regions.take(count, limits::SNAT_ADDRESSES as u32));
            let Some(first) = first else {
                self.no_room(&key);
                continue;
            };
            let (port_low, port_high) = (ports.own.low.get(), ports.own.high.get());
            self.tables.snat_pools.insert(
                id,
                SnatPool {
                    first,
                    count,
                    port_low,
                    port_high,
                },
            );
            for (at, address) in (first..).zip(&addresses) {
                self.tables.snat_addresses.insert(at, wide(*address));
                let (low, high) = (ports.all.low.get(), ports.all.high.get());
                let range = self.tables.snat_ranges.entry(*address);
                let range = range.or_insert(PortRange { low, high });
                *range = PortRange {
                    low: range.low.min(low),
                    high: range.high.max(high),
                };
            }
            self.state
                .snat_addresses
                .insert(key, SnatAddresses { first, addresses });
        }
    }

    /// Floating addresses, and the addresses of SNAT pools in a subnet of their interface, are where the VIPs are:
    /// this node, while it is active, answers for them, so that replies find it. After interfaces have their slots.
    pub(super) fn snat_answers(&mut self) {
        let model = self.model();
        let floating = self.interfaces.iter().flat_map(|interface| {
            let bit = self.mask(&[*interface]);
            let addresses = interface.config.floating.iter();
            addresses.map(move |address| (*address, bit))
        });
        let group = u64::from(model.floating_group());
        for (address, bit) in floating.collect::<Vec<_>>() {
            let known = self.tables.vip_addresses.entry(address).or_default();
            known.answers |= bit;
            known.group = group;
        }
        for pool in &model.snat_pools {
            let Some(interface) = self.interface(&pool.interface) else {
                continue;
            };
            let bit = self.mask(&[interface]);
            let group = u64::from(model.group(&pool.group));
            for address in &pool.addresses {
                let mut own = interface.addresses().iter();
                if own.any(|own| own.subnet.contains(*address)) {
                    let known = self.tables.vip_addresses.entry(*address).or_default();
                    known.answers |= bit;
                    known.group = group;
                }
            }
        }
    }

    fn snat_wanted(&self) -> BTreeMap<SnatKey, (Vec<IpAddr>, SharedPorts)> {
        let model = self.model();
        let mut wanted = BTreeMap::new();
        for pool in &model.snat_pools {
            for ipv6 in [false, true] {
                let addresses = of_family(pool.addresses.iter().copied(), ipv6);
                if !addresses.is_empty() {
                    let name = pool.name.clone();
                    wanted.insert(SnatKey::Pool { name, ipv6 }, (addresses, pool.ports));
                }
            }
        }
        for ipv6 in [false, true]
            .into_iter()
            .filter(|ipv6| self.uses_automap(*ipv6))
        {
            for interface in &self.interfaces {
                let floating = interface.config.floating.iter().copied();
                let mut addresses = of_family(floating, ipv6);
                if addresses.is_empty() {
                    let own = interface.addresses().iter().map(|own| own.address);
                    addresses = of_family(own, ipv6);
                }
                if !addresses.is_empty() {
                    let interface = interface.config.name.clone();
                    let key = SnatKey::Automap { interface, ipv6 };
                    wanted.insert(key, (addresses, model.automap_ports));
                }
            }
        }
        wanted
    }

    fn no_room(&mut self, key: &SnatKey) {
        let name = match key {
            SnatKey::Pool { name, .. } => name.clone(),
            SnatKey::Automap { interface, .. } => format!("automap of {interface}"),
        };
        let limit = "there can be 256 SNAT pools and 4096 SNAT addresses";
        self.notes.push(Note::NoRoom {
            what: "SNAT pool",
            name,
            limit,
        });
    }

    /// The pool of an interface's own addresses.
    pub(super) fn automap(&self, interface: &str, ipv6: bool) -> u32 {
        let key = SnatKey::Automap {
            interface: interface.to_owned(),
            ipv6,
        };
        self.snat_id(&key)
    }

    /// What a virtual server or egress rule of a family takes source addresses from.
    pub(super) fn snat_index(&self, snat: Option<&Snat>, ipv6: bool) -> u32 {
        match snat {
            None => NO_SNAT,
            Some(Snat::Automap) => AUTOMAP,
            Some(Snat::Pool(name)) => {
                let name = name.clone();
                self.snat_id(&SnatKey::Pool { name, ipv6 })
            }
        }
    }

    fn snat_id(&self, key: &SnatKey) -> u32 {
        let id = self.state.snat_pools.get(key);
        id.filter(|id| self.tables.snat_pools.contains_key(id))
            .unwrap_or(NO_SNAT)
    }
}

fn of_family(addresses: impl Iterator<Item = IpAddr>, ipv6: bool) -> Vec<IpAddr> {
    addresses
        .filter(|address| address.is_ipv6() == ipv6)
        .collect()
}
