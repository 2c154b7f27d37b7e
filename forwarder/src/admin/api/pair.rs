//! The pair over the socket.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model;
use crate::core::pair::View;
use crate::core::pair::claim::Change;

/// Body of `POST /v1/pair`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PairRequest {
    /// The node that is to be active; empty: the other one.
    #[serde(default)]
    pub fail_over_to: Option<String>,
    /// Whether this node is kept from being active.
    #[serde(default)]
    pub maintenance: Option<bool>,
}

/// The pair as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PairStatus {
    /// `active`, `standby` or `releasing`.
    pub role: String,
    /// The highest epoch seen: it grows with every takeover.
    pub epoch: u64,
    /// This node's priority.
    pub priority: u8,
    /// `sound`, `degraded` (an interface does not work) or `isolated` (none works).
    pub health: String,
    /// Whether the operator keeps this node from being active.
    pub maintenance: bool,
    /// The latest change of role.
    pub latest: Option<RoleChange>,
    /// The peer.
    pub peer: Peer,
    /// The paths, in the order of the file.
    pub paths: Vec<PairPath>,
    /// Datagrams that changed nothing, by reason.
    pub refused: BTreeMap<String, u64>,
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
    /// Its role; `null`: it was not heard lately.
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
        peer: &str,
        latest: Option<(Duration, Change)>,
    ) -> Self {
        let word = |value| {
            let value = serde_json::to_value(value).unwrap_or_default();
            value.as_str().unwrap_or_default().to_owned()
        };
        let group = view.groups.first();
        let paths = pair.paths.iter().zip(&view.paths);
        Self {
            role: group
                .map(|group| group.role.to_string())
                .unwrap_or_default(),
            epoch: group.map_or(0, |group| group.epoch),
            priority: pair.priority,
            health: word(view.health),
            maintenance: view.maintenance,
            latest: latest.map(|(at, change)| RoleChange {
                at_milliseconds: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
                role: change.role.to_string(),
                cause: change.cause.to_string(),
            }),
            peer: Peer {
                name: peer.to_owned(),
                role: group
                    .and_then(|group| group.peer)
                    .map(|claim| claim.role.to_string()),
                health: view.peer.map(|peer| word(peer.health)),
                maintenance: view.peer.map(|peer| peer.maintenance),
                same_config: view.peer.map(|peer| peer.same_config),
            },
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
