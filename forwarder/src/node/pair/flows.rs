//! What the node and the thread that tells of flows have to tell each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use log::{info, warn};

use super::PairError;
use crate::config::model::{self, Snat};
use crate::core::compile::{Memory, State};
use crate::core::difference::difference;
use crate::core::history::Kind;
use crate::core::key::Network;
use crate::core::pair::Settings;
use crate::core::pair::sync::backends::{Backends, Remembered};
use crate::core::pair::sync::entry::name_hash;
use crate::core::pair::sync::names::{Names, Server};
use crate::dataplane::bpf::{Bpf, StartError};
use crate::io::pair::sync::{self, Handle, SyncView};
use crate::node::{Node, RunError};

/// The thread, and what it was told.
pub struct Flows {
    pub handle: Handle,
    thread: Option<JoinHandle<()>>,
    names: Names,
    backends: Arc<Backends>,
    memory: Arc<Memory>,
    /// Exceptions that the peer told of and that slots consult.
    consulted: u64,
    /// What the peer makes of backends and the maps hold.
    held: Option<Arc<Backends>>,
    /// What the peer's slots remembered and this node's do.
    recalled: Option<Arc<Remembered>>,
    /// Whether another pass was asked for, to do so.
    awaited: bool,
}

impl Flows {
    pub fn start(
        settings: &Settings,
        pair: &model::Pair,
        process: u64,
        bpf: &mut Bpf,
    ) -> Result<Self, RunError> {
        let identity = sync::Identity {
            own: settings.own,
            process,
            secret: settings.secret.clone(),
        };
        let events = bpf.flow_events().map_err(StartError::from)?;
        let started = sync::start(identity, pair, events, bpf.peer_flows()?);
        let (handle, thread) = started.map_err(PairError::from)?;
        Ok(Self {
            handle,
            thread: Some(thread),
            names: Names::default(),
            backends: Arc::default(),
            memory: Arc::default(),
            consulted: 0,
            held: None,
            recalled: None,
            awaited: false,
        })
    }

    /// What things are called now.
    pub fn names(&mut self, names: Names) {
        if self.names != names {
            self.names = names.clone();
            self.handle.names(names);
        }
    }

    /// What this node makes of backends, and its tables.
    fn backends(&mut self, backends: Backends, state: &State) {
        let same = *self.backends == backends;
        if same && self.memory.is_of(state) {
            return;
        }
        if !same {
            self.backends = Arc::new(backends);
        }
        self.memory = Arc::new(Memory::of(state));
        let (backends, memory) = (Arc::clone(&self.backends), Arc::clone(&self.memory));
        self.handle.backends(backends, memory);
    }

    /// What the peer's slots remembered, if this node's are to remember it too, and can: its tables are made of
    /// the same backends.
    fn next_recall(&mut self, followed: Option<&Arc<Backends>>) -> Option<Arc<Remembered>> {
        let past = self.handle.past().filter(|past| !self.has_recalled(past))?;
        let made = Some(&past.backends);
        if self.held.as_ref() == made {
            self.recalled = Some(Arc::clone(&past));
            self.awaited = false;
            return Some(past);
        }
        if followed == made {
            // After the pass that makes them of these.
            if !std::mem::replace(&mut self.awaited, true) {
                self.handle.look_again();
            }
        } else {
            // Too late: something has changed since.
            self.recalled = Some(past);
            self.awaited = false;
            self.handle.again();
        }
        None
    }

    fn has_recalled(&self, past: &Arc<Remembered>) -> bool {
        let recalled = self.recalled.as_ref();
        recalled.is_some_and(|recalled| Arc::ptr_eq(recalled, past))
    }

    /// The maps hold what the peer makes of backends.
    pub fn hold(&mut self, followed: Option<Arc<Backends>>) {
        self.held = followed;
    }

    /// How many exceptions the peer has told of, if there are more than are consulted.
    pub fn told_exceptions(&self) -> Option<u64> {
        let kept = self.handle.view().kept;
        (kept != self.consulted).then_some(kept)
    }

    /// So many are consulted.
    pub fn consulted(&mut self, kept: u64) {
        self.consulted = kept;
    }

    /// What is shown.
    pub fn view(&self) -> SyncView {
        let view = self.handle.view();
        let past = self.handle.past();
        SyncView {
            consulted: self.consulted,
            complete: view.complete && past.is_none_or(|past| self.has_recalled(&past)),
            ..view
        }
    }

    /// Ends the thread.
    pub fn stop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the thread that tells the peer of flows has failed");
        }
    }
}

