//! `ipip-dsr` and `gue-dsr`: the packet goes to the backend inside another (RFC 2003, RFC 2473, GUE
//! variant 1 of draft-ietf-intarea-gue).

use forwarder_common::hash::flow_hash;
use forwarder_common::virtual_server::backend_flags;
use forwarder_common::{Affinity, Backend, Interface, Mode, Reason, Stage, protocol};

use crate::checksum::fold;
use crate::context::Context;
use crate::family::{Family, IP};
use crate::header::tcp::SYN;
use crate::header::{Ethernet, Ipv4, Ipv6, Udp, Words, ethertype};
use crate::lookup::FamilyTables;
use crate::packet::Packet;
use crate::parse::{Fragment, Headers};
use crate::pipeline::{Stages, count_in, remember};
use crate::verdict::Step;
use crate::{choose, link, mss};

/// TTL and hop limit of outer headers.
const TTL: u8 = 64;
const DO_NOT_FRAGMENT: u16 = 0x4000_u16.to_be();
/// TCP and IP headers without options, which an MSS does not count.
const TCP_HEADERS_V4: u32 = 40;
const TCP_HEADERS_V6: u32 = 60;
/// First port of the source port's entropy (host order), and its bits: 49152–57343, since Azure keeps
/// port 65330 for itself.
const ENTROPY_BASE: u16 = 0xc000;
const ENTROPY_BITS: u32 = 0x1fff;
const FLOW_LABEL_BITS: u32 = 0x000f_ffff;

/// What of the inner packet goes into the outer headers.
struct Outer {
    traffic_class: u8,
    hash: u32,
    /// Protocol that announces the inner packet in an IP header.
    inner: u8,
    /// Bytes of the inner packet.
    length: u16,
    /// UDP checksum over IPv6: the inner packet's share, if it can stand in for its bytes.
    inner_sum: Option<u64>,
}

/// Encapsulates a packet for the backend in the context.
#[inline(always)]
pub fn tunnel<F: Stages, P: Packet, T: FamilyTables<F::Address>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &mut Context,
) -> Step {
    let Some(headers) = Headers::<F>::kept(packet, context) else {
        return Reason::DropInternal.into();
    };
    let Some(backend) = tables.backend(context.backend) else {
        return Reason::DropInternal.into();
    };
    tables.note(Stage::Backend, context.backend, backend.ifindex as u64);
    if backend.ifindex == 0 {
        return choose::no_way(context.backend).into();
    }
    if F::ttl(packet) <= 1 {
        return Reason::DropTtl.into();
    }
    let gue = context.virtual_server.mode == Mode::GueDsr as u8;
    let v6 = backend.flags & backend_flags::IPV6 != 0;
    let header = if v6 { Ipv6::LENGTH } else { Ipv4::LENGTH };
    let overhead = header + if gue { Udp::LENGTH } else { 0 };
    if headers.length + overhead as u32 > backend.mtu as u32 {
        tables.note(
            Stage::Mtu,
            headers.length + overhead as u32,
            backend.mtu as u64,
        );
        context.mtu = (backend.mtu as u32).saturating_sub(overhead as u32);
        return Step::Next(F::TOO_BIG_STAGE);
    }
    if F::decrement_ttl(packet, IP).is_none() {
        return Reason::DropInternal.into();
    }
    if headers.tcp_flags & SYN != 0 {
        let tcp_headers = if F::IS_V6 {
            TCP_HEADERS_V6
        } else {
            TCP_HEADERS_V4
        };
        let limit = match context.virtual_server.mss {
            0 => (backend.mtu as u32).saturating_sub(overhead as u32 + tcp_headers),
            given => given,
        };
        mss::clamp(packet, headers.transport, headers.end(), limit as u16);
    }
    remember(tables, &headers);

    let outer = Outer {
        traffic_class: F::traffic_class(packet),
        hash: flow_hash(
            headers.source,
            headers.destination,
            headers.ports,
            headers.protocol,
            Affinity::FiveTuple,
            tables.hash_key(),
        ),
        inner: F::TUNNEL,
        length: headers.length as u16,
        inner_sum: if gue && v6 {
            inner_sum(packet, &headers)
        } else {
            None
        },
    };
    if packet.adjust_head(-(overhead as i32)).is_none() {
        return Reason::DropNoHeadroom.into();
    }
    let port = tables.gue_port();
    let written = match (v6, gue) {
        (false, false) => outer_v4(packet, backend, &outer, outer.inner, overhead),
        (false, true) => outer_v4(packet, backend, &outer, protocol::UDP, overhead)
            .and_then(|()| outer_udp(packet, IP + Ipv4::LENGTH, &outer, port, 0)),
        (true, false) => outer_v6(packet, backend, &outer, outer.inner, 0),
        (true, true) => {
            outer_v6(packet, backend, &outer, protocol::UDP, Udp::LENGTH).and_then(|()| {
                let checksum = udp_checksum(backend, &outer, port);
                outer_udp(packet, IP + Ipv6::LENGTH, &outer, port, checksum)
            })
        }
    };
    if written.is_none() {
        return Reason::DropInternal.into();
    }
    let reason = if context.is_icmp_error() {
        Reason::IcmpError
    } else {
        count_in(
            tables,
            context.virtual_server.id,
            context.backend,
            context.bytes,
        );
        if gue { Reason::GueDsr } else { Reason::IpipDsr }
    };
    Step::Done(link::to_backend(
        packet, tables, interface, context, backend, reason,
    ))
}

