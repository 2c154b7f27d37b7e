//! ARP, neighbour discovery, echo, packet too big, and ICMP errors.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use forwarder_common::{Mode, Reason};
use forwarder_model::build::{Packet, arp};
use forwarder_model::packet::tcp::{ACK, SYN};

use super::{Bench, Expected, FAMILIES, at, backend, client, towards};
use crate::scene::{self, CLIENT, SERVER, THIRD, address, port, vip};

const ASKER: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn octets(address: IpAddr) -> [u8; 4] {
    match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED.octets(),
    }
}

/// A node that hands a group over forwards, and answers for nothing of it.
#[test]
fn without_a_lease_nothing_is_answered() {
    Bench::run(|bench| {
        let handed_over = BTreeSet::from([Mode::L2Dsr as u8]);
        let standby = [BTreeSet::new(), handed_over];
        bench.harness.change(|tables| tables.standby = standby)?;
        let asker = (ASKER, [198, 51, 100, 77]);
        let other = octets(vip(Mode::GueDsr, 4));
        let request = arp(1, asker, ([0; 6], other), [0xff; 6]);
        let reply = arp(2, (scene::mac(CLIENT), other), asker, ASKER);
        let answer = Expected::Sent(Reason::AnswerArp, CLIENT, reply);
        bench.check("ARP for another group", CLIENT, &request, answer)?;
        let target = octets(vip(Mode::L2Dsr, 4));
        let request = arp(1, asker, ([0; 6], target), [0xff; 6]);
        let host = Expected::Kept(Reason::PassNotOurs);
        bench.check("ARP", CLIENT, &request, host)?;
        for family in FAMILIES {
            let kind = if family == 6 { 128 } else { 8 };
            let to = vip(Mode::L2Dsr, family);
            let ping = Packet::icmp(client(family), to, kind, 0, [1, 2, 3, 4], b"payload");
            bench.kept("ping", CLIENT, &ping, Reason::PassNotOurs)?;
        }
        Ok(())
    });
}

#[test]
fn arp_for_vips() {
    Bench::run(|bench| {
        let target = octets(vip(Mode::L2Dsr, 4));
        for sender in [[198, 51, 100, 77], [0, 0, 0, 0]] {
            for (ifindex, to) in [
                (CLIENT, [0xff; 6]),
                (CLIENT, scene::mac(CLIENT)),
                (THIRD, [0xff; 6]),
            ] {
                let request = arp(1, (ASKER, sender), ([0; 6], target), to);
                let reply = arp(2, (scene::mac(ifindex), target), (ASKER, sender), ASKER);
                let expected = Expected::Sent(Reason::AnswerArp, ifindex, reply);
                bench.check("request", ifindex, &request, expected)?;
            }
        }
        let pass = |bench: &mut Bench, name, frame: Vec<u8>| {
            bench.check(name, CLIENT, &frame, Expected::Kept(Reason::PassNotOurs))
        };
        let asker = (ASKER, [198, 51, 100, 77]);
        pass(bench, "reply", arp(2, asker, ([0; 6], target), [0xff; 6]))?;
        pass(
            bench,
            "for the host",
            arp(1, asker, ([0; 6], [198, 51, 100, 1]), [0xff; 6]),
        )?;
        pass(
            bench,
            "gratuitous",
            arp(1, (ASKER, target), ([0; 6], target), [0xff; 6]),
        )?;
        pass(
            bench,
            "another host's",
            arp(1, asker, ([0; 6], target), [2, 9, 9, 9, 9, 9]),
        )?;
        let silent = arp(1, asker, ([0; 6], target), [0xff; 6]);
        bench.check(
            "no answers here",
            SERVER,
            &silent,
            Expected::Kept(Reason::PassNotOurs),
        )
    });
}

fn solicitation(from: IpAddr, target: IpAddr, to: (&str, [u8; 6])) -> Packet {
    let mut payload = match target {
        IpAddr::V6(target) => target.octets().to_vec(),
        IpAddr::V4(_) => Vec::new(),
    };
    payload.extend([1, 1, 2, 0, 0, 0, 0, 2]);
    Packet {
        ttl: 255,
        destination_mac: to.1,
        ..Packet::icmp(from, address(to.0), 135, 0, [0; 4], &payload)
    }
}

