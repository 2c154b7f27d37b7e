//! Exhaustive sweeps: truncation, lengths, TTLs, identifiers, checksums.

use anyhow::Result;
use forwarder_common::programs::ProgramSet;
use forwarder_common::{Mode, Outcome, Reason};
use forwarder_model::build::{Extension, Packet, Transport, arp};
use forwarder_model::checksum::{adjust, fold, pseudo, sum};
use forwarder_model::packet::tcp::{ACK, SYN};
use forwarder_model::packet::{Frame, Ip, ethertype, word};

use crate::harness::{Harness, hex};
use crate::namespace::in_namespace;
use crate::scene::{self, CLIENT, address, port, vip};

const CLIENTS: [&str; 2] = ["198.51.100.77", "2001:db8:c::77"];

fn sweep(body: impl FnOnce(&mut Harness) -> Result<()> + Send) {
    in_namespace(|| {
        let mut harness = Harness::new(scene::tables(), ProgramSet::Linear)?;
        body(&mut harness)?;
        harness.settle()
    });
}

/// A packet from the client of a family, to the client interface.
fn arriving(packet: Packet) -> Packet {
    Packet {
        destination_mac: scene::mac(CLIENT),
        ..packet
    }
}

fn syn(mode: Mode, family: u8, port: u16) -> Packet {
    let from = (address(CLIENTS[usize::from(family == 6)]), 4_000);
    arriving(Packet::syn(from, (vip(mode, family), port), 1_460))
}

fn udp(mode: Mode, family: u8, port: u16, payload: &[u8]) -> Packet {
    let from = (address(CLIENTS[usize::from(family == 6)]), 4_000);
    arriving(Packet::udp(from, (vip(mode, family), port), payload))
}

/// One frame of each kind that the path knows.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add = |name: String, frame: Vec<u8>| all.push((name, frame));
    for family in [4, 6] {
        let client = address(CLIENTS[usize::from(family == 6)]);
        for mode in Mode::ALL {
            for tags in [vec![], vec![(0x8100, 1)], vec![(0x88a8, 1), (0x8100, 2)]] {
                let name =
                    |kind: &str| format!("{kind} {} IPv{family} {} tags", mode.name(), tags.len());
                let tagged = |packet: Packet| {
                    Packet {
                        tags: tags.clone(),
                        ..packet
                    }
                    .frame()
                };
                add(name("syn"), tagged(syn(mode, family, port::PLAIN)));
                add(
                    name("udp"),
                    tagged(udp(mode, family, port::PLAIN, &[7; 24])),
                );
                let optioned = Packet {
                    options: vec![1; 20],
                    ..udp(mode, family, port::PLAIN, &[])
                };
                let extended = Packet {
                    extensions: vec![Extension::padding(0, 1), Extension::routing(0)],
                    ..optioned
                };
                add(name("options"), tagged(extended));
                let first = Packet {
                    fragment: (0, true),
                    ..syn(mode, family, port::PLAIN)
                };
                let first = Packet {
                    extensions: vec![Extension::fragment(0, true, 1)],
                    ..first
                };
                add(name("fragment"), tagged(first));
            }
            let echo = Packet::icmp(
                client,
                vip(mode, family),
                if family == 6 { 128 } else { 8 },
                0,
                [1; 4],
                &[5; 16],
            );
            add(
                format!("echo {} IPv{family}", mode.name()),
                arriving(echo).frame(),
            );
            let quote = Packet::tcp((vip(mode, family), port::PLAIN), (client, 4_000), ACK).ip();
            let kind = if family == 6 { 1 } else { 3 };
            let error = Packet::icmp(client, vip(mode, family), kind, 1, [0; 4], &quote);
            add(
                format!("error {} IPv{family}", mode.name()),
                arriving(error).frame(),
            );
        }
    }
    let request = arp(
        1,
        ([2; 6], [198, 51, 100, 77]),
        ([0; 6], [203, 0, 113, 10]),
        [0xff; 6],
    );
    add("arp".to_owned(), request);
    let target = forwarder_model::wire::octets(vip(Mode::L2Dsr, 6));
    let ask = Packet::icmp(
        address(CLIENTS[1]),
        address("ff02::1:ff00:a"),
        135,
        0,
        [0; 4],
        &target,
    );
    add(
        "nd".to_owned(),
        arriving(Packet { ttl: 255, ..ask }).frame(),
    );
    all
}

