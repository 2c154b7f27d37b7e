//! What comes out, read by parsers that know nothing of this project: etherparse and scapy.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use etherparse::{IpSlice, NetSlice, SlicedPacket, TransportSlice};
use forwarder_common::programs::ProgramSet;
use forwarder_common::{Mode, Outcome};
use forwarder_model::build::Packet;
use forwarder_model::packet::tcp::{ACK, SYN};

use crate::generate::right_frame;
use crate::harness::{Harness, hex};
use crate::namespace::in_namespace;
use crate::random::Random;
use crate::scene::{self, CLIENT, address, port, vip};

/// Frames that came out for well-formed frames that went in.
fn outputs(seed: u64, wanted: usize) -> Vec<Vec<u8>> {
    in_namespace(|| {
        let mut harness = Harness::new(scene::tables(), ProgramSet::Linear)?;
        let (mut random, mut frames) = (Random::new(seed), Vec::new());
        while frames.len() < wanted {
            let (ifindex, frame) = right_frame(&mut random);
            let output = harness.same("right frame", ifindex, &frame)?;
            let outcome = output.reason.map(forwarder_common::Reason::outcome);
            if matches!(outcome, Some(Outcome::Forward | Outcome::Answer)) {
                frames.push(output.frame);
            }
        }
        Ok(frames)
    })
}

#[test]
fn etherparse_finds_every_checksum_right() {
    let mut checked = 0;
    for frame in outputs(11, 20_000) {
        let packet = SlicedPacket::from_ethernet(&frame)
            .unwrap_or_else(|error| panic!("{error}: {}", hex(&frame)));
        checked += check(&packet, &frame);
    }
    assert!(checked > 15_000, "{checked} transport checksums");
}

/// Checks a packet and what is inside its tunnel; tells how many transport checksums there were.
fn check(packet: &SlicedPacket<'_>, frame: &[u8]) -> usize {
    let (source, destination, inside) = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header();
            assert_eq!(
                header.to_header().calc_header_checksum(),
                header.header_checksum(),
                "{}",
                hex(frame)
            );
            (
                header.source().to_vec(),
                header.destination().to_vec(),
                ip.payload(),
            )
        }
        Some(NetSlice::Ipv6(ip)) => (
            ip.header().source().to_vec(),
            ip.header().destination().to_vec(),
            ip.payload(),
        ),
        _ => return 0,
    };
    let right = transport(packet, &source, &destination);
    if let Some((stored, computed)) = right {
        assert_eq!(stored, computed, "{}", hex(frame));
    }
    let inner = match (inside.ip_number.0, &packet.transport) {
        (4 | 41, _) => Some(inside.payload),
        (_, Some(TransportSlice::Udp(udp))) if udp.destination_port() == 6080 => {
            Some(udp.payload())
        }
        _ => None,
    };
    let nested = inner.map_or(0, |inner| {
        let _ = IpSlice::from_slice(inner).expect("an IP packet in the tunnel");
        check(
            &SlicedPacket::from_ip(inner).expect("a whole packet in the tunnel"),
            frame,
        )
    });
    usize::from(right.is_some()) + nested
}

/// Stored and computed transport checksum.
fn transport(packet: &SlicedPacket<'_>, source: &[u8], destination: &[u8]) -> Option<(u16, u16)> {
    let four = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).ok();
    let sixteen = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).ok();
    match packet.transport.as_ref()? {
        TransportSlice::Tcp(tcp) => {
            let (header, payload) = (tcp.to_header(), tcp.payload());
            let computed = match (four(source), four(destination)) {
                (Some(source), Some(destination)) => {
                    header.calc_checksum_ipv4_raw(source, destination, payload)
                }
                _ => {
                    header.calc_checksum_ipv6_raw(sixteen(source)?, sixteen(destination)?, payload)
                }
            };
            Some((tcp.checksum(), computed.ok()?))
        }
        TransportSlice::Udp(udp) if udp.checksum() != 0 => {
            let (header, payload) = (udp.to_header(), udp.payload());
            let computed = match (four(source), four(destination)) {
                (Some(source), Some(destination)) => {
                    header.calc_checksum_ipv4_raw(source, destination, payload)
                }
                _ => {
                    header.calc_checksum_ipv6_raw(sixteen(source)?, sixteen(destination)?, payload)
                }
            };
            Some((udp.checksum(), computed.ok()?))
        }
        TransportSlice::Icmpv4(icmp) => Some((
            icmp.checksum(),
            icmp.header().icmp_type.calc_checksum(icmp.payload()),
        )),
        TransportSlice::Icmpv6(icmp) => {
            let (source, destination) = (sixteen(source)?, sixteen(destination)?);
            Some((
                icmp.checksum(),
                icmp.header()
                    .icmp_type
                    .calc_checksum(source, destination, icmp.payload())
                    .ok()?,
            ))
        }
        _ => None,
    }
}

