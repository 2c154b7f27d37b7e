//! From bytes to the facts that the later stages need.

use core::hint::black_box;

use forwarder_common::{FlowKey, Reason, protocol};

use crate::context::Context;
use crate::family::{Family, FamilyV4, FamilyV6, IP};
use crate::header::{Extension, Icmp, Ipv4, Ipv6, Tcp, Udp};
use crate::lookup::Tables;
use crate::packet::Packet;

/// Extension headers that are walked.
const EXTENSIONS: usize = 6;
/// Bytes of extension headers that are walked.
const EXTENSION_BYTES: usize = 256;
/// Bits of any transport offset (14 + 40 + 256 + 8 is below): tells the verifier its range again.
pub const OFFSET_MASK: usize = 0x1ff;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// A packet's place among the fragments of a larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// A whole packet.
    Whole = 0,
    /// The first fragment: it has the transport header.
    First = 1,
    /// A later one: it has none.
    Later = 2,
}

/// The facts of a packet. Offsets count from the start of the untagged frame.
#[derive(Clone, Copy, Debug)]
pub struct Headers<F: Family> {
    /// Source address.
    pub source: F::Address,
    /// Destination address.
    pub destination: F::Address,
    /// Source and destination port, wire order; 0 for ICMP and for later fragments.
    pub ports: u32,
    /// TCP, UDP or the family's ICMP.
    pub protocol: u8,
    /// TCP flags, 0 otherwise.
    pub tcp_flags: u8,
    /// Place among fragments.
    pub fragment: Fragment,
    /// Identification that fragments share, wire order.
    pub fragment_id: u32,
    /// Where the transport header begins.
    pub transport: usize,
    /// Bytes of the IP packet.
    pub length: u32,
}

/// What [`Headers::pack`] packs.
struct Facts {
    transport: usize,
    protocol: u8,
    fragment: Fragment,
    tcp_flags: u8,
}

impl Facts {
    #[inline(always)]
    const fn unpack(word: u64) -> Self {
        Self {
            transport: word as usize & OFFSET_MASK,
            protocol: (word >> 16) as u8,
            fragment: match (word >> 24) as u8 {
                0 => Fragment::Whole,
                1 => Fragment::First,
                _ => Fragment::Later,
            },
            tcp_flags: (word >> 32) as u8,
        }
    }
}

impl<F: Family> Headers<F> {
    /// The 5-tuple.
    #[inline(always)]
    pub fn key(&self) -> FlowKey<F::Address> {
        FlowKey {
            source: self.source,
            destination: self.destination,
            ports: self.ports,
            protocol: self.protocol as u32,
        }
    }

    /// Where the IP packet ends.
    #[inline(always)]
    pub const fn end(&self) -> usize {
        IP + self.length as usize
    }

    /// The same headers, but the verifier forgets how they came to be: otherwise it goes through the
    /// rest of the program once for every way that leads here.
    #[inline(always)]
    pub fn forget<T: Tables>(self, tables: &T) -> Self {
        let facts = Facts::unpack(tables.forget(self.pack()));
        Self {
            transport: facts.transport,
            protocol: facts.protocol,
            fragment: facts.fragment,
            tcp_flags: facts.tcp_flags,
            ..self
        }
    }

    /// Leaves the facts to the next stage program. Addresses stand in the packet.
    #[inline(always)]
    pub fn keep(&self, context: &mut Context) {
        context.ports = self.ports;
        context.length = self.length;
        context.headers = self.pack();
        context.fragment_id = self.fragment_id;
    }

    /// What the stage program before has left: read once, not in every program.
    #[inline(always)]
    pub fn kept<P: Packet>(packet: &P, context: &Context) -> Option<Self> {
        let (source, destination) = F::addresses(packet)?;
        let facts = Facts::unpack(context.headers);
        Some(Self {
            source,
            destination,
            ports: context.ports,
            protocol: facts.protocol,
            tcp_flags: facts.tcp_flags,
            fragment: facts.fragment,
            fragment_id: context.fragment_id,
            transport: facts.transport,
            length: context.length,
        })
    }

    /// Protocol, TCP flags, fragment and transport's place in one word.
    #[inline(always)]
    fn pack(&self) -> u64 {
        self.transport as u64
            | (self.protocol as u64) << 16
            | (self.fragment as u64) << 24
            | (self.tcp_flags as u64) << 32
    }

