//! What is dropped, and why.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::Result;
use forwarder_common::{Mode, Reason, lease};
use forwarder_model::build::{Extension, Packet};
use forwarder_model::packet::tcp::{ACK, FIN, RST, SYN};

use super::{Bench, Expected, FAMILIES, at, client};
use crate::scene::{CLIENT, RATE_BURST, RATE_INTERVAL, SERVER, address, port, vip};

pub(super) const FORWARDING: [Mode; 5] = [
    Mode::L2Dsr,
    Mode::IpipDsr,
    Mode::GueDsr,
    Mode::Dnat,
    Mode::FullNat,
];

/// D9: sources that no client can have.
#[test]
fn bad_sources() {
    Bench::run(|bench| {
        let bad4 = [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.255",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ];
        let bad6 = ["::", "::1", "::ffff:1.2.3.4", "ff02::1", "ffff::"];
        for mode in Mode::ALL {
            let sources = bad4
                .map(|source| (4, address(source)))
                .into_iter()
                .chain(bad6.map(|source| (6, address(source))));
            let own = FAMILIES.map(|family| (family, vip(mode, family)));
            for (family, source) in sources.chain(own) {
                let packet = Packet::tcp((source, 4_000), (vip(mode, family), port::PLAIN), SYN);
                bench.kept("bad source", CLIENT, &packet, Reason::DropBadSource)?;
            }
        }
        Ok(())
    });
}

/// A pair's node without a lease for a group does nothing for its VIPs; what it serves itself, it does.
#[test]
fn standby() {
    Bench::run(|bench| {
        let carried = Mode::Dnat;
        let others: BTreeSet<u8> = (0..lease::GROUPS as u8)
            .filter(|group| *group != carried as u8)
            .collect();
        let standby = [others.clone(), others];
        bench.harness.change(|tables| tables.standby = standby)?;
        for family in FAMILIES {
            let syn = Packet::tcp((client(family), 4_000), (vip(carried, family), 9), SYN);
            bench.kept("no server", CLIENT, &syn, Reason::PassNotOurs)?;
            let to = (vip(carried, family), port::EMPTY);
            let syn = Packet::tcp((client(family), 4_000), to, SYN);
            bench.kept("carried", CLIENT, &syn, Reason::DropNoBackend)?;
            for mode in FORWARDING.into_iter().filter(|mode| *mode != carried) {
                let to =
                    |port| Packet::tcp((client(family), 4_000), (vip(mode, family), port), SYN);
                bench.kept("syn", CLIENT, &to(port::PLAIN), Reason::DropStandby)?;
                bench.kept("no server", CLIENT, &to(9), Reason::PassNotOurs)?;
            }
            let to = (vip(Mode::Local, family), port::PLAIN);
            let local = Packet::tcp((client(family), 4_000), to, SYN);
            bench.kept("local", CLIENT, &local, Reason::PassLocal)?;
        }
        Ok(())
    });
}

#[test]
fn unusable_backends() {
    Bench::run(|bench| {
        for family in FAMILIES {
            for mode in FORWARDING {
                let syn =
                    |port| Packet::tcp((client(family), 4_000), (vip(mode, family), port), SYN);
                bench.kept(
                    "no backend",
                    CLIENT,
                    &syn(port::EMPTY),
                    Reason::DropNoBackend,
                )?;
                bench.kept(
                    "no next hop",
                    CLIENT,
                    &syn(port::NO_NEXT_HOP),
                    Reason::DropNoNextHop,
                )?;
                bench.kept(
                    "slot names none",
                    CLIENT,
                    &syn(port::BROKEN),
                    Reason::DropInternal,
                )?;
            }
            let syn = Packet::tcp(
                (client(family), 4_000),
                (vip(Mode::FullNat, family), port::NO_SNAT),
                SYN,
            );
            bench.kept("no snat pool", CLIENT, &syn, Reason::DropSnatExhausted)?;
        }
        Ok(())
    });
}

#[test]
fn ttl_runs_out() {
    Bench::run(|bench| {
        for family in FAMILIES {
            for mode in FORWARDING.into_iter().filter(|mode| *mode != Mode::L2Dsr) {
                for ttl in [0, 1] {
                    let packet = Packet {
                        ttl,
                        ..Packet::tcp(
                            (client(family), 4_000),
                            (vip(mode, family), port::PLAIN),
                            SYN,
                        )
                    };
                    bench.kept("ttl", CLIENT, &packet, Reason::DropTtl)?;
                }
            }
        }
        Ok(())
    });
}

#[test]
fn middle_of_a_connection() {
    Bench::run(|bench| {
        for family in FAMILIES {
            for mode in [Mode::Dnat, Mode::FullNat] {
                for flags in [0, ACK, FIN, RST, SYN | ACK, SYN | RST, SYN | FIN, RST | ACK] {
                    let packet = Packet::tcp(
                        (client(family), 4_000),
                        (vip(mode, family), port::PLAIN),
                        flags,
                    );
                    bench.kept("no flow", CLIENT, &packet, Reason::DropNoFlow)?;
                }
            }
        }
        Ok(())
    });
}

#[test]
fn listed_sources() {
    Bench::run(|bench| {
        let cases = [
            (
                "100.64.9.9",
                "2001:db8:6400:9::9",
                Reason::DropDenied,
                Reason::L2Dsr,
            ),
            (
                "100.64.1.9",
                "2001:db8:6400:1::9",
                Reason::L2Dsr,
                Reason::DropDenied,
            ),
            (
                "198.51.100.9",
                "2001:db8:c::9",
                Reason::L2Dsr,
                Reason::DropDenied,
            ),
        ];
        for (four, six, denying, allowing) in cases {
            for (family, source) in [(4, four), (6, six)] {
                for (port, reason) in [(port::DENY, denying), (port::ALLOW, allowing)] {
                    let packet = Packet::tcp(
                        (address(source), 4_000),
                        (vip(Mode::L2Dsr, family), port),
                        SYN,
                    );
                    let output =
                        bench
                            .harness
                            .same("listed", CLIENT, &at(CLIENT, &packet).frame())?;
                    assert_eq!(output.reason, Some(reason), "{source} port {port}");
                }
            }
        }
        Ok(())
    });
}

/// A burst of two, then hardly any: far more packets than time.
#[test]
#[expect(clippy::disallowed_methods, reason = "tokens come back in real time")]
fn new_flows_are_limited() {
    Bench::run(|bench| {
        for family in FAMILIES {
            for mode in FORWARDING {
                let to = (vip(mode, family), port::RATE);
                let (mut admitted, begin) = (0, Instant::now());
                for source_port in 0..50 {
                    let syn = Packet::tcp((client(family), 1_000 + source_port), to, SYN);
                    let output = bench
                        .harness
                        .same("syn", CLIENT, &at(CLIENT, &syn).frame())?;
                    admitted += u32::from(output.reason != Some(Reason::DropRate));
                }
                // The burst, and a token for every interval that this took.
                let more = begin.elapsed().as_nanos() / u128::from(RATE_INTERVAL);
                let most = RATE_BURST + more as u32;
                assert!(
                    (RATE_BURST..=most).contains(&admitted),
                    "{mode:?}: {admitted} of 50"
                );
                let ack = Packet::tcp((client(family), 1_000), to, ACK);
                let output = bench
                    .harness
                    .same("ack", CLIENT, &at(CLIENT, &ack).frame())?;
                assert_ne!(
                    output.reason,
                    Some(Reason::DropRate),
                    "only new flows are limited"
                );
            }
        }
        Ok(())
    });
}

#[test]
fn fragments() {
    Bench::run(|bench| {
        for family in FAMILIES {
            for (mode, reason) in [
                (Mode::L2Dsr, Reason::L2Dsr),
                (Mode::IpipDsr, Reason::IpipDsr),
                (Mode::FullNat, Reason::FullNat),
            ] {
                let whole = Packet::udp(
                    (client(family), 4_000),
                    (vip(mode, family), port::PLAIN),
                    &[9; 64],
                );
                let part = |offset, more, id: u16| {
                    let mut packet = whole.clone();
                    if family == 6 {
                        packet.extensions = vec![Extension::fragment(offset, more, id.into())];
                    } else {
                        (packet.fragment, packet.id, packet.dont_fragment) =
                            ((offset, more), id, false);
                    }
                    packet
                };
                bench.kept(
                    "later, alone",
                    CLIENT,
                    &part(9, false, 1),
                    Reason::DropFragment,
                )?;
                for (name, packet) in [
                    ("first", part(0, true, 1)),
                    ("middle", part(9, true, 1)),
                    ("last", part(18, false, 1)),
                ] {
                    let output = bench
                        .harness
                        .same(name, CLIENT, &at(CLIENT, &packet).frame())?;
                    assert_eq!(
                        output.reason.map(Reason::name),
                        Some(reason.name()),
                        "{name} {mode:?} {family}"
                    );
                }
                bench.kept(
                    "another packet's",
                    CLIENT,
                    &part(9, false, 2),
                    Reason::DropFragment,
                )?;
            }
        }
        Ok(())
    });
}

#[test]
fn lying_headers() -> Result<()> {
    Bench::run(|bench| {
        let frame4 = at(
            CLIENT,
            &Packet::udp(
                (client(4), 1),
                (vip(Mode::Dnat, 4), port::PLAIN),
                b"12345678",
            ),
        )
        .frame();
        let frame6 = at(
            CLIENT,
            &Packet::udp(
                (client(6), 1),
                (vip(Mode::Dnat, 6), port::PLAIN),
                b"12345678",
            ),
        )
        .frame();
        for (name, frame, position, value, reason) in [
            ("version", &frame4, 14, 0x55, Reason::DropMalformed),
            ("header length", &frame4, 14, 0x44, Reason::DropMalformed),
            ("total length", &frame4, 14 + 3, 37, Reason::DropMalformed),
            (
                "short total length",
                &frame4,
                14 + 3,
                19,
                Reason::DropMalformed,
            ),
            (
                "no room for UDP",
                &frame4,
                14 + 3,
                27,
                Reason::DropTruncated,
            ),
            ("UDP length", &frame4, 14 + 25, 17, Reason::DropMalformed),
            ("UDP length", &frame4, 14 + 25, 7, Reason::DropMalformed),
            ("version", &frame6, 14, 0x45, Reason::DropMalformed),
            ("payload length", &frame6, 14 + 5, 17, Reason::DropMalformed),
            ("jumbo", &frame6, 14 + 5, 0, Reason::DropTruncated),
            ("UDP length", &frame6, 14 + 45, 17, Reason::DropMalformed),
        ] {
            let mut frame = frame.clone();
            frame[position] = value;
            bench.check(name, CLIENT, &frame, Expected::Kept(reason))?;
        }
        for frame in [&frame4, &frame6] {
            bench.check(
                "cut",
                CLIENT,
                &frame[..20],
                Expected::Kept(Reason::DropTruncated),
            )?;
        }
        let mut elsewhere = frame4.clone();
        elsewhere[5] = SERVER as u8;
        bench.check(
            "cut, not to us",
            CLIENT,
            &elsewhere[..20],
            Expected::Kept(Reason::PassOtherHost),
        )?;
        let mut tcp = at(
            CLIENT,
            &Packet::tcp((client(4), 1), (vip(Mode::Dnat, 4), port::PLAIN), SYN),
        )
        .frame();
        for offset in [0x40, 0x60] {
            tcp[14 + 32] = offset;
            bench.check(
                "data offset",
                CLIENT,
                &tcp,
                Expected::Kept(Reason::DropMalformed),
            )?;
        }
        Ok(())
    });
    Ok(())
}
