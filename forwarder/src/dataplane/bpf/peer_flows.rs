//! The flow maps, as the pair fills and reads them.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use aya::Pod;
use aya::maps::{HashMap, Map, MapData};
use forwarder_common::flow::{event, state};
use forwarder_common::{Flow, FlowEvent, FlowKey, Link, V4, V6};

use super::batch::{self, Walk};
use super::expiry::{Expiry, FlowMaps};
use super::remove::remove_if;
use super::told::Told;
use crate::core::key::partner_key;
use crate::core::pair::sync::Entry;
use crate::core::pair::sync::entry::Change;
use crate::core::pair::sync::names::Event;

/// `BPF_NOEXIST`.
const NOEXIST: u64 = 1;

/// Entries that one step of a walk looks at, about.
const STEP: usize = 2048;

/// What there is of one family.
#[derive(Debug)]
struct Family<A: Copy>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    fd: OwnedFd,
    flows: HashMap<MapData, FlowKey<A>, Flow<A>>,
    exceptions_fd: OwnedFd,
    exceptions: HashMap<MapData, FlowKey<A>, u32>,
}

/// Handles of the established flows and of the exceptions.
#[derive(Debug)]
pub struct PeerFlows {
    v4: Family<V4>,
    v6: Family<V6>,
    told: Arc<Told>,
}

/// An address family's maps.
pub trait InMaps: Copy {
    /// Writes entries, with `new` only those whose key is not there; how many found no place.
    fn put(maps: &mut PeerFlows, keys: &[FlowKey<Self>], flows: &[Flow<Self>], new: bool) -> usize;
    /// Removes entries.
    fn remove(maps: &mut PeerFlows, keys: [FlowKey<Self>; 2]);
    /// Writes down what an older flow keeps.
    fn keep(maps: &mut PeerFlows, key: FlowKey<Self>, backend: u32);
    /// Forgets it.
    fn release(maps: &mut PeerFlows, key: FlowKey<Self>);
}

macro_rules! in_maps {
    ($address:ty, $family:ident) => {
        impl InMaps for $address {
            fn put(
                maps: &mut PeerFlows,
                keys: &[FlowKey<Self>],
                flows: &[Flow<Self>],
                new: bool,
            ) -> usize {
                let family = &mut maps.$family;
                if !new {
                    return batch::update(family.fd.as_fd(), keys, flows);
                }
                // The kernel takes no such condition for many at once.
                let entries = keys.iter().zip(flows);
                let refused = entries
                    .filter(|(key, flow)| family.flows.insert(*key, **flow, NOEXIST).is_err());
                refused.count()
            }

            fn remove(maps: &mut PeerFlows, keys: [FlowKey<Self>; 2]) {
                for key in keys {
                    // What is not there needs no removing.
                    let _ = maps.$family.flows.remove(&key);
                }
            }

            fn keep(maps: &mut PeerFlows, key: FlowKey<Self>, backend: u32) {
                // The map makes room for it.
                let _ = maps.$family.exceptions.insert(key, backend, 0);
            }

            fn release(maps: &mut PeerFlows, key: FlowKey<Self>) {
                let _ = maps.$family.exceptions.remove(&key);
            }
        }
    };
}

in_maps!(V4, v4);
in_maps!(V6, v6);

/// How far a walk over everything is.
#[derive(Debug, Default)]
pub struct Everything {
    flows4: Walk<FlowKey<V4>, Flow<V4>>,
    flows6: Walk<FlowKey<V6>, Flow<V6>>,
    exceptions4: Walk<FlowKey<V4>, u32>,
    exceptions6: Walk<FlowKey<V6>, u32>,
}

