//! NAT flows from SYN to RST, both ways, and egress.

use std::net::IpAddr;

use anyhow::Result;
use forwarder_common::{Mode, Reason, V4, V6};
use forwarder_model::build::{Packet, Transport};
use forwarder_model::packet::tcp::{ACK, FIN, RST, SYN};
use forwarder_model::packet::{Frame, Ip, word};

use super::{Bench, FAMILIES, at, backend, client, towards};
use crate::harness::read;
use crate::scene::{self, CLIENT, SERVER, THIRD, address, port, vip};

/// `packet` between other ends, with another TTL.
pub(super) fn between(
    packet: &Packet,
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
    ttl: u8,
) -> Packet {
    let mut packet = Packet {
        source: source.0,
        destination: destination.0,
        ttl,
        ..packet.clone()
    };
    match &mut packet.transport {
        Transport::Tcp { ports, .. } | Transport::Udp { ports, .. } => {
            *ports = (source.1, destination.1)
        }
        _ => {}
    }
    packet
}

#[test]
fn dnat_both_ways() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let from = (client(family), 4_000);
            let to = (vip(Mode::Dnat, family), port::OTHER_PORT);
            let server = (backend(family, 8), 8_080);
            let tags = vec![(0x8100, 77)];
            for (name, flags, reply) in [
                ("syn", SYN, SYN | ACK),
                ("data", ACK, ACK),
                ("fin", FIN | ACK, FIN | ACK),
                ("rst", RST, RST),
            ] {
                let packet = Packet {
                    tags: tags.clone(),
                    payload: b"abc".to_vec(),
                    ..Packet::tcp(from, to, flags)
                };
                let out = between(&packet, from, server, 63);
                let out = Packet {
                    tags: Vec::new(),
                    ..towards(scene::backend(family, 8), THIRD, &out)
                };
                bench.sent(name, CLIENT, &packet, Reason::Dnat, (THIRD, out))?;

                let packet = Packet {
                    source_mac: [4; 6],
                    ..Packet::tcp(server, from, reply)
                };
                let out = Packet {
                    destination_mac: [2, 0, 0, 0, 0, 2],
                    source_mac: scene::mac(CLIENT),
                    tags: tags.clone(),
                    ..between(&packet, to, from, 63)
                };
                bench.sent(name, THIRD, &packet, Reason::NatReply, (CLIENT, out))?;
            }
        }
        Ok(())
    });
}

/// UDP: no checksum stays none, and one that comes out as zero is sent as 0xffff.
#[test]
fn udp_checksums_of_zero() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let from = (client(family), 4_000);
            let to = (vip(Mode::Dnat, family), port::OTHER_PORT);
            let server = (backend(family, 8), 8_080);
            let sent = |bench: &mut Bench, name, packet: &Packet| {
                let out = between(packet, from, server, 63);
                let out = towards(scene::backend(family, 8), THIRD, &out);
                bench.sent(name, CLIENT, packet, Reason::Dnat, (THIRD, out))
            };
            let mut none = Packet::udp(from, to, b"data");
            if let Transport::Udp { checksum, .. } = &mut none.transport {
                *checksum = false;
            }
            sent(bench, "none", &none)?;
            let transport = 14 + if family == 6 { 40 } else { 20 };
            let zero = (0..=u16::MAX).find_map(|swept| {
                let packet = Packet::udp(from, to, &swept.to_be_bytes());
                let out = between(&packet, from, server, 63).frame();
                (word(&out, transport + 6) == Some(0xffff)).then_some(packet)
            });
            sent(bench, "zero", &zero.expect("a payload that sums up so"))?;
        }
        Ok(())
    });
}

