//! Who asks for addresses.

use std::net::{IpAddr, Ipv6Addr};

use forwarder_common::Mode;
use forwarder_model::build::{Extension, Packet, arp};

use super::{source, tags};
use crate::random::Random;
use crate::scene::{self, CLIENT, SERVER, THIRD};

/// ARP asks for an address.
pub fn address_resolution(random: &mut Random) -> (u32, Vec<u8>) {
    let ifindex = random.pick(&[CLIENT, SERVER, THIRD]);
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => [0; 4],
    };
    let target = octets(random.pick(&[
        scene::vip(Mode::Dnat, 4),
        scene::vip(Mode::L2Dsr, 4),
        scene::vip_third(4),
        scene::address("198.51.100.1"),
    ]));
    let sender = if random.percent(10) {
        target
    } else {
        octets(source(random, 4))
    };
    let to = random.pick(&[
        [0xff; 6],
        [0xff; 6],
        scene::mac(ifindex),
        [2, 9, 9, 9, 9, 9],
    ]);
    let mut bytes = arp(
        random.pick(&[1, 1, 1, 2]),
        ([2, 0, 0, 0, 0, 2], sender),
        ([0; 6], target),
        to,
    );
    if random.percent(20) {
        let tag = [[0x81, 0, 0, 9], [0x88, 0xa8, 0, 9]];
        bytes.splice(12..12, random.pick(&tag));
    }
    bytes.resize(bytes.len() + random.pick(&[0, 18]), 0);
    (ifindex, bytes)
}

/// Neighbour discovery asks for an address.
pub fn solicitation(random: &mut Random) -> (u32, Vec<u8>) {
    let ifindex = random.pick(&[CLIENT, SERVER, THIRD]);
    let target = random.pick(&[
        scene::vip(Mode::Dnat, 6),
        scene::vip(Mode::L2Dsr, 6),
        scene::vip_third(6),
        scene::address("2001:db8:c::1"),
    ]);
    let IpAddr::V6(octets) = target else {
        unreachable!("an IPv6 VIP")
    };
    let mut payload = octets.octets().to_vec();
    if random.percent(80) {
        payload.extend([1, 1, 2, 0, 0, 0, 0, 2]);
    }
    let from = if random.percent(20) {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        source(random, 6)
    };
    let code = if random.percent(5) { 1 } else { 0 };
    let mut packet = Packet::icmp(
        from,
        scene::address("ff02::1:ff00:d"),
        135,
        code,
        [0; 4],
        &payload,
    );
    packet.ttl = if random.percent(5) { 64 } else { 255 };
    packet.destination_mac = random.pick(&[
        [0x33, 0x33, 0xff, 0, 0, 0x0d],
        scene::mac(ifindex),
        [2, 9, 9, 9, 9, 9],
    ]);
    packet.tags = tags(random);
    if random.percent(5) {
        packet.extensions.push(Extension::padding(0, 1));
    }
    (ifindex, packet.frame())
}
