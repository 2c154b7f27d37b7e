//! From what this node's maps hold to what both nodes understand, and back: the maps name backends,
//! virtual servers and interfaces by indices of their own.

use std::collections::BTreeMap;
use std::net::IpAddr;

use forwarder_common::flow::{event, state};
use forwarder_common::{self as abi, FlowEvent, FlowKey, Link, V4, V6};

use super::entry::{Change, Flow, Way};
use super::{Entry, Groups};
use crate::core::key::{Address, Vip, partner_key, ports};

/// An event of the data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Of IPv4.
    V4(FlowEvent<V4>),
    /// Of IPv6.
    V6(FlowEvent<V6>),
}

/// A virtual server: its id, and the index of its pool's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Index of its counters.
    pub id: u32,
    /// Its pool.
    pub pool: String,
    /// The place of its group.
    pub group: u8,
    /// Whether the peer has it under another address: it is told nothing of its flows, and that it has none of
    /// them means nothing.
    pub alone: bool,
}

/// What things are called on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    interfaces: BTreeMap<u32, u32>,
    links: BTreeMap<u32, (u32, [u16; 3])>,
    servers: BTreeMap<Vip, Server>,
    backends: BTreeMap<(IpAddr, u16), Vec<(String, u32)>>,
    ends: BTreeMap<u32, (IpAddr, u16)>,
}

impl Names {
    /// An interface: the hash of its name, its index and MAC address.
    pub fn interface(&mut self, name: u32, ifindex: u32, mac: [u16; 3]) {
        self.interfaces.insert(ifindex, name);
        self.links.insert(name, (ifindex, mac));
    }

    /// A virtual server of a NAT or DSR mode.
    pub fn server(&mut self, vip: Vip, server: Server) {
        self.servers.insert(vip, server);
    }

    /// A pool's backend.
    pub fn backend(&mut self, pool: &str, address: IpAddr, port: u16, index: u32) {
        let known = self.backends.entry((address, port)).or_default();
        known.push((pool.to_owned(), index));
        self.ends.insert(index, (address, port));
    }

    /// The groups of all virtual servers, by id.
    pub fn groups(&self) -> BTreeMap<u32, u8> {
        let servers = self.servers.values();
        servers.map(|server| (server.id, server.group)).collect()
    }

    /// The groups of those virtual servers, by id, whose flows both nodes have.
    pub fn common_groups(&self) -> BTreeMap<u32, u8> {
        let common = self.servers.values().filter(|server| !server.alone);
        common.map(|server| (server.id, server.group)).collect()
    }

    /// The bit of the group that an entry belongs to; 0: this node knows none.
    pub fn group_of(&self, entry: &Entry) -> Groups {
        match entry {
            Entry::Begin | Entry::End | Entry::Backends(..) | Entry::Past(..) => 0,
            Entry::V4(change) => self.group_of_change(change),
            Entry::V6(change) => self.group_of_change(change),
        }
    }

    fn group_of_change<A: Address>(&self, change: &Change<A>) -> Groups {
        let server = match change {
            Change::Flow(flow) => self.server_of(&flow.key),
            Change::Gone(one, other) => self.server_of(one).or_else(|| self.server_of(other)),
            Change::Kept(key, ..) | Change::Released(key) => self.server_of(key),
        };
        server.map_or(0, |server| 1 << server.group)
    }

    /// What the peer is told of an event; `None`: nothing.
    pub fn entry(&self, event: &Event) -> Option<Entry> {
        match event {
            Event::V4(event) => self.change(event).map(Entry::V4),
            Event::V6(event) => self.change(event).map(Entry::V6),
        }
    }

    /// The same, of one family.
    pub fn change<A: Address>(&self, event: &FlowEvent<A>) -> Option<Change<A>> {
        let FlowEvent {
            what,
            other_state,
            key,
            flow,
        } = event;
        let alone = |key| self.server_of(key).is_some_and(|server| server.alone);
        if alone(key) || alone(&partner_key(key, flow)) {
            return None;
        }
        match *what {
            event::FLOW => Some(Change::Flow(self.flow(key, flow, *other_state))),
            event::GONE => Some(Change::Gone(*key, partner_key(key, flow))),
            event::KEPT => {
                let (address, port) = self.ends.get(&flow.backend)?;
                Some(Change::Kept(*key, *address, *port))
            }
            event::RELEASED => Some(Change::Released(*key)),
            _ => None,
        }
    }

