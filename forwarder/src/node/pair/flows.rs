//! What the node and the thread that tells of flows have to tell each other.

use std::collections::BTreeMap;
use std::thread::JoinHandle;

use log::{info, warn};

use super::PairError;
use crate::config::model;
use crate::core::difference::difference;
use crate::core::history::Kind;
use crate::core::pair::Settings;
use crate::core::pair::sync::backends::Backends;
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
    backends: Backends,
    /// Exceptions that the peer told of and that slots consult.
    consulted: u64,
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
            backends: Backends::default(),
            consulted: 0,
        })
    }

    /// What things are called now.
    pub fn names(&mut self, names: Names) {
        if self.names != names {
            self.names = names.clone();
            self.handle.names(names);
        }
    }

    /// What this node makes of backends.
    fn backends(&mut self, backends: Backends) {
        if self.backends != backends {
            self.backends = backends.clone();
            self.handle.backends(backends);
        }
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
        SyncView {
            consulted: self.consulted,
            ..self.handle.view()
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

    /// Lets the peer do as this node does.
    pub(in crate::node) fn tell_backends(&mut self) {
        let Some(pair) = self.pair.as_mut().filter(|_| self.followed.is_none()) else {
            return;
        };
        let (down, ramps) = (
            self.checks.down(&self.model),
            self.checks.ramps(&self.model),
        );
        pair.flows
            .backends(Backends::new(self.overrides.clone(), down, ramps));
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
        for (vip, entry) in &self.actual.virtual_servers {
            let pool = pools.get(&entry.id).copied().unwrap_or_default();
            let server = Server {
                id: entry.id,
                pool: pool.to_owned(),
                group: entry.group,
            };
            names.server(*vip, server);
        }
        for (key, index) in self.state.backends() {
            if self.actual.backends.contains_key(&index) {
                names.backend(&key.pool, key.address, key.port, index);
            }
        }
        names
    }
}
