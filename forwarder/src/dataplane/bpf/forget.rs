//! Takes out of the maps what remembers a backend.

use aya::maps::MapError;
use aya::{Ebpf, Pod};
use forwarder_common::{Flow, FlowKey, V4, V6};

use super::batch::for_each_chunk;
use super::fd;
use super::load::LoadError;
use super::remove::remove_if;

/// What keeps older flows of the stateless modes where they are.
pub fn exceptions(ebpf: &mut Ebpf, index: u32) -> Result<(), LoadError> {
    for name in ["EXCEPTIONS4", "EMBRYONIC_EXCEPTIONS4"] {
        remove(ebpf, name, |_: &FlowKey<V4>, backend: &u32| {
            *backend == index
        })?;
    }
    for name in ["EXCEPTIONS6", "EMBRYONIC_EXCEPTIONS6"] {
        remove(ebpf, name, |_: &FlowKey<V6>, backend: &u32| {
            *backend == index
        })?;
    }
    Ok(())
}

/// Everything: exceptions and NAT flows.
pub fn backend(ebpf: &mut Ebpf, index: u32) -> Result<(), LoadError> {
    exceptions(ebpf, index)?;
    for name in ["FLOWS4", "EMBRYONIC4"] {
        remove(ebpf, name, |_: &FlowKey<V4>, flow: &Flow<V4>| {
            flow.backend == index
        })?;
    }
    for name in ["FLOWS6", "EMBRYONIC6"] {
        remove(ebpf, name, |_: &FlowKey<V6>, flow: &Flow<V6>| {
            flow.backend == index
        })?;
    }
    Ok(())
}

fn remove<K: Pod + Default, V: Pod + Default>(
    ebpf: &mut Ebpf,
    name: &str,
    remembers: impl Fn(&K, &V) -> bool,
) -> Result<(), LoadError> {
    let failed = |error| LoadError::Stages(MapError::IoError(error));
    let map = fd(ebpf, name)?;
    let mut found = Vec::new();
    for_each_chunk(map, |keys: &[K], values: &[V]| {
        let entries = keys.iter().zip(values);
        found.extend(
            entries
                .filter(|(key, value)| remembers(key, value))
                .map(|(key, _)| *key),
        );
    })
    .map_err(failed)?;
    for key in &found {
        remove_if(map, key, |value| remembers(key, value)).map_err(failed)?;
    }
    Ok(())
}
