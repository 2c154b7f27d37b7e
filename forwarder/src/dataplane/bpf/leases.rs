//! Leases: until when a pair's node may do something for VIPs. Written into mapped memory; nothing waits.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use forwarder_common::{Slot, lease};

use super::slots::Slots;
use crate::core::pair::GroupLease;
use crate::io::clock;

/// The mapped lease array. It outlives nothing: what was written last holds until it runs out.
#[derive(Debug)]
pub struct Leases {
    words: Slots,
    /// What is sent here is looked at by the program that notes the tick, and comes nowhere.
    asker: UnixDatagram,
    _asked: UnixDatagram,
    /// How long a tick is.
    tick: Duration,
}

/// The data plane's time, and the same on the coarse monotonic clock, which goes on with every tick.
#[derive(Clone, Copy, Debug)]
struct Now {
    ticks: u64,
    coarse: Duration,
    tick: Duration,
}

impl Leases {
    /// `clock`: the filter that notes the tick.
    pub(super) fn map(array: BorrowedFd<'_>, clock: &OwnedFd) -> io::Result<Self> {
        let (asker, asked) = UnixDatagram::pair()?;
        asker.set_nonblocking(true)?;
        let program = clock.as_raw_fd();
        // SAFETY: the kernel reads an int.
        let set = unsafe {
            libc::setsockopt(
                asked.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_BPF,
                (&raw const program).cast(),
                size_of_val(&program) as libc::socklen_t,
            )
        };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
        let leases = Self {
            words: Slots::map(array, lease::COUNT)?,
            asker,
            _asked: asked,
            tick: clock::tick(),
        };
        match leases.now().ticks {
            0 => Err(io::Error::other("the data plane does not tell the time")),
            _ => Ok(leases),
        }
    }

    /// Writes until when the peer's echoes are answered, and packets for each group's VIPs are forwarded and
    /// those answered for: since boot, on the monotonic clock. A lease ends with the first tick after it.
    pub fn store(&self, node: Duration, groups: &[GroupLease]) {
        let now = self.now();
        self.write(lease::NODE, now.end(node));
        for (group, until) in (0..).zip(groups) {
            self.write(lease::forward(group), now.end(until.forward));
            self.write(lease::answer(group), now.end(until.answer));
        }
    }

    /// Until when packets for a group's VIPs are forwarded, as it was written last.
    pub fn forward(&self, group: u32) -> Duration {
        let until = self.words.load(lease::forward(group) as usize);
        self.now().until(until.map_or(0, |until| until.0))
    }

    /// Ticks that could not be asked for are old ones: leases end too early then.
    fn now(&self) -> Now {
        let look = || {
            let coarse = clock::coarse_monotonic();
            let _ = self.asker.send(&[0]);
            let ticks = self.words.load(lease::CLOCK as usize);
            let now = Now {
                ticks: ticks.map_or(0, |ticks| ticks.0),
                coarse,
                tick: self.tick,
            };
            (now, clock::coarse_monotonic() == coarse)
        };
        let (mut now, mut same) = look();
        // A tick between the two; or this thread gets hardly any CPU, and is a tick off.
        for _ in 0..8 {
            if !same {
                (now, same) = look();
            }
        }
        now
    }

    fn write(&self, index: u32, ticks: u64) {
        // The array has room for all of them.
        self.words.store(index as usize, Slot(ticks));
    }
}

impl Now {
    /// The tick with which a lease is over.
    fn end(self, until: Duration) -> u64 {
        let Some(left) = until.checked_sub(self.coarse) else {
            return 0;
        };
        let ticks = left.as_nanos().div_ceil(self.tick.as_nanos().max(1));
        let ticks = u64::try_from(ticks).unwrap_or(u64::MAX);
        self.ticks.saturating_add(ticks)
    }

    /// When that is.
    fn until(self, end: u64) -> Duration {
        match end.checked_sub(self.ticks) {
            None | Some(0) => Duration::ZERO,
            Some(left) => {
                let left = u128::from(left) * self.tick.as_nanos();
                self.coarse + Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_with_the_first_tick_after_it() {
        let now = Now {
            ticks: 1_000,
            coarse: Duration::from_millis(500),
            tick: Duration::from_millis(4),
        };
        let end = |milliseconds| now.end(Duration::from_millis(milliseconds));
        assert_eq!([0, 400, 499].map(end), [0; 3]);
        // Valid while fewer ticks have passed.
        assert_eq!([500, 501, 504, 505].map(end), [1_000, 1_001, 1_001, 1_002]);
        assert_eq!(now.end(Duration::MAX), u64::MAX);
        assert_eq!(now.until(1_002), Duration::from_millis(508));
        assert_eq!(
            [0, 999, 1_000].map(|end| now.until(end)),
            [Duration::ZERO; 3]
        );
    }
}
