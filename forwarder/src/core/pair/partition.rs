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
    /// Whoever a witness allows.
    Witness(Terms),
}

/// How nodes keep out of each other's way that ask a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long an active node goes on after it sent what the peer answered last, if it is not allowed to.
    pub term: Duration,
    /// How long a standby waits that has been allowed.
    pub after: Duration,
    /// How long a standby must not have answered its peer before it may be active: longer than `term`, and
    /// the peer has stopped by then if it was not allowed to go on.
    pub fence: Duration,
    /// How much later than the peer a standby asks: who is active shall stay so.
    pub head_start: Duration,
}

/// What the data plane's clock is late by, and what two clocks differ by in a second.
const TICKS: Duration = Duration::from_millis(20);

impl Policy {
    /// The witness allows whoever reaches it.
    pub fn gateway(detection: Duration) -> Self {
        Self::Witness(Terms {
            term: detection * 2,
            // A gateway that answers again may do so a moment before the peer does.
            after: detection * 2,
            fence: Duration::ZERO,
            head_start: Duration::ZERO,
        })
    }

    /// The witness allows one node at a time. An active node finds out `detection` after its peer's last
    /// answer, and has `own` from then on to ask for the permission.
    pub fn lease(detection: Duration, own: Duration) -> Self {
        let term = detection + own;
        Self::Witness(Terms {
            term,
            after: Duration::ZERO,
            fence: term + TICKS,
            head_start: term / 2,
        })
    }

    /// What it says of witnesses.
    fn terms(self) -> Option<Terms> {
        match self {
            Policy::Witness(terms) => Some(terms),
            Policy::Stay | Policy::Yield => None,
        }
    }
}

/// Until when a witness allows a node to be active alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The wish that it was asked for ([`Partition::wish`]); `None`: it holds for every one.
    pub wish: Option<u64>,
    /// Until when, since boot.
    pub until: Duration,
}

/// What is known of the peer's loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// The peer answers on no path.
    pub lost: bool,
    /// When this node sent what the peer has shown last to have got: the peer was not quiet then.
    pub proof: Option<Duration>,
    /// The peer's echoes are not answered, and the data plane knows.
    pub quiet: bool,
    /// This node is active for something.
    pub carries: bool,
}

/// What is known of it.
#[derive(Clone, Debug)]
pub struct Partition {
    policy: Policy,
    /// How long a preferred node waits for the other to stop.
    stop: Duration,
    lost_since: Option<Duration>,
    /// Whether the witness is to be asked, and how often that began.
    wishes: bool,
    wish: u64,
    proof: Option<Duration>,
    quiet_since: Option<Duration>,
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
            stop: (detection * 2).max(lease),
            lost_since: None,
            wishes: false,
            wish: 0,
            proof: None,
            quiet_since: None,
            allowed: None,
            insists: false,
        }
    }

    /// Takes in what is known now.
    pub fn note(&mut self, signs: Signs, now: Duration) {
        let Signs { lost, quiet, .. } = signs;
        self.proof = signs.proof;
        self.quiet_since = quiet.then(|| self.quiet_since.unwrap_or(now));
        if lost && self.lost_since.is_none() {
            self.lost_since = Some(now);
        } else if !lost && self.lost_since.is_some() {
            self.lost_since = None;
            self.insists = false;
            // What was allowed was for this time.
            self.allowed = None;
        }
        let ready = self.ready().is_some_and(|ready| now >= ready);
        let wishes = lost && (signs.carries || ready);
        if std::mem::replace(&mut self.wishes, wishes) != wishes {
            self.wish += u64::from(wishes);
            if self.is_exclusive() {
                // What is not wished any more is given back.
                self.allowed = None;
            }
        }
    }

    /// Whether the witness allows one node at a time.
    fn is_exclusive(&self) -> bool {
        self.policy
            .terms()
            .is_some_and(|terms| !terms.fence.is_zero())
    }

    /// This node has stopped, or its clock has jumped: what it waits for, it waits for anew.
    pub fn restart(&mut self, now: Duration) {
        self.lost_since = self.lost_since.map(|_| now);
        self.quiet_since = self.quiet_since.map(|_| now);
        self.allowed = None;
    }

    /// Whether the peer has shown so long nothing that it counts as lost, whatever the paths say.
    pub fn is_overdue(&self, proof: Option<Duration>, now: Duration) -> bool {
        let term = self.policy.terms().map(|terms| terms.term);
        let end = proof.zip(term).map(|(proof, term)| proof + term);
        end.is_some_and(|end| now >= end)
    }

    /// Whether the peer's echoes are certainly not answered.
    pub fn is_quiet(&self) -> bool {
        self.quiet_since.is_some()
    }

    /// Since when the peer answers on no path.
    pub fn lost_since(&self) -> Option<Duration> {
        self.lost_since
    }

    /// Whether a standby that hears nothing must not answer: an active peer would take that for a yes.
    pub fn is_to_be_quiet(&self) -> bool {
        self.policy != Policy::Stay && self.lost_since.is_some() && !self.insists
    }

    /// The wish to be active alone, by its number: with it a witness is to be asked. What was allowed is
    /// given back when there is none.
    pub fn wish(&self) -> Option<u64> {
        self.wishes.then_some(self.wish)
    }

    /// When a standby may ask.
    fn ready(&self) -> Option<Duration> {
        let head_start = self.policy.terms()?.head_start;
        Some(self.quiet_since? + head_start)
    }

    /// Takes in what the witness says.
    pub fn allow(&mut self, permission: Permission, now: Duration) {
        if permission.wish.is_some() && permission.wish != self.wish() {
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

    /// Until when an active node may go on, even if its daemon hangs; `None`: there is no end.
    pub fn end(&self) -> Option<Duration> {
        let term = self.policy.terms()?.term;
        let allowed = self.allowed.map_or(Duration::ZERO, |(_, until)| until);
        let shown = self.proof.map_or(Duration::ZERO, |proof| proof + term);
        (!self.insists).then(|| allowed.max(shown))
    }

    /// Whether this node may carry a group without its peer. `active`: it does; `preferred`: it is the
    /// group's preferred one.
    pub fn may(&self, active: bool, preferred: bool, now: Duration) -> bool {
        let Some(lost) = self.lost_since else {
            return true;
        };
        let since = |since: Option<Duration>, wait| since.is_some_and(|at| now >= at + wait);
        match self.policy {
            _ if self.insists => true,
            Policy::Stay => true,
            // The other stops as soon as it finds out.
            Policy::Yield => preferred && (active || now >= lost + self.stop),
            Policy::Witness(_) if active => self.end().is_none_or(|end| now < end),
            Policy::Witness(terms) => {
                let allowed = self.allowed.filter(|(_, until)| now < *until);
                since(allowed.map(|(since, _)| since), terms.after)
                    && since(self.quiet_since, terms.fence)
            }
        }
    }

    /// When that may change by itself.
    pub fn next(&self, now: Duration) -> Option<Duration> {
        let lost = self.lost_since?;
        let mut times = vec![lost + self.stop];
        if let Some(terms) = self.policy.terms() {
            times.extend(self.end());
            times.extend(self.ready());
            times.extend(self.quiet_since.map(|since| since + terms.fence));
            times.extend(self.allowed.map(|(since, _)| since + terms.after));
            times.extend(self.allowed.map(|(_, until)| until));
        }
        times.into_iter().filter(|at| *at > now).min()
    }
}
