//! A simulated pair of a sender and a receiver; a step is a millisecond.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use forwarder_common::FlowKey;

use super::super::entry::{Change, Flow, Way};
use super::super::{Entry, Message, Receiver, Sender, Stream};

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit.max(1)
    }
}

/// What the network does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// Of 100 datagrams.
    pub loss: u64,
    /// Of 100 datagrams.
    pub duplication: u64,
    /// Milliseconds at most; so many that datagrams overtake each other.
    pub delay: u64,
}

/// What a flow is at: its version.
type Flows = BTreeMap<u32, u32>;

pub struct World {
    pub sender: Sender,
    pub receiver: Receiver,
    pub active: Flows,
    pub trouble: Trouble,
    pub sent: usize,
    /// Flow, version, and in which bulk it was seen.
    applied: BTreeMap<u32, (u32, u32)>,
    bulk: u32,
    /// When something happened to a flow last, and its version then; `None`: it went.
    last: BTreeMap<u32, (u64, Option<u32>)>,
    /// Events that the sender has not taken yet.
    events: VecDeque<Entry>,
    walk: Option<(Stream, Option<u32>)>,
    flying: BTreeMap<(u64, u64), (bool, u64, Message)>,
    launched: u64,
    processes: u64,
    version: u32,
    now: u64,
    random: Random,
}

fn entry(flow: u32, version: u32) -> Entry {
    Entry::V4(Change::Flow(Flow {
        key: key(flow),
        source: 0,
        destination: 0,
        ports: version,
        states: [0, 0],
        way: Way::default(),
        out: None,
    }))
}

fn key(source: u32) -> FlowKey<u32> {
    FlowKey {
        source,
        ..FlowKey::default()
    }
}

impl World {
    pub fn new(seed: u64, trouble: Trouble) -> Self {
        let mut world = Self {
            sender: Sender::default(),
            receiver: Receiver::default(),
            active: Flows::new(),
            trouble,
            sent: 0,
            applied: BTreeMap::new(),
            bulk: 0,
            last: BTreeMap::new(),
            events: VecDeque::new(),
            walk: None,
            flying: BTreeMap::new(),
            launched: 0,
            processes: 0,
            version: 0,
            now: 1,
            random: Random::new(seed),
        };
        world.receiver.listen(true);
        world.restart_sender();
        world
    }

    pub fn now(&self) -> Duration {
        Duration::from_millis(self.now)
    }

    pub fn standby(&self) -> Flows {
        let entries = self.applied.iter();
        entries
            .map(|(flow, (version, _))| (*flow, *version))
            .collect()
    }

    /// A flow to which something happened last before `until`, or was filled in, and that the standby does not
    /// have as it is.
    pub fn missing(&self, until: Duration) -> Option<u32> {
        let happened = |(flow, (at, version)): (&u32, &(u64, Option<u32>))| {
            let known = self.applied.get(flow).map(|(version, _)| *version);
            (Duration::from_millis(*at) < until && known != *version).then_some(*flow)
        };
        let filled = self.active.keys().filter(|flow| **flow >= 1_000_000);
        let mut filled = filled.filter(|flow| !self.applied.contains_key(flow));
        let mut last = self.last.iter();
        last.find_map(happened).or_else(|| filled.next().copied())
    }

    /// Flows of which there was no event.
    pub fn fill(&mut self, count: u64) {
        for flow in 0..count as u32 {
            self.active.insert(flow + 1_000_000, 1);
        }
        self.sender.begin_again(self.now());
    }

    /// Flows are made, change and go.
    pub fn happen(&mut self, count: u64) {
        for _ in 0..count {
            self.version += 1;
            let flow = self.random.below(5_000) as u32;
            if self.random.below(3) == 0 {
                self.active.remove(&flow);
                self.last.insert(flow, (self.now, None));
                let gone = Change::Gone(key(flow), key(flow));
                self.events.push_back(Entry::V4(gone));
            } else {
                self.active.insert(flow, self.version);
                self.last.insert(flow, (self.now, Some(self.version)));
                self.events.push_back(entry(flow, self.version));
            }
        }
    }

