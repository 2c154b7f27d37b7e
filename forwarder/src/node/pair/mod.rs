//! This node as one of a pair.

mod ask;
mod files;
mod flows;
mod regroup;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forwarder_common::peer::Peer;
use log::{info, warn};
use thiserror::Error;
use tokio::sync::mpsc;

use super::notes::Notes;
use super::{Node, RunError};
use crate::admin::api::{PairStatus, RoleChange, WitnessStatus};
use crate::config::{Model, model};
use crate::core::key::mac_bytes;
use crate::core::pair::claim::{Health, Role};
use crate::core::pair::group::PATIENCE;
use crate::core::pair::liveness::Timing;
use crate::core::pair::local::{self, Fault, Local};
use crate::core::pair::partition::Policy;
use crate::core::pair::record::{Record, Turn};
use crate::core::pair::secret::BadSecret;
use crate::core::pair::watch::{self, Names, Refused};
use crate::core::pair::{Settings, View, group};
use crate::dataplane::bpf::Bpf;
use crate::io::clock;
use crate::io::pair::witness::WitnessError;
use crate::io::pair::{Ends, Handle, Place, Request, start};
use crate::io::sign::Sign;
use files::Files;
use flows::Flows;

/// How long a data plane that answers echoes itself goes on without the daemon: longer than any daemon waits
/// for a CPU. The peer notices silence only after it.
const REFLECTED_LEASE: Duration = Duration::from_millis(500);
/// So long the data plane goes on with what the peer can't take from a daemon that ends: the next one is to be
/// there by then.
const LINGER: Duration = Duration::from_secs(30);
/// So long a daemon that ends waits for the peer to take over.
const LEAVE: Duration = PATIENCE.saturating_add(Duration::from_secs(3));
/// And so long at most it forwards what still comes afterwards.
const DRAIN: Duration = Duration::from_secs(3);

