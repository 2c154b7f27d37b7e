//! The data plane in the kernel.

pub mod batch;
mod copy;
pub mod decapsulate;
pub mod drops;
pub mod expiry;
pub mod flow_events;
pub mod flows;
mod forget;
pub mod leases;
pub mod load;
pub mod peer;
pub mod peer_flows;
mod read;
mod remove;
pub mod servers;
pub mod shape;
pub(crate) mod slots;
mod stats;
pub mod told;
pub mod trace;
mod under_way;
mod wanted;
pub(crate) mod write;

pub use slots::read_pinned as read_pinned_slots;
pub use wanted::Wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use aya::maps::{Map, MapError};
use aya::{Ebpf, Pod};
use forwarder_common::peer::Peer;
use forwarder_common::programs::ProgramSet;
use forwarder_common::{FlowKey, V4, V6};
use thiserror::Error;

use super::attach::{AttachError, Attached, Attachment, Choice, Facts};
use super::pin::{Generation, PinDirectory, PinError, unlink};
use super::{ApplyError, Counters, DataPlane};
use crate::core::compile::Given;
use crate::core::home::Moves;
use crate::core::op::Op;
use crate::core::tables::Tables;
use crate::io::netlink::Netlink;
use drops::Dropped;
use expiry::{Census, Churned, Expiry, FlowMaps, Idle, Timeouts};
use load::{LoadError, Options};
use servers::Servers;
use shape::Adoption;
use slots::Slots;
use trace::{TraceError, Traced};

/// The maps and programs of one daemon. Dropping it detaches and removes them, unless they are pinned.
#[derive(Debug)]
pub struct Bpf {
    // Declared in the order in which they must go: what uses the maps goes before the maps.
    expiry: Expiry,
    slots: Slots,
    servers: Servers,
    attachments: Vec<Attachment>,
    ebpf: Ebpf,
    /// Maps of the daemon before that were copied.
    copied: BTreeMap<&'static str, PathBuf>,
    traces: bool,
    used: stats::Used,
}

