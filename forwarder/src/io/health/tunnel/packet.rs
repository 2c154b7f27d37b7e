//! Inner packets, there and back.

use std::net::IpAddr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpProtocol, IpRepr, Ipv4Packet, Ipv6Packet,
    UdpPacket, UdpRepr,
};

use super::{HOP_LIMIT, ProbeError, Reply};

/// What is asked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    Tcp,
    Udp,
    /// ICMP echo.
    Echo,
}

/// This host's end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Local {
    pub address: IpAddr,
    pub transport: Transport,
    /// The port, or the identifier of an echo.
    pub number: u16,
}

/// Both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub local: Local,
    pub vip: IpAddr,
    /// 0 for an echo.
    pub port: u16,
}

/// An ICMP error about a packet of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Who says it.
    from: IpAddr,
    /// The VIP itself says that nobody has the port.
    refused: bool,
    /// In words.
    said: &'static str,
}

impl From<IcmpError> for ProbeError {
    fn from(error: IcmpError) -> Self {
        let IcmpError {
            from,
            refused,
            said,
        } = error;
        let text = format!("{from} answers \"{said}\"");
        if refused {
            Self::Refused(text)
        } else {
            Self::Unreachable(text)
        }
    }
}

/// A datagram.
pub fn datagram(flow: &Flow, payload: &[u8]) -> Vec<u8> {
    let header = UdpRepr {
        src_port: flow.local.number,
        dst_port: flow.port,
    };
    let (source, destination) = (flow.local.address.into(), flow.vip.into());
    let length = header.header_len() + payload.len();
    ip(flow, IpProtocol::Udp, length, |buffer, checksums| {
        let mut packet = UdpPacket::new_unchecked(buffer);
        let fill = |to: &mut [u8]| to.copy_from_slice(payload);
        header.emit(
            &mut packet,
            &source,
            &destination,
            payload.len(),
            fill,
            checksums,
        );
    })
}

/// An echo request.
pub fn echo_request(flow: &Flow, data: &[u8]) -> Vec<u8> {
    let ident = flow.local.number;
    match (flow.local.address, flow.vip) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let request = Icmpv6Repr::EchoRequest {
                ident,
                seq_no: 0,
                data,
            };
            let length = request.buffer_len();
            ip(flow, IpProtocol::Icmpv6, length, |buffer, checksums| {
                let mut packet = Icmpv6Packet::new_unchecked(buffer);
                request.emit(&source, &destination, &mut packet, checksums);
            })
        }
        _ => {
            let request = Icmpv4Repr::EchoRequest {
                ident,
                seq_no: 0,
                data,
            };
            let length = request.buffer_len();
            ip(flow, IpProtocol::Icmp, length, |buffer, checksums| {
                request.emit(&mut Icmpv4Packet::new_unchecked(buffer), checksums);
            })
        }
    }
}

fn ip(
    flow: &Flow,
    protocol: IpProtocol,
    length: usize,
    fill: impl FnOnce(&mut [u8], &ChecksumCapabilities),
) -> Vec<u8> {
    let (source, destination) = (flow.local.address.into(), flow.vip.into());
    let header = IpRepr::new(source, destination, protocol, length, HOP_LIMIT);
    let checksums = ChecksumCapabilities::default();
    let mut packet = vec![0; header.buffer_len()];
    header.emit(&mut packet[..], &checksums);
    fill(&mut packet[header.header_len()..], &checksums);
    packet
}

/// A packet's addresses, protocol, and what follows the IP header: of a fragment only the first has it.
fn open(packet: &[u8]) -> Option<(IpAddr, IpAddr, IpProtocol, &[u8])> {
    match packet.first()? >> 4 {
        4 => {
            let ip = Ipv4Packet::new_checked(packet).ok()?;
            if ip.frag_offset() != 0 {
                return None;
            }
            let header = usize::from(ip.header_len());
            let end = usize::from(ip.total_len());
            let inside = packet.get(header..end)?;
            Some((
                ip.src_addr().into(),
                ip.dst_addr().into(),
                ip.next_header(),
                inside,
            ))
        }
        6 => {
            let ip = Ipv6Packet::new_checked(packet).ok()?;
            let inside = packet.get(40..ip.total_len())?;
            Some((
                ip.src_addr().into(),
                ip.dst_addr().into(),
                ip.next_header(),
                inside,
            ))
        }
        _ => None,
    }
}

