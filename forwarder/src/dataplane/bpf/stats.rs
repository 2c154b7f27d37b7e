//! Reads the per-CPU counters.

use std::collections::BTreeMap;

use aya::Ebpf;
use aya::maps::{MapData, MapError, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use forwarder_common::{Counter, Reason, limits};

use super::batch::for_each_per_cpu;
use super::load::LoadError;
use super::{fd, map_mut};
use crate::core::compile::Given;
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
    let mut counters = Counters::default();
    let reasons = Reason::COUNT as u32;
    each(
        ebpf,
        "COUNTERS",
        used.interfaces * reasons,
        |index, counter| {
            if let Some(reason) = Reason::ALL.get((index % reasons) as usize) {
                let at = (index / reasons, *reason);
                counters.interfaces.insert(at, counter);
            }
        },
    )?;
    counters.virtual_servers = pairs(ebpf, "VIRTUAL_SERVER_COUNTERS", used.virtual_servers)?;
    counters.backends = pairs(ebpf, "BACKEND_COUNTERS", used.backends)?;
    let pools = limits::SNAT_POOLS as u32;
    each(ebpf, "SNAT_COUNTERS", pools, |index, counter| {
        counters.snat_pools.insert(index, counter);
    })?;
    Ok(counters)
}

/// In and out by id, where one of them has counted.
fn pairs(ebpf: &Ebpf, name: &str, used: u32) -> Result<BTreeMap<u32, [Counter; 2]>, LoadError> {
    let mut pairs: BTreeMap<u32, [Counter; 2]> = BTreeMap::new();
    each(ebpf, name, used.saturating_mul(2), |index, counter| {
        pairs.entry(index / 2).or_default()[index as usize % 2] = counter;
    })?;
    Ok(pairs)
}

/// Every counter that is not zero.
fn each(
    ebpf: &Ebpf,
    name: &str,
    elements: u32,
    mut take: impl FnMut(u32, Counter),
) -> Result<(), LoadError> {
    let read = for_each_per_cpu(
        fd(ebpf, name)?,
        cpus()?,
        elements,
        |index, values: &[Counter]| {
            let counter = total(values);
            if counter.packets != 0 {
                take(index, counter);
            }
        },
    );
    Ok(read.map_err(MapError::IoError)?)
}

pub(super) fn cpus() -> Result<usize, LoadError> {
    Ok(nr_cpus().map_err(|(_, error)| MapError::IoError(error))?)
}

fn total(values: &[Counter]) -> Counter {
    let mut total = Counter::default();
    for counter in values {
        total.packets += counter.packets;
        total.bytes += counter.bytes;
    }
    total
}

/// Sets counters to zero.
pub fn reset(ebpf: &mut Ebpf, given: &Given) -> Result<(), LoadError> {
    let reasons = Reason::COUNT as u32;
    let of_slot = |slot: &u32| slot * reasons..(slot + 1) * reasons;
    let of_id = |id: &u32| id * 2..id * 2 + 2;
    let slots = given.interfaces.iter().flat_map(of_slot);
    zero(ebpf, "COUNTERS", slots)?;
    let ids = given.virtual_servers.iter().flat_map(of_id);
    zero(ebpf, "VIRTUAL_SERVER_COUNTERS", ids)?;
    let indices = given.backends.iter().flat_map(of_id);
    zero(ebpf, "BACKEND_COUNTERS", indices)?;
    zero(ebpf, "SNAT_COUNTERS", given.snat_pools.iter().copied())
}

fn zero(ebpf: &mut Ebpf, name: &str, elements: impl Iterator<Item = u32>) -> Result<(), LoadError> {
    let zeros = vec![Counter::default(); cpus()?];
    let mut array: PerCpuArray<_, Counter> = map_mut(ebpf, name)?.try_into()?;
    for element in elements {
        let zeros = PerCpuValues::try_from(zeros.clone()).map_err(MapError::IoError)?;
        array.set(element, zeros, 0)?;
    }
    Ok(())
}

pub(super) fn sum(array: &PerCpu<'_>, index: u32) -> Result<Counter, LoadError> {
    Ok(total(&array.get(&index, 0)?))
}
