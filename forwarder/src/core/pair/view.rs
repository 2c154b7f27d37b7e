//! What is shown of the pair.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Pair;
use super::claim::{Claim, Health, Role};
use super::liveness::PathState;
use super::wire::Refusal;

/// What is known of the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerView {
    /// Its health.
    pub health: Health,
    /// Whether its operator keeps it from being active.
    pub maintenance: bool,
    /// Whether its configuration is the same.
    pub same_config: bool,
}

/// A path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathView {
    /// Up, down or unknown.
    pub state: PathState,
    /// Of the last answer.
    pub round_trip: Option<Duration>,
}

/// A group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// The group.
    pub id: u16,
    /// What this node does for it.
    pub role: Role,
    /// The highest epoch seen.
    pub epoch: u64,
    /// This node's priority.
    pub priority: u8,
    /// What the peer says of it.
    pub peer: Option<Claim>,
}

/// The pair, seen from this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// This node's health.
    pub health: Health,
    /// Whether the operator keeps this node from being active.
    pub maintenance: bool,
    /// `None`: nothing was heard of the peer lately.
    pub peer: Option<PeerView>,
    /// The paths, in their order.
    pub paths: Vec<PathView>,
    /// The groups, in their order.
    pub groups: Vec<GroupView>,
    /// Datagrams that changed nothing, by reason.
    pub refusals: BTreeMap<Refusal, u64>,
}

impl Pair {
    /// What is to be shown.
    pub fn view(&self, now: Duration) -> View {
        let fresh = self.is_fresh(now);
        View {
            health: self.health,
            maintenance: self.maintenance,
            peer: fresh.then_some(self.peer),
            paths: self
                .paths
                .iter()
                .map(|path| PathView {
                    state: path.state(),
                    round_trip: path.round_trip(),
                })
                .collect(),
            groups: self
                .groups
                .iter()
                .map(|group| GroupView {
                    id: group.settings().id,
                    role: group.role(),
                    epoch: group.epoch(),
                    priority: group.settings().priority,
                    peer: self
                        .claims
                        .get(&group.settings().id)
                        .copied()
                        .filter(|_| fresh),
                })
                .collect(),
            refusals: self.refusals.clone(),
        }
    }
}
