//! The flow maps after a run, against the model's.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Result, ensure};
use aya::Ebpf;
use aya::maps::{HashMap, MapData, PerCpuArray};
use forwarder_common::flow::{NO_BACKEND, state};
use forwarder_common::{Churn, Flow, FlowKey, V4, V6};
use forwarder_model::{Tuple, wire};

use crate::harness::Harness;
use crate::maps::typed;

/// Addresses of one family.
trait Family: Copy {
    fn address(self) -> IpAddr;
}

impl Family for V4 {
    fn address(self) -> IpAddr {
        wire::v4(self).into()
    }
}

impl Family for V6 {
    fn address(self) -> IpAddr {
        wire::v6(self).into()
    }
}

/// What of an entry is compared: bits that say how far a flow is are, times are not.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    becomes: Tuple,
    backend: Option<u32>,
    id: u32,
    bits: u32,
    reply_to: Option<([u8; 6], u32)>,
}

const BITS: u32 = state::REPLY | state::EGRESS | state::FIN | state::RST;

/// Compares established and embryonic flows and the exceptions with the model's.
pub fn compare(harness: &mut Harness) -> Result<()> {
    for (name, established) in [("FLOWS", true), ("EMBRYONIC", false)] {
        let mut program = BTreeMap::new();
        flows::<V4>(harness, &format!("{name}4"), &mut program)?;
        flows::<V6>(harness, &format!("{name}6"), &mut program)?;
        let tables = &harness.model.tables;
        let model = if established {
            &tables.flows
        } else {
            &tables.embryonic
        };
        let model: BTreeMap<Tuple, Entry> = model
            .iter()
            .map(|(tuple, flow)| (*tuple, entry(flow)))
            .collect();
        same(name, &program, &model)?;
    }
    churn::<V4>(harness, 0, "EMBRYONIC4")?;
    churn::<V6>(harness, 1, "EMBRYONIC6")?;
    let mut program = BTreeMap::new();
    exceptions::<V4>(harness, "EXCEPTIONS4", &mut program)?;
    exceptions::<V6>(harness, "EXCEPTIONS6", &mut program)?;
    same("EXCEPTIONS", &program, &harness.model.tables.exceptions)
}

/// Removes the reply entries of a flow map; how many there were.
pub fn lose_replies<A>(ebpf: &mut Ebpf, name: &str) -> Result<usize>
where
    FlowKey<A>: aya::Pod,
    Flow<A>: aya::Pod,
{
    let mut map: HashMap<&mut MapData, FlowKey<A>, Flow<A>> = typed(ebpf, name)?;
    let replies = map.iter().filter_map(|entry| match entry {
        Ok((key, flow)) => (flow.state & state::REPLY != 0).then_some(Ok(key)),
        Err(error) => Some(Err(error)),
    });
    let replies = replies.collect::<Result<Vec<_>, _>>()?;
    for key in &replies {
        map.remove(key)?;
    }
    Ok(replies.len())
}

/// What was made and not removed is there.
fn churn<A>(harness: &mut Harness, family: u32, name: &str) -> Result<()>
where
    FlowKey<A>: aya::Pod,
    Flow<A>: aya::Pod,
{
    let map: HashMap<&mut MapData, FlowKey<A>, Flow<A>> = typed(harness.ebpf(), name)?;
    let there = map.keys().count() as u64;
    let counters: PerCpuArray<&mut MapData, Churn> = typed(harness.ebpf(), "EMBRYONIC_COUNTERS")?;
    let churn = counters.get(&family, 0)?;
    let made: u64 = churn.iter().map(|each| each.made).sum();
    let removed: u64 = churn.iter().map(|each| each.removed).sum();
    ensure!(
        made - removed == there,
        "{name}: {made} made, {removed} removed, {there} there"
    );
    Ok(())
}

fn same<V: PartialEq + std::fmt::Debug>(
    name: &str,
    program: &BTreeMap<Tuple, V>,
    model: &BTreeMap<Tuple, V>,
) -> Result<()> {
    for (tuple, value) in model {
        ensure!(
            program.get(tuple) == Some(value),
            "{name} {tuple:?}: {:?}, the model has {value:?}",
            program.get(tuple)
        );
    }
    for (tuple, value) in program {
        ensure!(
            model.contains_key(tuple),
            "{name} {tuple:?}: {value:?}, the model has none"
        );
    }
    Ok(())
}

fn entry(flow: &forwarder_model::Flow) -> Entry {
    let bit = |set, bit| if set { bit } else { 0 };
    Entry {
        becomes: flow.becomes,
        backend: flow.backend,
        id: flow.id,
        bits: bit(flow.reply, state::REPLY)
            | bit(flow.egress, state::EGRESS)
            | bit(flow.fin, state::FIN)
            | bit(flow.rst, state::RST),
        reply_to: flow
            .hop
            .as_ref()
            .filter(|_| flow.reply)
            .map(|hop| (hop.destination_mac, hop.ifindex)),
    }
}

fn tuple<A: Family>(source: A, destination: A, ports: u32, protocol: u32) -> Tuple {
    let ports = ports.to_ne_bytes();
    Tuple {
        source: source.address(),
        destination: destination.address(),
        source_port: u16::from_be_bytes([ports[0], ports[1]]),
        destination_port: u16::from_be_bytes([ports[2], ports[3]]),
        protocol: protocol as u8,
    }
}

fn flows<A: Family>(
    harness: &mut Harness,
    name: &str,
    into: &mut BTreeMap<Tuple, Entry>,
) -> Result<()>
where
    FlowKey<A>: aya::Pod,
    Flow<A>: aya::Pod,
{
    let map: HashMap<&mut MapData, FlowKey<A>, Flow<A>> = typed(harness.ebpf(), name)?;
    for item in map.iter() {
        let (key, flow) = item?;
        let reply = flow.state & state::REPLY != 0;
        into.insert(
            tuple(key.source, key.destination, key.ports, key.protocol),
            Entry {
                becomes: tuple(flow.source, flow.destination, flow.ports, key.protocol),
                backend: Some(flow.backend).filter(|backend| *backend != NO_BACKEND),
                id: flow.id,
                bits: flow.state & BITS,
                reply_to: reply.then(|| (wire::mac(flow.link.destination_mac), flow.link.ifindex)),
            },
        );
    }
    Ok(())
}

fn exceptions<A: Family>(
    harness: &mut Harness,
    name: &str,
    into: &mut BTreeMap<Tuple, u32>,
) -> Result<()>
where
    FlowKey<A>: aya::Pod,
{
    let map: HashMap<&mut MapData, FlowKey<A>, u32> = typed(harness.ebpf(), name)?;
    for item in map.iter() {
        let (key, backend) = item?;
        into.insert(
            tuple(key.source, key.destination, key.ports, key.protocol),
            backend,
        );
    }
    Ok(())
}
