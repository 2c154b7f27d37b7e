//! What is not ours passes byte for byte.

use anyhow::Result;
use forwarder_common::{Mode, Reason};
use forwarder_model::build::{Extension, Packet, Transport};
use forwarder_model::packet::tcp::{ACK, SYN};

use super::{Bench, Expected, FAMILIES, at, client};
use crate::scene::{self, CLIENT, FOREIGN, SERVER, THIRD, address, port, vip, vip_third};

/// A15: the way in to the host itself, in all its forms.
#[test]
fn lock_out_guard() {
    Bench::run(|bench| {
        for (from, own) in [
            ("198.51.100.77", "198.51.100.1"),
            ("2001:db8:c::77", "2001:db8:c::1"),
            ("192.0.2.77", "192.0.2.1"),
            ("2001:db8:7::77", "2001:db8:7::1"),
        ] {
            let (from, own) = (address(from), address(own));
            let ifindex = if from.to_string().contains("100") || from.to_string().contains(":c:") {
                CLIENT
            } else {
                THIRD
            };
            for flags in [SYN, SYN | ACK, ACK, 0, 0xff] {
                let ssh = Packet::tcp((from, 40_000), (own, 22), flags);
                bench.kept("ssh", ifindex, &ssh, Reason::PassNotOurs)?;
                let tagged = Packet {
                    tags: vec![(0x8100, 7)],
                    ..ssh.clone()
                };
                bench.kept("ssh, tagged", ifindex, &tagged, Reason::PassNotOurs)?;
                let expired = Packet { ttl: 1, ..ssh };
                bench.kept("ssh, ttl 1", ifindex, &expired, Reason::PassNotOurs)?;
            }
            let echo = if own.is_ipv6() { 128 } else { 8 };
            let ping = Packet::icmp(from, own, echo, 0, [0, 1, 0, 1], b"ping");
            bench.kept("ping of the host", ifindex, &ping, Reason::PassNotOurs)?;
            let dns = Packet::udp((from, 53), (own, 20_000), b"answer");
            bench.kept("dns answer", ifindex, &dns, Reason::PassNotOurs)?;
            let raw = Packet {
                payload: vec![1; 40],
                ..Packet::new(from, own, Transport::Raw(89))
            };
            bench.kept("ospf", ifindex, &raw, Reason::PassNotOurs)?;
        }
        Ok(())
    });
}

#[test]
fn other_ports_and_protocols_of_a_vip() {
    Bench::run(|bench| {
        for family in FAMILIES {
            for mode in Mode::ALL {
                let to = vip(mode, family);
                bench.kept(
                    "port",
                    CLIENT,
                    &Packet::tcp((client(family), 1), (to, 7), SYN),
                    Reason::PassNotOurs,
                )?;
                bench.kept(
                    "port",
                    CLIENT,
                    &Packet::udp((client(family), 1), (to, 7), &[]),
                    Reason::PassNotOurs,
                )?;
                let sctp = Packet {
                    payload: vec![0; 12],
                    ..Packet::new(client(family), to, Transport::Raw(132))
                };
                bench.kept("sctp", CLIENT, &sctp, Reason::PassNotOurs)?;
            }
            let third = Packet::tcp(
                (client(family), 1),
                (vip(Mode::Dnat, family), port::THIRD_ONLY),
                SYN,
            );
            bench.kept(
                "served on another interface",
                CLIENT,
                &third,
                Reason::PassNotOurs,
            )?;
            let any = Packet::tcp(
                (client(family), 1),
                (scene::vip_any_port(Mode::L2Dsr, family), 9),
                SYN,
            );
            bench.kept(
                "every port, on another interface",
                CLIENT,
                &any,
                Reason::PassNotOurs,
            )?;
            let local = Packet::tcp(
                (client(family), 1),
                (vip(Mode::Local, family), port::PLAIN),
                ACK,
            );
            bench.kept("local", CLIENT, &local, Reason::PassLocal)?;
        }
        Ok(())
    });
}

