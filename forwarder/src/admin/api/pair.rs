//! The pair over the socket.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model;
use crate::core::pair::claim::Change;
use crate::core::pair::{GroupView, View};

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
    /// Why.
    pub cause: String,
}

/// The other node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its role in every group, or `mixed`; `null`: it was not heard lately.
    pub role: Option<String>,
    /// Its health.
    pub health: Option<String>,
    /// Whether its operator keeps it from being active.
    pub maintenance: Option<bool>,
    /// Whether its config file is the same.
    pub same_config: Option<bool>,
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
}

impl PairStatus {
    /// What is shown.
    pub fn new(
        view: &View,
        pair: &model::Pair,
        servers: &[model::VirtualServer],
        peer: &str,
        latest: &BTreeMap<u16, (Duration, Change)>,
    ) -> Self {
        let word = |value| {
            let value = serde_json::to_value(value).unwrap_or_default();
            value.as_str().unwrap_or_default().to_owned()
        };
        let groups: Vec<Group> = pair
            .groups
            .iter()
            .zip(&view.groups)
            .map(|(group, view)| Group::new(group, view, servers, latest.get(&group.id)))
            .collect();
        let paths = pair.paths.iter().zip(&view.paths);
        Self {
            role: of_all(groups.iter().map(|group| Some(&group.role))).unwrap_or_default(),
            health: word(view.health),
            maintenance: view.maintenance,
            peer: Peer {
                name: peer.to_owned(),
                role: of_all(groups.iter().map(|group| group.peer_role.as_ref())),
                health: view.peer.map(|peer| word(peer.health)),
                maintenance: view.peer.map(|peer| peer.maintenance),
                same_config: view.peer.map(|peer| peer.same_config),
            },
            groups,
            paths: paths
                .map(|(ends, path)| PairPath {
                    own: ends.own,
                    peer: ends.peer,
                    state: path.state.word().to_owned(),
                    round_trip_microseconds: path
                        .round_trip
                        .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
                })
                .collect(),
            refused: view
                .refusals
                .iter()
                .map(|(refusal, count)| (refusal.to_string(), *count))
                .collect(),
        }
    }
}

impl Group {
    fn new(
        group: &model::Group,
        view: &GroupView,
        servers: &[model::VirtualServer],
        latest: Option<&(Duration, Change)>,
    ) -> Self {
        let servers = servers.iter().filter(|server| server.group == group.name);
        Self {
            name: group.name.clone(),
            role: view.role.to_string(),
            peer_role: view.peer.map(|claim| claim.role.to_string()),
            epoch: view.epoch,
            priority: group.priority,
            latest: latest.map(|(at, change)| RoleChange {
                at_milliseconds: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
                role: change.role.to_string(),
                cause: change.cause.to_string(),
            }),
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
