//! The pair: two nodes, one of which carries each group of virtual servers.
//!
//! Detection is fast and may be wrong; the lease is what is right. A node's data plane forwards, answers
//! for VIPs and answers the peer's echoes only while its lease is valid. So whoever finds the peer silent
//! knows that the peer's lease has run out, or that the network is cut. Everything here takes datagrams
//! and time, and gives [`Effect`]s.

pub mod announce;
pub mod claim;
pub mod group;
pub mod hand_over;
pub mod liveness;
pub mod local;
pub mod partition;
pub mod record;
pub mod replay;
pub mod secret;
pub mod session;
pub mod sync;
pub mod watch;
pub mod wire;

mod quiet;
mod regroup;
mod settings;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use forwarder_common::lease::GROUPS;

use claim::{Change, Claim, Health, Role};
use group::{Group, Situation};
pub use hand_over::Unable;
use liveness::{Answerer, Path};
use partition::{Partition, Permission, Policy};
pub use regroup::Wanted;
use secret::Keys;
use session::Session;
pub use settings::Settings;
pub use view::{GroupView, PathView, PeerView, View};
use wire::{Header, Hello, Kind, Refusal};

/// Until when a group's packets are handled, since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupLease {
    /// Until when they are forwarded.
    pub forward: Duration,
    /// Until when the node answers for the VIPs.
    pub answer: Duration,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a datagram on a path.
    Send(usize, Vec<u8>),
    /// Write the lease of the node, and those of its groups: each at its place.
    Lease(Duration, Vec<GroupLease>),
    /// Tell, and where the role is active announce its VIPs: they are at this node now.
    Changed(Change),
}

/// A node's side of the pair.
#[derive(Debug)]
pub struct Pair {
    settings: Settings,
    own_keys: Keys,
    peer_keys: Keys,
    session: Session,
    paths: Vec<Path>,
    groups: Vec<Group>,
    claims: BTreeMap<u16, Claim>,
    peer: PeerView,
    heard: Option<Duration>,
    /// When this node sent what the peer had got before its latest offer.
    offered: Option<Duration>,
    /// Whether the data plane is told not to answer echoes, though the lease is valid.
    quiet: bool,
    /// The process of the peer that was heard last.
    acquainted: u64,
    health: Health,
    maintenance: bool,
    partition: Partition,
    lease_until: Duration,
    /// When this process answered an echo last.
    answered: Option<Duration>,
    /// Until when each group is forwarded after the peer has taken it.
    grace_until: BTreeMap<u16, Duration>,
    /// Groups whose things in the cloud another node has taken while it was not heard.
    overtaken: BTreeSet<u16>,
    /// Which process of the peer was told of flows, and up to when.
    told: (u64, Duration),
    renew_at: Duration,
    hello_at: Duration,
    refusals: BTreeMap<Refusal, u64>,
    effects: VecDeque<Effect>,
}

impl Pair {
    /// Begins as standby. `process`: random, not 0. `epochs`: the highest that this node remembers, by
    /// group.
    pub fn new(
        settings: Settings,
        process: u64,
        epochs: &BTreeMap<u16, u64>,
        now: Duration,
    ) -> Self {
        let groups: Vec<Group> = settings
            .groups
            .iter()
            .map(|group| Group::new(*group, epochs.get(&group.id).copied().unwrap_or(0), now))
            .collect();
        Self {
            own_keys: settings.secret.keys(settings.own),
            peer_keys: settings.secret.keys(1 - settings.own),
            session: Session::new(process),
            paths: vec![Path::new(settings.timing, now); settings.paths],
            grace_until: BTreeMap::new(),
            overtaken: BTreeSet::new(),
            groups,
            claims: BTreeMap::new(),
            peer: PeerView::default(),
            heard: None,
            offered: None,
            quiet: false,
            acquainted: 0,
            health: Health::Sound,
            maintenance: false,
            partition: Partition::new(
                settings.policy,
                settings.timing.detection(),
                settings.longest_lease(),
            ),
            // As if it had run out: silence counts from the first turn on, whenever that is.
            lease_until: now,
            answered: None,
            told: (0, Duration::ZERO),
            renew_at: now,
            hello_at: now,
            refusals: BTreeMap::new(),
            effects: VecDeque::new(),
            settings,
        }
    }

    /// Forwards until then what the process before this one carried ([`Self::linger`]), whoever carries it now.
    /// `until`: by group, in their order.
    pub fn go_on(&mut self, until: &[Duration], now: Duration) {
        let longest = now + self.settings.longest_lease() * 4;
        let ids = self.groups.iter().map(|group| group.settings().id);
        let until = until.iter().map(|until| (*until).min(longest));
        self.grace_until = ids.zip(until).collect();
    }

