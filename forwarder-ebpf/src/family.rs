//! What differs between IPv4 and IPv6, so that every stage is written once.

use forwarder_common::hash::HashAddress;
use forwarder_common::{Reason, V4, V6, protocol};

use crate::checksum::{Change, fold};
use crate::header::{Ethernet, Ipv4, Ipv6, ethertype};
use crate::lookup::Tables;
use crate::packet::Packet;
use crate::parse::{self, Headers};

/// Where the IP header begins in an untagged frame.
pub const IP: usize = Ethernet::LENGTH;

/// The transport pseudo-header's share of a changed address; IPv4 adds the same to its own header.
#[derive(Clone, Copy)]
pub struct Readdress<A> {
    /// New source address.
    pub source: A,
    /// New destination address.
    pub destination: A,
}

/// An IP family.
pub trait Family: Sized {
    /// Address, words in wire order.
    type Address: HashAddress + Copy + Eq + Default + core::fmt::Debug;
    /// IP header length without options or extension headers.
    const HEADER: usize;
    /// EtherType, wire order.
    const ETHERTYPE: u16;
    /// The family's ICMP.
    const ICMP: u8;
    /// Protocol number of a packet of this family in a tunnel.
    const TUNNEL: u8;
    /// Whether this is IPv6.
    const IS_V6: bool;

    /// An address out of the four words that tables hold.
    fn narrow(words: &[u32; 4]) -> Self::Address;

    /// An address as the four words that tables hold.
    fn widen(address: Self::Address) -> [u32; 4];

    /// Reads the headers of a packet, or says what is wrong with them.
    fn parse<P: Packet, T: Tables>(packet: &P, tables: &T) -> Result<Headers<Self>, Reason>;

    /// The destination address, if the header is there at all.
    fn destination<P: Packet>(packet: &P) -> Option<Self::Address>;

    /// Source and destination address, if the header is there at all.
    fn addresses<P: Packet>(packet: &P) -> Option<(Self::Address, Self::Address)>;

    /// Whether an address can be nobody's source.
    fn is_bad_source(source: Self::Address) -> bool;

    /// TTL or hop limit; 0 where there is no header.
    fn ttl<P: Packet>(packet: &P) -> u8;

    /// Decrements TTL or hop limit of the header at `offset`.
    fn decrement_ttl<P: Packet>(packet: &mut P, offset: usize) -> Option<()>;

    /// Replaces the addresses of the header at `offset`; returns the change for the transport checksum
    /// and adjusts the header's own.
    fn readdress<P: Packet>(
        packet: &mut P,
        offset: usize,
        addresses: Readdress<Self::Address>,
    ) -> Option<Change>;

    /// TOS or traffic class.
    fn traffic_class<P: Packet>(packet: &P) -> u8;

    /// What the bytes of a whole packet sum up to if its checksums are right; `None`: it can't be told.
    fn sum<P: Packet>(packet: &P, headers: &Headers<Self>) -> Option<u64>;

    /// Whether a sender may be told that the packet is too big.
    fn may_tell_too_big<P: Packet>(packet: &P) -> bool;
}

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub struct FamilyV4;
/// IPv6.
#[derive(Clone, Copy, Debug)]
pub struct FamilyV6;

impl Family for FamilyV4 {
    type Address = V4;
    const HEADER: usize = Ipv4::LENGTH;
    const ETHERTYPE: u16 = ethertype::IPV4;
    const ICMP: u8 = protocol::ICMP;
    const TUNNEL: u8 = protocol::IPV4;
    const IS_V6: bool = false;

    #[inline(always)]
    fn narrow(words: &[u32; 4]) -> V4 {
        words[0]
    }

    #[inline(always)]
    fn widen(address: V4) -> [u32; 4] {
        [address, 0, 0, 0]
    }

    #[inline(always)]
    fn parse<P: Packet, T: Tables>(packet: &P, _tables: &T) -> Result<Headers<Self>, Reason> {
        parse::v4(packet)
    }

    #[inline(always)]
    fn destination<P: Packet>(packet: &P) -> Option<V4> {
        packet.at::<Ipv4>(IP).map(|ip| ip.destination)
    }

    #[inline(always)]
    fn addresses<P: Packet>(packet: &P) -> Option<(V4, V4)> {
        packet.at::<Ipv4>(IP).map(|ip| (ip.source, ip.destination))
    }

    #[inline(always)]
    fn is_bad_source(source: V4) -> bool {
        let first = u32::from_be(source) >> 24;
        first == 0 || first == 127 || first >= 224
    }

    #[inline(always)]
    fn ttl<P: Packet>(packet: &P) -> u8 {
        packet.at::<Ipv4>(IP).map_or(0, |ip| ip.ttl)
    }

    #[inline(always)]
    fn decrement_ttl<P: Packet>(packet: &mut P, offset: usize) -> Option<()> {
        let ip = packet.at_mut::<Ipv4>(offset)?;
        // TTL is the first byte of its 16-bit word, so in wire order one less is 0x0100 less.
        let old = u16::from_ne_bytes([ip.ttl, ip.protocol]);
        let new = u16::from_ne_bytes([ip.ttl.wrapping_sub(1), ip.protocol]);
        ip.ttl = ip.ttl.wrapping_sub(1);
        ip.checksum = Change::none().half(old, new).apply(ip.checksum);
        Some(())
    }

