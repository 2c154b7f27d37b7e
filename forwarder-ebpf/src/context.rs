//! What is carried along with a packet, and from one stage program to the next.

use forwarder_common::{Link, Reason, VirtualServer};

/// Everything a stage needs that is not in the packet. Plain words: it crosses tail calls in a map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Context {
    /// Where the packet came in.
    pub ifindex: u32,
    /// Bytes of the frame as it came in.
    pub bytes: u32,
    /// VLAN tags taken off, outer first (see [`forwarder_common::Link::tags`]).
    pub tags: [u32; 2],
    /// Ports; a later fragment has them from its first.
    pub ports: u32,
    /// Bytes of the IP packet.
    pub length: u32,
    /// Other facts of the headers (`parse::Headers::keep`).
    pub headers: u64,
    /// Identification that fragments share.
    pub fragment_id: u32,
    /// The chosen backend.
    pub backend: u32,
    /// What fits, for the too-big stages.
    pub mtu: u32,
    /// The reason a packet sent from here ends in, as a number; 0: the mode's. Of a packet that is dropped
    /// the reason for that.
    pub reason: u32,
    /// 1 if `virtual_server` is filled in.
    pub matched: u32,
    /// 1 if a new flow takes the place of one that is over.
    pub replaces: u32,
    /// The virtual server that matched; without a match, id and SNAT pool of an egress flow to be made.
    pub virtual_server: VirtualServer,
    /// How the packet of such a flow leaves.
    pub link: Link,
}

impl Context {
    /// Begins anew with a frame that has just come in. What only a later stage reads, and a stage before
    /// it writes, is left as it was: zeroing everything would be a call of `memset`, byte by byte.
    #[inline(always)]
    pub const fn begin(&mut self, ifindex: u32, bytes: u32) {
        self.ifindex = ifindex;
        self.bytes = bytes;
        self.tags[0] = 0;
        self.tags[1] = 0;
        self.reason = 0;
        self.matched = 0;
        self.replaces = 0;
    }

    /// Remembers that a forwarded packet ends in `icmp-error`, whatever the mode.
    #[inline(always)]
    pub fn mark_icmp_error(&mut self) {
        self.reason = Reason::IcmpError as u32;
    }

    /// Whether this is an ICMP error on its way to a backend.
    #[inline(always)]
    pub const fn is_icmp_error(&self) -> bool {
        self.reason == Reason::IcmpError as u32
    }
}
