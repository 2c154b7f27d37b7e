//! A frame taken apart: link layer, IP header, transport header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use forwarder_common::protocol::{ICMP, ICMPV6, TCP, UDP};

use crate::checksum;
use crate::tables::Tuple;
use crate::wire::{self, Mac};

/// EtherTypes that are looked at.
pub mod ethertype {
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// 802.1Q and 802.1ad.
    pub const TAGS: [u16; 2] = [0x8100, 0x88a8];
}

/// TCP flag bits.
pub mod tcp {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// ACK.
    pub const ACK: u8 = 0x10;
}

/// A frame down to what its (inner) EtherType announces.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Destination MAC.
    pub destination: Mac,
    /// Source MAC.
    pub source: Mac,
    /// VLAN tags, outer first.
    pub tags: Vec<[u8; 4]>,
    /// What follows the tags.
    pub ethertype: u16,
    /// Everything after the link header, Ethernet padding included.
    pub rest: Vec<u8>,
}

impl Frame {
    /// Takes a frame apart; `None`: it ends early or has a third tag.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let destination = bytes.get(..6)?.try_into().ok()?;
        let source = bytes.get(6..12)?.try_into().ok()?;
        let mut tags = Vec::new();
        let mut at = 12;
        loop {
            let ethertype = word(bytes, at)?;
            if !ethertype::TAGS.contains(&ethertype) {
                return Some(Self {
                    destination,
                    source,
                    tags,
                    ethertype,
                    rest: bytes[at + 2..].to_vec(),
                });
            }
            if tags.len() == 2 {
                return None;
            }
            tags.push(bytes.get(at..at + 4)?.try_into().ok()?);
            at += 4;
        }
    }

    /// The frame as bytes again.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.destination, self.source].concat();
        bytes.extend(self.tags.concat());
        bytes.extend(self.ethertype.to_be_bytes());
        bytes.extend(&self.rest);
        bytes
    }
}

/// Where a packet stands among the fragments of its own, with the identification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// Not a fragment.
    Whole,
    /// Offset 0, more to come.
    First(u32),
    /// Any other.
    Later(u32),
}

/// Why an IP header cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Shorter than a fixed header.
    Truncated,
    /// It contradicts itself or the frame; this is its destination.
    Malformed(IpAddr),
    /// Extension headers that cannot be walked.
    Unsupported,
}

/// An IP packet.
#[derive(Clone, Debug)]
pub struct Ip {
    /// The packet, exactly as long as it says.
    pub bytes: Vec<u8>,
    /// What the frame carries after it.
    pub trailer: Vec<u8>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol after the extension headers.
    pub protocol: u8,
    /// Where the transport header begins.
    pub l4: usize,
    /// Fragment or not.
    pub fragment: Fragment,
    /// IPv6 extension headers were walked.
    pub extended: bool,
}

impl Ip {
    /// Reads the IPv4 or IPv6 packet that `rest` begins with.
    pub fn parse(rest: &[u8], ipv6: bool) -> Result<Self, Fault> {
        if ipv6 { parse6(rest) } else { parse4(rest) }
    }