    /// This process ends, and what it still carries nobody takes: the data plane goes on with it for so long, and
    /// answers the peer's echoes, so that the peer leaves it there. Only for a node whose data plane answers them.
    pub fn linger(&mut self, time: Duration, now: Duration) {
        self.expire(now);
        // With the other policies a node that is cut off has to stop by itself.
        if self.settings.policy == Policy::Stay && now < self.lease_until && !self.is_idle() {
            self.lease_until = now + time;
            self.write_lease(now);
        }
    }

    /// The next thing to be done, in order.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call [`Self::timeout`], at the latest.
    pub fn next(&self, now: Duration) -> Duration {
        let paths = self.paths.iter().map(Path::next);
        let groups = self.groups.iter().filter_map(|group| group.next(now));
        paths
            .chain(groups)
            .chain(self.partition.next(now))
            .chain(self.is_becoming_quiet(now).then_some(now))
            .chain([self.renew_at, self.hello_at])
            .min()
            .unwrap_or(now)
    }

    /// Takes in a datagram.
    pub fn datagram(&mut self, path: usize, datagram: &[u8], now: Duration) -> Result<(), Refusal> {
        self.expire(now);
        let result = self.take(path, datagram, now);
        result.or_else(|refusal| self.refuse(refusal))
    }

    /// Counts a datagram that changes nothing.
    pub fn refuse(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        *self.refusals.entry(refusal).or_default() += 1;
        Err(refusal)
    }

    /// Does what is due. `alive`: whether the rest of the daemon is; if not, the lease runs out.
    /// Datagrams that have arrived must have been taken in before.
    pub fn timeout(&mut self, alive: bool, now: Duration) {
        self.expire(now);
        if alive {
            self.lease_until = now + self.lease(now);
        }
        self.renew_at = now + self.settings.lease / 4;
        for index in 0..self.paths.len() {
            self.paths[index].check(now);
            if let Some(sequence) = self.paths[index].send(now) {
                let header = self.header(Kind::Echo, index, sequence);
                let datagram = wire::echo(&header, &self.own_keys.echo);
                self.effects.push_back(Effect::Send(index, datagram));
            }
        }
        self.decide(now);
        self.write_lease(now);
        if now >= self.hello_at {
            self.hello(now);
        }
    }

    /// An answer that the data plane has noted: when it came, and who gave it.
    pub fn arrived(
        &mut self,
        path: usize,
        sequence: u64,
        at: Duration,
        by: Answerer,
        now: Duration,
    ) {
        self.expire(now);
        let path = self.paths.get_mut(path);
        if path.is_some_and(|path| path.answered(sequence, at, by)) {
            self.decide(now);
        }
    }

    /// This node's health has changed.
    pub fn set_health(&mut self, health: Health, now: Duration) {
        if self.health == Health::Isolated && health != Health::Isolated {
            self.groups.iter_mut().for_each(|group| group.wait(now));
        }
        if std::mem::replace(&mut self.health, health) != health {
            self.decide(now);
            self.hello(now);
        }
    }

    /// Another configuration is at work.
    pub fn set_config(&mut self, digest: u64, now: Duration) {
        self.settings.config = digest;
        self.hello(now);
    }

    /// The operator keeps this node from being active, or no longer does.
    pub fn set_maintenance(&mut self, on: bool, now: Duration) {
        self.maintenance = on;
        self.decide(now);
        self.hello(now);
    }

    /// The operator wants a group here, or at the peer; `None`: every one.
    pub fn fail_over(
        &mut self,
        only: Option<u16>,
        here: bool,
        now: Duration,
    ) -> Result<(), Unable> {
        hand_over::check(&self.view(now), only, here)?;
        if here && self.waits(now) {
            self.partition.insist();
            self.overtaken.clear();
            self.decide(now);
            return Ok(());
        }
        let meant = |group: &Group| only.is_none_or(|only| only == group.settings().id);
        for group in self.groups.iter_mut().filter(|group| meant(group)) {
            match (here, group.role()) {
                (true, Role::Standby) => group.ask(now),
                (false, Role::Active) => group.give(),
                _ => {}
            }
        }
        self.decide(now);
        self.hello(now);
        Ok(())
    }

    /// A process of the peer has been told of all that happened to flows until then.
    pub fn told(&mut self, process: u64, until: Duration, now: Duration) {
        if std::mem::replace(&mut self.told, (process, until)) != self.told
            && self.waits_for_flows()
        {
            self.expire(now);
            self.decide(now);
        }
    }

