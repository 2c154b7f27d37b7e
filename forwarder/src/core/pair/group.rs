//! Who carries a group of virtual servers: the role of this node, decided from what is known.
//!
//! ```text
//!             offer from the peer · the peer is lost
//!        ┌───────────────────────────────────────────▶ Active ◀─┐
//!     Standby ◀── the peer has a higher epoch,           │      │ the peer did not take it,
//!        ▲        lease ran out, isolated, not allowed ──┤      │ or is lost
//!        └─────────── the peer has taken it ──────── Releasing ─┘
//! ```
//! A node becomes active only when the peer offers the group or is lost. Nobody who has an offer out
//! takes one: two that offer at once both wait.

use std::time::Duration;

use super::claim::{Cause, Change, Claim, Health, Role};

/// So long a hand-over waits for the peer to have been told of all flows, at most.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What holds for a group on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The group.
    pub id: u16,
    /// Where its leases are; the same as long as the process runs.
    pub place: u8,
    /// The higher one is preferred.
    pub priority: u8,
    /// Whether this node wins where all else is equal: the first of the file.
    pub first: bool,
    /// Whether the file prefers this node, by priority and place.
    pub preferred: bool,
    /// Whether a node with a higher priority takes the group back.
    pub preempt: bool,
    /// How long the peer must have been well before it does.
    pub failback_delay: Duration,
    /// See [`super::liveness::Timing::detection`].
    pub detection: Duration,
    /// How long a node may go on by itself, at most.
    pub lease: Duration,
}

impl Settings {
    /// How long an offer is repeated.
    fn offer(&self) -> Duration {
        self.detection
    }

    /// After an offer, how long this node neither takes the group back nor takes an offer: by then the
    /// last of them is stale ([`Settings::stale`]), and what the peer did with it is known.
    fn promise(&self) -> Duration {
        self.detection * 6
    }

    /// How long one who has heard nothing, begins to listen and still hears nothing waits: by then the peer
    /// has been asked, or its lease has run out.
    fn silence(&self) -> Duration {
        (self.detection * 2).max(self.lease)
    }

    /// A message older than this tells nothing.
    pub fn stale(&self) -> Duration {
        self.detection * 3
    }
}

/// What is known beside the group.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// Whether every path is down.
    pub lost: bool,
    /// Whether this node may be active then: see [`super::partition`].
    pub alone: bool,
    /// Whether another node has taken what moves with the group in the cloud.
    pub overtaken: bool,
    /// What the peer said last, unless that is stale.
    pub claim: Option<Claim>,
    /// This node's health.
    pub health: Health,
    /// Whether the operator keeps this node from being active.
    pub maintenance: bool,
    /// Up to when the peer has been told what has happened to flows.
    pub told: Duration,
}

/// Whether the peer is active too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conflict {
    /// It is not.
    None,
    /// It was silent when this node became active: it may have been cut off only.
    Possible,
    /// It says so.
    Heard,
}

/// A group's state on this node.
#[derive(Clone, Debug)]
pub struct Group {
    settings: Settings,
    role: Role,
    /// The highest epoch seen. While this node is active it is its own.
    epoch: u64,
    /// The epoch in which this node was active last.
    held: u64,
    /// The same of the peer, as it said; `None`: this process of it has said nothing.
    peer_held: Option<u64>,
    /// Before this, silence of the peer is not taken for its loss: it may not have heard of us yet.
    not_before: Duration,
    offer_until: Duration,
    promise_until: Duration,
    ask_until: Duration,
    /// Since when the peer is the better one.
    better_since: Option<Duration>,
    /// Whether the peer claims to be active too, or may do so unheard.
    conflict: Conflict,
    /// Whether the operator gives the group away.
    give: bool,
    /// Since when the group is to be handed over, and waits for the peer to know its flows.
    hands_over_since: Option<Duration>,
}

impl Group {
    /// Begins as standby. `epoch`: the highest that this node remembers.
    pub fn new(settings: Settings, epoch: u64, now: Duration) -> Self {
        Self {
            settings,
            role: Role::Standby,
            epoch,
            held: 0,
            peer_held: None,
            not_before: now + settings.silence(),
            offer_until: Duration::ZERO,
            promise_until: Duration::ZERO,
            ask_until: Duration::ZERO,
            better_since: None,
            conflict: Conflict::None,
            give: false,
            hands_over_since: None,
        }
    }

    /// What holds for it.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its role here.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The highest epoch seen.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether it is to be handed over as soon as the peer knows its flows.
    pub fn waits_for_flows(&self) -> bool {
        self.hands_over_since.is_some()
    }

    /// What the peer is told.
    pub fn claim(&self, situation: &Situation, now: Duration) -> Claim {
        Claim {
            group: self.settings.id,
            role: self.role,
            epoch: self.epoch,
            held: self.held,
            priority: self.settings.priority,
            able: able(situation),
            offers: now < self.offer_until && !situation.lost,
            asks: now < self.ask_until,
        }
    }

