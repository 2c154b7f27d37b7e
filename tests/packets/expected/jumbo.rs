//! Packets larger than a page, through the multi-buffer programs: only the headers are in the first buffer.

use anyhow::Result;
use forwarder_common::programs::ProgramSet;
use forwarder_common::{Mode, Reason};
use forwarder_model::Tables;
use forwarder_model::build::{Extension, Packet};
use forwarder_model::packet::tcp::{ACK, SYN};

use super::flows::{between, snat_port};
use super::{Bench, FAMILIES, at, backend, client, dsr, towards};
use crate::scene::{self, CLIENT, SERVER, THIRD, address, port, vip};
use crate::sweeps::assert_sums_right;

/// Payloads: just more than the first buffer takes, two buffers, a jumbo frame.
const PAYLOADS: [usize; 3] = [3_600, 5_001, 8_800];

fn run(body: impl FnOnce(&mut Bench) -> Result<()> + Send) {
    Bench::run_on(ProgramSet::Frags, tables(), body);
}

/// The usual ones, but every link takes jumbo frames.
fn tables() -> Tables {
    let mut tables = scene::tables();
    for interface in tables.interfaces.values_mut() {
        interface.mtu = 9_000;
    }
    for backend in tables.backends.values_mut() {
        if backend.mtu != 600 {
            backend.mtu = 9_000;
        }
    }
    tables
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 256) as u8).collect()
}

/// A TCP segment with data.
fn data(from: (std::net::IpAddr, u16), to: (std::net::IpAddr, u16), length: usize) -> Packet {
    Packet {
        payload: payload(length),
        ..Packet::tcp(from, to, ACK)
    }
}

#[test]
fn dsr_carries_them() {
    run(|bench| {
        for family in FAMILIES {
            for length in PAYLOADS {
                let from = (client(family), 4_000);
                let to = |mode, port| (vip(mode, family), port);
                let packet = data(from, to(Mode::L2Dsr, port::OTHER_PORT), length);
                let out = towards(scene::backend(family, 8), THIRD, &packet);
                bench.sent("l2-dsr", CLIENT, &packet, Reason::L2Dsr, (THIRD, out))?;
                let tagged = Packet {
                    tags: vec![(0x88a8, 5), (0x8100, 6)],
                    ..data(from, to(Mode::L2Dsr, port::ONE_ARM), length)
                };
                let out = towards(scene::backend(family, 4), CLIENT, &tagged);
                bench.sent("tagged", CLIENT, &tagged, Reason::L2Dsr, (CLIENT, out))?;
                for (mode, reason) in [
                    (Mode::IpipDsr, Reason::IpipDsr),
                    (Mode::GueDsr, Reason::GueDsr),
                ] {
                    for (port, outer) in [(port::PLAIN, family), (port::OTHER_FAMILY, 10 - family)]
                    {
                        let tcp = data(from, to(mode, port), length);
                        dsr::carried(bench, &tcp, reason, outer)?;
                        let udp = Packet::udp(from, to(mode, port), &payload(length));
                        dsr::carried(bench, &udp, reason, outer)?;
                    }
                }
            }
        }
        let packet = data(
            (client(4), 4_000),
            (vip(Mode::IpipDsr, 4), port::ONE_ARM),
            5_001,
        );
        let inner = Packet {
            ttl: 63,
            ..packet.clone()
        };
        let out = dsr::ipip(&inner, 4, 4, "198.51.100.1", [0, 0]);
        let expected = super::Expected::Sent(Reason::IpipDsr, CLIENT, out);
        bench.check("4in4", CLIENT, &at(CLIENT, &packet).frame(), expected)
    });
}