    /// The ring was full.
    pub fn lose_events(&mut self, count: u64) {
        self.happen(count);
        self.events.clear();
        self.sender.begin_again(self.now());
    }

    /// Another process on the active node.
    pub fn restart_sender(&mut self) {
        self.processes += 1;
        self.sender = Sender::default();
        self.sender.start(7, self.now());
        // The session tells processes apart.
        self.receiver = Receiver::default();
        self.receiver.listen(true);
        self.flying.clear();
        self.walk = None;
    }

    /// Another process on the standby; what is in the maps stays.
    pub fn restart_receiver(&mut self) {
        self.processes += 1;
        self.receiver = Receiver::default();
        self.receiver.listen(true);
        self.sender.start(7, self.now());
        self.flying.clear();
    }

    pub fn settle(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.step();
        }
    }

    pub fn step(&mut self) {
        self.now += 1;
        let now = self.now();
        while let Some(entry) = self.events.pop_front() {
            self.sender.push(&entry, now);
        }
        self.walk_on();
        self.sender.flush(true, now);
        self.arrive();
        self.sender.timeout(now);
        while let Some(message) = self.sender.poll(now) {
            self.launch(true, message);
        }
        while let Some(message) = self.receiver.poll() {
            self.launch(false, message);
        }
    }

    fn walk_on(&mut self) {
        let Some(stream) = self.sender.wants_bulk() else {
            return;
        };
        let mut at = match self.walk {
            Some((walked, at)) if walked == stream => at,
            _ => None,
        };
        let now = self.now();
        // What happens while it walks comes behind.
        self.happen(3);
        for _ in 0..200 {
            let next = match at {
                None => self.active.iter().next(),
                Some(at) => self.active.range(at + 1..).next(),
            };
            let Some((flow, version)) = next else {
                self.sender.end_bulk(now);
                return;
            };
            at = Some(*flow);
            self.sender.push(&entry(*flow, *version), now);
        }
        self.walk = Some((stream, at));
    }

    fn launch(&mut self, to_receiver: bool, message: Message) {
        self.sent += 1;
        if self.random.below(100) < self.trouble.loss {
            return;
        }
        let copies = 1 + usize::from(self.random.below(100) < self.trouble.duplication);
        for _ in 0..copies {
            self.launched += 1;
            let at = self.now + 1 + self.random.below(self.trouble.delay + 1);
            let flying = (to_receiver, self.processes, message.clone());
            self.flying.insert((at, self.launched), flying);
        }
    }

    fn arrive(&mut self) {
        let later = self.flying.split_off(&(self.now + 1, 0));
        for (to_receiver, _, message) in std::mem::replace(&mut self.flying, later).into_values() {
            if !to_receiver {
                self.sender
                    .receive(&message, Duration::from_millis(self.now));
                continue;
            }
            self.receiver.receive(message);
            while let Some(chunk) = self.receiver.take() {
                let mut entries = Vec::new();
                Entry::decode_all(&chunk, |entry| entries.push(entry)).expect("entries");
                entries.into_iter().for_each(|entry| self.apply(entry));
            }
        }
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Begin => self.bulk += 1,
            Entry::End => {
                let bulk = self.bulk;
                let stale: BTreeSet<u32> = self
                    .applied
                    .iter()
                    .filter(|(_, (_, seen))| *seen != bulk)
                    .map(|(flow, _)| *flow)
                    .collect();
                self.applied.retain(|flow, _| !stale.contains(flow));
            }
            Entry::V4(Change::Flow(flow)) => {
                let seen = (flow.ports, self.bulk);
                self.applied.insert(flow.key.source, seen);
            }
            Entry::V4(Change::Gone(key, _)) => {
                self.applied.remove(&key.source);
            }
            other => panic!("{other:?}"),
        }
    }
}