    #[inline(always)]
    fn readdress<P: Packet>(
        packet: &mut P,
        offset: usize,
        addresses: Readdress<V4>,
    ) -> Option<Change> {
        let ip = packet.at_mut::<Ipv4>(offset)?;
        let change = Change::none()
            .word(ip.source, addresses.source)
            .word(ip.destination, addresses.destination);
        ip.source = addresses.source;
        ip.destination = addresses.destination;
        ip.checksum = change.apply(ip.checksum);
        Some(change)
    }

    #[inline(always)]
    fn traffic_class<P: Packet>(packet: &P) -> u8 {
        packet.at::<Ipv4>(IP).map_or(0, |ip| ip.tos)
    }

    #[inline(always)]
    fn sum<P: Packet>(_packet: &P, headers: &Headers<Self>) -> Option<u64> {
        // The header sums up to nothing (that is its checksum), the transport to the complement of its
        // pseudo-header.
        let transport = headers.length as usize + IP - headers.transport;
        let pseudo = headers.source as u64
            + headers.destination as u64
            + (headers.protocol as u16).to_be() as u64
            + (transport as u16).to_be() as u64;
        Some(!fold(pseudo) as u64)
    }

    #[inline(always)]
    fn may_tell_too_big<P: Packet>(packet: &P) -> bool {
        const DO_NOT_FRAGMENT: u16 = 0x4000_u16.to_be();
        packet
            .at::<Ipv4>(IP)
            .is_some_and(|ip| ip.fragment & DO_NOT_FRAGMENT != 0)
    }
}

impl Family for FamilyV6 {
    type Address = V6;
    const HEADER: usize = Ipv6::LENGTH;
    const ETHERTYPE: u16 = ethertype::IPV6;
    const ICMP: u8 = protocol::ICMPV6;
    const TUNNEL: u8 = protocol::IPV6;
    const IS_V6: bool = true;

    #[inline(always)]
    fn narrow(words: &[u32; 4]) -> V6 {
        // Word by word: between two maps LLVM makes `*words` a call that moves byte by byte.
        let [a, b, c, d] = *words;
        [a, b, c, d]
    }

    #[inline(always)]
    fn widen(address: V6) -> [u32; 4] {
        address
    }

    #[inline(always)]
    fn parse<P: Packet, T: Tables>(packet: &P, tables: &T) -> Result<Headers<Self>, Reason> {
        parse::v6(packet, tables)
    }

    #[inline(always)]
    fn destination<P: Packet>(packet: &P) -> Option<V6> {
        packet.at::<Ipv6>(IP).map(|ip| ip.destination)
    }

    #[inline(always)]
    fn addresses<P: Packet>(packet: &P) -> Option<(V6, V6)> {
        let ip = packet.at::<Ipv6>(IP)?;
        // Word by word, as in `narrow`: whole arrays would be copied by bytes.
        let ([a, b, c, d], [e, f, g, h]) = (ip.source, ip.destination);
        Some(([a, b, c, d], [e, f, g, h]))
    }

    #[inline(always)]
    fn is_bad_source(source: V6) -> bool {
        const MAPPED: u32 = 0x0000_ffff_u32.to_be();
        let multicast = u32::from_be(source[0]) >> 24 == 0xff;
        let low = source[0] == 0 && source[1] == 0;
        // ::, ::1 and ::ffff:0:0/96.
        multicast || low && (source[2] == MAPPED || source[2] == 0 && u32::from_be(source[3]) <= 1)
    }

    #[inline(always)]
    fn ttl<P: Packet>(packet: &P) -> u8 {
        packet.at::<Ipv6>(IP).map_or(0, |ip| ip.hop_limit)
    }

    #[inline(always)]
    fn decrement_ttl<P: Packet>(packet: &mut P, offset: usize) -> Option<()> {
        let ip = packet.at_mut::<Ipv6>(offset)?;
        ip.hop_limit = ip.hop_limit.wrapping_sub(1);
        Some(())
    }

    #[inline(always)]
    fn readdress<P: Packet>(
        packet: &mut P,
        offset: usize,
        addresses: Readdress<V6>,
    ) -> Option<Change> {
        let ip = packet.at_mut::<Ipv6>(offset)?;
        let (source, destination) = (ip.source, ip.destination);
        let mut change = Change::none();
        let mut word = 0;
        while word < 4 {
            change = change
                .word(source[word], addresses.source[word])
                .word(destination[word], addresses.destination[word]);
            word += 1;
        }
        ip.source = addresses.source;
        ip.destination = addresses.destination;
        Some(change)
    }

    #[inline(always)]
    fn traffic_class<P: Packet>(packet: &P) -> u8 {
        packet
            .at::<Ipv6>(IP)
            .map_or(0, |ip| (u32::from_be(ip.version_class_flow) >> 20) as u8)
    }

    #[inline(always)]
    fn sum<P: Packet>(packet: &P, headers: &Headers<Self>) -> Option<u64> {
        // black_box: what LLVM learns of the offset here lets it drop the next bounds check, which the
        // verifier then misses (rustc 1.96, LLVM 22).
        if core::hint::black_box(headers.transport) != IP + Ipv6::LENGTH {
            return None;
        }
        // Addresses and length stand in the header and, complemented, in the transport's sum.
        let ip = packet.at::<Ipv6>(IP)?;
        let last = u16::from_ne_bytes([ip.next_header, ip.hop_limit]) as u64;
        let protocol = !(headers.protocol as u16).to_be() as u64;
        Some(ip.version_class_flow as u64 + last + protocol)
    }

    #[inline(always)]
    fn may_tell_too_big<P: Packet>(_packet: &P) -> bool {
        true
    }
}
