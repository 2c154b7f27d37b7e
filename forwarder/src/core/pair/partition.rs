//! What a node may do without its peer, which may be dead, or cut off and active.

use std::time::Duration;

/// Who may be active without the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Each node: no death of one is an outage; nodes that are cut apart are both active.
    #[default]
    Stay,
    /// The preferred node: never both; the death of that one is an outage until an operator decides.
    Yield,
    /// Whoever a witness allows. `after`: how long a standby waits that has been allowed; by then a
    /// peer that was not has stopped.
    Witness {
        /// See above.
        after: Duration,
    },
}

impl Policy {
    /// The witness gives a lease to one node at a time. Nodes find out within a detection time of each
    /// other that they are cut apart; one that has no lease then goes on for another, and its data plane
    /// for `own` if its daemon hangs.
    pub fn lease(detection: Duration, own: Duration) -> Self {
        let after = detection * 3 + own;
        Self::Witness { after }
    }

    /// How long a standby waits that may become active.
    pub fn after(self) -> Duration {
        match self {
            Policy::Witness { after } => after,
            Policy::Stay | Policy::Yield => Duration::ZERO,
        }
    }
}

/// Until when a witness allows a node to be active alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The loss of the peer that it was asked for ([`Partition::loss`]); `None`: it holds for every one.
    pub loss: Option<u64>,
    /// Until when, since boot.
    pub until: Duration,
}

/// What is known of it.
#[derive(Clone, Debug)]
pub struct Partition {
    policy: Policy,
    /// How long an active node goes on that has lost its peer and knows of no permission; and by how
    /// much later a node may find out than the other that they are cut apart.
    patience: Duration,
    /// How long a preferred node waits for the other to stop.
    stop: Duration,
    lost_since: Option<Duration>,
    /// How often the peer was lost.
    losses: u64,
    /// Permission, as long as it lasts without a gap.
    allowed: Option<(Duration, Duration)>,
    /// An operator knows that the peer is not active.
    insists: bool,
}

impl Partition {
    /// The peer is not lost. `detection`: see [`super::liveness::Timing::detection`]; `lease`: how long
    /// the peer may go on when its daemon hangs.
    pub fn new(policy: Policy, detection: Duration, lease: Duration) -> Self {
        Self {
            policy,
            patience: detection,
            stop: (detection * 2).max(lease),
            lost_since: None,
            losses: 0,
            allowed: None,
            insists: false,
        }
    }

    /// Whether the peer answers on no path.
    pub fn note(&mut self, lost: bool, now: Duration) {
        if lost && self.lost_since.is_none() {
            self.lost_since = Some(now);
            self.losses += 1;
        } else if !lost && self.lost_since.is_some() {
            self.lost_since = None;
            self.insists = false;
            // What was allowed was for this time.
            self.allowed = None;
        }
    }

    /// This node has stopped, or its clock has jumped: what it waits for, it waits for anew.
    pub fn restart(&mut self, now: Duration) {
        self.lost_since = self.lost_since.map(|_| now);
        self.allowed = None;
    }

    /// The loss of the peer for which a witness is to be asked, by its number.
    pub fn loss(&self) -> Option<u64> {
        self.lost_since.map(|_| self.losses)
    }

    /// Takes in what the witness says.
    pub fn allow(&mut self, permission: Permission, now: Duration) {
        if permission
            .loss
            .is_some_and(|loss| Some(loss) != self.loss())
        {
            return;
        }
        let (since, until) = match self.allowed {
            Some((since, until)) if now < until => (since, until.max(permission.until)),
            _ => (now, permission.until),
        };
        self.allowed = (now < until).then_some((since, until));
    }

    /// The operator takes it upon him that the peer is not active.
    pub fn insist(&mut self) {
        self.insists = self.lost_since.is_some();
    }

    /// Whether this node may carry a group without its peer. `active`: it does; `preferred`: it is the
    /// group's preferred one.
    pub fn may(&self, active: bool, preferred: bool, now: Duration) -> bool {
        let Some(lost) = self.lost_since else {
            return true;
        };
        let free = |since: Duration, after: Duration| active || now >= since + after;
        match self.policy {
            _ if self.insists => true,
            Policy::Stay => true,
            // The other stops as soon as it finds out; see [`Policy::lease`].
            Policy::Yield => preferred && free(lost, self.stop),
            Policy::Witness { after } => match self.allowed {
                Some((since, until)) if now < until => free(since, after),
                _ => active && now < lost + self.patience,
            },
        }
    }

    /// When that may change by itself.
    pub fn next(&self, now: Duration) -> Option<Duration> {
        let patience = self
            .lost_since
            .map(|since| [self.patience, self.stop].map(|wait| since + wait));
        let after = self.policy.after();
        let permission = self.allowed.map(|(since, until)| [since + after, until]);
        let times = [patience, permission].into_iter().flatten().flatten();
        times.filter(|at| *at > now).min()
    }
}
