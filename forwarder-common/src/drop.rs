//! The last packets that were dropped.

use crate::Reason;
use crate::abi::abi;

/// Bytes of a frame that are kept.
pub const FRAME: usize = 256;
/// The first reason of a drop; every one after it is one too.
pub const FIRST: u32 = Reason::DropTruncated as u32;
/// Reasons of drops, which is entries of the map: see [`index`].
pub const REASONS: usize = Reason::COUNT - FIRST as usize;

/// Where the last packet of a reason is kept; `None`: it is no drop.
pub const fn index(reason: Reason) -> Option<u32> {
    (reason as u32).checked_sub(FIRST)
}

abi! {
    /// The last packet that a CPU dropped for a reason, written at most once a tick of the kernel (1 to 10 ms).
    ///
    /// Nothing locks it. The writer raises `begun`, writes, and then makes `finished` the same; the kernel
    /// copies a value from its first byte to its last. So a reader that finds both the same has one packet.
    pub struct LastDrop {
        /// Packets written. The first field, so that it is read first.
        pub finished: u64,
        /// The kernel's tick (`jiffies`) of the last write.
        pub tick: u64,
        /// When it was dropped: nanoseconds of the monotonic clock.
        pub time: u64,
        /// Where it came in.
        pub ifindex: u32,
        /// Bytes of the frame as it came in.
        pub length: u32,
        /// VLAN tags that were taken off, outer first (see [`crate::Link::tags`]).
        pub tags: [u32; 2],
        /// The [`Reason`], as a number.
        pub reason: u32,
        /// Bytes of `frame` that are the frame's.
        pub kept: u32,
        /// The frame's beginning, without the tags.
        pub frame: [[u8; 32]; FRAME / 32],
        /// Packets whose writing has begun. The last field, so that it is read last.
        pub begun: u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;

    #[test]
    fn drops_are_the_last_reasons() {
        for reason in Reason::ALL {
            let drop = reason.outcome() == Outcome::Drop;
            assert_eq!(index(*reason).is_some(), drop, "{}", reason.name());
            assert!(index(*reason).is_none_or(|index| (index as usize) < REASONS));
        }
    }
}
