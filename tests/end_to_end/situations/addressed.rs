//! Packets that are addressed wrongly, or come from where nothing should come.

use forwarder_lab::Family;

use super::super::world::{HEADER, LOCAL_VIP, pool, site, virtual_server};
use super::{NOT_TRACED, expect_all, json, run, start};

fn config() -> String {
    let vip = |number| Family::V4.vip(number);
    let here = "pool = \"web\"\ninterfaces = [\"outside\"]";
    HEADER.to_owned()
        + &pool("web", Family::V4, None)
        + &virtual_server("web", "l2-dsr", vip(10), 80, "tcp", here)
        + &virtual_server("dns", "l2-dsr", vip(10), 53, "udp", here)
        + &virtual_server(
            "closed",
            "l2-dsr",
            vip(11),
            80,
            "tcp",
            &format!("{here}\ndeny = [\"198.51.100.0/24\", \"198.18.0.0/15\"]"),
        )
        + &virtual_server(
            "members",
            "l2-dsr",
            vip(12),
            80,
            "tcp",
            &format!("{here}\nallow = [\"192.0.2.0/24\"]"),
        )
        + &virtual_server(
            "local",
            "local",
            vip(LOCAL_VIP),
            4711,
            "tcp",
            "interfaces = [\"outside\"]",
        )
}

#[test]
fn packets_that_are_addressed_wrongly() {
    let site = site();
    let forwarder = start(&site, &config());
    expect_all(
        &forwarder,
        &[
            // A wrong port.
            (
                "tcp 198.51.100.7:40112 -> 203.0.113.10:81 --in eth0",
                "pass-not-ours",
                &[
                    "203.0.113.10 is a VIP, but not with port 81",
                    "80/tcp (web), 53/udp (dns)",
                ],
                "forwarder trace \"tcp 198.51.100.7:40112 -> 203.0.113.10:80 syn --in eth0\"",
            ),
            // A wrong protocol.
            (
                "udp 198.51.100.7:40112 -> 203.0.113.10:80 --in outside",
                "pass-not-ours",
                &["virtual server web has this address and port, for tcp"],
                "forwarder trace \"tcp 198.51.100.7:40112 -> 203.0.113.10:80 syn --in eth0\"",
            ),
            // An address that is no VIP.
            (
                "tcp 198.51.100.7:40112 -> 203.0.113.77:80 --in eth0",
                "pass-not-ours",
                &["no virtual server has 203.0.113.77", "203.0.113.10"],
                "forwarder vip",
            ),
            // The host's own address.
            (
                "tcp 198.51.100.7:40112 -> 203.0.113.2:22 --in eth0",
                "pass-not-ours",
                &["this host's own address"],
                "ss -lntup",
            ),
            // An interface where the virtual server is not served.
            (
                "tcp 192.0.2.11:40112 -> 203.0.113.10:80 --in eth1",
                "pass-not-ours",
                &["web is served on outside, not on inside"],
                "forwarder trace \"tcp 192.0.2.11:40112 -> 203.0.113.10:80 syn --in eth0\"",
            ),
            // A spoofed source.
            (
                "tcp 127.0.0.1:40112 -> 203.0.113.10:80 --in eth0",
                "drop-bad-source",
                &["nobody has such an address"],
                "tcpdump -e -ni eth0 'host 127.0.0.1'",
            ),
            (
                "tcp 203.0.113.10:40112 -> 203.0.113.10:80 --in eth0",
                "drop-bad-source",
                &["nobody has such an address"],
                "tcpdump -e -ni eth0 'host 203.0.113.10'",
            ),
            // On the deny list.
            (
                "tcp 198.51.100.7:40112 -> 203.0.113.11:80 --in eth0",
                "drop-denied",
                &["virtual server closed", "denied by 198.51.100.0/24"],
                "forwarder reload",
            ),
            // Not on the allow list.
            (
                "tcp 198.51.100.7:40112 -> 203.0.113.12:80 --in eth0",
                "drop-denied",
                &["virtual server members", "in no prefix of `allow`"],
                "forwarder reload",
            ),
            // A backend's answer that should go directly to the client.
            (
                "tcp 203.0.113.10:80 -> 198.51.100.7:40112 syn ack --in eth1",
                "pass-not-ours",
                &["a reply of virtual server web", "answer clients directly"],
                "ip route get 198.51.100.7 from 203.0.113.10",
            ),
            // An ICMP error about a packet that nobody sent.
            (
                "icmp 203.0.113.1 -> 203.0.113.77 too-big 1400 quoting tcp 203.0.113.77:80 -> 198.51.100.7:40112 ack --in eth0",
                "pass-not-ours",
                &["quotes a packet that no virtual server or flow has sent"],
                "forwarder trace \"tcp 198.51.100.7:40112 -> 203.0.113.77:80 ack --in eth0\"",
            ),
            // A later fragment without its first.
            (
                "udp 198.51.100.7:5000 -> 203.0.113.10:53 fragment 1480 --in eth0",
                "drop-fragment",
                &["the first fragment was not seen"],
                "tcpdump -e -ni eth0 'host 198.51.100.7 and ip[6:2] & 0x3fff != 0'",
            ),
            // A stale neighbour entry at the sender.
            (
                "tcp 198.51.100.7:40112 -> 203.0.113.10:80 to 02:00:00:00:00:99 --in eth0",
                "pass-other-host",
                &["02:00:00:00:00:99, which is not eth0's"],
                "ip neighbour show to 203.0.113.10",
            ),
            // One VLAN tag too many.
            (
                "tcp 198.51.100.7:40112 -> 203.0.113.10:80 vlan 1 vlan 2 vlan 3 --in eth0",
                "pass-not-ip",
                &["how many VLAN tags"],
                "",
            ),
            // A tunnel that ends at the wrong host.
            (
                "ipip 198.51.100.7 -> 203.0.113.2 carrying tcp 198.51.100.7:1 -> 203.0.113.10:80 --in eth0",
                "pass-not-ours",
                &["tunnels are taken off on backends only"],
                "forwarder backend eth0",
            ),
            // A VIP that answers pings, whatever the service does.
            (
                "icmp 198.51.100.7 -> 203.0.113.10 --in eth0",
                "answer-echo",
                &["the forwarder answers pings itself"],
                "forwarder trace \"tcp 198.51.100.7:40000 -> 203.0.113.10:80 syn --in eth0\"",
            ),
            (
                "icmp 198.51.100.7 -> 203.0.113.10 echo-reply --in eth0",
                "pass-not-ours",
                &["only echo requests and errors"],
                "",
            ),
            // A service of the forwarder's own host that does not listen.
            (
                "tcp 198.51.100.7:40112 -> 203.0.113.30:4711 --in eth0",
                "pass-local",
                &["Does the service listen on this host?"],
                "ss -lntup 'sport = :4711'",
            ),
            (
                "arp 203.0.113.1 -> 203.0.113.10 --in eth0",
                "answer-arp",
                &["knows this host's MAC"],
                "",
            ),
            (
                "arp 2001:db8:113::1 -> 2001:db8:113::99 --in eth0",
                "pass-not-ours",
                &["no virtual server has"],
                "forwarder vip",
            ),
        ],
    );

    // An interface that is not one of the config, and one that is not there.
    for (packet, says) in [
        (
            "tcp 198.51.100.7:1 -> 203.0.113.10:80 --in lo",
            "lo is not an interface of the config",
        ),
        (
            "tcp 198.51.100.7:1 -> 203.0.113.10:80 --in eth9",
            "no interface eth9; the config has outside (eth0), inside (eth1)",
        ),
    ] {
        let output = run(&forwarder, packet, &[]);
        assert_eq!(output.status.code(), Some(NOT_TRACED));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(says), "{said}");
    }

    // The shape of the data, all of which is there.
    let packet = "tcp 198.51.100.7:40112 -> 203.0.113.10:80 syn vlan 5 --in eth0";
    let (trace, _) = json(&forwarder, packet);
    let keys: Vec<_> = trace.as_object().expect("an object").keys().collect();
    let all = "backend becomes device dropped interface meaning next outcome packet pool reason stages virtual_server";
    let mut sorted: Vec<_> = all.split(' ').collect();
    sorted.sort_unstable();
    assert_eq!(keys.len(), sorted.len(), "{trace:#}");
    assert!(
        sorted.iter().all(|key| trace.get(key).is_some()),
        "{trace:#}"
    );
    assert_eq!(trace["virtual_server"], "web");
    assert_eq!(trace["pool"], "web");
}