/// This node cannot be one of a pair.
#[derive(Debug, Error)]
pub enum PairError {
    /// The secret cannot be read.
    #[error("the pair's key {}: {source}\n  `forwarder peer keygen FILE` makes one; both nodes need the same", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read the secret.
    #[error("the pair's key {} can be read by others; chmod 600 it", .0.display())]
    Readable(PathBuf),
    /// It is no secret.
    #[error("the pair's key {}: {}", .0.display(), .1)]
    Bad(PathBuf, BadSecret),
    /// The witness cannot be asked.
    #[error("the pair: {0}")]
    Witness(#[from] WitnessError),
    /// A socket or thread cannot be had.
    #[error("the pair: {0}")]
    Io(#[from] io::Error),
}

/// The pair, as long as the daemon runs.
pub struct Member {
    pub handle: Handle,
    pub flows: Flows,
    /// Whether this node is the first of the file.
    first: bool,
    model: model::Pair,
    /// Groups that a reload has removed: their names and VIPs.
    gone: BTreeMap<u16, (String, Vec<IpAddr>)>,
    names: Names,
    files: Files,
    /// The highest of each group.
    epochs: BTreeMap<u16, u64>,
    /// The latest change of each group's role.
    latest: BTreeMap<u16, RoleChange>,
    record: Record,
    places: Vec<Place>,
    health: Option<Health>,
    local: Local,
    faults: Notes<Fault>,
    noted: Notes<String>,
    refused: Refused,
    /// Whether what came lately from the peer's address was not authentic, and nothing else came.
    strange: bool,
}

impl Member {
    /// `None`: there is no pair.
    pub fn start(
        model: &Model,
        digest: &str,
        socket: &Path,
        bpf: &mut Bpf,
        changes: mpsc::UnboundedSender<Turn>,
        sign: Sign,
    ) -> Result<Option<Self>, RunError> {
        let (Some(pair), Some(node)) = (&model.pair, &model.node) else {
            return Ok(None);
        };
        let timing = Timing {
            interval: pair.interval,
            multiplier: pair.multiplier,
        };
        let own = u8::from(node.index == 1);
        let secret = files::secret(&pair.key_file)?;
        let process = super::run::random_key()?[0] | 1;
        let (own_keys, peer_keys) = (secret.keys(own), secret.keys(1 - own));
        let peer = Peer {
            process,
            own: own.into(),
            echo: peer_keys.echo,
            reflection: own_keys.answer,
            answer: peer_keys.answer,
        };
        let paths: Vec<_> = pair
            .paths
            .iter()
            .map(|path| (path.own, path.peer))
            .collect();
        let arrivals = bpf.set_peer(&peer, &paths)?;
        let settings = Settings {
            own,
            secret,
            timing,
            // Shorter than the detection time: whoever finds this node silent finds it stopped.
            lease: timing.detection() - timing.interval,
            reflected_lease: REFLECTED_LEASE,
            grace: pair.drain,
            paths: pair.paths.len(),
            groups: pair
                .groups
                .iter()
                .map(|group| group_settings(pair, group, own == 0))
                .collect(),
            policy: match &pair.partition {
                model::Partition::Stay => Policy::Stay,
                model::Partition::Yield => Policy::Yield,
                model::Partition::Gateway(_) => Policy::gateway(timing.detection()),
                model::Partition::Etcd(_) => {
                    Policy::lease(timing.detection(), REFLECTED_LEASE.max(timing.detection()))
                }
            },
            config: short(digest),
            version: VERSION,
        };
        let files = Files::of(socket);
        let epochs = files.epochs();
        let flows = Flows::start(&settings, pair, process, bpf)?;
        let ends = Ends {
            leases: bpf.leases()?,
            arrivals,
            changes,
            sign,
            flows: flows.handle.clone(),
        };
        let handle = start(settings, pair, &node.name, process, &epochs, ends);
        let handle = handle.map_err(PairError::from)?;
        if files.maintenance() {
            warn!("in maintenance, as before the start; `forwarder maintenance off` ends it");
            handle.request(Request::Maintenance(true));
        }
        Ok(Some(Self {
            handle,
            flows,
            names: Names {
                own: node.name.clone(),
                peer: node.peer.clone().unwrap_or_default(),
                paths,
                groups: regroup::names(&pair.groups),
            },
            first: own == 0,
            gone: BTreeMap::new(),
            model: pair.clone(),
            files,
            epochs,
            latest: BTreeMap::new(),
            record: Record::default(),
            places: Vec::new(),
            health: None,
            local: Local::default(),
            faults: Notes::default(),
            noted: Notes::default(),
            refused: Refused::default(),
            strange: false,
        }))
    }

    /// Keeps epochs that the peer has told of, too: they are not to come again if both nodes end.
    fn keep_epochs(&mut self, view: &View) {
        let mut news = false;
        for group in &view.groups {
            let known = self.epochs.entry(group.id).or_default();
            news |= group.epoch > *known;
            *known = group.epoch.max(*known);
        }
        if news && let Err(error) = self.files.set_epochs(&self.epochs) {
            warn!("the epoch cannot be kept: {error}");
        }
    }

    /// What is not as it should be.
    fn problems(&self, view: &View) -> Vec<String> {
        let mut problems = watch::problems(view, &self.names);
        if self.strange {
            let peer = &self.names.peer;
            problems.push(format!(
                "{peer} seems to have another key: what comes from its address is not authentic"
            ));
        }
        if let Some(witness) = self.handle.witness()
            && let Some(problem) = witness.problem
        {
            let own = &self.names.own;
            let kind = witness.kind;
            problems.push(format!(
                "{own} may not be active alone for long: no answer of {kind}: {problem}"
            ));
        }
        problems
    }

    /// Hands over to the peer if it can take over. `lingers`: otherwise the data plane goes on for a while.
    pub async fn leave(&mut self, lingers: bool) {
        let drain = self.model.drain.min(DRAIN);
        let linger = lingers.then_some(LINGER);
        self.handle.leave(LEAVE, drain, linger).await;
        self.flows.stop();
    }

    /// This node's ends of the paths.
    fn ends(&self) -> impl Iterator<Item = IpAddr> {
        self.names.paths.iter().map(|(own, _)| *own)
    }
}

/// What holds for a group.
fn group_settings(pair: &model::Pair, group: &model::Group, first: bool) -> group::Settings {
    let timing = Timing {
        interval: pair.interval,
        multiplier: pair.multiplier,
    };
    group::Settings {
        id: group.id,
        place: group.place,
        priority: group.priority,
        first,
        preferred: group.preferred,
        preempt: pair.preempt,
        failback_delay: pair.failback_delay,
        detection: timing.detection(),
        lease: REFLECTED_LEASE.max(timing.detection()),
    }
}

/// The addresses that move with a group.
pub(super) fn vips_of(model: &Model, group: &str) -> Vec<IpAddr> {
    let servers = model.virtual_servers.iter();
    let servers = servers.filter(|server| server.group == group);
    let vips: BTreeSet<IpAddr> = servers.map(|server| server.address).collect();
    vips.into_iter().collect()
}

/// This software's version.
const VERSION: [u16; 3] = [
    number(env!("CARGO_PKG_VERSION_MAJOR")),
    number(env!("CARGO_PKG_VERSION_MINOR")),
    number(env!("CARGO_PKG_VERSION_PATCH")),
];

const fn number(text: &str) -> u16 {
    match u16::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => u16::MAX,
    }
}

/// As much of a digest as the nodes tell each other.
fn short(digest: &str) -> u64 {
    u64::from_str_radix(digest.get(..16).unwrap_or("0"), 16).unwrap_or(0)
}

impl Node {
    /// Tells the pair what the host and the maps say.
    pub(super) fn inform_pair(&mut self) {
        if self.pair.is_none() {
            return;
        }
        let health = self.pair_health();
        let places = self.places();
        let names = self.pair.as_ref().map(|_| self.flow_names());
        let (Some(pair), Some(names)) = (&mut self.pair, names) else {
            return;
        };
        pair.handle.alive();
        pair.flows.names(names);
        self.tell_backends();
        let Some(pair) = &mut self.pair else { return };
        if pair.places != places {
            pair.places = places.clone();
            pair.handle.request(Request::Places(places));
        }
        if pair.health != Some(health) {
            pair.health = Some(health);
            pair.handle.request(Request::Health(health));
        }
    }

