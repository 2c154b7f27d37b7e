//! The pair over the socket.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model;
use crate::core::pair::record::Turn;
use crate::core::pair::watch::{self, Names};
use crate::core::pair::{GroupView, View};
use crate::io::pair::sync::SyncView;
use crate::io::pair::witness::WitnessView;

/// [`PairStatus::role`] of a node whose roles differ.
pub const MIXED: &str = "mixed";

/// Body of `POST /v1/pair`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PairRequest {
    /// The node that is to be active; empty: the other one.
    #[serde(default)]
    pub fail_over_to: Option<String>,
    /// The group of virtual servers that fails over; `null`: all.
    #[serde(default)]
    pub group: Option<String>,
    /// Whether this node is kept from being active.
    #[serde(default)]
    pub maintenance: Option<bool>,
    /// Only say what would happen.
    #[serde(default)]
    pub dry_run: bool,
}

/// Answer to `POST /v1/pair`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PairAnswer {
    /// The node that it is about: the one that is to be active, or whose maintenance it is.
    pub node: String,
    /// What happens, or would happen, in order; none: there is nothing to do.
    pub steps: Vec<String>,
}

/// The pair as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PairStatus {
    /// This node's role in every group: `active`, `standby` or `releasing`; `mixed`: see `groups`.
    pub role: String,
    /// `sound`, `degraded` (an interface does not work) or `isolated` (none works).
    pub health: String,
    /// Whether the operator keeps this node from being active.
    pub maintenance: bool,
    /// The groups of virtual servers, in the order of the file.
    pub groups: Vec<Group>,
    /// The peer.
    pub peer: Peer,
    /// The paths, in the order of the file.
    pub paths: Vec<PairPath>,
    /// Datagrams that changed nothing, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Who says which node may be active alone, where that is one who keeps a lease.
    #[serde(default)]
    pub witness: Option<WitnessStatus>,
    /// Flows that the nodes tell each other of.
    pub sync: SyncView,
}

/// A witness that keeps a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WitnessStatus {
    /// What it is: `etcd`.
    pub kind: String,
    /// Whether it answers; `null`: it was not asked yet.
    pub answers: Option<bool>,
    /// Whether this node has the lease: it asks for it only while it is, or would be, active alone.
    pub holds: bool,
    /// Why it does not answer.
    pub problem: Option<String>,
}

impl WitnessStatus {
    /// What is shown; `now`: since boot.
    pub fn new(view: &WitnessView, now: Duration) -> Self {
        Self {
            kind: view.kind.to_owned(),
            answers: view.asked.then_some(view.problem.is_none()),
            holds: view.until.is_some_and(|until| now < until),
            problem: view.problem.clone(),
        }
    }
}

/// Virtual servers that move between the nodes together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// Its name; `default`: the virtual servers that name none.
    pub name: String,
    /// `active`, `standby` or `releasing`.
    pub role: String,
    /// The peer's role; `null`: it was not heard lately.
    pub peer_role: Option<String>,
    /// The role that the peer said last, however long ago; `null`: it was never heard.
    pub peer_last_role: Option<String>,
    /// The peer's priority, as it said last.
    pub peer_priority: Option<u8>,
    /// The highest epoch seen: it grows with every takeover.
    pub epoch: u64,
    /// This node's priority.
    pub priority: u8,
    /// The latest change of role.
    pub latest: Option<RoleChange>,
    /// The names of its virtual servers.
    pub virtual_servers: Vec<String>,
}

/// A change of role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleChange {
    /// Milliseconds since 1970.
    pub at_milliseconds: u64,
    /// The role from then on.
    pub role: String,
    /// The epoch from then on.
    pub epoch: u64,
    /// Why: `peer-lost`, `offered`, …
    pub cause: String,
    /// The same for people.
    pub why: String,
    /// What took how long: `detection`, `hand-over`, `decision`, `lease`, `announcement`.
    pub microseconds: BTreeMap<String, u64>,
}

impl RoleChange {
    /// A change; `at`: by the wall clock.
    pub fn new(at: Duration, turn: &Turn) -> Self {
        let phases = turn.phases.iter();
        Self {
            at_milliseconds: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            role: turn.change.role.to_string(),
            epoch: turn.change.epoch,
            cause: turn.change.cause.word().to_owned(),
            why: turn.change.cause.to_string(),
            microseconds: phases
                .map(|(phase, took)| (phase.word().to_owned(), microseconds(*took)))
                .collect(),
        }
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The other node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its role in every group, or `mixed`; `null`, as what follows: it was not heard lately.
    pub role: Option<String>,
    /// Its health.
    pub health: Option<String>,
    /// Whether its operator keeps it from being active.
    pub maintenance: Option<bool>,
    /// Its version.
    pub version: Option<String>,
    /// The first digits of the SHA-256 of its configuration.
    pub config_hash: Option<String>,
    /// Whether its configuration is the same.
    pub same_config: Option<bool>,
    /// What it said last; `null`: it was never heard.
    pub last: Option<LastWord>,
}

/// What was heard of the other node last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastWord {
    /// How long ago.
    pub milliseconds_ago: u64,
    /// Its role in every group then, or `mixed`.
    pub role: Option<String>,
    /// Its health then.
    pub health: String,
    /// Whether its operator kept it from being active.
    pub maintenance: bool,
    /// Its version.
    pub version: String,
}

