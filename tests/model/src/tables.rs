//! What the maps hold, in ordinary collections.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use forwarder_common::hash::HashKey;
use forwarder_common::peer::Peer;
use forwarder_common::{
    Backend, Egress, Interface, PortRange, Slot, SnatPool, VipAddress, VirtualServer,
};

use crate::wire::{Mac, contains};

/// A 5-tuple; ports in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Protocol.
    pub protocol: u8,
}

impl Tuple {
    /// The same flow seen from the other side.
    pub fn turned(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }
}

/// How a frame leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Destination MAC.
    pub destination_mac: Mac,
    /// Source MAC.
    pub source_mac: Mac,
    /// Egress interface.
    pub ifindex: u32,
    /// VLAN tags, outer first.
    pub tags: Vec<[u8; 4]>,
}

/// One direction of a NAT flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// What the packet's 5-tuple becomes.
    pub becomes: Tuple,
    /// How the packet leaves, where the entry says it.
    pub hop: Option<Hop>,
    /// Backend, if the flow has one.
    pub backend: Option<u32>,
    /// Counter index of the virtual server or egress rule.
    pub id: u32,
    /// Largest MSS on SYNs in both directions; 0: any.
    pub mss: u32,
    /// The entry translates replies.
    pub reply: bool,
    /// An egress flow.
    pub egress: bool,
    /// A packet has passed by the entry.
    pub seen: bool,
    /// A FIN has passed.
    pub fin: bool,
    /// A RST has passed.
    pub rst: bool,
}

/// What tells the fragments of one packet from those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FragmentId {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Identification.
    pub id: u32,
    /// Protocol.
    pub protocol: u8,
}

/// This node as one of a pair.
#[derive(Clone, Debug)]
pub struct Pair {
    /// UDP port, host order.
    pub port: u16,
    /// Keys and process.
    pub peer: Peer,
    /// The ends of paths, this node's first.
    pub paths: BTreeSet<(IpAddr, IpAddr)>,
    /// The node has no lease to answer echoes.
    pub without_lease: bool,
    /// The highest number that was answered, by path.
    pub answered: BTreeMap<u8, u64>,
}

/// The maps: configuration first, what packets wrote after it.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Key of the flow hash.
    pub hash_key: HashKey,
    /// GUE's UDP port, host order.
    pub gue_port: u16,
    /// This node is one of a pair, and what it has no lease for: groups whose packets it does not forward,
    /// and groups for whose VIPs it does not answer.
    pub standby: [BTreeSet<u8>; 2],
    /// The other node.
    pub pair: Option<Pair>,
    /// By kernel interface index.
    pub interfaces: BTreeMap<u32, Interface>,
    /// By VIP, port (0: every port) and protocol.
    pub virtual_servers: BTreeMap<(IpAddr, u16, u8), VirtualServer>,
    /// By VIP.
    pub vips: BTreeMap<IpAddr, VipAddress>,
    /// Lookup tables.
    pub slots: BTreeMap<u32, Slot>,
    /// By backend index.
    pub backends: BTreeMap<u32, Backend>,
    /// By pool index.
    pub snat_pools: BTreeMap<u32, SnatPool>,
    /// By position.
    pub snat_addresses: BTreeMap<u32, IpAddr>,
    /// Ports of an address that are SNAT's.
    pub snat_ranges: BTreeMap<IpAddr, PortRange>,
    /// By virtual server id and prefix: `interface::admission`.
    pub admission: BTreeMap<(u32, IpAddr, u32), u32>,
    /// By source prefix.
    pub egress: BTreeMap<(IpAddr, u32), Egress>,
    /// Entries (two a flow) that fit among the established, per family.
    pub flow_capacity: usize,

    /// Established flows.
    pub flows: BTreeMap<Tuple, Flow>,
    /// How many of them are IPv4 and IPv6.
    pub flow_counts: [usize; 2],
    /// Flows not answered yet.
    pub embryonic: BTreeMap<Tuple, Flow>,
    /// Backends that older flows keep.
    pub exceptions: BTreeMap<Tuple, u32>,
    /// Backends that new flows of changed slots took.
    pub embryonic_exceptions: BTreeMap<Tuple, u32>,
    /// Ports of first fragments.
    pub fragments: BTreeMap<FragmentId, (u16, u16)>,
}

impl Tables {
    /// The virtual server of a destination on an interface.
    pub fn virtual_server(&self, interface: &Interface, tuple: &Tuple) -> Option<VirtualServer> {
        use forwarder_common::interface::flags::ANY_PORT;
        let served = |port| {
            self.virtual_servers
                .get(&(tuple.destination, port, tuple.protocol))
                .filter(|server| server.interfaces >> interface.slot & 1 == 1)
        };
        served(tuple.destination_port)
            .or_else(|| served(0).filter(|_| interface.flags & ANY_PORT != 0))
            .copied()
    }

    /// Whether the address is a VIP here.
    pub fn is_ours(&self, interface: &Interface, address: IpAddr) -> bool {
        self.vip(interface, address, |vip| vip.interfaces)
    }

    /// Whether this interface answers for the address.
    pub fn answers(&self, interface: &Interface, address: IpAddr) -> bool {
        self.vip(interface, address, |vip| vip.answers)
            && !self.standby[1].contains(&(self.vips[&address].group as u8))
    }

    fn vip(
        &self,
        interface: &Interface,
        address: IpAddr,
        bits: impl Fn(&VipAddress) -> u64,
    ) -> bool {
        self.vips
            .get(&address)
            .is_some_and(|vip| bits(vip) >> interface.slot & 1 == 1)
    }

    /// What the virtual server's lists say of a source; `None`: it is not listed.
    pub fn admission(&self, id: u32, source: IpAddr) -> Option<u32> {
        self.admission
            .iter()
            .filter(|((server, prefix, length), _)| {
                *server == id && contains(*prefix, *length, source)
            })
            .max_by_key(|((_, _, length), _)| *length)
            .map(|(_, value)| *value)
    }

    /// The egress rule of a source.
    pub fn egress_rule(&self, source: IpAddr) -> Option<Egress> {
        self.egress
            .iter()
            .filter(|((prefix, length), _)| contains(*prefix, *length, source))
            .max_by_key(|((_, length), _)| *length)
            .map(|(_, rule)| *rule)
    }

    /// A flow entry, the established asked first.
    pub fn flow(&self, tuple: &Tuple) -> Option<&Flow> {
        self.flows.get(tuple).or_else(|| self.embryonic.get(tuple))
    }

    /// The same, to be changed.
    pub fn flow_mut(&mut self, tuple: &Tuple) -> Option<&mut Flow> {
        self.flows
            .get_mut(tuple)
            .or_else(|| self.embryonic.get_mut(tuple))
    }

    /// Removes a flow entry wherever it is.
    pub fn remove_flow(&mut self, tuple: &Tuple) {
        if self.flows.remove(tuple).is_some() {
            self.flow_counts[usize::from(tuple.source.is_ipv6())] -= 1;
        }
        self.embryonic.remove(tuple);
    }
}