    /// Whether it is IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.source.is_ipv6()
    }

    /// TTL or hop limit.
    pub fn ttl(&self) -> u8 {
        self.bytes[if self.is_ipv6() { 7 } else { 8 }]
    }

    /// TOS or traffic class.
    pub fn traffic_class(&self) -> u8 {
        if self.is_ipv6() {
            self.bytes[0] << 4 | self.bytes[1] >> 4
        } else {
            self.bytes[1]
        }
    }

    /// Whether a router must not fragment it.
    pub fn dont_fragment(&self) -> bool {
        self.is_ipv6() || self.bytes[6] & 0x40 != 0
    }

    /// Whether the protocol is this family's ICMP.
    pub fn is_icmp(&self) -> bool {
        self.protocol == if self.is_ipv6() { ICMPV6 } else { ICMP }
    }

    /// From the transport header to the end of the packet.
    pub fn segment(&self) -> &[u8] {
        self.bytes.get(self.l4..).unwrap_or_default()
    }

    /// Source and destination port of the transport header.
    pub fn ports(&self) -> Option<(u16, u16)> {
        Some((word(self.segment(), 0)?, word(self.segment(), 2)?))
    }

    /// The 5-tuple with these ports.
    pub fn tuple(&self, (source_port, destination_port): (u16, u16)) -> Tuple {
        let (source, destination) = (self.source, self.destination);
        Tuple {
            source,
            destination,
            source_port,
            destination_port,
            protocol: self.protocol,
        }
    }

    /// TCP's flags; none for other protocols and later fragments.
    pub fn tcp_flags(&self) -> u8 {
        match (self.protocol, self.fragment) {
            (_, Fragment::Later(_)) => 0,
            (TCP, _) => self.segment().get(13).copied().unwrap_or(0),
            _ => 0,
        }
    }

    /// Where the transport checksum is, if the packet has one.
    pub fn checksum_at(&self) -> Option<usize> {
        let offset = match self.protocol {
            _ if matches!(self.fragment, Fragment::Later(_)) => return None,
            TCP => 16,
            UDP => 6,
            _ if self.is_icmp() => 2,
            _ => return None,
        };
        let at = self.l4 + offset;
        word(&self.bytes, at)
            .filter(|stored| self.protocol != UDP || *stored != 0)
            .map(|_| at)
    }

    /// Sum of all that the transport checksum covers but itself.
    pub fn covered(&self) -> u64 {
        let pseudo = if self.protocol == ICMP {
            0
        } else {
            checksum::pseudo(
                self.source,
                self.destination,
                self.protocol,
                self.segment().len(),
            )
        };
        let stored = self
            .checksum_at()
            .and_then(|at| word(&self.bytes, at))
            .unwrap_or(0);
        pseudo + checksum::sum(self.segment()) - u64::from(stored)
    }

    /// Changes the packet and lets the checksums follow: right ones stay right, wrong ones wrong.
    pub fn edit(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        let before = self.clone();
        change(&mut self.bytes);
        (self.source, self.destination) = addresses(&self.bytes, self.is_ipv6());
        if self.bytes == before.bytes {
            return;
        }
        let fixed = if self.is_ipv6() {
            40
        } else {
            usize::from(self.bytes[0] & 0xf) * 4
        };
        if !self.is_ipv6() && self.bytes[..fixed] != before.bytes[..fixed] {
            let without =
                |bytes: &[u8]| checksum::sum(&bytes[..10]) + checksum::sum(&bytes[12..fixed]);
            let stored = word(&before.bytes, 10).unwrap_or(0);
            let adjusted = checksum::adjust(stored, without(&before.bytes), without(&self.bytes));
            put(&mut self.bytes, 10, adjusted);
        }
        let addressed = (self.source, self.destination) != (before.source, before.destination);
        let pseudo = addressed && self.protocol != ICMP;
        if let Some(at) = self
            .checksum_at()
            .filter(|_| pseudo || self.segment() != before.segment())
        {
            let stored = word(&before.bytes, at).unwrap_or(0);
            let adjusted = checksum::adjust(stored, before.covered(), self.covered());
            put(
                &mut self.bytes,
                at,
                if self.protocol == UDP && adjusted == 0 {
                    0xffff
                } else {
                    adjusted
                },
            );
        }
    }

    /// One off the TTL or hop limit.
    pub fn decrement_ttl(&mut self) {
        self.set_ttl(self.ttl() - 1);
    }

    /// Sets the TTL or hop limit.
    pub fn set_ttl(&mut self, ttl: u8) {
        let at = if self.is_ipv6() { 7 } else { 8 };
        self.edit(|bytes| bytes[at] = ttl);
    }

    /// Replaces addresses and, where there is a transport header, ports.
    pub fn translate(&mut self, becomes: &Tuple) {
        let l4 = self.l4;
        let ports = !matches!(self.fragment, Fragment::Later(_));
        self.edit(|bytes| {
            set_addresses(bytes, becomes.source, becomes.destination);
            if ports {
                put(bytes, l4, becomes.source_port);
                put(bytes, l4 + 2, becomes.destination_port);
            }
        });
    }
}

