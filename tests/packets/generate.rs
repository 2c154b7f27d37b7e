//! Structured-random frames: mostly sense, some nonsense, always the same for a seed.

#[path = "neighbours.rs"]
mod neighbours;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use forwarder_common::Mode;
use forwarder_model::Tuple;
use forwarder_model::build::{Extension, Packet, Transport};
use forwarder_model::packet::tcp::{ACK, FIN, RST, SYN};

use crate::echoes::Echoes;
use crate::random::Random;
use crate::scene::{self, CLIENT, FOREIGN, PAIR_PORT, PEER, SERVER, THIRD, port};

/// An interface and a frame that comes in by it.
pub fn frame(random: &mut Random, echoes: &Echoes) -> (u32, Vec<u8>) {
    let (ifindex, mut bytes) = match random.below(100) {
        0..2 => neighbours::address_resolution(random),
        2..5 => neighbours::solicitation(random),
        5..10 => finished(random, echo),
        10..22 if !echoes.is_empty() => {
            let (ifindex, tuple) = echoes.pick(random);
            finish(random, ifindex, |random| between(random, tuple))
        }
        22..29 => {
            let tuple = quoted(random, echoes);
            finish(random, tuple.0, |random| error(random, tuple.1))
        }
        29..37 => outward(random),
        37..39 => finish(random, CLIENT, stranger),
        39..40 => finish(random, CLIENT, between_nodes),
        _ => {
            let ifindex = random.pick(&[CLIENT, CLIENT, CLIENT, THIRD, SERVER]);
            finish(random, ifindex, towards_vip)
        }
    };
    if random.percent(4) {
        // On the server side tags and addresses stay: see `finish_link`.
        let first = if ifindex == SERVER {
            62.min(bytes.len() - 1)
        } else {
            0
        };
        let at = first + random.below((bytes.len() - first).min(100) as u64) as usize;
        bytes[at] = if random.percent(50) {
            random.next() as u8
        } else {
            random.pick(&[0, 0xff, 0x45, 0x60])
        };
    }
    if random.percent(2) {
        bytes.truncate(14 + random.below(bytes.len() as u64 - 13) as usize);
    }
    (ifindex, bytes)
}

fn family(random: &mut Random) -> u8 {
    random.pick(&[4, 6])
}

/// As [`frame`], but nothing is wrong with it and it is for a VIP or to the outside.
pub fn right_frame(random: &mut Random) -> (u32, Vec<u8>) {
    let (ifindex, mut packet) = if random.percent(20) {
        echo(random)
    } else {
        (random.pick(&[CLIENT, THIRD]), towards_vip(random))
    };
    packet.destination_mac = scene::mac(ifindex);
    packet.tags = tags(random);
    packet.payload.truncate(1_200);
    (ifindex, packet.frame())
}

/// Sources: ordinary ones, listed ones, and now and then one that cannot be.
fn source(random: &mut Random, family: u8) -> IpAddr {
    let low = random.below(40) as u8;
    match (family, random.below(40)) {
        (6, 0) => random
            .pick(&["::", "::1", "::ffff:1.2.3.4", "ff02::5", "2001:db8:f::a"])
            .parse()
            .expect("an address"),
        (6, 1..6) => Ipv6Addr::new(
            0x2001,
            0xdb8,
            0x6400,
            random.pick(&[1, 2]),
            0,
            0,
            0,
            low.into(),
        )
        .into(),
        (6, _) => Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, low.into(), 0x77).into(),
        (_, 0) => random
            .pick(&[
                "0.0.0.0",
                "127.0.0.1",
                "239.1.1.1",
                "255.255.255.255",
                "203.0.113.10",
            ])
            .parse()
            .expect("an address"),
        (_, 1..6) => Ipv4Addr::new(100, 64, random.pick(&[1, 2]), low).into(),
        (_, _) => Ipv4Addr::new(198, 51, 100, 100 + low).into(),
    }
}

fn flags(random: &mut Random) -> u8 {
    match random.below(20) {
        0..7 => SYN,
        7..14 => ACK,
        14 => FIN | ACK,
        15 => RST,
        16 => SYN | ACK,
        17 => ACK | 0x08,
        _ => random.next() as u8,
    }
}

fn tcp_options(random: &mut Random) -> Vec<u8> {
    let mss = random
        .pick(&[1460_u16, 1440, 9000, 536, 0, 65_535, 1001])
        .to_be_bytes();
    match random.below(8) {
        0 => Vec::new(),
        1 => vec![2, 4, mss[0], mss[1]],
        2 => vec![1, 2, 4, mss[0], mss[1], 1],
        3 => vec![
            4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1, 2, 4, mss[0], mss[1],
        ],
        4 => vec![0, 2, 4, mss[0], mss[1]],
        5 => vec![8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4],
        6 => random.bytes(12),
        _ => vec![2, 4, mss[0], mss[1], 1, 3, 3, 7, 4, 2],
    }
}