    /// Other priorities and times hold from now on.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// It is made of virtual servers that this node carries.
    pub fn inherit(&mut self) -> Change {
        self.activate(Cause::Regrouped)
    }

    /// It is no more.
    pub fn remove(&mut self, now: Duration) -> Option<Change> {
        (self.role != Role::Standby).then(|| self.step_down(Cause::Removed, now))
    }

    /// The operator wants the group here.
    pub fn ask(&mut self, now: Duration) {
        self.ask_until = now + self.settings.detection * 10;
    }

    /// The operator wants the group at the peer.
    pub fn give(&mut self) {
        self.give = true;
    }

    /// Another process of the peer is heard from now on. What the one before did last is not known.
    pub fn meet(&mut self) {
        self.peer_held = None;
    }

    /// Takes in what the peer says, the moment it says it.
    pub fn hear(&mut self, claim: Claim, situation: &Situation, now: Duration) -> Option<Change> {
        let both = claim.role == Role::Active && self.role == Role::Active;
        let held = self.peer_held.replace(claim.held) != Some(claim.held);
        if self.role == Role::Active && !both && (held || self.conflict != Conflict::None) {
            // The other was active since, or may have been: it may have answered up to now.
            self.conflict = Conflict::None;
            if claim.epoch > self.epoch {
                self.epoch = claim.epoch + 1;
                self.held = self.epoch;
            }
            return Some(self.change(Role::Active, Cause::Healed));
        }
        match self.role {
            Role::Standby => {
                self.epoch = self.epoch.max(claim.epoch);
                if claim.role == Role::Active {
                    // Whatever was offered is taken: what is still on its way of it is overtaken by this.
                    (self.offer_until, self.promise_until) = (Duration::ZERO, Duration::ZERO);
                }
                if claim.offers && now >= self.promise_until && may_be_active(situation) {
                    return Some(self.activate(Cause::Offered));
                }
            }
            Role::Active if both => return self.resolve(&claim, now),
            Role::Releasing if claim.role == Role::Active && claim.epoch > self.epoch => {
                self.epoch = claim.epoch;
                return Some(self.step_down(Cause::Taken, now));
            }
            Role::Active if claim.epoch > self.epoch => {
                // The active one stays ahead of what others remember.
                self.epoch = claim.epoch + 1;
                self.held = self.epoch;
            }
            Role::Active | Role::Releasing => {}
        }
        self.decide(situation, now)
    }

    /// Both are active: one steps down, the other says again that it is.
    fn resolve(&mut self, claim: &Claim, now: Duration) -> Option<Change> {
        if self.yields_to(claim) {
            self.epoch = self.epoch.max(claim.epoch);
            return Some(self.step_down(Cause::PeerHasIt, now));
        }
        let before = std::mem::replace(&mut self.conflict, Conflict::Heard);
        self.epoch = self.epoch.max(claim.epoch + 1);
        self.held = self.epoch;
        // Whoever listened to the other must learn it.
        (before != Conflict::Heard).then(|| self.change(Role::Active, Cause::Healed))
    }

    /// Decides anew.
    pub fn decide(&mut self, situation: &Situation, now: Duration) -> Option<Change> {
        self.note_preference(situation, now);
        match self.role {
            Role::Standby => self.standby(situation, now),
            Role::Active => self.active(situation, now),
            Role::Releasing => self.releasing(situation, now),
        }
    }

    /// The lease ran out before it was renewed: whoever watched has taken over.
    pub fn lapse(&mut self, now: Duration) -> Option<Change> {
        // Whatever was to be heard meanwhile was not.
        let change = (self.role != Role::Standby).then(|| self.step_down(Cause::LeaseRanOut, now));
        self.not_before = now + self.settings.silence();
        change
    }

    /// Nothing was to be heard until now: silence so far is not the peer's loss.
    pub fn wait(&mut self, now: Duration) {
        self.not_before = self.not_before.max(now + self.settings.detection * 2);
    }

    /// When to decide again, at the latest.
    pub fn next(&self, now: Duration) -> Option<Duration> {
        let failback = self
            .better_since
            .map(|at| at + self.settings.failback_delay);
        let patience = self.hands_over_since.map(|since| since + PATIENCE);
        [
            Some(self.not_before),
            Some(self.promise_until),
            failback,
            patience,
        ]
        .into_iter()
        .flatten()
        .filter(|at| *at > now)
        .min()
    }

    fn standby(&mut self, situation: &Situation, now: Duration) -> Option<Change> {
        if situation.lost {
            let may = now >= self.not_before && situation.alone && may_be_active(situation);
            return may.then(|| self.activate(Cause::PeerLost));
        }
        let claim = situation.claim?;
        let nobody = claim.role == Role::Standby && now >= self.promise_until;
        if nobody && self.peer_wins(&claim, situation) {
            self.offer(now);
        }
        None
    }