/// Writes both addresses into an IP header.
pub fn set_addresses(bytes: &mut [u8], source: IpAddr, destination: IpAddr) {
    let (at, length) = if source.is_ipv6() { (8, 16) } else { (12, 4) };
    bytes[at..at + length].copy_from_slice(&wire::octets(source));
    bytes[at + length..at + 2 * length].copy_from_slice(&wire::octets(destination));
}

/// Both addresses of an IP header.
pub fn addresses(bytes: &[u8], ipv6: bool) -> (IpAddr, IpAddr) {
    if ipv6 {
        let at = |from: usize| {
            let mut address = [0; 16];
            address.copy_from_slice(&bytes[from..from + 16]);
            IpAddr::V6(Ipv6Addr::from(address))
        };
        (at(8), at(24))
    } else {
        let at = |from: usize| {
            IpAddr::V4(Ipv4Addr::new(
                bytes[from],
                bytes[from + 1],
                bytes[from + 2],
                bytes[from + 3],
            ))
        };
        (at(12), at(16))
    }
}

/// A big-endian 16-bit word.
pub fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Writes a big-endian 16-bit word.
pub fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn parse4(rest: &[u8]) -> Result<Ip, Fault> {
    if rest.len() < 20 {
        return Err(Fault::Truncated);
    }
    let (source, destination) = addresses(rest, false);
    let header = usize::from(rest[0] & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
    let fits = header >= 20 && header <= rest.len() && total >= header && total <= rest.len();
    if rest[0] >> 4 != 4 || !fits {
        return Err(Fault::Malformed(destination));
    }
    let id = u32::from(u16::from_be_bytes([rest[4], rest[5]]));
    let more = rest[6] & 0x20 != 0;
    let offset = u16::from_be_bytes([rest[6] & 0x1f, rest[7]]);
    Ok(Ip {
        bytes: rest[..total].to_vec(),
        trailer: rest[total..].to_vec(),
        source,
        destination,
        protocol: rest[9],
        l4: header,
        fragment: fragment(offset, more, id),
        extended: false,
    })
}

fn parse6(rest: &[u8]) -> Result<Ip, Fault> {
    if rest.len() < 40 {
        return Err(Fault::Truncated);
    }
    let (source, destination) = addresses(rest, true);
    let total = 40 + usize::from(u16::from_be_bytes([rest[4], rest[5]]));
    if rest[0] >> 4 != 6 || total > rest.len() {
        return Err(Fault::Malformed(destination));
    }
    let (protocol, l4, fragment) = walk(rest)?;
    Ok(Ip {
        bytes: rest[..total].to_vec(),
        trailer: rest[total..].to_vec(),
        source,
        destination,
        protocol,
        l4,
        fragment,
        extended: l4 != 40,
    })
}

/// Most extension headers that are walked, and most bytes of them.
const EXTENSION_HEADERS: usize = 6;
const EXTENSION_BYTES: usize = 256;

/// Walks the extension headers of an IPv6 packet: protocol, transport offset, fragment.
fn walk(rest: &[u8]) -> Result<(u8, usize, Fragment), Fault> {
    let (mut next, mut at, mut found) = (rest[6], 40, Fragment::Whole);
    for _ in 0..EXTENSION_HEADERS {
        if !matches!(next, 0 | 43 | 44 | 60) {
            return Ok((next, at, found));
        }
        let header = rest.get(at..at + 8).ok_or(Fault::Unsupported)?;
        let length = if next == 44 {
            8
        } else {
            (usize::from(header[1]) + 1) * 8
        };
        if at + length > 40 + EXTENSION_BYTES || (next == 43 && header[3] != 0) {
            return Err(Fault::Unsupported);
        }
        if next == 44 {
            let id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            let offset = u16::from_be_bytes([header[2], header[3]]);
            found = fragment(offset >> 3, offset & 1 != 0, id);
        }
        next = header[0];
        at += length;
        if matches!(found, Fragment::Later(_)) {
            return Ok((next, at, found));
        }
    }
    if matches!(next, 0 | 43 | 44 | 60) {
        Err(Fault::Unsupported)
    } else {
        Ok((next, at, found))
    }
}

fn fragment(offset: u16, more: bool, id: u32) -> Fragment {
    match (offset, more) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First(id),
        _ => Fragment::Later(id),
    }
}
