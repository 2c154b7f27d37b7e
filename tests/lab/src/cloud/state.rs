//! What the cloud has: network interfaces, Elastic IP addresses, route tables; and what goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::attachment::{Attachment, Card};
use super::fabric::Port;
use super::s3::Objects;

/// A network interface.
#[derive(Clone, Debug)]
pub struct Interface {
    /// 0 or 1: where it is, or was until it was detached.
    pub node: usize,
    /// Its place there.
    pub attachment: Attachment,
    /// Where it can be attached.
    pub zone: &'static str,
    /// Tags by key.
    pub tags: BTreeMap<String, String>,
    /// A name; addresses move inside of one.
    pub subnet: String,
    /// Prefixes of the subnet's addresses, as texts before the last part.
    pub within: Vec<String>,
    /// Its MAC address.
    pub mac: String,
    /// Primary addresses, which stay.
    pub primary: Vec<IpAddr>,
    /// Secondary addresses, which move.
    pub secondary: BTreeSet<IpAddr>,
    /// Prefixes, which move too.
    pub prefixes: BTreeSet<String>,
    /// Addresses of IPv4 and prefixes that it may have.
    pub limit: usize,
    /// Whether sources and destinations are checked: said, and not done.
    pub checks: bool,
}

impl Interface {
    /// Whether it has an address.
    pub fn has(&self, address: IpAddr) -> bool {
        self.primary.contains(&address) || self.secondary.contains(&address)
    }

    /// Whether the address is of its subnet.
    pub fn may_have(&self, address: IpAddr) -> bool {
        let text = address.to_string();
        self.within.iter().any(|start| text.starts_with(start))
    }

    /// How much of its limit is taken.
    pub fn slots(&self) -> usize {
        let all = self.primary.iter().chain(&self.secondary);
        all.filter(|address| address.is_ipv4()).count() + self.prefixes.len()
    }
}

/// An Elastic IP address.
#[derive(Clone, Debug)]
pub struct Allocation {
    /// The address itself.
    pub public: IpAddr,
    /// Whether it is a carrier's, which is shown under another name.
    pub carrier: bool,
    /// Tags by key.
    pub tags: BTreeMap<String, String>,
    /// Network interface and private address.
    pub at: Option<(String, IpAddr)>,
    /// Counts associations.
    pub number: u64,
}

/// A route table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Tags by key.
    pub tags: BTreeMap<String, String>,
    /// Network interfaces by destination.
    pub routes: BTreeMap<String, String>,
}

/// Everything that calls change.
#[derive(Clone, Debug, Default)]
pub struct Things {
    /// Network interfaces by id.
    pub interfaces: BTreeMap<String, Interface>,
    /// Elastic IP addresses by allocation.
    pub allocations: BTreeMap<String, Allocation>,
    /// Route tables by id.
    pub tables: BTreeMap<String, Table>,
    /// Nodes whose instance lets go of nothing unless it is forced to.
    pub hung: BTreeSet<usize>,
}

impl Things {
    /// Who has an address.
    pub fn holders(&self, address: IpAddr) -> Vec<String> {
        let all = self.interfaces.iter();
        let holders = all.filter(|(_, interface)| interface.has(address));
        holders.map(|(id, _)| id.clone()).collect()
    }
}

/// What goes wrong with calls.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The action; empty: every one that changes something.
    pub action: &'static str,
    /// The node that calls; `None`: each.
    pub node: Option<usize>,
    /// How often.
    pub times: u32,
    /// What goes wrong.
    pub kind: FaultKind,
}

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug)]
pub enum FaultKind {
    /// Refused with a status and code; nothing is done.
    Refused(u16, &'static str),
    /// It takes so much longer.
    Slow(Duration),
    /// It is done, and the answer is lost.
    Lost,
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// Who called.
    pub node: usize,
    /// What.
    pub action: String,
    /// Parameters by name.
    pub parameters: BTreeMap<String, String>,
    /// When it came, and when it was answered.
    pub time: (Instant, Instant),
    /// The error's code, if it was refused.
    pub refused: Option<String>,
}

/// A key that requests are signed with.
#[derive(Clone, Debug)]
pub struct Key {
    pub node: usize,
    pub secret: String,
    pub token: String,
    pub expired: bool,
}

/// How many calls of an action are taken: so many at once, and then so many a second.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// At once.
    pub size: f64,
    /// A second.
    pub refill: f64,
    /// What is left of each action's, and when that was.
    left: BTreeMap<String, (f64, Instant)>,
}