#[test]
fn full_nat_both_ways() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let from = (client(family), 4_000);
            let to = (vip(Mode::FullNat, family), port::OTHER_PORT);
            let server = (backend(family, 8), 8_080);
            for payload in [b"query".as_slice(), b"", b"a longer query"] {
                let packet = Packet::udp(from, to, payload);
                let output = bench
                    .harness
                    .same("forward", CLIENT, &at(CLIENT, &packet).frame())?;
                let snat = (
                    address(if family == 6 {
                        "2001:db8:7::1"
                    } else {
                        "192.0.2.1"
                    }),
                    snat_port(&output.frame, family),
                );
                assert!((32_768..=46_883).contains(&snat.1), "port {}", snat.1);
                let out = towards(
                    scene::backend(family, 8),
                    THIRD,
                    &between(&packet, snat, server, 63),
                );
                bench.sent("forward", CLIENT, &packet, Reason::FullNat, (THIRD, out))?;

                let packet = Packet {
                    source_mac: [4; 6],
                    ..Packet::udp(server, snat, payload)
                };
                let out = Packet {
                    destination_mac: [2, 0, 0, 0, 0, 2],
                    source_mac: scene::mac(CLIENT),
                    ..between(&packet, to, from, 63)
                };
                bench.sent("reply", THIRD, &packet, Reason::NatReply, (CLIENT, out))?;
            }
        }
        Ok(())
    });
}

pub(super) fn snat_port(frame: &[u8], family: u8) -> u16 {
    word(frame, 14 + if family == 6 { 40 } else { 20 }).expect("a port")
}

#[test]
fn egress_both_ways() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let host = (backend(family, 1), 5_000);
            let outside = (
                address(if family == 6 {
                    "2001:db8:e::9"
                } else {
                    "203.0.115.9"
                }),
                443,
            );
            let syn = Packet {
                source_mac: [4; 6],
                ..Packet::tcp(host, outside, SYN)
            };
            let output = bench
                .harness
                .same("outward", SERVER, &at(SERVER, &syn).frame())?;
            let own = address(if family == 6 {
                "2001:db8:c::1"
            } else {
                "198.51.100.1"
            });
            let snat = (own, snat_port(&output.frame, family));
            let out = Packet {
                destination_mac: [2, 0, 0, 0, 0x0b, 0xfe],
                source_mac: scene::mac(CLIENT),
                ..between(&syn, snat, outside, 63)
            };
            bench.sent("outward", SERVER, &syn, Reason::EgressSnat, (CLIENT, out))?;
            let reply = Packet::tcp(outside, snat, SYN | ACK);
            let out = Packet {
                destination_mac: [4; 6],
                source_mac: scene::mac(SERVER),
                ..between(&reply, outside, host, 63)
            };
            bench.sent("back", CLIENT, &reply, Reason::EgressReply, (SERVER, out))?;
            let unknown = Packet::tcp(outside, (own, snat.1 ^ 1), ACK);
            bench.kept("nobody's port", CLIENT, &unknown, Reason::DropSnatNoFlow)?;
            let middle = Packet::tcp((backend(family, 2), 5_000), outside, ACK);
            bench.kept(
                "middle of a connection",
                SERVER,
                &middle,
                Reason::DropNoFlow,
            )?;
        }
        Ok(())
    });
}

/// B4: four ports a backend, then no more; the established flows go on.
#[test]
fn snat_exhaustion() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let to = (vip(Mode::FullNat, family), port::TINY_SNAT);
            let (mut made, mut refused) = (Vec::new(), 0);
            for source_port in 1_000..1_200 {
                let from = (client(family), source_port);
                let output = bench.send(CLIENT, &Packet::tcp(from, to, SYN))?;
                match output.reason {
                    Some(Reason::FullNat) => made.push(from),
                    Some(Reason::DropSnatExhausted) => {
                        refused += 1;
                        continue;
                    }
                    other => panic!("{other:?}"),
                }
                bench.send(SERVER, &turned(&output.frame, SYN | ACK))?;
                bench.send(CLIENT, &Packet::tcp(from, to, ACK))?;
            }
            // Three backends, one address, four ports each.
            assert_eq!((made.len(), refused), (12, 188));
            let mut counted = |pool| read(bench.harness.ebpf(), "SNAT_COUNTERS", pool);
            let [tiny, other] = if family == 6 { [14, 13] } else { [4, 3] };
            assert_eq!(counted(tiny)?.packets, refused, "the pool's own counter");
            assert_eq!(counted(other)?.packets, 0, "another pool's");
            for from in made {
                let output = bench.send(CLIENT, &Packet::tcp(from, to, ACK))?;
                assert_eq!(output.reason, Some(Reason::FullNat), "an old flow goes on");
            }
        }
        Ok(())
    });
}

