//! From a frame to a packet in words. Frames come from captures: nothing about them is taken for granted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use forwarder_common::protocol;

use super::build::{fold, pseudo_header, words};
use super::{Fragment, Kind, Message, Packet, TTL};
use crate::core::key::mac_text;

/// GUE's usual port.
const GUE_PORT: u16 = 6080;
/// Packets in one another, at most.
const DEPTH: u8 = 2;

/// What a frame is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dissected {
    /// As a packet that can be typed; `None`: it is none of those.
    pub packet: Option<Packet>,
    /// In words, whatever it is.
    pub text: String,
    /// What is wrong with it: checksums, lengths.
    pub problems: Vec<String>,
}

/// A packet that was put in words is as it should be.
impl From<Packet> for Dissected {
    fn from(packet: Packet) -> Self {
        Self {
            text: packet.to_string(),
            packet: Some(packet),
            problems: Vec::new(),
        }
    }
}

/// Reads a frame that came in by an interface with this MAC address.
pub fn dissect(frame: &[u8], own: [u8; 6]) -> Dissected {
    let mut problems = Vec::new();
    let packet = ethernet(frame, own, &mut problems);
    let text = match &packet {
        Ok(packet) => packet.to_string(),
        Err(what) => format!("{what}, {} bytes", frame.len()),
    };
    Dissected {
        packet: packet.ok(),
        text,
        problems,
    }
}

fn ethernet(frame: &[u8], own: [u8; 6], problems: &mut Vec<String>) -> Result<Packet, String> {
    let short = || "a frame that ends in its Ethernet header".to_owned();
    let to: [u8; 6] = array(frame, 0).ok_or_else(short)?;
    let (mut at, mut vlans) = (12, Vec::new());
    let ethertype = loop {
        let ethertype = half(frame, at).ok_or_else(short)?;
        if !matches!(ethertype, 0x8100 | 0x88a8) || vlans.len() == 3 {
            break ethertype;
        }
        vlans.push(half(frame, at + 2).ok_or_else(short)? & 0xfff);
        at += 4;
    };
    let rest = frame.get(at + 2..).unwrap_or_default();
    let mut packet = match ethertype {
        0x0806 => arp(rest)?,
        0x0800 | 0x86dd => {
            let packet = ip(rest, DEPTH, problems)?;
            if packet.is_ipv6() != (ethertype == 0x86dd) {
                return Err("an IP version that contradicts the EtherType".into());
            }
            packet
        }
        other => return Err(format!("EtherType 0x{other:04x}")),
    };
    packet.vlans = vlans;
    // ARP and neighbour solicitations go to everybody.
    packet.to = (packet.kind != Kind::Arp && to != own).then_some(to);
    Ok(packet)
}

fn arp(bytes: &[u8]) -> Result<Packet, String> {
    let addresses = (array::<4>(bytes, 14), array::<4>(bytes, 24));
    let (Some(source), Some(target)) = addresses else {
        return Err("an ARP packet that is too short".into());
    };
    let (source, target) = (Ipv4Addr::from(source), Ipv4Addr::from(target));
    match bytes.first_chunk() {
        Some([0, 1, 8, 0, 6, 4, 0, 1]) => (),
        Some([0, 1, 8, 0, 6, 4, 0, 2]) => {
            let mac = mac_text(array(bytes, 8).unwrap_or_default());
            return Err(format!("an ARP answer to {target}: {source} is at {mac}"));
        }
        _ => return Err("an ARP packet, neither question nor answer".into()),
    }
    let (source, target) = (source.into(), target.into());
    Ok(plain(Kind::Arp, source, target))
}

/// A packet with everything as usual.
fn plain(kind: Kind, source: IpAddr, destination: IpAddr) -> Packet {
    let df = source.is_ipv4() && kind != Kind::Arp;
    Packet {
        kind,
        source,
        destination,
        ttl: TTL,
        df,
        length: None,
        fragment: None,
        vlans: Vec::new(),
        to: None,
    }
}

/// The header of an IP packet, and what it carries.
struct Header<'a> {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    df: bool,
    protocol: u8,
    fragment: Option<Fragment>,
    /// Of the whole packet, as its header has it.
    length: usize,
    /// What is there of the transport part, at most as much as the header says.
    segment: &'a [u8],
    /// As much as the header says, whether it is there or not.
    segment_length: usize,
}