    /// Begins a TCP connection: SYN without ACK, RST or FIN.
    #[inline(always)]
    pub fn is_syn(&self) -> bool {
        use crate::header::tcp::{ACK, FIN, RST, SYN};
        self.protocol == protocol::TCP && self.tcp_flags & (SYN | ACK | RST | FIN) == SYN
    }

    /// The port a packet is for, wire order.
    #[inline(always)]
    pub const fn destination_port(&self) -> u16 {
        destination_port(self.ports)
    }
}

/// The second half of a ports word.
#[inline(always)]
pub const fn destination_port(ports: u32) -> u16 {
    (ports >> 16) as u16
}

/// The first half of a ports word.
#[inline(always)]
pub const fn source_port(ports: u32) -> u16 {
    ports as u16
}

/// A ports word from its halves.
#[inline(always)]
pub const fn ports(source: u16, destination: u16) -> u32 {
    source as u32 | (destination as u32) << 16
}

/// A ports word with the halves changed over.
#[inline(always)]
pub const fn swap(word: u32) -> u32 {
    word.rotate_left(16)
}

/// What the transport header says.
struct Transport {
    ports: u32,
    tcp_flags: u8,
}

/// Reads the transport header at `offset` of a packet that ends at `end`.
#[inline(always)]
fn transport<P: Packet>(
    packet: &P,
    offset: usize,
    end: usize,
    kind: u8,
    whole: bool,
) -> Result<Transport, Reason> {
    match kind {
        protocol::TCP => {
            let tcp = packet.at::<Tcp>(offset).ok_or(Reason::DropTruncated)?;
            if offset + Tcp::LENGTH > end {
                return Err(Reason::DropTruncated);
            }
            let header = (tcp.offset >> 4) as usize * 4;
            if whole && (header < Tcp::LENGTH || offset + header > end) {
                return Err(Reason::DropMalformed);
            }
            Ok(Transport {
                ports: tcp.ports,
                tcp_flags: tcp.flags,
            })
        }
        protocol::UDP => {
            let udp = packet.at::<Udp>(offset).ok_or(Reason::DropTruncated)?;
            if offset + Udp::LENGTH > end {
                return Err(Reason::DropTruncated);
            }
            let length = u16::from_be(udp.length) as usize;
            if whole && (length < Udp::LENGTH || offset + length > end) {
                return Err(Reason::DropMalformed);
            }
            Ok(Transport {
                ports: udp.ports,
                tcp_flags: 0,
            })
        }
        _ => {
            if !whole {
                return Err(Reason::DropFragment);
            }
            packet.at::<Icmp>(offset).ok_or(Reason::DropTruncated)?;
            if offset + Icmp::LENGTH > end {
                return Err(Reason::DropTruncated);
            }
            Ok(Transport {
                ports: 0,
                tcp_flags: 0,
            })
        }
    }
}

/// Finishes a parse once the transport's place is known.
#[inline(always)]
fn finish<F: Family, P: Packet>(packet: &P, mut headers: Headers<F>) -> Result<Headers<F>, Reason> {
    if headers.protocol != protocol::TCP
        && headers.protocol != protocol::UDP
        && headers.protocol != F::ICMP
    {
        return Err(Reason::PassNotOurs);
    }
    if let Fragment::Later = headers.fragment {
        return if headers.protocol == F::ICMP {
            Err(Reason::DropFragment)
        } else {
            Ok(headers)
        };
    }
    let transport = transport(
        packet,
        headers.transport,
        IP + headers.length as usize,
        headers.protocol,
        headers.fragment == Fragment::Whole,
    )?;
    headers.ports = transport.ports;
    headers.tcp_flags = transport.tcp_flags;
    Ok(headers)
}