impl Peer {
    fn new(view: &View, name: &str, groups: &[Group]) -> Self {
        Self {
            name: name.to_owned(),
            role: of_all(groups.iter().map(|group| group.peer_role.as_ref())),
            health: view.peer.map(|peer| peer.health.word().to_owned()),
            maintenance: view.peer.map(|peer| peer.maintenance),
            version: view.peer.map(|peer| watch::version(peer.version)),
            config_hash: view.peer.map(|peer| format!("{:016x}", peer.config)),
            same_config: view.peer.map(|peer| peer.config == view.config),
            last: view.last.map(|(ago, said)| LastWord {
                milliseconds_ago: u64::try_from(ago.as_millis()).unwrap_or(u64::MAX),
                role: of_all(groups.iter().map(|group| group.peer_last_role.as_ref())),
                health: said.health.word().to_owned(),
                maintenance: said.maintenance,
                version: watch::version(said.version),
            }),
        }
    }
}

/// A path between the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PairPath {
    /// This node's end.
    pub own: IpAddr,
    /// The other end.
    pub peer: IpAddr,
    /// `up`, `down` or `unknown`.
    pub state: String,
    /// Of the latest answer.
    pub round_trip_microseconds: Option<u64>,
    /// Who at the peer gave it: `data-plane`, or `daemon` where that is not attached to the path's device.
    pub answered_by: Option<String>,
    /// Of the last 64 echoes, so many percent were not answered in time.
    pub lost_percent: u8,
}

impl PairStatus {
    /// What is shown.
    pub fn new(
        view: &View,
        pair: &model::Pair,
        servers: &[model::VirtualServer],
        names: &Names,
        latest: &BTreeMap<u16, RoleChange>,
        sync: SyncView,
    ) -> Self {
        let groups: Vec<Group> = pair
            .groups
            .iter()
            .filter_map(|group| {
                let view = view.groups.iter().find(|view| view.id == group.id)?;
                Some(Group::new(group, view, servers, latest.get(&group.id)))
            })
            .collect();
        let paths = pair.paths.iter().zip(&view.paths);
        Self {
            role: of_all(groups.iter().map(|group| Some(&group.role))).unwrap_or_default(),
            health: view.health.word().to_owned(),
            maintenance: view.maintenance,
            peer: Peer::new(view, &names.peer, &groups),
            groups,
            paths: paths
                .map(|(ends, path)| PairPath {
                    own: ends.own,
                    peer: ends.peer,
                    state: path.state.word().to_owned(),
                    answered_by: path.answered_by.map(|by| by.word().to_owned()),
                    round_trip_microseconds: path.round_trip.map(microseconds),
                    lost_percent: path.lost_percent,
                })
                .collect(),
            refused: view
                .refusals
                .iter()
                .map(|(refusal, count)| (refusal.word().to_owned(), *count))
                .collect(),
            witness: None,
            sync,
        }
    }
}

impl Group {
    fn new(
        group: &model::Group,
        view: &GroupView,
        servers: &[model::VirtualServer],
        latest: Option<&RoleChange>,
    ) -> Self {
        let servers = servers.iter().filter(|server| server.group == group.name);
        Self {
            name: group.name.clone(),
            role: view.role.to_string(),
            peer_role: view.peer.map(|claim| claim.role.to_string()),
            peer_last_role: view.last.map(|claim| claim.role.to_string()),
            peer_priority: view.last.map(|claim| claim.priority),
            epoch: view.epoch,
            priority: group.priority,
            latest: latest.cloned(),
            virtual_servers: servers.map(|server| server.name.clone()).collect(),
        }
    }
}

/// The role in every group; `None`: it is not known of one.
fn of_all<'a>(mut roles: impl Iterator<Item = Option<&'a String>>) -> Option<String> {
    let first = roles.next()??;
    let mut all = first.as_str();
    for role in roles {
        if role? != first {
            all = MIXED;
        }
    }
    Some(all.to_owned())
}
