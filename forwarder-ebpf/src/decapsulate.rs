//! On a backend host: takes the outer headers off what the forwarder sent (IPIP, GUE).

use forwarder_common::{V4, V6, protocol};

use crate::family::IP;
use crate::header::{Ethernet, Half, Ipv4, Ipv6, Macs, Udp, ethertype};
use crate::packet::Packet;

/// What a backend host accepts.
pub trait Accepts {
    /// Destination port of GUE, wire order.
    fn gue_port(&self) -> u16;
    /// Whether inner packets to this address are wanted.
    fn vip4(&self, address: V4) -> bool;
    /// Whether inner packets to this address are wanted.
    fn vip6(&self, address: V6) -> bool;
    /// Whether outer packets from this address are wanted.
    fn source4(&self, address: V4) -> bool;
    /// Whether outer packets from this address are wanted.
    fn source6(&self, address: V6) -> bool;
}

/// Takes a tunnel's outer headers off a packet for one of our VIPs. `None`, and an untouched packet, if it
/// is anything else.
#[inline(always)]
pub fn decapsulate<P: Packet, A: Accepts>(packet: &mut P, accepts: &A) -> Option<()> {
    let outer = packet.at::<Ethernet>(0)?.ethertype;
    let (header, kind) = if outer == ethertype::IPV4 {
        let ip = packet.at::<Ipv4>(IP)?;
        // What the forwarder sends has no options and is never a fragment.
        let fragmented = u16::from_be(ip.fragment) & 0x3fff != 0;
        if ip.version_length != 0x45 || fragmented || !accepts.source4(ip.source) {
            return None;
        }
        (Ipv4::LENGTH, ip.protocol)
    } else if outer == ethertype::IPV6 {
        let ip = packet.at::<Ipv6>(IP)?;
        if !accepts.source6(ip.source) {
            return None;
        }
        (Ipv6::LENGTH, ip.next_header)
    } else {
        return None;
    };
    let (overhead, family) = match kind {
        protocol::IPV4 | protocol::IPV6 => (header, kind),
        protocol::UDP => gue(packet, accepts, header)?,
        _ => return None,
    };
    let inner = if family == protocol::IPV4 {
        let ip = packet.at::<Ipv4>(IP + overhead)?;
        if ip.version_length >> 4 != 4 || !accepts.vip4(ip.destination) {
            return None;
        }
        ethertype::IPV4
    } else {
        let ip = packet.at::<Ipv6>(IP + overhead)?;
        if u32::from_be(ip.version_class_flow) >> 28 != 6 || !accepts.vip6(ip.destination) {
            return None;
        }
        ethertype::IPV6
    };
    let macs = *packet.at::<Macs>(0)?;
    packet.adjust_head(overhead as i32)?;
    *packet.at_mut::<Macs>(0)? = macs;
    packet.at_mut::<Ethernet>(0)?.ethertype = inner;
    Some(())
}

/// GUE, variant 1 (the IP packet follows) and variant 0 without optional fields: overhead and inner
/// protocol.
#[inline(always)]
fn gue<P: Packet, A: Accepts>(packet: &P, accepts: &A, header: usize) -> Option<(usize, u8)> {
    /// Variant 0, no fields: 0, protocol, no flags.
    const VARIANT_0: usize = 4;
    let udp = packet.at::<Udp>(IP + header)?;
    if crate::parse::destination_port(udp.ports) != accepts.gue_port() {
        return None;
    }
    let first = *packet.at::<u8>(IP + header + Udp::LENGTH)?;
    match first >> 4 {
        4 => Some((header + Udp::LENGTH, protocol::IPV4)),
        6 => Some((header + Udp::LENGTH, protocol::IPV6)),
        _ if first == 0 => {
            let inner = *packet.at::<u8>(IP + header + Udp::LENGTH + 1)?;
            let flags = packet.at::<Half>(IP + header + Udp::LENGTH + 2)?.0;
            let known = flags == 0 && (inner == protocol::IPV4 || inner == protocol::IPV6);
            known.then_some((header + Udp::LENGTH + VARIANT_0, inner))
        }
        _ => None,
    }
}