/// Rebuilds each frame with every checksum left out, so that scapy computes it, and compares.
const SCAPY: &str = r#"
import sys
try:
    from scapy.all import Ether, IP, IPv6, UDP, Raw, conf
except ImportError as error:
    sys.exit("scapy is missing (apt-get install python3-scapy): %s" % error)
conf.verb = 0
UDP.payload_guess = []

def rebuilt(packet):
    layer = packet
    while layer:
        name = type(layer).__name__
        if "error" in name:
            break
        for field in ("chksum", "cksum"):
            if field in layer.fields and not (name == "UDP" and layer.fields[field] == 0):
                del layer.fields[field]
        layer.raw_packet_cache = None
        layer = layer.payload
    return bytes(packet)

def inner(packet):
    if UDP in packet and packet[UDP].dport == 6080:
        data = bytes(packet[UDP].payload)
        return (IPv6 if data[0] >> 4 == 6 else IP)(data)

count = 0
for line in sys.stdin:
    data = bytes.fromhex(line.strip())
    for packet, expected in ((Ether(data), data),):
        nested = inner(packet)
        if rebuilt(packet) != expected:
            sys.exit("scapy builds %s\nfrom %s" % (rebuilt(packet).hex(), data.hex()))
        if nested is not None:
            raw = bytes(nested)
            if rebuilt(nested) != raw:
                sys.exit("scapy builds %s\ninside %s" % (rebuilt(nested).hex(), data.hex()))
    count += 1
print(count)
"#;

#[test]
fn scapy_builds_the_same_frames() {
    let frames = in_namespace(|| {
        let mut harness = Harness::new(scene::tables(), ProgramSet::Linear)?;
        let mut frames = Vec::new();
        for (ifindex, packet) in plain_packets() {
            let packet = Packet {
                destination_mac: scene::mac(ifindex),
                ..packet
            };
            let output = harness.same("plain", ifindex, &packet.frame())?;
            assert!(matches!(
                output.reason.map(forwarder_common::Reason::outcome),
                Some(Outcome::Forward | Outcome::Answer)
            ));
            frames.push(output.frame);
        }
        Ok(frames)
    });
    assert!(frames.len() >= 50, "{} frames", frames.len());
    let checked = scapy(&frames).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(checked, frames.len());
}

/// A packet for every mode, family, protocol and answer.
fn plain_packets() -> Vec<(u32, Packet)> {
    let mut packets = Vec::new();
    for (family, client) in [(4, "198.51.100.77"), (6, "2001:db8:c::77")] {
        let from = (address(client), 4_000);
        for mode in [
            Mode::L2Dsr,
            Mode::IpipDsr,
            Mode::GueDsr,
            Mode::Dnat,
            Mode::FullNat,
        ] {
            for port in [port::PLAIN, port::OTHER_FAMILY, port::MSS] {
                let to = (vip(mode, family), port);
                packets.push((CLIENT, Packet::syn(from, to, 1_460)));
                packets.push((
                    CLIENT,
                    Packet {
                        payload: b"odd".to_vec(),
                        ..Packet::udp(from, to, b"")
                    },
                ));
            }
            let to = (vip(mode, family), port::SMALL_MTU);
            packets.push((CLIENT, Packet::udp(from, to, &[1; 900])));
            let kind = if family == 6 { 128 } else { 8 };
            packets.push((
                CLIENT,
                Packet::icmp(from.0, to.0, kind, 0, [0, 9, 0, 1], b"echo"),
            ));
        }
        let to = (vip(Mode::Dnat, family), port::MSS);
        packets.push((CLIENT, Packet::tcp(from, to, ACK)));
        let outside = address(if family == 6 {
            "2001:db8:e::9"
        } else {
            "203.0.115.9"
        });
        let host = address(if family == 6 {
            "2001:db8:5::9"
        } else {
            "10.0.0.9"
        });
        packets.push((
            scene::SERVER,
            Packet::tcp((host, 5_000), (outside, 443), SYN),
        ));
    }
    packets
}

fn scapy(frames: &[Vec<u8>]) -> Result<usize> {
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", SCAPY])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("python3 could not be started (apt-get install python3-scapy)")?;
    let mut input = python.stdin.take().context("a pipe")?;
    for frame in frames {
        writeln!(input, "{}", hex(frame))?;
    }
    drop(input);
    let output = python.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .with_context(|| format!("scapy's count: {text}"))
}
