//! ARP and neighbour discovery for VIPs.

use std::net::{IpAddr, Ipv6Addr};

use forwarder_common::protocol::ICMPV6;
use forwarder_common::{Interface, Reason};

use crate::checksum;
use crate::packet::{Frame, Ip, put};
use crate::path::{Charge, End, Model};
use crate::wire;

/// Whether an IPv6 packet to a multicast MAC is ICMPv6 of type 135.
pub(crate) fn looks_like_solicitation(rest: &[u8]) -> bool {
    rest.len() >= 48 && rest[6] == ICMPV6 && rest[40] == 135
}

impl Model {
    pub(crate) fn arp(&self, ifindex: u32, interface: &Interface, frame: &Frame) -> End {
        let own = wire::mac(interface.mac);
        let body = &frame.rest;
        let to_us = frame.destination == own || frame.destination == [0xff; 6];
        let request = body.len() >= 28 && body[..8] == [0, 1, 8, 0, 6, 4, 0, 1];
        if !to_us || !request || body[14..18] == body[24..28] {
            return Reason::PassNotOurs.into();
        }
        let target = IpAddr::from([body[24], body[25], body[26], body[27]]);
        if !self.tables.answers(interface, target) {
            return Reason::PassNotOurs.into();
        }
        let mut reply = frame.clone();
        reply.destination = frame.source;
        reply.source = own;
        reply.rest[7] = 2;
        reply.rest[8..14].copy_from_slice(&own);
        reply.rest[14..18].copy_from_slice(&body[24..28]);
        reply.rest[18..28].copy_from_slice(&body[8..18]);
        End::sent(Reason::AnswerArp, reply.bytes(), ifindex, Charge::default())
    }

    pub(crate) fn solicitation(&self, ifindex: u32, interface: &Interface, frame: &Frame) -> End {
        let Ok(ip) = Ip::parse(&frame.rest, true) else {
            return Reason::PassNotOurs.into();
        };
        let body = ip.segment();
        if ip.protocol != ICMPV6
            || ip.extended
            || body.len() < 24
            || body.len() > 256
            || !body.len().is_multiple_of(8)
            || body[1] != 0
            || ip.ttl() != 255
        {
            return Reason::PassNotOurs.into();
        }
        let mut target = [0; 16];
        target.copy_from_slice(&body[8..24]);
        let target = IpAddr::from(target);
        if !self.tables.answers(interface, target) {
            return Reason::PassNotOurs.into();
        }
        let sum = checksum::pseudo(ip.source, ip.destination, ICMPV6, body.len());
        if checksum::fold(sum + checksum::sum(body)) != 0xffff {
            return Reason::PassNotOurs.into();
        }
        let own = wire::mac(interface.mac);
        let detection = ip.source == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let (to, to_mac) = if detection {
            (
                IpAddr::from([0xff02, 0, 0, 0, 0, 0, 0, 1]),
                [0x33, 0x33, 0, 0, 0, 1],
            )
        } else {
            (ip.source, frame.source)
        };
        let mut advertisement = vec![136, 0, 0, 0, if detection { 0x20 } else { 0x60 }, 0, 0, 0];
        advertisement.extend(wire::octets(target));
        advertisement.extend([2, 1]);
        advertisement.extend(own);
        let sum = checksum::pseudo(target, to, ICMPV6, advertisement.len())
            + checksum::sum(&advertisement);
        put(&mut advertisement, 2, checksum::checksum(sum));

        let mut packet = vec![0x60, 0, 0, 0, 0, 32, ICMPV6, 255];
        packet.extend(wire::octets(target));
        packet.extend(wire::octets(to));
        packet.extend(advertisement);
        let reply = Frame {
            destination: to_mac,
            source: own,
            rest: packet,
            ..frame.clone()
        };
        End::sent(Reason::AnswerNd, reply.bytes(), ifindex, Charge::default())
    }
}