fn length(random: &mut Random) -> usize {
    match random.below(20) {
        0 => random.pick(&[1352, 1360, 1372, 1432, 1440, 1444, 1452, 1460, 1472, 1480]),
        1 => 500 + random.below(120) as usize,
        2 => 1300 + random.below(300) as usize,
        3..8 => 0,
        _ => random.below(80) as usize,
    }
}

/// A packet of a 5-tuple.
fn between(random: &mut Random, tuple: Tuple) -> Packet {
    let (from, to) = (
        (tuple.source, tuple.source_port),
        (tuple.destination, tuple.destination_port),
    );
    let mut packet = if tuple.protocol == forwarder_common::protocol::TCP {
        let mut packet = Packet::tcp(from, to, flags(random));
        if let Transport::Tcp { flags, options, .. } = &mut packet.transport
            && (*flags & SYN != 0 || random.percent(5))
        {
            *options = tcp_options(random);
        }
        packet
    } else {
        let mut packet = Packet::udp(from, to, &[]);
        if let Transport::Udp { checksum, .. } = &mut packet.transport {
            *checksum = !random.percent(15);
        }
        packet
    };
    let length = length(random);
    packet.payload = random.bytes(length);
    packet
}

fn towards_vip(random: &mut Random) -> Packet {
    let family = family(random);
    let mode = random.pick(&[
        Mode::L2Dsr,
        Mode::IpipDsr,
        Mode::GueDsr,
        Mode::Dnat,
        Mode::FullNat,
        Mode::Dnat,
        Mode::FullNat,
        Mode::Local,
    ]);
    let special = |random: &mut Random| {
        random.pick(&[
            port::PLAIN,
            port::ONE_ARM,
            port::NO_NEXT_HOP,
            port::SMALL_MTU,
            port::EMPTY,
            port::CHANGED,
            port::CHANGED_DEAD,
            port::CHANGED_GRACE,
            port::BY_SOURCE,
            port::BY_SOURCE_PROTOCOL,
            port::DENY,
            port::ALLOW,
            port::RATE,
            port::MSS,
            port::OTHER_PORT,
            port::OTHER_FAMILY,
            port::TINY_SNAT,
            port::SNAT_POOL,
            port::NO_SNAT,
            port::THIRD_ONLY,
            port::BROKEN,
            port::DEAD,
            port::NOWHERE,
        ])
    };
    let (destination, destination_port) = match random.below(30) {
        0 => (scene::vip_third(family), 80),
        1 => (scene::vip(mode, family), random.next() as u16),
        2..4 => (scene::vip_any_port(mode, family), random.next() as u16 % 8),
        _ => (scene::vip(mode, family), special(random)),
    };
    let source = source(random, family);
    let source_port = 1_024 + random.below(48) as u16;
    let protocol = random.pick(&[6, 6, 6, 17]);
    between(
        random,
        Tuple {
            source,
            destination,
            source_port,
            destination_port,
            protocol,
        },
    )
}

/// From a host behind us to the outside.
fn outward(random: &mut Random) -> (u32, Vec<u8>) {
    let family = family(random);
    let subnet = random.pick(&[0, 0, 7, 8, 9, 9]);
    let host = 30 + random.below(8) as u8;
    let (source, to): (IpAddr, &str) = if family == 6 {
        let known = [
            "2001:db8:e::9",
            "2001:db8:e::10",
            "2001:db8:7::9",
            "2001:db8:7::66",
            "2001:db8:dead::1",
            "2001:db8:c::1",
            "2001:db8:c::99",
        ];
        (
            Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, subnet, host.into()).into(),
            random.pick(&known),
        )
    } else {
        let known = [
            "203.0.115.9",
            "203.0.115.10",
            "192.0.2.9",
            "192.0.2.66",
            "203.0.114.1",
            "198.51.100.1",
            "198.51.100.99",
        ];
        (
            Ipv4Addr::new(10, 0, subnet as u8, host).into(),
            random.pick(&known),
        )
    };
    let tuple = Tuple {
        source,
        destination: scene::address(to),
        source_port: 5_000 + random.below(16) as u16,
        destination_port: random.pick(&[53, 80, 443]),
        protocol: random.pick(&[6, 6, 17]),
    };
    let mut packet = between(random, tuple);
    finish_ip(random, &mut packet);
    finish_link(random, SERVER, packet)
}

