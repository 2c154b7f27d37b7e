//! Takes idle NAT flows out of the flow maps, and counts what is in them on the way.

mod census;
mod decision;

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
use crate::io::clock;
use census::MapCensus;
pub use census::{Address, Census, ports};
use decision::{Stage, is_idle};
pub use decision::{Timeouts, partner_key};

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
}

impl Expiry {
    /// Starts a thread of its own: a walk over a million flows takes a while.
    pub fn start(maps: FlowMaps, timeouts: Timeouts) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let census: Arc<Mutex<Arc<Census>>> = Arc::default();
        let taken = Arc::clone(&census);
        let maps = Arc::new(maps);
        let walked = Arc::clone(&maps);
        let thread = thread::Builder::new()
            .name("flow-expiry".into())
            .spawn(move || {
                let mut expired = [0; 4];
                while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    match walked.expire(&timeouts, clock::coarse_monotonic()) {
                        Ok(mut census) => {
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
        })
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

    /// One walk over all four, in the order of [`MAPS`]: what was there, and how much was removed.
    pub fn expire(&self, timeouts: &Timeouts, now: Duration) -> io::Result<Census> {
        // The data plane's "seconds": the clock wraps after 146 years.
        let now = (now.as_nanos() >> SECOND_SHIFT) as u32;
        let established = timeouts.of(Stage::Established);
        let embryonic = timeouts.of(Stage::Embryonic);
        let mut census = Census::default();
        let all = &mut census;
        let maps = [
            walk::<V4>(&self.established4, now, &established, all)?,
            walk::<V6>(&self.established6, now, &established, all)?,
            walk::<V4>(&self.embryonic4, now, &embryonic, all)?,
            walk::<V6>(&self.embryonic6, now, &embryonic, all)?,
        ];
        census.maps = maps;
        Ok(census)
    }
}

fn walk<A>(
    fd: &OwnedFd,
    now: u32,
    timeouts: &decision::StageTimeouts,
    census: &mut Census,
) -> io::Result<MapCensus>
where
    A: Address + Default,
    FlowKey<A>: Pod + Default,
    Flow<A>: Pod + Default,
{
    let data = MapData::from_fd(fd.try_clone()?).map_err(io::Error::other)?;
    let map = Map::from_map_data(data).map_err(io::Error::other)?;
    let mut map: HashMap<_, FlowKey<A>, Flow<A>> = map.try_into().map_err(io::Error::other)?;
    let mut idle = Vec::new();
    let mut entries = 0;
    for_each_chunk(fd.as_fd(), |keys: &[FlowKey<A>], flows: &[Flow<A>]| {
        entries += keys.len();
        let all = keys.iter().zip(flows);
        all.for_each(|(key, flow)| census.note(key, flow));
        let entries = keys.iter().zip(flows);
        idle.extend(
            entries
                .filter(|(key, flow)| is_idle(key.protocol, flow, None, now, timeouts))
                .map(|(key, flow)| (*key, *flow)),
        );
    })?;
    let mut removed = 0;
    for (key, flow) in idle {
        let partner_key = partner_key(&key, &flow);
        let partner = match map.get(&partner_key, 0) {
            Ok(partner) => Some(partner),
            Err(MapError::KeyNotFound) => None,
            Err(error) => return Err(io::Error::other(error)),
        };
        if is_idle(key.protocol, &flow, partner.as_ref(), now, timeouts) {
            // The forward entry goes first: what it translates could no longer be answered.
            let order = if decision::is_reply(&flow) {
                [partner_key, key]
            } else {
                [key, partner_key]
            };
            for key in order {
                removed += usize::from(map.remove(&key).is_ok());
            }
        }
    }
    Ok(MapCensus {
        entries: entries.saturating_sub(removed) as u64,
        expired: removed as u64,
    })
}