/// A3: every frame cut at every length.
#[test]
fn truncation() {
    sweep(|harness| {
        for (name, frame) in fixtures() {
            for length in 14..=frame.len() {
                harness.same(&format!("{name} cut to {length}"), CLIENT, &frame[..length])?;
            }
        }
        Ok(())
    });
}

/// A4: every header length with every total length and several frame lengths.
#[test]
fn header_and_total_lengths() {
    sweep(|harness| {
        for mode in [Mode::L2Dsr, Mode::IpipDsr, Mode::FullNat] {
            let whole = udp(mode, 4, port::PLAIN, &[9; 30]).frame();
            for frame_length in [
                whole.len(),
                whole.len() - 7,
                14 + 28,
                14 + 27,
                14 + 20,
                14 + 19,
            ] {
                for header in 0..16 {
                    for total in 0..whole.len() as u16 - 14 + 5 {
                        let mut frame = whole[..frame_length].to_vec();
                        frame[14] = 0x40 | header;
                        frame[16..18].copy_from_slice(&total.to_be_bytes());
                        harness.same("lengths", CLIENT, &frame)?;
                    }
                }
            }
        }
        let whole = udp(Mode::FullNat, 6, port::PLAIN, &[9; 30]).frame();
        for payload in 0..60_u16 {
            for next in 0..=255 {
                let mut frame = whole.clone();
                frame[18..20].copy_from_slice(&payload.to_be_bytes());
                frame[20] = next;
                harness.same("payload length and next header", CLIENT, &frame)?;
            }
        }
        Ok(())
    });
}

/// Every TTL in every mode; whatever is forwarded has one less but in `l2-dsr`.
#[test]
fn ttls() {
    sweep(|harness| {
        for family in [4, 6] {
            for mode in Mode::ALL {
                for ttl in 0..=255 {
                    let packet = Packet {
                        ttl,
                        ..syn(mode, family, port::PLAIN)
                    };
                    let output = harness.same("ttl", CLIENT, &packet.frame())?;
                    let expired = ttl <= 1 && !matches!(mode, Mode::L2Dsr | Mode::Local);
                    assert_eq!(
                        output.reason == Some(Reason::DropTtl),
                        expired,
                        "{mode:?} ttl {ttl}"
                    );
                }
            }
        }
        Ok(())
    });
}

/// Every protocol number, to a VIP and to the host.
#[test]
fn protocols() {
    sweep(|harness| {
        for protocol in 0..=255 {
            for (from, to) in [
                (CLIENTS[0], "203.0.113.10"),
                (CLIENTS[1], "2001:db8:f::a"),
                (CLIENTS[0], "198.51.100.1"),
            ] {
                let packet = Packet::new(address(from), address(to), Transport::Raw(protocol));
                let packet = arriving(Packet {
                    payload: vec![0x50; 24],
                    ..packet
                });
                harness.same("protocol", CLIENT, &packet.frame())?;
            }
        }
        Ok(())
    });
}

/// All 65,536 echo identifiers, so that the checksum takes every value.
#[test]
fn echo_identifiers() {
    sweep(|harness| {
        for family in [4, 6] {
            let (from, kind) = (
                address(CLIENTS[usize::from(family == 6)]),
                if family == 6 { 128 } else { 8 },
            );
            for id in 0..=u16::MAX {
                let word = [(id >> 8) as u8, id as u8, 0, 1];
                let ping = arriving(Packet::icmp(
                    from,
                    vip(Mode::Dnat, family),
                    kind,
                    0,
                    word,
                    b"ping",
                ));
                let output = harness.same("echo", CLIENT, &ping.frame())?;
                assert_eq!(output.reason, Some(Reason::AnswerEcho));
                assert_sums_right(&output.frame);
            }
        }
        Ok(())
    });
}

