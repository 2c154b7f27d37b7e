//! This node as one of a pair.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::warn;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::Node;
use crate::admin::api::{MIXED, PairRequest, PairStatus};
use crate::config::{Model, model};
use crate::core::history::Kind;
use crate::core::key::mac_bytes;
use crate::core::pair::claim::{Change, Health};
use crate::core::pair::liveness::Timing;
use crate::core::pair::secret::{BadSecret, Secret};
use crate::core::pair::{Settings, group};
use crate::dataplane::bpf::leases::Leases;
use crate::io::clock;
use crate::io::pair::{Handle, Place, Request, start};

/// So long the old node forwards what still comes to it.
const GRACE: Duration = Duration::from_millis(500);
/// So long a daemon that ends waits for the peer to take over.
const LEAVE: Duration = Duration::from_secs(3);

/// This node cannot be one of a pair.
#[derive(Debug, Error)]
pub enum PairError {
    /// The secret cannot be read.
    #[error("the pair's key {}: {source}\n  `forwarder pair keygen FILE` makes one; both nodes need the same", .path.display())]
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
    /// A socket or thread cannot be had.
    #[error("the pair: {0}")]
    Io(#[from] io::Error),
}

/// The pair, as long as the daemon runs.
pub struct Member {
    pub handle: Handle,
    model: model::Pair,
    peer: String,
    epoch_file: PathBuf,
    /// The highest of each group.
    epochs: BTreeMap<u16, u64>,
    /// The latest change of each group's role, with the wall clock's time.
    latest: BTreeMap<u16, (Duration, Change)>,
    places: Vec<Place>,
    health: Option<Health>,
}

impl Member {
    /// `None`: there is no pair.
    pub fn start(
        model: &Model,
        digest: &str,
        socket: &Path,
        leases: Leases,
        changes: mpsc::UnboundedSender<Change>,
    ) -> Result<Option<Self>, PairError> {
        let (Some(pair), Some(node)) = (&model.pair, &model.node) else {
            return Ok(None);
        };
        let timing = Timing {
            interval: pair.interval,
            multiplier: pair.multiplier,
        };
        let settings = Settings {
            own: u8::from(node.index == 1),
            secret: secret(&pair.key_file)?,
            timing,
            // Shorter than the detection time: whoever finds this node silent finds it stopped.
            lease: timing.detection() - timing.interval,
            grace: GRACE,
            paths: pair.paths.len(),
            groups: pair
                .groups
                .iter()
                .map(|group| group::Settings {
                    id: group.id,
                    priority: group.priority,
                    first: node.index == 0,
                    preempt: pair.preempt,
                    failback_delay: pair.failback_delay,
                    detection: timing.detection(),
                })
                .collect(),
            config: u64::from_str_radix(digest.get(..16).unwrap_or("0"), 16).unwrap_or(0),
        };
        let mut epoch_file = socket.as_os_str().to_owned();
        epoch_file.push(".epoch");
        let epoch_file = PathBuf::from(epoch_file);
        let epochs = read_epochs(&epoch_file);
        let process = super::run::random_key()?[0] | 1;
        Ok(Some(Self {
            handle: start(settings, pair, process, &epochs, leases, changes)?,
            model: pair.clone(),
            peer: node.peer.clone().unwrap_or_default(),
            epoch_file,
            epochs,
            latest: BTreeMap::new(),
            places: Vec::new(),
            health: None,
        }))
    }

    /// Hands over to the peer if it can take over.
    pub async fn leave(mut self) {
        self.handle.leave(LEAVE).await;
    }
}

fn secret(path: &Path) -> Result<Secret, PairError> {
    let failed = |source| PairError::Key {
        path: path.to_owned(),
        source,
    };
    let text = fs::read_to_string(path).map_err(failed)?;
    if fs::metadata(path).map_err(failed)?.mode() & 0o077 != 0 {
        return Err(PairError::Readable(path.to_owned()));
    }
    Secret::parse(&text).map_err(|error| PairError::Bad(path.to_owned(), error))
}

/// The highest epochs of the daemon before, by group; the peer knows them too.
fn read_epochs(path: &Path) -> BTreeMap<u16, u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let epoch = |line: &str| {
        let (group, epoch) = line.split_once(' ')?;
        Some((group.parse().ok()?, epoch.parse().ok()?))
    };
    text.lines().filter_map(epoch).collect()
}