#[test]
fn other_frames() {
    Bench::run(|bench| {
        let to = vip(Mode::L2Dsr, 4);
        let served = Packet::tcp((client(4), 1), (to, port::PLAIN), SYN);
        for destination_mac in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [2, 0, 0, 0, 0, 0x0c]] {
            let other = Packet {
                destination_mac,
                ..served.clone()
            };
            bench.kept("another MAC", CLIENT, &other, Reason::PassOtherHost)?;
        }
        let tags = vec![(0x88a8, 1), (0x8100, 2), (0x8100, 3)];
        bench.kept(
            "three tags",
            CLIENT,
            &Packet {
                tags,
                ..served.clone()
            },
            Reason::PassNotIp,
        )?;
        let foreign = at(FOREIGN, &served).frame();
        let ran = bench.harness.same("not our interface", FOREIGN, &foreign)?;
        assert_eq!((ran.reason, ran.frame), (None, foreign));

        let mut lldp = at(CLIENT, &served).frame();
        lldp[12..14].copy_from_slice(&[0x88, 0xcc]);
        bench.check("lldp", CLIENT, &lldp, Expected::Kept(Reason::PassNotIp))?;
        for length in [14, 15, 17] {
            let mut short = at(CLIENT, &served).frame();
            short[12..14].copy_from_slice(&[0x81, 0]);
            let expected = Expected::Kept(Reason::PassNotIp);
            bench.check("ends in a tag", CLIENT, &short[..length], expected)?;
        }
        Ok(())
    });
}

#[test]
fn extension_headers_that_cannot_be_walked() {
    Bench::run(|bench| {
        let to = vip(Mode::L2Dsr, 6);
        let served = Packet::tcp((client(6), 1), (to, port::PLAIN), SYN);
        let with = |extensions: Vec<Extension>| Packet {
            extensions,
            ..served.clone()
        };
        let seven = with((0..7).map(|_| Extension::padding(60, 1)).collect());
        bench.kept("seven", CLIENT, &seven, Reason::PassUnsupported)?;
        bench.kept(
            "source routed",
            CLIENT,
            &with(vec![Extension::routing(1)]),
            Reason::PassUnsupported,
        )?;
        bench.kept(
            "too long",
            CLIENT,
            &with(vec![Extension::padding(60, 33)]),
            Reason::PassUnsupported,
        )?;
        let cut = at(CLIENT, &with(vec![Extension::padding(60, 1)])).frame();
        let mut short = cut[..14 + 40 + 7].to_vec();
        short[14 + 5] = 7;
        bench.check(
            "a header of seven bytes",
            CLIENT,
            &short,
            Expected::Kept(Reason::PassUnsupported),
        )?;
        let longest = with(vec![Extension::padding(60, 32)]);
        let output = bench.send(CLIENT, &longest)?;
        assert_eq!(output.reason, Some(Reason::L2Dsr), "256 bytes are walked");
        // All that is looked at of a header is its first eight bytes: what it leads to is missing.
        let mut beyond = at(CLIENT, &with(vec![Extension::padding(60, 3)])).frame();
        beyond.truncate(14 + 40 + 8);
        beyond[14 + 5] = 8;
        let expected = Expected::Kept(Reason::DropTruncated);
        bench.check("a header beyond the frame", CLIENT, &beyond, expected)?;
        let other = Packet {
            destination: address("2001:db8:f::ee"),
            ..with(vec![Extension::padding(60, 3)])
        };
        let mut beyond = at(CLIENT, &other).frame();
        beyond.truncate(14 + 40 + 8);
        beyond[14 + 5] = 8;
        let expected = Expected::Kept(Reason::PassNotOurs);
        bench.check("the same, not ours", CLIENT, &beyond, expected)?;
        let esp = Packet {
            payload: vec![0; 40],
            ..Packet::new(client(6), to, Transport::Raw(50))
        };
        bench.kept("esp", CLIENT, &esp, Reason::PassNotOurs)
    });
}

#[test]
fn lying_headers_to_other_addresses() -> Result<()> {
    Bench::run(|bench| {
        for to in ["198.51.100.222", "203.0.113.222"] {
            let mut frame =
                at(SERVER, &Packet::tcp((client(4), 1), (address(to), 80), SYN)).frame();
            frame[14 + 3] = 200;
            bench.check(
                "total length",
                SERVER,
                &frame,
                Expected::Kept(Reason::PassNotOurs),
            )?;
        }
        let third = at(
            CLIENT,
            &Packet::tcp((client(6), 1), (vip_third(6), 80), SYN),
        )
        .frame();
        bench.check(
            "short",
            CLIENT,
            &third[..60],
            Expected::Kept(Reason::PassNotOurs),
        )
    });
    Ok(())
}
