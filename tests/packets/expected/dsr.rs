//! Modes without flows: l2-dsr, ipip-dsr, gue-dsr.

use std::net::IpAddr;

use anyhow::Result;
use forwarder_common::protocol::{IPV4, IPV6};
use forwarder_common::{Mode, Reason};
use forwarder_model::build::{Packet, Transport};
use forwarder_model::packet::tcp::{ACK, SYN};

use super::{Bench, FAMILIES, at, backend, client, towards};
use crate::scene::{self, CLIENT, SERVER, THIRD, address, port, vip};

/// A13: only MACs change, whatever the packet carries.
#[test]
fn l2_dsr_changes_macs_alone() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let one_arm = Packet {
                ttl: 1,
                options: if family == 4 {
                    vec![7, 7, 4, 0, 0, 0, 0, 0]
                } else {
                    Vec::new()
                },
                trailer: vec![0xee; 6],
                payload: b"x".to_vec(),
                tags: vec![(0x88a8, 100), (0x8100, 200)],
                transport_error: 0x1234,
                ..Packet::syn(
                    (client(family), 4_000),
                    (vip(Mode::L2Dsr, family), port::ONE_ARM),
                    9_000,
                )
            };
            let out = towards(scene::backend(family, 4), CLIENT, &one_arm);
            bench.sent(
                "one arm keeps tags",
                CLIENT,
                &one_arm,
                Reason::L2Dsr,
                (CLIENT, out),
            )?;

            let through = Packet {
                source: client(family),
                ..one_arm.clone()
            };
            let through = Packet {
                transport: Transport::Udp {
                    ports: (9, port::OTHER_PORT),
                    checksum: false,
                },
                ..through
            };
            let out = Packet {
                tags: Vec::new(),
                ..towards(scene::backend(family, 8), THIRD, &through)
            };
            bench.sent(
                "another interface has none",
                CLIENT,
                &through,
                Reason::L2Dsr,
                (THIRD, out),
            )?;
        }
        Ok(())
    });
}

/// The outer IPv4 or IPv6 packet around `inner` on its way to backend `number` of `family`.
pub(super) fn ipip(
    inner: &Packet,
    family: u8,
    number: u32,
    own: &str,
    flow_label: [u8; 2],
) -> Vec<u8> {
    let protocol = if inner.source.is_ipv6() { IPV6 } else { IPV4 };
    let outer = Packet {
        class: inner.class,
        id: 0,
        ttl: 64,
        payload: inner.ip(),
        trailer: inner.trailer.clone(),
        tags: inner.tags.clone(),
        ..Packet::new(
            address(own),
            backend(family, number as u8),
            Transport::Raw(protocol),
        )
    };
    let mut frame = towards(scene::backend(family, number), CLIENT, &outer).frame();
    if family == 6 {
        let at = 14 + 4 * inner.tags.len() + 2;
        frame[at..at + 2].copy_from_slice(&flow_label);
    }
    frame
}

#[test]
fn ipip_4in4_wraps_and_decrements() {
    Bench::run(|bench| {
        let to = vip(Mode::IpipDsr, 4);
        let packet = Packet {
            class: 0xb8,
            payload: b"hello".to_vec(),
            trailer: vec![0; 1],
            tags: vec![(0x8100, 9)],
            ..Packet::tcp((client(4), 4_000), (to, port::ONE_ARM), ACK)
        };
        let inner = Packet {
            ttl: 63,
            ..packet.clone()
        };
        let out = ipip(&inner, 4, 4, "198.51.100.1", [0, 0]);
        let expected = super::Expected::Sent(Reason::IpipDsr, CLIENT, out);
        bench.check("4in4", CLIENT, &at(CLIENT, &packet).frame(), expected)
    });
}

#[test]
fn mss_is_clamped_in_tunnels() {
    Bench::run(|bench| {
        // MTU 1500, IPv4 tunnel 20, inner IPv4 and TCP 40.
        for (mss, becomes) in [
            (1460, 1440),
            (1441, 1440),
            (1440, 1440),
            (536, 536),
            (0, 0),
            (65_535, 1440),
        ] {
            let packet = Packet::syn(
                (client(4), 4_000),
                (vip(Mode::IpipDsr, 4), port::ONE_ARM),
                mss,
            );
            let inner = Packet::syn(
                (client(4), 4_000),
                (vip(Mode::IpipDsr, 4), port::ONE_ARM),
                becomes,
            );
            let out = ipip(&Packet { ttl: 63, ..inner }, 4, 4, "198.51.100.1", [0, 0]);
            let expected = super::Expected::Sent(Reason::IpipDsr, CLIENT, out);
            bench.check("mss", CLIENT, &at(CLIENT, &packet).frame(), expected)?;
        }
        Ok(())
    });
}

