//! The way to a backend.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::facts::{Device, Facts};
use crate::config::model::{Backend, Interface, InterfaceAddress, Model};

/// An interface of the file with the device behind it.
#[derive(Clone, Copy, Debug)]
pub struct Attached<'a> {
    /// What the file says.
    pub config: &'a Interface,
    /// What the host says.
    pub device: &'a Device,
}

impl<'a> Attached<'a> {
    /// Own addresses: the file's, or else the device's.
    pub fn addresses(self) -> &'a [InterfaceAddress] {
        if self.config.addresses.is_empty() {
            &self.device.addresses
        } else {
            &self.config.addresses
        }
    }

    /// The first own address of a family.
    pub fn address(self, ipv6: bool) -> Option<IpAddr> {
        self.addresses()
            .iter()
            .map(|own| own.address)
            .find(|address| address.is_ipv6() == ipv6)
    }

    /// Length of the longest own subnet that holds the address.
    fn on_link(self, address: IpAddr) -> Option<u8> {
        let subnets = self.addresses().iter().map(|own| own.subnet);
        subnets
            .filter(|subnet| subnet.contains(address))
            .map(|subnet| subnet.length())
            .max()
    }

    fn gateway(self, ipv6: bool) -> Option<IpAddr> {
        if ipv6 {
            self.config.gateway6.map(IpAddr::V6)
        } else {
            self.config.gateway4.map(IpAddr::V4)
        }
    }
}

/// Interfaces whose device exists, in the order of the file.
pub fn attached<'a>(model: &'a Model, facts: &'a Facts) -> Vec<Attached<'a>> {
    let interfaces = model.interfaces.iter();
    interfaces
        .filter_map(|config| {
            let device = facts.devices.get(&config.device)?;
            Some(Attached { config, device })
        })
        .collect()
}

/// Where packets to an address go next.
#[derive(Clone, Copy, Debug)]
pub struct NextHop<'a> {
    /// Egress interface.
    pub interface: Attached<'a>,
    /// The neighbour: the address itself, or a router.
    pub neighbour: IpAddr,
}

/// The next hop of a backend: a neighbour in the longest own subnet that holds it; else by the
/// interface that the host's route takes, if that is one of ours; else by the first interface with
/// a gateway. The interface's own gateway goes before the route's.
pub fn next_hop<'a>(
    interfaces: &[Attached<'a>],
    facts: &Facts,
    backend: &Backend,
) -> Option<NextHop<'a>> {
    let address = backend.address;
    let allowed = |interface: &&Attached<'a>| {
        backend
            .interface
            .as_ref()
            .is_none_or(|name| *name == interface.config.name)
    };
    let candidates = || interfaces.iter().filter(allowed);
    let mut best: Option<(u8, &Attached<'a>)> = None;
    for interface in candidates() {
        if let Some(length) = interface.on_link(address)
            && best.is_none_or(|(longest, _)| length > longest)
        {
            best = Some((length, interface));
        }
    }
    if let Some((_, interface)) = best {
        return Some(NextHop {
            interface: *interface,
            neighbour: address,
        });
    }
    let gateway = |interface: &Attached<'a>| interface.gateway(address.is_ipv6());
    if let Some(route) = facts.routes.get(&address)
        && let Some(interface) = candidates().find(|each| each.device.ifindex == route.ifindex)
    {
        let neighbour = gateway(interface).or(route.gateway).unwrap_or(address);
        return Some(NextHop {
            interface: *interface,
            neighbour,
        });
    }
    candidates().find_map(|interface| {
        Some(NextHop {
            interface: *interface,
            neighbour: gateway(interface)?,
        })
    })
}

/// Backends whose way the host's routes have a say in: the addresses to put into [`Facts::routes`].
pub fn routes_wanted(model: &Model, facts: &Facts) -> BTreeSet<IpAddr> {
    let interfaces = attached(model, facts);
    let backends = model.pools.iter().flat_map(|pool| &pool.backends);
    backends
        .map(|backend| backend.address)
        .filter(|address| {
            !interfaces
                .iter()
                .any(|each| each.on_link(*address).is_some())
        })
        .collect()
}

/// Neighbours to resolve and to follow: the keys to put into [`Facts::neighbours`].
pub fn neighbours_wanted(model: &Model, facts: &Facts) -> BTreeSet<(u32, IpAddr)> {
    let interfaces = attached(model, facts);
    let backends = model.pools.iter().flat_map(|pool| &pool.backends);
    backends
        .filter_map(|backend| next_hop(&interfaces, facts, backend))
        .map(|hop| (hop.interface.device.ifindex, hop.neighbour))
        .collect()
}
