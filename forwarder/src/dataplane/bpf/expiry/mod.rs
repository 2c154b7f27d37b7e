//! Takes idle NAT flows out of the flow maps, and counts what is in them on the way.

mod ask;
mod census;
mod churn;
mod decision;
mod expired;
mod halves;
mod idle;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use aya::Pod;
use aya::maps::{HashMap, Map, MapData, MapError};
use forwarder_common::flow::SECOND_SHIFT;
use forwarder_common::{Flow, FlowKey, V4, V6};
use log::{debug, warn};

use super::batch::for_each_chunk;
use super::remove::remove_if;
use super::told::Told;
use crate::core::key::{Address, partner_key};
use crate::core::pair::sync::Entry;
use crate::core::pair::sync::entry::Change;
use crate::io::clock;
use ask::Segment;
pub use census::Census;
use census::MapCensus;
pub use churn::Churned;
use churn::Evictions;
pub use decision::Timeouts;
use decision::{Stage, is_idle};
pub use idle::{Idle, IdleTimes};

/// Pause between two walks.
const INTERVAL: Duration = Duration::from_secs(5);

/// Kind and family of the flow maps.
pub const MAPS: [[&str; 2]; 4] = [
    ["established", "ipv4"],
    ["established", "ipv6"],
    ["embryonic", "ipv4"],
    ["embryonic", "ipv6"],
];

/// The running collector; it ends when this is dropped.
#[derive(Debug)]
pub struct Expiry {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    census: Arc<Mutex<Arc<Census>>>,
    maps: Arc<FlowMaps>,
    churn: Arc<Churned>,
    told: Arc<Told>,
    idle: Arc<IdleTimes>,
}