impl PeerFlows {
    pub(super) fn open(expiry: &Expiry, exceptions: [BorrowedFd<'_>; 2]) -> io::Result<Self> {
        let maps: Arc<FlowMaps> = expiry.maps();
        let [exceptions4, exceptions6] = exceptions;
        Ok(Self {
            v4: Family::open(&maps.established4, exceptions4)?,
            v6: Family::open(&maps.established6, exceptions6)?,
            told: expiry.told(),
        })
    }

    /// What the expiry of flows shares.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// The event with what the data plane did not look up.
    pub fn whole(&self, event: Event) -> Event {
        match event {
            Event::V4(event, _) => {
                let (event, link) = self.v4.whole(event);
                Event::V4(event, link)
            }
            Event::V6(event, _) => {
                let (event, link) = self.v6.whole(event);
                Event::V6(event, link)
            }
        }
    }

    /// Whether none of the flows' entries that an entry says are gone is there.
    pub fn lacks(&self, entry: &Entry) -> bool {
        match entry {
            Entry::V4(Change::Gone(one, other)) => self.v4.lacks(&[one, other]),
            Entry::V6(Change::Gone(one, other)) => self.v6.lacks(&[one, other]),
            _ => true,
        }
    }

    /// Some more of everything there is, as events; `false`: that was all.
    pub fn walk(&self, walk: &mut Everything, mut each: impl FnMut(Event)) -> io::Result<bool> {
        Ok(self
            .v4
            .flows(&mut walk.flows4, |event, link| each(Event::V4(event, link)))?
            || self
                .v6
                .flows(&mut walk.flows6, |event, link| each(Event::V6(event, link)))?
            || self.v4.kept(&mut walk.exceptions4, |event, link| {
                each(Event::V4(event, link))
            })?
            || self.v6.kept(&mut walk.exceptions6, |event, link| {
                each(Event::V6(event, link))
            })?)
    }

    /// Removes the flows of these virtual servers and egress rules (by id) neither of whose entries was stamped since `stamp`. How
    /// many entries. Whose they are is asked again right before each is removed.
    pub fn sweep(&mut self, stamp: u32, of: impl Fn(u32) -> bool) -> io::Result<usize> {
        Ok(self.v4.sweep(stamp, &of)? + self.v6.sweep(stamp, &of)?)
    }
}

impl<A: Copy> Family<A>
where
    FlowKey<A>: Pod + Default + PartialEq,
    Flow<A>: Pod + Default,
{
    fn open(established: &OwnedFd, exceptions: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self {
            fd: established.try_clone()?,
            flows: handle(established.try_clone()?)?,
            exceptions_fd: exceptions.try_clone_to_owned()?,
            exceptions: handle(exceptions.try_clone_to_owned()?)?,
        })
    }

    fn lacks(&self, keys: &[&FlowKey<A>]) -> bool {
        keys.iter().all(|key| self.flows.get(key, 0).is_err())
    }

    fn whole(&self, event: FlowEvent<A>) -> (FlowEvent<A>, Link) {
        let egress = || event.flow.state & state::EGRESS != 0;
        if event.what != event::ENDS && !(event.what == event::FLOW && egress()) {
            return (event, Link::default());
        }
        let other = self.flows.get(&partner_key(&event.key, &event.flow), 0);
        let other = other.unwrap_or_default();
        let whole = FlowEvent {
            what: event::FLOW,
            other_state: other.state,
            ..event
        };
        (whole, other.link)
    }

    fn flows(
        &self,
        walk: &mut Walk<FlowKey<A>, Flow<A>>,
        mut each: impl FnMut(FlowEvent<A>, Link),
    ) -> io::Result<bool> {
        let Some((keys, flows)) = walk.next(self.fd.as_fd(), STEP)? else {
            return Ok(false);
        };
        for (key, flow) in keys.iter().zip(flows) {
            if flow.state & state::REPLY != 0 {
                continue;
            }
            // Without its other entry it is about to go.
            if let Ok(reply) = self.flows.get(&partner_key(key, flow), 0) {
                let event = FlowEvent {
                    what: event::FLOW,
                    other_state: reply.state,
                    key: *key,
                    flow: *flow,
                };
                each(event, reply.link);
            }
        }
        Ok(true)
    }

    fn kept(
        &self,
        walk: &mut Walk<FlowKey<A>, u32>,
        mut each: impl FnMut(FlowEvent<A>, Link),
    ) -> io::Result<bool> {
        let Some((keys, backends)) = walk.next(self.exceptions_fd.as_fd(), STEP)? else {
            return Ok(false);
        };
        for (key, backend) in keys.iter().zip(backends) {
            let event = FlowEvent {
                what: event::KEPT,
                other_state: 0,
                key: *key,
                flow: Flow {
                    backend: *backend,
                    ..Flow::default()
                },
            };
            each(event, Link::default());
        }
        Ok(true)
    }

