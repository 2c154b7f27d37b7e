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

    /// Until when packets for a group's VIPs are forwarded, and until when those are answered for; since
    /// boot, on the monotonic clock.
    pub fn store(&self, group: u32, forward: Duration, answer: Duration) {
        for (index, until) in [
            (lease::forward(group), forward),
            (lease::answer(group), answer),
        ] {
            let nanoseconds = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
            // The array has room for every group.
            self.0.store(index as usize, Slot(nanoseconds));
        }
    }
}