    /// A flow, from either of its entries and the other's state.
    pub fn flow<A: Address>(
        &self,
        key: &FlowKey<A>,
        entry: &abi::Flow<A>,
        other_state: u32,
    ) -> Flow<A> {
        let link = entry.link;
        let way = Way {
            interface: self.interfaces.get(&link.ifindex).copied().unwrap_or(0),
            mac: link.destination_mac,
            tags: link.tags,
        };
        if entry.state & state::REPLY == 0 {
            return Flow {
                key: *key,
                source: entry.source,
                destination: entry.destination,
                ports: entry.ports,
                states: [entry.state, other_state],
                way,
            };
        }
        Flow {
            key: partner_key(key, entry),
            source: key.destination,
            destination: key.source,
            ports: key.ports.rotate_left(16),
            states: [other_state, entry.state],
            way,
        }
    }

    /// Both entries of a flow that the peer told of, stamped; `None`: this node does not know its virtual
    /// server, backend or interface.
    pub fn entries<A: Address>(
        &self,
        flow: &Flow<A>,
        stamp: u32,
    ) -> Option<[(FlowKey<A>, abi::Flow<A>); 2]> {
        let server = self.server_of(&flow.key)?;
        let [_, port] = ports(flow.ports);
        let backend = self.backend_of(server, flow.destination.ip(), port)?;
        let (ifindex, source_mac) = *self.links.get(&flow.way.interface)?;
        // Of the forward entry only these bits are its own; of the reply entry all that are told.
        let forward = abi::Flow {
            source: flow.source,
            destination: flow.destination,
            ports: flow.ports,
            link: Link {
                destination_mac: flow.way.mac,
                source_mac,
                ifindex,
                tags: flow.way.tags,
            },
            backend,
            id: server.id,
            state: flow.states[0] & !(state::REPLY | state::EGRESS) | state::TOLD,
            last_seen: stamp,
        };
        let mss = flow.states[0] & 0xffff_0000;
        let full_nat = forward.state & state::FULL_NAT;
        let reply = abi::Flow {
            source: flow.key.destination,
            destination: flow.key.source,
            ports: flow.key.ports.rotate_left(16),
            state: flow.states[1] & 0xff & !state::EGRESS
                | mss
                | full_nat
                | state::REPLY
                | state::TOLD,
            ..forward
        };
        Some([
            (flow.key, forward),
            (partner_key(&flow.key, &forward), reply),
        ])
    }

    /// The index of the backend that a flow of a DSR mode keeps.
    pub fn kept<A: Address>(&self, key: &FlowKey<A>, address: IpAddr, port: u16) -> Option<u32> {
        let server = self.server_of(key)?;
        self.pick(server, address, port)
    }

    fn server_of<A: Address>(&self, key: &FlowKey<A>) -> Option<&Server> {
        let vip = Vip::asked_by(key, key.destination.ip())?;
        let exact = self.servers.get(&vip);
        exact.or_else(|| self.servers.get(&Vip { port: 0, ..vip }))
    }

    fn backend_of(&self, server: &Server, address: IpAddr, port: u16) -> Option<u32> {
        let own = self.pick(server, address, port);
        own.or_else(|| self.pick(server, address, 0))
    }