impl Node {
    /// Makes of backends what the active peer does.
    pub(in crate::node) fn follow_peer(&mut self) {
        let followed = self.pair.as_ref();
        self.followed = followed.and_then(|pair| pair.flows.handle.followed());
        let Some(followed) = &self.followed else {
            return;
        };
        if followed.overrides == self.overrides {
            return;
        }
        self.overrides = followed.overrides.clone();
        let model = self.overrides.apply(&self.running.model);
        self.checks.extend(&model);
        let before = std::mem::replace(&mut self.model, model);
        self.checks.retain(&self.model);
        for each in difference(&before, &self.model) {
            let text = format!("{} (as at the peer)", each.details.join(", "));
            info!("{} {}: {text}", each.kind, each.name);
            self.remember(Kind::Override, each.name, &text);
        }
    }

    /// Lets slots remember what the active peer's remembered when this node came.
    pub(in crate::node) fn recall(&mut self, now: Duration) {
        let Some(pair) = &mut self.pair else { return };
        let Some(past) = pair.flows.next_recall(self.followed.as_ref()) else {
            return;
        };
        self.state.recall(&past.past, now);
        if let Some(slots) = self.excepted() {
            self.state.consult(now, |index| slots.contains(&index));
        }
    }

    /// Lets the peer do as this node does.
    pub(in crate::node) fn tell_backends(&mut self) {
        let Some(pair) = self.pair.as_mut().filter(|_| self.followed.is_none()) else {
            return;
        };
        let (down, ramps) = (
            self.checks.down(&self.model),
            self.checks.ramps(&self.model),
        );
        pair.flows.backends(
            Backends::new(self.overrides.clone(), down, ramps),
            &self.state,
        );
    }

    /// What flows are told by.
    pub(in crate::node) fn flow_names(&self) -> Names {
        let mut names = Names::default();
        for (ifindex, entry) in &self.actual.interfaces {
            let device = self.host.device(*ifindex);
            let mut known = self.model.interfaces.iter();
            if let Some(interface) = known.find(|each| Some(each.device.as_str()) == device) {
                names.interface(name_hash(&interface.name), *ifindex, entry.mac);
            }
        }
        let servers = self.model.virtual_servers.iter();
        let pools: BTreeMap<u32, &str> = servers
            .filter_map(|server| {
                let id = self.state.virtual_server(&server.name)?;
                Some((id, server.action.pool()?))
            })
            .collect();
        let servers = self.model.virtual_servers.iter();
        let alone: BTreeSet<u32> = servers
            .filter(|server| server.by_node)
            .filter_map(|server| self.state.virtual_server(&server.name))
            .collect();
        for (vip, entry) in &self.actual.virtual_servers {
            let pool = pools.get(&entry.id).copied().unwrap_or_default();
            let server = Server {
                id: entry.id,
                pool: pool.to_owned(),
                group: entry.group,
                alone: alone.contains(&entry.id),
            };
            names.server(*vip, server);
        }
        self.name_egress(&mut names);
        for (key, index) in self.state.backends() {
            if self.actual.backends.contains_key(&index) {
                names.backend(&key.pool, key.address, key.port, index);
            }
        }
        names
    }

    /// SNAT addresses that are at the active node, and the egress rules that take them.
    fn name_egress(&self, names: &mut Names) {
        let model = &self.model;
        let floating_group = model.floating_group();
        for interface in &model.interfaces {
            let floating = interface.floating.iter();
            floating.for_each(|address| names.moves(*address, floating_group));
        }
        let moving = |pool: &&model::SnatPool| pool.moves;
        for pool in model.snat_pools.iter().filter(moving) {
            let group = model.group(&pool.group);
            let addresses = pool.addresses.iter();
            addresses.for_each(|address| names.moves(*address, group));
        }
        for rule in &model.egress {
            let source = Network {
                address: rule.source.address(),
                length: rule.source.length(),
            };
            let of_family = |address: &IpAddr| address.is_ipv4() == source.address.is_ipv4();
            let group = match &rule.snat {
                Snat::Pool(name) => {
                    let pool = model.snat_pool(name).filter(moving);
                    pool.map(|pool| model.group(&pool.group))
                }
                Snat::Automap => {
                    let interface = model.interface(&rule.interface);
                    let floating = interface.into_iter().flat_map(|each| &each.floating);
                    floating
                        .filter(|each| of_family(each))
                        .map(|_| floating_group)
                        .next()
                }
            };
            if let (Some(group), Some(entry)) = (group, self.actual.egress.get(&source)) {
                names.rule(source, entry.id, group);
            }
        }
    }
}