/// The data plane cannot be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The object does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The lookup tables cannot be mapped, or flow expiry not started.
    #[error("the data plane cannot be set up: {0}")]
    Io(#[from] io::Error),
    /// Interfaces cannot be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Maps cannot be pinned.
    #[error(transparent)]
    Pin(#[from] PinError),
}

impl Bpf {
    /// Creates maps, or takes over those there are, and loads the program sets that the choices need.
    /// Nothing is attached yet.
    pub fn load(
        object: &[u8],
        options: &Options,
        choices: &[Choice],
        adoption: &Adoption,
    ) -> Result<Self, StartError> {
        let mut ebpf = load::open(object, options, &adoption.maps)?;
        load::load_sets(&mut ebpf, choices)?;
        for (name, path) in &adoption.copies {
            copy::copy(&mut ebpf, name, path)?;
        }
        let slots = Slots::map(fd(&ebpf, "SLOTS")?, options.sizes.slots as usize)?;
        let flows = FlowMaps::new(
            fd(&ebpf, "FLOWS4")?,
            fd(&ebpf, "FLOWS6")?,
            fd(&ebpf, "EMBRYONIC4")?,
            fd(&ebpf, "EMBRYONIC6")?,
        )?;
        let churn = Churned::new(fd(&ebpf, "EMBRYONIC_COUNTERS")?, stats::cpus()?)?;
        let expiry = Expiry::start(flows, churn, Timeouts::default())?;
        Ok(Self {
            expiry,
            slots,
            servers: Servers::open(&ebpf)?,
            attachments: Vec::new(),
            ebpf,
            copied: adoption.copies.clone(),
            traces: false,
            used: stats::Used::default(),
        })
    }

    /// Pins the maps in a generation's directory.
    pub fn pin(&self, generation: &Generation) -> Result<(), StartError> {
        for name in shape::pinned_maps() {
            let path = generation.path.join(name);
            if let Err(error) = map(&self.ebpf, name)?.pin(&path) {
                match PinError::aya(&path, error) {
                    PinError::Io { source, .. }
                        if source.kind() == io::ErrorKind::AlreadyExists => {}
                    error => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// What the maps hold: see [`read::read`].
    pub fn read(&mut self, expected: &Tables) -> Result<Tables, ApplyError> {
        let tables =
            read::read(&self.ebpf, &self.slots, &mut self.servers, expected).map_err(|error| {
                ApplyError {
                    op: "read the maps".to_owned(),
                    reason: describe(&error),
                }
            })?;
        self.used.note_all(&tables);
        Ok(tables)
    }

    /// Returns when no packet is under way any more that may have read what was in the maps before.
    pub fn wait_for_packets(&self) {
        under_way::wait();
    }

    /// Removes the exceptions of flows that belong to another pool now.
    pub fn forget_moved(&mut self, moves: &Moves) -> Result<(), ApplyError> {
        forget::moved(&mut self.ebpf, moves).map_err(|error| ApplyError {
            op: "forget exceptions of virtual servers that have moved".to_owned(),
            reason: describe(&error),
        })
    }

    /// The leases of a pair's node.
    pub fn leases(&mut self) -> Result<leases::Leases, StartError> {
        let clock = load::load_filter(&mut self.ebpf, "clock")?;
        Ok(leases::Leases::map(fd(&self.ebpf, "LEASES")?, &clock)?)
    }

    /// The filter of probe ports: it lets connections in while this node may answer for VIPs.
    pub fn probe_filter(&mut self) -> Result<OwnedFd, StartError> {
        Ok(load::load_filter(&mut self.ebpf, "probe")?)
    }

    /// What happens to flows; to be taken once.
    pub fn flow_events(&mut self) -> Result<flow_events::FlowEvents, LoadError> {
        flow_events::FlowEvents::open(&mut self.ebpf)
    }

    /// The flow maps, to be filled with what the peer tells.
    pub fn peer_flows(&self) -> Result<peer_flows::PeerFlows, StartError> {
        let exceptions = [
            fd(&self.ebpf, "EXCEPTIONS4")?,
            fd(&self.ebpf, "EXCEPTIONS6")?,
        ];
        Ok(peer_flows::PeerFlows::open(&self.expiry, exceptions)?)
    }

    /// Lets the data plane answer the peer's echoes and note its answers: see [`peer::store`].
    pub fn set_peer(
        &mut self,
        peer: &Peer,
        paths: &[(IpAddr, IpAddr)],
    ) -> Result<peer::Arrivals, StartError> {
        peer::store(&mut self.ebpf, peer, paths)?;
        Ok(peer::Arrivals::map(fd(&self.ebpf, "ARRIVALS")?)?)
    }

    /// The loaded object, for the data-plane logger.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Every exception to a changed slot, embryonic or not: flow and backend.
    pub fn exceptions(
        &self,
        mut v4: impl FnMut(&FlowKey<V4>, u32),
        mut v6: impl FnMut(&FlowKey<V6>, u32),
    ) -> Result<(), StartError> {
        for name in ["EXCEPTIONS4", "EMBRYONIC_EXCEPTIONS4"] {
            each(fd(&self.ebpf, name)?, &mut v4)?;
        }
        for name in ["EXCEPTIONS6", "EMBRYONIC_EXCEPTIONS6"] {
            each(fd(&self.ebpf, name)?, &mut v6)?;
        }
        Ok(())
    }

    /// Neighbours that the data plane wants resolved; to be taken once.
    pub fn wanted(&mut self) -> Result<Wanted, LoadError> {
        Wanted::open(&mut self.ebpf)
    }

    /// Attaches to interfaces: all, or none. Where a pinned link of ours is, its program is replaced.
    pub fn attach(
        &mut self,
        netlink: &mut Netlink,
        interfaces: &[(Facts, Choice)],
        pins: Option<&PinDirectory>,
    ) -> Result<(), StartError> {
        let choices: Vec<Choice> = interfaces.iter().map(|(_, choice)| *choice).collect();
        load::load_sets(&mut self.ebpf, &choices)?;
        let before = self.attachments.len();
        for (facts, choice) in interfaces {
            match Attachment::packet_path(&mut self.ebpf, netlink, facts, *choice, pins) {
                Ok(attachment) => self.attachments.push(attachment),
                Err(error) => {
                    self.attachments.drain(before..).for_each(Attachment::undo);
                    return Err(error.into());
                }
            }
        }
        for (name, path) in std::mem::take(&mut self.copied) {
            copy::copy_flows(&mut self.ebpf, name, &path)?;
        }
        Ok(())
    }

    /// Detaches from some interfaces.
    pub fn detach_from(&mut self, devices: &BTreeSet<String>) {
        self.detach_where(|attached| devices.contains(&attached.device));
    }

    /// Detaches from those interfaces.
    pub fn detach_where(&mut self, gone: impl Fn(&Attached) -> bool) {
        let gone = self
            .attachments
            .extract_if(.., |each| gone(each.attached()));
        gone.for_each(Attachment::detach);
    }

    /// Detaches whatever pinned link is not one of the attachments: of interfaces that are gone or no
    /// longer ours.
    pub fn keep_links_only(&self, pins: &PinDirectory) -> Result<(), PinError> {
        for link in pins.links()? {
            let mut own = self.attachments.iter();
            if !own.any(|each| each.pin() == Some(link.path.as_path())) {
                unlink(&link.path)?;
            }
        }
        Ok(())
    }

    /// Pins links whose pins are gone.
    pub fn pin_links_again(&mut self, pins: &PinDirectory) -> Result<(), StartError> {
        if self.attachments.iter().all(Attachment::is_pinned) {
            return Ok(());
        }
        pins.make_again()?;
        let attachments = std::mem::take(&mut self.attachments);
        for attachment in attachments {
            self.attachments.push(attachment.pin_again()?);
        }
        Ok(())
    }

    /// The flow maps, for a thread that looks through them.
    pub fn flow_maps(&self) -> Arc<FlowMaps> {
        self.expiry.maps()
    }

    /// What the flow maps held a few seconds ago.
    pub fn census(&self) -> Arc<Census> {
        self.expiry.census()
    }

    /// The attachments.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// What is attached.
    pub fn attached(&self) -> impl Iterator<Item = &Attached> {
        self.attachments.iter().map(Attachment::attached)
    }

    /// Detaches from every interface.
    pub fn detach(&mut self) {
        self.attachments.drain(..).for_each(Attachment::detach);
    }

    /// The packet that was dropped last, for every reason there was one for.
    pub fn last_drops(&self) -> Result<Vec<Dropped>, LoadError> {
        drops::last(&self.ebpf)
    }

    /// Runs a frame through the pipeline as if it had come in by `ifindex`; writes no map.
    pub fn trace(&mut self, frame: &[u8], ifindex: u32) -> Result<Traced, TraceError> {
        // The trace programs are loaded when the first trace is asked for.
        if !self.traces {
            load::load_set(&mut self.ebpf, ProgramSet::Trace)?;
            self.traces = true;
        }
        trace::run(&mut self.ebpf, frame, ifindex)
    }
}

impl Bpf {
    /// How flows of these virtual servers, by id, are forgotten.
    pub fn set_idle_times(&self, times: BTreeMap<u32, Idle>) {
        self.expiry.set_idle_times(times);
    }
}

impl DataPlane for Bpf {
    fn apply(&mut self, op: &Op) -> Result<(), ApplyError> {
        self.used.note(op);
        write::apply(&mut self.ebpf, &self.slots, &mut self.servers, op).map_err(|error| {
            ApplyError {
                op: op.to_string(),
                reason: describe(&error),
            }
        })
    }

    fn forget_exceptions(&mut self, index: u32) -> Result<(), ApplyError> {
        forget::exceptions(&mut self.ebpf, index).map_err(|error| ApplyError {
            op: format!("forget exceptions of backend {index}"),
            reason: describe(&error),
        })
    }

    fn forget_backend(&mut self, index: u32) -> Result<(), ApplyError> {
        let forgotten = forget::backend(&mut self.ebpf, index).map_err(|error| ApplyError {
            op: format!("forget backend {index}"),
            reason: describe(&error),
        })?;
        self.expiry.removed(forgotten);
        Ok(())
    }

    fn reset_counters(&mut self, given: &Given) -> Result<(), ApplyError> {
        stats::reset(&mut self.ebpf, given).map_err(|error| ApplyError {
            op: "reset counters".to_owned(),
            reason: describe(&error),
        })
    }

    fn counters(&self) -> Result<Counters, ApplyError> {
        stats::read(&self.ebpf, self.used).map_err(|error| ApplyError {
            op: "read counters".to_owned(),
            reason: describe(&error),
        })
    }
}

fn each<K: Pod + Default>(map: BorrowedFd<'_>, take: &mut impl FnMut(&K, u32)) -> io::Result<()> {
    batch::for_each_chunk(map, |keys: &[K], backends: &[u32]| {
        keys.iter()
            .zip(backends)
            .for_each(|(key, backend)| take(key, *backend));
    })
}

/// An error with what caused it, on one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}

/// A map of the object.
fn map<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a Map, LoadError> {
    ebpf.map(name)
        .ok_or_else(|| LoadError::Missing(format!("map {name}")))
}

/// A map of the object, to change.
fn map_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Map, LoadError> {
    ebpf.map_mut(name)
        .ok_or_else(|| LoadError::Missing(format!("map {name}")))
}

/// A map's descriptor.
pub(crate) fn fd<'a>(ebpf: &'a Ebpf, name: &str) -> Result<BorrowedFd<'a>, LoadError> {
    let data = match map(ebpf, name)? {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::LpmTrie(data)
        | Map::PerCpuArray(data) => data,
        other => {
            return Err(LoadError::Stages(MapError::InvalidName {
                name: format!("{other:?}"),
            }));
        }
    };
    Ok(data.fd().as_fd())
}
