//! From a packet in words to a frame.

use std::net::{IpAddr, Ipv6Addr};

use forwarder_common::protocol;

use super::{Fragment, Kind, Message, Packet};

/// The sender's MAC address: a locally administered one that nobody has.
const SOURCE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xfe];
/// IPv6's fragment header.
const FRAGMENT: u8 = 44;
/// How much of a packet an ICMP error quotes.
const QUOTE: usize = 128;
/// Everybody, in ARP.
const BROADCAST: [u8; 6] = [0xff; 6];

/// The frame in wire order; to `mac`, unless the packet says otherwise.
///
/// # Errors
/// When the packet cannot be: shorter than its headers, or longer than a packet can be.
pub fn build(packet: &Packet, mac: [u8; 6]) -> Result<Vec<u8>, String> {
    let (inside, to, ethertype) = match (&packet.kind, packet.source, packet.destination) {
        (Kind::Arp, IpAddr::V4(source), IpAddr::V4(target)) => {
            let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
            arp.extend(SOURCE_MAC);
            arp.extend(source.octets());
            arp.extend([0; 6]);
            arp.extend(target.octets());
            (arp, BROADCAST, 0x0806)
        }
        (Kind::Arp, _, IpAddr::V6(target)) => {
            let [.., a, b, c] = target.octets();
            (
                solicitation(packet, target)?,
                [0x33, 0x33, 0xff, a, b, c],
                0x86dd,
            )
        }
        (_, source, _) => {
            let ethertype = if source.is_ipv6() { 0x86dd } else { 0x0800 };
            (ip(packet)?, mac, ethertype)
        }
    };
    let mut frame = Vec::with_capacity(26 + inside.len());
    frame.extend(packet.to.unwrap_or(to));
    frame.extend(SOURCE_MAC);
    for vlan in &packet.vlans {
        frame.extend([0x81, 0x00]);
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend(u16::to_be_bytes(ethertype));
    frame.extend(inside);
    Ok(frame)
}

/// A neighbour solicitation (RFC 4861), which is an ICMPv6 packet of its own.
fn solicitation(packet: &Packet, target: Ipv6Addr) -> Result<Vec<u8>, String> {
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    message.extend([1, 1]);
    message.extend(SOURCE_MAC);
    let group = IpAddr::V6(group);
    let sum = pseudo_header(packet.source, group, protocol::ICMPV6, message.len());
    checksum(&mut message, 2, sum);
    let mut bytes = Vec::new();
    header(&mut bytes, packet, group, protocol::ICMPV6, 255, &message)?;
    Ok(bytes)
}

/// The IP packet.
fn ip(packet: &Packet) -> Result<Vec<u8>, String> {
    let ipv6 = packet.is_ipv6();
    let mut header_length = if ipv6 { 40 } else { 20 };
    if ipv6 && packet.fragment.is_some() {
        header_length += 8;
    }
    let (number, mut segment) = segment(packet)?;
    let later = packet.fragment.is_some_and(|fragment| fragment.offset > 0);
    if later {
        // Its transport header is in the first fragment.
        segment.truncate(8);
        segment.fill(0);
    }
    let smallest = header_length + segment.len();
    if let Some(length) = packet.length.map(usize::from) {
        if length < smallest {
            return Err(format!("such a packet has at least {smallest} bytes"));
        }
        segment.resize(length - header_length, 0);
    }
    if !later {
        finish(packet, number, &mut segment);
    }
    let mut bytes = Vec::with_capacity(header_length + segment.len());
    let to = packet.destination;
    header(&mut bytes, packet, to, number, packet.ttl, &segment)?;
    Ok(bytes)
}

/// Protocol number and transport part, without lengths and checksums.
fn segment(packet: &Packet) -> Result<(u8, Vec<u8>), String> {
    let icmp = if packet.is_ipv6() {
        protocol::ICMPV6
    } else {
        protocol::ICMP
    };
    let ports = |segment: &mut Vec<u8>, source: u16, destination: u16| {
        segment.extend(source.to_be_bytes());
        segment.extend(destination.to_be_bytes());
    };
    let mut bytes = Vec::new();
    let number = match &packet.kind {
        Kind::Tcp(source, destination, flags) => {
            ports(&mut bytes, *source, *destination);
            bytes.extend([0; 8]);
            bytes.extend([5 << 4, *flags, 0xff, 0xff, 0, 0, 0, 0]);
            protocol::TCP
        }
        Kind::Udp(source, destination) => {
            ports(&mut bytes, *source, *destination);
            bytes.extend([0; 4]);
            protocol::UDP
        }
        Kind::Gue(source, destination, inner) => {
            ports(&mut bytes, *source, *destination);
            bytes.extend([0; 4]);
            bytes.extend(ip(inner)?);
            protocol::UDP
        }
        Kind::Ipip(inner) => {
            bytes = ip(inner)?;
            if inner.is_ipv6() {
                protocol::IPV6
            } else {
                protocol::IPV4
            }
        }
        Kind::Echo | Kind::EchoReply => {
            let reply = packet.kind == Kind::EchoReply;
            let kind = match (packet.is_ipv6(), reply) {
                (false, false) => 8,
                (false, true) => 0,
                (true, false) => 128,
                (true, true) => 129,
            };
            bytes.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
            icmp
        }
        Kind::Error(message, about) => {
            bytes.extend(error(*message, packet.is_ipv6()));
            let mut quote = ip(about)?;
            quote.truncate(QUOTE);
            bytes.extend(quote);
            icmp
        }
        Kind::Arp => return Err("arp is no IP packet".into()),
    };
    Ok((number, bytes))
}

/// An ICMP error's first eight bytes (RFC 792, 1191, 4443).
fn error(message: Message, ipv6: bool) -> [u8; 8] {
    let (kind, code) = match (message, ipv6) {
        (Message::Unreachable, false) => (3, 1),
        (Message::PortUnreachable, false) => (3, 3),
        (Message::TooBig(_), false) => (3, 4),
        (Message::TimeExceeded, false) => (11, 0),
        (Message::Unreachable, true) => (1, 3),
        (Message::PortUnreachable, true) => (1, 4),
        (Message::TooBig(_), true) => (2, 0),
        (Message::TimeExceeded, true) => (3, 0),
    };
    let mtu = match message {
        Message::TooBig(mtu) => mtu.to_be_bytes(),
        _ => [0; 2],
    };
    [kind, code, 0, 0, 0, 0, mtu[0], mtu[1]]
}

/// Writes lengths and checksums.
fn finish(packet: &Packet, number: u8, segment: &mut [u8]) {
    let at = match number {
        protocol::TCP => 16,
        protocol::UDP => {
            let length = segment.len() as u16;
            segment[4..6].copy_from_slice(&length.to_be_bytes());
            6
        }
        protocol::ICMP | protocol::ICMPV6 => 2,
        _ => return,
    };
    let sum = match number {
        protocol::ICMP => 0,
        _ => pseudo_header(packet.source, packet.destination, number, segment.len()),
    };
    checksum(segment, at, sum);
}

fn checksum(bytes: &mut [u8], at: usize, before: u32) {
    let sum = fold(before + words(bytes));
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The IP header and what follows it.
fn header(
    bytes: &mut Vec<u8>,
    packet: &Packet,
    destination: IpAddr,
    number: u8,
    ttl: u8,
    segment: &[u8],
) -> Result<(), String> {
    let too_long = |_| "no IP packet is so long".to_owned();
    let place = packet.fragment;
    // In units of 8 bytes, with "more fragments" in the lowest bit of the 16 (IPv6) or bit 13 (IPv4).
    let offset = place.map_or(0, |Fragment { offset }| offset / 8);
    match (packet.source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let length = u16::try_from(20 + segment.len()).map_err(too_long)?;
            let more = if place.is_some() { 1 << 13 } else { 0 };
            let df = if packet.df { 1 << 14 } else { 0 };
            let mut header = [0; 20];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&length.to_be_bytes());
            header[6..8].copy_from_slice(&(offset | more | df).to_be_bytes());
            header[8] = ttl;
            header[9] = number;
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&destination.octets());
            checksum(&mut header, 10, 0);
            bytes.extend(header);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let extension = if place.is_some() { 8 } else { 0 };
            let length = u16::try_from(extension + segment.len()).map_err(too_long)?;
            bytes.extend([0x60, 0, 0, 0]);
            bytes.extend(length.to_be_bytes());
            bytes.extend([if place.is_some() { FRAGMENT } else { number }, ttl]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            if place.is_some() {
                bytes.extend([number, 0]);
                bytes.extend((offset << 3 | 1).to_be_bytes());
                bytes.extend([0; 4]);
            }
        }
        _ => return Err("source and destination are of different families".into()),
    }
    bytes.extend(segment);
    Ok(())
}

pub(super) fn pseudo_header(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    length: usize,
) -> u32 {
    let address = |address: IpAddr| match address {
        IpAddr::V4(address) => words(&address.octets()),
        IpAddr::V6(address) => words(&address.octets()),
    };
    address(source) + address(destination) + u32::from(protocol) + length as u32
}

/// Sum of the bytes as big-endian words, an odd one padded with zero. At most 64 KiB: no overflow.
pub(super) fn words(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum()
}

/// The Internet checksum of a sum (RFC 1071).
pub(super) fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
