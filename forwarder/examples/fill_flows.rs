//! Writes flows into the maps of a running forwarder, for measurements: `fill_flows GENERATION NUMBER`, where
//! GENERATION is the directory of its pins. They are established TCP flows of addresses that send nothing.

use std::path::PathBuf;

use aya::maps::{HashMap, Map, MapData};
use forwarder::io::clock;
use forwarder_common::flow::{SECOND_SHIFT, state};
use forwarder_common::{Flow, FlowKey, V4, protocol};

/// Ports of a client's flows.
const PORTS: u32 = 50_000;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, generation, number] = arguments.as_slice() else {
        anyhow::bail!("usage: fill_flows GENERATION NUMBER");
    };
    let map = Map::from_map_data(MapData::from_pin(PathBuf::from(generation).join("FLOWS4"))?)?;
    let mut map: HashMap<_, FlowKey<V4>, Flow<V4>> = map.try_into()?;
    for flow in 0..number.parse()? {
        for (key, value) in entries(flow) {
            map.insert(key, value, 0)?;
        }
    }
    Ok(())
}

/// Forward and reply, as of mode `full-nat`.
fn entries(flow: u32) -> [(FlowKey<V4>, Flow<V4>); 2] {
    let word = |address: [u8; 4]| u32::from_ne_bytes(address);
    let [_, _, high, low] = (flow / PORTS).to_be_bytes();
    let port = u16::try_from(1_024 + flow % PORTS).unwrap_or(0);
    let (client, source) = (word([100, 64, high, low]), word([100, 65, high, low]));
    let (vip, backend) = (word([100, 66, 0, 1]), word([100, 66, 0, 2]));
    let ports = |from: u16, to: u16| u32::from(from.to_be()) | u32::from(to.to_be()) << 16;
    let key = |source, destination, ports| FlowKey {
        source,
        destination,
        ports,
        protocol: protocol::TCP.into(),
    };
    let value = |source, destination, ports, direction| Flow {
        source,
        destination,
        ports,
        backend: 1,
        state: state::SEEN | state::FULL_NAT | direction,
        last_seen: (clock::coarse_monotonic().as_nanos() >> SECOND_SHIFT) as u32,
        ..Flow::default()
    };
    [
        (
            key(client, vip, ports(port, 80)),
            value(source, backend, ports(port, 80), 0),
        ),
        (
            key(backend, source, ports(80, port)),
            value(vip, client, ports(80, port), state::REPLY),
        ),
    ]
}
