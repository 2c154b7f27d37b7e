//! What is shown of the pair.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Pair;
use super::claim::{Claim, Health, Role};
use super::liveness::{Answerer, Path, PathState};
use super::wire::Refusal;

/// What is known of the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerView {
    /// Its health.
    pub health: Health,
    /// Whether its operator keeps it from being active.
    pub maintenance: bool,
    /// Digest of its configuration.
    pub config: u64,
    /// Its version.
    pub version: [u16; 3],
}

/// A path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathView {
    /// Up, down or unknown.
    pub state: PathState,
    /// Of the last answer.
    pub round_trip: Option<Duration>,
    /// Who at the peer gave it.
    pub answered_by: Option<Answerer>,
    /// Percent of the latest echoes that were not answered in time.
    pub lost_percent: u8,
    /// Whether that is too much.
    pub loses: bool,
}

/// A group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// The group.
    pub id: u16,
    /// Where its leases are.
    pub place: u8,
    /// What this node does for it.
    pub role: Role,
    /// The highest epoch seen.
    pub epoch: u64,
    /// This node's priority.
    pub priority: u8,
    /// What the peer says of it; `None`: nothing lately.
    pub peer: Option<Claim>,
    /// What it said last, however long ago.
    pub last: Option<Claim>,
}

/// The pair, seen from this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// This node's health.
    pub health: Health,
    /// Whether the operator keeps this node from being active.
    pub maintenance: bool,
    /// Whether this node would be active, but may not without its peer.
    pub waits: bool,
    /// Digest of this node's configuration.
    pub config: u64,
    /// This node's version.
    pub version: [u16; 3],
    /// `None`: nothing was heard of the peer lately.
    pub peer: Option<PeerView>,
    /// What it said last, and how long ago.
    pub last: Option<(Duration, PeerView)>,
    /// The paths, in their order.
    pub paths: Vec<PathView>,
    /// The groups.
    pub groups: Vec<GroupView>,
    /// Datagrams that changed nothing, by reason.
    pub refusals: BTreeMap<Refusal, u64>,
}

impl Pair {
    /// How long the peer has not answered on any path; `None`: it never did.
    pub fn silence(&self, now: Duration) -> Option<Duration> {
        let last = self.paths.iter().filter_map(Path::last_answer).max()?;
        Some(now.saturating_sub(last))
    }

    /// What is to be shown.
    pub fn view(&self, now: Duration) -> View {
        let fresh = self.is_fresh(now);
        View {
            health: self.health,
            maintenance: self.maintenance,
            waits: self.waits(now),
            config: self.settings.config,
            version: self.settings.version,
            peer: fresh.then_some(self.peer),
            last: self.heard.map(|at| (now.saturating_sub(at), self.peer)),
            paths: self
                .paths
                .iter()
                .map(|path| PathView {
                    state: path.state(),
                    round_trip: path.round_trip(),
                    answered_by: path.answered_by(),
                    lost_percent: path.lost_percent(),
                    loses: path.loses(),
                })
                .collect(),
            groups: self
                .groups
                .iter()
                .map(|group| {
                    let last = self.claims.get(&group.settings().id).copied();
                    GroupView {
                        id: group.settings().id,
                        place: group.settings().place,
                        role: group.role(),
                        epoch: group.epoch(),
                        priority: group.settings().priority,
                        peer: last.filter(|_| fresh),
                        last,
                    }
                })
                .collect(),
            refusals: self.refusals.clone(),
        }
    }
}