    /// One of the server's own pool if there is; an older flow may be at a backend of another.
    fn pick(&self, server: &Server, address: IpAddr, port: u16) -> Option<u32> {
        let all = self.backends.get(&(address, port))?;
        let own = all.iter().find(|(pool, _)| *pool == server.pool);
        own.or_else(|| all.first()).map(|(_, index)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::key::word;

    fn names(first: u32) -> Names {
        let mut names = Names::default();
        names.interface(11, first + 1, [first as u16; 3]);
        let vip = Vip {
            address: [203, 0, 113, 1].into(),
            port: 80,
            protocol: 6,
        };
        let server = |pool: &str| Server {
            id: first + 2,
            pool: pool.to_owned(),
            group: 3,
            alone: false,
        };
        names.server(vip, server("web"));
        names.server(Vip { port: 0, ..vip }, server("any"));
        names.backend("other", [192, 0, 2, 1].into(), 8080, first + 3);
        names.backend("web", [192, 0, 2, 1].into(), 8080, first + 4);
        names.backend("any", [192, 0, 2, 1].into(), 0, first + 5);
        names
    }

    #[test]
    fn of_what_the_peer_has_under_another_address_it_is_told_nothing() {
        let mut names = names(100);
        let vip = Vip {
            address: [203, 0, 113, 2].into(),
            port: 9080,
            protocol: 6,
        };
        let server = Server {
            id: 110,
            pool: "web".to_owned(),
            group: 3,
            alone: true,
        };
        names.server(vip, server);
        let told = |vip: [u8; 4], port| {
            let [client, vip] = [[198, 51, 100, 7], vip].map(|octets| word(octets.into()));
            let key = FlowKey {
                source: client,
                destination: vip,
                ports: ports(40_000, port),
                protocol: 6,
            };
            let event = FlowEvent {
                what: event::FLOW,
                other_state: 0,
                key,
                flow: abi::Flow::default(),
            };
            names.change::<V4>(&event).is_some()
        };
        assert!(told([203, 0, 113, 1], 80));
        assert!(!told([203, 0, 113, 2], 9080));
        assert!(names.groups().contains_key(&110), "it has a group");
        assert!(!names.common_groups().contains_key(&110));
    }

    fn ports(source: u16, destination: u16) -> u32 {
        u32::from(source.to_be()) | u32::from(destination.to_be()) << 16
    }

    #[test]
    fn a_flow_means_the_same_on_both_nodes() {
        let (active, standby) = (names(100), names(500));
        let [client, vip, snat, backend] = [
            [198, 51, 100, 7],
            [203, 0, 113, 1],
            [192, 0, 2, 9],
            [192, 0, 2, 1],
        ]
        .map(|octets: [u8; 4]| word(octets.into()));
        let key = FlowKey {
            source: client,
            destination: vip,
            ports: ports(40_000, 80),
            protocol: 6,
        };
        let forward = abi::Flow {
            source: snat,
            destination: backend,
            ports: ports(20_000, 8080),
            link: Link {
                destination_mac: [7; 3],
                source_mac: [100; 3],
                ifindex: 101,
                tags: [0, 0],
            },
            backend: 104,
            id: 102,
            state: state::SEEN | state::FULL_NAT | 1400 << 16,
            last_seen: 9,
        };
        let reply_key = partner_key(&key, &forward);
        let reply = abi::Flow {
            source: vip,
            destination: client,
            ports: ports(80, 40_000),
            state: state::SEEN | state::REPLY | state::FULL_NAT | state::FIN | 1400 << 16,
            ..forward
        };
        let told = |what, other_state, key, flow| {
            let event = FlowEvent {
                what,
                other_state,
                key,
                flow,
            };
            active.change(&event)
        };
        let from_forward = told(event::FLOW, reply.state, key, forward);
        let from_reply = told(event::FLOW, forward.state, reply_key, reply);
        assert_eq!(from_forward, from_reply);
        let Some(Change::Flow(flow)) = from_forward else {
            panic!("{from_forward:?}")
        };
        let local = |flow: abi::Flow<u32>| abi::Flow {
            link: Link {
                source_mac: [500; 3],
                ifindex: 501,
                ..flow.link
            },
            backend: 504,
            id: 502,
            state: flow.state | state::TOLD,
            last_seen: 77,
            ..flow
        };
        let entries = standby.entries(&flow, 77).expect("known");
        assert_eq!(entries, [(key, local(forward)), (reply_key, local(reply))]);
        assert_eq!(
            told(event::GONE, 0, key, forward),
            Some(Change::Gone(key, reply_key))
        );
        let kept = told(event::KEPT, 0, key, forward);
        let end = [192, 0, 2, 1].into();
        assert_eq!(kept, Some(Change::Kept(key, end, 8080)));
        assert_eq!(standby.kept(&key, end, 8080), Some(504));
        // Another port of the VIP is the other virtual server's, whose backends take the packet's.
        let any = Flow {
            key: FlowKey {
                ports: ports(40_000, 443),
                ..key
            },
            ports: ports(20_000, 443),
            ..flow
        };
        let entries = standby.entries(&any, 77).expect("known");
        assert_eq!(entries[0].1.backend, 505);
        // What this node does not have it does not take.
        let elsewhere = Flow {
            destination: snat,
            ..flow
        };
        assert_eq!(standby.entries(&elsewhere, 77), None);
        let way = Way {
            interface: 12,
            ..flow.way
        };
        assert_eq!(standby.entries(&Flow { way, ..flow }, 77), None);
    }
}