/// A closed or reset flow gives its port up at once; one that is closed on one side does not.
#[test]
fn closed_flows_give_their_ports_up() {
    Bench::run(|bench| {
        for (family, second) in [(4, 2_000), (6, 3_000)] {
            let to = (vip(Mode::FullNat, family), port::TINY_SNAT);
            let syn = |source_port| Packet::tcp((client(family), source_port), to, SYN);
            let mut made = Vec::new();
            for source_port in 1_000..1_100 {
                let from = (client(family), source_port);
                let output = bench.send(CLIENT, &syn(source_port))?;
                if output.reason == Some(Reason::FullNat) {
                    let reply = turned(&output.frame, SYN | ACK);
                    bench.send(SERVER, &reply)?;
                    bench.send(CLIENT, &Packet::tcp(from, to, ACK))?;
                    made.push((from, reply.source));
                }
            }
            assert_eq!(made.len(), 12, "three backends, four ports each");
            let (from, server) = made[5];
            bench.send(CLIENT, &Packet::tcp(from, to, FIN | ACK))?;
            let refused = |bench: &mut Bench, from: u16| {
                let mut tries = (from..from + 60).map(|port| bench.send(CLIENT, &syn(port)));
                tries.try_for_each(|output| {
                    assert_eq!(output?.reason, Some(Reason::DropSnatExhausted));
                    Ok::<_, anyhow::Error>(())
                })
            };
            refused(bench, second)?;
            let output = bench.send(CLIENT, &Packet::tcp(from, to, ACK))?;
            bench.send(SERVER, &turned(&output.frame, FIN | ACK))?;
            let taker = (second..).find_map(|source_port| {
                let output = bench.send(CLIENT, &syn(source_port)).expect("a run");
                (output.reason == Some(Reason::FullNat)).then_some((source_port, output))
            });
            let (source_port, output) = taker.expect("a flow took the port");
            let reply = turned(&output.frame, SYN | ACK);
            assert_eq!(reply.source, server, "the backend whose flow was closed");
            let output = bench.send(SERVER, &reply)?;
            let out = Frame::parse(&output.frame).expect("a frame");
            let out = Ip::parse(&out.rest, family == 6).expect("an IP packet");
            assert_eq!(out.ports(), Some((to.1, source_port)));
            bench.kept(
                "the old flow is gone",
                CLIENT,
                &Packet::tcp(from, to, ACK),
                Reason::DropNoFlow,
            )?;
        }
        crate::flow_maps::compare(&mut bench.harness)
    });
}

/// `dnat`: a client's port goes to one backend once. A second VIP of the backend gets it when the flow to the
/// first is closed, and not before.
#[test]
fn dnat_to_a_second_vip_of_a_backend() {
    Bench::run(|bench| {
        bench.harness.change(|tables| {
            for family in FAMILIES {
                let at = |port| (vip(Mode::Dnat, family), port, 6);
                let same = tables.virtual_servers[&at(port::OTHER_PORT)];
                let second = tables.virtual_servers.get_mut(&at(port::PLAIN));
                let second = second.expect("a virtual server");
                (second.table_base, second.table_size) = (same.table_base, same.table_size);
            }
        })?;
        for family in FAMILIES {
            let first = (vip(Mode::Dnat, family), port::OTHER_PORT);
            let second = (vip(Mode::Dnat, family), port::PLAIN);
            let server = (backend(family, 8), 8_080);
            let closings: [&[(u32, u8)]; 3] = [
                &[(CLIENT, FIN | ACK), (THIRD, FIN | ACK), (CLIENT, ACK)],
                &[(CLIENT, RST)],
                &[(THIRD, RST | ACK)],
            ];
            for (from, closing) in (4_000..).zip(closings) {
                let from = (client(family), from);
                let send = |bench: &mut Bench, (ifindex, flags)| {
                    let packet = if ifindex == CLIENT {
                        Packet::tcp(from, first, flags)
                    } else {
                        Packet::tcp(server, from, flags)
                    };
                    bench.send(ifindex, &packet)
                };
                for packet in [(CLIENT, SYN), (THIRD, SYN | ACK), (CLIENT, ACK)] {
                    send(bench, packet)?;
                }
                let syn = Packet::tcp(from, second, SYN);
                bench.kept("still open", CLIENT, &syn, Reason::DropSnatExhausted)?;
                for packet in closing {
                    send(bench, *packet)?;
                }
                let out = between(&syn, from, server, 63);
                let out = towards(scene::backend(family, 8), THIRD, &out);
                bench.sent("closed", CLIENT, &syn, Reason::Dnat, (THIRD, out))?;
                let answer = Packet::tcp(server, from, SYN | ACK);
                let out = Packet {
                    destination_mac: [2, 0, 0, 0, 0, 2],
                    source_mac: scene::mac(CLIENT),
                    ..between(&answer, second, from, 63)
                };
                bench.sent("answer", THIRD, &answer, Reason::NatReply, (CLIENT, out))?;
                let late = Packet::tcp(from, first, ACK);
                bench.kept("the first is gone", CLIENT, &late, Reason::DropNoFlow)?;
            }
        }
        crate::flow_maps::compare(&mut bench.harness)
    });
}

