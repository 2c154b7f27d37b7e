//! Reads the per-CPU counters.

use std::collections::BTreeMap;

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};
use forwarder_common::{Counter, Reason, limits};

use super::load::LoadError;
use super::map;
use crate::dataplane::Counters;

type PerCpu<'a> = PerCpuArray<&'a MapData, Counter>;

/// Counters of everything that has counted.
pub fn read(ebpf: &Ebpf) -> Result<Counters, LoadError> {
    let interfaces: PerCpu<'_> = map(ebpf, "COUNTERS")?.try_into()?;
    let mut counters = Counters::default();
    for slot in 0..limits::INTERFACES as u32 {
        for reason in Reason::ALL {
            let counter = sum(&interfaces, slot * Reason::COUNT as u32 + *reason as u32)?;
            if counter.packets != 0 {
                counters.interfaces.insert((slot, *reason), counter);
            }
        }
    }
    counters.virtual_servers = pairs(&map(ebpf, "VIRTUAL_SERVER_COUNTERS")?.try_into()?)?;
    counters.backends = pairs(&map(ebpf, "BACKEND_COUNTERS")?.try_into()?)?;
    Ok(counters)
}

fn pairs(array: &PerCpu<'_>) -> Result<BTreeMap<u32, [Counter; 2]>, LoadError> {
    let mut pairs = BTreeMap::new();
    for id in 0..array.len() / 2 {
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
