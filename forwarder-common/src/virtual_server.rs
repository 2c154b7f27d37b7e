//! Virtual servers, VIP addresses and backends.

use crate::abi::abi;

abi! {
    /// Key of the virtual-server map.
    pub struct VipKey<A> {
        /// The VIP.
        pub address: A,
        /// Destination port in the low 16 bits (wire order; 0: every port), protocol in bits 16–23.
        pub service: u32,
    }

    /// A virtual server.
    pub struct VirtualServer {
        /// Index into the virtual-server counters and rate guards.
        pub id: u32,
        /// First slot of the pool's lookup table.
        pub table_base: u32,
        /// Slots in the table; 0: the pool has no usable backend.
        pub table_size: u32,
        /// A [`Mode`].
        pub mode: u8,
        /// An [`Affinity`].
        pub affinity: u8,
        /// `flags::*`.
        pub flags: u8,
        /// The group that it moves between the nodes of a pair with ([`crate::lease`]).
        pub group: u8,
        /// Index of the SNAT pool (full-nat); [`AUTOMAP`]: the egress interface's own.
        pub snat_pool: u32,
        /// Largest MSS let through on a SYN, bytes, host order; 0: derived from the backend's MTU in
        /// the tunnel modes, untouched in the others.
        pub mss: u32,
        /// Nanoseconds between new flows when the rate guard is on; 0: off.
        pub new_flow_interval: u32,
        /// New flows that may come at once.
        pub new_flow_burst: u32,
        /// Bit per [`crate::Interface::slot`] where the virtual server is served.
        pub interfaces: u64,
    }

    /// What is known of a VIP, whatever the port.
    pub struct VipAddress {
        /// Bit per [`crate::Interface::slot`] where packets to the VIP are ours.
        pub interfaces: u64,
        /// Bit per slot where ARP, neighbour discovery and echo are answered.
        pub answers: u64,
        /// As [`VirtualServer::group`]: all virtual servers of an address move together.
        pub group: u64,
    }

    /// A pool member and how to reach it. One cache line.
    pub struct Backend {
        /// Address, wire order; v4 in the first word, the rest zero.
        pub address: [u32; 4],
        /// Outer source of a tunnel: the egress interface's own address; laid out as `address`.
        pub tunnel_source: [u32; 4],
        /// Next hop's MAC, wire order.
        pub destination_mac: [u16; 3],
        /// Egress interface's MAC, wire order.
        pub source_mac: [u16; 3],
        /// Egress interface; 0: the next hop is not resolved.
        pub ifindex: u32,
        /// Largest IP packet that leaves towards the backend, tunnel header included.
        pub mtu: u16,
        /// Port in wire order; 0: the packet's port is kept.
        pub port: u16,
        /// `backend_flags::*`.
        pub flags: u32,
        /// Index into SNAT pools that automap takes at the egress interface, this family.
        pub automap: u32,
    }
}

/// Bits of [`VirtualServer::flags`].
pub mod flags {
    /// Source prefixes are listed; no match: allowed.
    pub const LISTED: u8 = 1 << 0;
    /// With [`LISTED`]: no match: denied.
    pub const DENY_UNLISTED: u8 = 1 << 1;
}

/// Bits of [`Backend::flags`].
pub mod backend_flags {
    /// Takes or keeps flows: up, or draining. Clear: dead or removed, its flows move at once.
    pub const KEEPS_FLOWS: u32 = 1 << 0;
    /// The backend's address is IPv6 (decides the outer header of a tunnel).
    pub const IPV6: u32 = 1 << 1;
    /// Down, and keeps flows of TCP all the same.
    pub const KEEPS_TCP: u32 = 1 << 2;

    /// Whether a backend with these flags keeps flows of a protocol.
    #[inline(always)]
    pub const fn keeps(flags: u32, protocol: u32) -> bool {
        flags & KEEPS_FLOWS != 0
            || flags & KEEPS_TCP != 0 && protocol == crate::protocol::TCP as u32
    }
}

/// [`VirtualServer::snat_pool`] and [`crate::Egress::snat_pool`]: the egress interface's own pool.
pub const AUTOMAP: u32 = u32::MAX;
/// No SNAT pool.
pub const NO_SNAT: u32 = u32::MAX - 1;

/// How a virtual server's packets reach the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Only MAC addresses change (floating IP).
    L2Dsr = 0,
    /// IP in IP.
    IpipDsr = 1,
    /// IP in UDP (GUE variant 1).
    GueDsr = 2,
    /// Destination translated, client address kept.
    Dnat = 3,
    /// Destination and source translated.
    FullNat = 4,
    /// This host serves it.
    Local = 5,
}

impl Mode {
    /// Every mode, in ABI order.
    pub const ALL: [Self; 6] = [
        Self::L2Dsr,
        Self::IpipDsr,
        Self::GueDsr,
        Self::Dnat,
        Self::FullNat,
        Self::Local,
    ];

    /// The word used in config, commands and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::L2Dsr => "l2-dsr",
            Self::IpipDsr => "ipip-dsr",
            Self::GueDsr => "gue-dsr",
            Self::Dnat => "dnat",
            Self::FullNat => "full-nat",
            Self::Local => "local",
        }
    }

    /// The mode behind an ABI byte.
    #[inline(always)]
    pub const fn from_abi(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::L2Dsr,
            1 => Self::IpipDsr,
            2 => Self::GueDsr,
            3 => Self::Dnat,
            4 => Self::FullNat,
            5 => Self::Local,
            _ => return None,
        })
    }
}

/// What of a packet decides the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Affinity {
    /// Addresses, ports and protocol.
    FiveTuple = 0,
    /// The source address.
    Source = 1,
    /// The source address and the protocol.
    SourceProtocol = 2,
}

impl Affinity {
    /// The affinity behind an ABI byte; unknown bytes are the 5-tuple.
    #[inline(always)]
    pub const fn from_abi(byte: u8) -> Self {
        match byte {
            1 => Self::Source,
            2 => Self::SourceProtocol,
            _ => Self::FiveTuple,
        }
    }
}

/// [`VipKey::service`] for a port (wire order; 0: every port) and a protocol.
#[inline(always)]
pub const fn service(port: u16, protocol: u8) -> u32 {
    port as u32 | (protocol as u32) << 16
}
