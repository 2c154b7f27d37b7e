//! Header views: words at their offsets, in wire order.
//!
//! `network-types` gives the cold paths their views; the hot path wants whole words, because byte
//! arrays as map keys cost three times what words cost.

use crate::packet::Header;

macro_rules! headers {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[repr(C, packed)]
        #[derive(Clone, Copy, Debug)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }
        // SAFETY: packed, integers only.
        unsafe impl Header for $name {}
        impl $name {
            /// Bytes on the wire.
            pub const LENGTH: usize = size_of::<Self>();
        }
    )*};
}

headers! {
    /// Ethernet II header.
    pub struct Ethernet {
        /// Destination MAC.
        pub destination: [u16; 3],
        /// Source MAC.
        pub source: [u16; 3],
        /// EtherType, wire order.
        pub ethertype: u16,
    }

    /// Both MAC addresses, as they are moved about.
    pub struct Macs {
        /// The 12 bytes.
        pub words: [u32; 3],
    }

    /// IPv4 header without options (RFC 791).
    pub struct Ipv4 {
        /// Version and header length in words.
        pub version_length: u8,
        /// Type of service.
        pub tos: u8,
        /// Total length, wire order.
        pub total_length: u16,
        /// Identification.
        pub id: u16,
        /// Flags and fragment offset, wire order.
        pub fragment: u16,
        /// Time to live.
        pub ttl: u8,
        /// Protocol.
        pub protocol: u8,
        /// Header checksum.
        pub checksum: u16,
        /// Source address.
        pub source: u32,
        /// Destination address.
        pub destination: u32,
    }

    /// IPv6 header (RFC 8200).
    pub struct Ipv6 {
        /// Version, traffic class, flow label, wire order.
        pub version_class_flow: u32,
        /// Payload length, wire order.
        pub payload_length: u16,
        /// Next header.
        pub next_header: u8,
        /// Hop limit.
        pub hop_limit: u8,
        /// Source address.
        pub source: [u32; 4],
        /// Destination address.
        pub destination: [u32; 4],
    }

    /// The first eight bytes of an IPv6 extension header; of a fragment header, all of it.
    pub struct Extension {
        /// Next header.
        pub next_header: u8,
        /// Length in 8-byte units after the first.
        pub length: u8,
        /// Offset and flags of a fragment header; type and segments left of a routing header.
        pub field: u16,
        /// Identification of a fragment header.
        pub id: u32,
    }

    /// TCP header without options (RFC 9293).
    pub struct Tcp {
        /// Source and destination port.
        pub ports: u32,
        /// Sequence number.
        pub sequence: u32,
        /// Acknowledgement number.
        pub acknowledgement: u32,
        /// Data offset in the high four bits.
        pub offset: u8,
        /// Flags.
        pub flags: u8,
        /// Window.
        pub window: u16,
        /// Checksum.
        pub checksum: u16,
        /// Urgent pointer.
        pub urgent: u16,
    }

    /// UDP header (RFC 768).
    pub struct Udp {
        /// Source and destination port.
        pub ports: u32,
        /// Length, wire order.
        pub length: u16,
        /// Checksum.
        pub checksum: u16,
    }

    /// The first eight bytes of an ICMP or ICMPv6 message (RFC 792, RFC 4443).
    pub struct Icmp {
        /// Type.
        pub kind: u8,
        /// Code.
        pub code: u8,
        /// Checksum.
        pub checksum: u16,
        /// Depends on the type.
        pub rest: u32,
    }

    /// ARP for IPv4 over Ethernet (RFC 826).
    pub struct Arp {
        /// Hardware type and protocol type.
        pub types: u32,
        /// Address lengths.
        pub lengths: u16,
        /// Operation.
        pub operation: u16,
        /// Sender's MAC.
        pub sender_mac: [u16; 3],
        /// Sender's address.
        pub sender: u32,
        /// Target's MAC.
        pub target_mac: [u16; 3],
        /// Target's address.
        pub target: u32,
    }

    /// Neighbour solicitation or advertisement with one link-layer option (RFC 4861).
    pub struct Neighbour {
        /// Type, code, checksum and flags.
        pub icmp: Icmp,
        /// Target address.
        pub target: [u32; 4],
        /// Option type and length.
        pub option: u16,
        /// The option's MAC.
        pub mac: [u16; 3],
    }

    /// One VLAN tag as it follows the MAC addresses, with the EtherType after it.
    pub struct Vlan {
        /// TPID then TCI.
        pub tag: u32,
        /// The next EtherType.
        pub ethertype: u16,
    }

    /// A TCP option's kind and length.
    pub struct TcpOption {
        /// Kind.
        pub kind: u8,
        /// Length, kind and length included.
        pub length: u8,
    }
}

// SAFETY: an integer; reads are unaligned because the views that hold it are packed.
unsafe impl Header for u8 {}

impl Macs {
    /// Writes all twelve bytes: three stores, where the assignment of an unaligned array is a call of
    /// `memmove`, byte by byte.
    #[inline(always)]
    pub const fn set(&mut self, words: [u32; 3]) {
        self.words[0] = words[0];
        self.words[1] = words[1];
        self.words[2] = words[2];
    }
}

/// Two bytes anywhere.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct Half(pub u16);
// SAFETY: packed, integers only.
unsafe impl Header for Half {}

/// `N` words anywhere.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct Words<const N: usize>(pub [u32; N]);
// SAFETY: packed, integers only.
unsafe impl<const N: usize> Header for Words<N> {}

/// `N` double words anywhere.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct Quads<const N: usize>(pub [u64; N]);
// SAFETY: packed, integers only.
unsafe impl<const N: usize> Header for Quads<N> {}

/// EtherTypes in wire order.
pub mod ethertype {
    use network_types::eth::EtherType;

    /// IPv4.
    pub const IPV4: u16 = EtherType::Ipv4 as u16;
    /// IPv6.
    pub const IPV6: u16 = EtherType::Ipv6 as u16;
    /// ARP.
    pub const ARP: u16 = EtherType::Arp as u16;
    /// 802.1Q tag.
    pub const VLAN: u16 = EtherType::Ieee8021q as u16;
    /// 802.1ad (QinQ) outer tag.
    pub const QINQ: u16 = EtherType::Ieee8021ad as u16;
}

/// TCP flags.
pub mod tcp {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Begins a connection.
    pub const SYN: u8 = 0x02;
    /// Resets it.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}