#[test]
fn dnat_translates_them_both_ways() {
    run(|bench| {
        for family in FAMILIES {
            let from = (client(family), 4_000);
            let to = (vip(Mode::Dnat, family), port::OTHER_PORT);
            let server = (backend(family, 8), 8_080);
            bench.send(CLIENT, &Packet::tcp(from, to, SYN))?;
            bench.send(THIRD, &Packet::tcp(server, from, SYN | ACK))?;
            for length in PAYLOADS {
                let packet = data(from, to, length);
                let out = between(&packet, from, server, 63);
                let out = towards(scene::backend(family, 8), THIRD, &out);
                assert_sums_right(&out.frame());
                bench.sent("forward", CLIENT, &packet, Reason::Dnat, (THIRD, out))?;
                let packet = Packet {
                    source_mac: [4; 6],
                    ..data(server, from, length)
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

#[test]
fn full_nat_and_egress_translate_them_both_ways() {
    run(|bench| {
        for family in FAMILIES {
            let pick = |four, six| address(if family == 6 { six } else { four });
            for length in PAYLOADS {
                let from = (client(family), 4_000);
                let to = (vip(Mode::FullNat, family), port::OTHER_PORT);
                let server = (backend(family, 8), 8_080);
                // The first packet of a flow, and one of a flow that is there.
                for _ in 0..2 {
                    let packet = Packet::udp(from, to, &payload(length));
                    let frame = bench.send(CLIENT, &packet)?.frame;
                    let snat = (
                        pick("192.0.2.1", "2001:db8:7::1"),
                        snat_port(&frame, family),
                    );
                    let out = between(&packet, snat, server, 63);
                    let out = towards(scene::backend(family, 8), THIRD, &out);
                    bench.sent("forward", CLIENT, &packet, Reason::FullNat, (THIRD, out))?;
                    let packet = Packet::udp(server, snat, &payload(length));
                    let out = Packet {
                        destination_mac: [2, 0, 0, 0, 0, 2],
                        source_mac: scene::mac(CLIENT),
                        ..between(&packet, to, from, 63)
                    };
                    bench.sent("reply", THIRD, &packet, Reason::NatReply, (CLIENT, out))?;
                }
                let host = (backend(family, 1), 5_000);
                let outside = (pick("203.0.115.9", "2001:db8:e::9"), 443);
                let packet = Packet::udp(host, outside, &payload(length));
                let frame = bench.send(SERVER, &packet)?.frame;
                let own = pick("198.51.100.1", "2001:db8:c::1");
                let snat = (own, snat_port(&frame, family));
                let out = Packet {
                    destination_mac: [2, 0, 0, 0, 0x0b, 0xfe],
                    source_mac: scene::mac(CLIENT),
                    ..between(&packet, snat, outside, 63)
                };
                bench.sent(
                    "outward",
                    SERVER,
                    &packet,
                    Reason::EgressSnat,
                    (CLIENT, out),
                )?;
                let packet = Packet::udp(outside, snat, &payload(length));
                let out = Packet {
                    destination_mac: [2, 0, 0, 0, 0, 2],
                    source_mac: scene::mac(SERVER),
                    ..between(&packet, outside, host, 63)
                };
                bench.sent("back", CLIENT, &packet, Reason::EgressReply, (SERVER, out))?;
            }
        }
        Ok(())
    });
}

/// What does not fit is answered with the first bytes of the packet, the rest is cut off.
#[test]
fn too_big_is_told() {
    run(|bench| {
        for (family, mode, fits) in [
            (4, Mode::L2Dsr, 600_u32),
            (6, Mode::L2Dsr, 600),
            (4, Mode::IpipDsr, 580),
            (6, Mode::FullNat, 600),
        ] {
            for length in PAYLOADS {
                let to = (vip(mode, family), port::SMALL_MTU);
                let packet = Packet::udp((client(family), 4_000), to, &payload(length));
                let (kind, code, quoted) = if family == 6 { (2, 0, 128) } else { (3, 4, 68) };
                let quote = &packet.ip()[..quoted];
                let word = fits.to_be_bytes();
                let answer = Packet {
                    id: 0,
                    dont_fragment: false,
                    destination_mac: [2, 0, 0, 0, 0, 2],
                    source_mac: scene::mac(CLIENT),
                    ..Packet::icmp(to.0, client(family), kind, code, word, quote)
                };
                let mut frame = answer.frame();
                if family == 6 {
                    // No flow label.
                    frame[16..18].copy_from_slice(&[0, 0]);
                }
                let expected = super::Expected::Sent(Reason::AnswerTooBig, CLIENT, frame);
                bench.check("too big", CLIENT, &at(CLIENT, &packet).frame(), expected)?;
            }
        }
        Ok(())
    });
}

/// Echo, fragments, what is not ours, and a VIP's packets that stay here.
#[test]
fn the_rest_of_the_path() {
    run(|bench| {
        for family in FAMILIES {
            for length in PAYLOADS {
                let (request, reply) = if family == 6 { (128, 129) } else { (8, 0) };
                let vip = vip(Mode::GueDsr, family);
                let word = [1, 2, 3, 4];
                let ping = Packet::icmp(client(family), vip, request, 0, word, &payload(length));
                let pong = Packet {
                    destination_mac: [2, 0, 0, 0, 0, 2],
                    source_mac: scene::mac(CLIENT),
                    ..Packet::icmp(vip, client(family), reply, 0, word, &payload(length))
                };
                bench.sent("ping", CLIENT, &ping, Reason::AnswerEcho, (CLIENT, pong))?;

                let from = (client(family), 4_000);
                let to = |mode| (scene::vip(mode, family), port::PLAIN);
                let local = data(from, to(Mode::Local), length);
                bench.kept("local", CLIENT, &local, Reason::PassLocal)?;
                let ssh = data(from, (address("203.0.113.222"), 22), length);
                if family == 4 {
                    bench.kept("not ours", CLIENT, &ssh, Reason::PassNotOurs)?;
                }

                let whole = Packet::udp(from, to(Mode::FullNat), &payload(length));
                for (offset, more) in [(0, true), (1_100, true), (2_200, false)] {
                    let mut part = whole.clone();
                    if family == 6 {
                        part.extensions = vec![Extension::fragment(offset, more, length as u32)];
                    } else {
                        (part.fragment, part.id) = ((offset, more), length as u16);
                        part.dont_fragment = false;
                    }
                    let output = bench.send(CLIENT, &part)?;
                    assert_eq!(output.reason, Some(Reason::FullNat));
                    assert!(output.frame.ends_with(&payload(length)));
                }
            }
        }
        Ok(())
    });
}
