//! The desired state of one node: typed, complete, in the order of the file.
//!
//! References are names, which are known to exist: a name stays the same when something else is
//! added or removed, so two models can be compared part by part.

mod check;
mod cloud;
mod pair;
mod placement;

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use forwarder_common::Mode;
use serde::Serialize;

pub use check::{
    BackendCheck, Encapsulation, HealthCheck, HttpRequest, Payload, Probe, StatusRange, TunnelCheck,
};
pub use cloud::{Cloud, ElasticIp, JournalBucket, Movable, MovingInterface, Route, Url, Which};
pub use pair::{DEFAULT_GROUP, Etcd, Group, Pair, PairPath, Partition, PartitionPolicy};
pub use placement::Placed;

use super::prefix::Prefix;
use super::words::{Word as _, words};

/// What one node is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    /// This node, where the file names nodes.
    pub node: Option<Node>,
    /// How the nodes of a pair watch each other, where they do.
    pub pair: Option<Pair>,
    /// Key of the flow hash; `None`: a single node may choose its own.
    #[serde(skip)]
    pub hash_key: Option<[u64; 2]>,
    /// Sizes of maps.
    pub limits: Limits,
    /// Interfaces.
    pub interfaces: Vec<Interface>,
    /// Virtual servers.
    pub virtual_servers: Vec<VirtualServer>,
    /// Pools.
    pub pools: Vec<Pool>,
    /// SNAT pools.
    pub snat_pools: Vec<SnatPool>,
    /// SNAT of connections that backends open themselves.
    pub egress: Vec<Egress>,
    /// Health checks.
    pub health_checks: Vec<HealthCheck>,
    /// UDP destination port of GUE.
    pub gue_port: NonZeroU16,
    /// Ports that automap takes from interfaces' own addresses.
    pub automap_ports: SharedPorts,
    /// Who may use the admin socket.
    pub admin: Admin,
    /// Where metrics are given over TCP.
    pub metrics: Option<SocketAddr>,
    /// Ports that tell whether this node is active.
    pub probes: Vec<ProbePort>,
    /// Programs that are told of changes of role.
    pub hooks: Vec<Hook>,
    /// The routing table for routes to the VIPs.
    pub route_table: Option<u32>,
    /// What moves by calls of a cloud's API.
    pub cloud: Option<Cloud>,
}

/// A program that is told of changes of role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// The program.
    pub program: PathBuf,
    /// When it is killed.
    pub timeout: Duration,
}

impl Model {
    /// The interface of this name.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.name == name)
    }

    /// The place of a group in the data plane's leases; 0 without a pair.
    pub fn group(&self, name: &str) -> u8 {
        let mut groups = self.pair.iter().flat_map(|pair| &pair.groups);
        let known = groups.find(|group| group.name == name);
        known.map_or(0, |group| group.place)
    }

    /// The place of the group that floating addresses move with: that of the virtual servers that use
    /// automap.
    pub fn floating_group(&self) -> u8 {
        let mut servers = self.virtual_servers.iter();
        let automap = servers.find(|server| server.action.snat() == Some(&Snat::Automap));
        automap.map_or(0, |server| self.group(&server.group))
    }

    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name == name)
    }

    /// The SNAT pool of this name.
    pub fn snat_pool(&self, name: &str) -> Option<&SnatPool> {
        self.snat_pools.iter().find(|pool| pool.name == name)
    }

    /// The health check of this name.
    pub fn health_check(&self, name: &str) -> Option<&HealthCheck> {
        self.health_checks.iter().find(|check| check.name == name)
    }
}

/// Who may use the admin socket, beside root and the daemon's own user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Admin {
    /// The group that may change things, by name or number; `None`: the daemon's own.
    pub group: Option<String>,
    /// The group that may look.
    pub read_group: Option<String>,
}

/// A port that tells whether this node is active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbePort {
    /// The port.
    pub port: NonZeroU16,
    /// The group that it speaks for; `None`: every one.
    pub group: Option<String>,
    /// What it does.
    pub answer: ProbeAnswer,
}

/// What a probe port does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ProbeAnswer {
    /// Accepts connections while the node is active.
    Tcp {
        /// What is sent then.
        message: Payload,
    },
    /// Answers 200 or 503.
    Http {
        /// The path that is asked for.
        path: String,
    },
}

/// This node of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its place in the file: 0 or 1.
    pub index: usize,
    /// The other node's name.
    pub peer: Option<String>,
}