impl Bucket {
    /// Full.
    pub fn new(size: u32, refill: u32) -> Self {
        Self {
            size: size.into(),
            refill: refill.into(),
            left: BTreeMap::new(),
        }
    }

    fn take(&mut self, action: &str) -> bool {
        let now = Instant::now();
        let full = (self.size, now);
        let (left, at) = self.left.entry(action.to_owned()).or_insert(full);
        *left = (*left + at.elapsed().as_secs_f64() * self.refill).min(self.size);
        *at = now;
        let enough = *left >= 1.0;
        *left -= f64::from(u8::from(enough));
        enough
    }
}

/// All of it.
pub struct State {
    /// What is true.
    pub things: Things,
    /// Earlier ones, and until when they held.
    pub past: Vec<(Instant, Things)>,
    /// How old what is shown may be.
    pub lag: Duration,
    /// Of each call.
    pub latency: Duration,
    /// What goes wrong next.
    pub faults: Vec<Fault>,
    /// What is stored.
    pub objects: Objects,
    /// `None`: as many calls as anybody likes.
    pub bucket: Option<Bucket>,
    /// Actions that nobody may call.
    pub denied: BTreeSet<String>,
    /// Keys by name.
    pub keys: BTreeMap<String, Key>,
    /// How many keys were given out.
    pub keys_made: u64,
    /// Every call, in order.
    pub called: Vec<Called>,
    /// Hosts of each subnet that send to its addresses.
    pub ports: BTreeMap<String, Vec<Port>>,
    /// Hosts that follow each route table.
    pub followers: BTreeMap<String, Vec<Port>>,
    /// Cards that can be pulled out, by their network interfaces.
    pub(super) cards: BTreeMap<String, Card>,
    /// Whether some address was at nobody for a while.
    pub dropped: Vec<String>,
}

impl State {
    /// What is shown now.
    pub fn shown(&self) -> &Things {
        let then = Instant::now().checked_sub(self.lag);
        let mut past = self.past.iter();
        let past = past.find(|(until, _)| then.is_some_and(|then| *until > then));
        past.map_or(&self.things, |(_, things)| things)
    }

    /// Remembers how things were.
    pub fn keep_past(&mut self) {
        let lag = self.lag;
        self.past.retain(|(until, _)| until.elapsed() < lag);
        if !lag.is_zero() {
            self.past.push((Instant::now(), self.things.clone()));
        }
    }

    /// The fault that hits this call.
    pub fn fault(&mut self, action: &str, node: usize) -> Option<FaultKind> {
        let mut faults = self.faults.iter_mut();
        let fault = faults.find(|fault| {
            let hits = fault.action == action
                || (fault.action.is_empty() && !action.starts_with("Describe"));
            fault.times > 0 && hits && fault.node.is_none_or(|of| of == node)
        })?;
        fault.times -= 1;
        Some(fault.kind)
    }

    /// Whether another call of this action is taken; those that only look are.
    pub fn has_token(&mut self, action: &str) -> bool {
        let bucket = self
            .bucket
            .as_mut()
            .filter(|_| !action.starts_with("Describe"));
        bucket.is_none_or(|bucket| bucket.take(action))
    }

    /// A key for a node.
    pub fn key(&mut self, node: usize) -> (String, Key) {
        self.keys_made += 1;
        let number = self.keys_made;
        let key = Key {
            node,
            secret: format!("secret/{number}+of={node}"),
            token: format!("token//{number}+=="),
            expired: false,
        };
        let name = format!("ASIA{number:012}");
        self.keys.insert(name.clone(), key.clone());
        (name, key)
    }
}