/// IPv4 (RFC 791).
#[inline(always)]
pub fn v4<P: Packet>(packet: &P) -> Result<Headers<FamilyV4>, Reason> {
    const MORE: u16 = 0x2000;
    const OFFSET: u16 = 0x1fff;

    let ip = packet.at::<Ipv4>(IP).ok_or(Reason::DropTruncated)?;
    let header = (ip.version_length & 0x0f) as usize * 4;
    // black_box: without it LLVM takes the comparison with the frame's length as proof of later
    // bounds and drops their checks, which the verifier then misses (rustc 1.96, LLVM 22).
    let length = black_box(u16::from_be(ip.total_length) as u32);
    if ip.version_length >> 4 != 4
        || header < Ipv4::LENGTH
        || (length as usize) < header
        || length + IP as u32 > packet.length()
    {
        return Err(Reason::DropMalformed);
    }
    let fragment = u16::from_be(ip.fragment);
    let fragment = if fragment & OFFSET != 0 {
        Fragment::Later
    } else if fragment & MORE != 0 {
        Fragment::First
    } else {
        Fragment::Whole
    };
    let headers = Headers {
        source: ip.source,
        destination: ip.destination,
        ports: 0,
        protocol: ip.protocol,
        tcp_flags: 0,
        fragment,
        fragment_id: ip.id as u32,
        transport: black_box(IP + header) & OFFSET_MASK,
        length,
    };
    finish(packet, headers)
}

/// IPv6 (RFC 8200).
#[inline(always)]
pub fn v6<P: Packet, T: Tables>(packet: &P, tables: &T) -> Result<Headers<FamilyV6>, Reason> {
    let ip = packet.at::<Ipv6>(IP).ok_or(Reason::DropTruncated)?;
    let length = black_box(u16::from_be(ip.payload_length) as u32 + Ipv6::LENGTH as u32);
    if u32::from_be(ip.version_class_flow) >> 28 != 6 || length + IP as u32 > packet.length() {
        return Err(Reason::DropMalformed);
    }
    let mut headers = Headers {
        source: ip.source,
        destination: ip.destination,
        ports: 0,
        protocol: ip.next_header,
        tcp_flags: 0,
        fragment: Fragment::Whole,
        fragment_id: 0,
        transport: IP + Ipv6::LENGTH,
        length,
    };
    if is_extension(headers.protocol) {
        let chain = extensions(packet, headers.protocol)?;
        headers.transport = chain.end;
        headers.protocol = chain.protocol;
        headers.fragment = chain.fragment;
        headers.fragment_id = chain.fragment_id;
        // 330,000 instructions for 6.18's verifier where 40,000 do.
        headers = headers.forget(tables);
    }
    headers.transport = black_box(headers.transport) & OFFSET_MASK;
    finish(packet, headers)
}

/// Whether a next header is an extension header that is walked.
#[inline(always)]
const fn is_extension(next_header: u8) -> bool {
    matches!(
        next_header,
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS
    )
}

/// Where a chain of extension headers leads.
struct Chain {
    protocol: u8,
    end: usize,
    fragment: Fragment,
    fragment_id: u32,
}

/// Walks the extension headers (RFC 8200 section 4).
#[inline(always)]
fn extensions<P: Packet>(packet: &P, next_header: u8) -> Result<Chain, Reason> {
    const MORE: u16 = 0x0001;
    const OFFSET: u16 = 0xfff8;
    const BEGIN: usize = IP + Ipv6::LENGTH;

    let mut chain = Chain {
        protocol: next_header,
        end: BEGIN,
        fragment: Fragment::Whole,
        fragment_id: 0,
    };
    for _ in 0..EXTENSIONS {
        if !is_extension(chain.protocol) {
            return Ok(chain);
        }
        let at = black_box(chain.end) & OFFSET_MASK;
        let extension = packet.at::<Extension>(at).ok_or(Reason::PassUnsupported)?;
        let kind = chain.protocol;
        chain.protocol = extension.next_header;
        let segments_left = extension.field.to_ne_bytes()[1];
        if kind == ROUTING && segments_left != 0 {
            return Err(Reason::PassUnsupported);
        }
        chain.end = at
            + 8
            + if kind == FRAGMENT {
                0
            } else {
                extension.length as usize * 8
            };
        if chain.end > BEGIN + EXTENSION_BYTES {
            return Err(Reason::PassUnsupported);
        }
        if kind == FRAGMENT {
            let field = u16::from_be(extension.field);
            chain.fragment_id = extension.id;
            if field & OFFSET != 0 {
                chain.fragment = Fragment::Later;
                return Ok(chain);
            }
            if field & MORE != 0 {
                chain.fragment = Fragment::First;
            }
        }
    }
    if is_extension(chain.protocol) {
        return Err(Reason::PassUnsupported);
    }
    Ok(chain)
}
