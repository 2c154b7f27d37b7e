//! Takes the entries of a map over into one of another size.

use std::os::fd::AsFd as _;
use std::path::Path;

use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};
use aya::{Ebpf, Pod};
use forwarder_common::{Counter, Flow, FlowKey, V4, V6};

use super::batch::for_each_chunk;
use super::load::LoadError;
use super::map_mut;

const BPF_NOEXIST: u64 = 1;

/// Copies flows again that the old programs have made since the first time.
pub fn copy_flows(ebpf: &mut Ebpf, name: &str, from: &Path) -> Result<(), LoadError> {
    match name {
        "FLOWS4" | "EMBRYONIC4" | "FLOWS6" | "EMBRYONIC6" => copy(ebpf, name, from),
        _ => Ok(()),
    }
}

/// Copies a pinned map into the loaded one of that name, as far as there is room. What is there stays.
pub fn copy(ebpf: &mut Ebpf, name: &str, from: &Path) -> Result<(), LoadError> {
    match name {
        "FLOWS4" | "EMBRYONIC4" => entries::<FlowKey<V4>, Flow<V4>>(ebpf, name, from),
        "FLOWS6" | "EMBRYONIC6" => entries::<FlowKey<V6>, Flow<V6>>(ebpf, name, from),
        "VIRTUAL_SERVER_COUNTERS" | "BACKEND_COUNTERS" | "COUNTERS" => counters(ebpf, name, from),
        // The sizes of exceptions and fragments are fixed; rates fill up again in a second.
        _ => Ok(()),
    }
}

fn entries<K: Pod + Default, V: Pod + Default>(
    ebpf: &mut Ebpf,
    name: &str,
    from: &Path,
) -> Result<(), LoadError> {
    let old = MapData::from_pin(from)?;
    let mut map: HashMap<_, K, V> = map_mut(ebpf, name)?.try_into()?;
    for_each_chunk(old.fd().as_fd(), |keys: &[K], values: &[V]| {
        for (key, value) in keys.iter().zip(values) {
            // A full map takes no more; an entry that is there is newer.
            let _ = map.insert(key, value, BPF_NOEXIST);
        }
    })
    .map_err(|error| LoadError::Stages(MapError::IoError(error)))
}

fn counters(ebpf: &mut Ebpf, name: &str, from: &Path) -> Result<(), LoadError> {
    let old = Map::from_map_data(MapData::from_pin(from)?)?;
    let old: PerCpuArray<_, Counter> = old.try_into()?;
    let mut map: PerCpuArray<_, Counter> = map_mut(ebpf, name)?.try_into()?;
    for index in 0..old.len().min(map.len()) {
        map.set(index, old.get(&index, 0)?, 0)?;
    }
    Ok(())
}
