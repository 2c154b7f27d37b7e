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
