//! Builds the frame that a trace is about.

use std::net::IpAddr;

use forwarder_common::protocol;

use crate::admin::api::TraceRequest;

/// The sender's MAC address: a locally administered one that nobody has.
const SOURCE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xfe];
const ETHERNET: usize = 14;

/// The frame in wire order, addressed to `mac`.
pub fn build(packet: &TraceRequest, mac: [u8; 6]) -> Result<Vec<u8>, String> {
    let ipv6 = match (packet.source, packet.destination) {
        (IpAddr::V4(_), IpAddr::V4(_)) => false,
        (IpAddr::V6(_), IpAddr::V6(_)) => true,
        _ => return Err("source and destination are of different families".into()),
    };
    let protocol = match (packet.protocol.as_str(), ipv6) {
        ("tcp", _) => protocol::TCP,
        ("udp", _) => protocol::UDP,
        ("icmp", false) => protocol::ICMP,
        ("icmp", true) => protocol::ICMPV6,
        (other, _) => return Err(format!("\"{other}\" is not a protocol: tcp, udp or icmp")),
    };
    let ip_header = if ipv6 { 40 } else { 20 };
    let transport_header = if protocol == protocol::TCP { 20 } else { 8 };
    let smallest = ip_header + transport_header;
    let size = packet.size.map_or(smallest, usize::from);
    if size < smallest {
        return Err(format!("such a packet has at least {smallest} bytes"));
    }
    let mut segment = vec![0; size - ip_header];
    transport(&mut segment, packet, protocol)?;
    let sum = pseudo_header(packet, protocol, segment.len()) + words(&segment);
    let sum = if protocol == protocol::ICMP {
        words(&segment)
    } else {
        sum
    };
    let at = match protocol {
        protocol::TCP => 16,
        protocol::UDP => 6,
        _ => 2,
    };
    segment[at..at + 2].copy_from_slice(&fold(sum).to_be_bytes());

    let mut frame = Vec::with_capacity(ETHERNET + size);
    frame.extend(mac);
    frame.extend(SOURCE_MAC);
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([0x08, 0x00]);
            let mut header = [0; 20];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&(size as u16).to_be_bytes());
            header[6] = 0x40;
            header[8] = packet.ttl.unwrap_or(64);
            header[9] = protocol;
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&destination.octets());
            let sum = fold(words(&header));
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend(header);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend([0x86, 0xdd]);
            frame.extend([0x60, 0, 0, 0]);
            frame.extend((segment.len() as u16).to_be_bytes());
            frame.extend([protocol, packet.ttl.unwrap_or(64)]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => return Err("source and destination are of different families".into()),
    }
    frame.extend(segment);
    Ok(frame)
}

fn transport(segment: &mut [u8], packet: &TraceRequest, protocol: u8) -> Result<(), String> {
    let length = segment.len() as u16;
    if !packet.flags.is_empty() && protocol != protocol::TCP {
        return Err("only tcp has flags".into());
    }
    match protocol {
        protocol::TCP | protocol::UDP => {
            segment[0..2].copy_from_slice(&packet.source_port.to_be_bytes());
            segment[2..4].copy_from_slice(&packet.destination_port.to_be_bytes());
        }
        // An echo request.
        protocol::ICMP => segment[0] = 8,
        _ => segment[0] = 128,
    }
    match protocol {
        protocol::TCP => {
            segment[12] = 5 << 4;
            segment[13] = flags(&packet.flags)?;
            segment[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        }
        protocol::UDP => segment[4..6].copy_from_slice(&length.to_be_bytes()),
        _ => (),
    }
    Ok(())
}

fn flags(names: &[String]) -> Result<u8, String> {
    const NAMES: [&str; 6] = ["fin", "syn", "rst", "psh", "ack", "urg"];
    if names.is_empty() {
        return Ok(1 << 1);
    }
    names.iter().try_fold(0, |bits, name| {
        let bit = NAMES
            .iter()
            .position(|known| known.eq_ignore_ascii_case(name));
        let unknown = || format!("\"{name}\" is not a TCP flag: {}", NAMES.join(", "));
        Ok(bits | 1 << bit.ok_or_else(unknown)?)
    })
}

fn pseudo_header(packet: &TraceRequest, protocol: u8, length: usize) -> u32 {
    let address = |address: IpAddr| match address {
        IpAddr::V4(address) => words(&address.octets()),
        IpAddr::V6(address) => words(&address.octets()),
    };
    address(packet.source) + address(packet.destination) + u32::from(protocol) + length as u32
}

/// Sum of the bytes as big-endian words, an odd one padded with zero. At most 64 KiB: no overflow.
fn words(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum()
}

/// The Internet checksum of a sum (RFC 1071).
fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(protocol: &str, source: &str, destination: &str) -> TraceRequest {
        TraceRequest {
            protocol: protocol.into(),
            source: source.parse().expect("an address"),
            source_port: 40112,
            destination: destination.parse().expect("an address"),
            destination_port: 80,
            interface: "eth0".into(),
            flags: Vec::new(),
            size: None,
            ttl: None,
        }
    }

    #[test]
    fn checksums_are_right() {
        let v4 = ("198.51.100.7", "203.0.113.10");
        let v6 = ("2001:db8::7", "2001:db8::10");
        for (source, destination) in [v4, v6] {
            for protocol in ["tcp", "udp", "icmp"] {
                let mut packet = request(protocol, source, destination);
                packet.size = Some(101);
                let frame = build(&packet, [2; 6]).expect("a frame");
                assert_eq!(frame.len(), 14 + 101);
                let (header, number) = if frame[12] == 8 {
                    (20, frame[23])
                } else {
                    (40, frame[20])
                };
                let segment = &frame[14 + header..];
                let pseudo = match number {
                    protocol::ICMP => 0,
                    _ => pseudo_header(&packet, number, segment.len()),
                };
                assert_eq!(fold(pseudo + words(segment)), 0, "{protocol} {source}");
                if header == 20 {
                    assert_eq!(fold(words(&frame[14..34])), 0);
                }
            }
        }
    }

    #[test]
    fn a_known_syn() {
        let frame =
            build(&request("tcp", "198.51.100.7", "203.0.113.10"), [2; 6]).expect("a frame");
        assert_eq!(frame.len(), 54);
        assert_eq!(frame[..6], [2; 6]);
        assert_eq!(frame[34..38], [0x9c, 0xb0, 0, 80]);
        assert_eq!(frame[47], 0x02);
    }

    #[test]
    fn refuses_what_cannot_be() {
        let mut mixed = request("tcp", "198.51.100.7", "2001:db8::10");
        assert!(build(&mixed, [2; 6]).is_err());
        mixed = request("tcp", "198.51.100.7", "203.0.113.10");
        mixed.size = Some(39);
        assert!(build(&mixed, [2; 6]).is_err());
        mixed.size = None;
        mixed.flags = vec!["syn".into(), "nonsense".into()];
        assert!(build(&mixed, [2; 6]).is_err());
        mixed.flags = vec!["SYN".into(), "ack".into()];
        assert_eq!(build(&mixed, [2; 6]).expect("a frame")[47], 0x12);
    }
}
