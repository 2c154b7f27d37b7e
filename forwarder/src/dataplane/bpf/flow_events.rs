//! What happens to flows, from the data plane.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use forwarder_common::{FlowEvent, Link, V4, V6};

use super::batch::for_each_per_cpu;
use super::load::LoadError;
use super::{fd, stats};
use crate::core::pair::sync::names::Event;

const MAP: &str = "FLOW_EVENTS";

/// The ring.
pub struct FlowEvents {
    ring: RingBuf<MapData>,
    counts: Arc<EventCounts>,
}

/// What the data plane counts of events.
#[derive(Debug)]
pub struct EventCounts {
    map: OwnedFd,
    cpus: usize,
}

impl FlowEvents {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let counters = fd(ebpf, "FLOW_EVENT_COUNTERS")?.try_clone_to_owned();
        let map = ebpf
            .take_map(MAP)
            .ok_or_else(|| LoadError::Missing(format!("map {MAP}")))?;
        let io = |error| LoadError::Stages(aya::maps::MapError::IoError(error));
        Ok(Self {
            ring: RingBuf::try_from(map)?,
            counts: Arc::new(EventCounts {
                map: counters.map_err(io)?,
                cpus: stats::cpus()?,
            }),
        })
    }

    /// Takes at most so many events out of the ring. Returns how many.
    pub fn drain(&mut self, most: usize, mut each: impl FnMut(Event)) -> usize {
        for taken in 0..most {
            let Some(item) = self.ring.next() else {
                return taken;
            };
            if let Some(event) = event(&item) {
                each(event);
            }
        }
        most
    }

    /// How many there were.
    pub fn counts(&self) -> Arc<EventCounts> {
        Arc::clone(&self.counts)
    }
}

impl EventCounts {
    /// Since the map was made: events that were put into the ring, and those that found no room there.
    pub fn read(&self) -> io::Result<[u64; 2]> {
        let mut counts = [0; 2];
        for_each_per_cpu(self.map.as_fd(), self.cpus, 2, |index, each: &[u64]| {
            counts[index as usize & 1] = each.iter().sum();
        })?;
        Ok(counts)
    }
}

impl AsRawFd for FlowEvents {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

/// The family is told by the size.
fn event(item: &[u8]) -> Option<Event> {
    if item.len() == size_of::<FlowEvent<V4>>() {
        // SAFETY: as long as the plain words that it is read as; it may not be aligned.
        let event = unsafe { item.as_ptr().cast::<FlowEvent<V4>>().read_unaligned() };
        Some(Event::V4(event, Link::default()))
    } else if item.len() == size_of::<FlowEvent<V6>>() {
        // SAFETY: as above.
        let event = unsafe { item.as_ptr().cast::<FlowEvent<V6>>().read_unaligned() };
        Some(Event::V6(event, Link::default()))
    } else {
        None
    }
}