/// All four nestings: what is inside is the client's packet with one hop less, byte for byte.
#[test]
fn tunnels_carry_the_packet() {
    Bench::run(|bench| {
        for (mode, reason) in [
            (Mode::IpipDsr, Reason::IpipDsr),
            (Mode::GueDsr, Reason::GueDsr),
        ] {
            for inner_family in FAMILIES {
                for (port, outer_family) in [
                    (port::PLAIN, inner_family),
                    (port::OTHER_FAMILY, 10 - inner_family),
                ] {
                    for tags in [
                        Vec::new(),
                        vec![(0x8100, 5)],
                        vec![(0x88a8, 5), (0x8100, 6)],
                    ] {
                        let from = (client(inner_family), 4_000);
                        let tcp = Packet::tcp(from, (vip(mode, inner_family), port), ACK);
                        let udp = Packet::udp(from, (vip(mode, inner_family), port), &[3; 99]);
                        for packet in [tcp, udp] {
                            let packet = Packet {
                                tags: tags.clone(),
                                class: 0x2e,
                                ..packet
                            };
                            carried(bench, &packet, reason, outer_family)?;
                        }
                    }
                }
            }
        }
        Ok(())
    });
}

/// UDP over IPv6 must not say that it has no checksum (RFC 8200, 8.1): one that comes out as zero is
/// sent as 0xffff.
#[test]
fn gue_checksums_of_zero() {
    Bench::run(|bench| {
        let from = (client(6), 4_000);
        let packet = Packet::tcp(from, (vip(Mode::GueDsr, 6), port::PLAIN), ACK);
        let mut frame = at(CLIENT, &packet).frame();
        let checksum = 14 + 40 + 6;
        let sum = |frame: &[u8]| [frame[checksum], frame[checksum + 1]];
        // The inner packet's flow label makes up what is missing to the sum that comes out as zero.
        let label = 14 + 2..14 + 4;
        frame[label.clone()].fill(0);
        let output = bench.harness.same("no label", CLIENT, &frame)?;
        frame[label].copy_from_slice(&sum(&output.frame));
        let output = bench.harness.same("zero", CLIENT, &frame)?;
        assert_eq!(sum(&output.frame), [0xff; 2]);
        Ok(())
    });
}

pub(super) fn carried(
    bench: &mut Bench,
    packet: &Packet,
    reason: Reason,
    outer_family: u8,
) -> Result<()> {
    let output = bench
        .harness
        .same("carried", CLIENT, &at(CLIENT, packet).frame())?;
    assert_eq!(output.reason, Some(reason));
    let inner = Packet {
        ttl: 63,
        ..packet.clone()
    }
    .ip();
    assert!(
        output.frame.ends_with(&inner),
        "the inner packet is the client's with one hop less"
    );
    let tags = if output.frame[10..12] == [0, CLIENT as u8] {
        4 * packet.tags.len()
    } else {
        0
    };
    let outer = &output.frame[14 + tags..output.frame.len() - inner.len()];
    let gue = reason == Reason::GueDsr;
    assert_eq!(
        outer.len(),
        if outer_family == 6 { 40 } else { 20 } + if gue { 8 } else { 0 }
    );
    let (class, ttl, next) = if outer_family == 6 {
        (outer[0] << 4 | outer[1] >> 4, outer[7], outer[6])
    } else {
        (outer[1], outer[8], outer[9])
    };
    let inside = if packet.source.is_ipv6() { IPV6 } else { IPV4 };
    assert_eq!(
        (class, ttl, next),
        (packet.class, 64, if gue { 17 } else { inside })
    );
    if gue {
        let udp = &outer[outer.len() - 8..];
        assert!(udp[0] >= 0xc0, "the source port is a high one");
        assert_eq!(udp[2..4], 6080_u16.to_be_bytes());
        assert_eq!(udp[4..6], (8 + inner.len() as u16).to_be_bytes());
        assert_eq!(
            udp[6..8] == [0, 0],
            outer_family == 4,
            "checksum over IPv6 alone"
        );
    }
    Ok(())
}

#[test]
fn every_port_virtual_servers() {
    Bench::run(|bench| {
        for family in FAMILIES {
            for port in [1, 22, 80, 65_535] {
                let to: IpAddr = scene::vip_any_port(Mode::L2Dsr, family);
                let packet = Packet::tcp((client(family), 4_000), (to, port), SYN);
                let output = bench
                    .harness
                    .same("any port", THIRD, &at(THIRD, &packet).frame())?;
                assert_eq!(output.reason, Some(Reason::L2Dsr), "port {port}");
                assert_eq!(output.action, forwarder_model::Action::Redirect(SERVER));
            }
        }
        Ok(())
    });
}
