//! A simulated pair: two paths, each with its own troubles; processes that stop, die and come back; clocks
//! that jump.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::claim::{Cause, Change, Health, Role};
use super::super::liveness::{Answerer, Timing};
use super::super::partition::{Permission, Policy};
use super::super::wire::{self, Header, Kind};
use super::super::{Effect, GroupLease, Pair, Settings, group};

pub const TIMING: Timing = Timing {
    interval: Duration::from_millis(50),
    multiplier: 3,
};
pub const LEASE: Duration = Duration::from_millis(100);
/// Where the data plane answers echoes.
pub const REFLECTED: Duration = Duration::from_millis(500);
pub const GRACE: Duration = Duration::from_millis(500);
pub const FAILBACK: Duration = Duration::from_secs(2);
const PATHS: usize = 2;

pub fn settings(own: u8, preempt: bool) -> Settings {
    Settings {
        own,
        secret: [7; 32].into(),
        timing: TIMING,
        lease: LEASE,
        reflected_lease: REFLECTED,
        grace: GRACE,
        paths: PATHS,
        groups: vec![group::Settings {
            id: 0,
            place: 0,
            priority: if own == 0 { 200 } else { 100 },
            first: own == 0,
            preferred: own == 0,
            preempt,
            failback_delay: FAILBACK,
            detection: TIMING.detection(),
            lease: REFLECTED,
        }],
        policy: Policy::Stay,
        config: 1,
        version: [0, 1, 0],
    }
}

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit.max(1)
    }
}

/// A node: its process, and its data plane, which goes on without the process.
pub struct Node {
    pub pair: Option<Pair>,
    /// The process does not run before this.
    asleep_until: u64,
    /// Milliseconds that the clock is ahead.
    ahead: u64,
    lease: GroupLease,
    /// To answer echoes.
    own_lease: Duration,
    /// The latest answers that the data plane has noted.
    arrivals: [Option<(u64, Duration, Answerer)>; PATHS],
    inbox: Vec<(usize, Vec<u8>)>,
    /// Which process it is.
    process: u64,
    /// When the witness was asked last, and what it has answered, when.
    asked: u64,
    allowed: Vec<(u64, Permission)>,
    /// Questions on their way to a witness that keeps leases: when they come there.
    questions: Vec<(u64, Question)>,
    epoch: u64,
    /// Before this the other node does not know of all flows.
    untold_until: u64,
    pub health: Health,
    /// When VIPs were announced last.
    pub announced: Option<u64>,
    /// When the data plane answered for VIPs last.
    pub answered: Option<u64>,
    pub changes: Vec<(u64, Change)>,
}

/// What a path does to datagrams in each direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// Datagrams lost, of 100, from node 0 and from node 1.
    pub loss: [u64; 2],
}

/// What both nodes ask when they are cut apart.
#[derive(Clone, Copy, Debug, Default)]
pub enum Witness {
    #[default]
    Nobody,
    /// Answers whoever reaches it.
    Gateway,
    /// Keeps one process's lease, for so long.
    Leases(Option<(u64, u64)>),
}

/// What a node wants of a witness that keeps leases.
#[derive(Clone, Copy, Debug)]
enum Question {
    /// The lease, with this wish; when it was asked for, by the node's clock.
    Claim(Option<u64>, Duration),
    /// To give it back.
    Release,
}

/// How long a lease of the witness lasts.
const LASTS: u64 = 2_000;

pub struct Simulation {
    pub now: u64,
    pub nodes: [Node; 2],
    pub paths: [Trouble; PATHS],
    /// Whether two nodes answered at once, and when.
    pub both: Vec<u64>,
    /// Which nodes reach the witness.
    pub reaches: [bool; 2],
    witness: Witness,
    policy: Policy,
    preempt: bool,
    /// Whether the data planes answer echoes, and note answers.
    reflects: bool,
    random: Random,
    flying: BTreeMap<(u64, u64), (usize, usize, Vec<u8>)>,
    launched: u64,
    processes: u64,
}

impl Simulation {
    pub fn new(seed: u64, preempt: bool) -> Self {
        Self::with(seed, preempt, Policy::Stay, Witness::Nobody)
    }

    /// Whether data planes answer echoes, and note answers.
    pub fn reflecting(self, reflects: bool) -> Self {
        Self { reflects, ..self }
    }

    pub fn with(seed: u64, preempt: bool, policy: Policy, witness: Witness) -> Self {
        let node = || Node {
            pair: None,
            asleep_until: 0,
            ahead: 0,
            lease: GroupLease::default(),
            own_lease: Duration::ZERO,
            arrivals: [None; PATHS],
            inbox: Vec::new(),
            process: 0,
            asked: 0,
            allowed: Vec::new(),
            questions: Vec::new(),
            epoch: 0,
            untold_until: 0,
            health: Health::Sound,
            announced: None,
            answered: None,
            changes: Vec::new(),
        };
        let mut simulation = Self {
            now: 1_000,
            nodes: [node(), node()],
            paths: [Trouble::default(); PATHS],
            both: Vec::new(),
            reaches: [true, true],
            witness,
            policy,
            preempt,
            reflects: false,
            random: Random::new(seed),
            flying: BTreeMap::new(),
            launched: 0,
            processes: 0,
        };
        simulation.start(0);
        simulation.start(1);
        simulation
    }

