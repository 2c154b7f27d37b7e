//! Takes out of the maps what remembers a backend.

use aya::maps::MapError;
use aya::{Ebpf, Pod};
use forwarder_common::{Flow, FlowKey, V4, V6};

use super::batch::for_each_chunk;
use super::fd;
use super::load::LoadError;
use super::remove::remove_if;
use crate::core::home::Moves;
use crate::core::key::{Vip, from_word, from_words};

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

/// The same of flows whose virtual server has another pool than before.
pub fn moved(ebpf: &mut Ebpf, moves: &Moves) -> Result<(), LoadError> {
    let elsewhere = |vip: Option<Vip>| vip.is_some_and(|vip| moves.is_elsewhere(vip));
    for name in ["EXCEPTIONS4", "EMBRYONIC_EXCEPTIONS4"] {
        remove(ebpf, name, |flow: &FlowKey<V4>, _: &u32| {
            elsewhere(Vip::asked_by(flow, from_word(flow.destination).into()))
        })?;
    }
    for name in ["EXCEPTIONS6", "EMBRYONIC_EXCEPTIONS6"] {
        remove(ebpf, name, |flow: &FlowKey<V6>, _: &u32| {
            elsewhere(Vip::asked_by(flow, from_words(flow.destination).into()))
        })?;
    }
    Ok(())
}

/// Everything: exceptions and NAT flows. Returns how many entries of embryonic flows those were: IPv4, IPv6.
pub fn backend(ebpf: &mut Ebpf, index: u32) -> Result<[u64; 2], LoadError> {
    exceptions(ebpf, index)?;
    let of_four = |_: &FlowKey<V4>, flow: &Flow<V4>| flow.backend == index;
    let of_six = |_: &FlowKey<V6>, flow: &Flow<V6>| flow.backend == index;
    remove(ebpf, "FLOWS4", of_four)?;
    remove(ebpf, "FLOWS6", of_six)?;
    Ok([
        remove(ebpf, "EMBRYONIC4", of_four)?,
        remove(ebpf, "EMBRYONIC6", of_six)?,
    ])
}

fn remove<K: Pod + Default, V: Pod + Default>(
    ebpf: &mut Ebpf,
    name: &str,
    remembers: impl Fn(&K, &V) -> bool,
) -> Result<u64, LoadError> {
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
    let mut removed = 0;
    for key in &found {
        let gone = remove_if(map, key, |value| remembers(key, value)).map_err(failed)?;
        removed += u64::from(gone);
    }
    Ok(removed)
}
