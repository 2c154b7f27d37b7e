//! Resets: whoever still speaks on a TCP connection that was forgotten for being quiet learns of it (RFC 9293,
//! section 3.5.2).

use forwarder_common::{Interface, Reason};

use crate::checksum::fold;
use crate::context::Context;
use crate::family::{Family, FamilyV4, FamilyV6, IP};
use crate::header::{Ipv4, Ipv6, Tcp, Words, tcp};
use crate::link;
use crate::lookup::Tables;
use crate::packet::Packet;
use crate::parse::swap;
use crate::too_big::sum;
use crate::verdict::{Step, Verdict};

const TTL: u8 = 64;
const DONT_FRAGMENT: u16 = 0x4000_u16.to_be();

/// Turns the segment into the reset that answers it. One without ACK, a reset, and one behind IP options or
/// extension headers are dropped in silence.
#[inline(always)]
pub fn reset<F: Resets, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &Context,
) -> Step {
    let Some(way) = link::way_back(packet, interface, context) else {
        return Reason::DropInternal.into();
    };
    if F::turn(packet).is_none() {
        return Verdict::drop(Reason::DropNoFlow).into();
    }
    let reason = Reason::AnswerReset;
    Step::Done(link::transmit(
        packet, tables, interface, context, &way, reason,
    ))
}

/// A family's reset.
pub trait Resets: Family {
    /// Rewrites the packet into it.
    fn turn<P: Packet>(packet: &mut P) -> Option<()>;
}

/// What the sender of a segment takes for a reset of its peer: its sequence number is the one that it expects
/// next. `addresses`: the sum of both.
#[inline(always)]
fn answer(old: &Tcp, addresses: u64) -> Option<Tcp> {
    if old.flags & (tcp::ACK | tcp::RST) != tcp::ACK {
        return None;
    }
    let mut answer = Tcp {
        ports: swap(old.ports),
        sequence: old.acknowledgement,
        acknowledgement: 0,
        offset: 5 << 4,
        flags: tcp::RST,
        window: 0,
        checksum: 0,
        urgent: 0,
    };
    let head = u16::from_ne_bytes([answer.offset, answer.flags]) as u64;
    let pseudo = (Tcp::LENGTH as u16).to_be() as u64 + 6_u16.to_be() as u64;
    let own = answer.ports as u64 + answer.sequence as u64 + head + pseudo;
    answer.checksum = !fold(addresses + own);
    Some(answer)
}

/// Cuts the packet after `length` bytes of the IP packet.
#[inline(always)]
fn cut<P: Packet>(packet: &mut P, length: usize) -> Option<()> {
    let have = packet.length() as i32 - IP as i32;
    packet.adjust_tail(length as i32 - have)
}

impl Resets for FamilyV4 {
    #[inline(always)]
    fn turn<P: Packet>(packet: &mut P) -> Option<()> {
        let old = *packet.at::<Ipv4>(IP)?;
        if old.version_length != 0x45 {
            return None;
        }
        let segment = *packet.at::<Tcp>(IP + Ipv4::LENGTH)?;
        let answer = answer(&segment, old.source as u64 + old.destination as u64)?;
        let length = Ipv4::LENGTH + Tcp::LENGTH;
        cut(packet, length)?;
        let mut ip = Ipv4 {
            version_length: 0x45,
            tos: 0,
            total_length: (length as u16).to_be(),
            id: 0,
            fragment: DONT_FRAGMENT,
            ttl: TTL,
            protocol: forwarder_common::protocol::TCP,
            checksum: 0,
            source: old.destination,
            destination: old.source,
        };
        let words = 0x45_u16.to_le() as u64
            + ip.total_length as u64
            + ip.fragment as u64
            + u16::from_ne_bytes([ip.ttl, ip.protocol]) as u64
            + ip.source as u64
            + ip.destination as u64;
        ip.checksum = !fold(words);
        *packet.at_mut::<Ipv4>(IP)? = ip;
        *packet.at_mut::<Tcp>(IP + Ipv4::LENGTH)? = answer;
        Some(())
    }
}

impl Resets for FamilyV6 {
    #[inline(always)]
    fn turn<P: Packet>(packet: &mut P) -> Option<()> {
        let old = *packet.at::<Ipv6>(IP)?;
        if old.next_header != forwarder_common::protocol::TCP {
            return None;
        }
        let segment = *packet.at::<Tcp>(IP + Ipv6::LENGTH)?;
        let (source, destination) = (old.source, old.destination);
        let addresses = sum(&Words(source)) + sum(&Words(destination));
        let answer = answer(&segment, addresses)?;
        cut(packet, Ipv6::LENGTH + Tcp::LENGTH)?;
        *packet.at_mut::<Ipv6>(IP)? = Ipv6 {
            version_class_flow: (6_u32 << 28).to_be(),
            payload_length: (Tcp::LENGTH as u16).to_be(),
            next_header: forwarder_common::protocol::TCP,
            hop_limit: TTL,
            source: destination,
            destination: source,
        };
        *packet.at_mut::<Tcp>(IP + Ipv6::LENGTH)? = answer;
        Some(())
    }
}