    /// Whether the data plane goes on by itself when the daemon ends, and answers the peer meanwhile.
    pub(super) fn lingers(&self) -> bool {
        let Some(pair) = self.pair.as_ref().filter(|_| self.keep.is_some()) else {
            return false;
        };
        let mut attached = self.bpf.attached();
        attached.any(|attached| {
            let own = |end| self.host.has_address(attached.ifindex, end);
            pair.ends().any(own)
        })
    }

    /// Another configuration is at work.
    pub(super) fn pair_reloaded(&self) {
        if let Some(pair) = &self.pair {
            let digest = short(&self.running.hash);
            pair.handle.request(Request::Config(digest));
        }
    }

    /// A change of role.
    pub(super) fn role_changed(&mut self, turn: Turn) {
        let Some(pair) = &mut self.pair else { return };
        let at = clock::wall();
        pair.record.add(&turn);
        let change = turn.change;
        let told = RoleChange::new(at, &turn);
        pair.latest.insert(change.group, told.clone());
        pair.epochs.insert(change.group, change.epoch);
        if let Err(error) = pair.files.set_epochs(&pair.epochs) {
            warn!("the epoch cannot be kept: {error}");
        }
        let known = pair.names.groups.get(&change.group);
        let gone = pair.gone.get(&change.group);
        let (group, vips) = match (known, gone) {
            (Some(name), _) => (name.clone(), vips_of(&self.model, name)),
            (None, Some((name, vips))) => (name.clone(), vips.clone()),
            (None, None) => Default::default(),
        };
        self.tell_hooks(&group, vips, &told);
        self.cloud.role(&group, &told);
        self.history.push_turn(at, group, turn);
    }

    /// What the metrics tell of changes of role.
    pub(super) fn record(&self) -> Option<Record> {
        self.pair.as_ref().map(|pair| pair.record.clone())
    }

    /// Tells what has come up, and what is over.
    pub(super) fn watch_pair(&mut self) {
        let Some(pair) = &mut self.pair else { return };
        let now = clock::monotonic();
        let view = pair.handle.view();
        match pair.refused.line(&view.refusals, now) {
            Some((true, line)) => warn!("{line}"),
            Some((false, line)) => info!("{line}"),
            None => {}
        }
        pair.keep_epochs(&view);
        pair.strange = view.peer.is_none() && pair.refused.counts_forged(&view.refusals);
        let problems = pair.problems(&view);
        let news = pair.noted.update(problems, now);
        self.tell("pair", news);
    }

    /// What is not as it should be.
    pub(super) fn pair_problems(&self) -> Vec<String> {
        let pair = self.pair.as_ref();
        pair.map_or_else(Vec::new, |pair| {
            let mut problems = pair.problems(&pair.handle.view());
            problems.extend(pair.faults.all().map(ToString::to_string));
            problems
        })
    }

    /// What is shown of the pair.
    pub(super) fn pair_status(&self) -> Option<PairStatus> {
        let pair = self.pair.as_ref()?;
        let mut view = pair.handle.view();
        for (refusal, count) in pair.flows.handle.refused() {
            *view.refusals.entry(refusal).or_default() += count;
        }
        let servers = &self.model.virtual_servers;
        let (names, latest) = (&pair.names, &pair.latest);
        let flows = pair.flows.view();
        let model = &pair.model;
        let mut status = PairStatus::new(&view, model, servers, names, latest, flows);
        let witness = pair.handle.witness();
        status.witness = witness.map(|witness| WitnessStatus::new(&witness, clock::monotonic()));
        Some(status)
    }

    /// How well this node is; what is new of it is logged and kept.
    fn pair_health(&mut self) -> Health {
        let now = clock::monotonic();
        // What comes with the role is not missed, and counts once it is up.
        let interfaces = self.model.interfaces.iter();
        let interfaces: Vec<_> = interfaces
            .filter(|interface| !interface.moves || self.host.carries(&interface.device))
            .map(|interface| local::Interface {
                device: interface.device.clone(),
                carries: self.host.carries(&interface.device),
                attached: !self.not_attached.contains_key(&interface.device),
                next_hop: self.host.has_next_hop(&interface.device),
            })
            .collect();
        let maps = self.failure.is_none() && self.maps_answer;
        let Some(pair) = &mut self.pair else {
            return Health::Sound;
        };
        let groups = pair.handle.view().groups;
        let active = groups.iter().any(|group| group.role != Role::Standby);
        let faults = pair.local.faults(&interfaces, maps, active, now);
        let health = local::health(&faults, interfaces.len());
        let news = pair.faults.update(faults, now);
        self.tell("node", news);
        health
    }

    /// Every VIP at every interface that answers for it.
    fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for (address, entry) in &self.actual.vip_addresses {
            for (ifindex, interface) in &self.actual.interfaces {
                if entry.answers >> interface.slot & 1 == 1 {
                    places.push(Place {
                        group: entry.group as u8,
                        ifindex: *ifindex,
                        mac: mac_bytes(interface.mac),
                        vip: *address,
                    });
                }
            }
        }
        places
    }
}
