//! "Too big": the sender is told what fits (RFC 1191, RFC 8201).

use forwarder_common::{Interface, Reason};

use crate::checksum::fold;
use crate::context::Context;
use crate::family::{Family, FamilyV4, FamilyV6, IP};
use crate::header::{Ethernet, Icmp, Ipv4, Ipv6, Words};
use crate::link;
use crate::lookup::Tables;
use crate::packet::Packet;
use crate::verdict::{Step, Verdict};

const TTL: u8 = 64;
/// Words of the packet that are quoted.
const QUOTE_V4: usize = 17;
const QUOTE_V6: usize = 32;

/// Turns the packet into the error that goes back to its sender, or drops it.
#[inline(always)]
pub fn too_big<F: Answers, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &Context,
) -> Step {
    if context.is_icmp_error() || !F::may_tell_too_big(packet) {
        return Reason::DropTooBig.into();
    }
    let Some(way) = link::way_back(packet, interface, context) else {
        return Reason::DropInternal.into();
    };
    if F::answer(packet, context.mtu).is_none() {
        return Verdict::drop(Reason::DropTooBig).into();
    }
    let reason = Reason::AnswerTooBig;
    Step::Done(link::transmit(
        packet, tables, interface, context, &way, reason,
    ))
}

/// A family's way of saying it.
pub trait Answers: Family {
    /// Rewrites the packet into an error that quotes it.
    fn answer<P: Packet>(packet: &mut P, mtu: u32) -> Option<()>;
}

/// Grows the packet by `header` bytes in front of the IP header and cuts it after `quote` bytes of it.
#[inline(always)]
fn reshape<P: Packet>(packet: &mut P, header: usize, quote: usize, ethertype: u16) -> Option<()> {
    let have = packet.length() as i32 - IP as i32;
    if have < quote as i32 {
        return None;
    }
    packet.adjust_tail(quote as i32 - have)?;
    packet.adjust_head(-(header as i32))?;
    packet.at_mut::<Ethernet>(0)?.ethertype = ethertype;
    Some(())
}

/// The sum of `N` words.
#[inline(always)]
pub fn sum<const N: usize>(words: &Words<N>) -> u64 {
    let mut sum = 0;
    let mut word = 0;
    while word < N {
        sum += { words.0 }[word] as u64;
        word += 1;
    }
    sum
}

impl Answers for FamilyV4 {
    #[inline(always)]
    fn answer<P: Packet>(packet: &mut P, mtu: u32) -> Option<()> {
        let old = *packet.at::<Ipv4>(IP)?;
        reshape(
            packet,
            Ipv4::LENGTH + Icmp::LENGTH,
            QUOTE_V4 * 4,
            Self::ETHERTYPE,
        )?;
        let length = (Ipv4::LENGTH + Icmp::LENGTH + QUOTE_V4 * 4) as u16;
        let mut ip = Ipv4 {
            version_length: 0x45,
            tos: 0,
            total_length: length.to_be(),
            id: 0,
            fragment: 0,
            ttl: TTL,
            protocol: Self::ICMP,
            checksum: 0,
            source: old.destination,
            destination: old.source,
        };
        let header_sum = 0x45_u16.to_le() as u64
            + ip.total_length as u64
            + u16::from_ne_bytes([TTL, Self::ICMP]) as u64
            + ip.source as u64
            + ip.destination as u64;
        ip.checksum = !fold(header_sum);
        *packet.at_mut::<Ipv4>(IP)? = ip;
        // Destination unreachable, fragmentation needed; the MTU in the low half of the rest.
        let mut icmp = Icmp {
            kind: 3,
            code: 4,
            checksum: 0,
            rest: (mtu & 0xffff).to_be(),
        };
        let quote = packet.at::<Words<QUOTE_V4>>(IP + Ipv4::LENGTH + Icmp::LENGTH)?;
        let kind = u16::from_ne_bytes([icmp.kind, icmp.code]) as u64;
        icmp.checksum = !fold(sum(quote) + kind + icmp.rest as u64);
        *packet.at_mut::<Icmp>(IP + Ipv4::LENGTH)? = icmp;
        Some(())
    }
}

impl Answers for FamilyV6 {
    #[inline(always)]
    fn answer<P: Packet>(packet: &mut P, mtu: u32) -> Option<()> {
        let old = *packet.at::<Ipv6>(IP)?;
        reshape(
            packet,
            Ipv6::LENGTH + Icmp::LENGTH,
            QUOTE_V6 * 4,
            Self::ETHERTYPE,
        )?;
        let length = ((Icmp::LENGTH + QUOTE_V6 * 4) as u16).to_be();
        *packet.at_mut::<Ipv6>(IP)? = Ipv6 {
            version_class_flow: (6_u32 << 28).to_be(),
            payload_length: length,
            next_header: Self::ICMP,
            hop_limit: TTL,
            source: old.destination,
            destination: old.source,
        };
        let mut icmp = Icmp {
            kind: 2,
            code: 0,
            checksum: 0,
            rest: mtu.to_be(),
        };
        let quote = packet.at::<Words<QUOTE_V6>>(IP + Ipv6::LENGTH + Icmp::LENGTH)?;
        let (source, destination) = (old.source, old.destination);
        let mut total = sum(quote)
            + sum(&Words(source))
            + sum(&Words(destination))
            + length as u64
            + (Self::ICMP as u16).to_be() as u64;
        total += u16::from_ne_bytes([icmp.kind, icmp.code]) as u64 + icmp.rest as u64;
        icmp.checksum = !fold(total);
        *packet.at_mut::<Icmp>(IP + Ipv6::LENGTH)? = icmp;
        Some(())
    }
}
