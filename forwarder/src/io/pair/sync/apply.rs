//! Entries that the peer tells, into the maps.

use std::sync::Arc;

use forwarder_common::flow::SECOND_SHIFT;
use forwarder_common::{Flow, FlowKey, V4, V6};
use log::{debug, warn};

use crate::core::key::Address;
use crate::core::pair::sync::backends::{Backends, Parts, Remembered};
use crate::core::pair::sync::entry::Change;
use crate::core::pair::sync::names::Names;
use crate::core::pair::sync::{Entry, Groups};
use crate::dataplane::bpf::peer_flows::{InMaps, PeerFlows};
use crate::io::clock;

/// What was done so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub received: u64,
    pub kept: u64,
    pub unknown: u64,
    pub foreign: u64,
    pub no_room: u64,
    pub swept: u64,
}

/// What is taken in.
#[derive(Clone, Copy, Debug)]
pub struct Take {
    /// Groups that the peer is active for.
    pub standby: Groups,
    /// Whether of all others what is not there is taken in too: the peer was active until now.
    pub hears: bool,
}

/// Entries of one family that wait to be written together.
struct Waiting<A> {
    keys: Vec<FlowKey<A>>,
    flows: Vec<Flow<A>>,
}

impl<A> Default for Waiting<A> {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            flows: Vec::new(),
        }
    }
}

pub struct Applier {
    pub flows: PeerFlows,
    pub done: Done,
    /// What the peer makes of backends.
    pub backends: Option<Arc<Backends>>,
    /// What slots of its tables remember, which are made of these backends.
    pub past: Option<Arc<Remembered>>,
    parts: Parts,
    past_parts: Parts,
    v4: Waiting<V4>,
    v6: Waiting<V6>,
    /// What came since the bulk began is stamped at least so.
    stamp: u32,
    complete: bool,
    unknown_since: bool,
    good: bool,
}

/// The data plane's seconds.
pub fn seconds() -> u32 {
    (clock::coarse_monotonic().as_nanos() >> SECOND_SHIFT) as u32
}

impl Applier {
    pub fn new(flows: PeerFlows) -> Self {
        Self {
            flows,
            done: Done::default(),
            backends: None,
            past: None,
            parts: Parts::default(),
            past_parts: Parts::default(),
            v4: Waiting::default(),
            v6: Waiting::default(),
            stamp: 0,
            complete: false,
            unknown_since: false,
            good: true,
        }
    }

    /// Whether all has come that the peer had.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether something could not be taken in for want of a name, which may be known now.
    pub fn forget_unknown(&mut self) -> bool {
        std::mem::take(&mut self.unknown_since)
    }

    /// Takes a chunk in; `relay` is called with what is of other groups than those of the peer. `take`: what is
    /// to be taken in right now. `false`: it is no chunk.
    pub fn take(
        &mut self,
        chunk: &[u8],
        names: &Names,
        take: impl Fn() -> Take,
        mut relay: impl FnMut(&Entry),
    ) -> bool {
        let read = Entry::decode_all(chunk, |entry| {
            let Take { standby, hears } = take();
            let group = names.group_of(&entry);
            if group == 0 || group & standby != 0 {
                self.entry(&entry, names, || take().standby);
            } else if hears && self.add(&entry, names) {
                relay(&entry);
            }
        });
        read.is_ok()
    }

    /// Takes in what is not there, and says whether it has; what else an active node has is its own business.
    fn add(&mut self, entry: &Entry, names: &Names) -> bool {
        let stamp = self.stamp();
        match entry {
            Entry::V4(change) => add(&mut self.flows, told(change, names, stamp, &mut self.done)),
            Entry::V6(change) => add(&mut self.flows, told(change, names, stamp, &mut self.done)),
            Entry::Begin | Entry::End | Entry::Other => false,
            Entry::Backends(..) | Entry::Past(..) => false,
        }
    }

    /// Writes what waits. `false`: something went wrong since the last time.
    pub fn finish(&mut self) -> bool {
        self.write();
        std::mem::replace(&mut self.good, true)
    }