/// How much there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Virtual servers, and distinct VIPs, per family.
    pub virtual_servers: u32,
    /// Backends over all pools.
    pub backends: u32,
    /// Established NAT flows per family.
    pub flows: u32,
    /// Half-open NAT flows per family.
    pub embryonic_flows: u32,
    /// Lookup-table slots over all pools.
    pub table_slots: u32,
}

words! {
    /// How packets that leave by the interface they came in by are sent.
    pub enum Transmit {
        /// What suits the driver.
        Auto = "auto",
        /// `XDP_TX`.
        Tx = "tx",
        /// Redirect through the device map.
        Redirect = "redirect",
    }
}

words! {
    /// Transport protocol.
    pub enum Protocol {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
    }
}

words! {
    /// What of a packet decides the backend.
    pub enum Affinity {
        /// Addresses, ports and protocol.
        FiveTuple = "5-tuple",
        /// The source address.
        Source = "source",
        /// The source address and the protocol.
        SourceProtocol = "source-protocol",
    }
}

words! {
    /// What becomes of the flows of a backend that goes down.
    pub enum WhenDown {
        /// They go to another.
        Move = "move",
        /// Those of TCP stay, others go to another.
        KeepTcp = "keep-tcp",
    }
}

words! {
    /// What the operator wants of a backend.
    pub enum BackendState {
        /// It takes flows.
        Enabled = "enabled",
        /// It takes flows, whatever its health check says.
        Forced = "forced",
        /// It keeps the flows it has and gets no new ones.
        Drained = "drained",
        /// It gets nothing; its flows move at once.
        Disabled = "disabled",
    }
}

impl BackendState {
    /// What a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        let mut words = Self::WORDS.iter();
        words
            .find(|(known, _)| *known == word)
            .map(|(_, state)| *state)
    }
}

impl From<Affinity> for forwarder_common::Affinity {
    fn from(affinity: Affinity) -> Self {
        match affinity {
            Affinity::FiveTuple => Self::FiveTuple,
            Affinity::Source => Self::Source,
            Affinity::SourceProtocol => Self::SourceProtocol,
        }
    }
}

/// An own address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Its subnet.
    pub subnet: Prefix,
}

/// An interface that the data plane is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// The name in the file.
    pub name: String,
    /// The kernel's name.
    pub device: String,
    /// How packets leave by it.
    pub transmit: Transmit,
    /// Whether generic XDP is good enough where the driver has no native XDP.
    pub allow_generic: bool,
    /// Whether it is attached to the active node by calls of a cloud's API, and not there at the standby.
    pub moves: bool,
    /// Own addresses, first of a family first; empty: what the device has.
    pub addresses: Vec<InterfaceAddress>,
    /// Addresses that are at the active node.
    pub floating: Vec<IpAddr>,
    /// IPv4 next hop for what is in no subnet; `None`: the host's routes.
    pub gateway4: Option<Ipv4Addr>,
    /// IPv6 next hop, likewise.
    pub gateway6: Option<Ipv6Addr>,
}

impl Interface {
    /// Whether an own subnet holds the address.
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        self.addresses
            .iter()
            .any(|own| own.subnet.contains(address))
    }

    /// Whether it has a gateway of the address's family.
    pub fn has_gateway_for(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.gateway4.is_some(),
            IpAddr::V6(_) => self.gateway6.is_some(),
        }
    }
}

/// The port of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServicePort {
    /// Every port.
    Any,
    /// One port.
    #[serde(untagged)]
    One(NonZeroU16),
}

impl Display for ServicePort {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ServicePort::Any => f.write_str("any"),
            ServicePort::One(port) => port.fmt(f),
        }
    }
}

/// VIP, port and protocol, and what happens to their packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VirtualServer {
    /// The name in the file.
    pub name: String,
    /// The VIP.
    pub address: IpAddr,
    /// Whether the peer has it under another address: its flows are this node's alone.
    #[serde(skip)]
    pub by_node: bool,
    /// Port.
    pub port: ServicePort,
    /// Protocol.
    pub protocol: Protocol,
    /// The name of its group; without a pair [`DEFAULT_GROUP`].
    pub group: String,
    /// Mode, pool and SNAT.
    #[serde(flatten)]
    pub action: Action,
    /// What decides the backend.
    pub affinity: Affinity,
    /// Names of the interfaces where it is served and answered.
    pub interfaces: Vec<String>,
    /// Sources that may come; empty: all that are not denied.
    pub allow: Vec<Prefix>,
    /// Sources that may not.
    pub deny: Vec<Prefix>,
    /// New flows a second; `None`: no guard.
    pub new_flows_per_second: Option<u32>,
    /// How long its flows may be quiet; `None`: as long as those of others.
    pub idle_timeout: Option<Duration>,
    /// Whether both ends of a forgotten TCP connection are told.
    pub idle_reset: bool,
    /// Largest MSS let through; `None`: what fits in tunnel modes, untouched in others.
    pub mss_clamp: Option<u16>,
}

