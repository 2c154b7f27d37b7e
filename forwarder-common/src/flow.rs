//! NAT flows and fragments.

use crate::abi::abi;

abi! {
    /// Any key that is an address alone.
    pub struct AddressKey<A> {
        /// The address.
        pub address: A,
    }

    /// A packet's 5-tuple as it stands on the wire.
    pub struct FlowKey<A> {
        /// Source address.
        pub source: A,
        /// Destination address.
        pub destination: A,
        /// Source port, then destination port.
        pub ports: u32,
        /// Protocol.
        pub protocol: u32,
    }

    /// How a frame leaves.
    pub struct Link {
        /// Destination MAC, wire order.
        pub destination_mac: [u16; 3],
        /// Source MAC, wire order.
        pub source_mac: [u16; 3],
        /// Egress interface; 0: unknown.
        pub ifindex: u32,
        /// VLAN tags, outer first, each as on the wire (TPID, TCI); 0: none.
        pub tags: [u32; 2],
    }

    /// One direction of a NAT flow: what a packet with the key's 5-tuple becomes.
    ///
    /// The other direction's key is `(destination, source, swapped ports)` of this value.
    pub struct Flow<A> {
        /// New source address.
        pub source: A,
        /// New destination address.
        pub destination: A,
        /// New ports, source then destination.
        pub ports: u32,
        /// How the packet leaves. On the forward entry of a virtual server's flow, where the backend
        /// says that: how the client's packets come in, mirrored (what the reply entry has).
        pub link: Link,
        /// Backend index, or [`NO_BACKEND`] for egress flows.
        pub backend: u32,
        /// Counter index of the virtual server or egress rule.
        pub id: u32,
        /// `state::*`; the MSS clamp, host order, in the high 16 bits (0: none).
        pub state: u32,
        /// When a packet last passed: seconds of the coarse monotonic clock.
        pub last_seen: u32,
    }

    /// Something has happened to a flow: for the daemon, which tells the peer. Of an exception, of the
    /// flow the backend alone counts.
    pub struct FlowEvent<A> {
        /// `event::*`.
        pub what: u32,
        /// `state` of the flow's other entry, with [`event::FLOW`].
        pub other_state: u32,
        /// Key of one of its entries.
        pub key: FlowKey<A>,
        /// The entry.
        pub flow: Flow<A>,
    }

    /// Identifies the fragments of one packet.
    pub struct FragmentKey<A> {
        /// Source address.
        pub source: A,
        /// Destination address.
        pub destination: A,
        /// Identification, wire order (16 bits for IPv4).
        pub id: u32,
        /// Protocol.
        pub protocol: u32,
    }
}

/// "Seconds" of [`Flow::last_seen`] are 2^30 ns of the coarse monotonic clock: a shift instead of a
/// division in the packet path.
pub const SECOND_SHIFT: u32 = 30;

/// [`Flow::backend`] of a flow that has none.
pub const NO_BACKEND: u32 = u32::MAX;

/// What [`FlowEvent::what`] says.
pub mod event {
    /// The flow is established.
    pub const FLOW: u32 = 0;
    /// Its entries were removed.
    pub const GONE: u32 = 1;
    /// An older flow of a changed slot keeps its backend.
    pub const KEPT: u32 = 2;
    /// What it kept is forgotten.
    pub const RELEASED: u32 = 3;
    /// This side of the flow has ended it. What the other side's state is was not looked up.
    pub const ENDS: u32 = 4;
}

/// Elements of the counters of events.
pub mod event_counter {
    /// Events that were put into the ring.
    pub const MADE: u32 = 0;
    /// Events that found no room there.
    pub const LOST: u32 = 1;
}

/// Bits of [`Flow::state`].
pub mod state {
    /// The entry translates replies (its key is what the backend, or the outside, sends).
    pub const REPLY: u32 = 1 << 0;
    /// A packet has passed by this entry (on the reply entry: the flow was answered).
    pub const SEEN: u32 = 1 << 1;
    /// A FIN has passed in this direction.
    pub const FIN: u32 = 1 << 2;
    /// A RST has passed in this direction.
    pub const RST: u32 = 1 << 3;
    /// An egress flow: leaves by [`super::Flow::link`] in both directions.
    pub const EGRESS: u32 = 1 << 4;
    /// A backend was chosen through `full-nat` (the source changes too).
    pub const FULL_NAT: u32 = 1 << 5;
    /// The peer has told of it. While it is active its packets are not seen here, so the flow does not age.
    pub const TOLD: u32 = 1 << 6;
    /// It was forgotten for being quiet: what still comes of it is answered with a reset. The forward entry's
    /// backend is nobody, and the reply entry has no link, so that only packets without a way ask for this bit.
    pub const EXPIRED: u32 = 1 << 7;
}