#[test]
fn neighbour_discovery_for_vips() {
    Bench::run(|bench| {
        let target = vip(Mode::GueDsr, 6);
        let advertisement = |to: IpAddr, to_mac, flag| {
            let IpAddr::V6(octets) = target else {
                unreachable!()
            };
            let mut payload = octets.octets().to_vec();
            payload.extend([2, 1]);
            payload.extend(scene::mac(CLIENT));
            Packet {
                ttl: 255,
                destination_mac: to_mac,
                source_mac: scene::mac(CLIENT),
                ..Packet::icmp(target, to, 136, 0, [flag, 0, 0, 0], &payload)
            }
        };
        let group = ("ff02::1:ff00:c", [0x33, 0x33, 0xff, 0, 0, 0x0c]);
        let answers = |out: Packet| {
            let mut frame = out.frame();
            frame[16..18].copy_from_slice(&[0, 0]);
            Expected::Sent(Reason::AnswerNd, CLIENT, frame)
        };
        let ask = solicitation(client(6), target, group);
        bench.check(
            "multicast",
            CLIENT,
            &ask.frame(),
            answers(advertisement(client(6), ASKER, 0x60)),
        )?;
        let probe = solicitation(client(6), target, ("2001:db8:f::c", scene::mac(CLIENT)));
        bench.check(
            "unicast",
            CLIENT,
            &probe.frame(),
            answers(advertisement(client(6), ASKER, 0x60)),
        )?;
        let detection = solicitation(address("::"), target, group);
        let all = advertisement(address("ff02::1"), [0x33, 0x33, 0, 0, 0, 1], 0x20);
        bench.check(
            "duplicate address detection",
            CLIENT,
            &detection.frame(),
            answers(all),
        )?;
        let pass = |bench: &mut Bench, name, ifindex, packet: Packet| {
            bench.check(
                name,
                ifindex,
                &packet.frame(),
                Expected::Kept(Reason::PassNotOurs),
            )
        };
        pass(
            bench,
            "routed",
            CLIENT,
            Packet {
                ttl: 254,
                ..ask.clone()
            },
        )?;
        pass(
            bench,
            "host's own",
            CLIENT,
            solicitation(client(6), address("2001:db8:c::1"), group),
        )?;
        // RFC 4861 section 7.1.1: the host, which does not own the VIP, discards them.
        for transport_error in [1, 0x0100, 0xfffe] {
            let wrong = Packet {
                transport_error,
                ..ask.clone()
            };
            pass(bench, "wrong checksum", CLIENT, wrong)?;
        }
        let with = |options: usize| Packet {
            payload: [&ask.payload[..], &vec![0; options]].concat(),
            ..ask.clone()
        };
        pass(bench, "half an option", CLIENT, with(4))?;
        pass(bench, "too many options", CLIENT, with(232))?;
        bench.check(
            "many options",
            CLIENT,
            &with(224).frame(),
            answers(advertisement(client(6), ASKER, 0x60)),
        )?;
        pass(bench, "no answers here", SERVER, ask)
    });
}

#[test]
fn echo_for_vips() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let (request, reply) = if family == 6 { (128, 129) } else { (8, 0) };
            for mode in Mode::ALL {
                let ping = Packet {
                    ttl: 3,
                    tags: vec![(0x8100, 1)],
                    ..Packet::icmp(
                        client(family),
                        vip(mode, family),
                        request,
                        0,
                        [1, 2, 3, 4],
                        b"payload",
                    )
                };
                let pong = Packet {
                    ttl: 64,
                    tags: vec![(0x8100, 1)],
                    destination_mac: ASKER,
                    source_mac: scene::mac(CLIENT),
                    ..Packet::icmp(
                        vip(mode, family),
                        client(family),
                        reply,
                        0,
                        [1, 2, 3, 4],
                        b"payload",
                    )
                };
                bench.sent("ping", CLIENT, &ping, Reason::AnswerEcho, (CLIENT, pong))?;
                bench.kept("no answers here", SERVER, &ping, Reason::PassNotOurs)?;
            }
        }
        Ok(())
    });
}

#[test]
fn too_big_is_told() {
    Bench::run(|bench| {
        for (mode, family, fits) in [
            (Mode::L2Dsr, 4, 600),
            (Mode::L2Dsr, 6, 600),
            (Mode::IpipDsr, 4, 580),
            (Mode::IpipDsr, 6, 560),
            (Mode::GueDsr, 4, 572),
            (Mode::GueDsr, 6, 552),
            (Mode::Dnat, 4, 600),
            (Mode::FullNat, 6, 600),
        ] {
            let headers = if family == 6 { 48 } else { 28 };
            let to = (vip(mode, family), port::SMALL_MTU);
            let fitting = Packet::udp((client(family), 4_000), to, &vec![1; fits - headers]);
            let output = bench
                .harness
                .same("fits", CLIENT, &at(CLIENT, &fitting).frame())?;
            assert_ne!(
                output.reason,
                Some(Reason::AnswerTooBig),
                "{mode:?} {family}"
            );

            let packet = Packet {
                tags: vec![(0x8100, 3)],
                ..Packet::udp((client(family), 4_000), to, &vec![1; fits - headers + 1])
            };
            let (kind, code, quoted) = if family == 6 { (2, 0, 128) } else { (3, 4, 68) };
            let answer = Packet {
                ttl: 64,
                id: 0,
                dont_fragment: false,
                tags: vec![(0x8100, 3)],
                destination_mac: ASKER,
                source_mac: scene::mac(CLIENT),
                ..Packet::icmp(
                    to.0,
                    client(family),
                    kind,
                    code,
                    (fits as u32).to_be_bytes(),
                    &packet.ip()[..quoted],
                )
            };
            let mut frame = answer.frame();
            if family == 6 {
                frame[20..22].copy_from_slice(&[0, 0]);
            }
            let expected = Expected::Sent(Reason::AnswerTooBig, CLIENT, frame);
            bench.check("too big", CLIENT, &at(CLIENT, &packet).frame(), expected)?;
            if family == 4 {
                let splittable = Packet {
                    dont_fragment: false,
                    ..packet
                };
                bench.kept("may be fragmented", CLIENT, &splittable, Reason::DropTooBig)?;
            }
        }
        Ok(())
    });
}

