//! The data plane as the control plane sees it.

pub mod attach;
pub mod bpf;
pub mod fake;
pub mod pin;

use std::collections::BTreeMap;

use forwarder_common::{Counter, Reason};
use thiserror::Error;

use crate::core::compile::Given;
use crate::core::op::Op;

/// A data plane that takes changes and gives counters.
pub trait DataPlane {
    /// Makes one change. On success it holds for every packet from now on.
    ///
    /// # Errors
    /// When the change was not made; the maps are as before.
    fn apply(&mut self, op: &Op) -> Result<(), ApplyError>;

    /// Removes the backend's exceptions. For one that is dead, so that it gets no packets of flows
    /// that have moved once it is back. Its NAT flows stay: with their next packet they move to
    /// another backend, which resets what it does not know, instead of falling silent.
    ///
    /// # Errors
    /// When a map cannot be read or changed.
    fn forget_exceptions(&mut self, index: u32) -> Result<(), ApplyError>;

    /// Removes everything that remembers the backend: exceptions and NAT flows. For a backend that
    /// is gone, so that its index may be given to another.
    ///
    /// # Errors
    /// When a map cannot be read or changed.
    fn forget_backend(&mut self, index: u32) -> Result<(), ApplyError>;

    /// Counters of ids that were given to something new begin at zero. To be called before anything
    /// of it is in the maps.
    ///
    /// # Errors
    /// When a map cannot be written.
    fn reset_counters(&mut self, given: &Given) -> Result<(), ApplyError>;

    /// Every counter, summed over CPUs.
    ///
    /// # Errors
    /// When a map cannot be read.
    fn counters(&self) -> Result<Counters, ApplyError>;
}

/// Why a change was not made.
#[derive(Debug, Error)]
#[error("{op}: {reason}")]
pub struct ApplyError {
    /// The change, or what else was tried.
    pub op: String,
    /// What went wrong.
    pub reason: String,
}

/// Counters since the data plane was loaded; zeros may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By interface slot and reason.
    pub interfaces: BTreeMap<(u32, Reason), Counter>,
    /// By virtual server id: in, out.
    pub virtual_servers: BTreeMap<u32, [Counter; 2]>,
    /// By backend index: in, out.
    pub backends: BTreeMap<u32, [Counter; 2]>,
    /// By SNAT pool: packets for which it had no port.
    pub snat_pools: BTreeMap<u32, Counter>,
}
