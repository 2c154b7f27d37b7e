//! Echoes between the nodes of a pair: the other node's are answered, answers to our own are noted.
//!
//! Here, and not in the daemon: a daemon that is short of CPU time is not dead. It is, or hangs, when its
//! lease has run out.

use core::hint::black_box;

use forwarder_common::peer::{self, PathKey, Peer, first_word, kind};
use forwarder_common::{Interface, Reason, lease, protocol, siphash};

use crate::checksum::fold;
use crate::context::Context;
use crate::family::{IP, Readdress};
use crate::header::{Quads, Udp};
use crate::icmp::Messages;
use crate::link;
use crate::lookup::FamilyTables;
use crate::packet::Packet;
use crate::parse::{Fragment, Headers, swap};
use crate::pipeline::not_asked;
use crate::verdict::Step;

const TTL: u8 = 64;
/// Bytes of the UDP datagram.
const DATAGRAM: usize = Udp::LENGTH + peer::LENGTH;

/// A datagram to the pair's port.
#[inline(always)]
pub fn reflect<F: Messages, P: Packet, T: FamilyTables<F::Address>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &mut Context,
) -> Step {
    let handled = match F::parse(packet, tables) {
        Ok(headers) => handle::<F, P, T>(packet, tables, interface, context, &headers),
        Err(_) => None,
    };
    // Whatever else comes to this port is as if it came to another.
    handled.unwrap_or_else(|| not_asked::<F>(interface))
}

/// Handles an echo or an answer, if the datagram is one; refuses others, which are for the daemon.
#[inline(always)]
fn handle<F: Messages, P: Packet, T: FamilyTables<F::Address>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &Context,
    headers: &Headers<F>,
) -> Option<Step> {
    let transport = IP + F::HEADER;
    // black_box: what LLVM learns of the offset lets it drop bounds checks, which the verifier then misses.
    let plain = headers.fragment == Fragment::Whole
        && black_box(headers.transport) == transport
        && headers.length as usize == F::HEADER + DATAGRAM
        && packet.at::<Udp>(transport)?.length == (DATAGRAM as u16).to_be();
    let path = PathKey {
        own: headers.destination,
        peer: headers.source,
    };
    if !plain || !tables.is_path(&path) {
        return None;
    }
    let peer = tables.peer().filter(|peer| peer.process != 0)?;
    let own = peer.own as u8;
    let [first, process, sequence, tag] = packet.at::<Quads<4>>(transport + Udp::LENGTH)?.0;
    let said = [first, process, sequence].map(u64::from_le);
    let tag = u64::from_le(tag);
    let what = peer::without_path(said[0]);
    if what == first_word(kind::ECHO, 1 - own, 0) {
        let genuine = tag == siphash::tag(&peer.echo, &said);
        if !genuine || !tables.leased(lease::NODE) {
            return None;
        }
        return answer::<F, P, T>(packet, tables, interface, context, headers, peer, said);
    }
    let by = if what == first_word(kind::REFLECTION, own, 0) {
        kind::REFLECTION
    } else if what == first_word(kind::ANSWER, own, 0) {
        kind::ANSWER
    } else {
        return None;
    };
    if said[1] != peer.process || tag != siphash::tag(&peer.answer, &said) {
        return None;
    }
    let mut latest = tables.arrival(peer::path(said[0]) as u32)?;
    if said[2] <= latest.sequence {
        return None;
    }
    if T::WRITE {
        latest.at = tables.monotonic();
        latest.kind = by as u64;
        latest.sequence = said[2];
    }
    Some(Reason::AnswerNoted.into())
}

/// Turns the echo into its answer.
#[inline(always)]
fn answer<F: Messages, P: Packet, T: FamilyTables<F::Address>>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &Context,
    headers: &Headers<F>,
    peer: &Peer,
    mut said: [u64; 3],
) -> Option<Step> {
    let transport = IP + F::HEADER;
    let asks = 1 - peer.own as u8;
    said[0] = first_word(kind::REFLECTION, asks, peer::path(said[0]));
    let tag = siphash::tag(&peer.reflection, &said);
    let payload = [said[0], said[1], said[2], tag].map(u64::to_le);
    let way = link::way_back(packet, interface, context)?;
    let back = Readdress {
        source: headers.destination,
        destination: headers.source,
    };
    F::readdress(packet, IP, back)?;
    F::set_ttl(packet, TTL)?;
    let ports = swap(headers.ports);
    let length = (DATAGRAM as u16).to_be();
    let mut sum = ports as u64 + 2 * length as u64 + (protocol::UDP as u16).to_be() as u64;
    let (source, destination) = (F::widen(back.source), F::widen(back.destination));
    let mut word = 0;
    while word < 4 {
        sum += source[word] as u64 + destination[word] as u64;
        sum += (payload[word] & 0xffff_ffff) + (payload[word] >> 32);
        word += 1;
    }
    // Anew, not incrementally: the tag has vouched for the payload, whatever became of the checksum.
    let checksum = match !fold(sum) {
        0 => 0xffff,
        checksum => checksum,
    };
    *packet.at_mut::<Udp>(transport)? = Udp {
        ports,
        length,
        checksum,
    };
    *packet.at_mut::<Quads<4>>(transport + Udp::LENGTH)? = Quads(payload);
    Some(Step::Done(link::transmit(
        packet,
        tables,
        interface,
        context,
        &way,
        Reason::AnswerPeer,
    )))
}