/// Flows that nobody answers take each other's ports, never an established one's.
#[test]
fn half_open_flows_give_their_ports_up() {
    Bench::run(|bench| {
        let to = (vip(Mode::FullNat, 4), port::TINY_SNAT);
        let first = (client(4), 999);
        let output = bench.send(CLIENT, &Packet::tcp(first, to, SYN))?;
        bench.send(SERVER, &turned(&output.frame, SYN | ACK))?;
        bench.send(CLIENT, &Packet::tcp(first, to, ACK))?;
        for source_port in 1_000..1_400 {
            let syn = Packet::tcp((client(4), source_port), to, SYN);
            assert_eq!(bench.send(CLIENT, &syn)?.reason, Some(Reason::FullNat));
        }
        let embryonic = &bench.harness.model.tables.embryonic;
        assert!(
            embryonic.len() <= 2 * 11,
            "{} entries for eleven ports",
            embryonic.len()
        );
        let output = bench.send(CLIENT, &Packet::tcp(first, to, ACK))?;
        assert_eq!(output.reason, Some(Reason::FullNat));
        let output = bench.send(SERVER, &turned(&output.frame, ACK))?;
        assert_eq!(output.reason, Some(Reason::NatReply));
        crate::flow_maps::compare(&mut bench.harness)
    });
}

/// Half-open entries push each other out one by one: a flow that has lost the one for its replies would send and
/// send, and no answer would ever come through.
#[test]
fn a_flow_that_cannot_be_answered_begins_anew() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let server = (backend(family, 8), 8_080);
            let client = |port| (client(family), port);
            let own = |mode| (vip(mode, family), port::OTHER_PORT);
            let host = (backend(family, 1), 5_000);
            let far = address(if family == 6 {
                "2001:db8:e::9"
            } else {
                "203.0.115.9"
            });
            type Make = fn((IpAddr, u16), (IpAddr, u16)) -> Packet;
            let syn: Make = |from, to| Packet::tcp(from, to, SYN);
            let datagram: Make = |from, to| Packet::udp(from, to, b"again");
            let [dnat, full_nat] = [own(Mode::Dnat), own(Mode::FullNat)];
            for (first, came, answered) in [
                (syn(client(4_000), dnat), CLIENT, THIRD),
                (datagram(client(4_000), dnat), CLIENT, THIRD),
                (syn(client(4_001), full_nat), CLIENT, THIRD),
                (datagram(client(4_001), full_nat), CLIENT, THIRD),
                (syn(host, (far, 443)), SERVER, CLIENT),
                (datagram(host, (far, 53)), SERVER, CLIENT),
            ] {
                bench.send(came, &first)?;
                assert_eq!(lose_replies(bench, family)?, 1);
                let output = bench.send(came, &first)?;
                let reply = turned(&output.frame, SYN | ACK);
                assert!(answered == CLIENT || (reply.source, 8_080) == server);
                let reply = match first.transport {
                    Transport::Tcp { .. } => reply,
                    _ => Packet::udp(ends(&reply)[0], ends(&reply)[1], b"answer"),
                };
                let output = bench.send(answered, &reply)?;
                let back = [Reason::NatReply, Reason::EgressReply].map(Some);
                assert!(back.contains(&output.reason), "{:?}", output.reason);
                lose_replies(bench, family)?;
            }
        }
        Ok(())
    });
}

