//! Reads the per-CPU counters.

use std::collections::BTreeMap;

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};
use forwarder_common::{Counter, Reason};

use super::load::LoadError;
use super::map;
use crate::core::op::Op;
use crate::core::tables::Tables;
use crate::dataplane::Counters;

type PerCpu<'a> = PerCpuArray<&'a MapData, Counter>;

/// How far the counter arrays are in use: reading an element is a system call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    interfaces: u32,
    virtual_servers: u32,
    backends: u32,
}

impl Used {
    /// Takes in a change: what it names may count from now on, and its counters stay.
    pub fn note(&mut self, op: &Op) {
        let raise = |used: &mut u32, index: u32| *used = (*used).max(index.saturating_add(1));
        match op {
            Op::Interface {
                entry: Some(entry), ..
            } => raise(&mut self.interfaces, entry.slot),
            Op::VirtualServer {
                entry: Some(entry), ..
            } => {
                raise(&mut self.virtual_servers, entry.id);
            }
            Op::Egress {
                entry: Some(entry), ..
            } => raise(&mut self.virtual_servers, entry.id),
            Op::Backend {
                index,
                entry: Some(_),
            } => raise(&mut self.backends, *index),
            _ => (),
        }
    }
}

impl Used {
    /// Takes in everything that the maps hold.
    pub fn note_all(&mut self, tables: &Tables) {
        let raise = |used: &mut u32, index: Option<u32>| {
            *used = (*used).max(index.map_or(0, |index| index.saturating_add(1)));
        };
        let slots = tables.interfaces.values().map(|entry| entry.slot);
        raise(&mut self.interfaces, slots.max());
        let servers = tables.virtual_servers.values().map(|entry| entry.id);
        let egress = tables.egress.values().map(|entry| entry.id);
        raise(&mut self.virtual_servers, servers.chain(egress).max());
        raise(
            &mut self.backends,
            tables.backends.keys().next_back().copied(),
        );
    }
}

/// Counters of everything that has counted.
pub fn read(ebpf: &Ebpf, used: Used) -> Result<Counters, LoadError> {
    let interfaces: PerCpu<'_> = map(ebpf, "COUNTERS")?.try_into()?;
    let mut counters = Counters::default();
    for slot in 0..used.interfaces {
        for reason in Reason::ALL {
            let counter = sum(&interfaces, slot * Reason::COUNT as u32 + *reason as u32)?;
            if counter.packets != 0 {
                counters.interfaces.insert((slot, *reason), counter);
            }
        }
    }
    let virtual_servers = map(ebpf, "VIRTUAL_SERVER_COUNTERS")?.try_into()?;
    counters.virtual_servers = pairs(&virtual_servers, used.virtual_servers)?;
    counters.backends = pairs(&map(ebpf, "BACKEND_COUNTERS")?.try_into()?, used.backends)?;
    Ok(counters)
}

fn pairs(array: &PerCpu<'_>, used: u32) -> Result<BTreeMap<u32, [Counter; 2]>, LoadError> {
    let mut pairs = BTreeMap::new();
    for id in 0..used.min(array.len() / 2) {
        let pair = [sum(array, id * 2)?, sum(array, id * 2 + 1)?];
        if pair != <[Counter; 2]>::default() {
            pairs.insert(id, pair);
        }
    }
    Ok(pairs)
}

pub(super) fn sum(array: &PerCpu<'_>, index: u32) -> Result<Counter, LoadError> {
    let mut total = Counter::default();
    for counter in array.get(&index, 0)?.iter() {
        total.packets += counter.packets;
        total.bytes += counter.bytes;
    }
    Ok(total)
}