#[inline(always)]
fn outer_v4<P: Packet>(
    packet: &mut P,
    backend: &Backend,
    outer: &Outer,
    protocol: u8,
    overhead: usize,
) -> Option<()> {
    packet.at_mut::<Ethernet>(0)?.ethertype = ethertype::IPV4;
    // Five words, each stored at once; the sum is of the same words.
    let length = (outer.length + overhead as u16).to_be();
    let first = word(u16::from_ne_bytes([0x45, outer.traffic_class]), length);
    let second = word(0, DO_NOT_FRAGMENT);
    let lifetime = u16::from_ne_bytes([TTL, protocol]);
    let (source, destination) = (backend.tunnel_source[0], backend.address[0]);
    let sum = first as u64 + second as u64 + lifetime as u64 + source as u64 + destination as u64;
    let header = packet.at_mut::<Words<5>>(IP)?;
    header.0[0] = first;
    header.0[1] = second;
    header.0[2] = word(lifetime, !fold(sum));
    header.0[3] = source;
    header.0[4] = destination;
    Some(())
}

/// Two half-words as they stand in the packet.
#[inline(always)]
const fn word(first: u16, second: u16) -> u32 {
    first as u32 | (second as u32) << 16
}

#[inline(always)]
fn outer_v6<P: Packet>(
    packet: &mut P,
    backend: &Backend,
    outer: &Outer,
    protocol: u8,
    between: usize,
) -> Option<()> {
    packet.at_mut::<Ethernet>(0)?.ethertype = ethertype::IPV6;
    let first = 6 << 28 | (outer.traffic_class as u32) << 20 | outer.hash & FLOW_LABEL_BITS;
    *packet.at_mut::<Ipv6>(IP)? = Ipv6 {
        version_class_flow: first.to_be(),
        payload_length: (outer.length + between as u16).to_be(),
        next_header: protocol,
        hop_limit: TTL,
        source: backend.tunnel_source,
        destination: backend.address,
    };
    Some(())
}

/// Source and destination port of a GUE packet.
#[inline(always)]
fn udp_ports(outer: &Outer, port: u16) -> u32 {
    let source = ENTROPY_BASE | (outer.hash & ENTROPY_BITS) as u16;
    crate::parse::ports(source.to_be(), port)
}

#[inline(always)]
fn outer_udp<P: Packet>(
    packet: &mut P,
    offset: usize,
    outer: &Outer,
    port: u16,
    checksum: u16,
) -> Option<()> {
    *packet.at_mut::<Udp>(offset)? = Udp {
        ports: udp_ports(outer, port),
        length: (outer.length + Udp::LENGTH as u16).to_be(),
        checksum,
    };
    Some(())
}

/// UDP checksum over IPv6 without reading the payload: the inner packet's own checksum says what its
/// bytes sum up to. Where there is none to go by, none is sent (RFC 6935).
#[inline(always)]
fn udp_checksum(backend: &Backend, outer: &Outer, port: u16) -> u16 {
    let Some(inner) = outer.inner_sum else {
        return 0;
    };
    let length = (outer.length + Udp::LENGTH as u16).to_be() as u64;
    // The length counts twice: in the UDP header and in the pseudo-header.
    let mut sum =
        inner + udp_ports(outer, port) as u64 + 2 * length + (protocol::UDP as u16).to_be() as u64;
    let mut word = 0;
    while word < 4 {
        sum += backend.tunnel_source[word] as u64 + backend.address[word] as u64;
        word += 1;
    }
    match !fold(sum) {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// What the inner packet's bytes sum up to if its header and transport checksums are right.
#[inline(always)]
fn inner_sum<F: Family, P: Packet>(packet: &P, headers: &Headers<F>) -> Option<u64> {
    let summed = match headers.protocol {
        protocol::TCP => true,
        protocol::UDP => {
            let udp = packet.at::<Udp>(headers.transport)?;
            let covered = u16::from_be(udp.length) as usize + headers.transport;
            udp.checksum != 0 && covered == headers.length as usize + IP
        }
        _ => false,
    };
    if headers.fragment != Fragment::Whole || !summed {
        return None;
    }
    F::sum(packet, headers)
}
