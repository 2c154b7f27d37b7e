//! Which addresses have to be at which interface, beside its own.

use std::net::IpAddr;

use super::{Interface, Model};

/// An address that an interface has to have beside its own: in a cloud, as a secondary address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<'a> {
    /// What.
    pub address: IpAddr,
    /// The interface's name.
    pub interface: &'a str,
    /// Whether it moves to the active node by calls of the cloud's API: it is at one node only.
    pub moves: bool,
}

impl Model {
    /// Every such address, once. What is in a prefix that moves, or in no subnet of an interface, is not among
    /// them: a route leads to the latter.
    pub fn placed(&self) -> Vec<Placed<'_>> {
        let mut all: Vec<Placed<'_>> = Vec::new();
        let mut add = |address: IpAddr, interface, moves| {
            let own = |interface: &Interface| {
                let mut own = interface.addresses.iter();
                own.any(|own| own.address == address)
            };
            let there = all.iter().any(|each| each.address == address);
            if !there && !self.interfaces.iter().any(own) {
                let placed = Placed {
                    address,
                    interface,
                    moves,
                };
                all.push(placed);
            }
        };
        let on_link = |name: &str, address: IpAddr| {
            let mut named = self.interfaces.iter().filter(|each| each.name == name);
            named.any(|each| each.is_on_link(address))
        };
        for each in self.cloud.iter().flat_map(|cloud| &cloud.addresses) {
            add(each.what, each.interface.as_str(), true);
        }
        for each in self.cloud.iter().flat_map(|cloud| &cloud.elastic_ips) {
            add(each.private, each.interface.as_str(), false);
        }
        let in_prefix = |address: IpAddr| {
            let mut prefixes = self.cloud.iter().flat_map(|cloud| &cloud.prefixes);
            prefixes.any(|each| each.what.contains(address))
        };
        for server in self
            .virtual_servers
            .iter()
            .filter(|server| !in_prefix(server.address))
        {
            let mut served = server.interfaces.iter();
            if let Some(name) = served.find(|name| on_link(name, server.address)) {
                add(server.address, name.as_str(), false);
            }
        }
        for pool in &self.snat_pools {
            for address in pool
                .addresses
                .iter()
                .filter(|address| !in_prefix(**address))
            {
                if on_link(&pool.interface, *address) {
                    add(*address, pool.interface.as_str(), false);
                }
            }
        }
        for interface in &self.interfaces {
            for address in interface
                .floating
                .iter()
                .filter(|address| !in_prefix(**address))
            {
                add(*address, interface.name.as_str(), false);
            }
        }
        all
    }
}
