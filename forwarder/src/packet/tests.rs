use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

const OWN: [u8; 6] = [2; 6];

/// Words that come back as they went in.
const SAYINGS: &[&str] = &[
    "tcp 198.51.100.7:40112 -> 203.0.113.10:80 syn",
    "tcp 198.51.100.7:40112 -> 203.0.113.10:80 syn ack",
    "tcp 198.51.100.7:40112 -> 203.0.113.10:80 no-flags",
    "tcp 198.51.100.7:40112 -> 203.0.113.10:80 fin psh ack urg ttl 3 no-df length 1500",
    "tcp [2001:db8::7]:40112 -> [2001:db8::10]:80 rst ttl 1 length 9000",
    "udp 198.51.100.7:5000 -> 203.0.113.10:53 length 101",
    "udp 198.51.100.7:5000 -> 203.0.113.10:53 fragment first vlan 100",
    "udp [2001:db8::7]:1 -> [2001:db8::8]:2 length 1280 fragment first",
    "icmp 198.51.100.7 -> 203.0.113.10",
    "icmp 198.51.100.7 -> 203.0.113.10 echo-reply vlan 7 vlan 9",
    "icmp 2001:db8::7 -> 2001:db8::10 ttl 255",
    "icmp 192.0.2.1 -> 198.51.100.7 too-big 1400 quoting tcp 203.0.113.10:80 -> 198.51.100.7:40112 ack",
    "icmp 192.0.2.1 -> 198.51.100.7 unreachable quoting udp 203.0.113.10:53 -> 198.51.100.7:5000",
    "icmp 2001:db8::1 -> 2001:db8::7 time-exceeded quoting tcp [2001:db8::10]:80 -> [2001:db8::7]:4 syn",
    "icmp 2001:db8::1 -> 2001:db8::7 port-unreachable quoting udp [2001:db8::10]:80 -> [2001:db8::7]:4",
    "ipip 192.0.2.2 -> 192.0.2.11 carrying tcp 198.51.100.7:1 -> 203.0.113.10:80 syn ttl 2",
    "ipip 192.0.2.2 -> 192.0.2.11 carrying icmp 2001:db8::7 -> 2001:db8::10",
    "gue 192.0.2.2:49152 -> 192.0.2.11:6080 carrying udp 198.51.100.7:1 -> 203.0.113.10:80",
    "arp 198.51.100.7 -> 203.0.113.10 vlan 12",
];

#[test]
fn words_frame_and_words_again() {
    for words in SAYINGS {
        let (packet, interface) = parse(words).unwrap_or_else(|error| panic!("{words}: {error}"));
        assert_eq!(interface, None);
        assert_eq!(packet.to_string(), *words);
        let frame = build(&packet, OWN).unwrap_or_else(|error| panic!("{words}: {error}"));
        let read = dissect(&frame, OWN);
        assert_eq!(read.packet, Some(packet), "{words}");
        assert_eq!((read.text, read.problems), ((*words).to_owned(), vec![]));
    }
}

#[test]
fn what_need_not_be_said() {
    let (packet, interface) =
        parse("TCP 198.51.100.7:40112 to 203.0.113.10:80 --in eth0").expect("a packet");
    assert_eq!(interface.as_deref(), Some("eth0"));
    assert!(packet.is_syn() && packet.df && packet.ttl == 64);
    let frame = build(&packet, OWN).expect("a frame");
    assert_eq!(frame.len(), 54);
    assert_eq!(frame[..6], OWN);
    assert_eq!(frame[34..38], [0x9c, 0xb0, 0, 80]);
    assert_eq!(frame[47], 0x02);
    let other = "tcp 192.0.2.1:1 -> 192.0.2.2:2 to 02:00:00:00:00:07";
    let frame = build(&parse(other).expect("a packet").0, OWN).expect("a frame");
    assert_eq!(frame[..6], [2, 0, 0, 0, 0, 7]);
    assert!(dissect(&frame, OWN).text.ends_with("to 02:00:00:00:00:07"));
}