    pub fn start(&mut self, index: usize) {
        self.processes += 1;
        let now = self.clock(index);
        let node = &mut self.nodes[index];
        let epochs = BTreeMap::from([(0, node.epoch)]);
        let settings = Settings {
            policy: self.policy,
            ..settings(index as u8, self.preempt)
        };
        node.process = self.processes;
        node.allowed.clear();
        node.questions.clear();
        let mut pair = Pair::new(settings, self.processes, &epochs, now);
        pair.set_health(node.health, now);
        pair.go_on(&[node.lease.forward], now);
        node.pair = Some(pair);
        node.inbox.clear();
        node.lease = GroupLease {
            answer: Duration::ZERO,
            ..node.lease
        };
        node.arrivals = [None; PATHS];
    }

    /// The process dies. What is pinned goes on until the lease runs out.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index].pair = None;
    }

    pub fn sleep(&mut self, index: usize, milliseconds: u64) {
        self.nodes[index].asleep_until = self.now + milliseconds;
    }

    pub fn jump(&mut self, index: usize, milliseconds: u64) {
        self.nodes[index].ahead += milliseconds;
    }

    /// From the next millisecond on, for so many, the other node does not know of all flows.
    pub fn untold(&mut self, index: usize, milliseconds: u64) {
        self.nodes[index].untold_until = self.now.saturating_add(milliseconds);
        self.run(1);
    }

    pub fn set_health(&mut self, index: usize, health: Health) {
        self.nodes[index].health = health;
        self.at(index, |pair, now| pair.set_health(health, now));
    }

    /// Whoever sleeps awakes to it.
    pub fn at(&mut self, index: usize, act: impl FnOnce(&mut Pair, Duration)) {
        let now = self.clock(index);
        self.nodes[index].asleep_until = 0;
        self.take_in(index, now);
        if let Some(pair) = &mut self.nodes[index].pair {
            act(pair, now);
        }
        self.work(index);
    }

    pub fn cut(&mut self, cut: bool) {
        let loss = [if cut { 100 } else { 0 }; 2];
        self.paths = [Trouble { loss }; PATHS];
    }

    pub fn clock(&self, index: usize) -> Duration {
        Duration::from_millis(self.now + self.nodes[index].ahead)
    }

    pub fn role(&self, index: usize) -> Option<Role> {
        let pair = self.nodes[index].pair.as_ref()?;
        Some(pair.groups[0].role())
    }

    pub fn answers(&self, index: usize) -> bool {
        self.nodes[index].lease.answer > self.clock(index)
    }

    pub fn forwards(&self, index: usize) -> bool {
        self.nodes[index].lease.forward > self.clock(index)
    }

    pub fn run(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.now += 1;
            self.deliver();
            for index in 0..2 {
                self.turn(index);
            }
            let answering = [self.answers(0), self.answers(1)];
            for (node, answers) in self.nodes.iter_mut().zip(answering) {
                if answers {
                    node.answered = Some(self.now);
                }
            }
            if answering == [true, true] {
                self.both.push(self.now);
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(next) = self.flying.first_entry() {
            if next.key().0 > self.now {
                break;
            }
            let (to, path, datagram) = next.remove();
            if self.reflects && self.reflect(to, path, &datagram) {
                continue;
            }
            if self.nodes[to].pair.is_some() {
                self.nodes[to].inbox.push((path, datagram));
            }
        }
    }

    /// The data plane: whether it has taken the datagram.
    fn reflect(&mut self, at: usize, path: usize, datagram: &[u8]) -> bool {
        let Ok(header) = Header::decode(datagram) else {
            return false;
        };
        let now = self.clock(at);
        let own = usize::from(header.sender) == at;
        match header.kind {
            Kind::Echo if !own && now < self.nodes[at].own_lease => {
                let kind = Kind::Reflection;
                let keys = settings(at as u8, false).secret.keys(at as u8);
                let answer = wire::echo(&Header { kind, ..header }, &keys.answer);
                self.launch(at, path, answer);
                true
            }
            Kind::Answer | Kind::Reflection if own => {
                let node = &mut self.nodes[at];
                let process = node.pair.as_ref().map(|pair| pair.session.process());
                let latest = &mut node.arrivals[usize::from(header.path)];
                let new = latest.is_none_or(|(sequence, _, _)| sequence < header.sequence);
                if process == Some(header.process) && new {
                    *latest = Some((header.sequence, now, Answerer::DataPlane));
                }
                new
            }
            _ => false,
        }
    }

    fn turn(&mut self, index: usize) {
        if self.now < self.nodes[index].asleep_until {
            return;
        }
        let now = self.clock(index);
        self.take_in(index, now);
        let told = self.now >= self.nodes[index].untold_until;
        if let Some(pair) = &mut self.nodes[index].pair {
            if told {
                pair.told(pair.peer_process(), now, now);
            }
            if now >= pair.next(now) {
                pair.timeout(true, now);
            }
        }
        self.work(index);
        let wish = self.nodes[index].pair.as_ref().and_then(Pair::wish);
        self.ask(index, wish);
    }

    /// What has arrived.
    fn take_in(&mut self, index: usize, now: Duration) {
        let inbox = std::mem::take(&mut self.nodes[index].inbox);
        let arrivals = self.nodes[index].arrivals;
        let Some(pair) = &mut self.nodes[index].pair else {
            return;
        };
        for (path, latest) in arrivals.into_iter().enumerate() {
            if let Some((sequence, at, by)) = latest {
                pair.arrived(path, sequence, at, by, now);
            }
        }
        for (path, datagram) in inbox {
            let _ = pair.datagram(path, &datagram, now);
        }
        let (due, later): (Vec<_>, _) = std::mem::take(&mut self.nodes[index].allowed)
            .into_iter()
            .partition(|(at, _)| *at <= self.now);
        self.nodes[index].allowed = later;
        for (_, permission) in due {
            pair.allow(permission, now);
        }
    }

    fn work(&mut self, index: usize) {
        let Some(pair) = &mut self.nodes[index].pair else {
            return;
        };
        let effects: Vec<Effect> = std::iter::from_fn(|| pair.poll()).collect();
        for effect in effects {
            self.apply(index, effect);
        }
    }

    fn ask(&mut self, index: usize, wish: Option<u64>) {
        let (now, clock, reaches) = (self.now, self.clock(index), self.reaches[index]);
        let late = now + self.delay();
        let node = &mut self.nodes[index];
        let turn = now >= node.asked + 20;
        match self.witness {
            Witness::Nobody => {}
            Witness::Gateway if turn && reaches => {
                node.asked = now;
                let until = clock + Duration::from_millis(300);
                node.allowed.push((late, Permission { wish: None, until }));
            }
            Witness::Gateway => {}
            // One question at a time.
            Witness::Leases(_) if turn && node.questions.is_empty() && node.allowed.is_empty() => {
                node.asked = now;
                let question = match wish {
                    Some(_) => Question::Claim(wish, clock),
                    None => Question::Release,
                };
                node.questions.push((late, question));
            }
            Witness::Leases(_) => self.decide(index),
        }
    }

    /// What the witness that keeps leases makes of what has come to it.
    fn decide(&mut self, index: usize) {
        let (now, late) = (self.now, self.now + self.delay());
        let Witness::Leases(holder) = &mut self.witness else {
            return;
        };
        let node = &mut self.nodes[index];
        let Some((_, question)) = node.questions.pop_if(|(at, _)| *at <= now) else {
            return;
        };
        if !self.reaches[index] {
            return;
        }
        let own = holder.is_some_and(|(process, _)| process == node.process);
        let taken = holder.is_some_and(|(_, until)| until > now) && !own;
        match question {
            Question::Claim(wish, since) if !taken => {
                *holder = Some((node.process, now + LASTS));
                let until = since + Duration::from_millis(LASTS);
                node.allowed.push((late, Permission { wish, until }));
            }
            Question::Claim(..) => {}
            Question::Release => *holder = holder.filter(|_| !own),
        }
    }

    /// Most are quick to and from the witness, some are not.
    fn delay(&mut self) -> u64 {
        match self.random.below(8) {
            0 => self.random.below(700),
            _ => self.random.below(15),
        }
    }

    fn apply(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Send(path, datagram) => self.launch(index, path, datagram),
            Effect::Lease(own, groups) => {
                self.nodes[index].own_lease = own;
                self.nodes[index].lease = groups[0];
            }
            Effect::Changed(change) => {
                let node = &mut self.nodes[index];
                if change.cause == Cause::HandOver && node.health == Health::Sound {
                    assert!(
                        self.now >= node.untold_until,
                        "handed over at {}, but told at {} only",
                        self.now,
                        node.untold_until
                    );
                }
                if change.role == Role::Active {
                    assert!(
                        node.lease.answer > Duration::from_millis(self.now),
                        "announced before it answers: {change:?} at {}",
                        self.now
                    );
                    node.announced = Some(self.now);
                    assert!(
                        change.epoch > node.epoch || change.cause == Cause::Healed,
                        "an epoch comes again: {change:?} after {}",
                        node.epoch
                    );
                }
                node.epoch = node.epoch.max(change.epoch);
                node.changes.push((self.now, change));
            }
        }
    }

    /// Up to 5 ms on the way, so that order is not kept; some come twice.
    fn launch(&mut self, from: usize, path: usize, datagram: Vec<u8>) {
        let isolated = self
            .nodes
            .iter()
            .any(|node| node.health == Health::Isolated);
        if isolated || self.random.below(100) < self.paths[path].loss[from] {
            return;
        }
        let copies = if self.random.below(20) == 0 { 2 } else { 1 };
        for _ in 0..copies {
            self.launched += 1;
            let at = self.now + self.random.below(6);
            let flight = (1 - from, path, datagram.clone());
            self.flying.insert((at, self.launched), flight);
        }
    }
}
