//! Metrics for Prometheus.

mod allowance;
pub mod catalogue;
mod cloud;
mod exposition;
mod page;
mod pair;
mod scrape;

pub use page::page;
pub use scrape::{Listener, answer, ask};

use std::time::Duration;

use super::api::{Count, MIXED, SnatPool, Status};
use crate::core::allowance::Allowances;
use crate::core::health;
use crate::core::histogram::Histogram;
use crate::core::pair::record::Record;
use crate::io::cloud::Counts;

/// What the metrics are made from, at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What `status` shows.
    pub status: Status,
    /// Changes of role; `None`: this node is on its own.
    pub record: Option<Record>,
    /// Calls of a cloud's API; `None`: there are none.
    pub cloud: Option<Counts>,
    /// When the daemon started, since 1970.
    pub started: Duration,
    /// When a configuration was last put to work, since 1970.
    pub reloaded: Duration,
    /// Interfaces whose driver counts what the cloud allows.
    pub allowances: Vec<Allowance>,
    /// Egress rules.
    pub egress: Vec<Egress>,
    /// Backends that are checked.
    pub checks: Vec<Checks>,
    /// Pools whose backends are checked, and how long that took.
    pub check_durations: Vec<(String, Histogram)>,
    /// Flow maps.
    pub flows: Vec<FlowMap>,
    /// SNAT pools.
    pub snat: Vec<SnatPool>,
    /// The daemon itself.
    pub process: Process,
}

/// What a node may be.
pub const ROLES: [&str; 5] = ["single", "active", "standby", "releasing", MIXED];

/// What the cloud allows the instance, as an interface's driver counts it.
#[derive(Clone, Debug)]
pub struct Allowance {
    /// The interface's name in the file.
    pub interface: String,
    /// The counters.
    pub allowances: Allowances,
}

/// Counters of an egress rule.
#[derive(Clone, Debug)]
pub struct Egress {
    /// Source prefix.
    pub source: String,
    /// Interface.
    pub interface: String,
    /// To the hosts behind us.
    pub r#in: Count,
    /// From them.
    pub out: Count,
}

/// Results of a backend's health checks.
#[derive(Clone, Debug)]
pub struct Checks {
    /// Pool.
    pub pool: String,
    /// The backend's name.
    pub backend: String,
    /// How they ended.
    pub counts: health::Counts,
}

/// A flow map.
#[derive(Clone, Copy, Debug)]
pub struct FlowMap {
    /// `established` or `embryonic`.
    pub kind: &'static str,
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
    /// Entries in it.
    pub entries: u64,
    /// Entries that there is room for.
    pub limit: u64,
    /// Entries that were idle and removed.
    pub expired: u64,
    /// Entries that newer ones pushed out.
    pub evicted: u64,
}

/// What the daemon takes of the host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// Processor time.
    pub cpu: Duration,
    /// Resident memory, bytes.
    pub memory: u64,
    /// Open descriptors.
    pub descriptors: u64,
}