impl Expiry {
    /// Starts a thread of its own: a walk over a million flows takes a while.
    pub fn start(maps: FlowMaps, churn: Churned, timeouts: Timeouts) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let census: Arc<Mutex<Arc<Census>>> = Arc::default();
        let taken = Arc::clone(&census);
        let maps = Arc::new(maps);
        let walked = Arc::clone(&maps);
        let churn = Arc::new(churn);
        let counted = Arc::clone(&churn);
        let told = Arc::new(Told::default());
        let telling = Arc::clone(&told);
        let idle = Arc::new(IdleTimes::default());
        let times = Arc::clone(&idle);
        let thread = thread::Builder::new()
            .name("flow-expiry".into())
            .spawn(move || {
                let mut expired = [0; 4];
                let mut walks = 0_u32;
                let mut evictions = [Evictions::default(); 2];
                // What is there to begin with tells what was made before.
                let mut pause = Duration::ZERO;
                while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    pause = INTERVAL;
                    let before = counted.read();
                    let now = clock::coarse_monotonic();
                    let walked = walked.expire(&timeouts, &times, now, &telling, walks);
                    walks = walks.wrapping_add(1);
                    match walked.and_then(|census| Ok((census, before?, counted.read()?))) {
                        Ok((mut census, before, after)) => {
                            for (family, evictions) in evictions.iter_mut().enumerate() {
                                // The embryonic maps come last.
                                let map = &mut census.maps[2 + family];
                                evictions.note(
                                    before[family],
                                    after[family],
                                    map.entries + map.expired,
                                );
                                counted.removed(family, map.expired);
                                map.evicted = evictions.count();
                            }
                            for (map, before) in census.maps.iter_mut().zip(&mut expired) {
                                if map.expired > 0 {
                                    debug!("{} idle flow entries removed", map.expired);
                                }
                                *before += map.expired;
                                map.expired = *before;
                            }
                            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
                            *taken = Arc::new(census);
                        }
                        Err(error) => warn!("idle flows could not be removed: {error}"),
                    }
                }
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
            census,
            maps,
            churn,
            told,
            idle,
        })
    }

    /// Takes in that embryonic entries were removed by others than the walks: IPv4, IPv6.
    pub fn removed(&self, entries: [u64; 2]) {
        for (family, entries) in entries.into_iter().enumerate() {
            self.churn.removed(family, entries);
        }
    }

    /// What expiry has to know of the pair, and tells it.
    pub fn told(&self) -> Arc<Told> {
        Arc::clone(&self.told)
    }

    /// How flows of these virtual servers, by id, are forgotten; those of others as ever.
    pub fn set_idle_times(&self, times: BTreeMap<u32, Idle>) {
        self.idle.set(times);
    }

    /// The maps that are walked.
    pub fn maps(&self) -> Arc<FlowMaps> {
        Arc::clone(&self.maps)
    }

    /// What the last walk has seen.
    pub fn census(&self) -> Arc<Census> {
        Arc::clone(&self.census.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Expiry {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// Handles of the flow maps, apart from the loader's.
#[derive(Debug)]
pub struct FlowMaps {
    pub(super) established4: OwnedFd,
    pub(super) established6: OwnedFd,
    pub(super) embryonic4: OwnedFd,
    pub(super) embryonic6: OwnedFd,
}

impl FlowMaps {
    /// Duplicates of the four maps' descriptors.
    pub fn new(
        established4: BorrowedFd<'_>,
        established6: BorrowedFd<'_>,
        embryonic4: BorrowedFd<'_>,
        embryonic6: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        Ok(Self {
            established4: established4.try_clone_to_owned()?,
            established6: established6.try_clone_to_owned()?,
            embryonic4: embryonic4.try_clone_to_owned()?,
            embryonic6: embryonic6.try_clone_to_owned()?,
        })
    }

    /// One walk over all four, in the order of [`MAPS`]: what was there, and how much was removed. `number`: of
    /// the walk.
    pub fn expire(
        &self,
        timeouts: &Timeouts,
        idle: &IdleTimes,
        now: Duration,
        told: &Told,
        number: u32,
    ) -> io::Result<Census> {
        // The data plane's "seconds": the clock wraps after 146 years.
        let now = (now.as_nanos() >> SECOND_SHIFT) as u32;
        let times = |stage, turn| Times {
            all: timeouts.of(stage),
            idle: idle.get(),
            turn,
        };
        let established = times(Stage::Established, Some(number));
        let embryonic = times(Stage::Embryonic, None);
        let mut census = Census::default();
        let all = &mut census;
        let mut asked = Vec::new();
        let ask = &mut asked;
        let maps = [
            walk::<V4>(&self.established4, now, &established, all, told, ask)?,
            walk::<V6>(&self.established6, now, &established, all, told, ask)?,
            walk::<V4>(&self.embryonic4, now, &embryonic, all, told, ask)?,
            walk::<V6>(&self.embryonic6, now, &embryonic, all, told, ask)?,
        ];
        ask::ask(&asked);
        census.maps = maps;
        Ok(census)
    }
}

/// A flow map.
fn open<A>(fd: &OwnedFd) -> io::Result<HashMap<MapData, FlowKey<A>, Flow<A>>>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    let data = MapData::from_fd(fd.try_clone()?).map_err(io::Error::other)?;
    let map = Map::from_map_data(data).map_err(io::Error::other)?;
    map.try_into().map_err(io::Error::other)
}

/// The other entry of an entry's flow, if it is there and not another flow's.
fn partner<A>(
    map: &HashMap<MapData, FlowKey<A>, Flow<A>>,
    key: &FlowKey<A>,
    flow: &Flow<A>,
) -> io::Result<Option<Flow<A>>>
where
    A: Copy,
    FlowKey<A>: Pod + PartialEq,
    Flow<A>: Pod,
{
    let other = partner_key(key, flow);
    match map.get(&other, 0) {
        Ok(partner) => Ok(Some(partner).filter(|partner| partner_key(&other, partner) == *key)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Which flows of a map go.
struct Times {
    all: decision::StageTimeouts,
    idle: Arc<BTreeMap<u32, Idle>>,
    /// In the walk of this number flows are looked for that have lost their reply entry; `None`: in none.
    turn: Option<u32>,
}

impl Times {
    fn of<A>(&self, flow: &Flow<A>) -> decision::StageTimeouts {
        let idle = self.idle.get(&flow.id);
        self.all.of_server(idle.and_then(|idle| idle.seconds))
    }

    /// Whether the ends of a flow's connection are told that it is forgotten.
    fn tells<A>(&self, flow: &Flow<A>) -> bool {
        let idle = self.idle.get(&flow.id);
        self.all.stage == Stage::Established && idle.is_some_and(|idle| idle.reset)
    }
}

fn walk<A>(
    fd: &OwnedFd,
    now: u32,
    times: &Times,
    census: &mut Census,
    told: &Told,
    asked: &mut Vec<Segment>,
) -> io::Result<MapCensus>
where
    A: Address + Default + PartialEq,
    Entry: From<Change<A>>,
    FlowKey<A>: Pod + Default + PartialEq,
    Flow<A>: Pod + Default,
{
    let (mut idle, mut due) = (Vec::new(), Vec::new());
    let mut entries = 0;
    let aging = told.aging();
    for_each_chunk(fd.as_fd(), |keys: &[FlowKey<A>], flows: &[Flow<A>]| {
        entries += keys.len();
        let all = keys.iter().zip(flows);
        all.for_each(|(key, flow)| census.note(key, flow));
        let entries = keys.iter().zip(flows);
        idle.extend(
            entries
                .filter(|(key, flow)| {
                    let aged = aging.aged(flow);
                    aged.is_some_and(|flow| {
                        is_idle(key.protocol, &flow, None, now, &times.of(&flow))
                    })
                })
                .map(|(key, flow)| (*key, *flow)),
        );
        if let Some(number) = times.turn {
            let entries = keys.iter().zip(flows);
            let turn = entries.filter(|(key, flow)| halves::is_due(key, flow, number));
            due.extend(turn.map(|(key, flow)| (*key, *flow)));
        }
    })?;
    let removed = remove(fd, &idle, now, times, told, asked)? + halves::remove(fd, &due, told)?;
    Ok(MapCensus {
        entries: entries.saturating_sub(removed) as u64,
        expired: removed as u64,
        evicted: 0,
    })
}

/// Removes idle flows by the entries that were read; how many went. Their ports may have begun other flows
/// since, under the same keys: clients use a port again after a minute too.
fn remove<A>(
    fd: &OwnedFd,
    idle: &[(FlowKey<A>, Flow<A>)],
    now: u32,
    times: &Times,
    told: &Told,
    asked: &mut Vec<Segment>,
) -> io::Result<usize>
where
    A: Address,
    Entry: From<Change<A>>,
    FlowKey<A>: Pod + PartialEq,
    Flow<A>: Pod,
{
    let mut map = open(fd)?;
    let mut removed = 0;
    let aging = told.aging();
    for (key, flow) in idle {
        let partner_key = partner_key(key, flow);
        let partner = partner(&map, key, flow)?;
        let aged = |flow: &Flow<A>| aging.aged(flow);
        let (Some(own), Ok(other)) = (
            aged(flow),
            partner
                .as_ref()
                .map(|flow| aged(flow).ok_or(()))
                .transpose(),
        ) else {
            continue;
        };
        if !is_idle(key.protocol, &own, other.as_ref(), now, &times.of(&own)) {
            continue;
        }
        if let Some(other) = &partner
            && times.tells(flow)
            && expired::is_open(key.protocol, flow, other)
        {
            let (own, partner) = ((key, flow), (&partner_key, other));
            let (forward, reply) = match decision::is_reply(flow) {
                true => (partner, own),
                false => (own, partner),
            };
            if expired::mark(&mut map, forward, reply, now)? && asked.len() < ask::MOST {
                asked.extend(expired::segments(forward));
            }
            continue;
        }
        // The forward entry goes first: what it translates could no longer be answered.
        let (own, partner) = ((key, Some(flow)), (&partner_key, partner.as_ref()));
        let order = if decision::is_reply(flow) {
            [partner, own]
        } else {
            [own, partner]
        };
        let mut gone = 0;
        for (key, seen) in order {
            let Some(seen) = seen else { continue };
            // Whatever passes an idle entry, or makes another of it, brings its time up to date.
            let goes = |flow: &Flow<A>| flow.last_seen == seen.last_seen;
            if !remove_if(fd.as_fd(), key, goes)? {
                break;
            }
            gone += 1;
        }
        if gone > 0 && aging.tells(flow) {
            told.removed(|| Change::Gone(*key, partner_key).into());
        }
        removed += gone;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use forwarder_common::flow::state::{FIN, REPLY};
    use forwarder_common::protocol;

    use super::super::batch::tests::hash_map;
    use super::*;

    const NOW: u32 = 1_000;

    /// Both entries of a closed flow of a client to a backend, last seen then.
    pub(super) fn flow(backend: u32, last_seen: u32) -> [(FlowKey<V4>, Flow<V4>); 2] {
        let key = FlowKey {
            source: 1,
            destination: 2,
            ports: 0x0003_0004,
            protocol: u32::from(protocol::TCP),
        };
        let flow = Flow {
            source: 5,
            destination: backend,
            ports: 0x0007_0008,
            state: FIN,
            last_seen,
            ..Flow::default()
        };
        let reply = Flow {
            source: key.destination,
            destination: key.source,
            ports: key.ports.rotate_left(16),
            state: FIN | REPLY,
            last_seen,
            ..Flow::default()
        };
        [(key, flow), (partner_key(&key, &flow), reply)]
    }

    #[test]
    fn ports_that_are_used_again_meanwhile_keep_their_new_flow() {
        let times = Times {
            all: Timeouts::default().of(Stage::Established),
            idle: Arc::default(),
            turn: None,
        };
        let old = flow(10, NOW - 60);
        for again in [None, Some(10), Some(11)] {
            let fd = hash_map(size_of::<FlowKey<V4>>(), size_of::<Flow<V4>>(), 10);
            let data = MapData::from_fd(fd.try_clone().expect("a copy")).expect("a map");
            let map = Map::from_map_data(data).expect("a map");
            let mut map: HashMap<_, FlowKey<V4>, Flow<V4>> = map.try_into().expect("a hash map");
            // What the data plane does between the walk and the removal.
            let now = again.map_or(old, |backend| flow(backend, NOW));
            for (key, flow) in now {
                map.insert(key, flow, 0).expect("room");
            }
            let removed = remove(&fd, &old, NOW, &times, &Told::default(), &mut Vec::new())
                .expect("a map that can be changed");
            let left = map.keys().count();
            let expected = if again.is_some() { (0, 2) } else { (2, 0) };
            assert_eq!((removed, left), expected, "to backend {again:?}");
        }
    }
}
