//! Frames for tests, written down field by field.

use std::net::IpAddr;

use forwarder_common::protocol::{ICMP, ICMPV6, TCP, UDP};

use crate::checksum;
use crate::packet::{Frame, ethertype, put, tcp};
use crate::wire::{self, Mac};

/// What follows the IP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP with flags and options (padded to four bytes with zeros).
    Tcp {
        /// Source and destination port.
        ports: (u16, u16),
        /// Flag bits.
        flags: u8,
        /// Options.
        options: Vec<u8>,
    },
    /// UDP.
    Udp {
        /// Source and destination port.
        ports: (u16, u16),
        /// False leaves the checksum zero.
        checksum: bool,
    },
    /// ICMP of the family.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// The second header word.
        word: [u8; 4],
    },
    /// The payload alone under a protocol number.
    Raw(u8),
}

/// An IPv6 extension header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Its own protocol number.
    pub number: u8,
    /// All of it but the next-header byte; the length byte is the caller's.
    pub body: Vec<u8>,
}

impl Extension {
    /// Padding options of `units` × 8 bytes in a header of this number.
    pub fn padding(number: u8, units: u8) -> Self {
        let length = usize::from(units) * 8 - 4;
        let mut body = vec![units - 1, 1, length as u8];
        body.resize(length + 3, 0);
        Self { number, body }
    }

    /// A routing header.
    pub fn routing(segments_left: u8) -> Self {
        Self {
            number: 43,
            body: vec![0, 4, segments_left, 0, 0, 0, 0],
        }
    }

    /// A fragment header; the offset counts 8-byte units.
    pub fn fragment(offset: u16, more: bool, id: u32) -> Self {
        let mut body = vec![0];
        body.extend((offset << 3 | u16::from(more)).to_be_bytes());
        body.extend(id.to_be_bytes());
        Self { number: 44, body }
    }
}

/// A frame before it is bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Destination MAC.
    pub destination_mac: Mac,
    /// Source MAC.
    pub source_mac: Mac,
    /// VLAN tags, outer first: TPID and TCI.
    pub tags: Vec<(u16, u16)>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// TOS or traffic class.
    pub class: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4 identification.
    pub id: u16,
    /// IPv4 DF.
    pub dont_fragment: bool,
    /// IPv4 fragment offset in 8-byte units and more-fragments (IPv6: [`Extension::fragment`]).
    pub fragment: (u16, bool),
    /// IPv4 options (padded to four bytes with zeros).
    pub options: Vec<u8>,
    /// IPv6 extension headers.
    pub extensions: Vec<Extension>,
    /// Transport header.
    pub transport: Transport,
    /// What follows the transport header.
    pub payload: Vec<u8>,
    /// Added to the right transport checksum.
    pub transport_error: u16,
    /// Added to the right IPv4 header checksum.
    pub header_error: u16,
    /// Ethernet padding.
    pub trailer: Vec<u8>,
}

impl Packet {
    /// A packet between two addresses with no payload.
    pub fn new(source: IpAddr, destination: IpAddr, transport: Transport) -> Self {
        Self {
            destination_mac: [2, 0, 0, 0, 0, 1],
            source_mac: [2, 0, 0, 0, 0, 2],
            tags: Vec::new(),
            source,
            destination,
            class: 0,
            ttl: 64,
            id: 0x1234,
            dont_fragment: true,
            fragment: (0, false),
            options: Vec::new(),
            extensions: Vec::new(),
            transport,
            payload: Vec::new(),
            transport_error: 0,
            header_error: 0,
            trailer: Vec::new(),
        }
    }

    /// TCP with flags.
    pub fn tcp(source: (IpAddr, u16), destination: (IpAddr, u16), flags: u8) -> Self {
        let ports = (source.1, destination.1);
        Self::new(
            source.0,
            destination.0,
            Transport::Tcp {
                ports,
                flags,
                options: Vec::new(),
            },
        )
    }

    /// A TCP SYN with an MSS option.
    pub fn syn(source: (IpAddr, u16), destination: (IpAddr, u16), mss: u16) -> Self {
        let (ports, mss) = ((source.1, destination.1), mss.to_be_bytes());
        let options = vec![2, 4, mss[0], mss[1], 1, 3, 3, 7];
        Self::new(
            source.0,
            destination.0,
            Transport::Tcp {
                ports,
                flags: tcp::SYN,
                options,
            },
        )
    }

    /// UDP with a payload.
    pub fn udp(source: (IpAddr, u16), destination: (IpAddr, u16), payload: &[u8]) -> Self {
        let ports = (source.1, destination.1);
        let packet = Self::new(
            source.0,
            destination.0,
            Transport::Udp {
                ports,
                checksum: true,
            },
        );
        Self {
            payload: payload.to_vec(),
            ..packet
        }
    }

    /// An ICMP message of the addresses' family.
    pub fn icmp(
        source: IpAddr,
        destination: IpAddr,
        kind: u8,
        code: u8,
        word: [u8; 4],
        payload: &[u8],
    ) -> Self {
        let packet = Self::new(source, destination, Transport::Icmp { kind, code, word });
        Self {
            payload: payload.to_vec(),
            ..packet
        }
    }

