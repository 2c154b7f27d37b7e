//! What is left in maps for others to read.

use std::net::IpAddr;

use anyhow::Result;
use aya::maps::{HashMap, MapData, RingBuf};
use forwarder_common::{Flow, FlowKey, Mode, Reason, V4, V6};
use forwarder_model::build::Packet;
use forwarder_model::packet::tcp::SYN;

use super::{Bench, FAMILIES, backend, client};
use crate::harness::Harness;
use crate::maps::typed;
use crate::scene::{CLIENT, SERVER, address, port, vip};

/// A flow's last packet is what its age is counted from.
#[test]
fn flows_note_when_they_were_last_seen() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let to = (vip(Mode::FullNat, family), port::OTHER_PORT);
            let packet = Packet::udp((client(family), 4_000), to, b"query");
            bench.send(CLIENT, &packet)?;
            let first = age(&mut bench.harness, family)?;
            assert!(!first.is_empty(), "IPv{family}: no flow");
            bench.send(CLIENT, &packet)?;
            let seen = last_seen(&mut bench.harness, family, 0)?;
            assert!(
                seen.iter().max() > first.iter().max(),
                "IPv{family}: {seen:?} after {first:?}"
            );
        }
        Ok(())
    });
}

/// What the peer has told is stamped ahead, and swept by that.
#[test]
fn a_packet_takes_no_flow_back_in_time() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let to = (vip(Mode::FullNat, family), port::OTHER_PORT);
            let packet = Packet::udp((client(family), 4_000), to, b"query");
            bench.send(CLIENT, &packet)?;
            let first = last_seen(&mut bench.harness, family, -10)?;
            assert!(!first.is_empty(), "IPv{family}: no flow");
            bench.send(CLIENT, &packet)?;
            assert_eq!(last_seen(&mut bench.harness, family, 0)?, first);
        }
        Ok(())
    });
}

/// Makes every flow look as if it had been quiet for ten of its "seconds".
fn age(harness: &mut Harness, family: u8) -> Result<Vec<u32>> {
    last_seen(harness, family, 10)
}

fn last_seen(harness: &mut Harness, family: u8, earlier: i32) -> Result<Vec<u32>> {
    let mut all = Vec::new();
    for name in ["FLOWS", "EMBRYONIC"].map(|name| format!("{name}{family}")) {
        if family == 6 {
            all.extend(move_back::<V6>(harness, &name, earlier)?);
        } else {
            all.extend(move_back::<V4>(harness, &name, earlier)?);
        }
    }
    Ok(all)
}

fn move_back<A: Copy>(harness: &mut Harness, name: &str, earlier: i32) -> Result<Vec<u32>>
where
    FlowKey<A>: aya::Pod,
    Flow<A>: aya::Pod,
{
    let mut map: HashMap<&mut MapData, FlowKey<A>, Flow<A>> = typed(harness.ebpf(), name)?;
    let flows = map.iter().collect::<Result<Vec<_>, _>>()?;
    let mut seen = Vec::new();
    for (key, mut flow) in flows {
        flow.last_seen = flow.last_seen.wrapping_add_signed(-earlier);
        seen.push(flow.last_seen);
        map.insert(key, flow, 0)?;
    }
    Ok(seen)
}

/// The daemon learns which neighbour egress SNAT waits for.
#[test]
fn missing_neighbours_are_asked_for() {
    Bench::run(|bench| {
        for family in FAMILIES {
            let outside = address(if family == 6 {
                "2001:db8:c::99"
            } else {
                "198.51.100.99"
            });
            let syn = Packet {
                source_mac: [4; 6],
                ..Packet::tcp((backend(family, 1), 5_000), (outside, 443), SYN)
            };
            bench.kept("nobody there", SERVER, &syn, Reason::DropNoNextHop)?;
            let mut events: RingBuf<&mut MapData> =
                typed(bench.harness.ebpf(), "NEIGHBOUR_EVENTS")?;
            let event = events.next().map(|event| event.to_vec());
            assert_eq!(event, Some(wanted(CLIENT, outside)), "IPv{family}");
            assert!(events.next().is_none(), "IPv{family}: said once");
        }
        Ok(())
    });
}

fn wanted(ifindex: u32, address: IpAddr) -> Vec<u8> {
    let mut event = ifindex.to_ne_bytes().to_vec();
    match address {
        IpAddr::V4(address) => event.extend(address.octets()),
        IpAddr::V6(address) => event.extend(address.octets()),
    }
    event.resize(20, 0);
    event
}
