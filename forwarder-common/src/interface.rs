//! Interfaces, SNAT pools and the prefix tables.

use crate::abi::abi;

abi! {
    /// A configured interface; indexed by the kernel's interface index. One cache line.
    pub struct Interface {
        /// Position in the config file, 0–63; counters are at `slot * Reason::COUNT + reason`.
        pub slot: u32,
        /// `flags::*`; 0: not one of ours.
        pub flags: u32,
        /// Own MAC, wire order.
        pub mac: [u16; 3],
        /// MTU, bytes.
        pub mtu: u16,
        /// Own IPv4 address, 0: none.
        pub address4: u32,
        /// SNAT pool of [`crate::virtual_server::AUTOMAP`] for IPv4, or `NO_SNAT`.
        pub automap4: u32,
        /// Own IPv6 address, zeros: none.
        pub address6: [u32; 4],
        /// SNAT pool of automap for IPv6, or `NO_SNAT`.
        pub automap6: u32,
        /// Zero.
        pub reserved: [u32; 3],
    }

    /// Addresses and ports that SNAT takes from.
    pub struct SnatPool {
        /// First address in the SNAT address array.
        pub first: u32,
        /// Addresses; 0: none.
        pub count: u32,
        /// First port of this node's range, host order.
        pub port_low: u16,
        /// Last port of the range, inclusive, host order.
        pub port_high: u16,
    }

    /// Ports of an address that belong to SNAT (every node's): packets there without a flow are dropped.
    pub struct PortRange {
        /// First port, host order.
        pub low: u16,
        /// Last port, inclusive, host order.
        pub high: u16,
    }

    /// Longest-prefix key of the allow/deny lists: the prefix length counts `scope`'s 32 bits too.
    pub struct PrefixKey<A> {
        /// Virtual server id, wire order (so that it is matched bit for bit).
        pub scope: u32,
        /// Source address.
        pub address: A,
    }

    /// Egress SNAT of a source prefix.
    pub struct Egress {
        /// The interface that the packets must leave by.
        pub ifindex: u32,
        /// Index of the SNAT pool, or [`crate::virtual_server::AUTOMAP`].
        pub snat_pool: u32,
        /// Index into the virtual-server counters.
        pub id: u32,
        /// Zero.
        pub reserved: u32,
    }
}

/// Bits of [`Interface::flags`].
pub mod flags {
    /// One of ours.
    pub const ACTIVE: u32 = 1 << 0;
    /// Packets that leave by the interface they came in by are sent with `XDP_TX`; else by redirect.
    pub const TX: u32 = 1 << 1;
    /// Some virtual server here has every port of an address.
    pub const ANY_PORT: u32 = 1 << 2;
    /// Some flow may have its replies come in here (NAT is configured).
    pub const NAT: u32 = 1 << 3;
    /// Egress SNAT is configured.
    pub const EGRESS: u32 = 1 << 4;
}

/// Value of the allow/deny lists.
pub mod admission {
    /// The prefix may come in.
    pub const ALLOW: u32 = 1;
    /// The prefix may not.
    pub const DENY: u32 = 0;
}
