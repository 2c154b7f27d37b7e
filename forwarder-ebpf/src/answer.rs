//! ARP and neighbour discovery for VIPs: the address lives here, the host never owns it.

use core::hint::black_box;

use forwarder_common::{Interface, Link, Reason, V4, V6, lease};

use crate::checksum::fold;
use crate::context::Context;
use crate::family::{Family, FamilyV6, IP};
use crate::header::{Arp, Ethernet, Icmp, Ipv6, Neighbour, Words, ethertype};
use crate::link;
use crate::lookup::FamilyTables;
use crate::packet::Packet;
use crate::parse::OFFSET_MASK;
use crate::pipeline::SOLICITATION;
use crate::verdict::Step;

const ADVERTISEMENT: u8 = 136;
const HOP_LIMIT: u8 = 255;
/// Flags of an advertisement, wire order: solicited, override.
const SOLICITED: u32 = 0x4000_0000_u32.to_be();
const OVERRIDE: u32 = 0x2000_0000_u32.to_be();
/// Target link-layer address, one unit of 8 bytes.
const TARGET_MAC_OPTION: u16 = u16::from_ne_bytes([2, 1]);
/// ff02::1 and its MAC.
const ALL_NODES: V6 = [0xff02_0000_u32.to_be(), 0, 0, 1_u32.to_be()];
const ALL_NODES_MAC: [u16; 3] = [0x3333, 0, 1_u16.to_be()];
/// A solicitation without options, and one with more of them than there are.
const SHORTEST: usize = 24;
const LONGEST: usize = 256;
/// What options are measured in.
const UNIT: usize = 8;

const ETHERNET_IPV4: u32 = u32::from_ne_bytes([0, 1, 8, 0]);
const LENGTHS: u16 = u16::from_ne_bytes([6, 4]);
const REQUEST: u16 = 1_u16.to_be();
const REPLY: u16 = 2_u16.to_be();
const BROADCAST: [u16; 3] = [0xffff; 3];

/// Answers for VIPs that this interface answers for; anything else is the host's.
#[inline(always)]
pub fn answer<P: Packet, T: FamilyTables<V4> + FamilyTables<V6>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &Context,
) -> Step {
    let Some(ethernet) = packet.at::<Ethernet>(0) else {
        return Reason::DropTruncated.into();
    };
    let answered = if ethernet.ethertype == ethertype::ARP {
        arp(packet, tables, interface, context).map(|link| (link, Reason::AnswerArp))
    } else {
        solicitation(packet, tables, interface, context).map(|link| (link, Reason::AnswerNd))
    };
    match answered {
        Some((link, reason)) => Step::Done(link::transmit(
            packet, tables, interface, context, &link, reason,
        )),
        None => Reason::PassNotOurs.into(),
    }
}

/// Whether this interface answers for a VIP.
#[inline(always)]
pub fn answers<F: Family, T: FamilyTables<F::Address>>(
    tables: &T,
    interface: &Interface,
    address: F::Address,
) -> bool {
    let bit = 1 << (interface.slot & 63);
    tables
        .vip_address(address)
        .is_some_and(|vip| vip.answers & bit != 0 && tables.leased(lease::answer(vip.group as u32)))
}

/// ARP (RFC 826): turns a request into the reply.
#[inline(always)]
fn arp<P: Packet, T: FamilyTables<V4>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &Context,
) -> Option<Link> {
    let destination = packet.at::<Ethernet>(0)?.destination;
    let arp = *packet.at::<Arp>(IP)?;
    let asks = arp.types == ETHERNET_IPV4
        && arp.lengths == LENGTHS
        && arp.operation == REQUEST
        && arp.sender != arp.target
        && (destination == BROADCAST || destination == interface.mac);
    if !asks || !answers::<crate::family::FamilyV4, T>(tables, interface, arp.target) {
        return None;
    }
    let way = link::way_back(packet, interface, context)?;
    *packet.at_mut::<Arp>(IP)? = Arp {
        operation: REPLY,
        sender_mac: interface.mac,
        sender: arp.target,
        target_mac: arp.sender_mac,
        target: arp.sender,
        ..arp
    };
    Some(way)
}