    fn active(&mut self, situation: &Situation, now: Duration) -> Option<Change> {
        if let Some(cause) = must_step_down(situation) {
            return Some(self.step_down(cause, now));
        }
        let since = self.hands_over_since.take();
        let claim = situation.claim.filter(|_| !situation.lost)?;
        let peer_can = claim.able && claim.role == Role::Standby && now >= self.promise_until;
        if !peer_can || !self.hands_over(&claim, situation, now) {
            return None;
        }
        // Whoever has asked need not ask for as long as it takes.
        self.give |= claim.asks;
        let since = since.unwrap_or(now);
        // With a broken interface every moment costs more than what was not told yet.
        let known = situation.told >= since || situation.health != Health::Sound;
        let cause = match known {
            true => Cause::HandOver,
            false if now >= since + PATIENCE => Cause::HandOverUntold,
            false => {
                self.hands_over_since = Some(since);
                return None;
            }
        };
        self.give = false;
        self.offer(now);
        Some(self.enter(Role::Releasing, cause))
    }

    fn releasing(&mut self, situation: &Situation, now: Duration) -> Option<Change> {
        if let Some(cause) = must_step_down(situation) {
            return Some(self.step_down(cause, now));
        }
        let over = situation.lost || now >= self.promise_until;
        over.then(|| self.activate(Cause::NotTaken))
    }

    /// Whether the active one hands over, to a peer that is able.
    fn hands_over(&self, claim: &Claim, situation: &Situation, now: Duration) -> bool {
        let waited = self
            .better_since
            .is_some_and(|since| now >= since + self.settings.failback_delay);
        self.give || claim.asks || !able(situation) || (self.settings.preempt && waited)
    }

    /// Of two that are active the one with the higher epoch stays: it took over later, knowing more.
    fn yields_to(&self, claim: &Claim) -> bool {
        let own = (self.epoch, self.settings.priority, self.settings.first);
        own < (claim.epoch, claim.priority, !self.settings.first)
    }

    /// Whether the peer is to have what nobody has: the one that had it last, if both are able.
    fn peer_wins(&self, claim: &Claim, situation: &Situation) -> bool {
        let settings = &self.settings;
        let own = (
            able(situation),
            self.held,
            settings.priority,
            settings.first,
        );
        own < (claim.able, claim.held, claim.priority, !settings.first)
    }

    fn note_preference(&mut self, situation: &Situation, now: Duration) {
        let better = situation
            .claim
            .is_some_and(|claim| claim.able && claim.priority > self.settings.priority)
            && !situation.lost;
        self.better_since = match self.better_since {
            _ if !better || self.role != Role::Active => None,
            since => since.or(Some(now)),
        };
    }

    fn offer(&mut self, now: Duration) {
        self.offer_until = now + self.settings.offer();
        self.promise_until = now + self.settings.promise();
        // Silence from before the offer says nothing of what the peer makes of it.
        self.wait(now);
    }

    fn activate(&mut self, cause: Cause) -> Change {
        self.epoch += 1;
        self.held = self.epoch;
        self.offer_until = Duration::ZERO;
        self.ask_until = Duration::ZERO;
        let change = self.enter(Role::Active, cause);
        if cause != Cause::Offered {
            self.conflict = Conflict::Possible;
        }
        change
    }

    fn step_down(&mut self, cause: Cause, now: Duration) -> Change {
        self.offer_until = Duration::ZERO;
        self.give = false;
        self.wait(now);
        self.enter(Role::Standby, cause)
    }

    fn enter(&mut self, role: Role, cause: Cause) -> Change {
        self.role = role;
        self.hands_over_since = None;
        self.conflict = Conflict::None;
        self.better_since = None;
        self.change(role, cause)
    }

    fn change(&self, role: Role, cause: Cause) -> Change {
        Change {
            group: self.settings.id,
            role,
            epoch: self.epoch,
            cause,
        }
    }
}

/// Why an active node may not stay it.
fn must_step_down(situation: &Situation) -> Option<Cause> {
    match situation {
        _ if situation.health == Health::Isolated => Some(Cause::Isolated),
        _ if !situation.lost || situation.alone => None,
        _ if situation.overtaken => Some(Cause::Overtaken),
        _ => Some(Cause::NotAllowed),
    }
}

/// Whether this node may be active if there is nobody better.
fn may_be_active(situation: &Situation) -> bool {
    situation.health != Health::Isolated && !situation.maintenance
}

/// Whether this node can be active without harm.
fn able(situation: &Situation) -> bool {
    situation.health == Health::Sound && !situation.maintenance
}
