//! Leases: until when a pair's node may do something for VIPs. Written without a syscall.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use forwarder_common::{Slot, lease};

use super::slots::Slots;

/// The mapped lease array. It outlives nothing: what was written last holds until it runs out.
#[derive(Debug)]
pub struct Leases(Slots);

impl Leases {
    pub(super) fn map(array: BorrowedFd<'_>) -> io::Result<Self> {
        Slots::map(array, lease::COUNT).map(Self)
    }

    /// Until when the peer's echoes are answered; since boot, on the monotonic clock.
    pub fn store_node(&self, until: Duration) {
        self.write(lease::NODE, until);
    }

    /// Until when packets for a group's VIPs are forwarded, and until when those are answered for; since
    /// boot, on the monotonic clock.
    pub fn store(&self, group: u32, forward: Duration, answer: Duration) {
        self.write(lease::forward(group), forward);
        self.write(lease::answer(group), answer);
    }

    /// Until when packets for a group's VIPs are forwarded, as it was written last.
    pub fn forward(&self, group: u32) -> Duration {
        let until = self.0.load(lease::forward(group) as usize);
        Duration::from_nanos(until.map_or(0, |until| until.0))
    }

    fn write(&self, index: u32, until: Duration) {
        let nanoseconds = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        // The array has room for all of them.
        self.0.store(index as usize, Slot(nanoseconds));
    }
}