#[test]
fn a_later_fragment_has_no_ports() {
    let words = "udp 192.0.2.1:5000 -> 192.0.2.2:53 fragment 1480";
    let frame = build(&parse(words).expect("a packet").0, OWN).expect("a frame");
    assert_eq!(
        dissect(&frame, OWN).text,
        "udp 192.0.2.1:0 -> 192.0.2.2:0 fragment 1480"
    );
}

#[test]
fn questions_for_ipv6_neighbours() {
    let (packet, _) = parse("arp 2001:db8::7 -> 2001:db8::10").expect("a packet");
    let frame = build(&packet, OWN).expect("a frame");
    assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0, 0, 0x10]);
    let read = dissect(&frame, OWN);
    assert_eq!((read.packet, read.problems), (Some(packet), vec![]));
}

#[test]
fn says_what_is_wrong_with_words() {
    for (words, says) in [
        ("", "no packet"),
        ("sctp 1.2.3.4:1 -> 1.2.3.4:2", "not a protocol"),
        ("tcp 1.2.3.4 -> 1.2.3.4:2", "not an address and port"),
        ("tcp 1.2.3.4:1 1.2.3.4:2", "comes \"->\""),
        ("tcp 1.2.3.4:1 ->", "no destination"),
        ("tcp 1.2.3.4:1 -> [::1]:2", "different families"),
        ("tcp 1.2.3.4:1 -> 1.2.3.4:99999", "not an address and port"),
        ("tcp 1.2.3.4:1 -> 1.2.3.4:2 --in", "comes an interface"),
        (
            "tcp 1.2.3.4:1 -> 1.2.3.4:2 out eth0",
            "\"out\" says nothing",
        ),
        ("tcp 1.2.3.4:1 -> 1.2.3.4:2 --in a b", "not expected"),
        ("tcp 1.2.3.4:1 -> 1.2.3.4:2 ttl", "a number from 0 to 255"),
        (
            "tcp 1.2.3.4:1 -> 1.2.3.4:2 ttl 256",
            "a number from 0 to 255",
        ),
        (
            "tcp 1.2.3.4:1 -> 1.2.3.4:2 length x",
            "a number from 0 to 65535",
        ),
        (
            "tcp 1.2.3.4:1 -> 1.2.3.4:2 vlan 4096",
            "a number from 0 to 4095",
        ),
        ("tcp 1.2.3.4:1 -> 1.2.3.4:2 fragment 7", "a multiple of 8"),
        ("tcp 1.2.3.4:1 -> 1.2.3.4:2 to 1:2", "a MAC address"),
        ("tcp 1.2.3.4:1 -> 1.2.3.4:2 unreachable", "for icmp only"),
        ("udp 1.2.3.4:1 -> 1.2.3.4:2 syn", "for tcp only"),
        ("arp 1.2.3.4 -> 1.2.3.5 ttl 1", "neither ttl"),
        ("icmp 1.2.3.4 -> 1.2.3.5 unreachable", "quotes the packet"),
        (
            "icmp 1.2.3.4 -> 1.2.3.5 quoting icmp ::1 -> ::2",
            "not expected",
        ),
        (
            "icmp 1.2.3.4 -> 1.2.3.5 unreachable quoting icmp ::1 -> ::2",
            "one family",
        ),
        ("ipip 1.2.3.4 -> 1.2.3.5", "carries a packet"),
        (
            "ipip 1.2.3.4 -> 1.2.3.5 carrying arp 1.2.3.4 -> 1.2.3.5",
            "an IP packet",
        ),
        (
            "udp 1.2.3.4:1 -> 1.2.3.5:1 carrying udp 1.2.3.4:1 -> 1.2.3.5:1",
            "after udp",
        ),
        (
            "udp 1.2.3.4:1 -> 1.2.3.5:1 vlan 1 vlan 1 vlan 1 vlan 1",
            "more than three",
        ),
        (
            "ipip 1.2.3.4 -> 1.2.3.5 carrying ipip 1.2.3.4 -> 1.2.3.5 carrying ipip 1.2.3.4 -> 1.2.3.5 carrying udp 1.2.3.4:1 -> 1.2.3.5:1",
            "in one another",
        ),
    ] {
        let error = parse(words).expect_err(words).to_string();
        assert!(error.contains(says), "{words}: {error}");
        assert!(error.contains("write it in quotes"), "{error}");
    }
}

