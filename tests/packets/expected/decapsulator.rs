//! What a backend host takes out of its tunnel, and what it leaves alone.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, MapData};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use forwarder_common::AddressKey;
use forwarder_common::protocol::{IPV4, IPV6, UDP};
use forwarder_model::build::Packet;
use forwarder_model::packet::tcp::ACK;
use forwarder_model::wire;

use super::{FAMILIES, backend, client};
use crate::harness::{load, object};
use crate::maps::typed;
use crate::scene::address;

const PROGRAM: &str = "decapsulate";
const PASS: u32 = 2;
const GUE_PORT: u16 = 6_080;

/// The forwarder: the only one whose tunnels are let in.
fn forwarder(family: u8) -> IpAddr {
    address(if family == 6 {
        "2001:db8:5::1"
    } else {
        "10.0.0.1"
    })
}

fn served(family: u8) -> IpAddr {
    address(if family == 6 {
        "2001:db8:ff::1"
    } else {
        "203.0.113.1"
    })
}

/// A backend host with the program loaded.
struct Host(Ebpf);

impl Host {
    fn new() -> Result<Self> {
        let (path, object) = object()?;
        let mut ebpf = EbpfLoader::new()
            .override_global("GUE_PORT", &GUE_PORT.to_be(), true)
            .override_global("AYA_LOG_LEVEL", &0_u8, false)
            .load(&object)
            .with_context(|| format!("{path} does not load"))?;
        load(&mut ebpf, PROGRAM)?;
        for family in FAMILIES {
            match (forwarder(family), served(family)) {
                (IpAddr::V4(source), IpAddr::V4(vip)) => {
                    accept(
                        &mut ebpf,
                        "4",
                        32,
                        wire::v4_word(source),
                        wire::v4_word(vip),
                    )?;
                }
                (IpAddr::V6(source), IpAddr::V6(vip)) => {
                    accept(
                        &mut ebpf,
                        "6",
                        128,
                        wire::v6_words(source),
                        wire::v6_words(vip),
                    )?;
                }
                _ => unreachable!("both of one family"),
            }
        }
        Ok(Self(ebpf))
    }

    /// What the host's own stack gets.
    fn gets(&mut self, frame: &[u8]) -> Result<Vec<u8>> {
        let program: &Xdp = self.0.program(PROGRAM).context("the program")?.try_into()?;
        let mut out = vec![0; 4_096];
        let result = program.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        })?;
        assert_eq!(result.return_value, PASS);
        out.truncate(result.data_size_out as usize);
        Ok(out)
    }

    fn leaves(&mut self, what: &str, frame: &[u8]) -> Result<()> {
        assert_eq!(self.gets(frame)?, frame, "{what}");
        Ok(())
    }
}

fn accept<A: Copy>(ebpf: &mut Ebpf, family: &str, bits: u32, source: A, vip: A) -> Result<()>
where
    AddressKey<A>: aya::Pod,
{
    let key = |address| AddressKey { address };
    let mut sources: LpmTrie<&mut MapData, AddressKey<A>, u32> =
        typed(ebpf, &format!("DECAP_SOURCES{family}"))?;
    sources.insert(&Key::new(bits, key(source)), 1, 0)?;
    let mut vips: HashMap<&mut MapData, AddressKey<A>, u32> =
        typed(ebpf, &format!("DECAP_VIPS{family}"))?;
    vips.insert(key(vip), 1, 0)?;
    Ok(())
}

/// A frame with an outer IP header around `payload`.
fn outer(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let length = (20 + payload.len() as u16).to_be_bytes();
            frame.extend([0x08, 0x00, 0x45, 0, length[0], length[1], 0, 0, 0, 0]);
            frame.extend([64, protocol, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = (payload.len() as u16).to_be_bytes();
            frame.extend([
                0x86, 0xdd, 0x60, 0, 0, 0, length[0], length[1], protocol, 64,
            ]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => unreachable!("both of one family"),
    }
    frame.extend(payload);
    frame
}

/// A UDP header and what it carries.
fn gue(port: u16, header: &[u8], inner: &[u8]) -> Vec<u8> {
    let length = 8 + header.len() as u16 + inner.len() as u16;
    let mut datagram = [40_000, port, length, 0].map(u16::to_be_bytes).concat();
    datagram.extend(header);
    datagram.extend(inner);
    datagram
}

fn kind(family: u8) -> u8 {
    if family == 6 { IPV6 } else { IPV4 }
}

fn inner(family: u8, to: IpAddr) -> Vec<u8> {
    Packet::tcp((client(family), 4_000), (to, 80), ACK).ip()
}

#[test]
fn takes_the_forwarders_tunnels_off() -> Result<()> {
    let mut host = Host::new()?;
    for around in FAMILIES {
        for family in FAMILIES {
            let packet = inner(family, served(family));
            let ethertype = [[0x08, 0x00], [0x86, 0xdd]][usize::from(family == 6)];
            let mut plain = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
            plain.extend(ethertype);
            plain.extend(&packet);
            for (protocol, payload) in [
                (kind(family), packet.clone()),
                (UDP, gue(GUE_PORT, &[], &packet)),
                (UDP, gue(GUE_PORT, &[0, kind(family), 0, 0], &packet)),
            ] {
                let frame = outer(forwarder(around), backend(around, 1), protocol, &payload);
                assert_eq!(
                    host.gets(&frame)?,
                    plain,
                    "IPv{family} in IPv{around}, {protocol}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn leaves_everything_else_alone() -> Result<()> {
    let mut host = Host::new()?;
    for around in FAMILIES {
        let (from, to) = (forwarder(around), backend(around, 1));
        for family in FAMILIES {
            let packet = inner(family, served(family));
            let ipip = outer(from, to, kind(family), &packet);
            let stranger = outer(client(around), to, kind(family), &packet);
            host.leaves("a tunnel of somebody else", &stranger)?;
            let elsewhere = inner(family, backend(family, 1));
            host.leaves("not for a VIP", &outer(from, to, kind(family), &elsewhere))?;
            let lie = outer(from, to, kind(10 - family), &packet);
            host.leaves("another version than the outer header says", &lie)?;
            host.leaves(
                "the inner header is cut",
                &ipip[..ipip.len() - packet.len() + 10],
            )?;
            for (what, datagram) in [
                ("another port", gue(GUE_PORT + 1, &[], &packet)),
                ("flags", gue(GUE_PORT, &[0, kind(family), 1, 0], &packet)),
                ("fields", gue(GUE_PORT, &[1, kind(family), 0, 0], &packet)),
                (
                    "control",
                    gue(GUE_PORT, &[0x20, kind(family), 0, 0], &packet),
                ),
                ("no IP inside", gue(GUE_PORT, &[0, UDP, 0, 0], &packet)),
                ("nothing inside", gue(GUE_PORT, &[], &[])),
            ] {
                host.leaves(what, &outer(from, to, UDP, &datagram))?;
            }
            if around == 4 {
                for (what, offset) in [("a first fragment", 0x2000_u16), ("a last one", 0x0001)] {
                    let mut fragment = ipip.clone();
                    fragment[20..22].copy_from_slice(&offset.to_be_bytes());
                    host.leaves(what, &fragment)?;
                }
                let mut options = ipip.clone();
                options[14] = 0x46;
                host.leaves("options", &options)?;
            }
        }
    }
    Ok(())
}
