//! The two nodes.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use forwarder_common::lease::GROUPS;
use serde::Serialize;

use crate::config::words::words;

/// How the nodes of a pair watch each other, as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// Where they reach each other.
    pub paths: Vec<PairPath>,
    /// The file with the secret.
    pub key_file: PathBuf,
    /// The UDP port of both.
    pub port: NonZeroU16,
    /// Between two echoes.
    pub interval: Duration,
    /// Unanswered echoes that make a path down.
    pub multiplier: u32,
    /// Whether the node with the higher priority takes over again.
    pub preempt: bool,
    /// How long it must have been well before.
    pub failback_delay: Duration,
    /// How long a node forwards after it has handed over.
    pub drain: Duration,
    /// Who is active while they are cut apart.
    pub partition: Partition,
    /// Groups of virtual servers, at least one; [`DEFAULT_GROUP`], if anything is in it, is the first.
    pub groups: Vec<Group>,
}

/// Who may be active without its peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Partition {
    /// Each node.
    Stay,
    /// The preferred one.
    Yield,
    /// One that reaches one of these.
    Gateway(Vec<IpAddr>),
    /// One that has a lease.
    Etcd(Etcd),
}

/// Where a lease is to be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Etcd {
    /// The servers.
    pub address: Vec<SocketAddr>,
    /// With it TLS: the servers' certificate is of one of these authorities.
    pub ca_file: Option<PathBuf>,
    /// The files of the own certificate and of its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// A name, and the file of its password.
    pub user: Option<(String, PathBuf)>,
    /// How long a lease lasts that is not renewed; whole seconds.
    pub lease: Duration,
}

impl Pair {
    /// Leaves groups at the places that they have at work. New ones get places that no group has there, as
    /// leases and addresses of what goes are not changed at once. `None`: there are not enough.
    pub fn keep_places(&mut self, at_work: &[Group]) -> Option<()> {
        let mut free =
            (0..GROUPS as u8).filter(|place| at_work.iter().all(|group| group.place != *place));
        for group in &mut self.groups {
            let known = at_work.iter().find(|known| known.id == group.id);
            group.place = match known {
                Some(known) => known.place,
                None => free.next()?,
            };
        }
        Some(())
    }

    /// What a running daemon can't change.
    pub fn fixed(&self) -> Self {
        Self {
            groups: Vec::new(),
            preempt: false,
            failback_delay: Duration::ZERO,
            drain: Duration::ZERO,
            ..self.clone()
        }
    }
}

words! {
    /// What decides who may be active without its peer.
    pub enum PartitionPolicy {
        /// Nothing: each node may.
        Stay = "stay",
        /// Priority: the preferred node may.
        Yield = "yield",
        /// Reachability: a node that reaches its gateway may.
        Gateway = "gateway",
        /// A lease in etcd: the node that has it may.
        Etcd = "etcd",
    }
}

/// The group of virtual servers that name none.
pub const DEFAULT_GROUP: &str = "default";

/// Virtual servers that move between the nodes together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The name in the file.
    pub name: String,
    /// What the nodes call it between them: of the name alone, as their files may differ for a while.
    pub id: u16,
    /// Where its leases are in the data plane: the same as long as the daemon runs.
    #[serde(skip)]
    pub place: u8,
    /// This node's priority.
    pub priority: u8,
    /// Whether it is the higher one, or this node the first of the file.
    pub preferred: bool,
}

impl Group {
    /// The id of a name.
    pub fn id(name: &str) -> u16 {
        if name == DEFAULT_GROUP {
            return 0;
        }
        // FNV-1a, folded.
        let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        ((hash >> 16 ^ hash & 0xffff) as u16).max(1)
    }
}

/// The ends of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PairPath {
    /// This node's.
    pub own: IpAddr,
    /// The other's.
    pub peer: IpAddr,
}