/// A8: all 65,536 values of the IPv4 header checksum, of TCP's and of UDP's, through the translations.
#[test]
fn every_checksum() {
    sweep(|harness| {
        for value in 0..=u16::MAX {
            let swept = value.to_be_bytes();
            let tunnelled = Packet {
                id: value,
                ..syn(Mode::IpipDsr, 4, port::ONE_ARM)
            };
            let output = harness.same("ipip", CLIENT, &tunnelled.frame())?;
            assert_sums_right(&output.frame);
            for family in [4, 6] {
                let packet = udp(Mode::Dnat, family, port::OTHER_PORT, &swept);
                let output = harness.same("udp", CLIENT, &packet.frame())?;
                assert_sums_right(&output.frame);
                let packet = Packet {
                    payload: swept.to_vec(),
                    ..syn(Mode::FullNat, family, port::MSS)
                };
                let output = harness.same("tcp", CLIENT, &packet.frame())?;
                assert_sums_right(&output.frame);
            }
            let packet = udp(Mode::GueDsr, 4, port::OTHER_FAMILY, &swept);
            let output = harness.same("gue", CLIENT, &packet.frame())?;
            assert_sums_right(&output.frame);
        }
        Ok(())
    });
}

/// A9: a checksum that is wrong by any amount stays wrong by that amount.
#[test]
fn wrong_checksums_stay_wrong() {
    sweep(|harness| {
        for error in 0..=u16::MAX {
            let right = udp(Mode::Dnat, 4, port::OTHER_PORT, b"data");
            let wrong = Packet {
                transport_error: error,
                header_error: error,
                ..right.clone()
            };
            let (before, output) = (
                wrong.frame(),
                harness.same("wrong", CLIENT, &wrong.frame())?,
            );
            for (at, skip) in [(14, 10), (14 + 20, 6)] {
                let came = offset(&before, at, skip);
                // UDP that came without a checksum leaves without one.
                let none = at == 34 && word(&before, at + skip) == Some(0);
                if none {
                    assert_eq!(word(&output.frame, at + skip), Some(0));
                } else {
                    assert_eq!(
                        came,
                        offset(&output.frame, at, skip),
                        "{error:#06x} at {at}\n{}",
                        hex(&output.frame)
                    );
                }
            }
        }
        Ok(())
    });
}

/// How far the IPv4 (at 14) or UDP (at 34) checksum is from right, as a one's complement number.
fn offset(frame: &[u8], at: usize, skip: usize) -> u16 {
    let ip = Frame::parse(frame)
        .and_then(|frame| Ip::parse(&frame.rest, false).ok())
        .expect("an IPv4 packet");
    let total = if at == 14 {
        sum(&ip.bytes[..20])
    } else {
        pseudo(ip.source, ip.destination, ip.protocol, ip.segment().len()) + sum(ip.segment())
    };
    let _ = skip;
    fold(total) % 0xffff
}

/// Whatever checksums the frame has are right, tunnels' inner packets included.
pub fn assert_sums_right(frame: &[u8]) {
    let Some(parsed) = Frame::parse(frame) else {
        return;
    };
    let ipv6 = match parsed.ethertype {
        ethertype::IPV4 => false,
        ethertype::IPV6 => true,
        _ => return,
    };
    packet_sums_right(&parsed.rest, ipv6, frame);
}