fn ip(bytes: &[u8], depth: u8, problems: &mut Vec<String>) -> Result<Packet, String> {
    let header = match bytes.first().map(|byte| byte >> 4) {
        Some(4) => ipv4(bytes, problems)?,
        Some(6) => ipv6(bytes, problems)?,
        Some(version) => return Err(format!("IP version {version}")),
        None => return Err("an IP packet without a header".into()),
    };
    let ends = (header.source, header.destination);
    let kind = transport(&header, depth, problems)?;
    let mut packet = Packet {
        ttl: header.ttl,
        df: header.df,
        fragment: header.fragment,
        ..plain(kind, ends.0, ends.1)
    };
    if packet.kind == Kind::Arp {
        // A neighbour solicitation goes to many, and asks about one.
        let target = array::<16>(header.segment, 8).map(|target| Ipv6Addr::from(target).into());
        return Ok(plain(Kind::Arp, ends.0, target.unwrap_or(ends.1)));
    }
    // Said only where it is not what the words alone give.
    let headers_only = super::build(&packet, [0; 6]).map_or(0, |frame| frame.len() - 14);
    if header.length != headers_only {
        packet.length = u16::try_from(header.length).ok();
    }
    Ok(packet)
}

fn ipv4<'a>(bytes: &'a [u8], problems: &mut Vec<String>) -> Result<Header<'a>, String> {
    let short = || "an IPv4 packet that ends in its header".to_owned();
    let header_length = usize::from(bytes[0] & 15) * 4;
    let header = bytes.get(..header_length.max(20)).ok_or_else(short)?;
    let (source, destination) = (addr4(header, 12), addr4(header, 16));
    let what = || format!("an IPv4 packet {source} -> {destination}");
    if header_length < 20 {
        return Err(format!("{} whose header length is {header_length}", what()));
    }
    let length = usize::from(half(header, 2).unwrap_or(0));
    if length < header_length {
        return Err(format!("{} whose length is {length}", what()));
    }
    if length > bytes.len() {
        problems.push(format!(
            "the IPv4 header says {length} bytes, but only {} are there",
            bytes.len()
        ));
    }
    if fold(words(header)) != 0 {
        problems.push("the IPv4 header checksum is wrong".into());
    }
    let place = half(header, 6).unwrap_or(0);
    let (offset, more) = ((place & 0x1fff) * 8, place & 0x2000 != 0);
    Ok(Header {
        source: source.into(),
        destination: destination.into(),
        ttl: header[8],
        df: place & 0x4000 != 0,
        protocol: header[9],
        fragment: (offset != 0 || more).then_some(Fragment { offset }),
        length,
        segment: &bytes[header_length..length.min(bytes.len())],
        segment_length: length - header_length,
    })
}

fn ipv6<'a>(bytes: &'a [u8], problems: &mut Vec<String>) -> Result<Header<'a>, String> {
    let short = || "an IPv6 packet that ends in its header".to_owned();
    let source: [u8; 16] = array(bytes, 8).ok_or_else(short)?;
    let destination: [u8; 16] = array(bytes, 24).ok_or_else(short)?;
    let length = 40 + usize::from(half(bytes, 4).unwrap_or(0));
    if length > bytes.len() {
        problems.push(format!(
            "the IPv6 header says {length} bytes, but only {} are there",
            bytes.len()
        ));
    }
    let end = length.min(bytes.len());
    let (mut protocol, mut at, mut fragment) = (bytes[6], 40, None);
    // Hop-by-hop, routing, fragment and destination options (RFC 8200).
    for _ in 0..6 {
        if !matches!(protocol, 0 | 43 | 44 | 60) {
            break;
        }
        let (Some(&next), Some(&units)) = (bytes.get(at), bytes.get(at + 1)) else {
            return Err("an IPv6 packet that ends in its extension headers".into());
        };
        let mut size = 8 * (usize::from(units) + 1);
        if protocol == 44 {
            size = 8;
            let place = half(bytes, at + 2).unwrap_or(0);
            // "Atomic" fragments are whole packets.
            fragment = (place & !6 != 0).then_some(Fragment { offset: place & !7 });
        }
        (protocol, at) = (next, at + size);
    }
    if at > end {
        return Err("an IPv6 packet that ends in its extension headers".into());
    }
    Ok(Header {
        source: Ipv6Addr::from(source).into(),
        destination: Ipv6Addr::from(destination).into(),
        ttl: bytes[7],
        df: false,
        protocol,
        fragment,
        length,
        segment: &bytes[at..end],
        segment_length: length - at,
    })
}