/// What the checksum of an ICMPv6 message is over, itself included; `length` is a multiple of 8 up to [`LONGEST`].
#[inline(always)]
fn message_sum<P: Packet>(packet: &P, ip: &Ipv6, message: usize, length: usize) -> Option<u64> {
    let mut sum = ip.payload_length as u64 + (FamilyV6::ICMP as u16).to_be() as u64;
    let mut word = 0;
    while word < 4 {
        sum += ip.source[word] as u64 + ip.destination[word] as u64;
        word += 1;
    }
    let mut at = 0;
    while at < LONGEST && at < length {
        // black_box: otherwise LLVM counts with the frame's end itself, which the verifier forbids.
        let words = packet
            .at::<Words<2>>(black_box(message + at) & OFFSET_MASK)?
            .0;
        sum += words[0] as u64 + words[1] as u64;
        at += UNIT;
    }
    Some(sum)
}

/// Neighbour discovery (RFC 4861 section 7.2): turns a solicitation into the advertisement.
#[inline(always)]
fn solicitation<P: Packet, T: FamilyTables<V6>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &Context,
) -> Option<Link> {
    const MESSAGE: usize = IP + Ipv6::LENGTH;

    let ip = *packet.at::<Ipv6>(IP)?;
    let icmp = packet.at::<Icmp>(MESSAGE)?;
    let length = u16::from_be(ip.payload_length) as usize;
    let asks = u32::from_be(ip.version_class_flow) >> 28 == 6
        && black_box(length) + MESSAGE <= packet.length() as usize
        && ip.next_header == FamilyV6::ICMP
        && ip.hop_limit == HOP_LIMIT
        && icmp.kind == SOLICITATION
        && icmp.code == 0
        && (SHORTEST..=LONGEST).contains(&length)
        && length.is_multiple_of(UNIT);
    let target = packet.at::<Words<4>>(MESSAGE + Icmp::LENGTH)?.0;
    if !asks
        || !answers::<FamilyV6, T>(tables, interface, target)
        || fold(message_sum(packet, &ip, MESSAGE, length)?) != 0xffff
    {
        return None;
    }
    let asker = ip.source;
    let probe = asker == [0; 4];
    let mut way = link::way_back(packet, interface, context)?;
    let (destination, flags) = if probe {
        way.destination_mac = ALL_NODES_MAC;
        (ALL_NODES, OVERRIDE)
    } else {
        (asker, SOLICITED | OVERRIDE)
    };

    let length = (MESSAGE + Neighbour::LENGTH) as i32;
    let have = packet.length() as i32;
    packet.adjust_tail(length - have)?;
    let payload = (Neighbour::LENGTH as u16).to_be();
    *packet.at_mut::<Ipv6>(IP)? = Ipv6 {
        version_class_flow: (6_u32 << 28).to_be(),
        payload_length: payload,
        next_header: FamilyV6::ICMP,
        hop_limit: HOP_LIMIT,
        source: target,
        destination,
    };
    let mac = interface.mac;
    let mut sum = payload as u64
        + (FamilyV6::ICMP as u16).to_be() as u64
        + u16::from_ne_bytes([ADVERTISEMENT, 0]) as u64
        + flags as u64
        + TARGET_MAC_OPTION as u64
        + mac[0] as u64
        + mac[1] as u64
        + mac[2] as u64;
    let mut word = 0;
    while word < 4 {
        // The target is the source, so it counts twice.
        sum += 2 * target[word] as u64 + destination[word] as u64;
        word += 1;
    }
    *packet.at_mut::<Neighbour>(MESSAGE)? = Neighbour {
        icmp: Icmp {
            kind: ADVERTISEMENT,
            code: 0,
            checksum: !fold(sum),
            rest: flags,
        },
        target,
        option: TARGET_MAC_OPTION,
        mac,
    };
    Some(way)
}
