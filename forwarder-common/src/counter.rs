//! Counters, one per CPU.

use crate::abi::abi;

abi! {
    /// Packets and bytes; bytes are the whole frame as it came in, without FCS.
    pub struct Counter {
        /// Packets.
        pub packets: u64,
        /// Bytes.
        pub bytes: u64,
    }
}

abi! {
    /// Entries of the embryonic flows of one family. Those that were made, are not there any more and were not
    /// removed were pushed out by newer ones: an LRU map does not say so itself.
    pub struct Churn {
        /// Entries that were written under a new key.
        pub made: u64,
        /// Entries that the data plane removed or wrote over.
        pub removed: u64,
    }
}

/// Direction of a packet through a virtual server; a counter index is `id * 2 + direction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Direction {
    /// From the client.
    In = 0,
    /// From the backend (NAT modes only: in DSR the reply does not pass here).
    Out = 1,
}

/// Index into the virtual server or backend counters.
#[inline(always)]
pub const fn index(id: u32, direction: Direction) -> u32 {
    id * 2 + direction as u32
}