/// Whose packet this is, and of a flow with whom.
pub fn sort(packet: &[u8]) -> Option<(Local, IpAddr, Reply)> {
    let (from, to, protocol, inside) = open(packet)?;
    let local = |transport, at| {
        Some(Local {
            address: to,
            transport,
            number: half(inside, at)?,
        })
    };
    let kind = *inside.first()?;
    let local = match (protocol, kind) {
        (IpProtocol::Tcp, _) => local(Transport::Tcp, 2)?,
        (IpProtocol::Udp, _) => local(Transport::Udp, 2)?,
        (IpProtocol::Icmp, 0) | (IpProtocol::Icmpv6, 129) => local(Transport::Echo, 4)?,
        (IpProtocol::Icmp, 3 | 11) | (IpProtocol::Icmpv6, 1 | 3) => return error(from, inside),
        _ => return None,
    };
    Some((local, from, Reply::Packet(packet.to_vec())))
}

/// An ICMP error, by the packet that it quotes.
fn error(from: IpAddr, message: &[u8]) -> Option<(Local, IpAddr, Reply)> {
    let quote = message.get(8..)?;
    let (address, vip, protocol, inside) = quoted(quote)?;
    let (transport, at) = match protocol {
        6 => (Transport::Tcp, 0),
        17 => (Transport::Udp, 0),
        1 | 58 => (Transport::Echo, 4),
        _ => return None,
    };
    let local = Local {
        address,
        transport,
        number: half(inside, at)?,
    };
    let said = match (from.is_ipv4(), *message.first()?, *message.get(1)?) {
        (true, 3, 3) | (false, 1, 4) => "port unreachable",
        (true, 3, 1) | (false, 1, 3) => "host unreachable",
        (true, 3, 0) | (false, 1, 0) => "network unreachable",
        (true, 3, 2) => "protocol unreachable",
        (true, 3, 9 | 10 | 13) | (false, 1, 1 | 5) => "administratively prohibited",
        (true, 11, _) | (false, 3, _) => "time exceeded",
        _ => "unreachable",
    };
    let error = IcmpError {
        from,
        refused: said == "port unreachable",
        said,
    };
    Some((local, vip, Reply::Error(error)))
}

/// Source, destination, protocol and what follows of a packet that may be cut off.
fn quoted(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    let first = *packet.first()?;
    if first >> 4 == 4 {
        let source: [u8; 4] = *packet.get(12..)?.first_chunk()?;
        let destination: [u8; 4] = *packet.get(16..)?.first_chunk()?;
        let inside = packet.get(usize::from(first & 15) * 4..)?;
        Some((source.into(), destination.into(), *packet.get(9)?, inside))
    } else {
        let source: [u8; 16] = *packet.get(8..)?.first_chunk()?;
        let destination: [u8; 16] = *packet.get(24..)?.first_chunk()?;
        let inside = packet.get(40..)?;
        Some((source.into(), destination.into(), *packet.get(6)?, inside))
    }
}

/// The payload of a datagram of the flow.
pub fn payload<'p>(flow: &Flow, packet: &'p [u8]) -> Option<&'p [u8]> {
    let (.., inside) = open(packet)?;
    // Of a fragmented datagram this is the first part.
    (half(inside, 0)? == flow.port).then(|| inside.get(8..))?
}

/// Whether it is the answer to an echo request with this data.
pub fn is_echo(packet: &[u8], data: &[u8]) -> bool {
    open(packet).is_some_and(|(.., inside)| inside.get(8..) == Some(data))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
