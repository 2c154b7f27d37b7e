//! The map ABI: what the control plane writes and the XDP programs read.
//!
//! Every type here is a map key or value. Addresses, ports and MAC addresses are *words in wire
//! order*: the bytes as they stand in the packet, loaded as native integers. A v4 address is one
//! `u32`, a v6 address is `[u32; 4]`; `ports` is the source port in the first two bytes and the
//! destination port in the last two, exactly as TCP and UDP headers begin. Nothing has padding
//! (checked at compile time), so a key built from words compares equal byte for byte.
#![no_std]

mod abi;
pub mod bench;
pub mod counter;
pub mod drop;
pub mod flow;
pub mod hash;
pub mod interface;
pub mod lease;
pub mod limits;
pub mod peer;
pub mod programs;
pub mod reason;
pub mod siphash;
pub mod slot;
pub mod trace;
pub mod vip;
pub mod virtual_server;

pub use counter::{Churn, Counter};
pub use drop::LastDrop;
pub use flow::{AddressKey, Flow, FlowEvent, FlowKey, FragmentKey, Link};
pub use interface::{Egress, Interface, PortRange, PrefixKey, SnatPool};
pub use reason::{Outcome, Reason};
pub use slot::Slot;
pub use trace::{Stage, TraceEntry, TraceLog};
pub use vip::{VipEntry, VipEntry4, VipEntry6};
pub use virtual_server::{Affinity, Backend, Mode, VipAddress, VipKey, VirtualServer};

/// Version of everything here: maps of one version can be used by programs of the same version. To be
/// raised with every change of a key, a value or the meaning of either.
pub const ABI_VERSION: u32 = 4;

/// IPv4 address, one word in wire order.
pub type V4 = u32;
/// IPv6 address, four words in wire order.
pub type V6 = [u32; 4];

/// IP protocol numbers, as in the header.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// IPv4 inside (RFC 2003).
    pub const IPV4: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 inside (RFC 2473).
    pub const IPV6: u8 = 41;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}
