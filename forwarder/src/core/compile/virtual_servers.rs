//! Virtual servers, VIP addresses, admission and egress rules.

use forwarder_common::virtual_server::flags;
use forwarder_common::{Affinity, Egress, VipAddress, VirtualServer, protocol};

use super::state::egress_name;
use super::{Compilation, Note};
use crate::config::Prefix;
use crate::config::model::{self, Protocol, ServicePort};
use crate::core::key::{Network, Source, Vip};
use crate::core::next_hop::Attached;

const NANOSECONDS: u32 = 1_000_000_000;

impl Compilation<'_> {
    pub(super) fn virtual_servers(&mut self) {
        let model = self.model();
        let servers = model
            .virtual_servers
            .iter()
            .map(|server| server.name.clone());
        let egress = model
            .egress
            .iter()
            .map(|rule| egress_name(rule.source, &rule.interface));
        let names: Vec<String> = servers.chain(egress).collect();
        for name in self.state.virtual_servers.assign(&names) {
            let limit = "raise limits.virtual_servers";
            self.notes.push(Note::NoRoom {
                what: "virtual server",
                name,
                limit,
            });
        }
        for server in &model.virtual_servers {
            if let Some(id) = self.state.virtual_server(&server.name) {
                self.virtual_server(server, id);
            }
        }
    }

    fn virtual_server(&mut self, server: &model::VirtualServer, id: u32) {
        let interfaces: Vec<Attached<'_>> = server
            .interfaces
            .iter()
            .filter_map(|name| self.interface(name))
            .collect();
        let ipv6 = server.address.is_ipv6();
        for interface in interfaces
            .iter()
            .filter(|interface| interface.address(ipv6).is_none())
        {
            self.notes.push(Note::NoOwnAddress {
                virtual_server: server.name.clone(),
                interface: interface.config.name.clone(),
            });
        }
        let (table_base, table_size) = self.table_of(server);
        let group = self.model().group(&server.group);
        let (new_flow_interval, new_flow_burst) = rate(server.new_flows_per_second);
        let vip = Vip {
            address: server.address,
            port: match server.port {
                ServicePort::Any => 0,
                ServicePort::One(port) => port.get(),
            },
            protocol: match server.protocol {
                Protocol::Tcp => protocol::TCP,
                Protocol::Udp => protocol::UDP,
            },
        };
        let entry = VirtualServer {
            id,
            table_base,
            table_size,
            mode: server.action.mode() as u8,
            affinity: Affinity::from(server.affinity) as u8,
            flags: admission_flags(server),
            group,
            snat_pool: self.snat_index(server.action.snat(), ipv6),
            mss: server.mss_clamp.map_or(0, u32::from),
            new_flow_interval,
            new_flow_burst,
            interfaces: self.mask(&interfaces),
        };
        self.tables.virtual_servers.insert(vip, entry);
        let served = self.mask(&interfaces);
        let answers = self.mask(&first_of_each_subnet(&interfaces, ipv6));
        let known = self.tables.vip_addresses.entry(server.address);
        let known: &mut VipAddress = known.or_default();
        known.interfaces |= served;
        known.answers |= answers;
        known.group = u64::from(group);
        for (prefixes, allowed) in [(&server.allow, true), (&server.deny, false)] {
            for prefix in prefixes {
                let (address, length) = (prefix.address(), prefix.length());
                let source = Source {
                    virtual_server: id,
                    address,
                    length,
                };
                self.tables.admission.insert(source, allowed);
            }
        }
    }

    /// Base and size of the pool's table; size 0: nobody takes or keeps flows.
    fn table_of(&self, server: &model::VirtualServer) -> (u32, u32) {
        let table = server.action.pool().and_then(|name| self.state.pool(name));
        table.map_or((0, 0), |table| (table.base, table.slots.len() as u32))
    }

    pub(super) fn egress(&mut self) {
        for rule in &self.model().egress {
            let Some(interface) = self.interface(&rule.interface) else {
                continue;
            };
            let Some(id) = self
                .state
                .virtual_server(&egress_name(rule.source, &rule.interface))
            else {
                continue;
            };
            let network = Network {
                address: rule.source.address(),
                length: rule.source.length(),
            };
            let entry = Egress {
                ifindex: interface.device.ifindex,
                snat_pool: self.snat_index(Some(&rule.snat), network.address.is_ipv6()),
                id,
                reserved: 0,
            };
            self.tables.egress.insert(network, entry);
            self.note_forwarding(rule);
        }
    }

    /// The kernel tells a route only to an interface that may forward: the one whose subnet the sources are in,
    /// or any, if they are beyond a router.
    fn note_forwarding(&mut self, rule: &model::Egress) {
        let ipv6 = rule.source.address().is_ipv6();
        let forwards = |each: &Attached<'_>| each.device.forwards[usize::from(ipv6)];
        let others = || {
            let all = self.interfaces.iter();
            all.filter(|each| each.config.name != rule.interface)
        };
        let here = |each: &&Attached<'_>| {
            let mut subnets = each.addresses().iter().map(|own| own.subnet);
            subnets.any(|subnet| {
                subnet.contains(rule.source.address()) || rule.source.contains(subnet.address())
            })
        };
        let mut inside: Vec<_> = others().filter(here).collect();
        if inside.is_empty() && !others().any(forwards) {
            inside = others().collect();
        }
        let notes = inside.into_iter().filter(|each| !forwards(each));
        let notes: Vec<_> = notes
            .map(|each| Note::NotForwarding {
                source_prefix: rule.source.to_string(),
                interface: each.config.name.clone(),
                device: each.config.device.clone(),
                family: if ipv6 { "ipv6" } else { "ipv4" },
            })
            .collect();
        self.notes.extend(notes);
    }
}

/// The interfaces without those that share a subnet with an earlier one: a VIP has one MAC address
/// on a link. Whoever wants another interface to answer names that one alone.
fn first_of_each_subnet<'a>(interfaces: &[Attached<'a>], ipv6: bool) -> Vec<Attached<'a>> {
    let subnets = |interface: &Attached<'a>| -> Vec<Prefix> {
        let own = interface.addresses().iter();
        own.map(|own| own.subnet)
            .filter(|net| net.address().is_ipv6() == ipv6)
            .collect()
    };
    let mut taken: Vec<Prefix> = Vec::new();
    let mut first = Vec::new();
    for interface in interfaces {
        let own = subnets(interface);
        if !own.iter().any(|subnet| taken.contains(subnet)) {
            first.push(*interface);
        }
        taken.extend(own);
    }
    first
}

fn admission_flags(server: &model::VirtualServer) -> u8 {
    let mut bits = 0;
    if !server.allow.is_empty() || !server.deny.is_empty() {
        bits |= flags::LISTED;
    }
    if !server.allow.is_empty() {
        bits |= flags::DENY_UNLISTED;
    }
    bits
}

/// Interval in nanoseconds and burst: a second's worth may come at once.
fn rate(per_second: Option<u32>) -> (u32, u32) {
    match per_second {
        None | Some(0) => (0, 0),
        Some(rate) => ((NANOSECONDS / rate).max(1), rate),
    }
}