    /// Whether a hand-over waits for [`Self::told`].
    pub fn waits_for_flows(&self) -> bool {
        self.groups.iter().any(Group::waits_for_flows)
    }

    /// The process of the peer that is listened to; 0: none.
    pub fn peer_process(&self) -> u64 {
        self.session.peer()
    }

    /// A witness says whether this node may be active without its peer.
    pub fn allow(&mut self, permission: Permission, now: Duration) {
        self.partition.allow(permission, now);
        self.decide(now);
        self.write_lease(now);
    }

    /// Another node has taken what moves with a group in the cloud, or no longer has it. That counts until the
    /// peer is heard.
    pub fn set_overtaken(&mut self, group: u16, overtaken: bool, now: Duration) {
        match overtaken {
            true => self.overtaken.insert(group),
            false => self.overtaken.remove(&group),
        };
        self.decide(now);
    }

    /// The wish with which a witness is to be asked: see [`Partition::wish`].
    pub fn wish(&self) -> Option<u64> {
        self.partition.wish()
    }

    /// Whether the peer is lost.
    pub fn is_alone(&self) -> bool {
        self.partition.lost_since().is_some()
    }

    /// Whether this node carries no group.
    pub fn is_idle(&self) -> bool {
        self.groups
            .iter()
            .all(|group| group.role() == Role::Standby)
    }

    fn take(&mut self, path: usize, datagram: &[u8], now: Duration) -> Result<(), Refusal> {
        let header = Header::decode(datagram)?;
        let from_peer = header.sender == 1 - self.settings.own;
        match header.kind {
            Kind::Echo if from_peer => {
                wire::check_echo(datagram, &header, &self.peer_keys.echo)?;
                if now < self.answers_until(now) {
                    self.answered = Some(now);
                    let short = now + self.settings.lease;
                    if self.lease_until > short {
                        // From now on this node's silence means that its lease has run out.
                        self.lease_until = short;
                        self.write_lease(now);
                    }
                    let answer = Header {
                        kind: Kind::Answer,
                        ..header
                    };
                    let datagram = wire::echo(&answer, &self.own_keys.answer);
                    self.effects.push_back(Effect::Send(path, datagram));
                }
                Ok(())
            }
            Kind::Answer | Kind::Reflection if !from_peer => {
                wire::check_echo(datagram, &header, &self.peer_keys.answer)?;
                let asked = usize::from(header.path);
                if header.process != self.session.process() {
                    return Err(Refusal::Stale);
                }
                let path = self.paths.get_mut(asked).ok_or(Refusal::Nonsense)?;
                let by = match header.kind {
                    Kind::Reflection => Answerer::DataPlane,
                    _ => Answerer::Daemon,
                };
                if !path.answered(header.sequence, now, by) {
                    return Err(Refusal::Replayed);
                }
                self.decide(now);
                Ok(())
            }
            Kind::Hello if from_peer => {
                self.session.admit(&header, now)?;
                let hello = Hello::decode(datagram, &header, &self.peer_keys)?;
                let stale = self.settings.timing.detection() * 3;
                self.session.receive(&header, &hello.heard, stale, now)?;
                if hello.claims.iter().any(|claim| claim.offers) {
                    self.offered = self.session.proof();
                }
                self.hear(hello, now);
                Ok(())
            }
            _ => Err(Refusal::Sender),
        }
    }

    fn hear(&mut self, hello: Hello, now: Duration) {
        self.heard = Some(now);
        self.note(now);
        if std::mem::replace(&mut self.acquainted, self.session.peer()) != self.session.peer() {
            self.groups.iter_mut().for_each(Group::meet);
        }
        self.peer = PeerView {
            health: hello.health,
            maintenance: hello.maintenance,
            config: hello.config,
            version: hello.version,
        };
        self.claims = hello
            .claims
            .iter()
            .map(|claim| (claim.group, *claim))
            .collect();
        self.each_group(now, |group, situation| {
            let claim = situation.claim?;
            group.hear(claim, situation, now)
        });
    }

    fn decide(&mut self, now: Duration) {
        self.note(now);
        if !self.is_lost(now) {
            self.overtaken.clear();
        }
        self.each_group(now, |group, situation| group.decide(situation, now));
    }

    /// The lease ran out while nobody looked: the data plane has stopped by itself.
    fn expire(&mut self, now: Duration) {
        if self.lease_until > Duration::ZERO && now >= self.lease_until {
            self.each_group(now, |group, _| group.lapse(now));
            self.lease_until = Duration::ZERO;
            self.partition.restart(now);
            self.session.wake(now);
        }
    }