/// A capture, as tcpdump writes it, of frames.
fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(u32::to_le_bytes(word));
    }
    for frame in frames {
        for word in [0, 0, frame.len() as u32, frame.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

/// A SYN from the client to the first VIP, sent to a MAC address that is not ours, with a byte changed.
fn syn(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([198, 51, 100, 7], [203, 0, 113, 10], 64)
        .tcp(40112, 80, 1, 65_535)
        .syn();
    let mut frame = Vec::new();
    builder.write(&mut frame, &[]).expect("a frame");
    change(&mut frame);
    frame
}

#[test]
fn packets_of_a_capture() {
    let site = site();
    let forwarder = start(&site, &config());
    let file = site.directory().join("capture.pcap");
    let frames = [
        syn(|_| ()),
        syn(|frame| frame[17] = 200),
        syn(|frame| frame[24] ^= 1),
        syn(|frame| frame[50] ^= 1),
        syn(|frame| frame.truncate(40)),
    ];
    std::fs::write(&file, capture(&frames)).expect("write");
    let file = file.to_str().expect("a path");
    let trace = |number: &str, more: &[&str]| {
        let words = [
            &["trace", "--pcap", file, "--packet", number, "--in", "eth0"],
            more,
        ]
        .concat();
        let output = forwarder.run(&words).expect("run");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    for (number, more, code, says) in [
        ("1", &["--to-us"][..], 0, "packet 1 of 5"),
        (
            "1",
            &["--to-us"],
            0,
            "tcp 198.51.100.7:40112 -> 203.0.113.10:80 syn",
        ),
        ("1", &["--to-us"], 0, "forward: l2-dsr"),
        // As it was captured, at some other host.
        ("1", &[], 0, "pass-other-host"),
        // The IPv4 header lies about the length, or its checksum is wrong; or TCP's.
        ("2", &["--to-us"], 3, "drop-malformed"),
        (
            "2",
            &["--to-us"],
            3,
            "the IPv4 header says 200 bytes, but only 40",
        ),
        ("3", &["--to-us"], 0, "the IPv4 header checksum is wrong"),
        ("4", &["--to-us"], 0, "the TCP checksum is wrong"),
        // It ends in its header.
        ("5", &["--to-us"], 3, "drop-"),
        ("6", &[], 1, "there is no packet 6: the capture has 5"),
    ] {
        let (exit, text) = trace(number, more);
        assert_eq!(exit, Some(code), "{number}: {text}");
        assert!(text.contains(says), "{number}: no \"{says}\" in\n{text}");
    }
    let config = forwarder.config().to_str().expect("a path").to_owned();
    let output = forwarder
        .run(&["trace", "--pcap", &config, "--in", "eth0"])
        .expect("run");
    assert_eq!(output.status.code(), Some(NOT_TRACED));
    assert!(String::from_utf8_lossy(&output.stderr).contains("this is no capture"));
}