/// To the host's own or SNAT's addresses, or other protocols.
fn stranger(random: &mut Random) -> Packet {
    let family = family(random);
    let own = if family == 6 {
        [
            "2001:db8:c::1",
            "2001:db8:5::1",
            "2001:db8:5::c8",
            "2001:db8:f::ee",
        ]
    } else {
        ["198.51.100.1", "10.0.0.1", "10.0.0.200", "203.0.113.200"]
    };
    let destination = scene::address(random.pick(&own));
    if random.percent(25) {
        let length = random.below(60) as usize;
        let (source, protocol) = (
            source(random, family),
            random.pick(&[0, 1, 2, 4, 41, 47, 50, 51, 58, 59, 89, 132]),
        );
        return Packet {
            payload: random.bytes(length),
            ..Packet::new(source, destination, Transport::Raw(protocol))
        };
    }
    let tuple = Tuple {
        source: source(random, family),
        destination,
        source_port: 53,
        destination_port: random.pick(&[22, 179, 32_767, 32_768, 40_000, 60_999, 61_000]),
        protocol: random.pick(&[6, 17]),
    };
    between(random, tuple)
}

/// Echoes of the other node of the pair, and answers to this one's.
fn between_nodes(random: &mut Random) -> Packet {
    let family = family(random);
    let (own, mut other) = scene::path(family);
    if random.percent(5) {
        other = source(random, family);
    }
    let kind = random.pick(&[1, 1, 2, 5, 3]);
    let asks = if random.percent(90) {
        u8::from(kind == 1)
    } else {
        u8::from(kind != 1)
    };
    let key = match kind {
        _ if random.percent(5) => PEER.reflection,
        1 => PEER.echo,
        _ => PEER.answer,
    };
    let process = PEER.process + u64::from(random.percent(5));
    let path = random.pick(&[0, 0, 1, 15, 16, 255]);
    let number = random.below(1 << 40);
    let mut payload = scene::echo(kind, asks, path, (process, number), &key);
    payload.truncate(if random.percent(5) { 31 } else { 32 });
    let mut packet = Packet::udp((other, PAIR_PORT), (own, PAIR_PORT), &payload);
    if let Transport::Udp { checksum, .. } = &mut packet.transport {
        *checksum = !random.percent(15);
    }
    packet
}

fn echo(random: &mut Random) -> (u32, Packet) {
    let family = family(random);
    let destination = if random.percent(80) {
        scene::vip(random.pick(&Mode::ALL), family)
    } else {
        random.pick(&[
            scene::vip_third(family),
            scene::vip_any_port(Mode::L2Dsr, family),
        ])
    };
    let kind = if random.percent(80) {
        if family == 6 { 128 } else { 8 }
    } else {
        random.next() as u8
    };
    let length = random.below(60) as usize;
    let (code, word, payload) = (
        0,
        [random.next() as u8, random.next() as u8, 0, 1],
        random.bytes(length),
    );
    let from = source(random, family);
    (
        random.pick(&[CLIENT, THIRD, SERVER]),
        Packet::icmp(from, destination, kind, code, word, &payload),
    )
}

/// The 5-tuple of a packet that an ICMP error quotes, and where the error comes in.
fn quoted(random: &mut Random, echoes: &Echoes) -> (u32, Tuple) {
    if random.percent(50) && !echoes.is_empty() {
        let (ifindex, tuple) = echoes.pick(random);
        return (ifindex, tuple.turned());
    }
    let family = family(random);
    let mode = random.pick(&Mode::ALL);
    let tuple = Tuple {
        source: scene::vip(mode, family),
        destination: source(random, family),
        source_port: random.pick(&[
            port::PLAIN,
            port::ONE_ARM,
            port::CHANGED,
            port::CHANGED_GRACE,
            port::OTHER_PORT,
            port::SMALL_MTU,
            port::NO_NEXT_HOP,
            7,
        ]),
        destination_port: 1_024 + random.below(48) as u16,
        protocol: random.pick(&[6, 17]),
    };
    (random.pick(&[CLIENT, CLIENT, THIRD]), tuple)
}

fn error(random: &mut Random, tuple: Tuple) -> Packet {
    let six = tuple.source.is_ipv6();
    let mut quote = between(random, tuple);
    quote.payload.truncate(40);
    finish_ip(random, &mut quote);
    let mut bytes = quote.ip();
    if random.percent(40) {
        bytes.truncate(random.pick(&[if six { 48 } else { 28 }, 20, 40, 46, 58]));
    }
    let kinds: &[u8] = if six {
        &[1, 2, 3, 4, 4, 5]
    } else {
        &[3, 3, 11, 12, 5, 4]
    };
    let router = if random.percent(50) {
        tuple.destination
    } else {
        scene::address(if six { "2001:db8:99::1" } else { "192.0.99.1" })
    };
    let destination = if random.percent(95) {
        tuple.source
    } else {
        scene::vip(Mode::Dnat, if six { 6 } else { 4 })
    };
    let (kind, code) = (random.pick(kinds), random.below(6) as u8);
    Packet::icmp(router, destination, kind, code, [0, 0, 5, 0xdc], &bytes)
}