    fn entry(&mut self, entry: &Entry, names: &Names, standby: impl Fn() -> Groups) {
        match entry {
            Entry::Backends(last, part) => match self.parts.take(*last, part) {
                Ok(Some(backends)) => self.backends = Some(Arc::new(backends)),
                Ok(None) => {}
                Err(_) => self.good = false,
            },
            Entry::Past(last, part) => match self.past_parts.take(*last, part) {
                Ok(Some(past)) => {
                    let made = self.backends.clone();
                    self.past = made.map(|backends| Arc::new(Remembered { backends, past }));
                }
                Ok(None) => {}
                Err(_) => self.good = false,
            },
            Entry::Other => self.done.foreign += 1,
            Entry::Begin => self.begin(),
            Entry::End => self.end(names, standby),
            Entry::V4(change) => {
                let stamp = self.stamp();
                if let Some(flow) = told(change, names, stamp, &mut self.done) {
                    push(&mut self.v4, flow);
                } else {
                    self.write();
                    self.other(change, names);
                }
            }
            Entry::V6(change) => {
                let stamp = self.stamp();
                if let Some(flow) = told(change, names, stamp, &mut self.done) {
                    push(&mut self.v6, flow);
                } else {
                    self.write();
                    self.other(change, names);
                }
            }
        }
    }

    /// What is not a flow that can be written.
    fn other<A: InMaps + Address>(&mut self, change: &Change<A>, names: &Names) {
        match change {
            Change::Flow(_) => {
                self.done.unknown += 1;
                self.unknown_since = true;
            }
            Change::Gone(key, other) => {
                A::remove(&mut self.flows, [*key, *other]);
                self.done.received += 1;
            }
            Change::Kept(key, address, port) => match names.kept(key, *address, *port) {
                Some(backend) => {
                    A::keep(&mut self.flows, *key, backend);
                    self.done.received += 1;
                    self.done.kept += 1;
                }
                None => {
                    self.done.unknown += 1;
                    self.unknown_since = true;
                }
            },
            Change::Released(key) => {
                A::release(&mut self.flows, *key);
                self.done.received += 1;
            }
        }
    }

    fn begin(&mut self) {
        self.parts.clear();
        self.past_parts.clear();
        self.write();
        // Later than anything that is in the maps.
        self.stamp = (seconds() + 1).max(self.stamp + 1);
        self.complete = false;
        self.unknown_since = false;
    }

    fn end(&mut self, names: &Names, standby: impl Fn() -> Groups) {
        self.write();
        let groups = names.common_groups();
        let of = |id: u32| {
            let group = groups.get(&id);
            group.is_some_and(|group| standby() >> group & 1 == 1)
        };
        match self.flows.sweep(self.stamp, of) {
            Ok(swept) => {
                debug!("{swept} flow entries that the peer does not have are removed");
                self.done.swept += swept as u64;
                self.complete = true;
            }
            Err(error) => {
                warn!("the flow maps cannot be read: {error}");
                self.good = false;
            }
        }
    }

    fn stamp(&self) -> u32 {
        seconds().max(self.stamp)
    }

    fn write(&mut self) {
        let refused = write(&mut self.v4, &mut self.flows) + write(&mut self.v6, &mut self.flows);
        self.done.no_room += refused as u64;
    }
}

fn told<A: Address>(
    change: &Change<A>,
    names: &Names,
    stamp: u32,
    done: &mut Done,
) -> Option<[(FlowKey<A>, Flow<A>); 2]> {
    let Change::Flow(flow) = change else {
        return None;
    };
    let entries = names.entries(flow, stamp)?;
    done.received += 1;
    Some(entries)
}

/// The reply entry goes first: what the forward entry translates must find its way back.
fn push<A>(waiting: &mut Waiting<A>, [forward, reply]: [(FlowKey<A>, Flow<A>); 2]) {
    for (key, flow) in [reply, forward] {
        waiting.keys.push(key);
        waiting.flows.push(flow);
    }
}

/// Writes both entries of a flow where there is none; whether it has. What is there already is no want of room.
fn add<A: InMaps>(maps: &mut PeerFlows, entries: Option<[(FlowKey<A>, Flow<A>); 2]>) -> bool {
    let Some([(key, flow), (other, reply)]) = entries else {
        return false;
    };
    if A::put(maps, &[other], &[reply], true) != 0 {
        return false;
    }
    let added = A::put(maps, &[key], &[flow], true) == 0;
    if !added {
        A::remove(maps, [other; 2]);
    }
    added
}

fn write<A: InMaps>(waiting: &mut Waiting<A>, maps: &mut PeerFlows) -> usize {
    if waiting.keys.is_empty() {
        return 0;
    }
    let refused = A::put(maps, &waiting.keys, &waiting.flows, false);
    waiting.keys.clear();
    waiting.flows.clear();
    refused
}
