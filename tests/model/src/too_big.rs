//! Telling a sender what size fits.

use forwarder_common::Reason;
use forwarder_common::protocol::{ICMP, ICMPV6};

use crate::checksum;
use crate::packet::{put, word};
use crate::path::{Charge, End, Packet};
use crate::wire;

/// How the path of a packet ends that is larger than `fits`.
pub(crate) fn too_big(packet: &Packet, fits: u32) -> End {
    if !packet.ip.dont_fragment() || packet.ip.is_icmp() {
        return Reason::DropTooBig.into();
    }
    let ipv6 = packet.ip.is_ipv6();
    let Some(quote) = packet.frame.rest.get(..if ipv6 { 128 } else { 68 }) else {
        return Reason::DropTooBig.into();
    };
    let (from, to) = (packet.ip.destination, packet.ip.source);
    let mut message = if ipv6 {
        vec![2, 0, 0, 0]
    } else {
        vec![3, 4, 0, 0]
    };
    message.extend(fits.to_be_bytes());
    message.extend(quote);
    let pseudo = if ipv6 {
        checksum::pseudo(from, to, ICMPV6, message.len())
    } else {
        0
    };
    let sum = checksum::checksum(pseudo + checksum::sum(&message));
    put(&mut message, 2, sum);

    let mut reply = packet.ip.clone();
    reply.trailer.clear();
    reply.bytes = if ipv6 {
        vec![0x60, 0, 0, 0, 0, 0, ICMPV6, 64]
    } else {
        vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, ICMP, 0, 0]
    };
    reply
        .bytes
        .extend([wire::octets(from), wire::octets(to)].concat());
    if ipv6 {
        put(&mut reply.bytes, 4, message.len() as u16);
    } else {
        put(&mut reply.bytes, 2, 20 + message.len() as u16);
        let sum = checksum::checksum(checksum::sum(&reply.bytes));
        put(&mut reply.bytes, 10, sum);
        debug_assert_eq!(word(&reply.bytes, 10), Some(sum));
    }
    reply.bytes.extend(message);
    let back = packet.back();
    End::sent(
        Reason::AnswerTooBig,
        packet.framed(&reply, &back),
        back.ifindex,
        Charge::default(),
    )
}