    fn each_group(
        &mut self,
        now: Duration,
        mut act: impl FnMut(&mut Group, &Situation) -> Option<Change>,
    ) {
        let mut news = false;
        let mut changes = Vec::new();
        for index in 0..self.groups.len() {
            let situation = self.situation(&self.groups[index], now);
            let before = self.groups[index].claim(&situation, now);
            let change = act(&mut self.groups[index], &situation);
            if let Some(change) = change {
                match change.cause {
                    claim::Cause::Taken => {
                        let until = now + self.settings.grace;
                        self.grace_until.insert(change.group, until)
                    }
                    _ => self.grace_until.remove(&change.group),
                };
                changes.push(change);
            }
            news |= self.groups[index].claim(&situation, now) != before;
        }
        if news {
            self.write_lease(now);
        }
        // Who is told that a VIP is here finds it at work.
        let changes = changes.into_iter().map(Effect::Changed);
        self.effects.extend(changes);
        if news {
            self.hello(now);
        }
    }

    /// Whether this node may carry a group, as far as the loss of the peer is concerned.
    fn may(&self, group: &Group, now: Duration) -> bool {
        if self.overtaken.contains(&group.settings().id) {
            return false;
        }
        let active = group.role() == Role::Active;
        self.partition.may(active, group.settings().preferred, now)
    }

    /// Whether the loss of the peer alone keeps this node from carrying a group.
    fn waits(&self, now: Duration) -> bool {
        let kept = |group: &Group| group.role() == Role::Standby && !self.may(group, now);
        !self.maintenance && self.health != Health::Isolated && self.groups.iter().any(kept)
    }

    fn situation(&self, group: &Group, now: Duration) -> Situation {
        let claim = self.claims.get(&group.settings().id).copied();
        // Who has no lease can be of no use: nothing is taken over before it is renewed.
        let leased = now < self.lease_until;
        Situation {
            lost: leased && self.is_lost(now),
            alone: self.may(group, now),
            overtaken: self.overtaken.contains(&group.settings().id),
            claim: claim.filter(|_| leased && self.is_fresh(now)),
            health: self.health,
            maintenance: self.maintenance,
            told: match self.told {
                (process, until) if process == self.session.peer() => until,
                _ => Duration::ZERO,
            },
        }
    }

    /// How long a lease is. Whoever has answered an echo itself lately keeps it short.
    fn lease(&self, now: Duration) -> Duration {
        let long = self.settings.longest_lease();
        let lately = |at| now.saturating_sub(at) < long * 4;
        match self.answered {
            Some(at) if lately(at) => self.settings.lease,
            _ => long,
        }
    }

    fn is_fresh(&self, now: Duration) -> bool {
        let stale = self.settings.timing.detection() * 3;
        self.heard
            .is_some_and(|heard| now.saturating_sub(heard) <= stale)
    }

    fn write_lease(&mut self, now: Duration) {
        let until = self.partition.end();
        let until = until.map_or(self.lease_until, |end| end.min(self.lease_until));
        let mut leases = vec![GroupLease::default(); GROUPS];
        for group in &self.groups {
            let settings = group.settings();
            let (forward, answer) = match group.role() {
                Role::Active => (until, until),
                Role::Releasing => (until, Duration::ZERO),
                Role::Standby => {
                    let grace = self.grace_until.get(&settings.id).copied();
                    (grace.unwrap_or_default(), Duration::ZERO)
                }
            };
            if let Some(lease) = leases.get_mut(usize::from(settings.place)) {
                *lease = GroupLease { forward, answer };
            }
        }
        let own = self.answers_until(now);
        self.quiet = own.is_zero();
        self.effects.push_back(Effect::Lease(own, leases));
    }

    /// Says how things are, on every path.
    fn hello(&mut self, now: Duration) {
        self.hello_at = now + self.settings.timing.interval;
        let hello = Hello {
            heard: self.session.heard(),
            config: self.settings.config,
            version: self.settings.version,
            health: self.health,
            maintenance: self.maintenance,
            claims: self
                .groups
                .iter()
                .map(|group| group.claim(&self.situation(group, now), now))
                .collect(),
        };
        for path in 0..self.paths.len() {
            let sequence = self.session.send(now);
            let header = self.header(Kind::Hello, path, sequence);
            let datagram = hello.encode(&header, &self.own_keys);
            self.effects.push_back(Effect::Send(path, datagram));
        }
    }

    fn header(&self, kind: Kind, path: usize, sequence: u64) -> Header {
        Header {
            kind,
            sender: self.settings.own,
            path: path as u8,
            process: self.session.process(),
            sequence,
        }
    }
}