/// What happens to a virtual server's packets. Pools and SNAT pools by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum Action {
    /// MACs change.
    L2Dsr {
        /// Where to.
        pool: String,
    },
    /// IP in IP.
    IpipDsr {
        /// Where to.
        pool: String,
    },
    /// IP in UDP.
    GueDsr {
        /// Where to.
        pool: String,
    },
    /// Destination translated.
    Dnat {
        /// Where to.
        pool: String,
    },
    /// Destination and source translated.
    FullNat {
        /// Where to.
        pool: String,
        /// Where the source comes from.
        snat: Snat,
    },
    /// This host serves it.
    Local,
}

impl Action {
    /// The mode.
    pub fn mode(&self) -> Mode {
        match self {
            Action::L2Dsr { .. } => Mode::L2Dsr,
            Action::IpipDsr { .. } => Mode::IpipDsr,
            Action::GueDsr { .. } => Mode::GueDsr,
            Action::Dnat { .. } => Mode::Dnat,
            Action::FullNat { .. } => Mode::FullNat,
            Action::Local => Mode::Local,
        }
    }

    /// The pool's name; `local` has none.
    pub fn pool(&self) -> Option<&str> {
        match self {
            Action::L2Dsr { pool }
            | Action::IpipDsr { pool }
            | Action::GueDsr { pool }
            | Action::Dnat { pool }
            | Action::FullNat { pool, .. } => Some(pool),
            Action::Local => None,
        }
    }

    /// Where the source address comes from, in `full-nat`.
    pub fn snat(&self) -> Option<&Snat> {
        match self {
            Action::FullNat { snat, .. } => Some(snat),
            _ => None,
        }
    }
}

/// Where a source address comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Snat {
    /// The egress interface's own address.
    Automap,
    /// The SNAT pool of this name.
    Pool(String),
}

/// Backends that virtual servers choose from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// The name in the file.
    pub name: String,
    /// The name of the health check; `None`: backends count as up.
    pub health_check: Option<String>,
    /// How long the share of a backend that came up grows; `None`: it has all at once.
    pub slow_start: Option<Duration>,
    /// What becomes of the flows of a backend that goes down.
    pub when_down: WhenDown,
    /// Backends, at least one.
    pub backends: Vec<Backend>,
}

/// A pool member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backend {
    /// The name in the file, by default the address (and the port, if one is given).
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Port it listens on; `None`: the packet's port is kept.
    pub port: Option<NonZeroU16>,
    /// Share of new flows, 0–100.
    pub weight: u8,
    /// What the operator wants of it.
    pub state: BackendState,
    /// The name of the interface towards it; `None`: by the device's addresses and routes.
    pub interface: Option<String>,
    /// How it is checked; `None`: it is not, or its pool is not used.
    pub check: Option<BackendCheck>,
}

/// Ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PortRange {
    /// First.
    pub low: NonZeroU16,
    /// Last.
    pub high: NonZeroU16,
}

impl PortRange {
    /// Whether the port lies in it.
    pub fn contains(self, port: NonZeroU16) -> bool {
        (self.low..=self.high).contains(&port)
    }

    /// Whether the ranges have a port in common.
    pub fn overlaps(self, other: PortRange) -> bool {
        self.low <= other.high && other.low <= self.high
    }
}

impl Display for PortRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.low, self.high)
    }
}

/// A port range that the nodes of a pair share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SharedPorts {
    /// This node's share.
    pub own: PortRange,
    /// The whole range: a packet to any of it belongs to SNAT.
    pub all: PortRange,
}

/// Addresses and ports that SNAT takes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnatPool {
    /// The name in the file.
    pub name: String,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Ports of each address.
    pub ports: SharedPorts,
    /// The name of the interface that has the addresses.
    pub interface: String,
    /// The name of the group that it moves with: that of its virtual servers.
    pub group: String,
    /// Whether both nodes have the same addresses, so that they are where the group is.
    #[serde(skip)]
    pub moves: bool,
}

/// SNAT of what comes from a prefix and leaves by an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Egress {
    /// Sources.
    pub source: Prefix,
    /// The name of the interface it leaves by.
    pub interface: String,
    /// Where the source address comes from.
    pub snat: Snat,
    /// How long its connections may be quiet; `None`: as long as those of others.
    pub idle_timeout: Option<Duration>,
    /// Whether both ends of a forgotten TCP connection are told.
    pub idle_reset: bool,
}