    /// The frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut rest = self.ip();
        rest.extend(&self.trailer);
        let tag = |(tpid, tci): &(u16, u16)| {
            let (tpid, tci) = (tpid.to_be_bytes(), tci.to_be_bytes());
            [tpid[0], tpid[1], tci[0], tci[1]]
        };
        Frame {
            destination: self.destination_mac,
            source: self.source_mac,
            tags: self.tags.iter().map(tag).collect(),
            ethertype: if self.source.is_ipv6() {
                ethertype::IPV6
            } else {
                ethertype::IPV4
            },
            rest,
        }
        .bytes()
    }

    /// The IP packet.
    pub fn ip(&self) -> Vec<u8> {
        let segment = self.segment();
        let mut bytes = if self.source.is_ipv6() {
            self.header6(segment.len())
        } else {
            self.header4(segment.len())
        };
        bytes.extend(segment);
        bytes
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp { .. } => TCP,
            Transport::Udp { .. } => UDP,
            Transport::Icmp { .. } if self.source.is_ipv6() => ICMPV6,
            Transport::Icmp { .. } => ICMP,
            Transport::Raw(protocol) => protocol,
        }
    }

    /// Transport header and payload, checksum included.
    fn segment(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let ports = |bytes: &mut Vec<u8>, (source, destination): (u16, u16)| {
            bytes.extend(source.to_be_bytes());
            bytes.extend(destination.to_be_bytes());
        };
        let at = match &self.transport {
            Transport::Tcp {
                ports: both,
                flags,
                options,
            } => {
                let options = padded(options);
                ports(&mut bytes, *both);
                bytes.extend([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
                bytes.extend([
                    ((20 + options.len()) * 4) as u8,
                    *flags,
                    0xfa,
                    0xf0,
                    0,
                    0,
                    0,
                    0,
                ]);
                bytes.extend(options);
                Some(16)
            }
            Transport::Udp {
                ports: both,
                checksum,
            } => {
                ports(&mut bytes, *both);
                bytes.extend(((8 + self.payload.len()) as u16).to_be_bytes());
                bytes.extend([0, 0]);
                checksum.then_some(6)
            }
            Transport::Icmp { kind, code, word } => {
                bytes.extend([*kind, *code, 0, 0]);
                bytes.extend(word);
                Some(2)
            }
            Transport::Raw(_) => None,
        };
        bytes.extend(&self.payload);
        if let Some(at) = at {
            let pseudo = match self.protocol() {
                ICMP => 0,
                protocol => checksum::pseudo(self.source, self.destination, protocol, bytes.len()),
            };
            let right = checksum::checksum(pseudo + checksum::sum(&bytes));
            let right = if self.protocol() == UDP && right == 0 {
                0xffff
            } else {
                right
            };
            put(&mut bytes, at, right.wrapping_add(self.transport_error));
        }
        bytes
    }

    fn header4(&self, segment: usize) -> Vec<u8> {
        let options = padded(&self.options);
        let length = 20 + options.len();
        let (offset, more) = self.fragment;
        let flags = u16::from(self.dont_fragment) << 14 | u16::from(more) << 13 | offset;
        let mut bytes = vec![0x40 | (length / 4) as u8, self.class];
        bytes.extend(((length + segment) as u16).to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(flags.to_be_bytes());
        bytes.extend([self.ttl, self.protocol(), 0, 0]);
        bytes.extend(
            [
                wire::octets(self.source),
                wire::octets(self.destination),
                options,
            ]
            .concat(),
        );
        let right = checksum::checksum(checksum::sum(&bytes));
        put(&mut bytes, 10, right.wrapping_add(self.header_error));
        bytes
    }

    fn header6(&self, segment: usize) -> Vec<u8> {
        let mut next = self.protocol();
        let mut headers = Vec::new();
        for extension in self.extensions.iter().rev() {
            headers.splice(0..0, [vec![next], extension.body.clone()].concat());
            next = extension.number;
        }
        let mut bytes = vec![0x60 | self.class >> 4, self.class << 4, 0x12, 0x34];
        bytes.extend(((headers.len() + segment) as u16).to_be_bytes());
        bytes.extend([next, self.ttl]);
        bytes.extend(
            [
                wire::octets(self.source),
                wire::octets(self.destination),
                headers,
            ]
            .concat(),
        );
        bytes
    }
}

fn padded(options: &[u8]) -> Vec<u8> {
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    options
}

/// An ARP packet (Ethernet, IPv4) in a frame.
pub fn arp(
    operation: u16,
    sender: (Mac, [u8; 4]),
    target: (Mac, [u8; 4]),
    destination_mac: Mac,
) -> Vec<u8> {
    let mut rest = vec![0, 1, 8, 0, 6, 4];
    rest.extend(operation.to_be_bytes());
    rest.extend([sender.0.as_slice(), &sender.1, &target.0, &target.1].concat());
    let (source, tags) = (sender.0, Vec::new());
    Frame {
        destination: destination_mac,
        source,
        tags,
        ethertype: ethertype::ARP,
        rest,
    }
    .bytes()
}