/// Options, fragments, TTL, checksums: what any IP packet may have.
fn finish_ip(random: &mut Random, packet: &mut Packet) {
    packet.class = if random.percent(20) {
        random.next() as u8
    } else {
        0
    };
    packet.ttl = if random.percent(4) {
        random.below(3) as u8
    } else {
        random.pick(&[64, 255, 128, 2, 3])
    };
    packet.id = random.below(64) as u16;
    packet.dont_fragment = random.percent(70);
    let transport_errors = [1, 0xffff, 0x8000, random.next() as u16];
    packet.transport_error = if random.percent(5) {
        random.pick(&transport_errors)
    } else {
        0
    };
    packet.header_error = if random.percent(3) {
        random.next() as u16
    } else {
        0
    };
    let part = random
        .percent(8)
        .then(|| (random.pick(&[0, 0, 1, 8, 100, 0x1fff]), random.percent(70)));
    if packet.source.is_ipv6() {
        if random.percent(10) {
            for _ in 0..1 + random.below(7) {
                let header = match random.below(8) {
                    0 => Extension::routing(0),
                    1 => Extension::routing(random.below(2) as u8),
                    2 => Extension::padding(60, 1 + random.below(34) as u8),
                    _ => Extension::padding(random.pick(&[0, 60, 43]), 1 + random.below(3) as u8),
                };
                packet.extensions.push(header);
            }
        }
        if let Some((offset, more)) = part {
            packet
                .extensions
                .push(Extension::fragment(offset, more, random.below(64) as u32));
        } else if random.percent(2) {
            packet.extensions.push(Extension::fragment(0, false, 7));
        }
    } else {
        if random.percent(8) {
            let length = random.below(41) as usize;
            packet.options = random.pick(&[[1_u8; 40], [0; 40], [7; 40]])[..length].to_vec();
        }
        packet.fragment = part.unwrap_or((0, false));
    }
}

fn finished(
    random: &mut Random,
    make: impl FnOnce(&mut Random) -> (u32, Packet),
) -> (u32, Vec<u8>) {
    let (ifindex, packet) = make(random);
    finish(random, ifindex, |_| packet)
}

fn finish(
    random: &mut Random,
    ifindex: u32,
    make: impl FnOnce(&mut Random) -> Packet,
) -> (u32, Vec<u8>) {
    let mut packet = make(random);
    finish_ip(random, &mut packet);
    let ifindex = match ifindex {
        SERVER => SERVER,
        _ if random.percent(1) => random.pick(&[CLIENT, SERVER, THIRD, FOREIGN]),
        other => other,
    };
    finish_link(random, ifindex, packet)
}

/// MACs, tags, padding. Hosts behind us always come in the same way: an egress flow's link is looked at
/// again by the clock, and the model has none.
fn finish_link(random: &mut Random, ifindex: u32, mut packet: Packet) -> (u32, Vec<u8>) {
    packet.destination_mac = match random.below(60) {
        0 => [0xff; 6],
        1 => [0x33, 0x33, 0, 0, 0, 1],
        _ => scene::mac(ifindex),
    };
    if ifindex == SERVER {
        let host = forwarder_model::wire::octets(packet.source)
            .pop()
            .unwrap_or(0);
        packet.source_mac = [2, 0, 0, 0, 0xc1, host];
        packet.tags = [(0x88a8, 7), (0x8100, host.into())][usize::from(host % 3).min(2)..].to_vec();
    } else {
        packet.source_mac = [2, 0, 0, 0, 0xc0, random.below(3) as u8];
        packet.tags = tags(random);
    }
    if random.percent(10) {
        let length = random.below(20) as usize;
        packet.trailer = random.bytes(length);
    }
    (ifindex, packet.frame())
}

fn tags(random: &mut Random) -> Vec<(u16, u16)> {
    let one = |random: &mut Random| (random.pick(&[0x8100, 0x88a8]), random.below(4096) as u16);
    match random.below(20) {
        0..3 => vec![one(random)],
        3..5 => vec![one(random), one(random)],
        5 => vec![one(random), one(random), one(random)],
        _ => Vec::new(),
    }
}