fn packet_sums_right(bytes: &[u8], ipv6: bool, frame: &[u8]) {
    let ip = Ip::parse(bytes, ipv6).expect("an IP packet");
    if !ipv6 {
        let header = usize::from(bytes[0] & 0xf) * 4;
        assert_eq!(
            fold(sum(&bytes[..header])),
            0xffff,
            "IPv4 header of {}",
            hex(frame)
        );
    }
    if let Some(at) = ip.checksum_at() {
        let stored = word(&ip.bytes, at).expect("a checksum");
        assert_eq!(
            fold(ip.covered() + u64::from(stored)),
            0xffff,
            "transport of {}",
            hex(frame)
        );
    }
    match ip.protocol {
        4 => packet_sums_right(ip.segment(), false, frame),
        41 => packet_sums_right(ip.segment(), true, frame),
        17 if word(ip.segment(), 2) == Some(6080) => {
            packet_sums_right(&ip.segment()[8..], ip.segment()[8] >> 4 == 6, frame);
        }
        _ => {}
    }
}

/// RFC 1624 section 4: the incremental update of a right checksum is the checksum of the new data, for
/// every old and many new words.
#[test]
fn incremental_updates_are_exact() {
    for old in 0..=u16::MAX {
        for new in [0, 1, 0x7fff, 0x8000, 0xfffe, 0xffff, old.swap_bytes(), !old] {
            let rest = 0x1234_u64;
            let before = !fold(rest + u64::from(old));
            let after = adjust(before, rest + u64::from(old), rest + u64::from(new));
            assert_eq!(
                after,
                !fold(rest + u64::from(new)),
                "{old:#06x} to {new:#06x}"
            );
        }
    }
}

/// The established table takes no more: the flows that do not fit go on in the embryonic one.
#[test]
fn established_table_full() {
    in_namespace(|| {
        let mut tables = scene::tables();
        tables.flow_capacity = 64;
        let mut harness = Harness::new(tables, ProgramSet::Linear)?;
        for round in 0..3 {
            for client_port in 1..=200 {
                let (from, to) = (
                    (address(CLIENTS[0]), client_port),
                    (vip(Mode::Dnat, 4), port::OTHER_PORT),
                );
                let server = (address("10.0.0.18"), 8_080);
                let flags = if round == 0 { SYN } else { ACK };
                let forward = arriving(Packet::tcp(from, to, flags));
                let output = harness.same("forward", CLIENT, &forward.frame())?;
                assert_eq!(output.reason, Some(Reason::Dnat));
                let reply = Packet::tcp(server, from, ACK | if round == 0 { SYN } else { 0 });
                let reply = Packet {
                    destination_mac: scene::mac(scene::THIRD),
                    ..reply
                };
                let output = harness.same("reply", scene::THIRD, &reply.frame())?;
                assert_eq!(output.reason, Some(Reason::NatReply));
            }
        }
        assert_eq!(harness.model.tables.flows.len(), 64);
        crate::flow_maps::compare(&mut harness)
    });
}

/// The other compiled variants take the same decisions: multi-buffer, and the read-only run.
#[test]
fn other_program_sets_agree() {
    in_namespace(|| {
        let mut harness = Harness::new(scene::tables(), ProgramSet::Frags)?;
        for (name, frame) in fixtures() {
            harness.same(&format!("{name}, frags"), CLIENT, &frame)?;
        }
        harness.settle()
    });
    in_namespace(|| {
        let mut harness = Harness::new(scene::tables(), ProgramSet::Trace)?;
        for (name, frame) in fixtures() {
            let reason = harness.traced(CLIENT, &frame)?;
            let fresh = harness.model.clone();
            let output = harness.model.run(
                CLIENT,
                &frame,
                &mut crate::harness::World { limited: false },
            );
            harness.model = fresh;
            assert_eq!(Some(reason), output.reason, "{name}, trace");
            assert!(
                reason.outcome() != Outcome::Drop || reason != Reason::DropInternal,
                "{name}"
            );
        }
        crate::flow_maps::compare(&mut harness)?;
        harness.settle()
    });
}