fn ends(packet: &Packet) -> [(IpAddr, u16); 2] {
    let (Transport::Tcp { ports, .. } | Transport::Udp { ports, .. }) = packet.transport else {
        panic!("no ports");
    };
    [(packet.source, ports.0), (packet.destination, ports.1)]
}

/// Removes the reply entries of half-open flows; how many there were.
fn lose_replies(bench: &mut Bench, family: u8) -> Result<usize> {
    let embryonic = &mut bench.harness.model.tables.embryonic;
    embryonic.retain(|_, flow| !flow.reply);
    let ebpf = bench.harness.ebpf();
    if family == 6 {
        crate::flow_maps::lose_replies::<V6>(ebpf, "EMBRYONIC6")
    } else {
        crate::flow_maps::lose_replies::<V4>(ebpf, "EMBRYONIC4")
    }
}

/// A changed slot: what NAT does not know is new, also a datagram in the time of grace.
#[test]
fn new_flows_take_the_current_backend() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let from = (client(family), 4_000);
            let to = (vip(Mode::Dnat, family), port::CHANGED_GRACE);
            let server = (backend(family, 3), to.1);
            for (name, packet) in [
                ("syn", Packet::tcp(from, to, SYN)),
                ("datagram", Packet::udp(from, to, b"new")),
            ] {
                let out = between(&packet, from, server, 63);
                let out = towards(scene::backend(family, 3), SERVER, &out);
                bench.sent(name, CLIENT, &packet, Reason::Dnat, (SERVER, out))?;
            }
        }
        let tables = &bench.harness.model.tables;
        assert!(tables.exceptions.is_empty() && tables.embryonic_exceptions.is_empty());
        crate::flow_maps::compare(&mut bench.harness)
    });
}

/// What answers a TCP frame.
fn turned(frame: &[u8], flags: u8) -> Packet {
    let frame = Frame::parse(frame).expect("a frame");
    let ip = Ip::parse(&frame.rest, frame.ethertype == 0x86dd).expect("an IP packet");
    let reply = ip.tuple(ip.ports().expect("ports")).turned();
    Packet::tcp(
        (reply.source, reply.source_port),
        (reply.destination, reply.destination_port),
        flags,
    )
}

#[test]
fn a_closed_flow_is_opened_again() -> Result<()> {
    Bench::run(|bench| {
        let (from, to) = (
            (client(4), 4_000),
            (vip(Mode::FullNat, 4), port::OTHER_PORT),
        );
        let server = (backend(4, 8), 8_080);
        let send = |bench: &mut Bench, packet: &Packet, ifindex| {
            bench
                .harness
                .same("packet", ifindex, &at(ifindex, packet).frame())
        };
        let first = send(bench, &Packet::tcp(from, to, SYN), CLIENT)?;
        let snat = (address("192.0.2.1"), snat_port(&first.frame, 4));
        for packet in [
            Packet::tcp(server, snat, SYN | ACK),
            Packet::tcp(server, snat, FIN | ACK),
        ] {
            assert_eq!(send(bench, &packet, THIRD)?.reason, Some(Reason::NatReply));
        }
        assert_eq!(bench.harness.model.tables.flows.len(), 0);
        send(bench, &Packet::tcp(from, to, ACK), CLIENT)?;
        assert_eq!(
            bench.harness.model.tables.flows.len(),
            2,
            "answered and acknowledged: established"
        );
        send(bench, &Packet::tcp(from, to, FIN | ACK), CLIENT)?;
        let again = send(bench, &Packet::tcp(from, to, SYN), CLIENT)?;
        assert_eq!(again.reason, Some(Reason::FullNat));
        assert_eq!(
            bench.harness.model.tables.flows.len(),
            0,
            "a new flow, embryonic again"
        );
        Ok(())
    });
    Ok(())
}
