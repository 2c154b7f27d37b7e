//! From what this node's maps hold to what both nodes understand, and back: the maps name backends,
//! virtual servers and interfaces by indices of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use forwarder_common::flow::{NO_BACKEND, event, state};
use forwarder_common::{self as abi, FlowEvent, FlowKey, Link, V4, V6};

use super::entry::{Change, Flow, Way};
use super::{Entry, Groups};
use crate::core::key::{Address, Network, Vip, partner_key, ports};

/// An event of the data plane; with the link of the flow's other entry, where that is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Of IPv4.
    V4(FlowEvent<V4>, Link),
    /// Of IPv6.
    V6(FlowEvent<V6>, Link),
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

/// An egress rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    id: u32,
    group: u8,
}

/// What things are called on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    interfaces: BTreeMap<u32, u32>,
    links: BTreeMap<u32, (u32, [u16; 3])>,
    servers: BTreeMap<Vip, Server>,
    backends: BTreeMap<(IpAddr, u16), Vec<(String, u32)>>,
    ends: BTreeMap<u32, (IpAddr, u16)>,
    /// Of egress SNAT, by source; and how long their prefixes are.
    rules: BTreeMap<Network, Rule>,
    lengths: BTreeSet<u8>,
    /// SNAT addresses that are where a group is.
    moving: BTreeMap<IpAddr, u8>,
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

    /// A SNAT address that moves with a group.
    pub fn moves(&mut self, address: IpAddr, group: u8) {
        self.moving.insert(address, group);
    }

    /// An egress rule whose SNAT addresses move with a group.
    pub fn rule(&mut self, source: Network, id: u32, group: u8) {
        self.rules.insert(source, Rule { id, group });
        self.lengths.insert(source.length);
    }

    /// The groups of all virtual servers, and of egress rules whose addresses move, by id.
    pub fn groups(&self) -> BTreeMap<u32, u8> {
        let servers = self.servers.values();
        let servers = servers.map(|server| (server.id, server.group));
        let rules = self.rules.values().map(|rule| (rule.id, rule.group));
        servers.chain(rules).collect()
    }

    /// The groups of those virtual servers, by id, whose flows both nodes have.
    pub fn common_groups(&self) -> BTreeMap<u32, u8> {
        let common = self.servers.values().filter(|server| !server.alone);
        common.map(|server| (server.id, server.group)).collect()
    }

    /// The bit of the group that an entry belongs to; 0: this node knows none.
    pub fn group_of(&self, entry: &Entry) -> Groups {
        match entry {
            Entry::Begin | Entry::End | Entry::Other => 0,
            Entry::Backends(..) | Entry::Past(..) => 0,
            Entry::V4(change) => self.group_of_change(change),
            Entry::V6(change) => self.group_of_change(change),
        }
    }

    fn group_of_change<A: Address>(&self, change: &Change<A>) -> Groups {
        let group = |key| self.server_of(key).map(|server| server.group);
        let moving = |address: A| self.moving.get(&address.ip()).copied();
        let group = match change {
            Change::Flow(flow) if flow.out.is_some() => moving(flow.source),
            Change::Flow(flow) => group(&flow.key),
            // Of egress SNAT the reply entry is asked by the outside.
            Change::Gone(one, other) => group(one)
                .or_else(|| group(other))
                .or_else(|| moving(one.destination))
                .or_else(|| moving(other.destination)),
            Change::Kept(key, ..) | Change::Released(key) => group(key),
        };
        group.map_or(0, |group| 1 << group)
    }

    /// What the peer is told of an event; `None`: nothing.
    pub fn entry(&self, event: &Event) -> Option<Entry> {
        match event {
            Event::V4(event, link) => self.change(event, *link).map(Entry::V4),
            Event::V6(event, link) => self.change(event, *link).map(Entry::V6),
        }
    }

    /// The same, of one family.
    fn change<A: Address>(&self, event: &FlowEvent<A>, other_link: Link) -> Option<Change<A>> {
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
            event::FLOW | event::GONE if !self.is_told(key, flow) => None,
            event::FLOW => {
                let told = self.flow(key, flow, *other_state);
                if flow.state & state::EGRESS == 0 {
                    return Some(Change::Flow(told));
                }
                // Without its other entry it is about to go.
                let other = (other_link.ifindex != 0).then(|| self.way(other_link))?;
                let (way, out) = match flow.state & state::REPLY {
                    0 => (other, told.way),
                    _ => (told.way, other),
                };
                let out = Some(out);
                Some(Change::Flow(Flow { way, out, ..told }))
            }
            event::GONE => Some(Change::Gone(*key, partner_key(key, flow))),
            event::KEPT => {
                let (address, port) = self.ends.get(&flow.backend)?;
                Some(Change::Kept(*key, *address, *port))
            }
            event::RELEASED => Some(Change::Released(*key)),
            _ => None,
        }
    }

    /// Whether the peer could go on with a flow: that of a client, or one of egress SNAT whose address moves.
    fn is_told<A: Address>(&self, key: &FlowKey<A>, entry: &abi::Flow<A>) -> bool {
        let address = match entry.state & state::REPLY {
            0 => entry.source,
            _ => key.destination,
        };
        entry.state & state::EGRESS == 0 || self.moving.contains_key(&address.ip())
    }

    fn way(&self, link: Link) -> Way {
        Way {
            interface: self.interfaces.get(&link.ifindex).copied().unwrap_or(0),
            mac: link.destination_mac,
            tags: link.tags,
        }
    }

    fn link(&self, way: &Way) -> Option<Link> {
        let (ifindex, source_mac) = *self.links.get(&way.interface)?;
        Some(Link {
            destination_mac: way.mac,
            source_mac,
            ifindex,
            tags: way.tags,
        })
    }

    /// A flow, from either of its entries and the other's state.
    fn flow<A: Address>(
        &self,
        key: &FlowKey<A>,
        entry: &abi::Flow<A>,
        other_state: u32,
    ) -> Flow<A> {
        let way = self.way(entry.link);
        if entry.state & state::REPLY == 0 {
            return Flow {
                key: *key,
                source: entry.source,
                destination: entry.destination,
                ports: entry.ports,
                states: [entry.state, other_state],
                way,
                out: None,
            };
        }
        Flow {
            key: partner_key(key, entry),
            source: key.destination,
            destination: key.source,
            ports: key.ports.rotate_left(16),
            states: [other_state, entry.state],
            way,
            out: None,
        }
    }

    /// Both entries of a flow that the peer told of, stamped; `None`: this node does not know its virtual
    /// server or egress rule, backend or interface.
    pub fn entries<A: Address>(
        &self,
        flow: &Flow<A>,
        stamp: u32,
    ) -> Option<[(FlowKey<A>, abi::Flow<A>); 2]> {
        let back = self.link(&flow.way)?;
        let (id, backend, link, egress) = match &flow.out {
            None => {
                let server = self.server_of(&flow.key)?;
                let [_, port] = ports(flow.ports);
                let backend = self.backend_of(server, flow.destination.ip(), port)?;
                (server.id, backend, back, 0)
            }
            Some(out) => {
                self.moving.get(&flow.source.ip())?;
                let rule = self.rule_of(flow.key.source.ip())?;
                (rule.id, NO_BACKEND, self.link(out)?, state::EGRESS)
            }
        };
        // Of the forward entry only these bits are its own; of the reply entry all that are told.
        let forward = abi::Flow {
            source: flow.source,
            destination: flow.destination,
            ports: flow.ports,
            link,
            backend,
            id,
            state: flow.states[0] & !(state::REPLY | state::EGRESS) | egress | state::TOLD,
            last_seen: stamp,
        };
        let mss = flow.states[0] & 0xffff_0000;
        let full_nat = forward.state & state::FULL_NAT;
        let reply = abi::Flow {
            source: flow.key.destination,
            destination: flow.key.source,
            ports: flow.key.ports.rotate_left(16),
            link: back,
            state: flow.states[1] & 0xff & !state::EGRESS
                | mss
                | full_nat
                | egress
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

    /// The rule with the longest prefix that a source is in.
    fn rule_of(&self, source: IpAddr) -> Option<Rule> {
        let mut lengths = self.lengths.iter().rev();
        lengths.find_map(|length| self.rules.get(&Network::of(source, *length)?).copied())
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
            names.change::<V4>(&event, Link::default()).is_some()
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
            active.change(&event, Link::default())
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

    #[test]
    fn flows_of_egress_snat_are_told_if_their_address_moves() {
        let mut nodes = [names(100), names(500)];
        let networks: [(IpAddr, u8, u32, u8); 4] = [
            ([192, 0, 2, 0].into(), 24, 6, 3),
            ([192, 0, 2, 128].into(), 25, 7, 4),
            ([0, 0, 0, 0].into(), 0, 8, 5),
            ([0; 16].into(), 0, 9, 6),
        ];
        for (node, first) in nodes.iter_mut().zip([100, 500]) {
            node.interface(13, first + 9, [first as u16 + 9; 3]);
            node.moves([203, 0, 113, 40].into(), 4);
            for (address, length, id, group) in networks {
                node.rule(Network { address, length }, first + id, group);
            }
        }
        let [active, standby] = nodes;
        let [host, outside, snat] = [[192, 0, 2, 200], [198, 51, 100, 7], [203, 0, 113, 40]]
            .map(|octets: [u8; 4]| word(octets.into()));
        let key = FlowKey {
            source: host,
            destination: outside,
            ports: ports(50_000, 443),
            protocol: 17,
        };
        let link = |first: u16, interface: u32, mac| Link {
            destination_mac: [mac; 3],
            source_mac: [first; 3],
            ifindex: interface,
            tags: [0, 0],
        };
        let forward = abi::Flow {
            source: snat,
            destination: outside,
            ports: ports(20_000, 443),
            link: link(100, 101, 1),
            backend: NO_BACKEND,
            id: 107,
            state: state::EGRESS | state::SEEN,
            last_seen: 9,
        };
        let reply = abi::Flow {
            source: outside,
            destination: host,
            ports: ports(443, 50_000),
            link: link(109, 109, 2),
            state: forward.state | state::REPLY,
            ..forward
        };
        let event = |key, flow: abi::Flow<u32>, other_state, what| FlowEvent {
            what,
            other_state,
            key,
            flow,
        };
        let reply_key = partner_key(&key, &forward);
        let told = active.change(&event(key, forward, reply.state, event::FLOW), reply.link);
        let again = event(reply_key, reply, forward.state, event::FLOW);
        assert_eq!(told, active.change(&again, forward.link));
        let Some(Change::Flow(flow)) = told else {
            panic!("{told:?}")
        };
        // It comes as it was.
        let mut chunk = Vec::new();
        Entry::V4(Change::Flow(flow)).encode(&mut chunk);
        let mut come = Vec::new();
        Entry::decode_all(&chunk, |entry| come.push(entry)).expect("good");
        assert_eq!(come, [Entry::V4(Change::Flow(flow))]);
        assert_eq!(standby.group_of(&come[0]), 1 << 4);
        let local = |flow: abi::Flow<u32>, first: u16, interface| abi::Flow {
            link: link(first, interface, flow.link.destination_mac[0]),
            id: 507,
            state: flow.state | state::TOLD,
            last_seen: 77,
            ..flow
        };
        let expected = [
            (key, local(forward, 500, 501)),
            (reply_key, local(reply, 509, 509)),
        ];
        assert_eq!(standby.entries(&flow, 77), Some(expected));
        let gone = active.change(&event(reply_key, reply, 0, event::GONE), Link::default());
        assert_eq!(gone, Some(Change::Gone(reply_key, key)));
        let gone = Entry::V4(Change::Gone(reply_key, key));
        assert_eq!(standby.group_of(&gone), 1 << 4);
        // What leaves by a node's own address ends with the node.
        let own = abi::Flow {
            source: outside,
            ..forward
        };
        for what in [event::FLOW, event::GONE] {
            let own = event(key, own, reply.state, what);
            assert_eq!(active.change(&own, reply.link), None);
        }
        assert_eq!(
            standby.entries(
                &Flow {
                    source: outside,
                    ..flow
                },
                77
            ),
            None
        );
    }
}