fn write_epochs(path: &Path, epochs: &BTreeMap<u16, u64>) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let lines = epochs.iter();
    let text: String = lines.map(|(id, epoch)| format!("{id} {epoch}\n")).collect();
    fs::write(&new, text)?;
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    fs::rename(&new, path)
}

impl Node {
    /// Tells the pair what the host and the maps say.
    pub(super) fn inform_pair(&mut self) {
        let health = self.pair_health();
        let places = self.places();
        let Some(pair) = &mut self.pair else { return };
        pair.handle.alive();
        if pair.places != places {
            pair.places = places.clone();
            pair.handle.request(Request::Places(places));
        }
        if pair.health != Some(health) {
            pair.health = Some(health);
            pair.handle.request(Request::Health(health));
        }
    }

    /// A change of role.
    pub(super) fn role_changed(&mut self, change: Change) {
        let Some(pair) = &mut self.pair else { return };
        pair.latest.insert(change.group, (clock::wall(), change));
        pair.epochs.insert(change.group, change.epoch);
        if let Err(error) = write_epochs(&pair.epoch_file, &pair.epochs) {
            warn!("{}: {error}", pair.epoch_file.display());
        }
        let mut groups = pair.model.groups.iter();
        let group = groups.find(|group| group.id == change.group);
        let group = group.map(|group| group.name.clone()).unwrap_or_default();
        let text = format!("{}: {}, epoch {}", change.role, change.cause, change.epoch);
        self.remember(Kind::Role, &group, &text);
    }

    /// What an operator asked for.
    pub(super) fn ask_pair(
        &self,
        request: &PairRequest,
        reply: oneshot::Sender<Result<PairStatus, String>>,
    ) {
        let (Some(pair), Some(status)) = (&self.pair, self.pair_status()) else {
            // An asker that went away needs no answer.
            let _ = reply.send(Err("this node is not one of a pair".to_owned()));
            return;
        };
        if let Some(on) = request.maintenance {
            pair.handle.request(Request::Maintenance(on));
        }
        let Some(to) = &request.fail_over_to else {
            let _ = reply.send(Ok(status));
            return;
        };
        let (group, here) = match self.destination(pair, &status, request.group.as_deref(), to) {
            Ok(destination) => destination,
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        let (done, answer) = oneshot::channel();
        pair.handle.request(Request::FailOver(group, here, done));
        tokio::spawn(async move {
            let result = match answer.await {
                Ok(Ok(())) => Ok(status),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the daemon is stopping".to_owned()),
            };
            let _ = reply.send(result);
        });
    }

    /// Which group is meant, if not all, and whether it is to be here.
    fn destination(
        &self,
        pair: &Member,
        status: &PairStatus,
        group: Option<&str>,
        to: &str,
    ) -> Result<(Option<u16>, bool), String> {
        let role = match group {
            None => &status.role,
            Some(name) => {
                let mut groups = status.groups.iter();
                let known = groups.find(|group| group.name == name);
                let unknown = || format!("the pair has no group \"{name}\"");
                &known.ok_or_else(unknown)?.role
            }
        };
        let own = self.model.node.as_ref().map_or("", |node| &node.name);
        let here = match to {
            "" if role == MIXED => {
                return Err("both nodes carry groups: name a node or a group".to_owned());
            }
            "" => role != "active",
            name if name == own => true,
            name if name == pair.peer => false,
            name => return Err(format!("the pair has no node \"{name}\"")),
        };
        Ok((group.map(model::Group::id), here))
    }

    /// What is shown of the pair.
    pub(super) fn pair_status(&self) -> Option<PairStatus> {
        let pair = self.pair.as_ref()?;
        let view = pair.handle.view();
        let servers = &self.model.virtual_servers;
        let (peer, latest) = (&pair.peer, &pair.latest);
        Some(PairStatus::new(&view, &pair.model, servers, peer, latest))
    }

    /// How well this node is: every interface works, or not.
    fn pair_health(&self) -> Health {
        let working = self.model.interfaces.iter().filter(|interface| {
            self.host.carries(&interface.device)
                && !self.not_attached.contains_key(&interface.device)
        });
        match working.count() {
            0 => Health::Isolated,
            count if count < self.model.interfaces.len() => Health::Degraded,
            _ => Health::Sound,
        }
    }

    /// Every VIP at every interface that answers for it.
    fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for (address, entry) in &self.actual.vip_addresses {
            for (ifindex, interface) in &self.actual.interfaces {
                if entry.answers >> interface.slot & 1 == 1 {
                    places.push(Place {
                        group: entry.group as usize,
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