#[test]
fn what_cannot_be_is_not_built() {
    let small = parse("tcp 1.2.3.4:1 -> 1.2.3.4:2 length 39")
        .expect("words")
        .0;
    assert_eq!(
        build(&small, OWN).expect_err("too small"),
        "such a packet has at least 40 bytes"
    );
}

#[test]
fn says_what_is_wrong_with_frames() {
    let good = "tcp 192.0.2.1:1 -> 192.0.2.2:2 length 100";
    let frame = build(&parse(good).expect("words").0, OWN).expect("a frame");
    let changed = |at: usize, value: u8| {
        let mut frame = frame.clone();
        frame[at] = value;
        dissect(&frame, OWN)
    };
    assert_eq!(
        changed(24, 0xee).problems,
        ["the IPv4 header checksum is wrong"]
    );
    assert_eq!(changed(60, 1).problems, ["the TCP checksum is wrong"]);
    assert!(changed(17, 101).problems[0].contains("says 101 bytes, but only 100"));
    assert!(changed(14, 0x44).text.contains("whose header length is 16"));
    assert!(changed(17, 19).text.contains("whose length is 19"));
    assert!(changed(14, 0x55).text.contains("IP version 5"));
    assert!(
        changed(23, 50)
            .text
            .contains("protocol 50 192.0.2.1 -> 192.0.2.2")
    );
    assert!(changed(12, 0x99).text.contains("EtherType 0x9900"));
    assert!(
        dissect(&frame[..20], OWN)
            .text
            .contains("ends in its header")
    );
    assert!(dissect(&[], OWN).text.contains("Ethernet header, 0 bytes"));
}

fn address(ipv6: bool) -> BoxedStrategy<IpAddr> {
    if ipv6 {
        any::<[u8; 16]>()
            .prop_map(|bytes| Ipv6Addr::from(bytes).into())
            .boxed()
    } else {
        any::<[u8; 4]>()
            .prop_map(|bytes| Ipv4Addr::from(bytes).into())
            .boxed()
    }
}

proptest! {
    #[test]
    fn any_bytes_are_something(mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..4_usize) {
        // Most are to get past the EtherType.
        let ethertype = [[8, 0], [0x86, 0xdd], [0x81, 0], [8, 6]][kind];
        if let Some(place) = bytes.get_mut(12..14) {
            place.copy_from_slice(&ethertype);
        }
        if let Some(first) = bytes.get_mut(14) && kind < 2 {
            *first = [0x45, 0x60][kind];
        }
        prop_assert!(!dissect(&bytes, OWN).text.is_empty());
    }

    #[test]
    fn any_words_are_read_or_refused(words in "(tcp|udp|icmp|ipip|arp) [0-9.:]{1,9} -> [0-9.:]{1,9}( (ttl|vlan|fragment|quoting|carrying|length|to|[a-z]{1,4}|[0-9]{1,6})){0,8}") {
        if let Ok((packet, _)) = parse(&words) {
            // Too small or too large is said, too.
            let _ = build(&packet, OWN);
        }
    }

    #[test]
    fn tcp_comes_back(
        (source, destination) in any::<bool>().prop_flat_map(|ipv6| (address(ipv6), address(ipv6))),
        ports in any::<(u16, u16)>(), flags in 0..64_u8, ttl: u8, length in 60..4000_u16,
    ) {
        let packet = Packet {
            kind: Kind::Tcp(ports.0, ports.1, flags),
            df: source.is_ipv4(),
            source,
            destination,
            ttl,
            length: (length > 60).then_some(length).or(None),
            fragment: None,
            vlans: vec![],
            to: None,
        };
        let frame = build(&packet, OWN).expect("a frame");
        let read = dissect(&frame, OWN);
        prop_assert_eq!(read.packet.as_ref(), Some(&packet));
        let (again, _) = parse(&read.text).expect("its own words");
        prop_assert_eq!(again, packet);
    }
}