/// A10: an error about a DSR flow reaches the backend that has the flow.
#[test]
fn errors_follow_dsr_flows() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let (from, to) = (
                (client(family), 4_000),
                (vip(Mode::L2Dsr, family), port::PLAIN),
            );
            let flow = bench.harness.same(
                "flow",
                CLIENT,
                &at(CLIENT, &Packet::tcp(from, to, SYN)).frame(),
            )?;
            let sent = Packet::tcp(to, from, ACK).ip();
            let router = address(if family == 6 {
                "2001:db8:99::1"
            } else {
                "192.0.99.1"
            });
            let (kind, code) = if family == 6 { (2, 0) } else { (3, 4) };
            let error = Packet::icmp(
                router,
                to.0,
                kind,
                code,
                [0, 0, 5, 0],
                &sent[..if family == 6 { 48 } else { 28 }],
            );
            let out = Packet {
                source_mac: scene::mac(SERVER),
                ..error.clone()
            };
            let mut out = out.frame();
            out[..6].copy_from_slice(&flow.frame[..6]);
            let expected = Expected::Sent(Reason::IcmpError, SERVER, out);
            bench.check("error", CLIENT, &at(CLIENT, &error).frame(), expected)?;
        }
        Ok(())
    });
}

/// A10: an error about a NAT flow is translated, the quote too, and reaches the client.
#[test]
fn errors_follow_nat_flows() -> Result<()> {
    Bench::run(|bench| {
        for family in FAMILIES {
            let (from, to) = (
                (client(family), 4_000),
                (vip(Mode::Dnat, family), port::OTHER_PORT),
            );
            let server = (backend(family, 8), 8_080);
            bench.harness.same(
                "flow",
                CLIENT,
                &at(CLIENT, &Packet::udp(from, to, b"question")).frame(),
            )?;
            // The backend's port is closed: it quotes what it got.
            let got = Packet {
                ttl: 63,
                ..Packet::udp(from, server, b"question")
            }
            .ip();
            let (kind, code) = if family == 6 { (1, 4) } else { (3, 3) };
            let error = Packet::icmp(server.0, from.0, kind, code, [0; 4], &got);
            let quoted = Packet {
                ttl: 63,
                ..Packet::udp(from, to, b"question")
            }
            .ip();
            let out = Packet {
                ttl: 63,
                destination_mac: ASKER,
                source_mac: scene::mac(CLIENT),
                ..Packet::icmp(to.0, from.0, kind, code, [0; 4], &quoted)
            };
            bench.sent(
                "closed port",
                THIRD,
                &error,
                Reason::IcmpError,
                (CLIENT, out),
            )?;

            // A router before the client cannot pass a reply on: the error goes to the backend.
            let reply = Packet::udp(to, from, b"answer").ip();
            let router = address(if family == 6 {
                "2001:db8:99::1"
            } else {
                "192.0.99.1"
            });
            let error = Packet::icmp(router, to.0, kind, code, [0; 4], &reply);
            let quoted = Packet::udp(server, from, b"answer").ip();
            let inward = Packet {
                ttl: 63,
                ..Packet::icmp(router, server.0, kind, code, [0; 4], &quoted)
            };
            let out = towards(scene::backend(family, 8), THIRD, &inward);
            bench.sent(
                "unreachable client",
                CLIENT,
                &error,
                Reason::IcmpError,
                (THIRD, out),
            )?;

            let stranger = Packet::icmp(
                router,
                to.0,
                kind,
                code,
                [0; 4],
                &Packet::udp((to.0, 9), from, b"").ip(),
            );
            bench.kept("no such flow", CLIENT, &stranger, Reason::PassNotOurs)?;
        }
        Ok(())
    });
    Ok(())
}