    fn sweep(&mut self, stamp: u32, of: &impl Fn(u32) -> bool) -> io::Result<usize> {
        let is_stale = |flow: &Flow<A>| flow.last_seen < stamp && of(flow.id);
        let mut stale = Vec::new();
        batch::for_each_chunk(self.fd.as_fd(), |keys: &[FlowKey<A>], flows: &[Flow<A>]| {
            let entries = keys.iter().zip(flows);
            let old = entries.filter(|(_, flow)| is_stale(flow));
            stale.extend(old.map(|(key, flow)| (*key, *flow)));
        })?;
        let mut removed = 0;
        for (key, flow) in stale {
            let other = partner_key(&key, &flow);
            let partner = self.flows.get(&other, 0).ok();
            let partner = partner.filter(|partner| partner_key(&other, partner) == key);
            if partner.is_some_and(|partner| !is_stale(&partner)) {
                continue;
            }
            // The forward entry goes first: what it translates could no longer be answered.
            let mut both = [Some(key), partner.map(|_| other)];
            if flow.state & state::REPLY != 0 {
                both.reverse();
            }
            for key in both.iter().flatten() {
                if !remove_if(self.fd.as_fd(), key, is_stale)? {
                    break;
                }
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn handle<K: Pod, V: Pod>(fd: OwnedFd) -> io::Result<HashMap<MapData, K, V>> {
    let data = MapData::from_fd(fd).map_err(io::Error::other)?;
    let map = Map::from_map_data(data).map_err(io::Error::other)?;
    map.try_into().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::super::batch::tests::hash_map;
    use super::*;

    /// Both entries of a flow of client `n`, forward first.
    fn entries(n: u32, seen: [u32; 2]) -> [(FlowKey<V4>, Flow<V4>); 2] {
        let key = FlowKey {
            source: n,
            destination: 2,
            ports: 0x0003_0004,
            protocol: 17,
        };
        let forward = Flow {
            source: 5,
            destination: 6,
            ports: n << 16 | 7,
            last_seen: seen[0],
            ..Flow::default()
        };
        let reply = Flow {
            source: key.destination,
            destination: key.source,
            ports: key.ports.rotate_left(16),
            state: state::REPLY,
            last_seen: seen[1],
            ..Flow::default()
        };
        [(key, forward), (partner_key(&key, &forward), reply)]
    }

    #[test]
    fn what_is_swept_is_whole_flows() {
        const STAMP: u32 = 100;
        let fd = hash_map(size_of::<FlowKey<V4>>(), size_of::<Flow<V4>>(), 20);
        let exceptions = hash_map(size_of::<FlowKey<V4>>(), 4, 1);
        let mut family = Family::<V4>::open(&fd, exceptions.as_fd()).expect("maps");
        let before = STAMP - 1;
        for (n, seen) in (0..).zip([
            [STAMP, STAMP],
            // A packet has passed on one way since the peer told of it, or none has.
            [before, STAMP],
            [STAMP, before],
            [before, before],
        ]) {
            for (key, flow) in entries(n, seen) {
                family.flows.insert(key, flow, 0).expect("room");
            }
        }
        // A reply entry whose forward entry leads elsewhere now.
        let [_, (_, left)] = entries(0, [before; 2]);
        let [_, (other, _)] = entries(9, [before; 2]);
        family.flows.insert(other, left, 0).expect("room");
        assert_eq!(family.sweep(STAMP, &|_| false).expect("a walk"), 0);
        assert_eq!(family.sweep(STAMP, &|id| id == 0).expect("a walk"), 3);
        let whole = |n| family.lacks(&entries(n, [0; 2]).each_ref().map(|(key, _)| key));
        let lacking = (0..4).map(whole);
        assert_eq!(lacking.collect::<Vec<_>>(), [false, false, false, true]);
        assert_eq!(family.flows.keys().count(), 6);
    }
}
