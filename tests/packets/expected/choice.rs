//! Which backend a packet goes to.

use anyhow::Result;
use forwarder_common::virtual_server::backend_flags::{KEEPS_FLOWS, KEEPS_TCP};
use forwarder_common::{Mode, Reason};
use forwarder_model::build::Packet;
use forwarder_model::packet::tcp::{ACK, FIN, RST, SYN};

use super::drops::FORWARDING;
use super::{Bench, FAMILIES, client, towards};
use crate::scene::{self, CLIENT, SERVER, port, vip};

/// Sends the packet, which has to reach this backend in `l2-dsr`.
fn reaches(bench: &mut Bench, name: &str, packet: &Packet, number: u32) -> Result<()> {
    let family = if packet.source.is_ipv6() { 6 } else { 4 };
    let out = towards(scene::backend(family, number), SERVER, packet);
    bench.sent(name, CLIENT, packet, Reason::L2Dsr, (SERVER, out))
}

/// A changed slot: 1 has taken the place of 2, which lives.
#[test]
fn older_flows_stay_in_a_changed_slot() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let to = (vip(Mode::L2Dsr, family), port::CHANGED);
            let tcp = |from: u16, flags| Packet::tcp((client(family), from), to, flags);
            let udp = Packet::udp((client(family), 1), to, b"question");
            for flags in [ACK, FIN | ACK, RST, SYN | ACK] {
                reaches(bench, "older", &tcp(1, flags), 2)?;
            }
            reaches(bench, "new", &tcp(2, SYN), 1)?;
            reaches(bench, "its second packet", &tcp(2, ACK), 1)?;
            reaches(bench, "its third packet", &tcp(2, FIN | ACK), 1)?;
            reaches(bench, "datagram without grace", &udp, 1)?;
            // The old flow's ports are used again.
            reaches(bench, "still older", &tcp(1, ACK), 2)?;
            reaches(bench, "new with the same ports", &tcp(1, SYN), 1)?;
            reaches(bench, "its second packet", &tcp(1, ACK), 1)?;
        }
        crate::flow_maps::compare(&mut bench.harness)
    });
}

#[test]
fn nothing_stays_with_a_dead_backend() {
    Bench::run(|bench| {
        for family in FAMILIES {
            // 7 is dead from the start.
            let to = (vip(Mode::L2Dsr, family), port::CHANGED_DEAD);
            let from = (client(family), 1);
            reaches(bench, "older", &Packet::tcp(from, to, ACK), 1)?;
            reaches(bench, "datagram", &Packet::udp(from, to, b"?"), 1)?;

            let to = (vip(Mode::L2Dsr, family), port::CHANGED);
            let older = Packet::tcp(from, to, ACK);
            reaches(bench, "older", &older, 2)?;
            let flip = |bench: &mut Bench| {
                bench.harness.change(|tables| {
                    let two = tables.backends.get_mut(&scene::backend(family, 2));
                    two.expect("the backend").flags ^= KEEPS_FLOWS;
                })
            };
            flip(bench)?;
            reaches(bench, "its backend has died", &older, 1)?;
            flip(bench)?;
        }
        Ok(())
    });
}

/// 2 goes down, and keeps flows of TCP alone.
#[test]
fn of_a_backend_that_is_down_flows_of_tcp_may_stay() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let to = (vip(Mode::L2Dsr, family), port::CHANGED_GRACE);
            let from = (client(family), 1);
            let (older, datagram) = (Packet::tcp(from, to, ACK), Packet::udp(from, to, b"?"));
            reaches(bench, "older", &older, 2)?;
            reaches(bench, "datagram", &datagram, 2)?;
            bench.harness.change(|tables| {
                let two = tables.backends.get_mut(&scene::backend(family, 2));
                two.expect("the backend").flags ^= KEEPS_FLOWS | KEEPS_TCP;
            })?;
            reaches(bench, "older, its backend is down", &older, 2)?;
            reaches(
                bench,
                "another older one",
                &Packet::tcp((client(family), 2), to, ACK),
                2,
            )?;
            reaches(bench, "datagram, its backend is down", &datagram, 3)?;
        }
        crate::flow_maps::compare(&mut bench.harness)
    });
}

/// The last backend that took new flows is gone, and 2 keeps its own.
#[test]
fn a_pool_without_backends_says_so_to_new_flows_alone() {
    Bench::run(|bench| {
        for family in FAMILIES {
            for mode in FORWARDING {
                let to = (vip(mode, family), port::NOWHERE);
                let syn = Packet::tcp((client(family), 1), to, SYN);
                bench.kept("new", CLIENT, &syn, Reason::DropNoBackend)?;
            }
            let to = (vip(Mode::L2Dsr, family), port::NOWHERE);
            let from = (client(family), 2);
            reaches(bench, "older", &Packet::tcp(from, to, ACK), 2)?;
            reaches(bench, "datagram in grace", &Packet::udp(from, to, b"?"), 2)?;
        }
        crate::flow_maps::compare(&mut bench.harness)
    });
}

/// 3 has taken the place of 2, which keeps its datagrams for a while.
#[test]
fn datagrams_stay_in_grace() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let to = (vip(Mode::L2Dsr, family), port::CHANGED_GRACE);
            let from = (client(family), 1);
            reaches(bench, "datagram", &Packet::udp(from, to, b"?"), 2)?;
            reaches(bench, "older", &Packet::tcp(from, to, ACK), 2)?;
            let from = (client(family), 2);
            reaches(bench, "new", &Packet::tcp(from, to, SYN), 3)?;
        }
        Ok(())
    });
}

/// What the choice depends on: the source alone, or the protocol too, and never the ports.
#[test]
fn affinity() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let mut chosen = |port, source: u8, from_port, udp| -> Result<Vec<u8>> {
                let text = if family == 6 {
                    format!("2001:db8:c::1:{source:x}")
                } else {
                    format!("198.51.100.{source}")
                };
                let from = (scene::address(&text), from_port);
                let to = (vip(Mode::L2Dsr, family), port);
                let packet = if udp {
                    Packet::udp(from, to, b"?")
                } else {
                    Packet::tcp(from, to, SYN)
                };
                Ok(bench.send(CLIENT, &packet)?.frame[..6].to_vec())
            };
            let (mut by_source, mut by_protocol) = (0, 0);
            for source in 1..=60 {
                for (port, differing) in [
                    (port::BY_SOURCE, &mut by_source),
                    (port::BY_SOURCE_PROTOCOL, &mut by_protocol),
                ] {
                    let tcp = chosen(port, source, 1_000, false)?;
                    assert_eq!(tcp, chosen(port, source, 2_000, false)?, "ports");
                    *differing += usize::from(tcp != chosen(port, source, 1_000, true)?);
                }
            }
            assert_eq!(by_source, 0, "one backend for all of a client's");
            assert!(by_protocol > 10, "{by_protocol} of 60 clients");
        }
        Ok(())
    });
}