fn transport(header: &Header<'_>, depth: u8, problems: &mut Vec<String>) -> Result<Kind, String> {
    let segment = header.segment;
    let what = |name: &str| format!("{name} {} -> {}", header.source, header.destination);
    let later = header.fragment.is_some_and(|fragment| fragment.offset > 0);
    let ports = if later {
        Some((0, 0))
    } else {
        half(segment, 0).zip(half(segment, 2))
    };
    let short = || format!("{} that ends in its header", what("a packet"));
    let inside = |at: usize, problems: &mut Vec<String>| {
        let bytes = segment.get(at..).ok_or_else(short)?;
        match depth {
            0 => Err(what("a packet in many others")),
            _ => ip(bytes, depth - 1, problems).map(Box::new),
        }
    };
    let kind = match header.protocol {
        protocol::TCP => {
            let (source, destination) = ports.ok_or_else(short)?;
            let flags = segment
                .get(13)
                .filter(|_| !later)
                .map_or(0, |flags| flags & 0x3f);
            Kind::Tcp(source, destination, flags)
        }
        protocol::UDP => {
            let (source, destination) = ports.ok_or_else(short)?;
            let inner = (destination == GUE_PORT && !later)
                .then(|| inside(8, &mut Vec::new()).ok())
                .flatten();
            match inner {
                Some(inner) => Kind::Gue(source, destination, inner),
                None => Kind::Udp(source, destination),
            }
        }
        protocol::IPV4 | protocol::IPV6 if !later => Kind::Ipip(inside(0, problems)?),
        protocol::ICMP | protocol::ICMPV6 if !later => icmp(header, |at| {
            // A quote is cut short: what is amiss with it is nobody's fault.
            inside(at, &mut Vec::new())
        })?,
        other => return Err(what(&format!("protocol {other}"))),
    };
    if header.fragment.is_none() && segment.len() == header.segment_length {
        problems.extend(wrong_checksum(header));
    }
    Ok(kind)
}

fn icmp(
    header: &Header<'_>,
    quote: impl Fn(usize) -> Result<Box<Packet>, String>,
) -> Result<Kind, String> {
    let segment = header.segment;
    let v6 = header.protocol == protocol::ICMPV6;
    let what = |kind: u8, code: u8| {
        format!(
            "icmp {} -> {} type {kind} code {code}",
            header.source, header.destination
        )
    };
    let (Some(&kind), Some(&code)) = (segment.first(), segment.get(1)) else {
        return Err(format!(
            "icmp {} -> {} without a header",
            header.source, header.destination
        ));
    };
    let mtu = half(segment, 6).unwrap_or(0);
    let message = match (v6, kind, code) {
        (false, 8, _) | (true, 128, _) => return Ok(Kind::Echo),
        (false, 0, _) | (true, 129, _) => return Ok(Kind::EchoReply),
        (true, 135, _) => return Ok(Kind::Arp),
        (false, 3, 4) | (true, 2, _) => Message::TooBig(mtu),
        (false, 3, 3) | (true, 1, 4) => Message::PortUnreachable,
        (false, 3, _) | (true, 1, _) => Message::Unreachable,
        (false, 11, _) | (true, 3, _) => Message::TimeExceeded,
        _ => return Err(what(kind, code)),
    };
    let about = quote(8).map_err(|_| what(kind, code))?;
    if about.is_ipv6() != v6 {
        return Err(what(kind, code));
    }
    Ok(Kind::Error(message, about))
}

fn wrong_checksum(header: &Header<'_>) -> Option<String> {
    let segment = header.segment;
    let (name, at) = match header.protocol {
        protocol::TCP => ("TCP", 16),
        protocol::UDP => ("UDP", 6),
        protocol::ICMP => ("ICMP", 2),
        protocol::ICMPV6 => ("ICMPv6", 2),
        _ => return None,
    };
    if half(segment, at)? == 0 && header.protocol == protocol::UDP {
        // None, which IPv4 allows.
        return None;
    }
    let before = match header.protocol {
        protocol::ICMP => 0,
        number => pseudo_header(header.source, header.destination, number, segment.len()),
    };
    (fold(before + words(segment)) != 0).then(|| format!("the {name} checksum is wrong"))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn addr4(header: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from(array::<4>(header, at).unwrap_or_default())
}
